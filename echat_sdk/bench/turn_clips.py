"""Clips with a known truth: who speaks when, where they pause, when they have finished.

They are made when they are needed, out of the packaged voices, and are kept in memory alone.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from echat_sdk.audio import SAMPLE_RATE, FloatWaveform, Seconds, Waveform, to_float, to_int16
from echat_sdk.bench.turn_scripts import ClipSet, Noise, Plan, Room, Speaker
from echat_sdk.model.cascade.prosody import Prosody
from echat_sdk.turn import Lang

Say = Callable[[str, Lang, Prosody, str | None], Waveform]
"""Speaks a text, in a voice by name or the default of the language: int16 at 16 kHz."""

TAIL: Seconds = 4.2
"""Silence after the last word: longer than any delay that is tried."""

_LEAD: Seconds = 0.6
_OVER_AT: Seconds = 1.2  # into the agent's answer, somebody speaks
_RESIDUE = -40.0  # decibels of the agent's own voice where echo is cancelled
_VOICED = 1e-4  # of a voice's loudest power
_STEP = SAMPLE_RATE // 100

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
        answer: What the agent says meanwhile, if it does.
    """

    plan: Plan
    samples: Waveform
    start: Seconds | None = None
    end: Seconds | None = None
    pauses: tuple[tuple[Seconds, Seconds], ...] = ()
    echo: Waveform = field(default_factory=_nothing)
    agent: Waveform = field(default_factory=_nothing)
    answer: str = ""

    @property
    def name(self) -> str:
        """Unique."""
        return self.plan.name

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
        say: The voices.
        clips: The set that they are of.
    """

    def __init__(self, say: Say, clips: ClipSet) -> None:
        self._clips = clips
        self._say = cache(
            lambda text, lang, prosody, voice: _trimmed(say(text, lang, prosody, voice))
        )

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
            noise = self._noise(plan.noise, len(sound), self._seed(plan))
            sound = sound + noise * (_level(spoken) * _gain(-plan.level) / _level(noise))
        shifted = tuple((start + begin, start + stop) for begin, stop in pauses)
        return Clip(plan, self._in_room(sound, plan), start, end, shifted)

    def _over_agent(self, plan: Plan) -> Clip:
        answers, speaker = self._clips.agent[plan.lang], self._clips.agents[plan.lang]
        is_echo = plan.group == "echo"
        answer = plan.script if is_echo else answers[plan.number % len(answers)]
        agent = self._say(answer, plan.lang, speaker.manner, speaker.voice)
        level = plan.level if plan.level is not None else _RESIDUE
        echo = _echo(agent, self._clips.room) * _gain(level)
        user, start, end = np.zeros(0, np.float32), None, None
        if plan.group == "sound":
            user = _sound(plan.number)
        elif not is_echo:
            user, _ = self._spoken(plan)
            start, end = _OVER_AT, _OVER_AT + len(user) / SAMPLE_RATE
        at = round(_OVER_AT * SAMPLE_RATE)
        sound = np.zeros(max(len(agent), at + len(user)) + 2 * SAMPLE_RATE, np.float32)
        sound[at : at + len(user)] = user
        return Clip(
            plan,
            self._in_room(sound, plan),
            start,
            end,
            echo=to_int16(echo),
            agent=to_int16(agent),
            answer=answer,
        )

    # --- voices -----------------------------------------------------------------------------------

    def _spoken(self, plan: Plan) -> tuple[FloatWaveform, list[tuple[Seconds, Seconds]]]:
        """A script's sound from its first to its last voiced sample, and its pauses."""
        parts = _PAUSE.split(plan.script)
        texts, marks, seconds = parts[::3], parts[1::3], [float(s) for s in parts[2::3]]
        speakers = self._clips.speakers[plan.lang]
        speaker = speakers[plan.number % len(speakers)]
        if "<" in marks:
            pieces = self._cut(texts, plan.lang, speaker)
        else:
            pieces = [
                self._say(text, plan.lang, self._manner(text, plan.lang, speaker), speaker.voice)
                for text in texts
            ]
        sound, pauses = pieces[0], []
        for pause, piece in zip(seconds, pieces[1:], strict=True):
            begin = len(sound) / SAMPLE_RATE
            pauses.append((begin, begin + pause))
            silence = np.zeros(round(pause * SAMPLE_RATE), np.float32)
            sound = np.concatenate((sound, silence, piece))
        return sound, pauses

    def _cut(self, texts: list[str], lang: Lang, speaker: Speaker) -> list[FloatWaveform]:
        """One sentence spoken in one breath, in pieces: cut where it is softest between words."""
        whole = self._say(" ".join(texts), lang, speaker.manner, speaker.voice)
        # Whoever speaks it, a text takes about the same share of its sentence.
        lengths = np.array([len(self._say(t, lang, speaker.manner, None)) for t in texts], float)
        near = np.cumsum(lengths)[:-1] / lengths.sum() * len(whole)
        return [_faded(piece) for piece in np.split(whole, [_softest(whole, int(n)) for n in near])]

    def _manner(self, text: str, lang: Lang, speaker: Speaker) -> Prosody:
        own = speaker.manner
        if text.strip(",.…，。 ").casefold() in _FILLERS:
            manner = self._clips.filling
        elif text.endswith((",", "…", "，")):
            manner = self._clips.hanging
        else:
            return own
        rate = own.rate * manner.rate
        if lang == "zh":  # tones stay as they are
            return replace(own, rate=rate)
        return replace(own, range=manner.range, rate=rate, final=manner.final)

    # --- rooms ------------------------------------------------------------------------------------

    def _noise(self, kind: Noise, length: int, seed: int) -> FloatWaveform:
        rng = np.random.default_rng(seed)
        if kind == "white":
            return rng.standard_normal(length).astype(np.float32)
        babble, sentences = np.zeros(length, np.float32), self._clips.babble
        speakers = self._clips.speakers["en"]
        for number in range(6):  # a table of six
            speaker = speakers[number % len(speakers)]
            text = sentences[number % len(sentences)]
            words = self._say(text, "en", speaker.manner, speaker.voice)
            babble += np.resize(np.roll(words, int(rng.integers(len(words)))), length)
        return babble

    def _in_room(self, sound: FloatWaveform, plan: Plan) -> Waveform:
        rng = np.random.default_rng(self._seed(plan) + 1)
        room = rng.standard_normal(len(sound)) * _gain(self._clips.room.floor)
        return to_int16((sound + room).astype(np.float32))

    def _seed(self, plan: Plan) -> int:
        return zlib.crc32(plan.name.encode(), self._clips.room.seed)


