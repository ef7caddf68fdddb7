from __future__ import annotations

import io
import os
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from echat_sdk.errors import CheckpointError, ConfigError
from echat_sdk.model.echat import sources
from echat_sdk.model.echat.checkpoint import infer_config
from echat_sdk.model.echat.convert import convert, export
from echat_sdk.model.echat.directory import Card, load
from echat_sdk.model.echat.names import Kind, from_upstream
from echat_sdk.model.echat.network import EChatForConditionalGeneration
from echat_sdk.model.echat.synthetic import synthetic_state, write_checkpoint, write_cosyvoice
from echat_sdk.model.echat.token2wav.synthetic import tiny_config
from echat_sdk.model.echat.token2wav.token2wav import Token2Wav

CLOSE = {"atol": 5e-5, "rtol": 1e-3}


class Touch:
    """What opens a pickle with this in it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self.path}",))


def _golden_config(case: Any, kind: Kind) -> Any:
    keys = {key: torch.empty(shape) for key, (shape, _) in case.facts["keys"].items()}
    llm = {"num_attention_heads": 4}
    config = infer_config(from_upstream(keys), kind=kind, encoder_heads=4, llm=llm)
    config.llm.tie_word_embeddings = case.facts["llm_config"]["tie_word_embeddings"]
    config.encoder.upstream_padding = True
    return config


def _converted(case: Any, name: str, out: Path) -> EChatForConditionalGeneration:
    kind: Kind = "osum" if "lora" in case.facts else "osum-echat"
    source = case.folder / f"{name}_state.pt"
    config = _golden_config(case, kind)
    report = convert(source, out, allow_pickle=True, config=config, dtype=torch.float32)
    assert report.kind == kind
    return load(out)


@torch.no_grad()
@pytest.mark.usefixtures("unpickled_here")
def test_the_golden_echat_checkpoint_converts_to_upstreams_numbers(
    golden: Any, tmp_path: Path
) -> None:
    model = _converted(golden("case05a_echat"), "case05a_echat", tmp_path / "out")
    case = golden("case05a_echat").tensors
    embeds, lengths = model.hear(case["feats"], case["lens"])
    torch.testing.assert_close(embeds, case["speech_embeds"], **CLOSE)
    assert lengths.tolist() == case["speech_mask"].sum(1).tolist()
    ids = torch.cat((case["text_ids"], case["speech_ids"] + 384), 1)
    hidden = model.backbone(inputs_embeds=model.embed(ids)).last_hidden_state
    torch.testing.assert_close(hidden, case["hidden_last"], **CLOSE)
    logits = model(input_ids=ids).logits
    torch.testing.assert_close(logits[:, 10, :384], case["text_logits_pos10"], **CLOSE)
    torch.testing.assert_close(logits[:, -1, :384], case["text_logits_last"], **CLOSE)
    torch.testing.assert_close(logits[:, -1, 384:], case["speech_logits_last"], **CLOSE)


@torch.no_grad()
def test_the_golden_osum_checkpoint_converts_with_its_lora(golden: Any, tmp_path: Path) -> None:
    case = golden("case05b_osum")
    model = _converted(case, "case05b_osum", tmp_path / "out")  # in a real child process
    merged = model.llm.state_dict()
    for key, expected in case.under("merged.").items():
        torch.testing.assert_close(merged[key], expected, atol=1e-6, rtol=0)
    logits = model(input_ids=case.tensors["text_ids"]).logits[..., :256]
    torch.testing.assert_close(logits, case.tensors["merged_text_logits"], **CLOSE)
    embeds, lengths = model.hear(case.tensors["feats"], case.tensors["lens"])
    torch.testing.assert_close(embeds, case.tensors["speech_embeds"], **CLOSE)
    # The training forward: prompt, audio between its marks, text, each padded on the right.
    texts, prompts = case.facts["inputs"]["texts"], case.facts["inputs"]["prompts"]
    vocab, mask = model.config.vocab, case.tensors["fwd_attention_mask"]
    ids = torch.zeros_like(mask, dtype=torch.long)
    for row in (0, 1):
        held = [vocab.audio_placeholder] * int(lengths[row])
        whole = [*prompts[row], vocab.audio_begin, *held, vocab.audio_end, *texts[row]]
        ids[row, mask[row]] = torch.tensor(whole)
    output = model(
        input_ids=ids,
        input_features=case.tensors["feats"],
        feature_lengths=case.tensors["lens"],
        attention_mask=mask.long(),
        position_ids=case.tensors["fwd_position_ids"].long(),
        labels=case.tensors["fwd_target"].long(),
        loss_over="text",
    )
    assert output.loss.item() == pytest.approx(case.facts["loss"], rel=1e-5)
    seen = output.logits[mask][:, :256]
    torch.testing.assert_close(seen, case.tensors["fwd_logits"][mask], **CLOSE)


def test_a_pickle_is_opened_on_consent_only_and_runs_nothing(tmp_path: Path) -> None:
    source, trace = tmp_path / "model.pt", tmp_path / "trace"
    torch.save({"a": torch.zeros(2), "b": Touch(trace)}, source)
    with pytest.raises(CheckpointError, match="--allow-pickle"):
        convert(source, tmp_path / "out")
    with pytest.raises(CheckpointError, match=r"model.pt cannot be opened: .* \(posix.system\)"):
        convert(source, tmp_path / "out", allow_pickle=True)
    assert not trace.exists()
    assert not (tmp_path / "out").exists()
    torch.load(source, weights_only=False)  # the trap works where nothing guards
    assert trace.exists()


@pytest.mark.usefixtures("unpickled_here")
def test_a_tensor_larger_than_its_file_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(1 << 40)}, tmp_path / "bomb.pt")
    with pytest.raises(CheckpointError, match="a claims more than the file can hold"):
        convert(tmp_path / "bomb.pt", tmp_path / "out", allow_pickle=True)


@pytest.mark.usefixtures("unpickled_here")
def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    whole = write_checkpoint(tmp_path / "whole.pt").read_bytes()
    (tmp_path / "half.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"half.pt cannot be opened: it is damaged"):
        convert(tmp_path / "half.pt", tmp_path / "out", allow_pickle=True)
    tensors = write_checkpoint(tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "half.safetensors").write_bytes(tensors[: len(tensors) // 2])
    with pytest.raises(CheckpointError, match=r"half.safetensors"):
        convert(tmp_path / "half.safetensors", tmp_path / "out")


@pytest.mark.usefixtures("unpickled_here")
def test_a_deepspeed_folder_is_read_by_its_module_states(tmp_path: Path) -> None:
    step = tmp_path / "run" / "global_step7"
    step.mkdir(parents=True)
    write_checkpoint(step / "mp_rank_00_model_states.pt", "osum", module_wrapped=True)
    (tmp_path / "run" / "latest").write_text("global_step7\n")
    state = sources.read_state(tmp_path / "run", allow_pickle=True)
    expected = synthetic_state("osum")
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in expected)


class LossScaler:
    """Stands for the object of DeepSpeed's that lies beside its tensors."""

    def __init__(self) -> None:
        self.cur_scale = 1.0


