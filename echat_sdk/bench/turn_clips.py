"""Clips with a known truth: who speaks when, where they pause, when they have finished.

They are made when they are needed, out of the packaged voices, and are kept in memory alone.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import numpy.typing as npt

from echat_sdk.audio import SAMPLE_RATE, FloatWaveform, Seconds, Waveform, to_float, to_int16
from echat_sdk.bench.turn_scripts import AGENT, BABBLE, Noise, Plan
from echat_sdk.model.cascade.prosody import Prosody
from echat_sdk.turn import Lang

Say = Callable[[str, Lang, Prosody], Waveform]
"""Speaks a text: int16 at 16 kHz."""

TAIL: Seconds = 4.2
"""Silence after the last word: longer than any delay that is tried."""

_LEAD: Seconds = 0.6
_OVER_AT: Seconds = 1.2  # into the agent's answer, somebody speaks
_ROOM = -62.0  # dBFS of what is always heard
_RESIDUE = -40.0  # decibels of the agent's own voice where echo is cancelled
_ECHO_LATE: Seconds = 0.03  # from the speaker to the microphone: device and air
_ECHO_FADES: Seconds = 0.06  # the room's reverberation falls to a thousandth
_VOICED = 1e-4  # of a voice's loudest power
_STEP = SAMPLE_RATE // 100

_HANGING = Prosody(final=1.5, rate=0.92)
_FILLING = Prosody(range=0.3, rate=0.8)
_SPEAKERS = (
    Prosody(),
    Prosody(pitch=-5, rate=0.95),
    Prosody(pitch=2.5, rate=1.1),
    Prosody(pitch=-3, rate=1.05),
)
_FILLERS = frozenset({"um", "uh", "hmm", "嗯"})

_PAUSE = re.compile(r"\s*([|<])([\d.]+)[|>]\s*")


def _nothing() -> Waveform:
    return np.zeros(0, np.int16)


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """What the microphone hears, and the truth about it. Times are from its first sample.

    Attributes:
        plan: What it was made from.
        samples: Without the agent: int16 at 16 kHz. Shape [S].
        echo: What the microphone hears of the agent at each sample of its answer, at full voice;
            empty where it is silent. Shape [A], A <= S.
        agent: The answer itself. Shape [A].
        start: When the user begins to speak; None where nobody does.
        end: When the user has finished.
        pauses: From and to, of every pause that was put between two words.
    """

    plan: Plan
    samples: Waveform
    start: Seconds | None = None
    end: Seconds | None = None
    pauses: tuple[tuple[Seconds, Seconds], ...] = ()
    echo: Waveform = field(default_factory=_nothing)
    agent: Waveform = field(default_factory=_nothing)

    @property
    def name(self) -> str:
        """Unique."""
        return self.plan.name

    @property
    def answer(self) -> str:
        """What the agent says meanwhile, if it does."""
        answers = AGENT[self.plan.lang]
        if self.plan.group == "echo":
            return self.plan.script
        return "" if self.is_turn else answers[self.plan.number % len(answers)]

    @property
    def is_turn(self) -> bool:
        """Whether it is a turn of its own, not a sound over the agent's voice."""
        return not len(self.agent)

    @property
    def stops_agent(self) -> bool:
        """Whether the right act is to stop speaking."""
        return self.plan.group in ("stop", "words")


