"""Windows of several streams solved in one call of the estimator.

There is no thread of its own: whoever comes and finds nobody solving solves for all that wait. So a
stream that is alone never waits, and those that come while the device is busy go together.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from echat_sdk.model.echat.token2wav.flow import Condition, FlowMatching


def solve_together(
    solver: FlowMatching,
    windows: Sequence[tuple[Tensor, Condition]],
    *,
    steps: int,
    guidance: float,
) -> list[Tensor]:
    """Solve windows of any lengths as rows of one batch; each gives what it gives alone.

    Args:
        solver: counts no padding in its norms (`parity=False`).
        windows: noise [1, 80, T] and condition of each.
        steps: see `FlowMatching.forward`.
        guidance: see `FlowMatching.forward`.

    Returns:
        Mels, float32 [1, 80, T] each.
    """
    if len(windows) == 1:
        noise, given = windows[0]
        return [solver(noise, given, steps=steps, guidance=guidance)]
    lengths = [noise.shape[2] for noise, _ in windows]
    longest = max(lengths)

    def rows(tensors: Sequence[Tensor]) -> Tensor:
        return torch.cat([F.pad(x, (0, longest - x.shape[2])) for x in tensors])

    noise = rows([noise for noise, _ in windows])
    mu = rows([given.mu for _, given in windows])
    cond = rows([given.cond for _, given in windows])
    spks = torch.cat([given.spks for _, given in windows])
    mask = None
    if min(lengths) < longest:
        frame = torch.arange(longest, device=mu.device)
        valid = frame < torch.tensor(lengths, device=mu.device)[:, None]
        mask = valid[:, None].to(mu.dtype)
    given = Condition(mu, spks, cond)
    mels = solver(noise, given, steps=steps, guidance=guidance, mask=mask)
    return [mels[row : row + 1, :, :length] for row, length in enumerate(lengths)]


class FlowBatch:
    """A solver that streams of several threads share.

    Args:
        solver: see `solve_together`.
        steps: see `FlowMatching.forward`.
        guidance: see `FlowMatching.forward`.
        most: windows in one call.
    """

    def __init__(self, solver: FlowMatching, *, steps: int, guidance: float, most: int) -> None:
        self._solver = solver
        self._steps = steps
        self._guidance = guidance
        self._most = most
        self._waiting: deque[_Window] = deque()  # one of each stream at most
        self._changed = threading.Condition()
        self._is_solving = False

    @torch.inference_mode()
    def __call__(self, noise: Tensor, given: Condition) -> Tensor:
        """Solve one window, with those that wait; [1, 80, T] to mel, float32 [1, 80, T].

        Raises:
            RuntimeError: of torch, such as out of memory, for this window alone.
        """
        window = _Window(noise.to(given.mu.device), given)
        with self._changed:
            self._waiting.append(window)
        while True:
            with self._changed:
                while self._is_solving and not window.is_done:
                    self._changed.wait()
                if window.is_done:
                    break
                self._is_solving = True
                count = min(self._most, len(self._waiting))
                batch = [self._waiting.popleft() for _ in range(count)]
            try:
                self._solve(batch)
            finally:
                with self._changed:
                    self._is_solving = False
                    self._changed.notify_all()
        if window.mel is None:
            raise window.error or RuntimeError("the batch of this window was broken off")
        return window.mel

    def _solve(self, batch: list[_Window]) -> None:
        """Solve; where that fails, each alone: then it shows whose fault it was."""
        try:
            mels = solve_together(
                self._solver,
                [(window.noise, window.given) for window in batch],
                steps=self._steps,
                guidance=self._guidance,
            )
            for window, mel in zip(batch, mels, strict=True):
                window.mel = mel
        except RuntimeError as error:
            if len(batch) == 1:
                batch[0].error = error
            else:
                for window in batch:
                    self._solve([window])
        finally:
            for window in batch:
                window.is_done = True


@dataclass(slots=True, eq=False)
class _Window:
    noise: Tensor
    given: Condition
    mel: Tensor | None = None
    error: RuntimeError | None = None
    is_done: bool = False
