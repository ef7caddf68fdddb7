"""All that is kept of a person is in their document, and nothing of anybody else."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from sqlalchemy import DateTime, Float, Integer, insert, update

from echat_memory import Encryption, SQLMemory, exporting
from echat_memory.document import MemoryDocument, schema
from echat_memory.emotionml import NAMESPACE
from echat_memory.exporting import COLUMNS, LEFT_OUT
from echat_memory.schema import PERSONAL, FactRow, SafetyRow, UserRow
from echat_sdk.consent import REMEMBERED, ConsentState
from echat_sdk.cues import Cue, Cues, Emotion, ReplyEmotion
from echat_sdk.errors import StoreError, UnknownUserError
from echat_sdk.pause_profile import PauseProfile
from echat_sdk.turn import Timings, Turn, TurnStatus

SCHEMA = Path(__file__).parents[2] / "memory/export.schema.json"
TURN = Turn(
    "My dog is called Rex.",
    cues=Cues(
        Cue("sad", 0.8, {"sad": 0.8, "neutral": 0.2}),
        Cue("male", 0.9, {"male": 0.9, "female": 0.1}),
        Cue(why="no measured classifier"),
    ),
    think="They are sad.",
    reply="Rex! What is he like?",
    reply_emotion=ReplyEmotion.COMFORTING,
    strategy="asked",
    timings=Timings(heard=0.2, done=1.5),
    seconds=2.5,
    model="echat-lite",
)


def exported(memory: SQLMemory, user: str = "ada") -> dict[str, Any]:
    found: dict[str, Any] = json.loads("".join(memory.export(user)))
    return found


def test_every_column_of_a_person_is_exported_or_knowingly_left_out() -> None:
    assert {*COLUMNS} | {*LEFT_OUT} == {UserRow, *PERSONAL}
    for table in (UserRow, *PERSONAL):
        told = {*COLUMNS.get(table, {})}, {*LEFT_OUT.get(table, {})}
        assert told[0] | told[1] == {*table.__table__.c.keys()}, table
        assert not told[0] & told[1], table


def _planted(column: Any, number: int) -> Any:
    """A value that is nowhere else in the store."""
    match column.type:
        case Float():
            return 1000.5 + number
        case Integer():
            return 5000 + number
        case kind if isinstance(getattr(kind, "impl", None), DateTime):
            return datetime.fromisoformat("2020-01-01T00:00:00Z") + timedelta(days=number)
        case kind if type(kind).__name__ == "JSON":
            return {f"key{number}": 1.0}
    return (
        json.dumps({"facts": [], "episodes": [], "turns": 7, "mood": True, "helped": f"{number}"})
        if column.name == "remembered"
        else f"zqx{number}"
    )


def _at(found: Any, path: str) -> list[Any]:
    """All values at a path of the document."""
    values = [found]
    for name in path.split("."):
        inner = [value[name] for value in values if value is not None]
        values = [v for each in inner for v in (each if isinstance(each, list) else [each])]
    return values


def test_what_is_in_a_column_is_where_it_is_said_to_be(memory: SQLMemory) -> None:
    memory.recall("ada", query=TURN.transcript)
    memory.remember("ada", replace(TURN, cues=Cues(Cue("sad", 0.8), Cue("male", 0.9))))
    memory.keep_pauses("ada", PauseProfile(mean=0.8, count=3))
    memory.consent("ada", "train")
    columns = {"turn_id": 1, "user_id": 1, "category": "", "severity": "", "detector": ""}
    with memory._open(write=True) as connection:
        safety = insert(SafetyRow).values(**columns, action="", at=memory._clock())
        connection.execute(safety)
        planted = {}
        for table, paths in COLUMNS.items():
            for column, path in paths.items():
                if column in ("id", "turn_id", "session_id", "superseded_by"):
                    continue  # numbers of the document's own; the law of import checks them
                value = _planted(table.__table__.c[column], len(planted))
                planted[path] = value
                connection.execute(update(table).values({column: value}))
    found = exported(memory)
    for path, value in planted.items():
        wanted = json.loads(value) if path.endswith(".remembered") else value
        wanted = f"{wanted:%Y-%m-%dT%H:%M:%SZ}" if isinstance(wanted, datetime) else wanted
        assert wanted in _at(found, path), path


def test_a_document_is_what_its_models_and_the_published_schema_say(
    memory: SQLMemory, clock: Any
) -> None:
    memory.recall("ada", query=TURN.transcript)
    memory.remember("ada", TURN)
    clock.advance(hours=2)
    memory.remember("ada", Turn("我住在北京", lang="zh", status=TurnStatus.OPEN))
    memory.report("ada", "2", Emotion.HAPPY)
    memory.consent("ada", "train", expires_at=clock.now + timedelta(days=3))
    memory.consent("ada", "train", ConsentState.WITHDRAWN)
    memory.keep_pauses("ada", PauseProfile(mean=0.8, count=3))
    text = "".join(memory.export("ada"))
    document = MemoryDocument.model_validate_json(text, strict=True)
    assert document.user.id == "ada"
    assert document.exported_at == clock.now
    assert [s.id for s in document.sessions] == [1, 2]
    assert [(t.id, t.session, t.seq) for t in document.turns] == [(1, 1, 1), (2, 2, 1)]
    first, second = document.turns
    assert (first.transcript, first.think, first.reply) == (
        TURN.transcript,
        TURN.think,
        TURN.reply,
    )
    assert first.emotions[0].distribution == {"sad": 0.8, "neutral": 0.2}
    assert {cue.kind: cue.abstained for cue in first.cues} == {
        "gender": "",
        "age": "no measured classifier",
    }
    assert first.plan is not None
    assert first.plan.strategy == "asked"
    assert [e.source for e in second.emotions] == ["user_report"]
    assert [(f.kind, f.value, f.turn) for f in document.facts] == [
        ("called", "Rex", 1),
        ("home", "北京", 2),
    ]
    assert document.pauses == PauseProfile(mean=0.8, count=3)
    assert [c.state for c in document.consents] == ["granted", "withdrawn"]


def test_the_published_schema_is_that_of_the_models() -> None:
    assert json.loads(SCHEMA.read_text()) == schema()


def test_nothing_of_anybody_else_and_no_secret_is_in_a_document(
    memory: SQLMemory, key: Path
) -> None:
    for i in range(7):
        memory.remember("zqxbob", Turn(f"zqxother {i}. I live in Zqxtown."))
    memory.remember("ada", TURN)
    memory.recall("zqxbob", query="my dog")
    text = "".join(memory.export("ada")) + "".join(memory.emotionml("ada"))
    assert "zqx" not in text.lower()
    assert key.read_bytes().hex() not in text
    with memory._open(write=False) as connection:
        for row in connection.execute(UserRow.__table__.select()):
            assert row.pseudonym not in text
    found = exported(memory)
    assert [found["sessions"][0]["id"], found["turns"][0]["id"]] == [1, 1]  # not 8: bob's seven


def test_words_of_an_encrypted_store_are_readable_in_the_document(
    store: Path | str, clock: Callable[[], datetime]
) -> None:
    pytest.importorskip("cryptography")
    with closing(
        SQLMemory(store, clock=clock, unasked=REMEMBERED, encryption=Encryption())
    ) as memory:
        memory.recall("ada", query=TURN.transcript)
        memory.remember("ada", TURN)
        text = "".join(memory.export("ada"))
        with memory._open(write=False) as connection:
            wrapped = connection.exec_driver_sql("SELECT wrapped FROM user_keys").scalar_one()
    assert TURN.transcript in text
    assert '"value":"Rex"' in text
    assert "echat1:" not in text
    assert wrapped not in text


@pytest.mark.parametrize("export", [SQLMemory.export, SQLMemory.emotionml])
def test_who_is_not_known_is_told_so_at_once_and_a_guest_is_not_known(
    store: Path | str, export: Callable[[SQLMemory, str], object]
) -> None:
    with closing(SQLMemory(store)) as memory:
        memory.remember("guest", TURN)
        for user in ("nobody", "guest"):
            with pytest.raises(UnknownUserError, match="no user with this id is known here"):
                export(memory, user)
    with pytest.raises(StoreError, match="closed"):
        export(memory, "ada")


def test_an_answer_alone_makes_somebody_known(memory: SQLMemory) -> None:
    memory.consent("ada", "train", ConsentState.DENIED)
    found = exported(memory)
    assert found["turns"] == []
    assert found["consents"][0]["state"] == "denied"


def test_what_no_model_of_ours_writes_is_exported_all_the_same(memory: SQLMemory) -> None:
    odd = Cue("zqxbliss", 0.5, {"zqxbliss": 1.7})
    memory.remember("ada", Turn("hello", cues=Cues(odd, odd)))
    turn = exported(memory)["turns"][0]
    assert turn["emotions"][0]["label"] == turn["cues"][0]["label"] == "zqxbliss"
    assert turn["cues"][0]["distribution"] == {"zqxbliss": 1.7}
    assert "zqxbliss" not in "".join(memory.emotionml("ada"))  # which has a closed vocabulary


def test_a_document_is_one_moment_and_no_call_waits_for_it(memory: SQLMemory) -> None:
    exporting_page, exporting.PAGE = exporting.PAGE, 2
    try:
        for i in range(6):
            memory.remember("ada", Turn(f"{i}. My dog is called Rex."))
        pieces = memory.export("ada")
        first = [next(pieces) for _ in range(8)]
        memory.remember("ada", Turn("later. I live in York."))
        memory.recall("ada", query="my dog")
        found = json.loads("".join([*first, *pieces]))
    finally:
        exporting.PAGE = exporting_page
    assert [turn["transcript"][0] for turn in found["turns"]] == list("012345")
    assert [fact["kind"] for fact in found["facts"]] == ["called"]
    assert exported(memory)["turns"][6]["transcript"] == "later. I live in York."


def test_numbers_of_what_was_erased_since_are_in_no_plan(memory: SQLMemory) -> None:
    memory.remember("ada", TURN)
    memory.recall("ada", query="I live in York.")
    memory.remember("ada", Turn("I live in York.", strategy="asked"))
    assert exported(memory)["turns"][1]["plan"]["remembered"]["facts"] == [1]
    with memory._open(write=True) as connection:
        connection.execute(FactRow.__table__.delete().where(FactRow.id == 1))
    found = exported(memory)
    assert found["turns"][1]["plan"]["remembered"]["facts"] == []
    assert [fact["id"] for fact in found["facts"]] == [1]


# --- EmotionML -------------------------------------------------------------------------------


def test_emotionml_has_an_emotion_for_each_that_is_known_and_no_words(
    memory: SQLMemory, clock: Any
) -> None:
    memory.remember("ada", TURN)
    clock.advance(seconds=61.5)
    memory.remember("ada", Turn("typed", cues=Cues(Cue("happy", 1.0))))
    memory.remember("ada", Turn("mumbled", cues=Cues(Cue(why="too short")), seconds=0.4))
    memory.report("ada", "3", Emotion.OTHER)
    text = "".join(memory.emotionml("ada"))
    assert "Rex" not in text
    root = ElementTree.fromstring(text)
    name = f"{{{NAMESPACE}}}"
    assert (root.tag, root.get("version")) == (f"{name}emotionml", "1.0")
    vocabularies = {
        f"#{v.get('id')}": [item.get("name") for item in v] for v in root.iter(f"{name}vocabulary")
    }
    assert [v.get("type") for v in root.iter(f"{name}vocabulary")] == ["category", "dimension"]
    emotions = list(root.iter(f"{name}emotion"))
    assert [e.get("id") for e in emotions] == ["turn-1-heard", "turn-2-heard", "turn-3-own-word"]
    assert [e.get("expressed-through") for e in emotions] == ["voice", "text", None]
    at = round(datetime(2026, 3, 2, 12, tzinfo=clock.now.tzinfo).timestamp() * 1000)
    assert (emotions[0].get("start"), emotions[0].get("end")) == (f"{at - 2500}", f"{at}")
    assert emotions[1].get("start") == emotions[1].get("end") == f"{at + 61_500}"
    for emotion in emotions:
        (category,) = emotion.iter(f"{name}category")
        assert category.get("name") in vocabularies[root.get("category-set") or ""]
        assert 0 <= float(category.get("confidence") or "") <= 1
        for dimension in emotion.iter(f"{name}dimension"):
            assert dimension.get("name") in vocabularies[root.get("dimension-set") or ""]
            assert 0 <= float(dimension.get("value") or "") <= 1
    values = {d.get("name"): d.get("value") for d in emotions[1].iter(f"{name}dimension")}
    assert values == {"valence": "0.8800", "arousal": "0.7400"}  # 0.76 and 0.48 of [-1, 1]
    assert not list(emotions[2].iter(f"{name}dimension"))  # other has no place among them
