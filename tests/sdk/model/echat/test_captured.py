"""Recorded steps are the eager ones; what is recorded needs nothing but tensors that stay.

Where no GPU is, a recording is a trace: all that is no tensor is baked into it, and it writes to
the tensors that it was made with. A step that looked at a number on the way, or at memory that has
moved since, would go wrong here as it does in a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

from echat_sdk.model.echat.captured import Capture, CapturedRunner, Replay, Step
from echat_sdk.model.echat.decoding import Decoding
from echat_sdk.model.echat.engine import Engine, EngineLimits, Prompt
from echat_sdk.model.echat.runner import Runner
from echat_sdk.model.echat.sampling import Sampler, Sampling


class Recordings:
    """Recordings for a processor, and the rows that each was made for.

    Args:
        traces: Whether a recording is a trace, which takes a second, or the step itself.
    """

    def __init__(self, *, traces: bool) -> None:
        self._traces = traces
        self.rows: list[int] = []

    def __call__(self, step: Step, inputs: Tensor) -> Replay:
        recorded = make_fx(step)(inputs) if self._traces else step
        self.rows.append(inputs.shape[1])
        held = recorded(inputs)  # as with a graph, the result always lies in one place
        return lambda: held.copy_(recorded(inputs))


@pytest.fixture
def traces() -> Recordings:
    return Recordings(traces=True)


@pytest.fixture
def plain() -> Recordings:
    return Recordings(traces=False)


@pytest.fixture
def both(small_model: Any) -> Callable[..., tuple[Runner, CapturedRunner]]:
    def make(made: Capture, *, rows: int = 4, most: int = 2048) -> tuple[Runner, CapturedRunner]:
        captured = CapturedRunner(small_model, rows=rows, most=most, captures=lambda: made)
        return Runner(small_model, rows=rows, most=most), captured

    return make


@pytest.fixture(autouse=True)
def _no_gradients() -> Any:
    with torch.no_grad():
        yield


def prompt(length: int, seed: int) -> Prompt:
    made = torch.Generator().manual_seed(seed)
    return Prompt(tuple(torch.randint(300, (length,), generator=made).tolist()))


def assert_same(found: Tensor, expected: Tensor, most: float = 1e-5) -> None:
    assert (found - expected).norm() / expected.norm() < most


def step_both(runners: tuple[Runner, Runner], lengths: list[int], seed: int) -> list[int]:
    ids = [(7 * seed + 31 * row) % 340 for row in range(len(lengths))]
    eager, captured = runners
    assert_same(captured.step(ids, lengths), eager.step(ids, lengths))
    return [length + 1 for length in lengths]


def test_a_replayed_step_is_the_eager_one_for_rows_of_different_lengths(
    both: Any, traces: Recordings
) -> None:
    runners = both(traces)
    lengths = [3, 40, 1, 17]
    for runner in runners:
        runner.prefill([(row, 0, prompt(length, row)) for row, length in enumerate(lengths)])
    for seed in range(6):
        lengths = step_both(runners, lengths, seed)
    assert traces.rows == [4]


def test_a_replay_goes_on_where_the_arena_has_grown(both: Any, traces: Recordings) -> None:
    runners = both(traces, rows=2, most=1100)
    lengths = [509, 5]
    for runner in runners:
        runner.prefill([(row, 0, prompt(length, row)) for row, length in enumerate(lengths)])
    for seed in range(5):  # over 512
        lengths = step_both(runners, lengths, seed)
    assert traces.rows == [2, 2]
    for runner in runners:
        runner.prefill([(0, lengths[0], prompt(1022 - lengths[0], 9))])
    lengths[0] = 1022
    for seed in range(4):  # over 1024, up to 1100
        lengths = step_both(runners, lengths, seed)
    assert runners[1].arena.capacity == 1100
    assert traces.rows == [2, 2, 2]
    for runner in runners:  # back below 512, for which there was a recording of the old arena
        runner.prefill([(0, 0, prompt(4, 3))])
    lengths[0] = 4
    for seed in range(2):
        lengths = step_both(runners, lengths, seed)


def test_a_short_row_is_not_looked_at_further_than_its_bucket(both: Any, plain: Recordings) -> None:
    eager, captured = both(plain, rows=2)
    captured.arena.reserve(2048)
    seen: list[int] = []
    static_step = captured.static_step

    def noted(inputs: Tensor, positions: int) -> Tensor:
        seen.append(positions)
        found: Tensor = static_step(inputs, positions)
        return found

    captured.static_step = noted
    for runner in (eager, captured):
        runner.prefill([(0, 0, prompt(8, 1))])
    step_both((eager, captured), [8], 1)
    step_both((eager, captured), [9], 2)
    assert set(seen) == {512}


def test_rows_may_come_go_and_change_places_between_replays(both: Any, plain: Recordings) -> None:
    runners = both(plain)
    for runner in runners:
        runner.prefill([(0, 0, prompt(9, 0)), (1, 0, prompt(4, 1))])
    lengths = step_both(runners, [9, 4], 1)
    for runner in runners:
        runner.prefill([(2, 0, prompt(30, 2))])
    lengths = step_both(runners, [*lengths, 30], 2)
    parked = [runner.park(0, lengths[0]) for runner in runners]
    for runner in runners:  # the first row leaves, the last takes its place
        runner.move(2, 0, lengths[2])
    lengths = step_both(runners, [lengths[2], lengths[1]], 3)
    for runner, kept in zip(runners, parked, strict=True):
        runner.load(2, kept)
        runner.swap(1, 2, max(kept.length, lengths[1]))
    step_both(runners, [lengths[0], kept.length, lengths[1]], 4)
    assert plain.rows == [2, 4]


def test_padding_leaves_the_rows_that_are_not_stepped_as_they_are(
    both: Any, plain: Recordings
) -> None:
    _, captured = both(plain)
    for row in range(4):
        captured.prefill([(row, 0, prompt(6, row))])
    before = captured.park(3, 512)
    captured.step([1, 2, 3], [6, 6, 6])
    after = captured.park(3, 512)
    assert torch.equal(before.keys, after.keys)
    assert torch.equal(before.values, after.values)


def test_numbers_that_are_none_in_an_idle_row_do_not_reach_its_neighbours(
    both: Any, plain: Recordings
) -> None:
    runners = both(plain)
    for runner in runners:
        runner.prefill([(row, 0, prompt(6, row)) for row in range(3)])
    runners[1].load(3, runners[1].park(0, 6))
    runners[1].arena.keys[:, 3] = torch.nan
    step_both(runners, [6, 6, 6], 1)
    runners[1].clear(3)
    for runner in runners:
        runner.prefill([(3, 0, prompt(2, 8))])
    step_both(runners, [7, 7, 7, 2], 2)


def test_a_replay_s_result_outlives_the_next_replay(both: Any, plain: Recordings) -> None:
    _, captured = both(plain)
    captured.prefill([(0, 0, prompt(3, 1))])
    first = captured.step([5], [3])
    kept = first.clone()
    captured.step([9], [4])
    assert torch.equal(first, kept)


def test_the_step_never_waits_for_the_device(both: Any, plain: Recordings) -> None:
    """Tensors that have shapes but no numbers pass, so no number is looked at on the way."""
    _, captured = both(plain)
    with FakeTensorMode(allow_non_fake_inputs=True):
        inputs = torch.empty((3, 2), dtype=torch.long)
        assert captured.static_step(inputs, 512).shape == (2, 48)


class Sizes(TorchDispatchMode):
    """How many numbers each operation wrote to memory of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and all(r.alias_info is None for r in func._schema.returns):
            self.most = max(self.most, out.numel())
        return out


