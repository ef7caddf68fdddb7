"""The end-to-end network on this machine: decoding, first packet, sound, turns, conversations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from echat_sdk.bench import conversations, decoding, first_packet, token2wav
from echat_sdk.bench.conversations import SessionsHeld, TurnRow
from echat_sdk.bench.decoding import DecodeRow, Way
from echat_sdk.bench.first_packet import FirstPacket
from echat_sdk.bench.token2wav import SCHEDULES, ChunkRow, Schedule
from echat_sdk.model.echat.directory import load
from echat_sdk.model.echat.network import EChatForConditionalGeneration
from echat_sdk.model.echat.quantize import quantize


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and how often.

    Attributes:
        batches: Numbers of requests at once.
        tokens: Steps that are timed.
        prompt: Ids of each request's prompt.
        repeats: Of everything.
        turns: Which turns of a conversation, rising.
        turn: Ids of a turn.
        words: Tokens of thought and text before the first speech code.
        schedules: Ways to solve the flow; the first makes the first packet's sound.
        compiles: Whether transformers' compiled way is measured; a minute for each batch.
    """

    batches: tuple[int, ...] = (1, 8, 32)
    tokens: int = 20
    prompt: int = 64
    repeats: int = 3
    turns: tuple[int, ...] = (1, 20)
    turn: int = 80
    words: int = 40
    schedules: tuple[Schedule, ...] = SCHEDULES
    compiles: bool = True


QUICK = Plan(
    batches=(1, 8),
    tokens=3,
    prompt=8,
    repeats=1,
    turns=(1, 4),
    turn=40,
    words=6,
    schedules=(Schedule(1), Schedule(1, 0.0)),
    compiles=False,
)
"""Under two minutes for half a billion parameters on two busy cores; figures are rough."""


@dataclass(frozen=True, slots=True)
class ModelBench:
    """What one run found.

    Attributes:
        device: What it ran on.
        threads: Processor threads.
        memory: Bytes a second that this memory gives to one reader.
        decode: Ways to decode, by number of requests.
        first_packet: Stages up to the first sound.
        token2wav: Chunks of sound, by schedule.
        turns: First tokens of a conversation's turns.
        sessions: What waiting conversations take.
    """

    device: str
    threads: int
    memory: float
    decode: tuple[DecodeRow, ...]
    first_packet: FirstPacket
    token2wav: tuple[ChunkRow, ...]
    turns: tuple[TurnRow, ...]
    sessions: SessionsHeld


def run(
    directory: Path,
    *,
    threads: int,
    plan: Plan | None = None,
    progress: Callable[[str], None] = lambda what: None,
) -> ModelBench:
    """Measure a checkpoint; a quarter of an hour for half a billion parameters on two cores.

    On a GPU if there is one, in bfloat16; else float32 beside int8.

    Args:
        directory: A checkpoint directory.
        threads: Processor threads.
        plan: What is measured.
        progress: Told what begins.

    Raises:
        ModelError: see `directory.load`.
    """
    plan = plan or Plan()
    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    progress("opening")
    ways, fastest = _ways(directory, device, plan)
    decode, memory = decoding.measure(
        ways,
        plan.batches,
        repeats=plan.repeats,
        memory=lambda: decoding.memory_rate(device),
        progress=progress,
    )
    spoken = token2wav.open_spoken(directory, device)
    chunks = token2wav.measure(spoken, plan.schedules, repeats=plan.repeats, progress=progress)
    packet = first_packet.measure(
        first_packet.engine_for(fastest),
        spoken,
        words=plan.words,
        repeats=plan.repeats,
        steps=plan.schedules[0].steps,
        progress=progress,
    )
    turns, parked = conversations.turns(
        conversations.engine_for(fastest, plan.turns, plan.turn),
        plan.turns,
        length=plan.turn,
        repeats=plan.repeats,
        progress=progress,
    )
    held = conversations.held(parked)
    return ModelBench(str(device), threads, memory, decode, packet, chunks, turns, held)


def _ways(
    directory: Path, device: torch.device, plan: Plan
) -> tuple[list[Way], EChatForConditionalGeneration]:
    """What is compared, transformers' eager way first; and the network as the SDK would open it."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    whole = load(directory, dtype=dtype, device=device)
    ways = [decoding.theirs(whole, plan.tokens, plan.prompt)]
    if plan.compiles:
        ways.append(decoding.theirs(whole, plan.tokens, plan.prompt, compiled=True))
    precision = str(dtype).removeprefix("torch.")
    ways.append(decoding.ours(f"ours, {precision}", whole, plan.tokens, plan.prompt))
    if device.type == "cuda":
        return ways, whole
    eight = load(directory)
    quantize(eight.llm)
    return [*ways, decoding.ours("ours, int8", eight, plan.tokens, plan.prompt)], eight
