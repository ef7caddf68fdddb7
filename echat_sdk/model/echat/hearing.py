"""One utterance on its way through an `EChatModel`: heard while it comes, asked about, answered."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from echat_sdk.audio import SAMPLE_RATE, AudioFrame, Seconds, Waveform, to_float
from echat_sdk.cues import Cue, Cues
from echat_sdk.errors import GenerationError, UnsupportedError
from echat_sdk.model.echat.answering import Answer
from echat_sdk.model.echat.backend import TokenStream
from echat_sdk.model.echat.conversations import Conversation
from echat_sdk.model.echat.decoding import Decoding, Token
from echat_sdk.model.echat.features import N_FFT
from echat_sdk.model.echat.layout import Layout
from echat_sdk.model.echat.mode import Mode
from echat_sdk.model.echat.runner import Prompt
from echat_sdk.model.echat.speaking import lang_of
from echat_sdk.model.echat.tasks import Dimension, Task
from echat_sdk.model.echat.understanding import Understanding, parse
from echat_sdk.turn import Delta, Heard, LangChoice, Recollection, ThinkStyle

if TYPE_CHECKING:
    from echat_sdk.model.echat.speech_model import EChatModel

HEARD = Task.of("asr", "ser", "sap", "sgc")
"""What is asked of every utterance."""

_MOST_SECONDS = 120
_STRETCH: Seconds = 2.0
"""How much of an utterance is looked at to find that somebody speaks."""


class EChatHearing:
    """One utterance on its way through an `EChatModel`.

    Whoever guesses at a pause that the utterance is over may ask for `heard` and `reply`, hold back
    what comes, and hold back the frames that follow. If the guess was right, nothing is done twice;
    if speech goes on, the next `push` takes the answer back as if it had never begun.
    """

    def __init__(self, model: EChatModel, lang: LangChoice, typed: Heard | None = None) -> None:
        self._model = model
        self._lang: LangChoice = lang
        self._typed = typed
        self._heard = typed
        self._listener = model.listener()
        self._frames: list[Waveform] = []
        self._samples = 0
        self._looked = 0  # samples in which somebody was looked for
        self._speaks = False
        self._ahead = Conversation()  # what was read of the question that `heard` asks
        self._embeds: Tensor | None = None
        self._answer: Answer | None = None

    def push(self, frame: AudioFrame) -> None:
        """Take the next frame, and do what can be done before the utterance is over.

        Log-mel is made in any case; in `chunked` mode each block is encoded and read. A frame that
        completes a block takes as long as that block; the others take no time.
        """
        if self._answer is not None:
            self._answer.drop()
            self._answer = None
        if self._samples >= _MOST_SECONDS * SAMPLE_RATE:
            return
        self._frames.append(frame.samples)
        self._samples += len(frame.samples)
        self._heard, self._embeds = None, None
        if not self._speaks and self._samples - self._looked >= _STRETCH * SAMPLE_RATE:
            stretch = np.concatenate(self._frames)[self._looked :]
            self._looked, self._speaks = self._samples, self._model.is_speech(stretch)
        with _told(self._samples):
            more = self._listener.push(frame.samples)
        if more and self._speaks:
            self._read_ahead()

    def heard(self) -> Heard:
        """Words and cues, as the network tells them when it is asked for them.

        A cue's confidence is what the network gave its label, which nobody has calibrated.
        """
        if self._heard is None:
            words, cues = "", Cues()
            if self._is_sound:
                tokens = list(self._asked(HEARD))
                found = parse(HEARD, self._text(tokens))
                cues = found.cues(self._confidence(tokens, found))
                off = Cue(why="switched off")
                silenced = {n: off for n in ("emotion", "gender") if n not in self._model.infer}
                words, cues = found.transcript, replace(cues, **silenced)
            seconds = self._samples / SAMPLE_RATE
            self._heard = Heard(words, lang_of(words, self._lang), cues, seconds)
        return self._heard

    def ask(self, task: Task) -> str:
        """What the network answers to a task about the utterance."""
        return self._text(list(self._asked(task)))

    def reply(
        self,
        recollection: Recollection,
        *,
        think: ThinkStyle = "tag",
        speak: bool = True,
        voice: str | None = None,
    ) -> Iterator[Delta]:
        """Think and answer. What was read and written is kept for the next turn.

        A second reply takes the first one back. A `push` takes it back as well.
        """
        heard = self.heard()
        yield heard
        if not heard.transcript:
            return
        model = self._model
        if not model.abilities.chats:
            raise UnsupportedError(f"{model.name} understands, but does not answer")
        draft = self._answer
        if draft is not None:
            draft.drop()
        answer = Answer(model, heard, self.embeds(), recollection, draft=draft)
        self._answer = answer
        try:
            yield from answer.deltas(think=think, speak=speak and model.speaks, voice=voice)
        finally:
            answer.close()

    @property
    def typed(self) -> bool:
        """Whether the words were given."""
        return self._typed is not None

    def embeds(self) -> Tensor | None:
        """Audio embeddings; None for typed words. Shape [N, H]."""
        return None if self.typed else self._sound()

    @property
    def _is_sound(self) -> bool:
        if self._samples < N_FFT:
            return False
        if not self._speaks:
            self._speaks = self._model.is_speech(np.concatenate(self._frames))
        return self._speaks

    def _sound(self) -> Tensor:
        if self._embeds is None:
            with _told(self._samples):
                self._embeds = self._listener.embeds()
        return self._embeds

    def _question(self, task: Task, audio: int) -> Layout:
        model = self._model
        ids = tuple(model.tokenizer.encode(task.prompt(osum=not model.abilities.chats)))
        mode = Mode.UNDERSTAND if model.abilities.chats else Mode.OSUM
        return model.template.prompt(mode, audio=audio, prompt=ids)

    def _asked(self, task: Task) -> TokenStream[Any]:
        model = self._model
        if self._typed is not None:
            raise UnsupportedError(f"{model.name} understands speech, not typed words")
        embeds = self._sound()
        layout = self._question(task, len(embeds))
        sampler = model.sampler("understand")
        decoding = Decoding.of(
            model.vocab,
            speaks=False,
            max_tokens=model.max_tokens,
            penalises=sampler.sampling.repetition_penalty != 1,
        )
        head = layout.ids[: layout.audio_end - len(embeds) - 1]
        begun = model.begun(self._ahead, head if task == HEARD else head[: layout.system_end])
        prompt, kv = begun.prompt(layout, embeds)
        return model.engine.start(prompt, decoding, sampler, past=kv)

    def _read_ahead(self) -> None:
        """Let the language model read what is final of the question that will be asked."""
        final, model = self._listener.final(), self._model
        if final is None:
            return
        layout = self._question(HEARD, len(final))
        ids = layout.ids[: layout.audio_end - 1]
        begun = model.begun(self._ahead, ids[: -len(final)])
        fresh = len(ids) - len(begun.read)
        try:
            kv = model.engine.read(Prompt(ids[-fresh:], final[-fresh:]), begun.kv)
        except GenerationError:
            return  # whoever asks is told
        self._ahead = Conversation(read=ids, kv=kv)

    def _text(self, tokens: Sequence[Token]) -> str:
        text = self._model.vocab.text_of([token.id for token in tokens])
        return self._model.tokenizer.decode(text).strip()

    def _confidence(
        self, tokens: Sequence[Token], found: Understanding
    ) -> Mapping[Dimension, float]:
        """What the network gave each label: the probability of the tokens that spell it."""
        pieces = [self._text([token]).upper() for token in tokens]
        whole, ends = "".join(pieces), list(accumulate(map(len, pieces)))
        confidence = {}
        for dimension, label in found.labels.items():
            start = whole.rfind(label.value.upper())  # behind the words, where labels stand
            spelt = range(start, start + len(label.value))
            if start >= 0:
                confidence[dimension] = math.prod(
                    token.probability
                    for token, piece, end in zip(tokens, pieces, ends, strict=True)
                    if range(max(spelt.start, end - len(piece)), min(spelt.stop, end))
                )
        return confidence


@contextmanager
def _told(samples: int) -> Iterator[None]:
    """Says what failed where torch only says how; out of memory is a RuntimeError there."""
    try:
        yield
    except RuntimeError as error:
        said = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise GenerationError(
            f"{samples / SAMPLE_RATE:.1f} s of sound could not be encoded and were dropped, "
            f"other conversations go on: {said}"
        ) from error


def has_speech(samples: Waveform) -> bool:
    """Whether anybody speaks. Samples are int16, 16 kHz."""
    from echat_sdk.model.cascade.activity import analyse

    return bool(analyse(to_float(samples)).spans)
