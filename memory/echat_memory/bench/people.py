"""Who is in the store that is measured, and what they say: made up, the same at each run.

One user has a tenth of all turns. The others have 18 on average, few of them many and most of them
few. Everybody talks in sittings of eight turns within the last 85 days; turns arrive in the order
of time, so that a user's rows lie scattered as they would. One turn in eight tells a fact.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from echat_sdk.cues import Cue, Cues, Emotion, ReplyEmotion
from echat_sdk.turn import Timings, Turn, TurnStatus

SITTING = 8
"""Turns of one sitting."""
_USUAL = 18
_DAYS = 85
_FACTS = 8  # one turn in so many tells one


def _listed(words: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in words.split("," if "," in words else " "))


_WHO = _listed("sister brother neighbour boss cousin teacher grandmother friend doctor landlord")
_DO = _listed("planted painted repaired sold borrowed found lost cleaned wrapped carried")
_WHAT = _listed(
    "roses, the old bicycle, a violin, the kitchen shelf, two lamps, a letter, the garden fence,"
    " a cake, the winter coats, a telescope, some beans, the guitar, an umbrella, the photo album"
)
_WHERE = _listed(
    "river market library station harbour school bakery museum forest bridge clinic stadium attic"
    " cellar lighthouse theatre airport vineyard"
)
_HOW = _listed(
    "It took all day, It rained, I was so tired, Nobody helped, We laughed a lot, It went well"
)
_NAMES = _listed("Rex Bella Luna Max Oscar Ruby Milo Daisy Felix Nala")
_PLACES = _listed("Leeds York Bath Oxford Dover Exeter Derby Truro Ripon Wells")
_TOLD = (
    "My dog is called {name}.",
    "I live in {place}.",
    "My sister is called {name}.",
    "I moved to {place}.",
    "I have an exam on Friday.",
)
_REPLIES = (
    "That sounds like a lot for one day. What was the best of it?",
    "I am glad that you told me. How did it feel afterwards?",
    "Take your time, I am here. What happened then?",
)
_THOUGHT = "<think>They are tired and a bit proud of the day.<think end>"
_STRATEGIES = ("listen", "asked-more", "care", "restate")
_LABELS = tuple(Emotion)


@dataclass(frozen=True, slots=True)
class Person:
    """A user.

    Attributes:
        user: The host's id.
        turns: How many turns are kept of them.
    """

    user: str
    turns: int


@dataclass(frozen=True, slots=True)
class Placed:
    """A turn, and where it belongs.

    Attributes:
        person: Its user's place among the people.
        sitting: The number of its sitting, all users' counted together.
        seq: Its place in the sitting, from 1.
        at: When it was.
        turn: What was said.
    """

    person: int
    sitting: int
    seq: int
    at: datetime
    turn: Turn


def people(turns: int, *, name: str) -> list[Person]:
    """Users with so many turns in all, whoever has most first.

    Args:
        turns: Of all together, at least 20.
        name: What their ids begin with.
    """
    most = turns // 10
    others = max(2, (turns - most) // _USUAL)
    shares = [1 / (8 + rank) for rank in range(others)]
    left = turns - most - others
    sizes = [1 + int(left * share / sum(shares)) for share in shares]
    sizes[0] += turns - most - sum(sizes)
    return [Person(f"{name} {i}", size) for i, size in enumerate([most, *sizes])]


def placed(who: Sequence[Person], now: datetime, *, seed: int = 1) -> Iterator[Placed]:
    """All turns of these people, oldest first."""
    draw = random.Random(seed)
    sittings = []
    for i, person in enumerate(who):
        for first in range(0, person.turns, SITTING):
            began = now - timedelta(days=1 + _DAYS * draw.random())
            sittings.append((began, i, min(SITTING, person.turns - first)))
    turns = sorted(
        (began + timedelta(seconds=20 * place), number, place, i)
        for number, (began, i, size) in enumerate(sorted(sittings))
        for place in range(size)
    )
    for at, number, place, i in turns:
        yield Placed(i, number, place + 1, at, turn(draw))


def turn(draw: random.Random) -> Turn:
    """An exchange as it ends."""
    words = sentence(draw)
    if not draw.randrange(_FACTS):
        told = draw.choice(_TOLD).format(name=draw.choice(_NAMES), place=draw.choice(_PLACES))
        words = f"{told} {words}"
    label = draw.choice(_LABELS)
    shares = {emotion.value: 0.05 for emotion in _LABELS} | {label.value: 0.65}
    return Turn(
        words,
        cues=Cues(Cue(label.value, 0.65, shares), Cue("female", 0.9, {"male": 0.1, "female": 0.9})),
        think=_THOUGHT,
        reply=draw.choice(_REPLIES),
        reply_emotion=draw.choice(tuple(ReplyEmotion)),
        strategy=draw.choice(_STRATEGIES),
        timings=Timings(0.2, 0.4, 0.6, 0.9, 2.0),
        seconds=2.5,
        model="echat-lite",
    )


def opened(whole: Turn) -> Turn:
    """The turn as it is kept when its words are known and the answer is not."""
    return replace(whole, think="", reply="", strategy="", status=TurnStatus.OPEN)


def sentence(draw: random.Random) -> str:
    """What somebody tells of their day."""
    return (
        f"My {draw.choice(_WHO)} {draw.choice(_DO)} {draw.choice(_WHAT)} near the "
        f"{draw.choice(_WHERE)} with my {draw.choice(_WHO)}. {draw.choice(_HOW)}."
    )


def question(draw: random.Random) -> str:
    """What somebody asks that earlier turns may fit."""
    return (
        f"Do you remember when my {draw.choice(_WHO)} {draw.choice(_DO)} {draw.choice(_WHAT)} "
        f"near the {draw.choice(_WHERE)}?"
    )
