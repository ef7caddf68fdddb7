"""Every number that the released code was seen to make, from the same weights and inputs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from echat_sdk.model.echat.token2wav.checkpoint import (
    build_flow,
    build_vocoder,
    convert_cosyvoice,
    fold_weight_norms,
)
from echat_sdk.model.echat.token2wav.config import (
    FlowConfig,
    Token2WavConfig,
    VocoderConfig,
    mel_frames,
)
from echat_sdk.model.echat.token2wav.flow import Condition, Flow, time_grid
from echat_sdk.model.echat.token2wav.parity import CachedSolver, ReleasedStream, hamming_join
from echat_sdk.model.echat.token2wav.prompt_audio import (
    kaldi_fbank,
    prompt_mel,
    resample,
    speaker_fbank,
    tokenizer_mel,
)
from echat_sdk.model.echat.token2wav.regulator import LengthRegulator, stretch, stretch_whole
from echat_sdk.model.echat.token2wav.source import HarmonicSource, Pitch
from echat_sdk.model.echat.token2wav.vocoder import F0Predictor

pytestmark = pytest.mark.usefixtures("without_gradients")

GOLDEN = Path(__file__).parents[3] / "golden" / "token2wav"


@dataclass(frozen=True)
class Case:
    name: str
    weights: dict[str, Tensor]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    facts: dict[str, Any]

    @property
    def config(self) -> dict[str, Any]:
        found: dict[str, Any] = self.facts["config"]
        return found

    def agrees(self, output: str, ours: Tensor, *, where: Tensor | None = None) -> None:
        wanted, limit = self.outputs[output], self.facts["tolerance"]
        limit = limit.get(output, limit)
        if where is not None:
            ours, wanted = ours * where, wanted * where
        torch.testing.assert_close(
            ours.float(), wanted.float(), rtol=limit["rtol"], atol=limit["atol"]
        )


def case(name: str) -> Case:
    def under(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    tensors = load_file(GOLDEN / f"{name}.safetensors")
    facts = json.loads((GOLDEN / f"{name}.json").read_text())
    return Case(name, under("weights."), under("inputs."), under("outputs."), facts)


def flow_config(sizes: dict[str, Any]) -> FlowConfig:
    return FlowConfig(**{k: v for k, v in sizes.items() if k in FlowConfig.model_fields})


def part(network: nn.Module, weights: dict[str, Tensor], prefix: str) -> nn.Module:
    """A part of a network with exactly the weights below a prefix."""
    found = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    network.load_state_dict(found)
    return network.eval()


def flow_with(golden: Case) -> Flow:
    """A flow with the case's weights, which are only those of the parts that it is about."""
    flow = Flow(flow_config(golden.config), parity=True)
    assert not flow.load_state_dict(golden.weights, strict=False).unexpected_keys
    return flow.eval()


def test_the_encoder_reads_codes_as_the_released_one() -> None:
    golden = case("01_flow_encoder")
    flow, lengths = flow_with(golden), golden.inputs["token_len"]
    embedded = flow.embed(golden.inputs["token"], lengths)
    valid = golden.outputs["mask"][:, 0, :, None].float()
    golden.agrees("embedded", embedded)
    golden.agrees("encoded", flow.encoder(embedded, lengths), where=valid)
    golden.agrees("projected", flow.encode(embedded, lengths), where=valid)


@pytest.mark.parametrize("row", range(3))
def test_the_regulator_stretches_in_the_released_pieces(row: int) -> None:
    golden = case("02_length_regulator")
    regulator = part(LengthRegulator(80), golden.weights, "length_regulator.")
    told, asked = (int(n) for n in golden.inputs[f"mel_len_{row}"])
    assert asked == mel_frames(golden.inputs[f"target_{row}"].shape[1])
    prompt = stretch(golden.inputs[f"prompt_{row}"], told)
    target = stretch_whole(golden.inputs[f"target_{row}"], asked)
    golden.agrees(f"h_{row}", regulator(torch.cat([prompt, target], dim=1)))


def test_the_regulator_trains_as_the_released_one() -> None:
    golden = case("02_length_regulator")
    regulator = part(LengthRegulator(80), golden.weights, "length_regulator.")
    assert isinstance(regulator, LengthRegulator)
    ours = regulator.training_path(golden.inputs["train_x"], golden.inputs["train_len"])
    golden.agrees("train_h", ours)


