"""Decoding, ours beside transformers' `generate`: tokens a second, and the wait for the first.

The ways take turns in one process, so that a busy neighbour slows all alike; what is told are
ratios. Answers have one forced length: a model that ends early would look fast. Tokens a second are
those of the steps alone; reading the prompts is told apart.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from echat_sdk.audio import Seconds
from echat_sdk.model.echat.decoding import Decoding
from echat_sdk.model.echat.engine import Engine, EngineLimits, Prompt
from echat_sdk.model.echat.network import EChatForConditionalGeneration
from echat_sdk.model.echat.sampling import Sampler, Sampling

EAGER = "transformers"
COMPILED = "transformers, static, compiled"

_SLACK = 8
_GREEDY = Sampling(temperature=0)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of some requests.

    Attributes:
        rate: Tokens a second over all requests, while all of them decode.
        first: From the start until every request had its first token.
    """

    rate: float
    first: Seconds


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """A way to decode.

    Attributes:
        name: What it is called in the table.
        weights: Bytes of weights that a text token reads.
        run: Decodes for so many requests.
        may_fail: Whether a failure is told in its row, instead of ending the bench.
    """

    name: str
    weights: int
    run: Callable[[int], Run]
    may_fail: bool = False


@dataclass(frozen=True, slots=True)
class DecodeRow:
    """Decoding in one way at one number of requests.

    Attributes:
        way: Name of the way.
        rows: Requests at once.
        rates: Tokens a second over all requests, one for each repeat; none if it was not measured.
        ratio: Median rate by that of transformers' eager way at as many requests.
        first: Median wait until every request had its first token.
        roofline: Weights read a second, by what this memory was measured to give.
        note: Why it was not measured.
    """

    way: str
    rows: int
    rates: tuple[float, ...]
    ratio: float | None = None
    first: Seconds | None = None
    roofline: float | None = None
    note: str = ""

    @property
    def rate(self) -> float | None:
        """The median rate."""
        return statistics.median(self.rates) if self.rates else None


def theirs(
    model: EChatForConditionalGeneration, tokens: int, prompt: int, *, compiled: bool = False
) -> Way:
    """Transformers' own `generate`, greedy.

    Args:
        model: The network; its language model alone is used.
        tokens: Steps that are timed.
        prompt: Ids of each request's prompt.
        compiled: With a static cache and torch.compile, which needs a C++ compiler on a processor.
    """
    from transformers import CompileConfig, LogitsProcessor, LogitsProcessorList

    options: dict[str, Any] = {}
    if compiled:
        # One graph for each number of requests: shapes do not change while tokens are written.
        config = CompileConfig(mode="default", fullgraph=False, dynamic=False)
        config._compile_all_devices = True  # type: ignore[assignment]
        options = {"cache_implementation": "static", "compile_config": config}

    class FirstToken(LogitsProcessor):
        at: Seconds = 0.0

        def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
            self.at = self.at or now(scores.device)
            return scores

    @torch.inference_mode()
    def run(rows: int) -> Run:
        ids = torch.stack([random_ids(seed, prompt) for seed in range(rows)]).to(model.device)
        first = FirstToken()
        start = now(model.device)
        model.llm.generate(  # type: ignore[misc]
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=tokens + 1,
            min_new_tokens=tokens + 1,
            do_sample=False,
            pad_token_id=0,
            logits_processor=LogitsProcessorList([first]),
            **options,
        )
        return Run(rows * tokens / (now(model.device) - first.at), first.at - start)

    return Way(COMPILED if compiled else EAGER, weight_bytes(model), run, may_fail=compiled)