class ClipMaker:
    """Makes clips; what a voice has said once is not spoken again.

    Args:
        say: The voice.
    """

    def __init__(self, say: Say) -> None:
        self._say = cache(lambda text, lang, prosody: _trimmed(say(text, lang, prosody)))

    def make(self, plan: Plan) -> Clip:
        """The clip of a plan; the same every time."""
        if plan.group in ("complete", "pause", "filler", "trailing", "noise"):
            return self._turn(plan)
        return self._over_agent(plan)

    def _turn(self, plan: Plan) -> Clip:
        spoken, pauses = self._spoken(plan)
        start, end = _LEAD, _LEAD + len(spoken) / SAMPLE_RATE
        sound = np.pad(spoken, (round(_LEAD * SAMPLE_RATE), round(TAIL * SAMPLE_RATE)))
        if plan.noise is not None and plan.level is not None:
            noise = self._noise(plan.noise, len(sound), _seed(plan))
            sound = sound + noise * (_level(spoken) * _gain(-plan.level) / _level(noise))
        shifted = tuple((start + begin, start + stop) for begin, stop in pauses)
        return Clip(plan, _in_room(sound, _seed(plan)), start, end, shifted)

    def _over_agent(self, plan: Plan) -> Clip:
        is_echo = plan.group == "echo"
        answer = plan.script if is_echo else AGENT[plan.lang][plan.number % len(AGENT[plan.lang])]
        agent = self._say(answer, plan.lang, Prosody())
        echo = _echo(agent) * _gain(plan.level if plan.level is not None else _RESIDUE)
        user, start, end = np.zeros(0, np.float32), None, None
        if plan.group == "sound":
            user = _sound(plan.number)
        elif not is_echo:
            user, _ = self._spoken(plan)
            start, end = _OVER_AT, _OVER_AT + len(user) / SAMPLE_RATE
        at = round(_OVER_AT * SAMPLE_RATE)
        sound = np.zeros(max(len(agent), at + len(user)) + 2 * SAMPLE_RATE, np.float32)
        sound[at : at + len(user)] = user
        room = _in_room(sound, _seed(plan))
        return Clip(plan, room, start, end, echo=to_int16(echo), agent=to_int16(agent))

    # --- voices -----------------------------------------------------------------------------------

    def _spoken(self, plan: Plan) -> tuple[FloatWaveform, list[tuple[Seconds, Seconds]]]:
        """A script's sound from its first to its last voiced sample, and its pauses."""
        parts = _PAUSE.split(plan.script)
        texts, marks, seconds = parts[::3], parts[1::3], [float(s) for s in parts[2::3]]
        speaker = _SPEAKERS[plan.number % len(_SPEAKERS)] if plan.lang == "en" else Prosody()
        if "<" in marks:
            pieces = self._cut(texts, plan.lang, speaker)
        else:
            pieces = [self._say(t, plan.lang, _manner(t, plan.lang, speaker)) for t in texts]
        sound, pauses = pieces[0], []
        for pause, piece in zip(seconds, pieces[1:], strict=True):
            begin = len(sound) / SAMPLE_RATE
            pauses.append((begin, begin + pause))
            silence = np.zeros(round(pause * SAMPLE_RATE), np.float32)
            sound = np.concatenate((sound, silence, piece))
        return sound, pauses

    def _cut(self, texts: list[str], lang: Lang, speaker: Prosody) -> list[FloatWaveform]:
        """One sentence spoken in one breath, in pieces: cut where it is softest between words."""
        whole = self._say(" ".join(texts), lang, speaker)
        lengths = np.array([len(self._say(text, lang, speaker)) for text in texts], np.float64)
        near = np.cumsum(lengths)[:-1] / lengths.sum() * len(whole)
        return [_faded(piece) for piece in np.split(whole, [_softest(whole, int(n)) for n in near])]

    def _noise(self, kind: Noise, length: int, seed: int) -> FloatWaveform:
        rng = np.random.default_rng(seed)
        if kind == "white":
            return rng.standard_normal(length).astype(np.float32)
        babble = np.zeros(length, np.float32)
        for number in range(6):  # a table of six
            speaker = _SPEAKERS[number % len(_SPEAKERS)]
            words = self._say(BABBLE[number % len(BABBLE)], "en", speaker)
            babble += np.resize(np.roll(words, int(rng.integers(len(words)))), length)
        return babble


