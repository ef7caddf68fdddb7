"""What any match of a pattern must hold, so that most patterns need never be tried on a text.

It reads the part of the pattern language that our rules use: letters, groups, alternatives,
classes, repeats and looking around.
"""

from __future__ import annotations

_CLOSES = "|)"
_LOOKS = ("(?=", "(?!", "(?<=", "(?<!")


def required(pattern: str) -> frozenset[str]:
    """Pieces of text of which a match holds at least one; empty if none is known."""
    found, end = _any_of(pattern, 0)
    return found if end == len(pattern) else frozenset()


def _any_of(pattern: str, at: int) -> tuple[frozenset[str], int]:
    """Of alternatives every one must demand something, or nothing is demanded."""
    branches: list[frozenset[str]] = []
    while True:
        found, at = _sequence(pattern, at)
        branches.append(found)
        if at >= len(pattern) or pattern[at] != "|":
            break
        at += 1
    return (frozenset().union(*branches) if all(branches) else frozenset()), at


def _sequence(pattern: str, at: int) -> tuple[frozenset[str], int]:
    """Of what stands in a row, the part that demands most."""
    demands: list[frozenset[str]] = []
    run = ""
    while at < len(pattern) and pattern[at] not in _CLOSES:
        item, letter, at = _item(pattern, at)
        least, at = _repeats(pattern, at)
        if letter and least:
            run += letter
            if least == 1:
                continue
        demands.append(frozenset({run} if run else ()))
        run = ""
        if least:
            demands.append(item)
    demands.append(frozenset({run} if run else ()))
    return max(demands, key=_strength), at


def _item(pattern: str, at: int) -> tuple[frozenset[str], str, int]:
    """What one item demands, the letter that it is, if any, and where the next begins."""
    char = pattern[at]
    if char == "(":
        is_look = pattern.startswith(_LOOKS, at)
        opening = next((o for o in ("(?:", *reversed(_LOOKS)) if pattern.startswith(o, at)), "(")
        found, end = _any_of(pattern, at + len(opening))
        return (frozenset() if is_look else found), "", end + 1
    if char == "[":
        return frozenset(), "", pattern.index("]", at + 1) + 1
    if char == "\\":
        return frozenset(), "", at + 2
    return frozenset(), "" if char in ".^$" else char, at + 1


def _repeats(pattern: str, at: int) -> tuple[int, int]:
    """How often an item stands there at least (2 for more than once or an unknown number)."""
    least = 1
    if pattern[at : at + 1] in ("?", "*"):
        least, at = 0, at + 1
    elif pattern[at : at + 1] == "+":
        least, at = 2, at + 1
    elif pattern[at : at + 1] == "{":
        least = 0 if pattern[at + 1] == "0" else 2
        at = pattern.index("}", at) + 1
    return least, at


def _strength(pieces: frozenset[str]) -> tuple[int, int]:
    return min(map(len, pieces), default=0), -len(pieces)
