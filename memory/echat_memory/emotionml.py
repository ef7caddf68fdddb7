"""How somebody sounded, as EmotionML 1.0 (W3C Recommendation, 22 May 2014): no words in it.

One `<emotion>` for each emotion that is known: what the model heard, as expressed through the voice
(or through text, where the turn was typed), and the person's own word on a turn, as of that turn.
The categories are our eight labels and the dimensions valence and arousal; both vocabularies are
defined in the document, so that it needs nothing from elsewhere. A dimension's 0.5 is neutral.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from sqlalchemy import Connection, Row, bindparam, select

from echat_memory import exporting
from echat_memory.rows import MODEL
from echat_memory.schema import EmotionRow, TurnRow
from echat_sdk.audio import Seconds
from echat_sdk.cues import Emotion

NAMESPACE = "http://www.w3.org/2009/10/emotionml"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_VOCABULARIES: Mapping[str, tuple[str, ...]] = {
    "category": tuple(emotion.value for emotion in Emotion),
    "dimension": ("valence", "arousal"),
}
_TURNS = (
    select(TurnRow.id, TurnRow.created_at, TurnRow.seconds)
    .where(TurnRow.id.in_(bindparam("page", expanding=True)))
    .order_by(TurnRow.id)
)


def export(connection: Connection, who: str) -> Iterator[str]:
    """The EmotionML document of a person, in pieces.

    Args:
        connection: An open transaction, until the last piece was taken.
        who: Their pseudonym.

    Raises:
        UnknownUserError: nothing is kept of them.
    """
    user_id = exporting.find(connection, who).id
    frame, end = _frame()
    yield frame
    numbers = exporting.Numbers(connection, TurnRow, user_id)
    for page in numbers.pages():
        heard: defaultdict[int, list[Row[Any]]] = defaultdict(list)
        for row in exporting.read(connection, EmotionRow, "turn_id", page):
            heard[row.turn_id].append(row)
        for turn_id, at, seconds in connection.execute(_TURNS, {"page": page}):
            for emotion in heard[turn_id]:
                if emotion.label in _VOCABULARIES["category"]:
                    yield _text(_emotion(emotion, f"turn-{numbers.of(turn_id)}", at, seconds))
    yield end


def _frame() -> tuple[str, str]:
    """What comes before the emotions, and what after."""
    sets = {f"{kind}-set": f"#{kind}" for kind in _VOCABULARIES}
    root = Element("emotionml", {"version": "1.0", "xmlns": NAMESPACE, **sets})
    for kind, names in _VOCABULARIES.items():
        vocabulary = SubElement(root, "vocabulary", {"type": kind, "id": kind})
        for name in names:
            SubElement(vocabulary, "item", {"name": name})
    ElementTree.indent(root)
    before, end, _ = ElementTree.tostring(root, encoding="unicode").partition("</emotionml>")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{before}', f"{end}\n"


def _emotion(row: Row[Any], turn: str, at: datetime, seconds: Seconds) -> Element:
    end = max((at - _EPOCH) // _MILLISECOND, 0)
    start = max(end - round(seconds * 1000), 0)
    times = {"start": f"{start}", "end": f"{end}"}
    if row.source == MODEL:
        by = "voice" if seconds > 0 else "text"
        emotion = Element("emotion", {"id": f"{turn}-heard", **times, "expressed-through": by})
    else:
        emotion = Element("emotion", {"id": f"{turn}-own-word", **times})
    SubElement(emotion, "category", {"name": row.label, "confidence": _share(row.confidence)})
    if row.valence is not None and row.arousal is not None:
        for name in _VOCABULARIES["dimension"]:
            value = _share((getattr(row, name) + 1) / 2)
            SubElement(emotion, "dimension", {"name": name, "value": value})
    return emotion


def _share(number: float) -> str:
    """A number from 0 to 1, in four digits and never as 1e-05."""
    return f"{min(max(number, 0.0), 1.0):.4f}"


def _text(emotion: Element) -> str:
    ElementTree.indent(emotion, level=1)
    return f"  {ElementTree.tostring(emotion, encoding='unicode').strip()}\n"
