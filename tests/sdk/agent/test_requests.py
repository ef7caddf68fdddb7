"""What people ask for by right is found in their words, and in nothing that only sounds like it."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.agent.requests import Request, answer_in, plain, request_in

LABELLED = Path(__file__).parents[2] / "data/spoken_requests.tsv"
KINDS = ("known", "today", "last", "everything", "none")


def labelled() -> list[tuple[str, str]]:
    rows = [line.split("\t") for line in LABELLED.read_text("utf-8").splitlines()]
    return [(kind, said) for kind, said in (row for row in rows if len(row) == 2)]


REQUESTS = [said for kind, said in labelled() if kind != "none" and request_in(said)]


def test_in_the_labelled_set_three_requests_are_missed_and_nothing_else_is_taken_for_one() -> None:
    found = Counter((kind, str(request_in(said) or "none")) for kind, said in labelled())
    matrix = [[found[label, told] for told in KINDS] for label in KINDS]
    assert matrix == [
        [36, 0, 0, 0, 0],
        [0, 29, 0, 0, 1],
        [0, 0, 26, 0, 1],
        [0, 0, 0, 29, 1],
        [0, 0, 0, 0, 102],
    ]


def test_the_labelled_set_is_in_both_languages_and_has_both_outcomes() -> None:
    parts = Counter(
        (any("\u4e00" <= c <= "\u9fff" for c in said), kind == "none") for kind, said in labelled()
    )
    assert min(parts.values()) >= 20
    assert sum(parts.values()) >= 80


@pytest.mark.parametrize("said", REQUESTS)
def test_a_request_is_one_however_a_recognizer_writes_it(said: str) -> None:
    kind = request_in(said)
    for written in (said.upper(), said.rstrip("。.!！"), f"  {said} ", said.replace("'", "’")):
        assert request_in(written) is kind


@pytest.mark.parametrize("said", REQUESTS)
def test_a_request_that_is_told_of_is_none(said: str) -> None:
    for told in (
        f'"{said}"',
        f"“{said}”",
        f"She said, {said}",
        f"他说，{said}",
        f"Don't {said}",
        f"{said} He never answered me.",
        f"{said}这是我妈妈说的。",
        f"I heard a song: {said}",
    ):
        assert request_in(told) is None, told


@given(st.text(max_size=400))
def test_any_words_are_looked_at_without_an_error(said: str) -> None:
    request_in(said)
    answer_in(said)
    assert plain(plain(said)) == plain(said)


PARTS = ["forget", "today", "everything", "忘掉", "今天", "的", "好", "我", "please", "ok", "yes"]


@given(st.lists(st.sampled_from(PARTS)))
def test_no_words_take_long(said: list[str]) -> None:
    began = time.perf_counter()
    request_in(" ".join(said * 9))
    answer_in("".join(said * 9))
    assert time.perf_counter() - began < 0.5


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Yes.", Request.YES),
        ("Yes, please do.", Request.YES),
        ("yeah go ahead", Request.YES),
        ("是的，忘掉吧", Request.YES),
        ("好", Request.YES),
        ("No.", Request.NO),
        ("No, don't.", Request.NO),
        ("不要", Request.NO),
        ("算了，不用了", Request.NO),
        ("Yes please.", Request.YES),
        ("Sure.", Request.YES),
        ("Um, yes, thank you.", Request.YES),
        ("Yes, you may listen to me.", Request.YES),
        ("That's fine.", Request.YES),
        ("可以", Request.YES),
        ("可以的。", Request.YES),
        ("嗯，好的，谢谢", Request.YES),
        ("没问题", Request.YES),
        ("沒問題。", Request.YES),
        ("我同意。", Request.YES),
        ("不願意。", Request.NO),
        ("No thanks.", Request.NO),
        ("No, thank you.", Request.NO),
        ("Oh no, please.", Request.NO),
        ("I'd rather not.", Request.NO),
        ("Of course not.", Request.NO),
        ("You may not.", Request.NO),
        ("不可以", Request.NO),
        ("不用", Request.NO),
        ("我不同意", Request.NO),
        ("还是算了，谢谢", Request.NO),
        ("yes?", None),
        ("yes, no", None),
        ("I am fine.", None),
        ("可以不要吗", None),
        ("可以，不要", None),
        ("no problem", None),
        ("可以听，不要记", None),
        ("Please say yes or no.", None),
        ("请说我同意，或者我不同意。", None),
        ("我同意或者我不同意", None),
        ("Yes, but not today.", None),
        ("Yesterday was fine.", None),
        ("mm-hm", None),
        ("嗯", None),
        ("forget it", None),
        ("不好", None),
        ("好难过", None),
        ("yes and no", None),
        ("'yes'", None),
        ("", None),
    ],
)
def test_a_yes_is_a_yes_and_nothing_else(said: str, kind: Request | None) -> None:
    assert answer_in(said) is kind
