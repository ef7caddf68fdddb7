"""Why a turn was answered as it was: the move that was chosen and what was remembered for it.

What was remembered is kept as the ids of facts and turns, never as their words: whoever erases one
has erased it here as well.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, bindparam, delete, insert, select

from echat_memory import sealing
from echat_memory.rows import storable
from echat_memory.schema import PlanRow, TurnRow
from echat_sdk.turn import Recollection, Turn, TurnStatus


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a reply was given, by ids.

    Attributes:
        facts: Of facts, in the order given.
        episodes: Of earlier turns that fitted.
        turns: How many of the last turns.
        mood: Whether a mood was told.
        helped: The kind of answer that was said to have helped; empty for none.
    """

    facts: tuple[int, ...] = ()
    episodes: tuple[int, ...] = ()
    turns: int = 0
    mood: bool = False
    helped: str = ""


@dataclass(frozen=True, slots=True)
class Recalled:
    """A recollection and what it was made of."""

    recollection: Recollection
    remembered: Remembered


_FORGET = delete(PlanRow).where(PlanRow.turn_id == bindparam("turn"))
_INSERT = insert(PlanRow)
_OWNER = select(TurnRow.user_id).where(TurnRow.id == bindparam("turn"))


def write(connection: Connection, turn_id: int, turn: Turn, remembered: Remembered | None) -> None:
    """Keep the plan of a turn that was answered, in the place of what is there."""
    if turn.status is TurnStatus.OPEN or not (turn.strategy or remembered):
        return
    connection.execute(_FORGET, {"turn": turn_id})
    user_id = connection.execute(_OWNER, {"turn": turn_id}).scalar_one()
    columns = {
        "turn_id": turn_id,
        "user_id": user_id,
        "strategy": storable(turn.strategy[:64]),
        "remembered": json.dumps(asdict(remembered)) if remembered else "",
    }
    connection.execute(_INSERT, sealing.seal(connection, PlanRow, turn_id, user_id, columns))


def read(text: str) -> Remembered:
    """What `write` kept; nothing where nothing was."""
    if not text:
        return Remembered()
    found = json.loads(text)
    return Remembered(
        facts=tuple(found["facts"]),
        episodes=tuple(found["episodes"]),
        turns=found["turns"],
        mood=found["mood"],
        helped=found["helped"],
    )