_SOUNDS: tuple[Seconds, ...] = (0.35, 0.08, 0.9, 1.5, 0.3, 1.2, 0.9, 1.5)


def _sound(number: int) -> FloatWaveform:
    """A noise that is no voice, of eight."""
    rng = np.random.default_rng(number)
    time = np.arange(round(_SOUNDS[number] * SAMPLE_RATE)) / SAMPLE_RATE
    white = rng.standard_normal(len(time))
    match number:
        case 0:  # a cough, nearly
            shape = white * np.exp(-time / 0.08) + 0.6 * np.roll(white * np.exp(-time / 0.06), 3000)
        case 1:  # a knock
            shape = np.sin(2 * np.pi * 180 * time) * np.exp(-time / 0.015)
        case 2:  # a clatter
            shape = white * (np.sin(2 * np.pi * 9 * time) > 0.6)
        case 3:  # a hum
            shape = np.sin(200 * np.pi * time) + 0.5 * np.sin(400 * np.pi * time)
        case 4:  # a door
            shape = np.convolve(white, np.ones(40), "same") * np.exp(-time / 0.05)
        case 5:  # a keyboard
            shape = white * np.exp(-(time % 0.15) / 0.006)
        case 6:  # a doorbell
            shape = np.sin(2 * np.pi * np.where(time < 0.4, 660, 520) * time)
            shape *= np.exp(-(time % 0.4) / 0.2)
        case _:  # water
            shape = np.cumsum(white) - np.convolve(np.cumsum(white), np.ones(200) / 200, "same")
            shape *= np.sin(np.pi * time / time[-1])
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


def _echo(played: FloatWaveform, room: Room) -> FloatWaveform:
    """As the microphone hears it: late, and with the room's reverberation; as loud."""
    rng = np.random.default_rng(room.seed)
    time = np.arange(round(room.fades * SAMPLE_RATE)) / SAMPLE_RATE
    answer = rng.standard_normal(len(time)) * np.exp(-6.9 * time / room.fades) * room.tail
    answer[0] = 1.0
    late = np.pad(np.convolve(played, answer), (round(room.late * SAMPLE_RATE), 0))
    echo = late[: len(played)].astype(np.float32)
    heard: FloatWaveform = echo * np.float32(_level(played) / _level(echo))
    return heard
