"""`echat bench turns`: how often it cuts people off, how long it makes them wait, what stops it.

The measures bear eot-bench's names. A false cut-off is a turn that was ended within a pause of its
speaker; a system's rate at 300 ms is with that delay after a turn that sounds complete. Latency at
5 % is the mean delay of the best setting, of all that were tried, that cuts off no more than that.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import soxr

from echat_sdk.audio import SAMPLE_RATE, Seconds, Waveform, to_float
from echat_sdk.bench.turn_clips import Clip, ClipMaker, Say
from echat_sdk.bench.turn_echo import EchoRow, Remedy, measure_echo, noise_suppressor, remedies
from echat_sdk.bench.turn_ends import NoiseRow, TurnRow, in_noise, measure, share, systems
from echat_sdk.bench.turn_held_out import HELD_OUT
from echat_sdk.bench.turn_runs import (
    Judgements,
    Listened,
    OverlapOutcome,
    Readings,
    Transcribe,
    listen,
    speak_over,
)
from echat_sdk.bench.turn_scripts import ClipSet, Plan, SetName
from echat_sdk.bench.turn_tuned import TUNED
from echat_sdk.errors import ModelMissingError
from echat_sdk.foreground import Foreground
from echat_sdk.model.cascade.prosody import Prosody
from echat_sdk.protocols import VAD, TurnEnd
from echat_sdk.turn import Lang
from echat_sdk.turn_policy import TurnPolicy

Step = Callable[[str, int, int], None]
"""Told what is being done, and how much of it: so many of so many."""

SETS: Mapping[SetName, ClipSet] = MappingProxyType({"tuned": TUNED, "held-out": HELD_OUT})


@dataclass(frozen=True, slots=True)
class _Over:
    clip: Clip
    echo: Remedy
    outcome: OverlapOutcome


@dataclass(frozen=True, slots=True)
class OverlapRow:
    """What is done about one kind of sound over the agent's voice.

    Attributes:
        what: The group of clips, with the level of the agent's echo in them if there is one.
        echo: What is done about the echo: `off`, `guard` or `cancel`.
        stops: Whether the agent is to stop for it.
        clips: How many.
        paused: Share for which the agent fell silent, if only for a moment.
        stopped: Share for which it gave up its answer.
        silent_after: Median from the first sound of the user to silence; None where it never was.
    """

    what: str
    echo: Remedy
    stops: bool
    clips: int
    paused: float
    stopped: float
    silent_after: Seconds | None


@dataclass(frozen=True, slots=True)
class TurnBench:
    """What was found.

    Attributes:
        set: Which clips.
        clips: Those of turns.
        pauses: In them.
        policy: Ours, with which it was measured.
        turns: One row a system.
        noise: One row a system and noise, ours also with noise suppressed.
        overlaps: One row a kind of sound, and what is done about the echo in it.
        echoes: What is taken out of an echo.
        false_barge_ins: Share of backchannels, noises and echoes for which the agent stopped, by
            what is done about echoes.
        missed_barge_ins: Share of words to the agent for which it did not, likewise.
    """

    set: SetName
    clips: int
    pauses: int
    policy: Mapping[str, float]
    turns: tuple[TurnRow, ...]
    noise: tuple[NoiseRow, ...]
    overlaps: tuple[OverlapRow, ...]
    echoes: tuple[EchoRow, ...]
    false_barge_ins: Mapping[Remedy, float]
    missed_barge_ins: Mapping[Remedy, float]


def run(
    say: Say,
    clips: ClipSet,
    plans: Sequence[Plan],
    *,
    vad: VAD,
    turn_end: TurnEnd,
    transcribe: Transcribe,
    policy: TurnPolicy | None = None,
    step: Step = lambda what, done, of: None,
) -> TurnBench:
    """Make the clips and measure.

    Args:
        say: The voices that they are made with.
        clips: The set that they are of.
        plans: Which of it.
        vad: Tells speech, a crowd's as well as the user's.
        turn_end: Tells whether a turn sounds complete.
        transcribe: Writes down what was said.
        policy: Ours; None is the default.
        step: Told how far it has come.
    """
    policy = policy or TurnPolicy()
    maker, suppressor, ours = ClipMaker(say, clips), noise_suppressor(), Foreground(vad)
    turns: list[Listened] = []
    others: list[Clip] = []
    over: list[_Over] = []
    for number, plan in enumerate(plans, 1):
        clip = maker.make(plan)
        if clip.is_turn:
            turns += (listen(clip, vad, "bare"), listen(clip, ours, "ours"))
            if suppressor is not None and plan.noise is not None:
                turns.append(listen(clip, ours, "suppressed", suppressor()))
        else:
            others.append(clip)
            over += _heard_over(clip, ours, policy)
        step("making clips and listening", number, len(plans))
    tried = systems(policy, Judgements(turn_end), Readings(transcribe))
    suppressed = replace(tried[-1], name=f"{tried[-1].name}, noise suppressed", ears="suppressed")
    # Here pauses are judged and read; further down that is known.
    for number, heard in enumerate(turns, 1):
        for system in (*tried, suppressed):
            system.of([heard])
        step("judging and reading pauses", number, len(turns))
    rows: list[TurnRow] = []
    for system in tried:
        rows.append(measure(system, turns))
        step("trying delays", len(rows), len(tried))
    bare = [heard.clip for heard in turns if heard.ears == "bare"]
    return TurnBench(
        set=clips.name,
        clips=len(bare),
        pauses=sum(len(clip.pauses) for clip in bare),
        policy={k: v for k, v in policy.model_dump().items() if isinstance(v, float)},
        turns=tuple(rows),
        noise=in_noise((tried[0], tried[1], tried[-1], suppressed), turns),
        overlaps=tuple(_overlaps(over)),
        echoes=measure_echo(others),
        false_barge_ins={
            name: share(o.outcome.is_stopped for o in _with(over, name) if not o.clip.stops_agent)
            for name in remedies()
        },
        missed_barge_ins={
            name: share(not o.outcome.is_stopped for o in _with(over, name) if o.clip.stops_agent)
            for name in remedies()
        },
    )


def _heard_over(clip: Clip, vad: VAD, policy: TurnPolicy) -> list[_Over]:
    """One clip with each remedy; without an echo there is nothing to take out."""
    return [
        _Over(clip, name, speak_over(clip, policy, vad, remover()))
        for name, remover in remedies().items()
        if clip.plan.level is not None or name == "off"
    ]


def _with(over: Sequence[_Over], remedy: Remedy) -> list[_Over]:
    """Those with this remedy, and those without an echo."""
    return [each for each in over if each.echo == remedy or each.clip.plan.level is None]


def _overlaps(over: Sequence[_Over]) -> list[OverlapRow]:
    found: dict[tuple[str, Remedy, bool], list[OverlapOutcome]] = {}
    for each in over:
        plan = each.clip.plan
        what = plan.group if plan.level is None else f"{plan.group}, {plan.level} dB"
        found.setdefault((what, each.echo, each.clip.stops_agent), []).append(each.outcome)
    return [
        OverlapRow(
            what=what,
            echo=echo,
            stops=stops,
            clips=len(those),
            paused=share(o.pauses > 0 for o in those),
            stopped=share(o.is_stopped for o in those),
            silent_after=statistics.median(late)
            if (late := [o.silent_after for o in those if o.silent_after is not None])
            else None,
        )
        for (what, echo, stops), those in found.items()
    ]


def open_voice(*, threads: int = 1) -> Say:
    """The packaged voices, at the rate of a microphone.

    Raises:
        ModelMissingError: hibari-tts or onnxruntime is not installed.
    """
    from echat_sdk.model import zoo
    from echat_sdk.model.cascade.voice import Voice

    folder = zoo.find("kokoro-82m")
    voice = Voice(folder / "kokoro-v1.0.int8.onnx" if folder else None, threads=threads)

    def say(text: str, lang: Lang, prosody: Prosody, name: str | None) -> Waveform:
        said = voice.say(text, lang=lang, emotion=prosody, voice=name)
        pieces = [delta.samples for delta in said]
        spoken: Waveform = soxr.resample(np.concatenate(pieces), voice.sample_rate, SAMPLE_RATE)
        return spoken

    return say


def open_ears(*, threads: int = 1) -> Transcribe:
    """The transcriber of echat-lite.

    Raises:
        ModelMissingError: it is not here; says how to get it.
    """
    from echat_sdk.model import zoo
    from echat_sdk.model.cascade.transcriber import Transcriber

    folder = zoo.find("whisper-base")
    if folder is None:
        raise ModelMissingError("Whisper is not here; get it: echat models pull whisper-base")
    whisper = Transcriber(folder, threads=threads)

    def transcribe(samples: Waveform) -> tuple[str, Lang]:
        found = whisper.transcribe(to_float(samples))
        return found.text, found.lang

    return transcribe


def languages() -> tuple[Lang, ...]:
    """Those that the packaged voices can speak now: Chinese once Kokoro was pulled."""
    from echat_sdk.model import zoo

    return ("en", "zh") if zoo.find("kokoro-82m") else ("en",)
