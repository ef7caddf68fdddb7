"""How patient an agent is: every number of turn-taking in one frozen value."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from echat_sdk.audio import Seconds
from echat_sdk.cues import Age, Cues, Emotion

Preset = Literal["patient", "normal", "brisk", "kiosk"]

_Short = Annotated[Seconds, Field(ge=0, le=2)]
_Long = Annotated[Seconds, Field(gt=0, le=30)]


class TurnPolicy(BaseModel):
    """When a turn begins and ends, and what stops the agent. Durations are seconds.

    Values are near those that the best of the field ship; `echat bench turns` shows what another
    choice costs. Presets: `TurnPolicy.of("patient")`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: _Short = Field(default=0.16, description="speech before a turn begins")
    pre_roll: _Short = Field(default=0.5, description="sound before that which belongs to the turn")
    soft_end: _Short = Field(
        default=0.14, description="pause after which an answer is begun unheard"
    )
    min_delay: _Short = Field(
        default=0.3, description="pause that ends a turn which sounds complete"
    )
    delay: _Long = Field(default=0.7, description="pause that ends a turn of which nobody can tell")
    max_delay: _Long = Field(
        default=2.0, description="pause that ends a turn which sounds incomplete"
    )
    complete: float = Field(
        default=0.95, gt=0, lt=1, description="chance from which no more than min_delay is waited"
    )
    words: _Short = Field(
        default=0.6, description="pause up to which an end waits for its words to be told"
    )
    hanging: float = Field(
        default=0.2, ge=0, le=1, description="chance at most where the words hang in the air"
    )
    whole: float = Field(default=0.3, ge=0, le=1, description="chance at least where they do not")
    longest: float = Field(
        default=60, ge=2, le=600, description="a turn that never pauses ends here"
    )
    most_patience: float = Field(
        default=1.6, ge=1, le=4, description="delays are stretched at most so much for this speaker"
    )
    speculations: int = Field(
        default=3, ge=0, le=10, description="unheard answers begun in one turn"
    )

    duck_after: _Short = Field(
        default=0.08, description="speech over the agent's that lowers its voice"
    )
    duck_decibels: float = Field(default=-12, ge=-60, le=0, description="how far it is lowered")
    confirm: _Short = Field(default=0.35, description="speech over the agent's that pauses it")
    decide: _Long = Field(
        default=1.5, description="a paused agent goes on after so long at the latest"
    )
    echo_guard: _Short = Field(
        default=0.3,
        description="after the agent begins to speak, what is heard is taken for its echo",
    )

    hangs_after: _Long = Field(default=2.5, description="a wait after which the agent says so")
    gives_up_after: _Long = Field(default=10, description="a wait after which it apologises")
    reengage_after: float = Field(
        default=8, ge=2, le=600, description="silence before the agent asks"
    )
    reengagements: int = Field(default=2, ge=0, le=5, description="how often it asks in a row")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.soft_end <= self.min_delay <= self.delay <= self.max_delay:
            raise ValueError(
                "expected soft_end <= min_delay <= delay <= max_delay, got "
                f"{self.soft_end}, {self.min_delay}, {self.delay}, {self.max_delay}"
            )
        if self.duck_after > self.confirm:
            raise ValueError(f"duck_after {self.duck_after} is longer than confirm {self.confirm}")
        if self.hanging > self.whole:
            raise ValueError(f"hanging {self.hanging} is a larger chance than whole {self.whole}")
        return self

    @classmethod
    def of(cls, preset: Preset) -> TurnPolicy:
        """A policy by name: `patient` waits longest, `kiosk` stands in a noisy hall."""
        return PRESETS[preset]

    def end_delay(
        self, chance: float | None, patience: float = 1.0, *, hangs: bool | None = None
    ) -> Seconds:
        """The pause that ends a turn: the longer, the less complete it sounds and reads.

        A pause within a sentence is often judged to be three quarters of an end, and an end hardly
        ever is; so whoever is less than sure waits in proportion. Words bound what the sound may
        say: nobody has finished with "because", and few sentences that read whole are none.

        Args:
            chance: That the turn sounds complete, in [0, 1]; None where nobody can tell.
            patience: By how much this speaker needs longer, from 1 to `most_patience`.
            hangs: Whether its words hang in the air (`hesitation.hangs`); None where they are not
                known.
        """
        if chance is None:
            delay = max(self.delay, self._delay(self.hanging)) if hangs else self.delay
        elif hangs is None:
            delay = self._delay(chance)
        else:
            delay = self._delay(min(chance, self.hanging) if hangs else max(chance, self.whole))
        return min(delay * min(max(patience, 1.0), self.most_patience), self.max_delay)

    def _delay(self, chance: float) -> Seconds:
        doubt = max(0.0, 1 - chance / self.complete)
        return self.min_delay + (self.max_delay - self.min_delay) * doubt


PRESETS: dict[Preset, TurnPolicy] = {
    "patient": TurnPolicy(min_delay=0.5, delay=1.1, max_delay=3.5, confirm=0.3, reengage_after=15),
    "normal": TurnPolicy(),
    "brisk": TurnPolicy(min_delay=0.2, delay=0.5, max_delay=1.6, reengage_after=6),
    "kiosk": TurnPolicy(start=0.24, delay=0.6, max_delay=1.8, confirm=0.5, longest=30),
}
"""The policies that have a name."""


def patience_for(cues: Cues) -> float:
    """How much longer to wait for somebody who sounds like this; 1 is for no reason to wait.

    The sad and the fearful pause within a thought; the old and the young look for words longer.
    """
    factor = 1.0
    if cues.emotion.label in (Emotion.SAD, Emotion.FEAR):
        factor *= 1.25
    if cues.age.label in (Age.OLD, Age.CHILD):
        factor *= 1.25
    return factor
