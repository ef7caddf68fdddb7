"""From the end of an utterance to the first sound of the answer, split by stage.

Nothing is hidden: all stages run one after the other, as for a turn that nobody foresaw. Their
order and sizes are those of a spoken answer with its thought first; lengths are forced, because a
network that is untrained, or in a good mood, would write others.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch

from echat_sdk.audio import SAMPLE_RATE, Seconds
from echat_sdk.bench.decoding import endless, greedy, now, random_ids
from echat_sdk.bench.token2wav import Schedule, Spoken, chunk
from echat_sdk.model.echat.decoding import Decoding
from echat_sdk.model.echat.engine import Engine, EngineLimits, Prompt
from echat_sdk.model.echat.features import LogMel
from echat_sdk.model.echat.interleave import Head, Interleave
from echat_sdk.model.echat.network import EChatForConditionalGeneration
from echat_sdk.model.echat.token2wav.flow import STEPS
from echat_sdk.model.echat.token2wav.plan import DEFAULT_PLAN

STAGES = ("front end", "encoder, adapter", "prefill", "thought, text", "speech codes", "token2wav")
HIDDEN = STAGES[:4]
"""Stages that can be done before the turn is known to have ended."""

UTTERANCE: Seconds = 3.0
HEAD = 32
"""Ids of the prompt beside the audio."""


@dataclass(frozen=True, slots=True)
class FirstPacket:
    """What one run found.

    Attributes:
        stages: For each stage what it took, one for each repeat.
        words: Tokens of thought and text.
        codes: Speech codes that the first chunk needs.
        steps: Of the flow's solver.
        note: What made the sound.
        total: All stages, by their medians.
        visible: What is left of that where hearing, thought and text are done before the turn ends.
    """

    stages: dict[str, tuple[Seconds, ...]]
    words: int
    codes: int
    steps: int
    note: str
    total: Seconds
    visible: Seconds


def measure(
    engine: Engine,
    spoken: Spoken,
    *,
    words: int,
    repeats: int,
    steps: int = STEPS,
    progress: Callable[[str], None],
) -> FirstPacket:
    """Answer an utterance of 3 s up to its first sound.

    Args:
        engine: Idle, its network warm.
        spoken: Makes the sound; warm.
        words: Tokens of thought and text.
        repeats: Of the whole.
        steps: Of the flow's solver.
        progress: Told what begins.
    """
    found: dict[str, list[Seconds]] = {stage: [] for stage in STAGES}
    for _ in range(repeats):
        progress("first packet")
        for stage, taken in zip(STAGES, _answer(engine, spoken, words, steps), strict=True):
            found[stage].append(taken)
    median = {stage: statistics.median(taken) for stage, taken in found.items()}
    return FirstPacket(
        {stage: tuple(taken) for stage, taken in found.items()},
        words,
        DEFAULT_PLAN.first,
        steps,
        spoken.note,
        total=sum(median.values()),
        visible=sum(taken for stage, taken in median.items() if stage not in HIDDEN),
    )


def engine_for(model: EChatForConditionalGeneration) -> Engine:
    """An engine for one request."""
    return Engine(model, EngineLimits(rows=1, positions=1024))


@torch.inference_mode()
def _answer(engine: Engine, spoken: Spoken, words: int, steps: int) -> list[Seconds]:
    model, device = engine.model, engine.model.device
    vocab = model.config.vocab
    noise = torch.Generator().manual_seed(0)
    wave = torch.randn(1, round(UTTERANCE * SAMPLE_RATE), generator=noise).to(device) * 0.1
    log_mel = LogMel().to(device)
    clock = [now(device)]
    features, frames = log_mel(wave)
    clock.append(now(device))
    embeds, counts = model.hear(features.to(model.dtype), frames)
    heard = embeds[0, : int(counts[0])]
    clock.append(now(device))
    ids = (*random_ids(0, HEAD).tolist(), *[vocab.audio_placeholder] * len(heard))
    text = engine.start(Prompt((*ids, 0), heard), endless(model, words), greedy(), keeps=True)
    next(text)
    clock.append(now(device))
    for _ in text:
        pass
    clock.append(now(device))
    # Speech with text still to come may not end, so it has the length that is asked for.
    order = Interleave(vocab, head=Head.SPEECH, begun=True)
    codes = engine.start(
        Prompt((vocab.speech_bos,)),
        Decoding(order, max_tokens=DEFAULT_PLAN.first),
        greedy(),
        past=text.parked,
    )
    for _ in codes:
        pass
    clock.append(now(device))
    taken = [later - earlier for earlier, later in pairwise(clock)]
    return [*taken, chunk(spoken, Schedule(steps), DEFAULT_PLAN, 0)[0]]
