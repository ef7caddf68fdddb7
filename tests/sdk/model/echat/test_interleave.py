from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.model.echat.decoding import Decoding
from echat_sdk.model.echat.interleave import (
    Head,
    Interleave,
    SpeechTooShort,
    after_thought,
    interleave,
)
from echat_sdk.model.echat.vocab import IM_END, THINK_END, Vocab

CASE = json.loads(
    (Path(__file__).parents[3] / "golden/osum/case07_interleave.json").read_text(encoding="utf-8")
)
VOCAB = Vocab()
FORMS = ("plain", "think")


def rows(case: dict[str, Any], form: str) -> list[tuple[int, ...] | SpeechTooShort]:
    return [
        interleave(text, speech, thought=after_thought(text) if form == "think" else 0)
        for text, speech in zip(case["text"], case["speech"], strict=True)
    ]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", [*CASE["cases"], *CASE["think_cases"], *CASE["errors"]])
def test_every_row_is_arranged_as_upstream_arranges_it(case: dict[str, Any], form: str) -> None:
    golden, ours = case[form], rows(case, form)
    if golden is None:  # not recorded upstream
        return
    if "error" in golden:  # upstream loses the whole batch; here the row alone
        bad = int(golden["message"].split()[1].rstrip(":"))
        too_short = ours[bad]
        assert isinstance(too_short, SpeechTooShort)
        assert (too_short.text, too_short.speech) == (
            len(case["text"][bad]),
            len(case["speech"][bad]),
        )
        assert not any(isinstance(row, SpeechTooShort) for row in ours[:bad])
    else:
        assert [list(row) for row in ours if isinstance(row, tuple)] == golden["out"]


def test_the_reason_names_both_counts() -> None:
    assert "11 speech tokens for 4 text tokens" in str(interleave([1] * 4, [2] * 11))


PIECES = {1: "<think>", 2: "嗯", 3: "。<", 4: "think", 5: " end", 6: ">", 7: "><", 8: "好", 9: "</"}


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ([1, 2, 3, 4, 5, 7, 8], 6),  # the mark's ">" and the next tag's "<" are one token
        ([1, 2, 3, 4, 5, 6, 8], 6),
        ([1, 2, 9, 4, 6, 8], 5),
        ([1, 2, 9, 4, 5, 6, 8], 6),
        ([1, 2, 8, 8], 0),
        ([], 0),
    ],
)
def test_a_thought_ends_however_its_mark_is_cut(text: list[int], end: int) -> None:
    assert after_thought(text, PIECES.__getitem__) == end


def walk(schedule: Interleave, ids: Iterable[int]) -> Interleave:
    for token in ids:
        assert not schedule.done
        assert (schedule.head is Head.SPEECH) == VOCAB.is_speech(token)
        assert not schedule.begins_speech or token == VOCAB.speech_bos
        schedule = schedule.after(token)
    return schedule


texts = st.lists(st.integers(100, 999), max_size=30).map(lambda ids: [*ids, IM_END])
codes = st.lists(st.integers(0, 4095), min_size=1, max_size=120)


@given(texts, codes)
def test_the_schedule_walks_through_what_training_arranged(
    text: list[int], spoken: list[int]
) -> None:
    mixed = interleave(text, VOCAB.spoken(spoken))
    if isinstance(mixed, tuple):
        assert walk(Interleave.interleaved(VOCAB), mixed).done


@given(texts, codes, st.lists(st.sampled_from([1, 2, 8]), max_size=20))
def test_a_thought_passes_unbroken(text: list[int], spoken: list[int], thought: list[int]) -> None:
    thought = [*thought, 3, 4, 5, 7]
    pieces = {**PIECES, **dict.fromkeys(text, "字")}
    whole = [*thought, *text]
    mixed = interleave(whole, VOCAB.spoken(spoken), thought=after_thought(whole, pieces.get))  # type: ignore[arg-type]
    if isinstance(mixed, tuple):
        assert mixed[: len(thought)] == tuple(thought)
        assert walk(Interleave.interleaved(VOCAB, think=pieces.__getitem__), mixed).done


@given(texts, codes)
def test_in_serial_order_all_text_comes_first(text: list[int], spoken: list[int]) -> None:
    assert walk(Interleave.serial(VOCAB), (*text, *VOCAB.spoken(spoken))).done
    assert walk(Interleave.text_only(VOCAB), text).done
    assert walk(Interleave.speech_only(VOCAB), VOCAB.spoken(spoken)[1:]).done


def test_speech_may_end_only_when_no_text_is_left() -> None:
    schedule = walk(Interleave.interleaved(VOCAB), [100] * 6)
    assert schedule.begins_speech
    assert not schedule.may_end_speech
    schedule = walk(schedule, VOCAB.spoken([1])[:-1])
    assert not schedule.may_end_speech
    schedule = walk(schedule, [VOCAB.speech(1)] * 16 + [IM_END])
    assert schedule.may_end_speech


def test_where_speech_ends_too_early_the_text_is_written_out() -> None:
    schedule = walk(Interleave.interleaved(VOCAB), [100] * 6)
    for token in VOCAB.spoken([1, 2]):
        schedule = schedule.after(token)
    assert schedule.head is Head.TEXT
    assert walk(schedule, [*[100] * 20, IM_END]).done


def test_a_fork_does_not_move_the_original() -> None:
    schedule = Interleave.interleaved(VOCAB)
    for _ in range(3):
        assert schedule.after(IM_END).head is Head.SPEECH
    assert schedule.head is Head.TEXT


def test_the_end_mark_alone_is_found_by_its_ids() -> None:
    assert after_thought([5, *THINK_END, *THINK_END]) == 5


@pytest.mark.parametrize("opening", ["Hi there you two", "I", "<b>"])
def test_an_answer_that_comes_at_once_is_arranged_as_if_no_thought_had_been_awaited(
    opening: str,
) -> None:
    letters = dict(enumerate(opening, start=10))
    plain = Decoding.of(VOCAB, speaks=True, interleaves=True)
    waits = Decoding.of(VOCAB, speaks=True, interleaves=True, thinks=lambda t: letters.get(t, "x"))
    for token in (*letters, 7, 7, 7, 7, 7, 7, 7, 7):
        if plain.head is Head.SPEECH:
            break
        plain, waits = plain.after(token), waits.after(token)
    assert waits.head is plain.head
    assert waits.written == plain.written == 6
    assert waits.phase is plain.phase
