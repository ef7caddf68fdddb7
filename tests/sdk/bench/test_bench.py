from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from echat_sdk.bench import hear, reply
from echat_sdk.testing import FakeModel, Line


def test_the_reply_bench_times_every_stage_of_every_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply, "_fresh", lambda code: 1.5)
    seen: list[tuple[int, int]] = []
    found = reply.run(FakeModel(Line("hi")), threads=1, step=lambda *at: seen.append(at))
    n = len(reply.SENTENCES["en"])
    assert n >= 20
    assert seen == [(i, n) for i in range(1, n + 1)]
    assert {stage: len(times) for stage, times in found.stages.items()} == dict.fromkeys(
        reply.STAGES, n
    )
    assert found.percentile("heard", 50) <= found.percentile("done", 50)
    assert len(found.answer_rtf) == n
    assert found.cold_start == 1.5


def test_the_hearing_bench_compares_same_words_in_turn() -> None:
    lengths: list[int] = []

    class Ears:
        def transcribe(self, samples: Any, **given: Any) -> Any:
            lengths.append(len(samples))
            return type("Transcript", (), {"text": "Hello." if len(samples) > 9 else ""})

    found = hear.run(Ears(), [np.zeros(16_000, np.float32)] * 2)  # type: ignore[arg-type]
    assert set(lengths) == {16_000, 480_000}
    assert len(found.ratios) == hear.REPEATS
    assert found.same_words == 1.0
    assert "times as fast" in found.line()


def test_the_reply_bench_has_as_many_utterances_in_chinese() -> None:
    assert len(reply.SENTENCES["zh"]) == len(reply.SENTENCES["en"])
    assert all("\u4e00" <= words[0] <= "\u9fff" for words, _ in reply.SENTENCES["zh"])
