"""Laws of turn-taking over any schedule of speech, on virtual time.

At most one answer is alive; of an answer that was dropped nothing is audible; an interrupted agent
is silent within 0.2 s; what is remembered is what was heard; every conversation ends.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echat_sdk.agent.events import TurnFinished
from echat_sdk.testing import FakeModel, Line
from echat_sdk.testing.audio import FakeAudio
from echat_sdk.testing.live import SILENCE, SPEECH, Conversation, converse, plain
from echat_sdk.turn import SpeechDelta, TurnStatus

WORD = 0.05  # seconds of the fake voice

Schedule = list[tuple[bool, int]]


class CountedModel(FakeModel):
    """Counts the answers that are alive while it speaks."""

    most_alive = 0

    def say(self, text: str, **given: Any) -> Iterator[SpeechDelta]:
        self.most_alive = max(self.most_alive, len(self.recollections) - self.closed)
        yield from super().say(text, **given)


Outcome = Conversation[CountedModel]


def played(schedule: Schedule, lines: list[Line], turn_end: Any = None) -> Outcome:
    frames = (SPEECH if speech else SILENCE for speech, count in schedule for _ in range(count))
    outcome = converse(CountedModel(*lines), FakeAudio(frames), turn_end=turn_end)
    finished = [event.answer.turn for event in outcome.of(TurnFinished)]
    assert outcome.turns == tuple(finished)[-6:], "what is told is what is kept"
    return outcome


def check(outcome: Outcome) -> None:
    assert outcome.model.most_alive <= 1
    turns = [event.answer.turn for event in outcome.of(TurnFinished)]
    loud = np.abs(outcome.audio.recording()) > 50
    rate = outcome.audio.output_rate
    # Heard and kept are the same, but for the word that was cut.
    words = sum(len(turn.reply.split()) for turn in turns)
    step = rate // 200  # longer than from one crossing of zero to the next
    audible = loud[: len(loud) // step * step].reshape(-1, step).any(axis=1).sum() * step / rate
    assert audible == pytest.approx(words * WORD, abs=(WORD + 0.03) * (len(turns) + 1))
    for number, (at, event) in enumerate(outcome.events):
        if isinstance(event, TurnFinished) and event.answer.turn.status is TurnStatus.INTERRUPTED:
            following = (t for t, e in outcome.events[number:] if isinstance(plain(e), SpeechDelta))
            end = next(following, outcome.events[-1][0])
            assert not loud[round((at + 0.2) * rate) : round(end * rate)].any()


def line(words: str, length: int) -> Line:
    return Line(
        words, (" ".join(["word"] * length),) if length < 8 else ("word " * 4, "word " * length)
    )


words = st.sampled_from(["tell me", "no the other", "mm-hm", "stop", "", "嗯", "wait", "I see"])
lines = st.lists(st.builds(line, words, st.integers(1, 120)), min_size=1, max_size=8)
schedules = st.lists(st.tuples(st.booleans(), st.integers(1, 200)), min_size=1, max_size=14)


class Guess:
    """A `TurnEnd` that judges by the length of the turn, as good as any."""

    def chance(self, samples: Any) -> float:
        return len(samples) % 1009 / 1009


@settings(max_examples=60, deadline=None)
@given(schedules, lines, st.booleans())
def test_any_conversation_keeps_the_laws(
    schedule: Schedule, lines: list[Line], judges: bool
) -> None:
    check(played(schedule, lines, Guess() if judges else None))


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "count",
    [
        pytest.param(800, marks=pytest.mark.slow),
        pytest.param(10_000, marks=pytest.mark.endurance),
    ],
)
def test_so_many_conversations_keep_the_laws(count: int) -> None:
    for seed in range(count):
        chance = random.Random(seed)
        schedule = [
            (number % 2 == 1, chance.choice((3, 10, 20, 30, 60, 120)))
            for number in range(chance.randrange(2, 12))
        ]
        said = ["tell me", "no the other", "mm-hm", "stop", "", "嗯", "wait", "I see"]
        lines = [line(chance.choice(said), chance.choice((1, 5, 40))) for _ in range(6)]
        try:
            check(played(schedule, lines, Guess() if seed % 2 else None))
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
