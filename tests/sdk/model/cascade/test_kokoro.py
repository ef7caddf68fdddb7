from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.model.cascade.kokoro import without_silence


@given(st.integers(0, 40), st.integers(1, 60), st.integers(0, 40))
def test_a_plan_loses_its_silence_and_keeps_all_of_its_speech(
    before: int, speech: int, after: int
) -> None:
    energy = np.concatenate(
        [np.full(2 * before, -9), np.full(2 * speech, 5), np.full(2 * after, -9)]
    )
    content = np.arange(before + speech + after, dtype=np.float32)[None, None]
    pitch = np.full((1, energy.size), 11, np.float32)
    kept, tones, loudness = without_silence(content, pitch, energy[None].astype(np.float32))
    assert 2 * kept.shape[-1] == tones.shape[-1] == loudness.shape[-1]
    assert (loudness > 0).sum() == 2 * speech
    assert kept.shape[-1] <= speech + 12
    assert loudness[0, 0] == energy[2 * int(kept[0, 0, 0])]  # they still belong together


def test_a_plan_of_nothing_but_silence_is_left_as_it_is() -> None:
    content, silence = np.zeros((1, 2, 4), np.float32), np.full((1, 8), -9, np.float32)
    assert without_silence(content, silence, silence)[0].shape == (1, 2, 4)
