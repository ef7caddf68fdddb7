from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from echat_sdk.audio import SAMPLE_RATE, to_float
from echat_sdk.bench.voice import SENTENCES, Sound, measure, word_errors
from echat_sdk.cues import ReplyEmotion
from echat_sdk.errors import ModelMissingError, UnsupportedError
from echat_sdk.model.cascade.prosody import PROSODY, Prosody
from echat_sdk.model.cascade.voice import MAX_CHARACTERS, VOICES, Voice
from echat_sdk.turn import Lang

REPLY = "Oh no, I am so sorry to hear that. It must hurt! Would you like to talk, or just sit?"


@pytest.fixture(scope="module")
def voice() -> Voice:
    """hibari ships its weights in its package, so these tests need no pull."""
    return Voice()


@pytest.fixture(scope="module")
def sound(voice: Voice) -> Callable[[str], Sound]:
    """The same sentences in an emotion, measured."""

    @cache
    def mean(word: str) -> Sound:
        found = []
        for sentence in SENTENCES[:3]:
            said = voice.say(sentence, emotion=ReplyEmotion.from_word(word))
            wave = to_float(np.concatenate([delta.samples for delta in said]))
            found.append(measure(wave, voice.sample_rate))
        return Sound(
            **{f.name: np.mean([getattr(s, f.name) for s in found]) for f in fields(Sound)}
        )

    return mean


def test_every_reply_emotion_has_a_prosody_of_its_own() -> None:
    assert set(PROSODY) == set(ReplyEmotion)
    assert len(set(PROSODY.values())) == len(ReplyEmotion)
    assert PROSODY[ReplyEmotion.NEUTRAL] == Prosody()


@pytest.mark.parametrize("name", ["comforting", "sorry", "sad"])
def test_a_low_mood_sounds_slower_lower_softer_duller_and_flatter(
    sound: Callable[[str], Sound], name: str
) -> None:
    mood, neutral = sound(name), sound("neutral")
    assert mood.seconds > 1.04 * neutral.seconds
    assert mood.pitch < 0.96 * neutral.pitch
    assert mood.level < neutral.level - 1.5
    assert mood.brightness < neutral.brightness - 1.0
    assert mood.range < neutral.range - 0.7


@pytest.mark.parametrize("name", ["joyful", "happy", "surprised"])
def test_a_high_mood_sounds_higher_wider_louder_and_brighter(
    sound: Callable[[str], Sound], name: str
) -> None:
    mood, neutral = sound(name), sound("neutral")
    assert mood.seconds < neutral.seconds
    assert mood.pitch > 1.07 * neutral.pitch
    assert mood.level > neutral.level + 0.7
    assert mood.brightness > neutral.brightness + 1.0
    assert mood.range > neutral.range + 1.0


@pytest.mark.parametrize("emotion", list(ReplyEmotion))
def test_speech_has_no_clicks_no_clipping_and_one_loudness(
    voice: Voice, emotion: ReplyEmotion
) -> None:
    levels = []
    for delta in voice.say(REPLY, emotion=emotion):
        wave = to_float(delta.samples)
        assert delta.sample_rate == 24_000
        assert np.abs(wave).max() < 10 ** (-1 / 20)
        assert abs(wave.mean()) < 1e-3
        edges = np.concatenate([wave[:24], wave[-24:]])  # 1 ms at either end
        assert np.abs(edges).max() < 1e-3
        levels.append(measure(wave, delta.sample_rate).level)
    assert len(levels) == 3
    assert max(levels) - min(levels) < 1.0


def test_pauses_are_short_after_a_comma_and_longer_after_a_sentence(voice: Voice) -> None:
    clause, sentence = (
        np.flatnonzero(d.samples[::-1])[0] / d.sample_rate
        for d in voice.say("I am so sorry, we miss him.")
    )
    assert 0.11 < clause < 0.2
    assert 0.29 < sentence < 0.4


def test_the_clauses_that_are_spoken_are_the_text_as_it_was_written(voice: Voice) -> None:
    assert "".join(d.text for d in voice.say(REPLY)) == REPLY


def test_speech_starts_before_the_rest_is_written(voice: Voice) -> None:
    asked = []

    def pieces() -> Iterator[str]:
        for piece in ("I am so sorry,", " you", " must", " miss him. ", "Tell me."):
            asked.append(piece)
            yield piece

    deltas = voice.say(pieces())
    assert next(deltas).text == "I am so sorry, "
    assert asked == ["I am so sorry,", " you"]


