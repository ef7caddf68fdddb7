"""How facts are told in English."""

from __future__ import annotations

import re

from echat_memory.facts import FactKind
from echat_memory.grammar import Grammar, closed_forms, patterns

_FORMS = closed_forms(0)
_WORD = r"[^\W\d_]+(?:['-][^\W\d_]+)*"
_HAVE = r"(?:i|we)(?:'ve got| have got| have|'ve)"
# "my dog Rex": a capital tells a name from the next word; Whisper writes capitals.
_OWN_NAME = r"(?P<name>(?-i:[A-Z])[^\W\d_]+)"
_LATELY = r"(?:(?:today|yesterday|this morning|last night|last week) )?"
_WITH = rf"(?: (?:with|at|in) (?:my |our |the |a )?{_WORD})?"
_SORT = (
    r"(?:(?:an?|my|our|some) )?(?:(?:big|important|final|maths?|history|science|english|next) )?"
)

_ABOUT = r"(?:about|of) (?:my |our |the )?TOPIC(?: (?:any ?more|again|ever|now|today|please))*"

_RULES = [
    # The one "don't" that is kept: its topics are a closed list.
    (
        FactKind.BOUNDARY,
        rf"(?:please )?(?:don't|do not|never|stop) "
        rf"(?:ask(?:ing)?(?: me)?|talk(?:ing)?(?: to me)?|speak(?:ing)?) {_ABOUT}",
    ),
    (
        FactKind.BOUNDARY,
        r"(?:please )?(?:don't|do not|never|stop) (?:mention(?:ing)?|bring(?:ing)? up) "
        r"(?:my |our |the )?TOPIC(?: (?:any ?more|again|ever|please))*",
    ),
    (
        FactKind.BOUNDARY,
        r"i (?:really )?(?:don't|do not) (?:want|like|wish) to (?:talk|speak|be asked|hear) "
        rf"{_ABOUT}",
    ),
    (FactKind.BOUNDARY, rf"i'd rather not (?:talk|speak) {_ABOUT}"),
    (
        FactKind.BOUNDARY,
        r"(?P<back>you (?:can|may) (?:ask(?: me)?|talk(?: to me)?)|i can talk|i'm ready to talk"
        rf"|it's (?:ok|okay|fine|all right) to (?:ask(?: me)?|talk)) {_ABOUT}",
    ),
    (FactKind.NAME, r"my (?:full |first )?name(?: is|'s) NAME"),
    (FactKind.NAME, r"i(?:'m| am) (?:called|named) NAME"),
    (FactKind.HOME, r"(?:i|we)(?:'m| am|'re| are)? (?:now |currently )?(?:live|living) in VALUE"),
    (FactKind.HOME, r"(?:i|we)(?: just|'ve just| recently)? moved to VALUE"),
    (FactKind.ORIGIN, r"i(?:'m| am| come) (?:originally )?from VALUE"),
    (FactKind.JOB, r"i(?:'m| am) an? (?:[^\W\d_]+ )??JOB"),
    (FactKind.JOB, r"i work as an? JOB"),
    (FactKind.JOB, rf"i work as (?P<value>an? {_WORD}(?: {_WORD}){{0,2}}?)"),
    (FactKind.WORKPLACE, rf"i work (?P<value>(?:in|at|for) {_WORD}(?: {_WORD}){{0,3}}?)"),
    (FactKind.TRAIT, r"i(?:'m| am) (?:now )?TRAIT"),
    (FactKind.CALLED, r"(?:my|our) WHO(?: is|'s) (?:called|named) NAME"),
    (FactKind.CALLED, r"(?:my|our) WHO's name(?: is|'s) NAME"),
    (FactKind.CALLED, rf"{_HAVE} an? (?:[^\W\d_]+ )?WHO (?:called|named) NAME"),
    (
        FactKind.STATE,
        r"(?:my|our) WHO(?: (?P<name>[^\W\d_]+))?"
        r"(?: is|'s| has|(?= got)) (?:still |now |quite )?STATE",
    ),
    (
        FactKind.LOSS,
        _LATELY
        + rf"(?:my|our) WHO(?: {_OWN_NAME})?(?: has|'s)? (?:just )?(?:died|passed away)(?: WHEN)?",
    ),
    (
        FactKind.CALLED,
        rf"(?:my|our) WHO {_OWN_NAME} (?:is|was|has|had|got|came|went|won|ran|turned|just"
        r"|finally|loves|likes|hates|wants|needs|looks|sleeps|lives)\b.*",
    ),
    (FactKind.EVENT, rf"{_HAVE} {_SORT}EVENT{_WITH}(?: WHEN)?"),
    (FactKind.EVENT, rf"WHEN {_HAVE} {_SORT}EVENT{_WITH}"),
    (FactKind.EVENT, rf"{_SORT}EVENT(?: is|'s|s are| are) WHEN"),
    (
        FactKind.NEWS,
        _LATELY
        + r"i(?:'ve)? (?:just |finally )?NEWS(?: (?:today|yesterday|this morning|last week))?",
    ),
    (FactKind.FAVOURITE, r"my favou?rite THING(?: is|'s| are) VALUE"),
    (FactKind.ALLERGY, r"i(?:'m| am) (?:very |really |severely )?allergic to VALUE"),
    (
        FactKind.TASTE,
        r"i (?:really |absolutely |do )?"
        r"(?P<hate>hate|dislike|don't like|do not like|can't stand) VALUE",
    ),
    (FactKind.TASTE, r"i (?:really |absolutely |just |do )?(?:love|like|enjoy|adore) VALUE"),
]

