"""Whatever a device sends, it is read or told to be none."""

from __future__ import annotations

import contextlib
import json

from hypothesis import given
from hypothesis import strategies as st

from echat_plugins.xiaozhi.binary import packed, unpacked
from echat_plugins.xiaozhi.faults import Fault
from echat_plugins.xiaozhi.messages import parsed
from echat_plugins.xiaozhi.opus import HEARD_RATE, Decoder

VERSIONS = st.sampled_from([1, 2, 3])
KEYS = st.sampled_from(["type", "state", "mode", "text", "payload", "version", "features"])
WORDS = st.sampled_from(["hello", "listen", "abort", "mcp", "start", "auto", "detect"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
)


@given(st.binary(max_size=200), VERSIONS)
def test_any_frame_is_read_or_refused(frame: bytes, version: int) -> None:
    with contextlib.suppress(Fault):
        assert len(unpacked(frame, version)) <= len(frame)  # type: ignore[arg-type]


@given(st.binary(max_size=200), VERSIONS, st.integers(0, 2**40))
def test_what_is_packed_is_unpacked(opus: bytes, version: int, at: int) -> None:
    assert unpacked(packed(opus, version, at), version) == opus  # type: ignore[arg-type]


@given(st.text(max_size=200) | st.dictionaries(KEYS, JSON).map(json.dumps))
def test_any_text_is_a_message_or_none(text: str) -> None:
    with contextlib.suppress(Fault):
        parsed(text)


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_any_packet_is_sound_of_a_bounded_length_or_none(packets: list[bytes]) -> None:
    decoder = Decoder()
    for packet in packets:
        with contextlib.suppress(Fault):
            assert len(decoder.decode(packet)) <= 0.12 * HEARD_RATE
