"""Windows of several streams in one call: each row is what it is alone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from echat_sdk.model.echat.token2wav import ChunkPlan, Token2Wav
from echat_sdk.model.echat.token2wav.batch import FlowBatch, solve_together
from echat_sdk.model.echat.token2wav.flow import Condition, Flow
from echat_sdk.model.echat.token2wav.synthetic import synthetic_voice, tiny_config
from echat_sdk.model.echat.token2wav.vocoder import Vocoder

pytestmark = pytest.mark.usefixtures("without_gradients")

CODES = np.random.default_rng(0).integers(0, 4096, 60).tolist()


def window(frames: int) -> tuple[Tensor, Condition]:
    chance = torch.Generator().manual_seed(frames)
    noise, mu, cond = (torch.randn(1, 80, frames, generator=chance) for _ in range(3))
    return noise, Condition(mu, torch.randn(1, 80, generator=chance), cond)


@pytest.mark.parametrize("guidance", [0.7, 0.0])
@pytest.mark.parametrize("lengths", [(60, 33, 60, 91), (40, 40), (25,)])
def test_windows_solved_together_are_what_they_are_alone(
    flow: Flow, lengths: tuple[int, ...], guidance: float
) -> None:
    windows = [window(length) for length in lengths]
    together = solve_together(flow.decoder, windows, steps=4, guidance=guidance)
    for (noise, given), mel in zip(windows, together, strict=True):
        alone = flow.decoder(noise, given, steps=4, guidance=guidance)
        torch.testing.assert_close(mel, alone, rtol=1e-5, atol=1e-5)


class Watched:
    """The solver, counting rows; it can be held up until others wait."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.rows: list[int] = []
        self.may_begin = threading.Event()

    def __call__(self, noise: Tensor, given: Condition, **options: Any) -> Tensor:
        self.rows.append(len(noise))
        assert self.may_begin.wait(10)
        if bool(noise.isnan().any()):
            raise RuntimeError("not a number")
        mel: Tensor = self.flow.decoder(noise, given, **options)
        return mel


def all_at_once(batch: FlowBatch, solver: Watched, windows: list[Any]) -> list[Any]:
    """Give the windows from threads of their own, all while the first is being solved."""
    with ThreadPoolExecutor(len(windows)) as pool:
        first = pool.submit(batch, *windows[0])
        while not solver.rows:
            threading.Event().wait(0.001)
        others = [pool.submit(batch, *each) for each in windows[1:]]
        while len(batch._waiting) < len(others):
            threading.Event().wait(0.001)
        solver.may_begin.set()
        return [each.exception() or each.result() for each in (first, *others)]


def test_who_comes_while_one_is_solved_goes_together(flow: Flow) -> None:
    solver = Watched(flow)
    batch = FlowBatch(solver, steps=2, guidance=0.7, most=3)  # type: ignore[arg-type]
    windows = [window(length) for length in (20, 31, 22, 45, 27)]
    mels = all_at_once(batch, solver, windows)
    assert solver.rows == [1, 3, 1]
    for (noise, given), mel in zip(windows, mels, strict=True):
        alone = flow.decoder(noise, given, steps=2)
        torch.testing.assert_close(mel, alone, rtol=1e-5, atol=1e-5)


def test_a_window_that_fails_fails_alone(flow: Flow) -> None:
    solver = Watched(flow)
    batch = FlowBatch(solver, steps=1, guidance=0.7, most=4)  # type: ignore[arg-type]
    windows = [window(length) for length in (20, 31, 22)]
    windows[1][0][:] = float("nan")
    first, wrong, last = all_at_once(batch, solver, windows)
    assert isinstance(wrong, RuntimeError)
    assert str(wrong) == "not a number"
    assert first.isfinite().all()
    assert last.isfinite().all()
    assert batch(*window(20)).shape == (1, 80, 20)


def test_streams_that_share_a_batch_say_what_they_say_alone(flow: Flow) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(6)
        vocoder = Vocoder(tiny_config().vocoder).eval()
    voice = synthetic_voice(tiny_config())
    seen: list[int] = []

    def speak(speaker: Token2Wav, seed: int) -> Any:
        stream = speaker.stream(voice, seed=seed, plan=ChunkPlan())
        return np.concatenate([*(stream.push([code]) for code in CODES), stream.finish()])

    alone = [speak(Token2Wav(flow, vocoder, steps=2), seed) for seed in range(4)]
    flow.decoder.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    shared = Token2Wav(flow, vocoder, steps=2, together=4)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: speak(shared, seed), range(4)))
    assert sum(seen) == 4 * 3  # three windows each
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)
