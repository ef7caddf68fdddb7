from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import save_file

from echat_sdk.errors import CheckpointError
from echat_sdk.model import zoo
from echat_sdk.model.cascade.generator import TextGenerator
from echat_sdk.model.cascade.moment import KINDS, UNREAD, MomentReader

SIZE = 40


class Scores:
    """A generator that always scores its tokens the same, and keeps what it was asked."""

    vocabulary_size = SIZE

    def __init__(self, scores: npt.NDArray[np.float32]) -> None:
        self.scores = scores
        self.asked: list[str] = []

    def next_scores(self, messages: Any, **_: Any) -> npt.NDArray[np.float32]:
        self.asked.append(messages[-1].text)
        return self.scores


def reader(scores: npt.NDArray[np.float32], path: Path | None) -> MomentReader:
    return MomentReader(cast(TextGenerator, Scores(scores)), path)


@pytest.fixture
def head(tmp_path: Path) -> Path:
    """Token 3 speaks for loss, token 30 for talk."""
    weight = np.zeros((2, len(KINDS)), np.float32)
    weight[0, KINDS.index("loss")] = weight[1, KINDS.index("talk")] = 1
    return write(tmp_path / "moment.safetensors", weight=weight)


def write(path: Path, **changed: npt.NDArray[Any]) -> Path:
    tensors = {
        "tokens": np.array([3, 30], np.int32),
        "weight": np.zeros((2, len(KINDS)), np.float32),
        "bias": np.zeros(len(KINDS), np.float32),
    }
    save_file({**tensors, **changed}, path)
    return path


@pytest.mark.parametrize(("token", "kind"), [(3, "loss"), (30, "talk")])
def test_the_tokens_that_score_high_say_the_kind(head: Path, token: int, kind: str) -> None:
    scores = np.zeros(SIZE, np.float32)
    scores[token] = 10
    shares = reader(scores, head)("My letter came back.")
    assert max(shares, key=lambda k: shares[k]) == kind
    assert sum(shares.values()) == pytest.approx(1)


def test_scores_that_are_all_higher_say_nothing_more(head: Path) -> None:
    scores = np.arange(SIZE, dtype=np.float32)
    low, high = reader(scores, head)("a"), reader(scores + 50, head)("a")
    assert list(low.values()) == pytest.approx(list(high.values()), rel=1e-4)


def test_a_model_without_a_head_leaves_every_moment_unread() -> None:
    assert reader(np.zeros(SIZE, np.float32), None)("My letter came back.") == UNREAD


@pytest.mark.parametrize(
    "changed",
    [
        {"tokens": np.array([3, SIZE], np.int32)},
        {"bias": np.zeros(3, np.float32)},
        {"weight": np.zeros((5, len(KINDS)), np.float32)},
        {"more": np.zeros(1, np.float32)},
    ],
)
def test_a_head_of_another_shape_is_refused(
    tmp_path: Path, changed: dict[str, npt.NDArray[Any]]
) -> None:
    path = write(tmp_path / "moment.safetensors", **changed)
    with pytest.raises(CheckpointError, match="reinstall"):
        reader(np.zeros(SIZE, np.float32), path)


@pytest.mark.real
def test_the_shipped_head_reads_what_is_only_implied() -> None:
    read = MomentReader(TextGenerator(zoo.locate("qwen2.5-coder-0.5b")))
    good, hard, talk = (
        read(text)
        for text in (
            "The museum borrowed a drawing of mine for Paris.",
            "She took her name off our letterbox.",
            "I rinsed the paint brushes.",
        )
    )
    assert good["good"] == max(good.values())
    assert hard["good"] + hard["talk"] < 0.4
    assert talk["talk"] > 0.5
    assert read("我在擦窗户。")["talk"] > 0.5
