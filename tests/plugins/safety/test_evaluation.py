from __future__ import annotations

import json
import random
from importlib import resources

import pytest
from typer.testing import CliRunner

from echat_plugins.safety.evaluation import (
    LEAST,
    MOST_FALSE,
    SPLITS,
    Split,
    judge,
    misheard,
    utterances,
)
from echat_sdk.cli import evaluate
from echat_sdk.model.cascade import bank
from echat_sdk.plain_words import is_chinese
from echat_sdk.safety.danger import Category, Danger, Level, detect
from echat_sdk.turn import Lang

FRESH_EXPLICIT, FRESH_VEILED = 0.70, 0.40
"""What the rules found on words that were written after them: no bar, a figure that may rise."""


def test_the_set_is_large_mixed_and_has_nothing_twice() -> None:
    of = utterances()
    assert len({u.text for u in of}) == len(of) >= 600
    for split in SPLITS:
        mine = [u for u in of if u.split == split]
        risky = [u for u in mine if u.category is not None]
        assert len(mine) >= 100
        assert sum(u.lang == "zh" for u in mine) >= 0.35 * len(mine)
        assert sum(u.label == "veiled" for u in risky) >= 0.4 * len(risky)
    assert {u.category for u in of} == {*Category, None}


def test_labels_and_categories_agree() -> None:
    for each in utterances():
        assert (each.category is None) == (each.label in ("idiom", "neutral", "news"))
        assert (each.lang == "zh") == is_chinese(each.text)


def test_the_held_out_half_meets_the_bars() -> None:
    found = judge("held_out")
    assert {label: found.share_found(label) >= least for label, least in LEAST.items()} == {
        "explicit": True,
        "veiled": True,
    }
    assert found.share_found("idiom") <= MOST_FALSE
    assert found.has_passed


def test_of_words_written_after_the_rules_no_less_is_found_than_is_published() -> None:
    found = judge("fresh")
    assert found.share_found("explicit") >= FRESH_EXPLICIT
    assert found.share_found("veiled") >= FRESH_VEILED
    assert found.false_alarms <= MOST_FALSE


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("noisy", [False, True])
def test_false_alarms_are_rare_everywhere(split: Split, noisy: bool) -> None:
    assert judge(split, noisy=noisy).false_alarms <= MOST_FALSE


def test_of_thousands_of_sad_and_happy_lines_hardly_any_is_taken_for_a_danger() -> None:
    moments = resources.files("echat_training") / "data" / "moments.jsonl"
    said = [json.loads(line)["text"] for line in moments.read_text("utf-8").splitlines()]
    langs: tuple[Lang, ...] = ("en", "zh")
    said += [text for lang in langs for each in bank.situations(lang) for text in each.says]
    assert len(said) > 3000
    assert sum(detect(text) is not None for text in said) <= 0.005 * len(said)


def test_a_noisy_copy_is_the_same_each_time_and_differs_from_what_was_said() -> None:
    of = utterances()[:60]
    first = [u.text for u in misheard(of, random.Random(3))]
    assert first == [u.text for u in misheard(of, random.Random(3))]
    assert first != [u.text for u in of]
    assert not any(c in text for text in first for c in ",.?!，。？！")


def test_what_a_blind_and_an_anxious_detector_come_to_is_counted() -> None:
    blind = judge("held_out", detector=lambda text: None)
    assert blind.share_found("explicit") == 0
    assert not blind.has_passed
    anxious = judge("held_out", detector=lambda text: Danger(Category.SELF, Level.RISK))
    assert anxious.share_found("veiled") == anxious.false_alarms == 1
    assert not anxious.has_passed
    assert sum(sum(row.values()) for row in anxious.matrix.values()) == len(anxious.judged)


def test_the_command_prints_the_matrix_and_one_json_object() -> None:
    shown = CliRunner().invoke(evaluate.app, ["safety"], env={"COLUMNS": "120"})
    assert shown.exit_code == 0, shown.output
    assert "is, taken for" in shown.output
    assert "no clinical tool" in shown.output
    wrong = CliRunner().invoke(evaluate.app, ["safety", "--show"], env={"COLUMNS": "120"})
    assert "veiled" in wrong.output
    given = CliRunner().invoke(evaluate.app, ["safety", "--split", "fresh", "--noisy", "--json"])
    data = json.loads(given.stdout)
    assert (data["split"], data["matrix"]["none"]["none"]) == ("fresh", 40)


def test_an_unknown_split_is_told() -> None:
    result = CliRunner().invoke(evaluate.app, ["safety", "--split", "best"])
    assert "no split 'best'" in str(result.exception)
