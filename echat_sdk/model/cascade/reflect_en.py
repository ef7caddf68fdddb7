"""What somebody said, said back to them: "my brother forgot me" becomes "your brother forgot you".

A listener who says back what happened has heard it. But a clause said back is also agreed with, so
the gate is narrow: one plain statement from the person's own life, grammatical once it is turned,
with no blame, no insult, no verdict on anybody, and nothing that speaks to the listener. Where
the gate stays shut the answer is made without it.
"""

from __future__ import annotations

import re

from echat_sdk.model.cascade.words import content_words, flip, lexicon
from echat_sdk.turn import Turn

MOST_WORDS = 12
"""Longest clause that is said back, in English words."""

_LEAST_WORDS = 3


def reflect(text: str, before: Turn | None = None) -> str:
    """The clause that says most, in the second person and with a small letter at its head.

    Empty where no clause can safely be given back.

    Args:
        text: What was said.
        before: The last turn; if its answer gave its words back, this one does not.
    """
    said = _turned(text)
    if before and (earlier := _turned(before.transcript)):
        return "" if earlier.lower() in before.reply.lower() else said
    return said


def _turned(text: str) -> str:
    pieces = [piece for each in _statements(text) if _is_safe(piece := _trimmed(each))]
    best = max(pieces, key=lambda p: len(set(content_words(p, "en"))), default="")
    return _mid_sentence(flip(best, "en"))


# Words before the statement itself; "finally" and "today" may go, for nobody misses them.
_LEAD = re.compile(
    r"^(?:(?:well|so|oh|um+|uh+|hmm*|hey|hi|hello|yeah|yes|no|and|but|because|then|okay|ok|look|wow|"
    r"ugh|god|oh my god|honestly|actually|basically|anyway|you know(?: what)?|guess what|i mean|"
    r"i just|just|today|yesterday|sadly|luckily|"
    r"i can'?t believe(?: that)?|can you believe(?: that| it)?|you won't believe it|listen|"
    r"the thing is|believe it or not|finally)\b[\s,]*(?=\w))+",
    re.IGNORECASE,
)
_TAIL = re.compile(
    r"[\s,]*\b(?:though|too|either|anyway|you know|lol|haha|right|i think|i guess|actually|"
    r"honestly|and stuff|or something|and all that|after all|already)$",
    re.IGNORECASE,
)
_STUTTER = re.compile(r"\b(\w+)(?:,? \1\b)+", re.IGNORECASE)
# Where a long sentence may be cut, so that what stands before is whole.
_JOINT = re.compile(
    r",?\s+(?:(?:and|so)(?: now| then| today)? "
    r"(?=(?:i|we|he|she|they|it|my|i'm|it's|he's|she's)\b)|"
    r"because |since (?=(?:i|he|she|they|we|it) )|while (?=(?:i|he|she|they|we) )|"
    r"even though |although |but )",
    re.IGNORECASE,
)


def _statements(text: str) -> list[str]:
    """The sentences that are no questions, at most two looked at: in more, which counts?"""
    sentences = re.findall(r"[^.!?…;:\n]+[.!?…;:\n]*", text.replace("’", "'"))
    if len(sentences) > 2:
        return []
    return [s.rstrip(".!…;:\n ") for s in sentences if not s.rstrip().endswith("?")]


def _trimmed(statement: str) -> str:
    statement = _STUTTER.sub(r"\1", statement.strip())
    statement = _LEAD.sub("", statement).strip(" ,")
    statement = _TAIL.sub("", statement).strip(" ,")
    if len(statement.split()) > MOST_WORDS - 3 and (joint := _JOINT.search(statement)):
        # After a "but" comes what was meant, so half of it would say the opposite.
        statement = "" if "but" in joint[0].lower() else statement[: joint.start()]
    return statement.strip(" ,")


