from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.audio import SAMPLE_RATE, FloatWaveform
from echat_sdk.errors import CheckpointError, ModelMissingError, UnsupportedError
from echat_sdk.model import zoo
from echat_sdk.model.cascade.activity import Span
from echat_sdk.model.cascade.transcriber import _LOOP, Transcriber, _cut

SOUND = np.random.default_rng(3).normal(0, 0.1, 3 * SAMPLE_RATE).astype(np.float32)


@pytest.fixture(scope="module")
def transcriber(tiny_whisper: Path) -> Transcriber:
    return Transcriber(tiny_whisper, threads=1)


def test_noise_and_silence_have_no_words(transcriber: Transcriber) -> None:
    for sound in (SOUND, np.zeros_like(SOUND), SOUND[:0]):
        heard = transcriber.transcribe(sound)
        assert (heard.text, heard.lang, heard.confidence) == ("", "en", 0.0)
        assert transcriber.align(sound) == ()


def test_words_lie_inside_the_recording_in_order(transcriber: Transcriber) -> None:
    spans = [Span(0.5, 1.2), Span(1.6, 2.9)]
    words = transcriber.align(SOUND, spans=spans)
    times = [time for word in words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert all(0 <= time <= 3 for time in times)


def test_confidence_is_a_probability(transcriber: Transcriber) -> None:
    heard = transcriber.transcribe(SOUND, spans=[Span(0, 3)])
    assert 0 <= heard.confidence <= 1


def test_what_is_written_after_the_end_of_the_sound_is_dropped(transcriber: Transcriber) -> None:
    zero = transcriber._id("<|notimestamps|>") + 1
    tokens = [zero, 5, 6, zero + 50, zero + 50, 7, zero + 98, zero + 99, 8, 9]
    assert transcriber._spoken(tokens, 2.0) == ([5, 6, 7], True)
    assert transcriber._spoken(tokens, 1.0) == ([5, 6], True)
    assert transcriber._spoken(tokens, 30.0) == ([5, 6, 7, 8, 9], False)


def test_an_english_model_refuses_chinese_and_names_one_that_hears_it(
    transcriber: Transcriber,
) -> None:
    assert transcriber.languages == ("en",)
    with pytest.raises(UnsupportedError, match="echat-lite"):
        transcriber.transcribe(SOUND, lang="zh")


def test_a_missing_model_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError, match="pull"):
        Transcriber(tmp_path)


def test_a_damaged_model_is_a_checkpoint_error(tmp_path: Path, tiny_whisper: Path) -> None:
    for file in tiny_whisper.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[:3000])
    with pytest.raises(CheckpointError, match="mend"):
        Transcriber(tmp_path)


@pytest.mark.parametrize(
    "text", ["Help me Help me Help me Help me Help me", "你好您好您好您好您好"]
)
def test_a_loop_is_seen(text: str) -> None:
    assert _LOOP.search(text)


@pytest.mark.parametrize("text", ["No, no, no, no.", "哈哈哈哈", "It was the best of times."])
def test_lively_speech_is_no_loop(text: str) -> None:
    assert not _LOOP.search(text)


@given(st.lists(st.floats(0.2, 40), min_size=1, max_size=6), st.floats(0.3, 2))
def test_long_speech_is_cut_into_pieces_that_miss_nothing(
    lengths: list[float], pause: float
) -> None:
    spans, now = [], 0.0
    for length in lengths:
        spans.append(Span(now, now + length))
        now += length + pause
    pieces = _cut(np.zeros(int(now * SAMPLE_RATE), np.float32), spans)
    assert all(stop - start <= 25.2 * SAMPLE_RATE + 1 for start, stop in pieces)
    assert all(start < stop for start, stop in pieces)
    for span in spans:
        for time in np.linspace(span.start, span.end - 0.01, 7):
            assert any(start <= time * SAMPLE_RATE <= stop for start, stop in pieces)


@pytest.fixture(scope="module")
def say() -> Callable[[str], FloatWaveform]:
    """The packaged English voice, at 16 kHz."""
    import hibari
    import soxr

    voice = hibari.Hibari()

    def spoken(text: str) -> FloatWaveform:
        return np.asarray(soxr.resample(voice(text, seed=1), 24_000, SAMPLE_RATE), np.float32)

    return spoken


@pytest.mark.real
@pytest.mark.parametrize("model", ["whisper-base", "whisper-tiny.en"])
def test_short_and_long_speech_is_written_down(
    say: Callable[[str], FloatWaveform], model: str
) -> None:
    transcriber = Transcriber(zoo.locate(model))
    for text in (
        "Oh my God.",
        "I don't know what to do anymore.",
        "I studied for weeks, I really tried my best, and still it was not good enough.",
    ):
        heard = transcriber.transcribe(say(text))
        assert _plain(heard.text) == _plain(text)
        assert heard.lang == "en"
        assert heard.confidence > 0.3


@pytest.mark.real
def test_words_are_timed_to_a_tenth_or_two(say: Callable[[str], FloatWaveform]) -> None:
    first, second = say("I lost my dog."), say("Nobody called me.")
    gap = np.zeros(2 * SAMPLE_RATE, np.float32)
    words = Transcriber(zoo.locate("whisper-base")).align(np.concatenate([first, gap, second]))
    assert " ".join(word.text.lower() for word in words) == "i lost my dog nobody called me"
    turn = len(first) / SAMPLE_RATE
    assert words[3].end == pytest.approx(turn, abs=0.6)
    assert words[4].start == pytest.approx(turn + 2, abs=0.4)


@pytest.mark.real
@pytest.mark.slow
def test_two_minutes_are_heard_whole(say: Callable[[str], FloatWaveform]) -> None:
    texts = (
        "My car broke down on the highway in the middle of the night.",
        "I studied for weeks, and still it was not good enough for them.",
        "She said she would call, but she never did.",
        "We moved to Chicago three years ago because of my work.",
        "The doctor said the results will come on Friday.",
        "I feel lonely since my best friend moved away.",
    )
    pause = np.zeros(SAMPLE_RATE // 2, np.float32)
    once = np.concatenate([part for text in texts for part in (say(text), pause)])
    count = 120 * SAMPLE_RATE // len(once)
    heard = Transcriber(zoo.locate("whisper-base")).transcribe(np.tile(once, count))
    for word in ("highway", "weeks", "call", "friday", "friend"):
        assert _plain(heard.text).count(word) == count


def _plain(text: str) -> str:
    return re.sub(r"[^a-z' ]", "", text.lower())


@pytest.mark.real
def test_a_word_or_two_are_neither_doubled_nor_taken_for_the_prompt(
    say: Callable[[str], FloatWaveform],
) -> None:
    transcriber = Transcriber(zoo.locate("whisper-base"))
    for text in ("I give up, tell me!", "Ooh, tell me!"):
        heard = transcriber.transcribe(say(text))
        assert heard.lang == "en"
        assert heard.text.lower().count("tell me") == 1, heard.text
