"""What may be used of whoever is heard: asked of the memory each turn, and kept to."""

from __future__ import annotations

from dataclasses import replace

from echat_sdk.consent import Purpose, consented, inferable
from echat_sdk.errors import ConsentError
from echat_sdk.protocols import Consenting, DiscreetHearing, Hearing, Memory, SpeechModel
from echat_sdk.turn import Heard


def allowed_of(memory: Memory, user: str) -> frozenset[str] | None:
    """The purposes that a user may be used for; None where the memory does not ask people."""
    return memory.allowed(user) if isinstance(memory, Consenting) else None


def check_voice(allowed: frozenset[str] | None) -> None:
    """Whether somebody may be listened to.

    Raises:
        ConsentError: they did not agree to it.
    """
    if allowed is not None and Purpose.PROCESS_VOICE not in allowed:
        raise ConsentError(
            "nobody is listened to without consent; ask, then memory.consent(user, PROCESS_VOICE)"
        )


def heard_by(hearing: Hearing, allowed: frozenset[str] | None) -> Heard:
    """What a model has heard; one that can leave refused cues alone does not look for them.

    Called in the model's thread. What it infers all the same, `without_refused` takes away.
    """
    if allowed is not None and isinstance(hearing, DiscreetHearing):
        hearing.infer_only(inferable(allowed))
    return hearing.heard()


def without_refused(heard: Heard, allowed: frozenset[str] | None) -> Heard:
    """What was heard, without cues that were not consented to."""
    return heard if allowed is None else replace(heard, cues=consented(heard.cues, allowed))


def read_again(model: SpeechModel, heard: Heard) -> Hearing:
    """A hearing of words and cues alone: a model that heard more would let it show."""
    return model.read(heard.transcript, heard.cues, lang=heard.lang)
