"""Speech codes to sound: how long the first chunk takes, and one of the middle, by schedule.

The schedules share the weights and take turns. Without released weights the networks have the
released sizes and random numbers: that is as slow, and says nothing about how it sounds.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from echat_sdk.audio import Seconds
from echat_sdk.bench.decoding import now
from echat_sdk.model.echat.token2wav.config import CODE_RATE, SAMPLE_RATE, Token2WavConfig
from echat_sdk.model.echat.token2wav.flow import GUIDANCE, Flow
from echat_sdk.model.echat.token2wav.plan import DEFAULT_PLAN, ChunkPlan
from echat_sdk.model.echat.token2wav.synthetic import synthetic_voice
from echat_sdk.model.echat.token2wav.token2wav import Token2Wav
from echat_sdk.model.echat.token2wav.vocoder import Vocoder
from echat_sdk.model.echat.token2wav.voices import VoicePrompt

RANDOM_PROMPT: Seconds = 3.0

_LOOK_BACK = DEFAULT_PLAN.look_back + DEFAULT_PLAN.overlap
_MIDDLE = ChunkPlan(first=_LOOK_BACK, growth=2.0, most=DEFAULT_PLAN.most)
"""Its second chunk looks back as far and takes as many codes as any later one of the default."""


@dataclass(frozen=True, slots=True, eq=False)
class Spoken:
    """What speaks, and who.

    Attributes:
        token2wav: The two networks.
        voice: A voice of theirs.
        note: What they are.
    """

    token2wav: Token2Wav
    voice: VoicePrompt
    note: str


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the flow is solved.

    Attributes:
        steps: Euler steps.
        guidance: 0 leaves the row without a condition out: half the work.
    """

    steps: int
    guidance: float = GUIDANCE


SCHEDULES = (Schedule(10), Schedule(5), Schedule(5, 0.0), Schedule(2))


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """One schedule.

    Attributes:
        steps: See `Schedule`.
        guidance: See `Schedule`.
        first: What the first chunk of an answer takes, one for each repeat.
        middle: What a full chunk of the middle takes.
        first_sound: Seconds of sound that the first chunk gives.
        middle_sound: Likewise.
        ratio: Median of `middle` by that of the first schedule.
    """

    steps: int
    guidance: float
    first: tuple[Seconds, ...]
    middle: tuple[Seconds, ...]
    first_sound: Seconds
    middle_sound: Seconds
    ratio: float

    @property
    def real_time(self) -> float:
        """Work by sound, of a middle chunk: above 1 speech stutters."""
        return statistics.median(self.middle) / self.middle_sound


def open_spoken(directory: Path, device: torch.device) -> Spoken:
    """The token2wav of a checkpoint; where it has none, or no voice, random ones as large.

    Args:
        directory: Of the checkpoint.
        device: Where it is to run.

    Raises:
        CheckpointError: its files are damaged.
    """
    folder = directory / "token2wav"
    if folder.is_dir():
        opened = Token2Wav.load(folder, device=device)
        note = "the checkpoint's own networks"
        config = opened.flow.config
        names = opened.voice_names()
        if names:
            voice = opened.voice(names[0])
            return Spoken(opened, voice, f"{note} and voice {names[0]}")
        whole = Token2WavConfig(flow=config)
    else:
        whole = Token2WavConfig()
        note = "random networks of the released sizes (the checkpoint has none)"
        with torch.random.fork_rng(devices=[]), torch.device(device):
            flow, vocoder = Flow(whole.flow), Vocoder(whole.vocoder)
        still = (network.eval().requires_grad_(False) for network in (flow, vocoder))
        opened = Token2Wav(next(still), next(still))  # type: ignore[arg-type]
    voice = synthetic_voice(whole, codes=round(RANDOM_PROMPT * CODE_RATE))
    return Spoken(opened, voice, f"{note}, a random voice with a prompt of {RANDOM_PROMPT:.0f} s")


def measure(
    spoken: Spoken,
    schedules: Sequence[Schedule],
    *,
    repeats: int,
    progress: Callable[[str], None],
) -> tuple[ChunkRow, ...]:
    """Time the chunks of each schedule in turn.

    Args:
        spoken: What speaks.
        schedules: What is compared; the first is what the others are compared with.
        repeats: Of each.
        progress: Told what begins.
    """
    first: dict[Schedule, list[tuple[Seconds, Seconds]]] = {s: [] for s in schedules}
    middle: dict[Schedule, list[tuple[Seconds, Seconds]]] = {s: [] for s in schedules}
    progress("token2wav: warming up")
    chunk(spoken, Schedule(1), DEFAULT_PLAN, 0)
    for _ in range(repeats):
        for schedule in schedules:
            progress(f"token2wav: {schedule.steps} steps")
            first[schedule].append(chunk(spoken, schedule, DEFAULT_PLAN, 0))
            middle[schedule].append(chunk(spoken, schedule, _MIDDLE, 1))
    base = statistics.median(taken for taken, _ in middle[schedules[0]])
    return tuple(
        ChunkRow(
            schedule.steps,
            schedule.guidance,
            tuple(taken for taken, _ in first[schedule]),
            tuple(taken for taken, _ in middle[schedule]),
            first[schedule][0][1],
            middle[schedule][0][1],
            statistics.median(taken for taken, _ in middle[schedule]) / base,
        )
        for schedule in schedules
    )


def chunk(
    spoken: Spoken, schedule: Schedule, plan: ChunkPlan, index: int
) -> tuple[Seconds, Seconds]:
    """Make a chunk of an answer of random codes, after those before it.

    Returns:
        What it took, and how much sound it gave.
    """
    flow = spoken.token2wav.flow
    speaker = Token2Wav(
        flow, spoken.token2wav.vocoder, steps=schedule.steps, guidance=schedule.guidance
    )
    sizes = [plan.first]
    while len(sizes) <= index:
        sizes.append(plan.after(sizes[-1]))
    draw = torch.Generator().manual_seed(0)
    codes = torch.randint(0, flow.config.vocab_size, (sum(sizes),), generator=draw).tolist()
    stream = speaker.stream(spoken.voice, seed=0, plan=plan)
    stream.push(codes[: -sizes[-1]])
    device = flow.encoder_proj.weight.device
    start = now(device)
    samples = stream.push(codes[-sizes[-1] :])
    return now(device) - start, len(samples) / SAMPLE_RATE
