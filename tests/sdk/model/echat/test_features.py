from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pad_sequence

from echat_sdk.errors import AudioFormatError
from echat_sdk.model.echat.features import LogMel, LogMelStream


@pytest.fixture(scope="module")
def log_mel() -> LogMel:
    return LogMel()


def test_the_golden_waves_give_upstreams_features(golden: Any, log_mel: LogMel) -> None:
    case = golden("case01_frontend")
    waves = [case.tensors[f"wav{i}_int16"].float() / 32768 for i in range(3)]
    for i, wave in enumerate(waves):
        features, frames = log_mel(wave[None])
        assert frames.tolist() == [len(wave) // 160]
        torch.testing.assert_close(features[0], case.tensors[f"feat{i}"], atol=1e-5, rtol=0)
    quiet = log_mel(case.tensors["quiet_wav"][None])[0][0]
    torch.testing.assert_close(quiet, case.tensors["quiet_feat"], atol=1e-5, rtol=0)
    silence = log_mel(torch.zeros(1, 4000))[0][0]
    torch.testing.assert_close(silence, case.tensors["zeros_feat"], atol=1e-5, rtol=0)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(400, 9000), min_size=1, max_size=4), st.integers(0, 2**31))
def test_a_row_is_the_same_alone_and_among_louder_rows(lengths: list[int], seed: int) -> None:
    log_mel = LogMel()
    generator = torch.Generator().manual_seed(seed)
    waves = [
        torch.randn(n, generator=generator).mul(10.0 ** -(i % 3)) for i, n in enumerate(lengths)
    ]
    padded = pad_sequence(waves, batch_first=True, padding_value=7.0)
    batch, frames = log_mel(padded, torch.tensor(lengths))
    for row, count, wave in zip(batch, frames.tolist(), waves, strict=True):
        alone, _ = log_mel(wave[None])
        torch.testing.assert_close(row[:count], alone[0], atol=1e-5, rtol=0)
        assert row[count:].abs().sum() == 0


def test_a_click_that_no_frame_hears_does_not_raise_the_floor_in_a_batch(log_mel: LogMel) -> None:
    click = torch.zeros(8 * 160 + 159)
    click[-1] = 1.0  # in the frame that is dropped
    alone, _ = log_mel(click[None])
    padded = pad_sequence([click, torch.randn(4000)], batch_first=True)
    batch, frames = log_mel(padded, torch.tensor([len(click), 4000]))
    torch.testing.assert_close(batch[0, : frames[0]], alone[0])


def test_less_than_one_window_is_told_not_padded(log_mel: LogMel) -> None:
    assert log_mel(torch.zeros(1, 400))[1].tolist() == [2]
    with pytest.raises(AudioFormatError, match="399 samples"):
        log_mel(torch.zeros(1, 399))
    with pytest.raises(AudioFormatError, match="10 samples"):
        log_mel(torch.zeros(2, 4000), torch.tensor([4000, 10]))


def test_nothing_of_it_is_in_a_checkpoint(log_mel: LogMel) -> None:
    assert log_mel.state_dict() == {}


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 1500), min_size=1, max_size=12),
    st.integers(0, 2**31),
    st.sets(st.integers(0, 11)),
)
def test_pushed_in_any_pieces_is_what_the_whole_is(
    pieces: list[int], seed: int, asked: set[int]
) -> None:
    log_mel = LogMel()
    wave = torch.randn(sum(pieces), generator=torch.Generator().manual_seed(seed))
    wave *= torch.linspace(1e-4, 1, len(wave))  # the loudest comes last, and with it the floor
    stream, come = LogMelStream(log_mel), 0
    for place, piece in enumerate(wave.split(pieces)):
        stream.push(piece)
        come += len(piece)
        if come < 400:
            assert stream.frames == 0
            with pytest.raises(AudioFormatError, match=f"{come} samples"):
                stream.features()
        elif place in asked:  # asking changes nothing
            whole, frames = log_mel(wave[None, :come])
            assert stream.frames == int(frames)
            torch.testing.assert_close(stream.features(), whole[0], atol=1e-5, rtol=0)
        else:
            stream.advance()
    if come >= 400:
        torch.testing.assert_close(stream.features(), log_mel(wave[None])[0][0], atol=1e-5, rtol=0)


def test_no_window_is_made_twice(log_mel: LogMel, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    log = log_mel.log

    def counted(waves: torch.Tensor) -> torch.Tensor:
        found = log(waves)
        made.append(found.shape[1])
        return found

    monkeypatch.setattr(log_mel, "log", counted)
    stream = LogMelStream(log_mel)
    for _ in range(50):
        stream.push(torch.randn(320))
        stream.advance()
    stream.features()
    assert sum(made) == 100


def test_frames_up_to_an_end_do_not_know_what_came_behind_it(log_mel: LogMel) -> None:
    quiet, loud = torch.randn(8000) * 1e-3, torch.randn(8000)
    stream, alone = LogMelStream(log_mel), LogMelStream(log_mel)
    stream.push(torch.cat((quiet, loud)))
    alone.push(torch.cat((quiet, quiet)))
    torch.testing.assert_close(stream.features(10, 49), alone.features(10, 49), atol=0, rtol=0)
    assert len(stream.features(10, 49)) == 39
    shout = LogMelStream(log_mel)
    shout.push(torch.cat((loud[:800], quiet)))
    torch.testing.assert_close(shout.features(10, 49), shout.features(0, 49)[10:], atol=0, rtol=0)
