"""A note a day of how somebody sounded, in words that hedge; theirs to read and to delete."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path

from echat_sdk.hooks import Session
from echat_sdk.turn import Turn

ECHAT_PLUGIN = {"needs": ["read_emotion", "keep"]}

_FEW = 3  # turns of which nothing can be said of a day
_MOSTLY = 0.5


class Journal:
    """Counts how turns sounded, day by day, and writes a note of each. No words are read or kept.

    Args:
        folder: Where notes are written: a folder a user, named by a hash; a file a day.
        today: Gives the day.
    """

    def __init__(self, folder: str = "journal", today: Callable[[], date] = date.today) -> None:
        self._folder = Path(folder).expanduser()
        self._today = today
        self._counts: dict[tuple[str, date], Counter[str]] = {}

    def on_turn(self, session: Session, turn: Turn) -> None:
        """One more turn of the day."""
        day = self._today()
        self._counts = {key: each for key, each in self._counts.items() if key[1] == day}
        path = self._of(session.user) / f"{day.isoformat()}.md"
        counts = self._counts.setdefault((session.user, day), _read(path))
        counts[turn.cues.emotion.label] += 1
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(note(day, counts), encoding="utf-8")
        path.chmod(0o600)

    def on_erase(self, user: str) -> None:
        """Remove all notes of theirs."""
        self._counts = {key: each for key, each in self._counts.items() if key[0] != user}
        folder = self._of(user)
        for path in folder.glob("*.md") if folder.is_dir() else ():
            path.unlink(missing_ok=True)

    def _of(self, user: str) -> Path:
        return self._folder / hashlib.sha256(user.encode()).hexdigest()[:16]


def note(day: date, counts: Counter[str]) -> str:
    """The note of a day."""
    told = Counter({label: n for label, n in counts.items() if label != "unknown"})
    total = told.total()
    if total < _FEW:
        words = "We hardly spoke, so I cannot say how you sounded."
    else:
        label, most = told.most_common(1)[0]
        words = f"You sounded {'mostly' if most / total > _MOSTLY else 'now and then'} {label}."
    rows = "".join(f"- {label}: {n}\n" for label, n in sorted(counts.items()))
    return f"# {day.isoformat()}\n\n{words}\n\nTurns, by how they sounded:\n\n{rows}"


def _read(path: Path) -> Counter[str]:
    """The counts of a note that was begun before this process."""
    counts: Counter[str] = Counter()
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            label, mark, n = line.removeprefix("- ").partition(": ")
            if line.startswith("- ") and mark and n.isdecimal():
                counts[label] = int(n)
    return counts
