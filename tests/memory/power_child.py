"""Talks to a new store, and tells what it was promised on standard output; see `test_power_loss`.

Arguments: the store, how many turns, how it is encrypted ("" for not), and what `synchronous` is
("" for as it is).
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from echat_memory import Encryption, SQLMemory
from echat_sdk.consent import REMEMBERED, ConsentState, Purpose
from echat_sdk.cues import Cue, Cues
from echat_sdk.turn import Turn, TurnStatus

SAD = Cue("sad", 0.8, {"sad": 0.8, "neutral": 0.2})
WHOLE = Turn("", cues=Cues(SAD, Cue("male", 0.5)), think="hm", reply="I see.", seconds=2.0)


def words(user: str, number: int) -> str:
    """What a user says in a turn: found nowhere else in the store."""
    return f"zqx{user} {number}. My dog is called Rex. " + "Nothing else happened today. " * 20


def tell(*what: object) -> None:
    """Say at once what was promised."""
    os.write(1, f"{' '.join(map(str, what))}\n".encode())


def opened(store: Path, mode: str) -> SQLMemory:
    """The store."""
    encryption = Encryption(mode=cast(Any, mode)) if mode else None
    return SQLMemory(store, unasked=REMEMBERED, encryption=encryption, retention=None)


def main(store: str, turns: str, mode: str, synchronous: str) -> None:
    """Turns in two calls each; now and then somebody is erased, or refuses."""
    memory = opened(Path(store), mode)
    if synchronous:
        memory._database.connection.exec_driver_sql(f"PRAGMA synchronous = {synchronous}")
        memory._database.connection.commit()
    for number in range(1, int(turns) + 1):
        user = ("ada", "bob", "cem")[number % 3]
        said = Turn(words(user, number), status=TurnStatus.OPEN, seconds=2.0)
        turn_id = memory.remember(user, said)
        tell("open", user, number)
        whole = replace(WHOLE, transcript=said.transcript)
        memory.remember(user, whole, turn_id=turn_id)
        tell("whole", user, number)
        if number % 40 == 20:
            tell("erasing", "cem")
            memory.erase("cem")
            tell("erased", "cem")
        if number % 40 == 39:
            tell("erasing", "bob")
            memory.consent("bob", Purpose.LONG_TERM_MEMORY, ConsentState.DENIED)
            tell("erased", "bob")
            memory.consent("bob", Purpose.LONG_TERM_MEMORY)
    memory.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
