"""Text to speech with an emotion: clause by clause, so that it starts while the rest is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Literal

import numpy as np

from echat_sdk.audio import FloatWaveform, Hertz, Seconds, Waveform, to_int16
from echat_sdk.cues import ReplyEmotion
from echat_sdk.errors import UnsupportedError
from echat_sdk.model.cascade.clauses import ClauseSplitter
from echat_sdk.model.cascade.hibari_voice import HibariVoice
from echat_sdk.model.cascade.kokoro import KokoroVoice
from echat_sdk.model.cascade.mandarin import mandarin_sounds
from echat_sdk.model.cascade.prosody import PROSODY, Prosody, tilt_wave
from echat_sdk.model.cascade.spoken_text import spoken_text
from echat_sdk.turn import Lang, SpeechDelta

MAX_CHARACTERS = 2_000
SAMPLE_RATE: Hertz = 24_000

_LOUDNESS = -21.0  # dBFS of the voiced parts, neutral: near the -23 LUFS of broadcast speech
_PEAK = 10 ** (-1.5 / 20)  # never louder, so that no player's resampling clips
_EDGE: Seconds = 0.03  # what is kept around speech, faded
_PAUSE_CLAUSE: Seconds = 0.12
_PAUSE_SENTENCE: Seconds = 0.30
_WINDOW = SAMPLE_RATE // 100


@dataclass(frozen=True, slots=True)
class VoiceInfo:
    """One voice that can be asked for by name."""

    name: str
    lang: Lang
    gender: Literal["female", "male"]
    engine: Literal["hibari", "kokoro"] = "kokoro"


VOICES = (
    VoiceInfo("heart", "en", "female", "hibari"),
    VoiceInfo("af_heart", "en", "female"),
    VoiceInfo("af_bella", "en", "female"),
    VoiceInfo("am_michael", "en", "male"),
    VoiceInfo("am_fenrir", "en", "male"),
    VoiceInfo("bf_emma", "en", "female"),
    VoiceInfo("bm_george", "en", "male"),
    VoiceInfo("zf_xiaoxiao", "zh", "female"),
    VoiceInfo("zf_xiaoyi", "zh", "female"),
    VoiceInfo("zm_yunxi", "zh", "male"),
    VoiceInfo("zm_yunyang", "zh", "male"),
)


class Voice:
    """All voices behind one door. English is loaded here, Kokoro when first used, or by `warm`.

    Args:
        kokoro: The file `kokoro-v1.0.int8.onnx`; None leaves the English voice `heart` alone.
        threads: Threads of each network.

    Raises:
        ModelMissingError: hibari-tts or onnxruntime is not installed.
        CheckpointError: hibari's network is another than this was written for.
    """

    sample_rate: Hertz = SAMPLE_RATE

    def __init__(self, kokoro: Path | None = None, *, threads: int = 1) -> None:
        self._kokoro_file = kokoro
        self._threads = threads
        self._hibari = HibariVoice(threads=threads)
        self._kokoro: KokoroVoice | None = None
        self._opening = Lock()

    def voices(self) -> tuple[VoiceInfo, ...]:
        """The voices that can speak now; the first of a language is its default."""
        return tuple(v for v in VOICES if v.engine == "hibari" or self._kokoro_file)

    def warm(self, lang: Lang) -> None:
        """Load what a language's default voice needs, so that its first words come at once.

        It may be called in one thread while another speaks.

        Raises:
            UnsupportedError: no voice for the language.
            ModelMissingError: a package or file that the voice needs is missing.
        """
        if self._find(lang, None).engine == "kokoro" and self._kokoro_file:
            # The dictionaries are read while ONNX Runtime prepares the networks.
            with ThreadPoolExecutor(1, thread_name_prefix="echat-words") as other:
                words = other.submit(mandarin_sounds, "好")
                self._open_kokoro(self._kokoro_file)
                words.result()
        for _ in self.say("好。" if lang == "zh" else "Yes.", lang=lang):
            pass

    def say(
        self,
        text: str | Iterable[str],
        *,
        emotion: ReplyEmotion | Prosody = ReplyEmotion.NEUTRAL,
        lang: Lang = "en",
        voice: str | None = None,
    ) -> Iterator[SpeechDelta]:
        """Speak a text, one delta a clause, each as soon as its words are there.

        Args:
            text: The text, or its pieces as they are being written; up to 2,000 characters.
            emotion: How it is said; settings of your own in place of an emotion's.
            lang: Language of the text.
            voice: A name out of `voices()`; None is the default of the language.

        Yields:
            Speech with the pause after it. `text` is the clause as it was written; a clause with
            nothing to say (emoji, marks) gives no delta.

        Raises:
            UnsupportedError: no such voice, none for the language, or the text is too long.
            ModelMissingError: a package or file that the voice needs is missing.
        """
        info = self._find(lang, voice)
        prosody = emotion if isinstance(emotion, Prosody) else PROSODY[emotion]
        if lang == "zh":
            prosody = prosody.keeping_tones()
        return self._say([text] if isinstance(text, str) else text, prosody, info)

    def _say(
        self, pieces: Iterable[str], prosody: Prosody, info: VoiceInfo
    ) -> Iterator[SpeechDelta]:
        for clause in _clauses(pieces, info):
            words = spoken_text(clause, info.lang)
            wave = self._speak(words, prosody, info) if words else np.zeros(0, np.float32)
            if wave.size:
                samples = _finish(wave, prosody, _pause_after(clause) / prosody.rate)
                yield SpeechDelta(samples, SAMPLE_RATE, clause)

    def _speak(self, words: str, prosody: Prosody, info: VoiceInfo) -> FloatWaveform:
        if info.engine == "hibari":
            return self._hibari.speak(words, prosody)
        assert self._kokoro_file is not None, "voices() offers no Kokoro voice without its file"
        return self._open_kokoro(self._kokoro_file).speak(words, prosody, voice=info.name)

    def _open_kokoro(self, file: Path) -> KokoroVoice:
        with self._opening:
            self._kokoro = self._kokoro or KokoroVoice(file, threads=self._threads)
            return self._kokoro

    def _find(self, lang: Lang, name: str | None) -> VoiceInfo:
        ours = [v for v in self.voices() if v.lang == lang]
        if not ours:
            language = "Chinese" if lang == "zh" else "English"
            raise UnsupportedError(
                f"no voice for {language} is installed; get one: echat models pull kokoro-82m"
            )
        found = ours[0] if name is None else next((v for v in ours if v.name == name), None)
        if found is None:
            names = ", ".join(v.name for v in ours)
            known = any(v.name == name for v in VOICES) and not self._kokoro_file
            hint = "; more with: echat models pull kokoro-82m" if known else ""
            raise UnsupportedError(f"no voice {name!r} for {lang!r}; there are {names}{hint}")
        return found


def _clauses(pieces: Iterable[str], info: VoiceInfo) -> Iterator[str]:
    splitter = ClauseSplitter(info.lang, brisk=info.engine == "kokoro")
    characters = 0
    for piece in pieces:
        characters += len(piece)
        if characters > MAX_CHARACTERS:
            raise UnsupportedError(
                f"the text is longer than {MAX_CHARACTERS:,} characters; say it in parts"
            )
        yield from splitter.push(piece)
    yield from splitter.flush()


def _pause_after(clause: str) -> Seconds:
    last = clause.rstrip().rstrip("\"'”’)]」』）")[-1:]
    return _PAUSE_CLAUSE if last in ",;:—，；：、" else _PAUSE_SENTENCE


def _finish(wave: FloatWaveform, prosody: Prosody, pause: Seconds) -> Waveform:
    """A clause at its loudness, without the silence around it, faded, and with its pause."""
    wave = tilt_wave(
        wave - wave.mean(dtype=np.float64).astype(np.float32), SAMPLE_RATE, prosody.tilt
    )
    windows = wave[: len(wave) // _WINDOW * _WINDOW].reshape(-1, _WINDOW)
    power = (windows.astype(np.float64) ** 2).mean(axis=1) + 1e-12
    loudest = np.percentile(power, 95)
    speech = np.flatnonzero(power > loudest * 1e-4)
    voiced = power[power > loudest * 1e-2]
    gain = 10 ** ((_LOUDNESS + prosody.loudness) / 20) / np.sqrt(voiced.mean())
    gain = min(gain, _PEAK / max(float(np.abs(wave).max()), 1e-6))

    edge = int(_EDGE * SAMPLE_RATE)
    start = max(0, speech[0] * _WINDOW - edge)
    end = min(len(wave), (speech[-1] + 1) * _WINDOW + 2 * edge)
    part = wave[start:end] * np.float32(gain)
    fade = np.sin(np.linspace(0, np.pi / 2, edge, dtype=np.float32)) ** 2
    fade = fade[: len(part) // 2]
    part[: len(fade)] *= fade
    part[len(part) - len(fade) :] *= fade[::-1]
    silence = np.zeros(int(pause * SAMPLE_RATE), np.float32)
    return to_int16(np.concatenate([part, silence]))
