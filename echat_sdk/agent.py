"""The agent: hears an utterance, recalls, answers while thinking, and remembers.

It knows only protocols; models, stores and devices are given to it. One utterance at a time: the
live loop (turn-taking, barge-in) stands on `stream`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import numpy as np

from echat_sdk.audio import Hertz, Seconds, Waveform, frames
from echat_sdk.bridge import Worker
from echat_sdk.cues import Cues
from echat_sdk.protocols import Hearing, Memory, SpeechModel
from echat_sdk.turn import (
    Delta,
    Heard,
    LangChoice,
    Recollection,
    SpeechDelta,
    TextDelta,
    ThinkDelta,
    ThinkStyle,
    Thought,
    Timings,
    Turn,
    TurnStatus,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished exchange.

    Attributes:
        turn: The record, as memory keeps it.
        turn_id: The store's id of it; empty when no speech was heard, for nothing is kept then.
        speech: The spoken answer, int16 mono. Shape [S].
        sample_rate: Samples a second of `speech`.
        recollection: What memory gave before the answer.
    """

    turn: Turn
    turn_id: str
    speech: Waveform
    sample_rate: Hertz
    recollection: Recollection


class Agent:
    """One user's conversation with a model and a memory.

    ```python
    async with Agent(load_model(), SQLMemory("sqlite:///echat.db"), user="ada") as agent:
        answer = await agent.answer(read_audio("question.wav"))
    ```

    Args:
        model: Hears, thinks and answers.
        memory: What is kept of the user.
        user: The host's own id of the user.
        think: Form of the thought.
        lang: Language that is spoken, or `auto`.
        speak: Whether answers are spoken; without, only their words are made.
        clock: Seconds, rising; timings are read from it.
    """

    def __init__(
        self,
        model: SpeechModel,
        memory: Memory,
        *,
        user: str,
        think: ThinkStyle = "tag",
        lang: LangChoice = "auto",
        speak: bool = True,
        clock: Callable[[], Seconds] = time.perf_counter,
    ) -> None:
        self._model = model
        self._memory = memory
        self._user = user
        self._think: ThinkStyle = think
        self._lang: LangChoice = lang
        self._speak = speak
        self._clock = clock
        self._key = secrets.token_hex(16)  # of this agent's conversation, and of no person
        self._mind = Worker("echat-model")
        self._store = Worker("echat-memory")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Finish what is being kept and end the agent's threads. Model and memory stay open."""
        self._mind.close()
        self._store.close()

    async def answer(self, utterance: Waveform) -> Answer:
        """Answer one recorded utterance (int16 mono, 16 kHz) and remember the exchange."""
        return await _last(self.stream(utterance))

    async def answer_text(self, text: str, cues: Cues | None = None) -> Answer:
        """Answer typed words; `cues` stand in for the voice that was not heard."""
        return await _last(self.stream_text(text, cues))

    def stream(self, utterance: Waveform) -> AsyncGenerator[Delta | Answer]:
        """Answer one recorded utterance piece by piece; the last piece is the whole `Answer`.

        Closing the generator early is an interruption: the turn is kept with what was given out.
        """

        def hear() -> Hearing:
            hearing = self._model.listen(lang=self._lang)
            for frame in frames(utterance):
                hearing.push(frame)
            return hearing

        return self._exchange(hear)

    def stream_text(self, text: str, cues: Cues | None = None) -> AsyncGenerator[Delta | Answer]:
        """As `stream`, for typed words."""
        return self._exchange(lambda: self._model.read(text, cues or Cues(), lang=self._lang))

    async def _exchange(self, hear: Callable[[], Hearing]) -> AsyncGenerator[Delta | Answer]:
        hearing = await self._mind.call(hear)
        exchange = _Exchange(self._model, self._clock)
        exchange.take(heard := await self._mind.call(hearing.heard))
        if not heard.transcript:
            yield heard
            yield exchange.answer(TurnStatus.COMPLETE)
            return
        recollection = await self._store.call(
            lambda: self._memory.recall(self._user, query=heard.transcript)
        )
        exchange.recollection = replace(recollection, key=self._key)
        # What the user said is durable before a word of the answer is given out.
        exchange.turn_id = await self._store.call(self._memory.remember, self._user, exchange.turn)
        status = TurnStatus.INTERRUPTED
        try:
            yield heard
            deltas = self._mind.iterate(
                lambda: hearing.reply(exchange.recollection, think=self._think, speak=self._speak)
            )
            async with aclosing(deltas):
                async for delta in deltas:
                    if not isinstance(delta, Heard):
                        exchange.take(delta)
                        yield delta
            status = TurnStatus.COMPLETE
        except Exception:
            status = TurnStatus.FAILED
            raise
        finally:
            answer = exchange.answer(status)
            if status is not TurnStatus.COMPLETE:
                self._store.submit(self._keep, answer)
        await self._store.call(self._keep, answer)
        yield answer

    def _keep(self, answer: Answer) -> None:
        self._memory.remember(self._user, answer.turn, turn_id=answer.turn_id)


async def _last(pieces: AsyncGenerator[Delta | Answer]) -> Answer:
    async with aclosing(pieces):
        async for piece in pieces:
            if isinstance(piece, Answer):
                return piece
    raise AssertionError("an exchange ends with its answer")


class _Exchange:
    """Gathers the deltas of one exchange into a turn, with the time at which each came."""

    def __init__(self, model: SpeechModel, clock: Callable[[], Seconds]) -> None:
        self._clock = clock
        self._start = clock()
        self._rate = model.sample_rate
        self._speech: list[Waveform] = []
        self.turn = Turn("", status=TurnStatus.OPEN, model=model.name)
        self.turn_id = ""
        self.recollection = Recollection()

    def take(self, delta: Delta) -> None:
        turn, now = self.turn, self._clock() - self._start
        match delta:
            case Heard():
                turn = replace(
                    turn,
                    transcript=delta.transcript,
                    lang=delta.lang,
                    cues=delta.cues,
                    seconds=delta.seconds,
                    timings=replace(turn.timings, heard=now),
                )
            case ThinkDelta():
                turn = replace(turn, think=turn.think + delta.text)
            case Thought():
                turn = replace(turn, reply_emotion=delta.reply_emotion)
                turn = replace(turn, timings=replace(turn.timings, think=now))
            case TextDelta():
                turn = replace(turn, reply=turn.reply + delta.text)
                turn = replace(turn, timings=_first(turn.timings, first_text=now))
            case SpeechDelta():
                self._speech.append(delta.samples)
                turn = replace(turn, timings=_first(turn.timings, first_audio=now))
        self.turn = turn

    def answer(self, status: TurnStatus) -> Answer:
        timings = replace(self.turn.timings, done=self._clock() - self._start)
        self.turn = replace(self.turn, status=status, timings=timings)
        speech = np.concatenate(self._speech) if self._speech else np.zeros(0, np.int16)
        return Answer(self.turn, self.turn_id, speech, self._rate, self.recollection)


def _first(timings: Timings, **at: Seconds) -> Timings:
    """The timings with `at` filled in where nothing stands yet."""
    return replace(timings, **{k: v for k, v in at.items() if getattr(timings, k) is None})
