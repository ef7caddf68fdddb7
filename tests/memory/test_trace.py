from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from echat_memory import SQLMemory, comfort
from echat_memory.trace import in_words
from echat_sdk.cues import Cue, Cues, ReplyEmotion
from echat_sdk.errors import StoreError
from echat_sdk.turn import Turn, TurnStatus

SAD = Cues(Cue("sad", 0.7, {"sad": 0.7, "fear": 0.3}))
SEALS = "We saw two seals by the harbour."


def answered(memory: SQLMemory, words: str, reply: str = "Tell me.", **given: Any) -> str:
    """A turn as an agent makes it: recalled, kept, answered, completed."""
    memory.recall("ada", query=words)
    turn_id = memory.remember("ada", Turn(words, status=TurnStatus.OPEN))
    memory.remember("ada", Turn(words, reply=reply, **given), turn_id=turn_id)
    return turn_id


def test_a_reply_tells_what_was_heard_felt_remembered_and_chosen(
    memory: SQLMemory, clock: Any
) -> None:
    answered(memory, "My dog is called Rex.")
    answered(memory, SEALS, cues=SAD)
    for i in range(8):
        answered(memory, f"I had number {i}.")
    clock.advance(days=2)
    answered(
        memory,
        "The seals would like my dog.",
        "Rex too?",
        cues=SAD,
        strategy="topic-dog",
        reply_emotion=ReplyEmotion.COMFORTING,
    )
    found = memory.trace("ada")
    assert found.turn.transcript == "The seals would like my dog."
    assert found.facts == ("their dog is called Rex",)
    assert [e.said for e in found.episodes] == ["My dog is called Rex.", SEALS]
    assert found.last_turns == 6
    assert dict(in_words(found)) == {
        "heard": "The seals would like my dog.",
        "felt": "they seemed to sound sad (70% sure), or perhaps afraid.",
        "remembered": "what was just spoken of; their dog is called Rex; "
        "2 days ago they said: My dog is called Rex; "
        "2 days ago they said: We saw two seals by the harbour (sounding sad).",
        "chosen": "the move 'topic-dog', in a comforting voice.",
        "said": "Rex too?",
    }
    json.dumps(found.to_json())


def test_a_turn_that_was_answered_without_memory_says_so(memory: SQLMemory) -> None:
    turn_id = memory.remember("ada", Turn("你好", "zh", reply="你好！"))
    assert dict(in_words(memory.trace("ada", turn_id))) == {
        "听到": "你好",
        "感受": "听不出情绪。",
        "想起": "没有",
        "选择": "用中立的语气。",
        "说": "你好！",
    }


def test_only_ones_own_turns_are_traced(memory: SQLMemory) -> None:
    mine = answered(memory, "hello")
    for user, turn_id in (("bob", mine), ("bob", None), ("ada", "99"), ("ada", "x; DROP")):
        with pytest.raises(StoreError, match="no such turn"):
            memory.trace(user, turn_id)
    assert memory.trace("ada", mine).turn_id == mine


def test_a_strategy_comes_back_with_its_turn(memory: SQLMemory) -> None:
    answered(memory, "hello", strategy="loss")
    assert memory.recall("ada").turns[-1].strategy == "loss"
    assert memory.show("ada")[-1].turn.strategy == "loss"


def test_what_was_remembered_for_other_words_is_not_this_turns(memory: SQLMemory) -> None:
    memory.remember("ada", Turn("My dog is called Rex."))
    memory.recall("ada", query="my dog")
    memory.remember("ada", Turn("Something else.", reply="Yes?"))
    assert memory.trace("ada").facts == ()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_plan_holds_ids_and_no_words(memory: SQLMemory, store: Path) -> None:
    answered(memory, "My dog is called Rex.")
    answered(memory, "My dog was ill.", strategy="bad")
    with closing(sqlite3.connect(store)) as raw:
        plans = raw.execute("SELECT remembered FROM reply_plans").fetchall()
        assert "Rex" not in str(plans)
        raw.execute("DELETE FROM facts")
        raw.commit()
    assert memory.trace("ada").facts == ()  # what is gone is told no more
    memory.erase("ada")
    with closing(sqlite3.connect(store)) as raw:
        assert raw.execute("SELECT count(*) FROM reply_plans").fetchone() == (0,)


# --- what helped before ----------------------------------------------------------------------


def feeling(emotion: str) -> Cues:
    return Cues(Cue(emotion, 1.0))


def lows(memory: SQLMemory, clock: Any, times: int, after: str, **given: Any) -> None:
    """Low turns that were answered in one way, each followed by a turn that sounds like `after`."""
    for _ in range(times):
        clock.advance(hours=1)
        answered(memory, "It was a hard day.", cues=feeling("sad"), **given)
        answered(memory, "I see.", cues=feeling(after))


def test_an_answer_after_which_turns_were_lighter_is_told_as_a_hint(
    memory: SQLMemory, clock: Any
) -> None:
    lows(memory, clock, 4, "happy", strategy="long")
    lows(memory, clock, 4, "sad", strategy="loss", reply_emotion=ReplyEmotion.COMFORTING)
    memory.prefetch("ada")
    hint = "When they sounded low before, listening quietly seemed to help."
    assert memory.recall("ada").helped == hint
    answered(memory, "I am here again.", cues=SAD)
    assert memory.trace("ada").helped == hint
    memory.remember("ada", Turn("我", "zh"))
    assert memory.recall("ada").helped == "以前用户低落时，安静地倾听好像有帮助。"


@pytest.mark.parametrize(
    ("listening", "others"),
    [
        ((3, "happy"), (4, "sad")),  # too seldom
        ((4, "happy"), (3, "sad")),  # nothing to compare it with
        ((4, "sad"), (4, "sad")),  # nothing helped
        ((4, "happy"), (4, "happy")),  # all did: time may have
    ],
)
def test_without_enough_evidence_nothing_is_said_to_have_helped(
    memory: SQLMemory, clock: Any, listening: tuple[int, str], others: tuple[int, str]
) -> None:
    lows(memory, clock, *listening, strategy="long")
    lows(memory, clock, *others, strategy="loss", reply_emotion=ReplyEmotion.COMFORTING)
    memory.prefetch("ada")
    assert memory.recall("ada").helped == ""


def test_a_kind_of_answer_is_told_by_its_move_else_by_its_voice() -> None:
    assert comfort.kind_of("topic-dog", "neutral") == "asking"
    assert comfort.kind_of("", "sorry") == "sharing"
    assert comfort.kind_of("care-self", "comforting") == ""
    assert comfort.kind_of("", "angry") == ""