def _manner(text: str, lang: Lang, speaker: Prosody) -> Prosody:
    if text.strip(",.…，。 ").casefold() in _FILLERS:
        manner = _FILLING
    elif text.endswith((",", "…", "，")):
        manner = _HANGING
    else:
        return speaker
    if lang == "zh":  # tones stay as they are
        return Prosody(rate=manner.rate)
    return Prosody(
        pitch=speaker.pitch, range=manner.range, rate=speaker.rate * manner.rate, final=manner.final
    )


def _sound(number: int) -> FloatWaveform:
    """A noise that is no voice: a cough-like burst, a knock, a clatter, a hum."""
    rng = np.random.default_rng(number)
    time = np.arange(round((0.35, 0.08, 0.9, 1.5)[number] * SAMPLE_RATE)) / SAMPLE_RATE
    white = rng.standard_normal(len(time))
    match number:
        case 0:
            shape = white * np.exp(-time / 0.08) + 0.6 * np.roll(white * np.exp(-time / 0.06), 3000)
        case 1:
            shape = np.sin(2 * np.pi * 180 * time) * np.exp(-time / 0.015)
        case 2:
            shape = white * (np.sin(2 * np.pi * 9 * time) > 0.6)
        case _:
            shape = np.sin(200 * np.pi * time) + 0.5 * np.sin(400 * np.pi * time)
    loudest: FloatWaveform = (0.25 * shape / np.abs(shape).max()).astype(np.float32)
    return loudest


# --- sound ----------------------------------------------------------------------------------------


def _trimmed(samples: Waveform) -> FloatWaveform:
    """From the first to the last voiced 10 ms."""
    sound = to_float(samples)
    power = _powers(sound)
    voiced = np.flatnonzero(power > power.max() * _VOICED)
    return sound[voiced[0] * _STEP : (voiced[-1] + 1) * _STEP]


def _powers(sound: FloatWaveform) -> npt.NDArray[np.float64]:
    steps = sound[: len(sound) // _STEP * _STEP].reshape(-1, _STEP).astype(np.float64)
    power: npt.NDArray[np.float64] = (steps**2).mean(axis=1)
    return power


def _softest(sound: FloatWaveform, near: int) -> int:
    """The softest 10 ms within an eighth of a second, as a sample."""
    first = max(1, near // _STEP - 12)
    power = _powers(sound)[first : near // _STEP + 13]
    return (first + int(power.argmin())) * _STEP + _STEP // 2


def _faded(piece: FloatWaveform) -> FloatWaveform:
    ramp = np.linspace(0, 1, _STEP, dtype=np.float32)
    faded = piece.copy()
    faded[:_STEP] *= ramp
    faded[-_STEP:] *= ramp[::-1]
    return faded


def _level(sound: FloatWaveform) -> float:
    """RMS of what is voiced."""
    power = _powers(sound)
    return float(np.sqrt(power[power > power.max() * 1e-2].mean()))


def _gain(decibels: float) -> float:
    return float(10 ** (decibels / 20))


def _echo(played: FloatWaveform) -> FloatWaveform:
    """As the microphone hears it: late, and with a small room's reverberation; as loud."""
    rng = np.random.default_rng(0)
    time = np.arange(round(_ECHO_FADES * SAMPLE_RATE)) / SAMPLE_RATE
    room = rng.standard_normal(len(time)) * np.exp(-6.9 * time / _ECHO_FADES) * 0.3
    room[0] = 1.0
    late = np.pad(np.convolve(played, room), (round(_ECHO_LATE * SAMPLE_RATE), 0))
    echo = late[: len(played)].astype(np.float32)
    heard: FloatWaveform = echo * np.float32(_level(played) / _level(echo))
    return heard


def _in_room(sound: FloatWaveform, seed: int) -> Waveform:
    room = np.random.default_rng(seed + 1).standard_normal(len(sound)) * _gain(_ROOM)
    return to_int16((sound + room).astype(np.float32))


def _seed(plan: Plan) -> int:
    return zlib.crc32(plan.name.encode())
