"""What a person agreed to, purpose by purpose, and what may then be inferred and kept. Pure.

Who was never asked has agreed to nothing: *unknown* counts as *denied*. What counts is worked out
once a turn, as the set of purposes that are allowed; `consented`, `in_session`, `permitted` and
`recallable` are all that is done with it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from echat_sdk.config import Deployment, Exemption
from echat_sdk.cues import Cue, Cues, ReplyEmotion
from echat_sdk.errors import ConsentError
from echat_sdk.turn import Recollection, Turn


class Purpose(StrEnum):
    """What somebody's words and voice may be used for. The tenth is a plugin's: `shared_with`."""

    PROCESS_VOICE = "process_voice"
    INFER_EMOTION = "infer_emotion"
    INFER_AGE = "infer_age"
    INFER_GENDER = "infer_gender"
    STORE_TRANSCRIPT = "store_transcript"
    STORE_EMOTION = "store_emotion"
    STORE_AUDIO = "store_audio"
    LONG_TERM_MEMORY = "long_term_memory"
    TRAIN = "train"


IN_WORDS: Mapping[str, str] = MappingProxyType(
    {
        Purpose.PROCESS_VOICE: "your voice is listened to, and turned into words",
        Purpose.INFER_EMOTION: "how you sound is judged: emotion, laughter, style",
        Purpose.INFER_AGE: "your age group is guessed from your voice",
        Purpose.INFER_GENDER: "your gender is guessed from your voice",
        Purpose.STORE_TRANSCRIPT: "your words, and the answers to them, are kept",
        Purpose.STORE_EMOTION: "how you sounded is kept",
        Purpose.STORE_AUDIO: "the sound of your voice is kept",
        Purpose.LONG_TERM_MEMORY: "you are remembered the next time",
        Purpose.TRAIN: "what is kept may train models",
    }
)
"""Each purpose as it is told to the person."""

RUN = frozenset(
    {Purpose.PROCESS_VOICE, Purpose.INFER_EMOTION, Purpose.INFER_AGE, Purpose.INFER_GENDER}
)
"""What an exchange needs while it lasts; nothing of it outlives the process."""

REMEMBERED = RUN | {Purpose.STORE_TRANSCRIPT, Purpose.STORE_EMOTION, Purpose.LONG_TERM_MEMORY}
"""What it takes to be remembered in full. Sound, training and plugins are always asked apart."""

NOT_CONSENTED = Cue(why="not consented")

_LONGEST = 32
_SHARE = "share_plugin:"
_PLUGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,49}")
# What it takes to infer each cue. A laugh, a sob, a way of speaking tell how somebody is.
_NEEDS: Mapping[str, Purpose] = {
    "emotion": Purpose.INFER_EMOTION,
    "gender": Purpose.INFER_GENDER,
    "age": Purpose.INFER_AGE,
    "events": Purpose.INFER_EMOTION,
    "style": Purpose.INFER_EMOTION,
}


def shared_with(plugin: str) -> str:
    """The purpose of sharing with one plugin: `share_plugin:ID`.

    Raises:
        ConsentError: the id is not 1 to 50 letters, digits, dots, dashes or underscores.
    """
    return checked(_SHARE + plugin)


def checked(purpose: str) -> str:
    """The purpose, if it is one.

    Raises:
        ConsentError: it is none; names all.
    """
    if purpose in set(Purpose):
        return str(purpose)
    if purpose.startswith(_SHARE) and _PLUGIN.fullmatch(purpose.removeprefix(_SHARE)):
        return purpose
    raise ConsentError(f"no purpose {purpose[:80]!r}; one of {', '.join(Purpose)}, {_SHARE}ID")


class ConsentState(StrEnum):
    """What somebody said to a purpose; only `GRANTED` allows it."""

    UNKNOWN = "unknown"
    DENIED = "denied"
    GRANTED = "granted"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


REFUSALS = frozenset({ConsentState.DENIED, ConsentState.WITHDRAWN, ConsentState.EXPIRED})
"""What was kept for a purpose goes when one of these is said to it."""

TRANSITIONS: Mapping[ConsentState, frozenset[ConsentState]] = MappingProxyType(
    {
        ConsentState.UNKNOWN: frozenset({ConsentState.DENIED, ConsentState.GRANTED}),
        ConsentState.DENIED: frozenset({ConsentState.DENIED, ConsentState.GRANTED}),
        ConsentState.GRANTED: frozenset(
            {ConsentState.GRANTED, ConsentState.WITHDRAWN, ConsentState.EXPIRED}
        ),
        ConsentState.WITHDRAWN: frozenset({ConsentState.WITHDRAWN, ConsentState.GRANTED}),
        ConsentState.EXPIRED: frozenset(
            {ConsentState.DENIED, ConsentState.GRANTED, ConsentState.WITHDRAWN}
        ),
    }
)
"""What may be said after what. To grant again renews it; to refuse again changes nothing."""


def check_transition(purpose: str, old: ConsentState, new: ConsentState) -> None:
    """Whether `new` may be said after `old`.

    Raises:
        ConsentError: it may not; says what may.
    """
    if new not in TRANSITIONS[old]:
        able = " or ".join(sorted(TRANSITIONS[old]))
        raise ConsentError(f"{purpose} is {old}: it can become {able}, not {new}")


@dataclass(frozen=True, slots=True)
class Consent:
    """What was said last to one purpose.

    Attributes:
        state: What was said.
        since: When.
        version: Of the text that the person was shown.
        channel: How they were asked: `cli`, `voice`, `migration`, ...
        expires_at: When it ends by itself; None for never.
    """

    state: ConsentState = ConsentState.UNKNOWN
    since: datetime | None = None
    version: str = ""
    channel: str = ""
    expires_at: datetime | None = None

    def at(self, now: datetime) -> ConsentState:
        """What it is at a moment."""
        if self.state is ConsentState.GRANTED and self.expires_at and self.expires_at <= now:
            return ConsentState.EXPIRED
        return self.state

    def repeats(self, other: Consent) -> bool:
        """Whether it is the same answer, given again."""
        return replace(self, since=other.since) == other


UNASKED = Consent()
_UNKNOWN = ConsentState.UNKNOWN


@dataclass(frozen=True, slots=True)
class Consents:
    """All that one person said, and where they said it.

    Attributes:
        given: What was said last, by purpose; a purpose that is missing was never asked.
        unasked: Purposes that count as granted as long as nobody asked: those that the host has
            seen to elsewhere. Any answer outranks it.
        barred: Purposes that nobody can agree to here; see `barred_in`.
    """

    given: Mapping[str, Consent] = field(default_factory=lambda: MappingProxyType({}))
    unasked: frozenset[str] = frozenset()
    barred: frozenset[str] = frozenset()

    def of(self, purpose: str) -> Consent:
        """What was said to a purpose."""
        return self.given.get(purpose, UNASKED)

    def allows(self, purpose: str, now: datetime) -> bool:
        """Whether somebody may be used for this, at this moment."""
        if purpose in self.barred:
            return False
        state = self.of(purpose).at(now)
        if state is ConsentState.UNKNOWN:
            return purpose in self.unasked
        return state is ConsentState.GRANTED

    def allowed(self, now: datetime) -> frozenset[str]:
        """The purposes that are allowed at this moment."""
        # As `allows` has it, but on the turn's path.
        said = {purpose: consent.at(now) for purpose, consent in self.given.items()}
        granted = {purpose for purpose, state in said.items() if state is ConsentState.GRANTED}
        unasked = {p for p in self.unasked if said.get(p, _UNKNOWN) is _UNKNOWN}
        return frozenset((granted | unasked) - self.barred)

    def refused(self, now: datetime) -> frozenset[str]:
        """The purposes to which the answer was no, or no longer yes."""
        return frozenset(p for p, said in self.given.items() if said.at(now) in REFUSALS)


def answered(
    consents: Consents,
    purposes: str | Collection[str],
    state: ConsentState,
    *,
    version: str,
    channel: str,
    now: datetime,
    expires_at: datetime | None = None,
) -> dict[str, Consent]:
    """What somebody's answer comes to, for each purpose that it was about.

    Raises:
        ConsentError: a purpose is none, cannot become that, or something is too long; says what.
    """
    if max(len(version), len(channel)) > _LONGEST:
        raise ConsentError(f"version and channel have at most {_LONGEST} characters")
    about = [purposes] if isinstance(purposes, str) else purposes
    answer = Consent(state, now, version, channel, expires_at)
    if answer.at(now) is not state:
        raise ConsentError(f"a consent cannot end before it is given; got {expires_at}")
    for purpose in map(checked, about):
        check_transition(purpose, consents.of(purpose).at(now), state)
    return {checked(purpose): answer for purpose in about}


def barred_in(deployment: Deployment, exemption: Exemption = "") -> frozenset[str]:
    """What nobody may agree to in a place.

    At work and in education emotion is not inferred from voices, whoever agrees, unless it serves
    medical or safety reasons (Regulation (EU) 2024/1689, article 5(1)(f)).
    """
    if deployment in ("workplace", "education") and not exemption:
        return frozenset({Purpose.INFER_EMOTION, Purpose.STORE_EMOTION})
    return frozenset()


def inferable(allowed: Collection[str]) -> frozenset[str]:
    """The cues, by name, whose inference is allowed."""
    return frozenset(name for name, need in _NEEDS.items() if need in allowed)


def consented(cues: Cues, allowed: Collection[str], instead: Cue = NOT_CONSENTED) -> Cues:
    """The cues, with `instead` for those whose inference is not allowed.

    To be called before a plugin, a memory or the making of a reply sees them.
    """
    return replace(cues, **{n: instead for n, need in _NEEDS.items() if need not in allowed})


def in_session(turn: Turn, allowed: Collection[str]) -> Turn:
    """The turn as it may be held in RAM while a conversation lasts."""
    whole = all(need in allowed for need in _NEEDS.values())
    # A thought tells of every cue.
    return replace(turn, cues=consented(turn.cues, allowed), think=turn.think if whole else "")


def permitted(turn: Turn, allowed: Collection[str]) -> Turn | None:
    """The turn as it may be made durable: the one place that decides what is written.

    Words and thought need `STORE_TRANSCRIPT`; each cue needs its inference and `STORE_EMOTION`; a
    thought needs both, for it tells of both, and so does the move that was chosen. The emotion of
    an answer follows the emotion that was heard, and needs what that needs. A safety event tells
    what words told and needs what they need: nobody is registered whose words are not kept.

    Returns:
        What may be kept; None where that is nothing, so that the turn lives in RAM alone.
    """
    if frozenset(allowed) >= REMEMBERED:  # as nearly always, and on the turn's path
        return turn
    words = Purpose.STORE_TRANSCRIPT in allowed
    sound = Purpose.STORE_EMOTION in allowed
    is_spoken = turn.seconds > 0
    if (
        Purpose.LONG_TERM_MEMORY not in allowed
        or not (words or sound)
        or (is_spoken and Purpose.PROCESS_VOICE not in allowed)
    ):
        return None
    feels = sound and Purpose.INFER_EMOTION in allowed
    thinks = words and sound and all(need in allowed for need in _NEEDS.values())
    return replace(
        turn,
        transcript=turn.transcript if words else "",
        reply=turn.reply if words else "",
        cues=consented(turn.cues, allowed, instead=Cue()) if sound else Cues(),
        think=turn.think if thinks else "",
        strategy=turn.strategy if words and feels else "",
        safety=turn.safety if words else None,
        reply_emotion=turn.reply_emotion if feels else ReplyEmotion.NEUTRAL,
    )


def recallable(found: Recollection, allowed: Collection[str]) -> Recollection:
    """What may still be used of what was remembered; turns without words are left out."""
    if Purpose.LONG_TERM_MEMORY not in allowed:
        return Recollection(key=found.key)
    if frozenset(allowed) >= REMEMBERED and all(turn.transcript for turn in found.turns):
        return found  # as nearly always, and on the turn's path
    kept = (permitted(turn, allowed) for turn in found.turns)
    feels = Purpose.STORE_EMOTION in allowed and Purpose.INFER_EMOTION in allowed
    words = Purpose.STORE_TRANSCRIPT in allowed
    episodes = (e if feels else replace(e, sounded="") for e in found.episodes)
    return replace(
        found,
        turns=tuple(turn for turn in kept if turn is not None and turn.transcript),
        facts=found.facts if words else (),
        episodes=tuple(episodes) if words else (),
        questions=found.questions if words else (),
        mood=found.mood if feels else "",
        helped=found.helped if words and feels else "",
    )
