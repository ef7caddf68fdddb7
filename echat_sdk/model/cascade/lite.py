"""The cascade as a `SpeechModel`: opens its four parts and passes one utterance through them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from echat_sdk.audio import SAMPLE_RATE, AudioFrame, FloatWaveform, Hertz, Waveform, to_float
from echat_sdk.cues import Cue, Cues, ReplyEmotion
from echat_sdk.errors import ModelMissingError, UnsupportedError
from echat_sdk.model import zoo
from echat_sdk.model.cascade.parts import Parts
from echat_sdk.turn import (
    Delta,
    Heard,
    Lang,
    LangChoice,
    Recollection,
    SpeechDelta,
    TextDelta,
    ThinkStyle,
    Thought,
)

if TYPE_CHECKING:
    from echat_sdk.model.cascade.tool_choice import CascadeToolChooser
    from echat_sdk.protocols import Hearing
    from echat_sdk.tools import Tool

# Which parts of the zoo a cascade is made of: ears and mind.
PARTS = {
    "echat-lite": ("whisper-base", "qwen2.5-coder-0.5b"),
    "echat-mini": ("whisper-tiny.en", "smollm2-135m"),
}
KOKORO = "kokoro-v1.0.int8.onnx"
VOICE_RATE: Hertz = 24_000
TASKS = ("asr", "ser", "sgc", "srwt", "sttc")
TOOL_USERS = ("echat-lite",)  # the mind of echat-mini takes the wrong tool for every fifth wish


class CascadeModel:
    """Hears with Whisper, feels with own heads, thinks with a small LLM, speaks with a small voice.

    Args:
        name: Its name in the zoo.
        parts: Ears, mind and voice.
        voice: Voice of its answers; empty for the language's default.
        infer: Cues that may be inferred; the others stay unknown.
    """

    def __init__(
        self,
        name: str,
        parts: Parts,
        *,
        voice: str = "",
        infer: frozenset[str] = frozenset({"emotion", "gender"}),
    ) -> None:
        self.name = name
        self.parts = parts
        self.voice = voice or None
        self.infer = infer

    @property
    def sample_rate(self) -> Hertz:
        """Samples a second of the speech that it makes."""
        return VOICE_RATE

    def listen(self, *, lang: LangChoice = "auto") -> CascadeHearing:
        """Open an utterance that will be pushed frame by frame."""
        return CascadeHearing(self, lang)

    def read(self, text: str, cues: Cues, *, lang: LangChoice = "auto") -> CascadeHearing:
        """Open an utterance whose words and cues are given."""
        written = Heard(" ".join(text.split()), lang_of(text) if lang == "auto" else lang, cues)
        return CascadeHearing(self, lang, written)

    def understand(self, hearing: Hearing, tasks: Sequence[str]) -> str:
        """Answer OSUM tasks in OSUM's output grammar."""
        for task in (name.partition(":")[0] for name in tasks):
            if task not in TASKS:
                able = ", ".join(zoo.models_for_task(task)) or "no model"
                raise UnsupportedError(f"{self.name} cannot do {task!r}; {able} can")
        assert isinstance(hearing, CascadeHearing)
        return hearing.understand(tasks)

    def voices(self) -> tuple[str, ...]:
        """Names of the voices that can speak now."""
        return tuple(voice.name for voice in self.parts.voice.voices())

    def tool_chooser(self, tools: Sequence[Tool]) -> CascadeToolChooser:
        """What tells which of these tools somebody asks for."""
        from echat_sdk.model.cascade.tool_choice import CascadeToolChooser

        if self.name not in TOOL_USERS:
            able = ", ".join(TOOL_USERS)
            raise UnsupportedError(f"{self.name} is too small to choose tools; {able} can")
        return CascadeToolChooser(lambda: self.parts.generator, tools)

    def say(
        self, text: str, *, emotion: ReplyEmotion, voice: str | None = None
    ) -> Iterator[SpeechDelta]:
        """Speak a text, clause by clause."""
        lang = lang_of(text)
        return self.parts.voice.say(
            text, emotion=emotion, lang=lang, voice=voice or self._able(lang)
        )

    def speak(
        self, text: str, emotion: ReplyEmotion, lang: Lang, voice: str | None
    ) -> Iterator[SpeechDelta]:
        """Speak a piece of an answer, in the voice that was wished for if it can."""
        if not any(each.lang == lang for each in self.parts.voice.voices()):
            return iter(())  # a language without a voice is answered in writing
        return self.parts.voice.say(text, emotion=emotion, lang=lang, voice=self._able(lang, voice))

    def _able(self, lang: Lang, wish: str | None = None) -> str | None:
        """The wished voice, else the usual one, if it speaks the language; None for its default."""
        able = [each.name for each in self.parts.voice.voices() if each.lang == lang]
        return next((name for name in (wish, self.voice) if name in able), None)


