from __future__ import annotations

import pytest

from echat_sdk.bench import talk
from echat_sdk.testing import FakeModel, Line
from echat_sdk.testing.audio import ScriptedVAD
from echat_sdk.turn_policy import TurnPolicy


def test_the_gap_is_found_in_the_sound_and_is_the_pause_where_the_model_takes_no_time() -> None:
    policy = TurnPolicy(delay=0.4, reengagements=0)
    done: list[int] = []
    found = talk.run(
        FakeModel(Line("hello", ("One two three four.",))),
        ScriptedVAD(),
        None,
        policy=policy,
        turns=2,
        step=lambda n, of: done.append(n),
    )
    assert done == [1, 2]
    assert found.unanswered == 0
    assert len(found.voice_to_voice) == len(found.model) == 2
    assert found.waited == pytest.approx([0.4, 0.4], abs=0.03)
    assert found.percentile("voice_to_voice", 50) == pytest.approx(0.4, abs=0.3)