def test_keys_and_values_are_neither_copied_nor_repeated(
    both: Any, plain: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in versions of transformers that repeat keys wherever there is a mask.
    module = "transformers.integrations.sdpa_attention"
    monkeypatch.setattr(f"{module}.is_torchdynamo_compiling", lambda: True, raising=False)
    _, captured = both(plain)
    inputs = torch.tensor([[1, 2], [5, 9], [0, 1]])
    with Sizes() as sizes:
        captured.static_step(inputs, 512)
    rows, heads, size = 2, captured.arena.shape.heads, captured.arena.shape.size
    assert 0 < sizes.most < rows * heads * 512 * size / 4


def test_the_model_attends_as_before_when_the_step_is_done_or_has_failed(
    both: Any, plain: Recordings
) -> None:
    _, captured = both(plain)
    config = captured.model.backbone.config
    before = config._attn_implementation
    captured.step([1], [0])
    assert config._attn_implementation == before
    with pytest.raises(RuntimeError):
        captured.static_step(torch.zeros((3, 9), dtype=torch.long), 512)  # more rows than there are
    assert config._attn_implementation == before


def test_half_precision_is_replayed_as_it_is_stepped(small_model: Any, plain: Recordings) -> None:
    model = small_model.bfloat16()
    eager = Runner(model, rows=3, most=600)
    captured = CapturedRunner(model, rows=3, most=600, captures=lambda: plain)
    for runner in (eager, captured):
        runner.prefill([(row, 0, prompt(5 + row, row)) for row in range(3)])
    found, expected = (runner.step([1, 2, 3], [5, 6, 7]) for runner in (captured, eager))
    assert found.dtype == torch.bfloat16
    assert_same(found.float(), expected.float(), most=2e-2)


def answers(engine: Engine) -> list[list[int]]:
    vocab = engine.model.config.vocab
    streams = [
        engine.start(
            prompt(length, length),
            Decoding.of(vocab, speaks=True, interleaves=length % 2 == 0, max_tokens=40),
            Sampler(Sampling(temperature=1.0, top_k=20), length),
        )
        for length in (3, 8, 21, 5, 14)
    ]
    return [[token.id for token in stream] for stream in streams]


def test_an_engine_answers_the_same_on_replayed_steps(
    small_model: Any, plain: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = EngineLimits(rows=3)
    eager = Engine(small_model, limits)
    monkeypatch.setattr(
        "echat_sdk.model.echat.engine._runner",
        lambda model, limits: CapturedRunner(
            model, rows=limits.rows, most=limits.positions, captures=lambda: plain
        ),
    )
    replayed = Engine(small_model, limits)
    assert answers(replayed) == answers(eager)
    assert len(plain.rows) == len({*plain.rows}) > 1  # each once, in one bucket of positions


@pytest.mark.cuda
def test_a_cuda_graph_is_the_eager_step(small_model: Any) -> None:
    model = small_model.cuda()
    runners = (Runner(model, rows=4, most=2048), CapturedRunner(model, rows=4, most=2048))
    lengths = [3, 509, 1]
    for runner in runners:
        runner.prefill([(row, 0, prompt(length, row)) for row, length in enumerate(lengths)])
    for seed in range(6):  # over 512, where the arena grows and the graphs are dropped
        ids = [(7 * seed + 31 * row) % 340 for row in range(len(lengths))]
        eager, captured = (runner.step(ids, lengths) for runner in runners)
        assert_same(captured, eager, most=1e-3)  # another kernel adds in another order
        lengths = [length + 1 for length in lengths]