class CascadeHearing:
    """One utterance on its way through a `CascadeModel`."""

    def __init__(self, model: CascadeModel, lang: LangChoice, heard: Heard | None = None) -> None:
        self._model = model
        self._lang = lang
        self._frames: list[Waveform] = []
        self._heard = heard
        self._infer = model.infer

    def infer_only(self, cues: Collection[str]) -> None:
        """Infer no other cues from what is not heard yet."""
        self._infer = self._model.infer & frozenset(cues)

    def push(self, frame: AudioFrame) -> None:
        """Take the next frame; the work is done when `heard` is asked for."""
        self._frames.append(frame.samples)
        self._heard = None

    def heard(self) -> Heard:
        """Words and cues of all that was pushed; both empty where nobody spoke."""
        if self._heard is None:
            self._heard = self._hear()
        return self._heard

    def reply(
        self,
        recollection: Recollection,
        *,
        think: ThinkStyle = "tag",
        speak: bool = True,
        voice: str | None = None,
    ) -> Iterator[Delta]:
        """Think and answer; each clause is spoken as soon as it is written."""
        heard = self.heard()
        yield heard
        if not heard.transcript:
            return
        emotion = ReplyEmotion.NEUTRAL
        for delta in self._model.parts.thinker.reply(heard, recollection, think=think):
            yield delta
            match delta:
                case Thought():
                    emotion = delta.reply_emotion
                case TextDelta() if speak:
                    yield from self._model.speak(delta.text, emotion, heard.lang, voice)

    def understand(self, tasks: Sequence[str]) -> str:
        """The answer to OSUM tasks, in the order in which OSUM writes them."""
        heard = self.heard()
        words = heard.transcript if {"asr", "sttc"} & set(tasks) else ""
        if "srwt" in tasks:
            words = self._timed_words()
        tags = [_tag(heard.cues.emotion)] if "ser" in tasks else []
        tags += [_tag(heard.cues.gender)] if "sgc" in tasks else []
        answer = words + "".join(tags)
        if "sttc" in tasks:
            deltas = self.reply(Recollection(), think="off", speak=False)
            reply = "".join(d.text for d in deltas if isinstance(d, TextDelta))
            answer += f"<开始回答>{reply}"
        return answer

    def _hear(self) -> Heard:
        from echat_sdk.model.cascade.activity import analyse

        model, samples = self._model, self._samples()
        seconds = len(samples) / SAMPLE_RATE
        activity = analyse(samples)
        transcript = model.parts.transcriber.transcribe(
            samples, lang=self._lang, spans=activity.spans
        )
        if not transcript.text:
            return Heard("", transcript.lang, Cues(), seconds)
        cues = model.parts.cue_hearer.hear(
            samples,
            words=transcript.text,
            lang=transcript.lang,
            speech_seconds=activity.speech_seconds,
            snr_db=activity.snr_db,
            infer=self._infer,
        )
        return Heard(transcript.text, transcript.lang, cues, seconds)

    def _samples(self) -> FloatWaveform:
        whole = np.concatenate(self._frames) if self._frames else np.zeros(0, np.int16)
        return to_float(whole)

    def _timed_words(self) -> str:
        words = self._model.parts.transcriber.align(self._samples(), lang=self._lang)
        return "".join(f"<{w.start:.1f}>{w.text}<{w.end:.1f}>" for w in words)


def lang_of(text: str) -> Lang:
    """The language of a written text: Chinese where it has Han characters."""
    return "zh" if any("\u4e00" <= char <= "\u9fff" for char in text) else "en"


def _tag(cue: Cue) -> str:
    return f"<{cue.label.upper()}>"


def load_cascade(
    name: str, *, threads: int, voice: str, infer: frozenset[str], lazy: bool, lang: LangChoice
) -> CascadeModel:
    """Open a cascade by its name in the zoo; see `echat_sdk.model.load_model`."""
    if name not in PARTS:
        zoo.card(name)  # an unknown name is told with the names that there are
        raise UnsupportedError(f"{name} is not one of {', '.join(PARTS)}")
    if voice:
        _check_voice(voice)
    ears, mind = (zoo.locate(part) for part in PARTS[name])
    kokoro = zoo.find("kokoro-82m")
    parts = Parts(ears, mind, kokoro and kokoro / KOKORO, threads=threads)
    if not lazy:
        try:
            parts.open_all("zh" if lang == "zh" else "en")
        except ModuleNotFoundError as error:
            raise ModelMissingError(
                f'{name} needs the package {error.name}; run: pip install "echat-sdk[lite]"'
            ) from error
    return CascadeModel(name, parts, voice=voice, infer=infer)


def _check_voice(name: str) -> None:
    from echat_sdk.model.cascade.voice import VOICES

    names = [info.name for info in VOICES]
    if name not in names:
        raise UnsupportedError(f"no voice {name!r}; there are {', '.join(names)}")
