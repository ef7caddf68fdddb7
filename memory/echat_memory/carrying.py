"""What somebody's answers elsewhere come to here. Pure.

A consent is given to somebody: to whoever asked, for what they said (GDPR, articles 4(11) and 7).
So a grant that a document tells of is kept, as the record that it is, and ends where the document
comes in, unless the person agreed to its being carried over. A refusal counts everywhere. Whatever
they answered here stands. So nobody is granted anything by a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from echat_sdk.consent import REMEMBERED, Consent, Consents, ConsentState

if TYPE_CHECKING:
    from echat_memory.document import ConsentEntry

CHANNEL = "import"
"""How the answers came about that an import adds."""

Answers = list[tuple[str, Consent]]


def carry(
    told: Sequence[ConsentEntry], here: Consents, *, agreed: bool, version: str, now: datetime
) -> tuple[Answers, Consents]:
    """The answers to add for a person, in order, and all that they have said then.

    Args:
        told: Their answers, as the document has them.
        here: What they answered here, and what counts here without an answer.
        agreed: They agree that this is kept here as they had agreed there. Of a document without
            any answer, whose program saw to consent elsewhere, that grants what it takes to be
            remembered; one with answers is never added to.
        version: Of the text that they agreed to here.
        now: The present moment.
    """
    answers: Answers = [
        (each.purpose, Consent(each.state, each.at, each.version, each.channel, each.expires_at))
        for each in told
        if each.purpose not in here.given
    ]
    given = dict(answers)
    if agreed and not told:
        unanswered = REMEMBERED - {*here.given} - here.unasked - here.barred
        new = Consent(ConsentState.GRANTED, now, version, CHANNEL)
        answers += [(purpose, new) for purpose in sorted(unanswered)]
    if not agreed:
        ended = Consent(ConsentState.EXPIRED, now, version, CHANNEL)
        answers += [
            (purpose, ended)
            for purpose, said in given.items()
            if said.at(now) is ConsentState.GRANTED and purpose not in here.unasked
        ]
    after = Consents({**dict(answers), **here.given}, here.unasked, here.barred)
    return answers, after
