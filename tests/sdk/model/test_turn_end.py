from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from echat_sdk.errors import CheckpointError, ModelMissingError
from echat_sdk.io.wav import read_audio
from echat_sdk.model import zoo
from echat_sdk.model.turn_end import FILE, SmartTurn, open_turn_end

AUDIO = Path(__file__).parents[3] / "examples/audio"


@pytest.mark.real
@pytest.mark.parametrize("name", ["happy", "sad", "news", "zh"])
def test_a_sentence_that_fell_to_its_end_sounds_more_complete_than_one_cut_in_it(name: str) -> None:
    judge = SmartTurn(zoo.locate("smart-turn") / FILE)
    whole = read_audio(AUDIO / f"{name}.wav")
    assert judge.chance(whole) > 0.8
    assert judge.chance(whole[: int(0.7 * len(whole))]) < 0.2


@pytest.mark.real
def test_only_the_last_eight_seconds_count() -> None:
    judge = SmartTurn(zoo.locate("smart-turn") / FILE)
    whole = np.tile(read_audio(AUDIO / "sad.wav"), 3)
    assert judge.chance(whole) == judge.chance(whole[-8 * 16_000 :])


def test_a_file_that_is_missing_or_damaged_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError, match="echat models pull smart-turn"):
        SmartTurn(tmp_path / FILE)
    (tmp_path / FILE).write_bytes(b"no network")
    with pytest.raises(CheckpointError, match="echat models verify smart-turn"):
        SmartTurn(tmp_path / FILE)


def test_nothing_is_opened_where_nothing_was_pulled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ECHAT_HOME", str(tmp_path))
    assert open_turn_end() is None