LossScaler.__module__ = "deepspeed.runtime.fp16.loss_scaler"


@contextmanager
def _deepspeed() -> Iterator[None]:
    """A package of that name, as far as a pickle with its object needs it."""
    module = ModuleType(LossScaler.__module__)
    module.LossScaler = LossScaler  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("deepspeed", "deepspeed.runtime", "deepspeed.runtime.fp16", module.__name__):
            patch.setitem(sys.modules, name, module)
        yield


def _write_zero(folder: Path, state: dict[str, Any], ranks: int) -> None:
    """Split a state dict as ZeRO stage 3 does: two groups, one frozen tensor, one shared."""
    folder.mkdir(parents=True)
    shared = {"lm_head.weight": "llama_model.lm_head.weight"}
    buffers = [name for name in state if "pos_enc" in name]
    frozen = "speech_head.bias"
    names = [name for name in state if name not in (*buffers, *shared, frozen)]
    cut = max(1, len(names) // 3)

    def share(name: str, rank: int) -> Any:
        flat = state[name].float().flatten()
        size = -(-len(flat) // ranks)
        padded = torch.cat([flat, torch.full((size * ranks - len(flat),), 7.0)])
        return padded[rank * size : (rank + 1) * size].clone()

    for rank in range(ranks):
        empty = {name: torch.zeros(0, dtype=state[name].dtype) for name in names}
        groups = [names[:cut], names[cut:]]
        model = {
            "module": empty | {name: state[name] for name in buffers},
            "buffer_names": buffers,
            "param_shapes": [{n: state[n].shape for n in group} for group in groups],
            "frozen_param_shapes": {frozen: state[frozen].shape},
            "frozen_param_fragments": {frozen: share(frozen, rank).to(state[frozen].dtype)},
            "shared_params": shared,
        }
        optimizer = {
            "zero_stage": 3,
            "partition_count": ranks,
            "loss_scaler": LossScaler(),
            "fp32_flat_groups": [torch.cat([share(n, rank) for n in group]) for group in groups],
        }
        name = f"zero_pp_rank_{rank}_mp_rank_00"
        torch.save(model, folder / f"{name}_model_states.pt")
        optim = folder / f"bf16_{name}_optim_states.pt"
        with _deepspeed():
            torch.save({"optimizer_state_dict": optimizer}, optim)


@pytest.mark.parametrize("ranks", [1, 3, 11])
@pytest.mark.usefixtures("unpickled_here")
def test_shards_of_zero_stage_three_are_joined(tmp_path: Path, ranks: int) -> None:
    expected = synthetic_state("osum-echat")
    _write_zero(tmp_path / "run" / "step", expected, ranks)
    (tmp_path / "run" / "latest").write_text("step")
    with pytest.raises(CheckpointError, match="--allow-pickle"):
        sources.read_state(tmp_path / "run", allow_pickle=False)
    state = sources.read_state(tmp_path / "run", allow_pickle=True)
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in expected)
    assert all(state[key].dtype == expected[key].dtype for key in expected)
    report = convert(tmp_path / "run", tmp_path / "out", allow_pickle=True)
    assert report.kind == "osum-echat"


def test_shards_are_joined_in_a_child_process_that_has_no_deepspeed(tmp_path: Path) -> None:
    expected = {"encoder.w": torch.arange(10.0), "lm_head.weight": torch.zeros(2)}
    expected |= {"llama_model.lm_head.weight": torch.zeros(2), "speech_head.bias": torch.ones(3)}
    _write_zero(tmp_path / "step", expected, 2)
    state = sources.read_state(tmp_path / "step", allow_pickle=True)
    assert state["encoder.w"].tolist() == list(range(10))
    assert state["speech_head.bias"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("a rank is missing", "shards of 2 ranks, written by 3"),
        ("its numbers are missing", "no zero_pp_rank_1_mp_rank_00_optim_states.pt beside"),
        ("a share is short", "shards of .* numbers for parameters of"),
        ("another class", r"more than tensors \(posix.system\).*zero_to_fp32.py"),
    ],
)
@pytest.mark.usefixtures("unpickled_here")
def test_what_is_wrong_with_shards_is_told(tmp_path: Path, fault: str, told: str) -> None:
    _write_zero(tmp_path / "step", synthetic_state("osum-echat"), 3)
    optim = tmp_path / "step" / "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"
    with _deepspeed():
        state = torch.load(optim, weights_only=False)
    match fault:
        case "a rank is missing":
            for file in (tmp_path / "step").glob("*rank_2_mp*"):
                file.unlink()
        case "its numbers are missing":
            optim.unlink()
        case "a share is short":
            groups = state["optimizer_state_dict"]["fp32_flat_groups"]
            groups[1] = groups[1][:-1].clone()
            with _deepspeed():
                torch.save(state, optim)
        case "another class":
            torch.save({"b": Touch(tmp_path / "trace")}, optim)
    with pytest.raises(CheckpointError, match=told):
        convert(tmp_path / "step", tmp_path / "out", allow_pickle=True)
    assert not (tmp_path / "trace").exists()


