"""Whatever bytes come, an event is read under its caps or the connection is broken off."""

from __future__ import annotations

import asyncio
import json

from hypothesis import given
from hypothesis import strategies as st

from echat_plugins.wyoming_server import WyomingOptions
from echat_plugins.wyoming_server.faults import BrokenOff
from echat_plugins.wyoming_server.reading import read_event
from echat_plugins.wyoming_server.speaking import Sentences, sentences
from echat_sdk.testing import virtual_time

OPTIONS = WyomingOptions(header_bytes=1024, payload_bytes=1024)
KEYS = st.sampled_from(["type", "data", "data_length", "payload_length", "version"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
)


def told(stream: bytes) -> None:
    async def main() -> None:
        reader = asyncio.StreamReader(limit=OPTIONS.header_bytes)
        reader.feed_data(stream)
        reader.feed_eof()
        try:
            while (event := await read_event(reader, OPTIONS)) is not None:
                assert isinstance(event.type, str)
                assert isinstance(event.data, dict)
                assert len(event.payload or b"") <= OPTIONS.payload_bytes
        except BrokenOff:
            pass

    virtual_time.run(main())


@given(st.binary(max_size=4096))
def test_any_bytes_are_an_event_or_break_off(stream: bytes) -> None:
    told(stream)


@given(st.dictionaries(KEYS, JSON), st.binary(max_size=2048))
def test_any_header_is_an_event_or_breaks_off(header: dict[str, object], rest: bytes) -> None:
    told(json.dumps(header).encode() + b"\n" + rest)


@given(st.lists(st.text("ab .!?。\n", max_size=30), max_size=20))
def test_a_text_is_cut_the_same_however_it_comes(pieces: list[str]) -> None:
    cut = Sentences()
    found = [each for piece in pieces for each in cut.push(piece)] + cut.flush()
    assert "".join("".join(found).split()) == "".join("".join(pieces).split())
    assert "".join("".join(sentences("".join(pieces))).split()) == "".join("".join(found).split())
