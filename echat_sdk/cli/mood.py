"""How the user sounds, in words that hedge, and how that went over the last turns."""

from __future__ import annotations

from collections import deque

from rich.text import Text

from echat_sdk.cli.account import printable
from echat_sdk.cues import Cue, Emotion

SHOWN = 12
"""Turns in the strip."""

_SURE = 0.6  # confidence under which it is said that somebody may sound like this

# The letter, the word and the colour of each.
_LOOKS: dict[str, tuple[str, str, str]] = {
    Emotion.SAD: ("s", "sad", "blue"),
    Emotion.ANGER: ("a", "angry", "red"),
    Emotion.NEUTRAL: ("n", "neutral", "white"),
    Emotion.HAPPY: ("h", "happy", "yellow"),
    Emotion.SURPRISE: ("u", "surprised", "magenta"),
    Emotion.FEAR: ("f", "afraid", "cyan"),
    Emotion.DISGUST: ("d", "disgusted", "green"),
    Emotion.OTHER: ("o", "moved otherwise", "bright_black"),
}
_UNKNOWN, _NONE = "?", "·"


def hedged(emotion: Cue, verb: str) -> str:
    """What is said of an emotion that is known: `sounds sad, 68 %`.

    Args:
        emotion: What was heard.
        verb: How it is said of who is surely heard so: `sound`, `sounds`.
    """
    verb = verb if emotion.confidence >= _SURE else "may sound"
    return f"{verb} {_look(emotion)[1]}, {100 * emotion.confidence:.0f} %"


class Mood:
    """The user's apparent emotion, turn by turn."""

    def __init__(self) -> None:
        self._turns: deque[Cue] = deque(maxlen=SHOWN)

    def take(self, emotion: Cue, *, goes_on: bool = False) -> None:
        """The emotion of the next turn, or of the last one, which went on."""
        if goes_on and self._turns:
            self._turns.pop()
        self._turns.append(emotion)

    def words(self) -> Text:
        """How the last turn sounded."""
        if not self._turns:
            return Text("nothing heard yet", "dim")
        last = self._turns[-1]
        if not last.is_known:
            return Text(printable(last.why) or "no telling", "dim")
        return Text(f"you {hedged(last, 'sound')}", _look(last)[2])

    def strip(self) -> Text:
        """A letter for each of the last turns, oldest first, and what the letters mean."""
        strip = Text()
        seen: list[tuple[str, str, str]] = []  # the latest first: the oldest may find no room
        for turn in self._turns:
            if not turn.is_known:
                strip.append(_UNKNOWN, "dim")
                continue
            letter, _, colour = look = _look(turn)
            strip.append(letter, f"reverse {colour}")
            seen = [look, *(each for each in seen if each != look)]
        strip.append(_NONE * (SHOWN - len(self._turns)), "dim")
        for letter, word, colour in seen:
            strip.append(f"  {letter} ", f"bold {colour}")
            strip.append(word, "dim")
        return strip


def _look(emotion: Cue) -> tuple[str, str, str]:
    """A label that is none of ours, out of a model of somebody else's, is shown as it is."""
    return _LOOKS.get(emotion.label) or ("?", printable(emotion.label), "white")