def test_one_shard_of_zero_stage_three_alone_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hollow(names: str, files: list[Path], scratch: Path) -> None:
        save_file({"0": torch.zeros(0)}, files[1], metadata={"paths": '[[["encoder.w"], "0"]]'})

    monkeypatch.setattr(sources, "_run_child", hollow)
    (tmp_path / "mp_rank_00_model_states.pt").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match="give the whole folder"):
        convert(tmp_path, tmp_path / "out", allow_pickle=True)


def test_a_converted_checkpoint_goes_back_under_upstreams_names(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "tag_think_final.safetensors")
    report = convert(source, tmp_path / "ours")
    card = Card.read(tmp_path / "ours")
    assert (card.kind, card.think, card.source) == ("osum-echat", "tag", source.name)
    assert len(card.sha256) == 64
    assert report.parameters == sum(p.numel() for p in load(tmp_path / "ours").parameters())
    export(tmp_path / "ours", tmp_path / "back.safetensors")
    before, after = load_file(source), load_file(tmp_path / "back.safetensors")
    unneeded = {key for key in before if "pos_enc" in key or key.startswith("ln_speech")}
    assert before.keys() - after.keys() == unneeded | {"embed_tokens.weight", "lm_head.weight"}
    assert all(torch.equal(before[key], after[key]) for key in after)
    convert(tmp_path / "back.safetensors", tmp_path / "again")
    first, second = (load(tmp_path / name).state_dict() for name in ("ours", "again"))
    assert all(torch.equal(first[key], second[key]) for key in first)
    export(tmp_path / "ours", tmp_path / "back.pt")
    assert torch.load(tmp_path / "back.pt", weights_only=True).keys() == after.keys()
    with pytest.raises(ConfigError, match="is there already"):
        convert(source, tmp_path / "ours")
    with pytest.raises(ConfigError, match="a new file"):
        export(tmp_path / "ours", tmp_path / "back.pt")


