"""Voice to voice: from the last voiced sample of a question to the first of its answer.

Nothing is believed that the agent says of itself: both ends are found in the sound, on one clock.
Beside it stands what the model alone takes for the same questions: the rest is the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np
import numpy.typing as npt

from echat_sdk.agent import Agent
from echat_sdk.agent.events import TurnFinished, UserStopped
from echat_sdk.audio import (
    FRAME_LEN,
    FRAME_SECONDS,
    SAMPLE_RATE,
    AudioFrame,
    Seconds,
    Waveform,
    frames,
)
from echat_sdk.bench.reply import SENTENCES, spoken
from echat_sdk.io.timed import TimedAudio
from echat_sdk.protocols import VAD, SpeechModel, TurnEnd
from echat_sdk.testing import RAMMemory
from echat_sdk.turn import Lang
from echat_sdk.turn_policy import TurnPolicy

_VOICED = 0.01  # of full scale: what counts as voiced, 15 dB under the level of our voices
_BETWEEN: Seconds = 0.5  # of silence between an answer and the next question
_PATIENCE: Seconds = 20.0  # for an answer


@dataclass(frozen=True, slots=True)
class TalkBench:
    """What one run found, in seconds; one number for each question that was answered.

    Attributes:
        voice_to_voice: From the last voiced sample of the question to the first of the answer.
        model: What the model alone takes from the end of the utterance to its first sound.
        waited: The pause after which the turn was over.
        unanswered: Questions without an answer, or answered before they ended.
    """

    voice_to_voice: list[Seconds]
    model: list[Seconds]
    waited: list[Seconds]
    unanswered: int

    def percentile(self, name: str, q: float) -> Seconds:
        """A percentile (0 to 100) of one of the lists."""
        return float(np.percentile(getattr(self, name), q))


def run(
    model: SpeechModel,
    vad: VAD,
    turn_end: TurnEnd | None,
    *,
    policy: TurnPolicy | None = None,
    turns: int = 30,
    lang: Lang = "en",
    step: Callable[[int, int], None] = lambda done, of: None,
) -> TalkBench:
    """Ask questions aloud, one after the other, in real time.

    Args:
        model: An open model.
        vad: Tells speech.
        turn_end: Tells whether a turn sounds complete.
        policy: How patient the agent is.
        turns: How many questions are asked.
        lang: Language that is spoken.
        step: Called after each answer with how many are done, and of how many.
    """
    sentences = list(islice(cycle(SENTENCES[lang]), turns))
    made = {words: spoken(model, words, emotion) for words, emotion in SENTENCES[lang]}
    questions = [made[words] for words, _ in sentences]
    alone: list[Seconds] = []
    waited: list[Seconds] = []
    interview = _Interview(questions)

    async def answer_alone() -> None:
        async with Agent(model, RAMMemory(), user="bench", lang=lang) as agent:
            await agent.answer(questions[0])
            for question in questions:
                alone.append((await agent.answer(question)).turn.timings.first_audio or 0.0)

    async def converse() -> None:
        agent = Agent(
            model,
            RAMMemory(),
            user="bench",
            lang=lang,
            audio=interview,
            vad=vad,
            turn_end=turn_end,
            policy=policy,
        )
        async with agent:
            async for event in agent.events():
                if isinstance(event, TurnFinished):
                    interview.answered.set()
                    step(len(interview.asked), len(questions))
                elif isinstance(event, UserStopped):
                    waited.append(event.pause)

    asyncio.run(answer_alone())
    asyncio.run(converse())
    found = list(interview.gaps())
    return TalkBench(
        voice_to_voice=[gap for gap in found if gap is not None],
        model=alone,
        waited=waited,
        unanswered=sum(gap is None for gap in found),
    )


class _Interview(TimedAudio):
    """Asks the next question once the last was answered."""

    def __init__(self, questions: list[Waveform]) -> None:
        super().__init__()
        self._questions = questions
        self.answered = asyncio.Event()
        self.asked: list[tuple[Seconds, Waveform]] = []

    async def frames(self) -> AsyncIterator[AudioFrame]:
        loop = asyncio.get_running_loop()
        due = loop.time()
        silence = AudioFrame(np.zeros(FRAME_LEN, np.int16))
        for question in self._questions:
            self.answered.clear()
            self.asked.append((due, question))
            for frame in frames(question):
                due += FRAME_SECONDS
                await asyncio.sleep(due - loop.time())
                yield frame
            last = due + _PATIENCE
            while due < last and not self._is_closed:
                if self.answered.is_set() and last > due + _BETWEEN:
                    last = due + _BETWEEN
                due += FRAME_SECONDS
                await asyncio.sleep(due - loop.time())
                yield silence

    def gaps(self) -> Iterator[Seconds | None]:
        """For each question, the silence before its answer; None where there is none."""
        begins = [at for at, _ in self.asked] + [float("inf")]
        for (at, question), following in zip(self.asked, begins[1:], strict=True):
            ended = at + _voiced(question)[-1] / SAMPLE_RATE
            pieces = [(start, s) for start, s in self.said if at <= start < following]
            loud = ((start, _voiced(samples)) for start, samples in pieces)
            heard = next((start + at[0] / self.output_rate for start, at in loud if at.size), None)
            yield heard - ended if heard is not None and heard > ended else None


def _voiced(samples: Waveform) -> npt.NDArray[np.intp]:
    """Places of the samples that are voiced; none in a piece that is almost silent."""
    loud = np.abs(samples.astype(np.int32))
    return np.flatnonzero(loud > _VOICED * 32768)
