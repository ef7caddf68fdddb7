r"""The exact sequence of ids for every mode, for training and for inference: one template.

    system prompt │ <|im_start|>user\n  task prompt  [audio]  <|im_end|>\n │
    <|im_start|>assistant\n  text <|im_end|>  [begin codes end] │ \n <|im_start|>user\n …

A prompt is everything up to the answer; a training sample is that prompt and its answer, by
construction. A later turn's prompt begins with all of the turn before, so a cache of the past is
never computed twice; the speech of a past answer stands at its end, so it can be cut off a cache
or left in. `reference-repro` writes what the published training and inference code write, which
differ from each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import groupby

from echat_sdk.errors import ConfigError
from echat_sdk.model.echat.interleave import Piece, SpeechTooShort, after_thought, interleave
from echat_sdk.model.echat.prompt import SYSTEM_PROMPTS, System, Version
from echat_sdk.model.echat.vocab import BLANK, IGNORED, UNKNOWN_SLOT, TextTokenizer, Vocab

REFERENCE_TURNS = 5
"""How many past turns the published inference code keeps."""


class Mode(StrEnum):
    """What a sequence is for, under the name that its training data has upstream."""

    UNDERSTAND = "text"
    S2T = "s2t_chat"
    S2T_FAKE = "s2t_chat_fake"
    S2T_THINK = "s2t_chat_think"
    S2S = "speech2text_token"
    S2S_THINK = "speech2text_token_think"
    S2S_HISTORY = "speech2text_token_history"
    S2S_STREAM = "speech2text_token_streaming"
    S2S_STREAM_THINK = "speech2text_token_streaming_think"
    T2T = "text2text"
    TTS = "text2token"
    TTS_STREAM = "text2token_streaming"
    OSUM = "osum_text"

    @property
    def hears(self) -> bool:
        """Whether the user's audio is in the sequence."""
        return self not in (Mode.T2T, Mode.TTS, Mode.TTS_STREAM)

    @property
    def asks(self) -> bool:
        """Whether the user's message holds text: a task, a question, words to speak."""
        return not self.hears or self in (Mode.UNDERSTAND, Mode.OSUM)

    @property
    def speaks(self) -> bool:
        """Whether the answer holds speech."""
        return self.value.startswith(("speech2", "text2token"))

    @property
    def interleaves(self) -> bool:
        """Whether text and speech come in turn."""
        return "streaming" in self.value

    @property
    def thinks(self) -> bool:
        """Whether a thought comes first."""
        return self.value.endswith("think") or self is Mode.S2T_FAKE


_SYSTEM: Mapping[Mode, System] = {
    Mode.UNDERSTAND: System.UND,
    Mode.S2T: System.S2T,
    Mode.S2T_FAKE: System.S2S_THINK,
    Mode.S2T_THINK: System.S2T_THINK,
    Mode.S2S: System.S2S,
    Mode.S2S_THINK: System.S2S_THINK,
    Mode.S2S_HISTORY: System.S2S,
    Mode.S2S_STREAM: System.S2S_STREAM,
    Mode.S2S_STREAM_THINK: System.S2S_STREAM_THINK,
    Mode.T2T: System.T2T,
    Mode.TTS: System.TTS,
    Mode.TTS_STREAM: System.TTS_STREAM,
}


