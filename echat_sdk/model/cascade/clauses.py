"""Cut a reply into clauses while it is being written, so that speech can start with the first."""

from __future__ import annotations

import re

from echat_sdk.turn import Lang

_MOST = {"en": 240, "zh": 60}  # characters of a clause; a longer one is cut where it hurts least
_LEAST = {"en": 3, "zh": 3}  # words (Chinese: characters) before a comma that may end a clause

# A boundary counts once the character after it is known: it may belong to the boundary ("?!") or
# show that there is none ("3.5", "e.g. this"). `*+` never gives back what it took.
# Between two Han characters a Western mark needs no space after it.
_HAN = r"[\u4e00-\u9fff]"
_SENTENCE = re.compile(
    r"(?:[.!?…]++[\"'”’)\]]*+(?=\s)|[。！？]++[。！？…”’」』）)\"]*+"
    rf"|(?<={_HAN})[.!?]++(?={_HAN})|\n)\s*+(?=\S)"
)
_COMMA = re.compile(
    r"(?:[,;:—]++[\"'”’)\]]*+(?=\s)|[，；：]++[”’」』）)]*+"
    rf"|(?<={_HAN})[,;:]++(?={_HAN}))\s*+(?=\S)"
)
_GAP = re.compile(r"\s+|(?<=[、\u4e00-\u9fff])")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\"'“])(?:mr|mrs|ms|dr|prof|st|jr|sr|vs|etc|e\.g|i\.e|a\.m|p\.m|[A-Za-z])\.$",
    re.IGNORECASE,
)
_WORD = {"en": re.compile(r"\w+(?:['’]\w+)*"), "zh": re.compile(r"[\u4e00-\u9fff]|[A-Za-z0-9]+")}


class ClauseSplitter:
    """Clauses of a text that comes in pieces.

    Joined, the clauses are the text, and they do not depend on how it came in pieces. The first
    clause may end at a comma; later ones are sentences, which sound better said in one breath.

    Args:
        lang: Language of the text.
        brisk: End every clause at a comma if it can: for a voice hardly faster than it speaks.
    """

    def __init__(self, lang: Lang, *, brisk: bool = False) -> None:
        self._lang: Lang = lang
        self._brisk = brisk
        self._buffer = ""
        self._is_first = True

    def push(self, piece: str) -> list[str]:
        """Take the next piece of text and give the clauses that it completes."""
        self._buffer += piece
        clauses = []
        while end := self._next_end():
            clauses.append(self._buffer[:end])
            self._buffer = self._buffer[end:]
            self._is_first = False
        return clauses

    def flush(self) -> list[str]:
        """Give what is left at the end of the text."""
        rest, self._buffer, self._is_first = self._buffer, "", True
        return [rest] if rest else []

    def _next_end(self) -> int:
        """Where the first clause of the buffer ends; 0 while that is not known."""
        most = _MOST[self._lang]
        ends = [m.end() for m in _SENTENCE.finditer(self._buffer) if self._ends_sentence(m)]
        if self._is_first or self._brisk:
            ends += [m.end() for m in _COMMA.finditer(self._buffer) if self._is_enough(m.start())]
        end = min(ends, default=most + 1)
        if end <= most:
            return end
        if len(self._buffer) <= most:
            return 0
        head = self._buffer[: most + 1]
        commas = [m.end() for m in _COMMA.finditer(head) if m.end() > most // 3]
        gaps = [m.end() for m in _GAP.finditer(head, most // 3)]
        return min(max(commas or gaps, default=most), most)

    def _ends_sentence(self, match: re.Match[str]) -> bool:
        """Whether a mark ends a sentence; the points of "Dr. Who", "so... yes", "No. 5" do not."""
        following = self._buffer[match.end()]
        if match.group()[0] not in ".…":
            return True
        before = self._buffer[: match.start() + 1][-12:]
        return not (following.islower() or following.isdigit() or _ABBREVIATION.search(before))

    def _is_enough(self, end: int) -> bool:
        return len(_WORD[self._lang].findall(self._buffer[:end])) >= _LEAST[self._lang]


def clauses(text: str, lang: Lang) -> list[str]:
    """A whole text cut into clauses; joined, they are the text."""
    splitter = ClauseSplitter(lang)
    return splitter.push(text) + splitter.flush()
