"""What a set of clips of `echat bench turns` is made of.

In a script `|0.8|` is a pause between pieces that are spoken one by one, `<0.8>` one that is cut
into a sentence spoken in one breath.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from echat_sdk.audio import Seconds
from echat_sdk.model.cascade.prosody import Prosody
from echat_sdk.turn import Lang

Group = Literal[
    "complete", "pause", "filler", "trailing", "noise",
    "echo", "backchannel", "sound", "stop", "words",
]  # fmt: skip
"""What a clip tries. The first five are turns, the rest come over the agent's voice."""

Noise = Literal["white", "babble"]

SetName = Literal["tuned", "held-out"]

SNR = (20, 10, 5)
"""Decibels of speech over noise."""

ECHO = (-20, -12, -6)
"""Decibels of the agent's own voice in the microphone, against how it is played."""

LOUD_ECHO = -12
"""Of a speaker beside the microphone, where somebody speaks over the agent."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """Somebody who speaks in clips.

    Attributes:
        voice: A packaged voice; None is the default of the language.
        manner: How they speak.
    """

    voice: str | None
    manner: Prosody


@dataclass(frozen=True, slots=True)
class Room:
    """Where clips are heard.

    Attributes:
        late: From the speaker to the microphone: device and air.
        fades: In which its reverberation falls to a thousandth.
        tail: Of the reverberation's first moment against the direct sound.
        floor: What is always heard, in dBFS.
        seed: Draws its reverberation and what noises are drawn from.
    """

    late: Seconds
    fades: Seconds
    tail: float
    floor: float
    seed: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A clip that can be made.

    Attributes:
        group: What it tries.
        lang: Language that is spoken.
        script: What the user says; what the agent says where it is an echo.
        number: Of this script among those of its group; chooses the speaker.
        noise: What else is heard.
        level: Decibels of speech over noise, or of an echo against its source; None where nothing
            else is heard, as with a headset.
    """

    group: Group
    lang: Lang
    script: str
    number: int
    noise: Noise | None = None
    level: int | None = None

    @property
    def name(self) -> str:
        """Of the clip; unique in its set."""
        parts = (self.group, self.lang, self.number + 1, self.noise, self.level)
        return " ".join(str(part) for part in parts if part is not None)


@dataclass(frozen=True, slots=True)
class ClipSet:
    """Scripts, and by whom and where they are spoken.

    Attributes:
        name: As `--set` takes it.
        turns: What the user says in a quiet room.
        noisy: What the user says in every noise.
        agent: What the agent is saying meanwhile.
        over: What the user says over it.
        babble: Spoken at once, at the other tables.
        sounds: Numbers of the noises that are made over the agent's voice.
        speakers: Users; they take turns.
        agents: The agent.
        hanging: How a clause is said that something is to follow.
        filling: How "um" is said.
        room: Where all of it is heard.
    """

    name: SetName
    turns: Mapping[tuple[Group, Lang], tuple[str, ...]]
    noisy: Mapping[Lang, tuple[str, ...]]
    agent: Mapping[Lang, tuple[str, ...]]
    over: Mapping[tuple[Group, Lang], tuple[str, ...]]
    babble: tuple[str, ...]
    sounds: range
    speakers: Mapping[Lang, tuple[Speaker, ...]]
    agents: Mapping[Lang, Speaker]
    hanging: Prosody
    filling: Prosody
    room: Room

    def plans(self, langs: tuple[Lang, ...] = ("en", "zh")) -> tuple[Plan, ...]:
        """Every clip in these languages."""
        found = [
            Plan(group, lang, script, number)
            for (group, lang), scripts in (*self.turns.items(), *self.over.items())
            for number, script in enumerate(scripts)
        ]
        found += [
            Plan("noise", lang, script, number, noise, level)
            for lang, scripts in self.noisy.items()
            for number, script in enumerate(scripts)
            for noise in ("white", "babble")
            for level in SNR
        ]  # fmt: skip
        found += [
            Plan("echo", lang, script, number, None, level)
            for lang, scripts in self.agent.items()
            for number, script in enumerate(scripts)
            for level in ECHO
        ]
        found += [
            Plan(group, lang, script, number, None, LOUD_ECHO)
            for (group, lang), scripts in self.over.items()
            for number, script in enumerate(scripts[:3])
            if lang == "en"
        ]
        found += [Plan("sound", "en", "", number) for number in self.sounds]
        return tuple(plan for plan in found if plan.lang in langs)

    @property
    def voices(self) -> frozenset[str]:
        """The packaged voices that it needs beside the defaults of its languages."""
        everyone = [*self.agents.values(), *(s for those in self.speakers.values() for s in those)]
        return frozenset(each.voice for each in everyone if each.voice is not None)
