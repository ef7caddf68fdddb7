from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_training.scoring import (
    Errors,
    bleu,
    count_errors,
    first_tag,
    grid_times,
    tag_score,
    time_errors,
    time_shift,
    word_errors,
    words_of,
)

CASE = json.loads(
    (Path(__file__).parents[1] / "golden/osum/case09_scoring.json").read_text(encoding="utf-8")
)
TAGS, ALIGN = CASE["tags"]["pairs"], CASE["align"]["pairs"]


def side(pairs: list[dict[str, Any]], name: str) -> dict[str, str]:
    return {str(i): pair[name] for i, pair in enumerate(pairs)}


def printed(errors: Errors) -> str:
    return (
        f"WER: {100 * errors.rate:.2f} % N={errors.words} C={errors.right} "
        f"S={errors.replaced} D={errors.left_out} I={errors.put_in}"
    )


@pytest.mark.parametrize("pair", TAGS, ids=lambda pair: pair["hyp"])
def test_the_first_tag_counts(pair: dict[str, Any]) -> None:
    assert first_tag(pair["ref"]) == pair["ref_tag"]
    assert first_tag(pair["hyp"]) == pair["hyp_tag"]


def test_tags_are_counted_as_published() -> None:
    score = tag_score(side(TAGS, "ref"), side(TAGS, "hyp"))
    assert score.accuracy == pytest.approx(CASE["tags"]["acc"], abs=1e-9)
    assert list(score.labels) == CASE["tags"]["confusion_labels"]
    assert [list(row) for row in score.confusion] == CASE["tags"]["confusion_rows_ref_cols_hyp"]


def test_an_answer_that_is_missing_is_wrong_unless_published_numbers_are_asked_for() -> None:
    given_answers = {k: v for k, v in side(TAGS, "hyp").items() if int(k) % 2 == 0}
    published = tag_score(side(TAGS, "ref"), given_answers, over="hypotheses")
    assert published.accuracy == CASE["tags"]["acc_when_only_even_hyps_given"]
    assert tag_score(side(TAGS, "ref"), given_answers).accuracy == published.accuracy / 2


@pytest.mark.parametrize("pair", [*TAGS, *ALIGN], ids=lambda pair: pair["hyp"])
def test_words_are_counted_as_published(pair: dict[str, Any]) -> None:
    errors = word_errors({"a": pair["ref"]}, {"a": pair["hyp"]})
    assert printed(errors) == pair["text_wer"]


@pytest.mark.parametrize("pair", ALIGN, ids=lambda pair: pair["hyp"])
def test_times_are_counted_as_published(pair: dict[str, Any]) -> None:
    reference, hypothesis = {"a": pair["ref"]}, {"a": pair["hyp"]}
    assert " ".join(grid_times(pair["ref"], 0.1)) == pair["grid_01_ref"]
    assert " ".join(grid_times(pair["ref"], 0.2)) == pair["grid_02_ref"]
    assert " ".join(grid_times(pair["hyp"], 0.2)) == pair["grid_02_hyp"]
    assert printed(time_errors(reference, hypothesis)) == pair["pure_tag_wer"]
    assert time_shift(reference, hypothesis).average == pytest.approx(pair["aas"], abs=1e-9)


def test_a_corpus_is_counted_as_published() -> None:
    references, hypotheses, golden = side(ALIGN, "ref"), side(ALIGN, "hyp"), CASE["align"]["corpus"]
    assert time_shift(references, hypotheses).average == pytest.approx(golden["aas"], abs=1e-9)
    assert round(100 * word_errors(references, hypotheses).rate, 2) == golden["wer"]
    assert round(100 * time_errors(references, hypotheses).rate, 2) == golden["wer_pure_tag_02"]
    assert word_errors(side(TAGS, "ref"), side(TAGS, "hyp")).rate == CASE["tags"]["wer"]


@pytest.mark.parametrize("pair", CASE["align"]["difficult"], ids=lambda pair: pair["hyp"])
def test_what_stops_the_published_script_is_a_value_here(pair: dict[str, Any]) -> None:
    shift = time_shift({"a": pair["ref"]}, {"a": pair["hyp"]})
    if not isinstance(pair["aas"], dict):
        assert shift.average == pytest.approx(pair["aas"], abs=1e-9)
    else:
        assert shift.average is None
        assert shift.malformed == (pair["aas"]["error"] == "AssertionError")


def test_one_malformed_answer_leaves_the_others_counted() -> None:
    good, bad = "<0.00>你<0.20>", "<0.00>你<0.20>好<0.50>"
    shift = time_shift({"a": good, "b": good}, {"a": good, "b": bad})
    assert (shift.average, shift.matched, shift.malformed) == (0.0, 1, 1)


def test_a_missing_answer_is_left_out_word_for_word() -> None:
    references = {"a": "你好", "b": "hello world"}
    assert printed(word_errors(references, {"a": "你好"})) == "WER: 50.00 % N=4 C=2 S=0 D=2 I=0"
    assert word_errors(references, {"a": "你好"}, over="hypotheses").rate == 0


# Cut by jieba's default dictionary; its 0.2 s of reading are left out here.
CUT = {
    "今天天气很好我们去公园": "今天天气/很/好/我们/去/公园",
    "今天天气真好，我们去公园吧": "今天天气/真/好/，/我们/去/公园/吧",
    "你好": "你好",
    "hello there my friend": "hello/ /there/ /my/ /friend",
    "hello my good friend": "hello/ /my/ /good/ /friend",
    "不": "不",
    "是的": "是/的",
}


@pytest.mark.parametrize("pair", CASE["bleu"], ids=lambda pair: pair["hyp"])
def test_replies_are_scored_as_published(pair: dict[str, Any]) -> None:
    score = bleu(CUT[pair["ref"]].split("/"), CUT[pair["hyp"]].split("/"))
    assert score == pytest.approx(pair["bleu"], abs=1e-9)


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_errors_account_for_every_word(reference: list[str], hypothesis: list[str]) -> None:
    errors = count_errors(reference, hypothesis)
    assert errors.words == len(reference)
    assert errors.right + errors.replaced + errors.put_in == len(hypothesis)
    assert (count_errors(reference, reference).rate, bleu(reference, [])) == (0, 0)


@given(st.text())
def test_any_text_can_be_cut(text: str) -> None:
    assert all(words_of(text))
