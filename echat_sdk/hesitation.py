"""Whether the words so far hang in the air: after them nobody has finished.

A transcriber that was shown half a sentence says so: Whisper leaves the full stop out or writes
three. Where it closes the sentence all the same, some last words tell: an article, "because", "um".
Nothing is guessed of the rest; who hangs is waited for a little longer, and no more than that.
"""

from __future__ import annotations

import re

from echat_sdk.turn import Lang

_LONGEST = 400  # characters at the end that are looked at

_OPEN = re.compile(r"(?:\.\.+|[…,，、;；:：—–-])[\"'”’)）」]*$")
_CLOSED = re.compile(r"[.!?。！？][\"'”’)）」]*$")
_SENTENCES = re.compile(r"[.!?。！？…]+\s*")
_WORDS = re.compile(r"[a-z0-9]+(?:['’-][a-z0-9]+)*")

_WH = r"(?:what|who|whom|where|which|when|why|how)"
_MODAL = r"(?:can|could|will|would|shall|should|may|might|must)"
_FILLER = (
    r"(?:u+m+|u+h+|e+r+m?|h+m+|well|so|and|but|like|okay so|you know|i mean|i guess|let me see"
    r"|let's see|actually|basically|honestly|the thing is|the problem is)"
)
_LOOKING = re.compile(rf"{_FILLER}(?: {_FILLER})*")  # for words
_REQUEST = re.compile(
    rf".*\b{_MODAL} you(?: please)? (?:tell|give|show|bring|hand|pass) (?:me|us|him|her|them)"
)
_UNFINISHED = re.compile(
    # A last word that asks for another.
    r".*\b(?:an?|the|my|your|our|their|and|or|but|nor|because|unless|although|whether|than"
    r"|u+m+|u+h+|as if|so that|such as|i'm|i'll|i've|i'd|you're|we're|they're)"
    # A subject that wants its verb, a verb that wants another, "that" that wants a clause.
    r"|(?!.*(?:\b(?:am|are|is|was|were|do|does|did|dare|have|has|than|like|as|nor|or|and|but|to"
    rf"|{_MODAL})|n't) \w+$).* (?:i|we|he|she|they)"
    r"|.*\b(?:and|then|but|because|if|that|so) (?:i|we|he|she|they)"
    rf"|.*\b{_WH} (?:.* )?(?:i|you|we|he|she|they|it) {_MODAL}"
    r"|.*\b(?:told (?:me|him|her|us|them)|think|thought|hope|afraid|pity|means?|that) that"
    # A number that is too short to be one.
    r"|.*\b(?:my number|phone|call me (?:at|on))\b[^0-9]*(?:[0-9]-?){1,6}"
)
_CLAUSE = re.compile(
    r"(?:(?:and|but|so|maybe) )?(?:if|when|whenever|while|although|unless|even (?:though|if)"
    r"|as soon as|every time)\b"
    r"(?!.*\b(?:want|like|mind|possible|prefer|wish|insist|say so)$)(?: \S+){2,7}"
)

_MANDARIN = re.compile(
    r"(?:嗯|呃|额|那个|这个|就是|然后|我想想|让我想想)+"
    r"|.*(?:嗯|呃|然后|因为|所以|可是|但是|不过|而且|如果|要是|虽然|或者|以及|并且|比如|比如说|例如"
    r"|就是|只是|关于|对于|我觉得|我认为|的意思是?|是一个|[他她妈爸们]说|的话)"
)  # fmt: skip
_MANDARIN_CLAUSE = re.compile(r"(?:如果|要是|虽然|每次|当(?=.*时)(?!时))(?!.*[就那可但都]).{2,12}")


def ends_sentences(transcript: str) -> bool:
    """Whether a transcriber writes where sentences end, by what it wrote."""
    return bool(_SENTENCES.search(transcript))


def hangs(transcript: str, lang: Lang, *, is_marked: bool = True) -> bool:
    """Whether the words cannot be the end of a turn.

    Args:
        transcript: The turn so far, as a transcriber writes it, marks included. Without words it
            does not hang: nothing is known.
        lang: Its language.
        is_marked: Whether the transcriber closes sentences with a mark, so that a missing one tells
            something.
    """
    text = transcript[-_LONGEST:].strip()
    if not text:
        return False
    if _OPEN.search(text) or (is_marked and not _CLOSED.search(text)):
        return True
    last = next((s for s in reversed(_SENTENCES.split(text)) if s.strip()), "")
    return _hangs_zh(last) if lang == "zh" else _hangs_en(last, text.endswith("?"))


def _hangs_en(sentence: str, is_question: bool) -> bool:
    words = " ".join(_WORDS.findall(sentence.casefold().replace("’", "'")))
    if is_question:
        return bool(_LOOKING.fullmatch(words) or _REQUEST.fullmatch(words))
    is_clause = "," not in sentence and bool(_CLAUSE.fullmatch(words))
    return is_clause or any(p.fullmatch(words) for p in (_LOOKING, _REQUEST, _UNFINISHED))


def _hangs_zh(sentence: str) -> bool:
    pieces = re.split(r"[,，、]", re.sub(r"\s", "", sentence))
    is_clause = len(pieces) == 1 and bool(_MANDARIN_CLAUSE.fullmatch(pieces[0]))
    return is_clause or bool(_MANDARIN.fullmatch(pieces[-1]))
