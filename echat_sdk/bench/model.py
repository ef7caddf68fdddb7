"""The end-to-end network's decoding, timed beside transformers' own with the same weights.

All ways run in turn in one process, again and again, so that a busy neighbour slows all alike; what
is told are ratios. Answers are forced to one length: a model that ends early would look fast.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from echat_sdk.audio import Seconds
from echat_sdk.model.echat.decoding import Decoding
from echat_sdk.model.echat.directory import load
from echat_sdk.model.echat.engine import Engine, EngineLimits, Prompt
from echat_sdk.model.echat.kv import ParkedKV
from echat_sdk.model.echat.network import EChatForConditionalGeneration
from echat_sdk.model.echat.quantize import quantize
from echat_sdk.model.echat.sampling import Sampler, Sampling

PROMPT = 64
"""Ids of each request's prompt."""

TURN = 80
"""Ids of a turn of the conversation that grows: what was heard, and the text of the answer."""

_GREEDY = Sampling(temperature=0)


@dataclass(frozen=True, slots=True)
class DecodeRow:
    """Decoding in one way at one number of requests.

    Attributes:
        way: `transformers`, or ours and its precision.
        rows: Requests at once.
        rates: Tokens a second over all requests, one for each repeat.
        ratio: Median rate by that of transformers at as many requests.
        bandwidth: Weight bytes read a second, by what this memory was measured to give.
    """

    way: str
    rows: int
    rates: tuple[float, ...]
    ratio: float
    bandwidth: float


@dataclass(frozen=True, slots=True)
class TurnRow:
    """First token of a turn: with what was read before kept, and with all read again."""

    turn: int
    kept: Seconds
    again: Seconds


@dataclass(frozen=True, slots=True)
class ModelBench:
    """What one run found.

    Attributes:
        memory: Bytes a second that this memory gives to one reader.
    """

    decode: tuple[DecodeRow, ...]
    turns: tuple[TurnRow, ...]
    memory: float


def run(
    directory: Path,
    *,
    threads: int,
    batches: tuple[int, ...] = (1, 8),
    tokens: int = 20,
    repeats: int = 3,
    progress: Callable[[], None] = lambda: None,
) -> ModelBench:
    """Time a checkpoint; some minutes for half a billion parameters on two cores.

    Args:
        directory: A checkpoint directory.
        threads: Processor threads.
        batches: Numbers of requests at once.
        tokens: Length of each answer.
        repeats: Of each way.
        progress: Told after each measurement: 3 * len(batches) * repeats + 3 of them.

    Raises:
        ModelError: see `directory.load`.
    """
    torch.set_num_threads(threads)
    whole = load(directory)
    eight = load(directory)
    quantize(eight.llm)
    memory = _memory_rate()
    ways: dict[str, tuple[Callable[[int], float], int]] = {
        "transformers": (lambda rows: _theirs(whole, rows, tokens), _weight_bytes(whole)),
        "ours float32": (lambda rows: _ours(whole, rows, tokens), _weight_bytes(whole)),
        "ours int8": (lambda rows: _ours(eight, rows, tokens), _weight_bytes(eight)),
    }
    rates: dict[tuple[str, int], list[float]] = {}
    for rows in batches:
        for _ in range(repeats):
            for way, (measure, _bytes) in ways.items():
                rates.setdefault((way, rows), []).append(measure(rows))
                progress()
    decode = []
    for (way, rows), found in rates.items():
        middle = statistics.median(found)
        base = statistics.median(rates["transformers", rows])
        steps = middle / rows
        share = steps * ways[way][1] / memory
        decode.append(DecodeRow(way, rows, tuple(found), middle / base, share))
    turns = tuple(_turns(eight, (1, 4, 12), progress))
    return ModelBench(tuple(decode), turns, memory)


@torch.inference_mode()
def _theirs(model: EChatForConditionalGeneration, rows: int, tokens: int) -> float:
    ids = torch.stack([_prompt(seed) for seed in range(rows)])
    start = time.perf_counter()
    model.llm.generate(  # type: ignore[misc]
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=tokens,
        min_new_tokens=tokens,
        do_sample=False,
        pad_token_id=0,
    )
    return rows * tokens / (time.perf_counter() - start)


def _ours(model: EChatForConditionalGeneration, rows: int, tokens: int) -> float:
    engine = Engine(model, EngineLimits(rows=rows, positions=512))
    start = time.perf_counter()
    streams = [
        engine.start(Prompt(tuple(_prompt(seed).tolist())), _endless(model, tokens), _greedy())
        for seed in range(rows)
    ]
    for stream in streams:
        for _ in stream:
            pass
    return rows * tokens / (time.perf_counter() - start)


def _turns(
    model: EChatForConditionalGeneration, at: tuple[int, ...], progress: Callable[[], None]
) -> Iterator[TurnRow]:
    engine = Engine(model, EngineLimits(rows=1, positions=4096))
    for turn in at:
        before = tuple(_prompt(turn, (turn - 1) * TURN).tolist())
        new = tuple(_prompt(0).tolist())
        past = engine.read(Prompt(before)) if before else None
        kept = _first_token(engine, Prompt(new), past)
        yield TurnRow(turn, kept, _first_token(engine, Prompt((*before, *new)), None))
        progress()


def _first_token(engine: Engine, prompt: Prompt, past: ParkedKV | None) -> Seconds:
    start = time.perf_counter()
    stream = engine.start(prompt, _endless(engine.model, 4), _greedy(), past=past)
    next(stream)
    taken = time.perf_counter() - start
    stream.close()
    return taken


def _greedy() -> Sampler:
    return Sampler(_GREEDY, 0)


def _endless(model: EChatForConditionalGeneration, tokens: int) -> Decoding:
    """An answer of a fixed length: its end mark is a row that no text has."""
    vocab = replace(model.config.vocab, text_end=model.config.vocab_size - 1)
    return Decoding.of(vocab, speaks=False, max_tokens=tokens)


def _prompt(seed: int, length: int = PROMPT) -> torch.Tensor:
    chance = torch.Generator().manual_seed(seed)
    return torch.randint(0, 20_000, (length,), generator=chance)


def _weight_bytes(model: EChatForConditionalGeneration) -> int:
    """Bytes that a text token reads: the layers and the head. The table gives one row."""
    head = {name for name, _ in model.llm.named_modules() if name.startswith("lm_head")}
    tensors = [*model.llm.named_parameters(remove_duplicate=False), *model.llm.named_buffers()]
    return sum(
        tensor.numel() * tensor.element_size()
        for name, tensor in tensors
        if "embed_tokens" not in name or not head
    )


def _memory_rate() -> float:
    """Bytes a second of reading memory that no cache holds."""
    block = torch.ones(64 * 2**20)
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        block.sum()
        best = max(best, block.numel() * 4 / (time.perf_counter() - start))
    return best