class Part(StrEnum):
    """What a segment of a sequence is."""

    SYSTEM = "system"
    USER = "user"
    PROMPT = "prompt"
    AUDIO = "audio"
    ASSISTANT = "assistant"
    TEXT = "text"
    SPEECH = "speech"
    TURN = "turn"


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of ids that belong together.

    Attributes:
        part: What it is.
        ids: Combined ids; each audio embedding is one placeholder.
        supervised: Whether the model is to learn to write it.
        hidden: Places in `ids` without attention and without loss: slots nobody knows.
    """

    part: Part
    ids: tuple[int, ...]
    supervised: bool = False
    hidden: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Layout:
    """A whole sequence: its segments, and the vectors that are made of them, each of length L."""

    segments: tuple[Segment, ...]

    def __len__(self) -> int:
        return sum(len(segment.ids) for segment in self.segments)

    @property
    def ids(self) -> tuple[int, ...]:
        """Combined ids; `BLANK` where hidden."""
        return tuple(
            BLANK if place in segment.hidden else token
            for segment in self.segments
            for place, token in enumerate(segment.ids)
        )

    @property
    def labels(self) -> tuple[int, ...]:
        """What each position itself should be, `IGNORED` where unsupervised; the loss shifts."""
        return tuple(
            token if segment.supervised and place not in segment.hidden else IGNORED
            for segment in self.segments
            for place, token in enumerate(segment.ids)
        )

    @property
    def attention_mask(self) -> tuple[int, ...]:
        """1 where attended, 0 where hidden. There are no pads inside a sequence."""
        return tuple(
            int(place not in segment.hidden)
            for segment in self.segments
            for place in range(len(segment.ids))
        )

    @property
    def position_ids(self) -> tuple[int, ...]:
        """Counted over what is attended; a hidden place takes none and is given 1."""
        positions, count = [], 0
        for attended in self.attention_mask:
            positions.append(count if attended else 1)
            count += attended
        return tuple(positions)

    def ends(self, part: Part) -> tuple[int, ...]:
        """Where each segment of a kind ends: places at which a cache may be cut."""
        ends, place = [], 0
        for segment in self.segments:
            place += len(segment.ids)
            if segment.part is part:
                ends.append(place)
        return tuple(ends)

    @property
    def system_end(self) -> int:
        """The length of the system prompt, which all sessions of a mode share."""
        return next(iter(self.ends(Part.SYSTEM)), 0)

    @property
    def audio_end(self) -> int:
        """Where the last of the user's audio ends; 0 without audio."""
        return next(reversed(self.ends(Part.AUDIO)), 0)

    @property
    def text_end(self) -> int:
        """Where the last answer's text ends, its end mark included; 0 without an answer.

        In serial order speech follows: cutting here evicts it.
        """
        return next(reversed(self.ends(Part.TEXT)), 0)


