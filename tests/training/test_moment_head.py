from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from echat_sdk.errors import ConfigError
from echat_sdk.model.cascade.heads import load_head
from echat_sdk.model.cascade.moment import KINDS
from echat_training.moment_head import held_out, read_moments, report, save, train


def test_our_lines_are_many_and_none_is_written_twice() -> None:
    moments = read_moments()
    assert (moments.langs == "en").sum() >= 700
    assert (moments.langs == "zh").sum() >= 500
    assert len(set(moments.texts)) == len(moments.texts)
    assert set(moments.kinds) == set(range(len(KINDS)))


def test_a_theme_is_in_one_fold(tmp_path: Path) -> None:
    rows = [
        {"text": f"line {i}", "lang": "en", "kind": "talk", "theme": f"theme {i % 9}"}
        for i in range(90)
    ]
    path = tmp_path / "moments.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    folds = read_moments(path).folds
    assert all(len(set(folds[i::9])) == 1 for i in range(9))
    assert len(set(folds)) == 6
    with pytest.raises(ConfigError):
        read_moments(tmp_path / "none.jsonl")


def test_a_head_learns_what_tells_the_kinds_apart_and_is_written_as_it_is(tmp_path: Path) -> None:
    moments = read_moments()
    rng = np.random.default_rng(1)
    directions = rng.normal(size=(len(KINDS), 60)).astype(np.float32)
    features = directions[moments.kinds] + rng.normal(size=(len(moments.texts), 60)).astype("f4")
    features -= features.mean(axis=1, keepdims=True)
    scores = held_out(features, moments)
    assert (scores.argmax(axis=1) == moments.kinds).mean() > 0.9
    assert "lines)" in report(scores, moments.kinds)
    head = train(features, moments.kinds)
    written = load_head(save(head, 2.0, np.arange(60), 99, tmp_path))
    again = features @ written["weight"].astype(np.float32) + written["bias"].astype(np.float32)
    assert again * 2 == pytest.approx(head.scores(features), abs=1e-2)
