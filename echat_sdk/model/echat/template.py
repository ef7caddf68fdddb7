r"""The exact sequence of ids for every mode, for training and for inference: one template.

    system prompt │ <|im_start|>user\n  task prompt  [audio]  <|im_end|>\n │
    <|im_start|>assistant\n  text <|im_end|>  [begin codes end] │ \n <|im_start|>user\n …

A prompt is everything up to the answer; a training sample is that prompt and its answer, by
construction. A later turn's prompt begins with all of the turn before, so a cache of the past is
never computed twice; the speech of a past answer stands at its end, so it can be cut off a cache
or left in. `reference.ReferenceTemplate` writes what upstream's code writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Self

from echat_sdk.errors import ConfigError
from echat_sdk.model.echat.interleave import Piece, SpeechTooShort, after_thought, interleave
from echat_sdk.model.echat.layout import Layout, Part, PastTurn, Segment
from echat_sdk.model.echat.mode import Mode
from echat_sdk.model.echat.prompt import SYSTEM_PROMPTS, System
from echat_sdk.model.echat.vocab import TextTokenizer, Vocab


@dataclass(frozen=True, slots=True)
class Template:
    r"""Writes sequences. Holds the ids of all fixed text, so writing one encodes nothing.

    Attributes:
        vocab: The id space.
        system: `<|im_start|>system\n…<|im_end|>\n` for each system prompt.
        user_start: `<|im_start|>user\n`.
        assistant_start: `<|im_end|>\n<|im_start|>assistant\n`.
        newline: A line break.
        piece: Reads the letters of a token.
    """

    vocab: Vocab
    system: Mapping[System, tuple[int, ...]]
    user_start: tuple[int, ...]
    assistant_start: tuple[int, ...]
    newline: tuple[int, ...]
    piece: Piece | None = None

    @classmethod
    def of(cls, tokenizer: TextTokenizer, vocab: Vocab) -> Self:
        """The template in the ids of a tokenizer."""
        newline = tuple(tokenizer.encode("\n"))

        def opened(text: str) -> tuple[int, ...]:
            return (vocab.im_start, *tokenizer.encode(text))

        return cls(
            vocab=vocab,
            system={
                name: (*opened(f"system\n{text}"), vocab.im_end, *newline)
                for name, text in SYSTEM_PROMPTS.items()
            },
            user_start=opened("user\n"),
            assistant_start=(vocab.im_end, *newline, *opened("assistant\n")),
            newline=newline,
            piece=lambda token: tokenizer.decode([token]),
        )

    def prompt(
        self,
        mode: Mode,
        *,
        audio: int = 0,
        prompt: Sequence[int] = (),
        history: Sequence[PastTurn] = (),
    ) -> Layout:
        """All that stands before the answer, for inference.

        Args:
            mode: What is asked of the model.
            audio: Embeddings of the user's audio.
            prompt: Ids of the task, the question or the words to speak.
            history: Turns before, oldest first.

        Raises:
            ConfigError: audio for a mode that hears nothing, or none for one that does.
        """
        self._check(mode, audio)
        return Layout((*self._prompt(mode, audio, prompt, history),))

    def sample(
        self,
        mode: Mode,
        *,
        text: Sequence[int],
        codes: Sequence[int] = (),
        audio: int = 0,
        prompt: Sequence[int] = (),
        history: Sequence[PastTurn] | None = None,
        hidden: frozenset[int] = frozenset(),
    ) -> Layout | SpeechTooShort:
        """A prompt and its answer, for training.

        Args:
            mode: What is asked of the model.
            text: Ids of the answer's text, with its end mark as the data has it. For text to speech
                these are the words to speak, and `prompt` is not used.
            codes: Speech codes of the answer, without marks.
            audio: Embeddings of the user's audio.
            prompt: Ids of the task or the question.
            history: Turns before, oldest first. Here None and empty are the same.
            hidden: Places in `text` of slots that nobody knows.

        Returns:
            The sequence, or why its speech cannot be interleaved.

        Raises:
            ConfigError: audio for a mode that hears nothing, or none for one that does.
            GenerationError: a code outside the speech tokenizer's.
        """
        self._check(mode, audio)
        text = tuple(text)
        if mode in (Mode.TTS, Mode.TTS_STREAM):
            prompt = self._to_speak(text)
        hidden = self._hidden(mode, text, hidden)
        segments = [*self._learned_prompt(mode, audio, prompt, history)]
        if not mode.speaks:
            segments.append(Segment(Part.TEXT, text, supervised=True, hidden=hidden))
        elif mode is Mode.TTS:
            segments.append(Segment(Part.SPEECH, self.vocab.spoken(codes), supervised=True))
        elif not mode.interleaves:
            segments.append(Segment(Part.TEXT, text, supervised=True, hidden=hidden))
            segments.append(Segment(Part.SPEECH, self.vocab.spoken(codes), supervised=True))
        else:
            mixed = self._mix(mode, text, self.vocab.spoken(codes))
            if isinstance(mixed, SpeechTooShort):
                return mixed
            segments += self._hide(self._runs(mixed, supervised=True), hidden)
        return Layout(tuple(segments))

    # --- where upstream does otherwise ------------------------------------------------------------

    def _prompt(
        self, mode: Mode, audio: int, prompt: Sequence[int], history: Sequence[PastTurn]
    ) -> Iterator[Segment]:
        yield from self._turns(mode, audio, prompt, history)
        if mode is Mode.TTS:
            yield Segment(Part.SPEECH, (self.vocab.speech_bos,))

    def _learned_prompt(
        self, mode: Mode, audio: int, prompt: Sequence[int], history: Sequence[PastTurn] | None
    ) -> Iterator[Segment]:
        return self._turns(mode, audio, prompt, history or ())

    def _to_speak(self, text: tuple[int, ...]) -> tuple[int, ...]:
        return self.vocab.text_of(text)

    def _hidden(self, mode: Mode, text: tuple[int, ...], given: frozenset[int]) -> frozenset[int]:
        return given

    def _mix(
        self, mode: Mode, text: tuple[int, ...], speech: tuple[int, ...]
    ) -> tuple[int, ...] | SpeechTooShort:
        # A thought is not spoken, so it asks for no speech.
        thought = after_thought(text, self.piece) if mode.thinks else 0
        mixed = interleave(text[thought:], speech)
        return mixed if isinstance(mixed, SpeechTooShort) else (*text[:thought], *mixed)

    # --- pieces of a sequence ---------------------------------------------------------------------

    def _turns(
        self, mode: Mode, audio: int, prompt: Sequence[int], history: Sequence[PastTurn]
    ) -> Iterator[Segment]:
        if mode.system is None:
            yield from self._message(audio, prompt)
            return
        yield Segment(Part.SYSTEM, self.system[mode.system])
        for turn in history:
            yield from self._question(turn.audio, turn.prompt)
            yield from self._runs(turn.answer)
            # An answer that was cut off has no end mark of its own.
            over = () if self.vocab.text_end in turn.answer else (self.vocab.im_end,)
            yield Segment(Part.TURN, (*over, *self.newline))
        yield from self._question(audio, prompt if mode.asks else ())

    def _question(self, audio: int, prompt: Sequence[int]) -> Iterator[Segment]:
        yield Segment(Part.USER, self.user_start)
        yield from self._message(audio, prompt)
        yield Segment(Part.ASSISTANT, self.assistant_start)

    def _message(self, audio: int, prompt: Sequence[int]) -> Iterator[Segment]:
        if prompt:
            yield Segment(Part.PROMPT, tuple(prompt))
        if audio:
            held = (self.vocab.audio_placeholder,) * audio
            yield Segment(Part.AUDIO, (self.vocab.audio_begin, *held, self.vocab.audio_end))

    def _runs(self, ids: Sequence[int], *, supervised: bool = False) -> Iterator[Segment]:
        for speech, run in groupby(ids, self.vocab.is_speech):
            yield Segment(Part.SPEECH if speech else Part.TEXT, tuple(run), supervised)

    @staticmethod
    def _hide(segments: Iterator[Segment], hidden: frozenset[int]) -> Iterator[Segment]:
        """Carry places counted over the whole text to the runs of text that hold them."""
        start = 0
        for segment in segments:
            if segment.part is Part.TEXT:
                here = range(len(segment.ids))
                yield replace(segment, hidden=frozenset(i for i in here if start + i in hidden))
                start += len(segment.ids)
            else:
                yield segment

    @staticmethod
    def _check(mode: Mode, audio: int) -> None:
        if mode.hears != (audio > 0):
            raise ConfigError(
                f"{audio} audio embeddings for {mode.value}, which "
                f"{'hears and needs some' if mode.hears else 'hears nothing'}"
            )