@dataclass(frozen=True, slots=True)
class PastTurn:
    """A turn that is over.

    Attributes:
        answer: What the model wrote, combined ids in their order; cut where it was interrupted.
        audio: Embeddings of the user's audio.
        prompt: The text of the user's message.
    """

    answer: tuple[int, ...]
    audio: int = 0
    prompt: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Template:
    r"""Writes sequences. Holds the ids of all fixed text, so writing one encodes nothing.

    Attributes:
        vocab: The id space.
        system: `<|im_start|>system\n…<|im_end|>\n` for each system prompt.
        user_start: `<|im_start|>user\n`.
        assistant_start: `<|im_end|>\n<|im_start|>assistant\n`.
        newline: A line break.
        version: `train` for our one template, `reference-repro` for upstream's several.
        piece: Reads the letters of a token.
    """

    vocab: Vocab
    system: Mapping[System, tuple[int, ...]]
    user_start: tuple[int, ...]
    assistant_start: tuple[int, ...]
    newline: tuple[int, ...]
    version: Version = "train"
    piece: Piece | None = None

    @classmethod
    def of(cls, tokenizer: TextTokenizer, vocab: Vocab, *, version: Version = "train") -> Template:
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
            version=version,
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
        if self.version == "reference-repro":
            return Layout((*self._reference_prompt(mode, audio, prompt, history),))
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
            history: Turns before, oldest first. None and empty differ in `reference-repro` only: a
                batch with some history there gives the others a second `<|im_start|>user`.
            hidden: Places in `text` of slots that nobody knows; `reference-repro` looks for
                `&&` itself, wherever it stands.

        Returns:
            The sequence, or why its speech cannot be interleaved.

        Raises:
            ConfigError: audio for a mode that hears nothing, or none for one that does.
            GenerationError: a code outside the speech tokenizer's.
        """
        self._check(mode, audio)
        text = tuple(text)
        reference = self.version == "reference-repro"
        if mode in (Mode.TTS, Mode.TTS_STREAM):
            # Upstream takes the last id for the end mark, which a text may lack.
            prompt = text[:-1] if reference else self.vocab.text_of(text)
        if reference:
            head = self._reference_training(mode, audio, prompt, history)
            masked = () if mode.interleaves else text
            hidden = frozenset(i for i, token in enumerate(masked) if token == UNKNOWN_SLOT)
        else:
            head = self._prompt(mode, audio, prompt, history or (), begin_speech=False)
        segments = [*head]
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

    # --- our one template -------------------------------------------------------------------------

    def _prompt(
        self,
        mode: Mode,
        audio: int,
        prompt: Sequence[int],
        history: Sequence[PastTurn],
        *,
        begin_speech: bool = True,
    ) -> Iterator[Segment]:
        if mode is Mode.OSUM:
            yield from self._message(audio, prompt)
            return
        yield Segment(Part.SYSTEM, self.system[_SYSTEM[mode]])
        for turn in history:
            yield from self._question(turn.audio, turn.prompt)
            yield from self._runs(turn.answer)
            # An answer that was cut off has no end mark of its own.
            over = () if self.vocab.text_end in turn.answer else (self.vocab.im_end,)
            yield Segment(Part.TURN, (*over, *self.newline))
        yield from self._question(audio, prompt if mode.asks else ())
        if mode is Mode.TTS and begin_speech:
            yield Segment(Part.SPEECH, (self.vocab.speech_bos,))

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

    def _mix(
        self, mode: Mode, text: tuple[int, ...], speech: tuple[int, ...]
    ) -> tuple[int, ...] | SpeechTooShort:
        if self.version == "reference-repro" or not mode.thinks:
            return interleave(text, speech)
        # A thought is not spoken, so it asks for no speech.
        thought = after_thought(text, self.piece)
        mixed = interleave(text[thought:], speech)
        return mixed if isinstance(mixed, SpeechTooShort) else (*text[:thought], *mixed)

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

    # --- upstream's several -----------------------------------------------------------------------

    def _reference_prompt(
        self, mode: Mode, audio: int, prompt: Sequence[int], history: Sequence[PastTurn]
    ) -> Iterator[Segment]:
        segments = self._prompt(mode, audio, prompt, ())
        for segment in segments:
            if segment.part is Part.USER and mode is Mode.S2T_THINK:
                continue
            if segment.part is Part.SYSTEM and mode is Mode.UNDERSTAND:
                segment = replace(segment, ids=self.system[System.UND_DAMAGED])
            yield segment
            if segment.part is Part.SYSTEM:
                for turn in history[-REFERENCE_TURNS:]:
                    yield from self._message(turn.audio, ())
                    yield Segment(Part.ASSISTANT, self.assistant_start)
                    # Its slice of the text loses the last token.
                    yield Segment(Part.TEXT, self.vocab.text_of(turn.answer)[:-1])
                    yield from self._past_speech(turn)

    def _reference_training(
        self,
        mode: Mode,
        audio: int,
        prompt: Sequence[int],
        history: Sequence[PastTurn] | None,
    ) -> Iterator[Segment]:
        for segment in self._prompt(mode, audio, prompt, (), begin_speech=False):
            yield segment
            if segment.part is Part.USER and history is not None:
                yield from self._reference_history(history)

    def _reference_history(self, history: Sequence[PastTurn]) -> Iterator[Segment]:
        closed = (self.vocab.im_end, *self.newline)
        for place, turn in enumerate(history):
            if place:
                yield Segment(Part.USER, self.user_start)
            yield Segment(Part.AUDIO, (self.vocab.audio_placeholder,) * turn.audio)
            yield Segment(Part.TURN, closed)
            yield Segment(Part.ASSISTANT, self.assistant_start)
            yield Segment(Part.TEXT, self.vocab.text_of(turn.answer))
            yield from self._past_speech(turn)
            yield Segment(Part.TURN, closed)
        yield Segment(Part.USER, self.user_start)

    def _past_speech(self, turn: PastTurn) -> Iterator[Segment]:
        codes = self.vocab.codes_of(turn.answer)
        if codes:
            yield Segment(Part.SPEECH, self.vocab.spoken(codes))


def reference_result(
    vocab: Vocab, answer: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """What upstream's speech methods return of an answer; `Vocab.text_of` and `codes_of` are ours.

    Returns:
        The text without its last token, and the rows of the speech table with the begin mark but
        without the end mark; None where the text has no end, which raises there.
    """
    if vocab.text_end not in answer:
        return None
    end = list(answer).index(vocab.text_end)
    text = tuple(answer[: max(end - 1, 0)])
    return text, tuple(vocab.code(token) for token in answer[end + 1 : -1])