def test_the_speaker_is_projected() -> None:
    golden = case("03_speaker_projection")
    flow = Flow(FlowConfig(encoder_size=8, encoder_heads=1, channels=(8, 8)))
    flow.load_state_dict(golden.weights, strict=False)
    golden.agrees("spks", flow.speaker(golden.inputs["embedding"]))


@pytest.mark.parametrize(("prefix", "output"), [("", "dphi_dt"), ("even_", "even_dphi_dt")])
def test_the_estimator_with_parity_counts_padding_in(prefix: str, output: str) -> None:
    golden = case("04_estimator")
    estimator = flow_with(golden).decoder.estimator
    names = ("x", "mask", "mu", "t", "spks", "cond")
    golden.agrees(output, estimator(*(golden.inputs[prefix + name] for name in names)))


def test_time_becomes_the_released_features() -> None:
    golden = case("04_estimator")
    mlp = flow_with(golden).decoder.estimator.time_mlp
    golden.agrees("time_embedding", mlp.sinusoids(golden.inputs["t"]))
    golden.agrees("time_mlp", mlp(golden.inputs["t"]))


@pytest.mark.parametrize(
    ("output", "temperature", "options"),
    [
        ("mel_10", 1.0, {}),
        ("mel_4", 1.0, {"steps": 4}),
        ("mel_4_temperature_0.5", 0.5, {"steps": 4}),
        ("mel_4_without_guidance", 1.0, {"steps": 4, "guidance": 0}),
    ],
)
def test_the_solver_ends_where_the_released_one_ends(
    output: str, temperature: float, options: dict[str, Any]
) -> None:
    golden = case("05_cfm_solve")
    given = Condition(*(golden.inputs[name] for name in ("mu", "spks", "cond")))
    noise = golden.inputs["noise"] * temperature
    golden.agrees(output, flow_with(golden).decoder(noise, given, **options))


@pytest.mark.parametrize("steps", [4, 10])
def test_the_times_are_the_released_ones(steps: int) -> None:
    case("05_cfm_solve").agrees(f"t_span_{steps}", time_grid(steps))


def test_the_released_flow_cache_is_copied_with_its_34_frames() -> None:
    golden = case("05b_flow_cache")
    solve = CachedSolver(flow_with(golden), int(golden.inputs["prompt_len"]), steps=3)
    for call in "12":
        mu, cond = golden.inputs[f"mu_{call}"], golden.inputs[f"cond_{call}"]
        ours = solve(golden.inputs[f"noise_{call}"], Condition(mu, golden.inputs["spks"], cond))
        golden.agrees(f"mel_{call}", ours)
        assert solve.cache is not None
        golden.agrees(f"cache_{call}", solve.cache)


@pytest.mark.parametrize("row", range(3))
def test_codes_and_a_voice_become_the_released_mel(row: int) -> None:
    golden = case("06_flow_inference")
    flow = build_flow(flow_config(golden.config), golden.weights)
    prompt = flow.prompt(
        golden.inputs[f"prompt_token_{row}"][0],
        golden.inputs[f"prompt_feat_{row}"][0],
        golden.inputs["embedding"][0],
    )
    ours = flow(golden.inputs[f"token_{row}"], prompt, golden.inputs[f"noise_{row}"])
    golden.agrees(f"mel_{row}", ours)


def test_pitch_is_heard_as_by_the_released_predictor() -> None:
    golden = case("07_f0_predictor")
    network = F0Predictor(VocoderConfig(**golden.config))
    predictor = part(network, fold_weight_norms(golden.weights), "f0_predictor.")
    golden.agrees("f0", predictor(golden.inputs["mel"]))


def test_mel_and_source_become_the_released_wave() -> None:
    golden = case("08_hift_decode")
    vocoder = build_vocoder(VocoderConfig(**golden.config), golden.weights)
    golden.agrees("source_stft", vocoder.spectrum(golden.inputs["source"]))
    golden.agrees("wav", vocoder.decode(golden.inputs["mel"], golden.inputs["source"]))


def test_the_source_hums_and_hisses_as_the_released_one() -> None:
    golden = case("09_source")
    source = part(HarmonicSource(golden.config["harmonics"]), golden.weights, "m_source.")
    assert isinstance(source, HarmonicSource)
    given = (
        Pitch.follow(golden.inputs["f0"]),
        golden.inputs["phase"][..., 0],
        golden.inputs["noise"].float(),
    )
    golden.agrees("sines", source.sines(*given)[:, [0, 4, 8]])
    golden.agrees("source", source(*given))


