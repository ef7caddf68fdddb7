from __future__ import annotations

import json
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.model.echat.guards import AgeSlot, Repetition, Stop
from echat_sdk.model.echat.vocab import IM_END, SILENT_CODE, Vocab

CASE = json.loads(
    (Path(__file__).parents[3] / "golden/osum/case11_guards.json").read_text(encoding="utf-8")
)
VOCAB = Vocab()


def repeated(history: Sequence[int]) -> Repetition:
    return reduce(Repetition.after, history, Repetition())


@pytest.mark.parametrize("case", CASE["repetition"], ids=lambda case: str(case["history"][:8]))
def test_what_upstream_means_to_ban_is_banned(case: dict[str, Any]) -> None:
    assert list(repeated(case["history"]).banned) == case["banned_speech_phase_on"]


def test_the_age_slot_admits_ages_only_and_once() -> None:
    state = AgeSlot()
    for case in CASE["age_guard"]:
        state = reduce(AgeSlot.after, case["history"], replace_tail(state))
        expected = None if case["allowed"] == "all" else set(case["allowed"])
        assert state.allowed == expected, case


def replace_tail(state: AgeSlot) -> AgeSlot:
    """The golden calls are separate histories of one request."""
    return AgeSlot(used=state.used)


def test_any_token_may_follow_the_age() -> None:
    state = reduce(AgeSlot.after, [102185, 17714, 31252, 1808], AgeSlot())
    assert state.allowed is None


def in_one_space(token: int) -> int:
    return VOCAB.speech(token) if token <= 4096 else token


@pytest.mark.parametrize("case", CASE["s2s_stop"], ids=lambda case: str(case["ids"]))
def test_speech_is_over_where_upstream_says(case: dict[str, Any]) -> None:
    state = reduce(Stop.after, map(in_one_space, case["ids"]), Stop(VOCAB))
    assert (state.reason == "end") is case["stop"]


@pytest.mark.parametrize("case", CASE["max_tokens"], ids=lambda case: str(case["length"]))
def test_an_answer_has_a_greatest_length(case: dict[str, Any]) -> None:
    state = reduce(Stop.after, [7] * case["length"], Stop(VOCAB))
    assert (state.reason == "length") is case["stop"]


def test_a_text_id_that_equals_a_code_ends_nothing() -> None:
    state = reduce(Stop.after, [IM_END, 4096, 4096, 4096], Stop(VOCAB))
    assert state.reason is None


@given(st.lists(st.sampled_from([3, 4, SILENT_CODE]), max_size=40))
def test_the_ban_is_what_counting_afresh_gives(history: list[int]) -> None:
    counted = {code for code in (3, 4) if history[-8:].count(code) >= 5}
    counted |= {SILENT_CODE} if history[-13:].count(SILENT_CODE) >= 10 else set()
    assert set(repeated(history).banned) == counted


@given(st.lists(st.sampled_from([3, 4, SILENT_CODE]), max_size=40))
def test_who_keeps_to_the_ban_never_repeats_himself_for_long(wishes: list[int]) -> None:
    state, written = Repetition(), []
    for wish in wishes:
        code = next(c for c in (wish, 3, 4, 5) if c not in state.banned)
        written.append(code)
        state = state.after(code)
    for code, longest in ((3, 5), (4, 5), (SILENT_CODE, 10)):
        run = max((len(part) for part in runs(written, code)), default=0)
        assert run <= longest


def runs(codes: list[int], code: int) -> list[str]:
    return "".join("x" if one == code else " " for one in codes).split()


def test_requests_do_not_share_a_guard() -> None:
    first = repeated([9] * 5)
    assert first.banned == (9,)
    assert Repetition().after(9).banned == ()
    assert first.after(1).after(2).after(3).after(4).banned == ()
    assert first.banned == (9,)
