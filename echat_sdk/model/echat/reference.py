"""What the published training and inference code of OSUM-EChat write; they differ from each other.

For parity alone: `template.Template` is the one to train and to answer with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from echat_sdk.model.echat.interleave import SpeechTooShort, interleave
from echat_sdk.model.echat.layout import Part, PastTurn, Segment
from echat_sdk.model.echat.mode import Mode
from echat_sdk.model.echat.prompt import System
from echat_sdk.model.echat.template import Template
from echat_sdk.model.echat.vocab import UNKNOWN_SLOT, Vocab

REFERENCE_TURNS = 5
"""How many past turns the published inference code keeps."""


class ReferenceTemplate(Template):
    """Writes what upstream's code writes: `reference-repro`.

    In a sample, None and an empty history differ: a batch with some history gives the others a
    second `<|im_start|>user`. What is `hidden` is not asked: every `&&` is, wherever it stands,
    unless speech comes in between.
    """

    __slots__ = ()

    def _prompt(
        self, mode: Mode, audio: int, prompt: Sequence[int], history: Sequence[PastTurn]
    ) -> Iterator[Segment]:
        for segment in super()._prompt(mode, audio, prompt, ()):
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

    def _learned_prompt(
        self, mode: Mode, audio: int, prompt: Sequence[int], history: Sequence[PastTurn] | None
    ) -> Iterator[Segment]:
        for segment in self._turns(mode, audio, prompt, ()):
            yield segment
            if segment.part is Part.USER and history is not None:
                yield from self._learned_history(history)

    def _to_speak(self, text: tuple[int, ...]) -> tuple[int, ...]:
        return text[:-1]  # the last id is taken for the end mark, which a text may lack

    def _hidden(self, mode: Mode, text: tuple[int, ...], given: frozenset[int]) -> frozenset[int]:
        masked = () if mode.interleaves else text
        return frozenset(i for i, token in enumerate(masked) if token == UNKNOWN_SLOT)

    def _mix(
        self, mode: Mode, text: tuple[int, ...], speech: tuple[int, ...]
    ) -> tuple[int, ...] | SpeechTooShort:
        return interleave(text, speech)

    def _learned_history(self, history: Sequence[PastTurn]) -> Iterator[Segment]:
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
