"""Laws of speaking in chunks, on a tiny network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from echat_sdk.audio import FloatWaveform
from echat_sdk.errors import CheckpointError, ConfigError, GenerationError
from echat_sdk.model.echat.token2wav import ChunkPlan, Token2Wav, VoicePrompt
from echat_sdk.model.echat.token2wav import stream as stream_module
from echat_sdk.model.echat.token2wav.config import HOP, Token2WavConfig, VocoderConfig, mel_frames
from echat_sdk.model.echat.token2wav.flow import Flow, Prompt
from echat_sdk.model.echat.token2wav.stream import FADE, WaveStream, fade
from echat_sdk.model.echat.token2wav.synthetic import tiny_config, write_synthetic

law = settings(max_examples=5, deadline=None)
CODES = np.random.default_rng(0).integers(0, 4096, 80).tolist()
SMALLEST = Token2WavConfig(
    flow=tiny_config().flow,
    vocoder=VocoderConfig(
        base_channels=8, f0_channels=8, resblock_kernels=(3,), resblock_dilations=(1,)
    ),
)


@st.composite
def plans(draw: st.DrawFn) -> ChunkPlan:
    overlap = draw(st.integers(2, 6))
    return ChunkPlan(
        first=overlap + draw(st.integers(4, 20)),
        growth=draw(st.sampled_from([1.0, 1.5, 2.0])),
        most=draw(st.integers(15, 40)),
        overlap=overlap,
        look_back=draw(st.integers(0, 12)),
    )


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Token2Wav:
    directory = write_synthetic(tmp_path_factory.mktemp("token2wav"), SMALLEST)
    return Token2Wav.load(directory, steps=1)


@pytest.fixture(scope="module")
def voice(speaker: Token2Wav) -> VoicePrompt:
    return speaker.voice("test")


def streamed(
    speaker: Token2Wav,
    voice: VoicePrompt,
    pieces: list[list[int]],
    plan: ChunkPlan | None = None,
    *,
    seed: int = 1,
) -> FloatWaveform:
    stream = speaker.stream(voice, seed=seed, plan=plan)
    return np.concatenate([*(stream.push(piece) for piece in pieces), stream.finish()])


@law
@given(count=st.integers(0, len(CODES)), plan=plans())
def test_chunks_add_up_to_the_length_of_the_whole(
    speaker: Token2Wav, voice: VoicePrompt, count: int, plan: ChunkPlan
) -> None:
    wave = streamed(speaker, voice, [CODES[:count]], plan)
    assert wave.shape == (mel_frames(count) * HOP,)
    assert wave.dtype == np.float32
    assert np.abs(wave).max(initial=0.0) <= 0.99


@law
@given(plan=plans(), cuts=st.lists(st.integers(0, 50), max_size=6))
def test_what_is_heard_does_not_depend_on_how_codes_are_grouped(
    speaker: Token2Wav, voice: VoicePrompt, plan: ChunkPlan, cuts: list[int]
) -> None:
    codes = CODES[:50]
    edges = [0, *sorted(cuts), 50]
    pieces = [codes[edges[i] : edges[i + 1]] for i in range(len(edges) - 1)]
    grouped = streamed(speaker, voice, pieces, plan)
    one_by_one = streamed(speaker, voice, [[code] for code in codes], plan)
    np.testing.assert_array_equal(grouped, one_by_one)


@law
@given(count=st.integers(1, 40))
def test_one_chunk_is_the_whole(speaker: Token2Wav, voice: VoicePrompt, count: int) -> None:
    whole = speaker.wave(CODES[:count], voice, seed=1)
    plan = ChunkPlan(first=61)
    np.testing.assert_array_equal(streamed(speaker, voice, [CODES[:count]], plan), whole)


def test_a_whole_answer_is_stretched_in_the_released_pieces(
    speaker: Token2Wav, voice: VoicePrompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows: list[int | None] = []
    condition = Flow.condition

    def spy(self: Flow, *args: Any, window: int | None) -> Any:
        windows.append(window)
        return condition(self, *args, window=window)

    monkeypatch.setattr(Flow, "condition", spy)
    speaker.wave(CODES[:45], voice, seed=1)
    streamed(speaker, voice, [CODES[:45]], ChunkPlan(first=20, most=20, look_back=5))
    assert windows == [None, 0, 10, 30]


def test_a_seed_repeats_and_another_one_does_not(speaker: Token2Wav, voice: VoicePrompt) -> None:
    plan = ChunkPlan()
    first, again, other = (streamed(speaker, voice, [CODES], plan, seed=s) for s in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_streams_that_share_the_weights_do_not_hear_each_other(
    speaker: Token2Wav, voice: VoicePrompt
) -> None:
    plan = ChunkPlan()
    alone = streamed(speaker, voice, [CODES[:60]], plan)
    ours = speaker.stream(voice, seed=1, plan=plan)
    theirs = speaker.stream(voice, seed=2, plan=plan)
    parts = []
    for code, another in zip(CODES[:60], reversed(CODES[:60]), strict=True):
        parts.append(ours.push([code]))
        theirs.push([another])
    theirs.finish()
    np.testing.assert_array_equal(np.concatenate([*parts, ours.finish()]), alone)


def test_the_first_chunk_is_heard_as_soon_as_the_plan_says(
    speaker: Token2Wav, voice: VoicePrompt
) -> None:
    stream = speaker.stream(voice, seed=1, plan=ChunkPlan(first=15, overlap=5))
    assert len(stream.push(CODES[:14])) == 0
    assert len(stream.push(CODES[14:15])) == mel_frames(10) * HOP


def test_chunks_grow_up_to_the_most(speaker: Token2Wav, voice: VoicePrompt) -> None:
    plan = ChunkPlan(first=10, growth=2.0, most=20, overlap=4)
    stream = speaker.stream(voice, seed=1, plan=plan)
    spoken = [at for at, code in enumerate(CODES, start=1) if len(stream.push([code]))]
    assert spoken == [10, 30, 50, 70]


def test_a_long_answer_costs_no_more_for_each_chunk(
    speaker: Token2Wav, voice: VoicePrompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    condition = Flow.condition

    def spy(self: Flow, codes: torch.Tensor, *args: object, **options: object) -> object:
        seen.append(codes.shape[1])
        return condition(self, codes, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Flow, "condition", spy)
    plan = ChunkPlan(first=10, most=20, overlap=4, look_back=6)
    stream = speaker.stream(voice, seed=1, plan=plan)
    for _ in range(2):
        stream.push(CODES)
    stream.finish()
    assert max(seen) == 20 + 4 + 6
    assert len(seen) == 9
    assert len(stream._codes) <= 2 * (20 + 4 + 6)


def test_a_frame_starts_from_the_same_noise_in_every_window(
    speaker: Token2Wav, voice: VoicePrompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    noises: dict[int, torch.Tensor] = {}
    made_again = 0
    speak = Flow.forward

    def spy(
        self: Flow, codes: torch.Tensor, prompt: Prompt, noise: torch.Tensor, **options: Any
    ) -> torch.Tensor:
        nonlocal made_again
        columns = noise[0, :, prompt.mel.shape[2] :].T
        for frame, column in enumerate(columns, mel_frames(options["window"])):
            made_again += frame in noises
            assert torch.equal(noises.setdefault(frame, column), column)
        return speak(self, codes, prompt, noise, **options)

    monkeypatch.setattr(Flow, "forward", spy)
    streamed(speaker, voice, [CODES], ChunkPlan(first=10, most=20, overlap=4, look_back=6))
    assert made_again > 50


def test_the_mels_of_two_windows_are_faded_into_each_other(
    speaker: Token2Wav, voice: VoicePrompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = iter(range(10))
    heard: list[torch.Tensor] = []
    vocode = WaveStream.push

    def level(
        self: Flow, codes: torch.Tensor, prompt: Prompt, noise: torch.Tensor, **_: Any
    ) -> Any:
        return torch.full((1, 80, noise.shape[2] - prompt.mel.shape[2]), float(next(levels)))

    def spy(self: WaveStream, mel: torch.Tensor, final: int) -> torch.Tensor:
        heard.append(mel[0, 0, :final])
        return vocode(self, mel, final)

    monkeypatch.setattr(Flow, "forward", level)
    monkeypatch.setattr(WaveStream, "push", spy)
    streamed(speaker, voice, [CODES[:45]], ChunkPlan(first=15, growth=1, overlap=5))
    steps = torch.cat(heard).diff()
    assert float(steps.min()) >= 0
    assert float(steps.max()) < 0.15  # 17 frames for a step of 1
    assert float(steps.sum()) == pytest.approx(2)


def test_joins_are_no_rougher_than_the_rest(speaker: Token2Wav, voice: VoicePrompt) -> None:
    plan = ChunkPlan(first=12, growth=1.0, most=12, overlap=4)
    wave = streamed(speaker, voice, [CODES], plan)
    steps = np.abs(np.diff(wave))
    joins = [mel_frames(end - plan.overlap) * HOP for end in range(12, len(CODES), 12)]
    at_joins = np.concatenate([steps[join - 2 : join + 2] for join in joins])
    assert len(joins) == 6
    assert at_joins.max() <= steps.max()
    assert at_joins.mean() <= 1.5 * steps.mean()


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 40), after=st.integers(1, 5), seed=st.integers(0, 99))
def test_no_step_of_a_fade_is_much_larger_than_in_its_two_sides(
    count: int, after: int, seed: int
) -> None:
    chance = torch.Generator().manual_seed(seed)
    before, *old = torch.randn(1 + count, generator=chance, dtype=torch.float64)
    new = torch.randn(count + after, generator=chance, dtype=torch.float64) * 3
    old = torch.stack(old)
    joined = torch.cat([before[None], fade(old, new, count)])
    assert_seam_is_bounded(joined, torch.cat([before[None], old]), new, count)


def assert_seam_is_bounded(
    joined: torch.Tensor, old: torch.Tensor, new: torch.Tensor, count: int, slack: float = 1e-12
) -> None:
    """The bound that `fade` states; `joined` and `old` begin one number before the fade."""
    steps = joined.diff().abs()[: count + 1]
    most = torch.zeros(count + 1, dtype=joined.dtype)
    most[:count] = old.diff().abs()[:count]
    most[1:] = torch.maximum(most[1:], new.diff().abs()[:count])
    apart = (old[1 : count + 1] - new[:count]).abs()
    near = torch.maximum(
        torch.nn.functional.pad(apart, (0, 1)), torch.nn.functional.pad(apart, (1, 0))
    )
    assert bool((steps <= most + near * (torch.pi / (2 * count)) + slack).all())


def test_joins_of_an_answer_keep_the_bound(
    speaker: Token2Wav, voice: VoicePrompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides: list[tuple[torch.Tensor, torch.Tensor]] = []

    def spy(old: torch.Tensor, new: torch.Tensor, most: int) -> torch.Tensor:
        if old.ndim == 1 and len(old):
            sides.append((old, new))
        return fade(old, new, most)

    monkeypatch.setattr(stream_module, "fade", spy)
    plan = ChunkPlan(first=12, growth=1.0, most=12, overlap=2)
    wave = torch.from_numpy(streamed(speaker, voice, [CODES], plan))
    joins = [mel_frames(end - plan.overlap) * HOP for end in range(12, len(CODES), 12)]
    assert len(joins) == len(sides) == 6
    count = FADE * HOP
    for join, (old, new) in zip(joins, sides, strict=True):
        before = wave[join - 1 : join]
        joined = wave[join - 1 : join + count + 1]
        assert_seam_is_bounded(joined, torch.cat([before, old]), new, count, slack=1e-6)
        # What the module says of it: 0.003 of full scale, where the chunks disagree wholly.
        assert 2 * 0.99 * torch.pi / (2 * count) < 0.0031


def test_an_answer_without_codes_is_silent(speaker: Token2Wav, voice: VoicePrompt) -> None:
    assert streamed(speaker, voice, [], ChunkPlan()).shape == (0,)
    assert speaker.wave([], voice, seed=0).shape == (0,)


def test_an_answer_that_ends_with_a_chunk_gives_what_was_held(
    speaker: Token2Wav, voice: VoicePrompt
) -> None:
    stream = speaker.stream(voice, seed=1, plan=ChunkPlan(first=15, overlap=5))
    stream.push(CODES[:15])
    rest = stream.finish()
    assert len(rest) == (mel_frames(15) - mel_frames(10)) * HOP
    assert np.abs(rest).max() > 0


@pytest.mark.parametrize("wrong", [4096, -1, 151_936])
def test_what_is_no_code_never_reaches_the_flow(
    speaker: Token2Wav, voice: VoicePrompt, wrong: int
) -> None:
    stream = speaker.stream(voice, seed=1, plan=ChunkPlan())
    with pytest.raises(GenerationError, match=f"{wrong} is not a speech code"):
        stream.push([*CODES[:30], wrong])
    untouched = streamed(speaker, voice, [CODES[:20]], ChunkPlan())
    after = np.concatenate([stream.push(CODES[:20]), stream.finish()])
    np.testing.assert_array_equal(after, untouched)


def test_a_finished_stream_takes_no_more(speaker: Token2Wav, voice: VoicePrompt) -> None:
    stream = speaker.stream(voice, seed=1)
    stream.finish()
    with pytest.raises(GenerationError, match="was finished"):
        stream.push([1])
    with pytest.raises(GenerationError, match="was finished"):
        stream.finish()


def test_a_voice_that_is_only_a_vector_streams(speaker: Token2Wav) -> None:
    from echat_sdk.model.echat.token2wav.voices import vector_voice

    wave = streamed(speaker, vector_voice(torch.ones(1, 192)), [CODES[:40]], ChunkPlan())
    assert len(wave) == mel_frames(40) * HOP


def test_the_voice_and_the_guidance_are_heard(
    speaker: Token2Wav, voice: VoicePrompt, tmp_path: Path
) -> None:
    whole = speaker.wave(CODES[:20], voice, seed=1)
    other = VoicePrompt(voice.tokens, voice.mel, -voice.xvector)
    assert np.abs(speaker.wave(CODES[:20], other, seed=1) - whole).max() > 1e-4
    unguided = Token2Wav.load(write_synthetic(tmp_path, SMALLEST), steps=1, guidance=0)
    assert np.abs(unguided.wave(CODES[:20], voice, seed=1) - whole).max() > 1e-4


def test_a_flow_in_a_shorter_type_says_nearly_the_same(tmp_path: Path) -> None:
    directory = write_synthetic(tmp_path, SMALLEST)
    noise = torch.randn(1, 80, 41 + mel_frames(60), generator=torch.Generator().manual_seed(0))
    mels = []
    for kind in (torch.float32, torch.bfloat16):
        speaker = Token2Wav.load(directory, steps=2, dtype=kind)
        voice = speaker.voice("test")
        prompt = speaker.flow.prompt(voice.tokens, voice.mel, voice.xvector)
        mels.append(speaker.flow(torch.tensor([CODES[:60]]), prompt, noise))
        wave = streamed(speaker, voice, [CODES[:30]], ChunkPlan())
        assert len(wave) == mel_frames(30) * HOP
    assert mels[1].dtype == torch.float32
    assert float((mels[1] - mels[0]).abs().mean()) < 0.05 * float(mels[0].std())


@pytest.mark.parametrize(
    "wrong",
    [
        {"overlap": 1},
        {"first": 5, "overlap": 5},
        {"growth": 0.5},
        {"growth": float("nan")},
        {"most": 0},
        {"look_back": -1},
    ],
)
def test_a_plan_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="chunk plan cannot be"):
        ChunkPlan(**wrong)  # type: ignore[arg-type]


def test_the_schedule_is_that_of_the_config_unless_another_is_asked_for(tmp_path: Path) -> None:
    fewer = SMALLEST.model_copy(update={"steps": 3, "guidance": 0.0})
    directory = write_synthetic(tmp_path, fewer)
    calls: list[int] = []
    for asked, rows, steps in (({}, 1, 3), ({"steps": 2, "guidance": 0.7}, 2, 2)):
        opened = Token2Wav.load(directory, **asked)  # type: ignore[arg-type]
        opened.flow.decoder.estimator.register_forward_pre_hook(
            lambda _, given: calls.append(given[0].shape[0])
        )
        opened.wave(CODES[:10], opened.voice("test"), seed=1)
        assert calls == [rows] * steps
        calls.clear()


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"steps": 1000}, {"guidance": -1.0}])
def test_a_solver_that_cannot_be_is_refused(speaker: Token2Wav, wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="allowed are"):
        Token2Wav(speaker.flow, speaker.vocoder, **wrong)  # type: ignore[arg-type]


def test_a_voice_for_another_flow_is_refused(speaker: Token2Wav, voice: VoicePrompt) -> None:
    wrong = VoicePrompt(voice.tokens + 4096, voice.mel[:, :40], voice.xvector[:100])
    with pytest.raises(CheckpointError, match=r"mel is not .*x-vector is not .*codes outside"):
        speaker.stream(wrong, seed=1)
