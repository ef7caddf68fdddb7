"""Conversations that go on: what keeping the keys and values saves a turn, and what it costs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from echat_sdk.audio import Seconds
from echat_sdk.bench.decoding import endless, greedy, now, random_ids
from echat_sdk.model.echat.directory import free_memory
from echat_sdk.model.echat.engine import Engine, EngineLimits, Prompt
from echat_sdk.model.echat.kv import ParkedKV
from echat_sdk.model.echat.network import EChatForConditionalGeneration

MEMORY = 1 << 30
"""What `Conversations` may take by default, in bytes."""


@dataclass(frozen=True, slots=True)
class TurnRow:
    """First token of a turn: with what was read before kept, and with all of it read again.

    Attributes:
        turn: From 1.
        positions: Of the whole conversation at this turn.
        kept: One for each repeat.
        again: Likewise.
        ratio: How many times as long reading again takes, by their medians.
    """

    turn: int
    positions: int
    kept: tuple[Seconds, ...]
    again: tuple[Seconds, ...]
    ratio: float


@dataclass(frozen=True, slots=True)
class SessionsHeld:
    """What a conversation takes while nobody speaks in it.

    Attributes:
        positions: That it holds.
        session_bytes: That it takes, as it is parked.
        memory: Stated bytes; the default cap of kept conversations.
        held: Conversations of this size in `memory`.
        held_in_free: In all that is free on the device now; None where the system does not tell.
    """

    positions: int
    session_bytes: int
    memory: int
    held: int
    held_in_free: int | None


def turns(
    engine: Engine,
    at: Sequence[int],
    *,
    length: int,
    repeats: int,
    progress: Callable[[str], None],
) -> tuple[tuple[TurnRow, ...], ParkedKV]:
    """Time the first token of some turns, both ways in turn.

    Args:
        engine: Idle, and with room for `max(at)` turns.
        at: Which turns, rising.
        length: Ids of a turn: what was heard, and the text of the answer.
        repeats: Of each way.
        progress: Told what begins.

    Returns:
        The rows, and the last turn's conversation as it is parked.
    """
    rows: list[TurnRow] = []
    parked: ParkedKV | None = None
    for turn in at:
        progress(f"turn {turn}")
        before = tuple(random_ids(turn, (turn - 1) * length).tolist())
        new = tuple(random_ids(0, length).tolist())
        past = engine.read(Prompt(before)) if before else None
        kept: list[Seconds] = []
        again: list[Seconds] = []
        _first_token(engine, Prompt(new), past)  # buckets grow once, and not while it is timed
        for _ in range(repeats):
            kept.append(_first_token(engine, Prompt(new), past))
            again.append(_first_token(engine, Prompt((*before, *new)), None))
        ratio = statistics.median(again) / statistics.median(kept)
        rows.append(TurnRow(turn, len(before) + len(new), tuple(kept), tuple(again), ratio))
        parked = past or parked
    return tuple(rows), parked or engine.read(Prompt(tuple(random_ids(0, length).tolist())))


def held(parked: ParkedKV, *, memory: int = MEMORY) -> SessionsHeld:
    """How many conversations of this size can wait for their next turn."""
    size = parked.nbytes
    free = free_memory(parked.keys.device)
    return SessionsHeld(
        parked.length, size, memory, memory // size, None if free is None else free // size
    )


def engine_for(model: EChatForConditionalGeneration, at: Sequence[int], length: int) -> Engine:
    """An engine for one request, with room for the last of some turns."""
    return Engine(model, EngineLimits(rows=1, positions=max(512, (max(at) + 1) * length)))


def _first_token(engine: Engine, prompt: Prompt, past: ParkedKV | None) -> Seconds:
    device = engine.model.device
    start = now(device)
    stream = engine.start(prompt, endless(engine.model, 4), greedy(), past=past)
    next(stream)
    taken = now(device) - start
    stream.close()
    return taken