def ours(name: str, model: EChatForConditionalGeneration, tokens: int, prompt: int) -> Way:
    """Our engine, greedy; arguments as for `theirs`."""

    def run(rows: int) -> Run:
        # Those that began first write on while the others read; nobody may end before the last.
        longest = tokens + 2 * rows + _SLACK
        limits = EngineLimits(rows=rows, positions=max(512, prompt + longest), ahead=2 * longest)
        engine = Engine(model, limits)
        start = now(model.device)
        streams = [
            engine.start(
                Prompt(tuple(random_ids(seed, prompt).tolist())), endless(model, longest), greedy()
            )
            for seed in range(rows)
        ]
        for stream in streams:
            next(stream)
        first = now(model.device)
        last = streams[-1]
        next(last)  # what the step of its first token may have written too
        begin = now(model.device)
        for _ in range(tokens):
            next(last)
        taken = now(model.device) - begin
        for stream in streams:
            stream.close()
        return Run(rows * tokens / taken, first - start)

    return Way(name, weight_bytes(model), run)


def measure(
    ways: Sequence[Way],
    batches: Sequence[int],
    *,
    repeats: int,
    memory: Callable[[], float],
    progress: Callable[[str], None],
) -> tuple[tuple[DecodeRow, ...], float]:
    """Run the ways in turn; the first is what the others are compared with.

    Args:
        ways: What is compared.
        batches: Numbers of requests at once.
        repeats: Of each way.
        memory: See `memory_rate`; measured in turn as well.
        progress: Told what begins.

    Returns:
        The rows, and the best rate of the memory.
    """
    rows: list[DecodeRow] = []
    best = 0.0
    for count in batches:
        failed: dict[str, str] = {}
        for way in ways:
            if count != batches[0] and not way.may_fail:
                continue  # only what is compiled is cold again at another number
            progress(f"{way.name}: warming up, {count} at once")
            try:
                way.run(count)
            except RuntimeError as error:  # all of torch.compile's own errors are such
                if not way.may_fail:
                    raise
                failed[way.name] = f"not measured: {_first_line(error)}"
        runs: dict[str, list[Run]] = {way.name: [] for way in ways}
        for _ in range(repeats):
            best = max(best, memory())
            for way in ways:
                if way.name not in failed:
                    progress(f"{way.name}: {count} at once")
                    runs[way.name].append(way.run(count))
        base = statistics.median(run.rate for run in runs[ways[0].name])
        for way in ways:
            if way.name in failed:
                rows.append(DecodeRow(way.name, count, (), note=failed[way.name]))
                continue
            rates = tuple(run.rate for run in runs[way.name])
            rate = statistics.median(rates)
            first = statistics.median(run.first for run in runs[way.name])
            read = rate / count * way.weights
            rows.append(DecodeRow(way.name, count, rates, rate / base, first, read))
    shares = (replace(row, roofline=row.roofline and row.roofline / best) for row in rows)
    return tuple(shares), best


def memory_rate(device: torch.device) -> float:
    """Bytes a second of reading memory that no cache holds."""
    block = torch.ones(64 * 2**20, device=device)
    best = 0.0
    for _ in range(3):
        start = now(device)
        block.sum()
        best = max(best, block.numel() * 4 / (now(device) - start))
    return best


def now(device: torch.device) -> Seconds:
    """The clock, once the device has done what it was told to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def greedy() -> Sampler:
    """A sampler that takes the likeliest token."""
    return Sampler(_GREEDY, 0)


def endless(model: EChatForConditionalGeneration, tokens: int) -> Decoding:
    """A text of exactly so many tokens: its end mark is an id that the network never prefers."""
    vocab = replace(model.config.vocab, text_end=model.config.vocab_size - 1)
    return Decoding.of(vocab, speaks=False, max_tokens=tokens)


def random_ids(seed: int, length: int, below: int = 256) -> Tensor:
    """Text ids that every vocabulary has, int64 [length]."""
    return torch.randint(0, below, (length,), generator=torch.Generator().manual_seed(seed))


def weight_bytes(model: EChatForConditionalGeneration) -> int:
    """Bytes that a text token reads: the layers and the head. The table gives one row."""
    head = {name for name, _ in model.llm.named_modules() if name.startswith("lm_head")}
    tensors = [*model.llm.named_parameters(remove_duplicate=False), *model.llm.named_buffers()]
    return sum(
        tensor.numel() * tensor.element_size()
        for name, tensor in tensors
        if "embed_tokens" not in name or not head
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