def test_the_same_words_in_the_same_emotion_sound_the_same(voice: Voice) -> None:
    once, again = ([d.samples for d in voice.say("I hear you.")] for _ in range(2))
    assert np.array_equal(once, again)


@pytest.mark.parametrize("text", ["", "   \n", "🎉🎉", "!!! ... ,", "**__**"])
def test_nothing_to_say_is_not_spoken(voice: Voice, text: str) -> None:
    assert list(voice.say(text)) == []


def test_marks_and_pictures_are_not_read_aloud(voice: Voice) -> None:
    plain, decorated = (
        np.concatenate([d.samples for d in voice.say(text)])
        for text in ("I am really here.", "I am **really** here. 🤗")
    )
    assert np.array_equal(plain, decorated)


def test_an_unknown_voice_is_answered_with_those_that_there_are(voice: Voice) -> None:
    with pytest.raises(UnsupportedError, match="no voice 'nobody' for 'en'; there are heart"):
        voice.say("Hello.", voice="nobody")
    with pytest.raises(UnsupportedError, match="echat models pull kokoro-82m"):
        voice.say("Hello.", voice="af_bella")


def test_chinese_without_its_voice_tells_how_to_get_it(voice: Voice) -> None:
    with pytest.raises(UnsupportedError, match=r"no voice for Chinese.*pull kokoro-82m"):
        voice.say("你好。", lang="zh")


def test_a_text_that_never_ends_is_stopped(voice: Voice) -> None:
    with pytest.raises(UnsupportedError, match="longer than 2,000 characters"):
        list(voice.say("a" * (MAX_CHARACTERS + 1)))


def test_a_missing_kokoro_file_is_told(tmp_path: Path) -> None:
    missing = Voice(tmp_path / "kokoro.onnx")
    with pytest.raises(ModelMissingError, match="pull kokoro-82m"):
        list(missing.say("你好。", lang="zh"))


def test_every_kokoro_voice_has_its_file_and_its_language() -> None:
    from echat_sdk.model.cascade.kokoro import voice_styles

    for info in VOICES:
        if info.engine == "kokoro":
            assert voice_styles(info.name).shape == (510, 256)
            assert np.isfinite(voice_styles(info.name)).all()
            assert info.lang == ("zh" if info.name.startswith("z") else "en")
            assert info.gender == ("female" if info.name[1] == "f" else "male")


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_emotion_is_understood_word_for_word(voice: Voice) -> None:
    import soxr

    from echat_sdk.model import zoo
    from echat_sdk.model.cascade.transcriber import Transcriber

    ears = Transcriber(zoo.locate("whisper-base"), threads=1)
    wrong = words = 0
    for emotion in ReplyEmotion:
        for sentence in SENTENCES:
            wave = np.concatenate([d.samples for d in voice.say(sentence, emotion=emotion)])
            heard = ears.transcribe(
                soxr.resample(to_float(wave), voice.sample_rate, SAMPLE_RATE), lang="en"
            )
            errors, count = word_errors(sentence, heard.text)
            wrong, words = wrong + errors, words + count
    assert wrong / words <= 0.02


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_kokoro_speaks_chinese_and_english_in_an_emotion() -> None:
    from echat_sdk.model import zoo

    voice = Voice(zoo.locate("kokoro-82m") / "kokoro-v1.0.int8.onnx")
    cases: tuple[tuple[str, Lang, str], ...] = (
        ("别着急，慢慢来，我在这里陪着你。", "zh", "zf_xiaoxiao"),
        ("There is no hurry, so take all the time that you need.", "en", "am_michael"),
    )
    for text, lang, name in cases:
        neutral, comforting = (
            measure(to_float(np.concatenate([d.samples for d in deltas])), voice.sample_rate)
            for deltas in (
                voice.say(text, lang=lang, voice=name, emotion=emotion)
                for emotion in (ReplyEmotion.NEUTRAL, ReplyEmotion.COMFORTING)
            )
        )
        assert comforting.pitch < 0.97 * neutral.pitch
        assert comforting.level < neutral.level - 1
        assert comforting.seconds > neutral.seconds