def test_the_whole_vocoder_speaks_as_the_released_one() -> None:
    golden = case("09b_hift_inference")
    vocoder = build_vocoder(VocoderConfig(**golden.config), golden.weights)
    mel, phases = golden.inputs["mel"], golden.inputs["phase"][..., 0]
    hertz = vocoder.f0_predictor(mel)
    source = vocoder.m_source(Pitch.follow(hertz), phases, golden.inputs["noise"].float())
    golden.agrees("f0", hertz)
    golden.agrees("source", source)
    golden.agrees("wav", vocoder.decode(mel, source))
    cached = golden.inputs["cache_source"]
    source = torch.cat([cached, source[:, :, cached.shape[2] :]], dim=2)
    golden.agrees("wav_cached", vocoder.decode(mel, source))


def test_a_recording_is_heard_as_by_the_released_front_end() -> None:
    golden = case("10_prompt_features")
    spoken = golden.inputs["wave_22k"][0]
    heard = resample(spoken, 22_050, 16_000)
    golden.agrees("mel", prompt_mel(spoken).T[None])
    golden.agrees("prompt_feat", prompt_mel(spoken)[None])
    golden.agrees("wave_16k", heard[None])
    golden.agrees("fbank", kaldi_fbank(golden.outputs["wave_16k"][0]))
    golden.agrees("fbank_centred", speaker_fbank(heard))
    golden.agrees("whisper_mel", tokenizer_mel(heard))


def test_the_released_joins_are_copied_for_comparison() -> None:
    golden = case("11_cross_fade")
    golden.agrees("mel", hamming_join(golden.inputs["mel_in"], golden.inputs["mel_out"]))
    speech = hamming_join(golden.inputs["speech_in"], golden.inputs["speech_out"])
    golden.agrees("speech", speech)


@pytest.mark.parametrize("spelling", ["parametrizations", "weight_g_v"])
@pytest.mark.parametrize("prefix", ["", "generator."])
def test_released_dictionaries_load_in_every_spelling(spelling: str, prefix: str) -> None:
    golden = case("12_loader")
    config = Token2WavConfig(
        flow=flow_config(golden.config["flow"]), vocoder=VocoderConfig(**golden.config["hift"])
    )
    hift = load_file(GOLDEN / f"12_loader_hift_{spelling}.safetensors")
    tensors = convert_cosyvoice(
        load_file(GOLDEN / "12_loader_flow.safetensors"),
        {prefix + name: tensor for name, tensor in hift.items()},
        config,
    )
    flow, vocoder = build_flow(config.flow, tensors[0]), build_vocoder(config.vocoder, tensors[1])
    voice = (golden.inputs[name][0] for name in ("prompt_token", "prompt_feat", "embedding"))
    mel = flow(golden.inputs["token"], flow.prompt(*voice), golden.inputs["noise"])
    golden.agrees("mel", mel)
    decode_mel = golden.inputs["decode_mel"]
    golden.agrees("wav", vocoder.decode(decode_mel, golden.inputs["decode_source"]))
    golden.agrees("f0", vocoder.f0_predictor(decode_mel))


def test_the_released_chunks_are_copied_for_comparison() -> None:
    golden = case("13_stream")
    flow = build_flow(
        flow_config(golden.config["flow"]), load_file(GOLDEN / golden.config["weights"][0])
    )
    vocoder = build_vocoder(
        VocoderConfig(**golden.config["hift"]), load_file(GOLDEN / golden.config["weights"][1])
    )
    voice = (golden.inputs[name][0] for name in ("prompt_token", "prompt_feat", "embedding"))
    stream = ReleasedStream(flow, vocoder, flow.prompt(*voice))
    counts = golden.config["tokens_per_call"]
    for call, count in enumerate(counts):
        start, last = call * golden.config["hop"], call == len(counts) - 1
        phases = golden.inputs[f"phase_{call}"][..., 0]
        ours = stream.chunk(
            golden.inputs["token"][:, start : start + count],
            golden.inputs[f"noise_{call}"],
            phases,
            torch.zeros(1, 1, 1),
            last=last,
        )
        golden.agrees(f"speech_{call}", ours)
