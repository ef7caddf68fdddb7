from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_plugins.mqtt.codec import decoder, encoder
from echat_plugins.mqtt.frame import HEADER, MOST, Codec, Frame, FrameError

NUMBERS = st.integers(0, MOST)
FRAMES = st.builds(
    Frame,
    codec=st.sampled_from(Codec),
    length=st.sampled_from([20, 60]),
    stream=NUMBERS,
    sequence=NUMBERS,
    timestamp=NUMBERS,
    data=st.binary(min_size=1, max_size=64),
)


@given(FRAMES)
def test_what_is_rendered_is_parsed_back(frame: Frame) -> None:
    assert Frame.parse(frame.render()) == frame


@given(st.binary(max_size=64))
def test_any_bytes_are_a_frame_or_are_refused(payload: bytes) -> None:
    try:
        frame = Frame.parse(payload)
    except FrameError:
        return
    assert frame.render()[4:] == payload[4:]


def test_the_header_is_where_it_is_said_to_be() -> None:
    frame = Frame(Codec.OPUS, 60, 0x01020304, 5, 6, b"x")
    assert frame.render() == bytes.fromhex("01 02 3c 00 01020304 00000005 00000006") + b"x"
    assert HEADER.size == 16


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "0 bytes"),
        (Frame(Codec.PCM16, 20, 1, 1, 1, b"x").render()[:16], "16 bytes"),
        (b"\2" + Frame(Codec.PCM16, 20, 1, 1, 1, b"x").render()[1:], "version 2"),
        (b"\1\7" + Frame(Codec.PCM16, 20, 1, 1, 1, b"x").render()[2:], "codec 7"),
        (b"\1\1\x28" + Frame(Codec.PCM16, 20, 1, 1, 1, b"x").render()[3:], "40 ms"),
    ],
)
def test_bytes_that_are_no_frame_are_told_why(payload: bytes, why: str) -> None:
    with pytest.raises(FrameError, match=why):
        Frame.parse(payload)


@pytest.mark.parametrize("length", [20, 60])
@pytest.mark.parametrize("rate", [16_000, 24_000])
@pytest.mark.parametrize("codec", Codec)
def test_a_tone_comes_through_a_codec(codec: Codec, rate: int, length: int) -> None:
    count = rate * length // 1000
    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)).astype(np.int16)
    write, read = encoder(codec, rate, length), decoder(codec, rate, length)
    pieces = [tone[at : at + count] for at in range(0, rate - count + 1, count)]
    heard = [read.decode(write.encode(piece)) for piece in pieces]
    assert {len(piece) for piece in heard} == {count}
    sound = np.concatenate(heard).astype(float)[rate // 4 :]
    assert np.sqrt(np.mean(sound**2)) == pytest.approx(8000 / np.sqrt(2), rel=0.1)
    peak = np.abs(np.fft.rfft(sound)).argmax() * rate / len(sound)
    assert peak == pytest.approx(440, abs=5)


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("data", [b"", b"\0", b"\xff" * 50, b"x" * 10_000])
def test_bad_bytes_of_a_codec_end_nothing(codec: Codec, data: bytes) -> None:
    read = decoder(codec, 16_000, 20)
    with pytest.raises(FrameError):
        read.decode(data)
    good = encoder(codec, 16_000, 20).encode(np.zeros(320, np.int16))
    assert len(read.decode(good)) == 320