def test_the_wrong_kind_is_told(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "osum.safetensors", "osum")
    with pytest.raises(CheckpointError, match="of osum, not of osum-echat"):
        convert(source, tmp_path / "out", kind="osum-echat")
    save_file({"model.layers.0.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"no checkpoint of OSUM.*model.layers.0.weight"):
        convert(tmp_path / "other.safetensors", tmp_path / "out")
    with pytest.raises(ConfigError, match="osum, osum-echat, cosyvoice"):
        convert(source, tmp_path / "out", kind="whisper")
    with pytest.raises(CheckpointError, match="no file or folder"):
        convert(tmp_path / "nothing.pt", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="neither safetensors nor"):
        convert(tmp_path / "empty", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_nan_weights_are_refused_by_name(tmp_path: Path) -> None:
    state = {k: t.clone() for k, t in synthetic_state("osum-echat").items()}
    state["speech_head.weight"][3, 5] = torch.nan
    save_file(state, tmp_path / "nan.safetensors")
    with pytest.raises(CheckpointError, match=r"1 with NaN or infinity: speech_head.weight"):
        convert(tmp_path / "nan.safetensors", tmp_path / "out")


@pytest.mark.usefixtures("unpickled_here")
def test_a_cosyvoice_tar_becomes_a_voice_and_cannot_write_elsewhere(tmp_path: Path) -> None:
    tar = write_cosyvoice(tmp_path / "CosyVoice-300M-25Hz.tar")
    with tarfile.open(tar, "a") as opened:
        for name in ("../../escaped.pt", "../flow.pt", "/hift.pt"):
            member = tarfile.TarInfo(name)
            member.size = 4
            opened.addfile(member, io.BytesIO(b"evil"))
        link = tarfile.TarInfo("CosyVoice/llm.pt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        opened.addfile(link)
    convert(write_checkpoint(tmp_path / "echat.safetensors"), tmp_path / "echat")
    out = tmp_path / "echat" / "token2wav"
    report = convert(tar, tmp_path / "echat", allow_pickle=True, config=tiny_config())
    assert (report.kind, report.out) == ("cosyvoice", out)
    assert {path.name for path in out.iterdir()} == {
        "config.json",
        "flow.safetensors",
        "vocoder.safetensors",
        "voices",
        "campplus.onnx",
        "speech_tokenizer_v1.onnx",
    }
    voice = Token2Wav.load(out).voice("中文女")
    assert voice.xvector.shape == (192,)
    assert not (tmp_path.parent / "escaped.pt").exists()


def test_a_tar_without_the_networks_is_told(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "some.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("readme"))
    with pytest.raises(CheckpointError, match=r"has no flow.pt and no hift.pt"):
        convert(tmp_path / "some.tar", tmp_path / "out", allow_pickle=True)
    (tmp_path / "cut.tar").write_bytes((tmp_path / "some.tar").read_bytes()[:700])
    with pytest.raises(CheckpointError, match=r"cut.tar"):
        convert(tmp_path / "cut.tar", tmp_path / "out", kind="cosyvoice", allow_pickle=True)