GRAMMAR = Grammar(
    spelling=str.maketrans("’‘", "''"),
    sentence=re.compile(r"[^.!?\n]+[.!?]*"),
    not_told=re.compile(
        r"\?"
        r"|^\W*(?:is|are|am|was|do|does|did|can|could|would|what|who|where|when|why|how|which)\b"
        r"|\b(?:if|unless|wish|imagine|suppose|supposing|pretend|would|could|might|maybe|perhaps"
        r"|says?|said|saying|tells?|told|thinks?|thought|believes?|claims?|heard|dream(?:ed|t)?"
        r"|character|novel|movie|film|joke|joking|kidding)\b",
        re.IGNORECASE,
    ),
    clause=re.compile(
        r"[,;:\"“”()—–]| - "
        r"|\s(?:and|but|because|so|although|though|then)\s+(?=(?:i|i'm|i've|my|we|our)\b)",
        re.IGNORECASE,
    ),
    filler=re.compile(
        r"^(?:(?:oh|well|so|hi|hello|hey|yes|yeah|no|um|uh|and|but|also|because|actually|you know"
        r"|by the way|guess what|sadly|i mean|look|okay|ok|thanks|then|finally)\s+)+",
        re.IGNORECASE,
    ),
    patterns=patterns(
        _RULES,
        _FORMS,
        free={
            "NAME": rf"{_WORD}(?: {_WORD}){{0,2}}?",
            "VALUE": rf"{_WORD}(?: {_WORD}){{0,3}}?(?: and {_WORD})?",
            "THING": rf"{_WORD}(?: {_WORD})?",
        },
        tail=(
            r"(?: (?:now|too|these days|right now|at the moment|by the way|as well|actually|anyway"
            r"|alone|sometimes|again|a lot|so much|very much"
            r"|(?:at|since|with|because|for|where|which|who|that|when|until|so|and|but) .*))?"
        ),
    ),
    denial=(
        (re.compile(r"\b(?:do not|don't) ", re.I), ""),
        (re.compile(r"\bno longer ", re.I), ""),
        (re.compile(r"(\b(?:is|am|are)|'m|'s) not\b", re.I), r"\1"),
        (re.compile(r"\bisn't\b", re.I), "is"),
        (re.compile(r" (?:any ?more|any longer)$", re.I), ""),
    ),
    forbidden=re.compile(
        r"\b(?:you\w*|i|me|it|its|this|that|these|those|him|her|them|us|not|no|longer|never|always"
        r"|must|should|shall|will|ignore|instructions?|previous|prompts?|system|assistant|say|tell"
        r"|forget|obey|remember|respond|reply|answer|do|don't|please|https?|www|if|how|what|why"
        r"|when|rules?|the same|fear|future|nowhere)\b",
        re.IGNORECASE,
    ),
    mine=re.compile(r"\b(?:my|our)\b", re.I),
    theirs="their",
    forms=_FORMS,
)
