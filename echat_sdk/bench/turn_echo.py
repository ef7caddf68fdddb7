"""What is taken out of the agent's own voice before anybody listens for the user."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from echat_sdk.audio import FRAME_LEN, SAMPLE_RATE, Seconds
from echat_sdk.bench.turn_clips import Clip
from echat_sdk.errors import AudioDeviceError
from echat_sdk.io.echo import EchoRemover, WebRTCProcessing
from echat_sdk.io.echo_guard import EchoGuard

Remedy = Literal["off", "guard", "cancel", "suppress"]
"""What is done: nothing, muting, subtracting, and suppressing noise as well."""

Opened = Callable[[], EchoRemover | None]

CONVERGED: Seconds = 1.0
"""Of the answer, in which a canceller may learn the room."""


@dataclass(frozen=True, slots=True)
class EchoRow:
    """What one remedy takes out of an echo of one level.

    Attributes:
        level: Of the echo against what is played, in dB.
        echo: The remedy.
        clips: How many.
        erle: Echo return loss enhancement after a second of the answer, in dB: what the microphone
            hears over what is left. The median; what is left counts as one step of int16 at least,
            and the room's own noise, which a canceller leaves in, bounds what it can reach.
        least: Of the clip of which least is taken out.
    """

    level: int
    echo: Remedy
    clips: int
    erle: float
    least: float


def remedies() -> dict[Remedy, Opened]:
    """What can be done about an echo here: nothing, muting it, and subtracting it with livekit."""
    found: dict[Remedy, Opened] = {"off": lambda: None, "guard": EchoGuard}
    return {**found, "cancel": WebRTCProcessing} if noise_suppressor() else found


@cache
def noise_suppressor() -> Callable[[], EchoRemover] | None:
    """WebRTC's, with its echo canceller, where livekit is installed."""
    try:
        WebRTCProcessing()
    except AudioDeviceError:
        return None
    return lambda: WebRTCProcessing(noise_suppression=True)


def measure_echo(clips: Iterable[Clip]) -> tuple[EchoRow, ...]:
    """Every remedy on the clips that hold nothing but an echo."""
    tried, suppressor = remedies(), noise_suppressor()
    if suppressor is not None:
        tried["suppress"] = suppressor
    rows: dict[tuple[int, Remedy], list[float]] = {}
    for clip in clips:
        if clip.plan.group != "echo" or clip.plan.level is None:
            continue
        for name, opened in tried.items():
            if (remover := opened()) is not None:
                rows.setdefault((clip.plan.level, name), []).append(erle(clip, remover))
    return tuple(_row(level, name, found) for (level, name), found in rows.items())


def erle(clip: Clip, remover: EchoRemover) -> float:
    """What is taken out of a clip's echo, in dB, once the remover has had a second of it."""
    before = after = 0.0
    for start in range(0, len(clip.echo) // FRAME_LEN * FRAME_LEN, FRAME_LEN):
        step = slice(start, start + FRAME_LEN)
        heard = np.clip(clip.samples[step].astype(np.int32) + clip.echo[step], -32768, 32767)
        left = remover.clean(heard.astype(np.int16), clip.agent[step])
        if start >= CONVERGED * SAMPLE_RATE:
            before += float(np.mean(heard.astype(np.float64) ** 2))
            after += float(np.mean(left.astype(np.float64) ** 2)) + 1
    return 10 * float(np.log10(before / after)) if after else 0.0


def _row(level: int, name: Remedy, found: Sequence[float]) -> EchoRow:
    return EchoRow(level, name, len(found), statistics.median(found), min(found))