_PLAIN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9' -]*")
_NEVER = re.compile(
    # To the listener, pointing at a place or a thing not named, a wish or a rule.
    r"\b(?:you|your|yours|yourself|you're|you've|you'll|u|here|please|let's|let|should|must|ought|"
    r"have to|has to|need to|needs to|if|whether|wish|would|could|might|"
    # What is hard to turn.
    r"ain't|(?:it|that) was (?:me|us)|us all|us both|am i|do i|was i|have i|"
    # Insults, verdicts, curses.
    r"fuck\w*|shit\w*|bitch\w*|damn\w*|crap\w*|ass|asshole|hell|bastard|piss\w*|slut|whore|dick|cunt|"
    r"stupid|idiots?|morons?|dumb|failure|worthless|ugly|fat|useless|loser|losers|burden|pathetic|"
    r"weak|unlovable|hopeless|crazy|insane|liars?|evil|disgusting|terrible|horrible|awful|bad|"
    r"lazy|selfish|boring|weird|annoying|hate\w*|despise|fault|nothing|pointless|nobody|no one|"
    r"nowhere|forever|ever|never|always|live at|"
    # Politics and peoples, where saying back is siding.
    r"governments?|politicians?|immigrants?|foreigners?|muslims?|jews?|christians?|blacks?|gays?|"
    r"women|men|god|vaccines?|"
    # Nakedness and harm.
    r"sex|porn\w*|naked|rap(?:e|ed|ist)|kill\w*|suicid\w*|die|dead|drugs?|cocaine|heroin)\b|"
    # The person's own misdeeds sound like a charge.
    r"\b(?:i|we|i've|we've)(?: \w+)? (?:lied|lie|shouted|yelled|screamed|hit|slapped|pushed|"
    r"cheated|stole|ruined|hurt|betrayed|snapped|insulted|kicked|punched|threatened|blamed|abandoned|"
    r"drank|drunk|deserve\w*|messed|failed|cried|threw up|peed|can't|cannot|won't|didn't|"
    r"don't(?! (?:even |really )?know (?:who|what|how|where|why)))\b",
    re.IGNORECASE,
)
_QUOTE = re.compile(r"(?:^|\s)'")
_LONG_NUMBER = re.compile(r"\d{5}|\d[ -]\d")
_DANGLING = re.compile(
    r"\b(?:a|an|the|my|our|their|and|but|or|because|of|very|really|so|to|than|is|are|was|were|i|"
    r"who|which|that|as|like|one|from|with|i'm|it's|more|not)$",
    re.IGNORECASE,
)
_ME = re.compile(r"\b(?:i|i'm|i've|i'd|me|my|mine|we|we're|we've|us|our)\b", re.IGNORECASE)
_PRONOUN = re.compile(
    r"(?:i|i'm|i've|we|we're|we've|he|she|they|he's|she's|they're|they've)\s+"
    r"(?!and\b|or\b|guess\b|think\b|mean\b|know\b|wonder\b|hope\b|suppose\b|want\b|like\b|who\b|said\b|"
    r"wanna\b|gonna\b|gotta\b|feel like\b|am\b)",
    re.IGNORECASE,
)
_NOUN = re.compile(
    r"(?:my|our|his|her|their)\s+\w+|"
    r"(?:the|a|an|somebody|someone|some|it|it's|there's|there (?:is|was|are|were))\b",
    re.IGNORECASE,
)
_OF_OTHERS = re.compile(r"(?:my|our|his|her|their)\b", re.IGNORECASE)
_VERB = re.compile(
    r"(?:\w{2,}ed|is|are|was|were|has|have|had|does|did|can|will|\w+n't|\w+'s|\w+'re|isn't|"
    + "|".join(lexicon("past_en"))
    + r")",
    re.IGNORECASE,
)
_VERB_S = re.compile(r"\w{2,}[^su']s", re.IGNORECASE)


def _is_safe(clause: str) -> bool:
    """Whether an English clause can be said back whole."""
    words = clause.split()
    if not _LEAST_WORDS <= len(words) <= MOST_WORDS or not _PLAIN_TEXT.fullmatch(clause):
        return False
    if any(each.search(clause) for each in (_NEVER, _QUOTE, _LONG_NUMBER, _DANGLING)):
        return False
    if _PRONOUN.match(clause):
        return True
    if not _NOUN.match(clause):
        return False
    # What is no part of the person's life is an opinion, or news: not ours to confirm.
    if not _OF_OTHERS.match(clause) and not _ME.search(clause):
        return False
    rest = words[2:] if _OF_OTHERS.match(clause) or words[0].lower() in ("the", "a") else words[1:]
    verbs = [i for i, w in enumerate(rest) if _VERB.fullmatch(w) or _VERB_S.fullmatch(w)]
    if verbs[:1] == [len(rest) - 1] and not _VERB.fullmatch(rest[-1]):
        return False  # "my house keys"
    starts_with_verb = words[0].lower().endswith("'s")
    # "My house key" and "our trip to Rome last year's" have none.
    return starts_with_verb or bool(verbs and verbs[0] < 4)


# Words that begin a statement, and take a small letter inside one.
_STARTS = frozenset(lexicon("starts"))


def _mid_sentence(clause: str) -> str:
    """The clause with a small letter at its head, unless that is a name."""
    first = clause.split(" ", 1)[0]
    return clause[:1].lower() + clause[1:] if first.lower() in _STARTS else clause
