"""What comes over the wire: checked, bounded, and answered with an error that helps."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.server.realtime import beta, wire
from echat_sdk.server.realtime.codec import WireFormat
from echat_sdk.server.realtime.faults import Fault
from echat_sdk.testing import FakeModel
from tests.sdk.server.realtime.talk import (
    RESPOND,
    SPOKEN,
    Told,
    append,
    converse,
    quiet,
    sound,
    typed,
    update,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "invalid_json"),
        ("{", "invalid_json"),
        ("[]", "invalid_event"),
        ("{}", "invalid_event"),
        ('{"type": 5}', "invalid_event"),
        ('{"type": "x", "a": NaN}', "invalid_json"),
        ('{"type": "x", "a": 1e999}', "invalid_event"),
        ('{"type": "x", "a": "\\ud800"}', "invalid_json"),  # half a character
        ('{"type": "conversation.item.create", "a": [1' + ",1" * 20_000 + "]}", "too_large"),
        ('{"type": "x", "a": ' + "[" * 40 + "]" * 40 + "}", "invalid_event"),
        ("[" * 100_000, "invalid_json"),
        ('{"type": "x", "event_id": 5}', "invalid_value"),
        ('{"type": "nothing.known"}', "unknown_or_invalid_event"),
        ('{"type": "conversation.item.delete"}', "invalid_value"),
        ('{"type": "input_audio_buffer.append", "audio": 5}', "invalid_value"),
    ],
)
def test_what_is_no_event_is_told_to_be_none(text: str, code: str) -> None:
    with pytest.raises(Fault) as error:
        wire.check(wire.parse(text))
    assert error.value.code == code


def test_an_error_names_the_field_and_not_our_classes() -> None:
    with pytest.raises(Fault) as error:
        wire.check({"type": "conversation.item.truncate", "item_id": "x", "content_index": "a"})
    assert error.value.param in ("content_index", "audio_end_ms")
    assert "Realtime" not in error.value.message


@given(JSON | st.dictionaries(st.sampled_from(["type", "session", "item", "audio"]), JSON))
def test_no_json_raises_anything_but_a_fault(value: Any) -> None:
    try:
        wire.check(wire.parse(json.dumps(value)))
    except Fault:
        return


@given(st.binary(max_size=400))
def test_no_bytes_raise_anything_but_a_fault(raw: bytes) -> None:
    try:
        wire.check(wire.parse(raw))
    except Fault:
        return


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"output_modalities": ["text", "audio"]}, "session.output_modalities"),
        ({"audio": {"output": {"voice": "nobody"}}}, "session.audio.output.voice"),
        ({"audio": {"output": {"speed": 1.5}}}, "session.audio.output.speed"),
        ({"instructions": "x" * 40_000}, "session.instructions"),
        ({"echat": {"events": ["secrets"]}}, "session.echat.events"),
        (
            {
                "audio": {
                    "input": {
                        "turn_detection": {"type": "server_vad", "silence_duration_ms": 90_000}
                    }
                }
            },
            "session.audio.input.turn_detection.silence_duration_ms",
        ),
    ],
)
def test_a_session_that_cannot_be_is_refused_and_stays_as_it_was(change: Told, param: str) -> None:
    client = converse(FakeModel(), [update(**change), update()])
    assert [error["param"] for error in client.errors] == [param]
    (created,), (updated,) = client.of("session.created"), client.of("session.updated")
    assert updated["session"] == created["session"]


def test_a_session_is_told_back_as_it_was_asked_for() -> None:
    detection = {
        "type": "server_vad",
        "threshold": 0.7,
        "prefix_padding_ms": 200,
        "silence_duration_ms": 800,
        "idle_timeout_ms": 6000,
        "create_response": True,
        "interrupt_response": False,
    }
    asked = {
        "instructions": "Be kind.",
        "output_modalities": ["text"],
        "audio": {
            "input": {"format": {"type": "audio/pcmu"}, "turn_detection": detection},
            "output": {"format": {"type": "audio/pcma"}, "voice": "marin"},
        },
    }
    session = converse(FakeModel(), [update(**asked)]).of("session.updated")[0]["session"]
    assert session["instructions"] == "Be kind."
    assert session["audio"]["input"]["turn_detection"] == detection
    assert session["audio"]["input"]["format"] == {"type": "audio/pcmu"}
    assert session["audio"]["output"]["format"] == {"type": "audio/pcma"}


def test_silence_makes_the_agent_ask_where_the_client_wants_it() -> None:
    detection = {"type": "server_vad", "idle_timeout_ms": 5000}
    client = converse(FakeModel(), [update(audio={"input": {"turn_detection": detection}})])
    assert client.text().startswith("Are you still there?")
    assert client.kinds[3:8] == [
        "input_audio_buffer.timeout_triggered",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    assert converse(FakeModel(), [update()]).text() == ""


@given(st.sampled_from(["audio/pcm", "audio/pcmu", "audio/pcma"]), st.binary(max_size=400))
async def test_decoded_sound_encodes_to_the_same(name: Any, raw: bytes) -> None:
    form = WireFormat(name)
    samples = await form.decode(WireFormat("audio/pcm").encode(np.zeros(0, np.int16)))
    assert not len(samples)
    whole = raw[: len(raw) // form.width * form.width]
    samples = await form.decode(base64.b64encode(whole).decode())
    again = await form.decode(form.encode(samples))
    assert np.array_equal(samples, again)


@pytest.mark.parametrize("name", ["audio/pcm", "audio/pcmu"])
async def test_a_long_recording_is_decoded_in_pieces_while_others_have_their_turn(
    name: Any,
) -> None:
    form = WireFormat(name)
    raw = np.random.default_rng(0).bytes(300_000)
    turns = 0

    def turn() -> None:
        nonlocal turns
        turns += 1
        asyncio.get_running_loop().call_soon(turn)

    turn()
    samples = await form.decode(base64.b64encode(raw).decode())
    assert turns > 2
    if name == "audio/pcm":
        assert samples.tobytes() == raw
    else:
        assert len(samples) == len(raw)


@pytest.mark.parametrize("at", [3, 131_071, 131_072, 200_000, 399_999])
@pytest.mark.parametrize("odd", ["=", "?", "\n", "ä"])
async def test_what_is_no_base64_is_told_wherever_it_is(at: int, odd: str) -> None:
    text = "A" * at + odd + "A" * (399_999 - at)
    with pytest.raises(Fault) as error:
        await WireFormat().decode(text)
    assert error.value.code == "invalid_audio"


async def test_g711_is_itu_ts() -> None:
    """Corner values of ITU-T G.711 (tables 1a and 2a), as 16 bits."""
    mu = await WireFormat("audio/pcmu").decode("gP8Af/A=")
    assert mu.tolist() == [32124, 0, -32124, 0, 120]
    a = await WireFormat("audio/pcma").decode("1VWqKg==")
    assert a.tolist() == [8, -8, 32256, -32256]


def test_sound_that_is_none_is_told() -> None:
    client = converse(FakeModel(), [append("?"), append("AAA"), append("AA==")])
    assert [error["code"] for error in client.errors] == ["invalid_audio"] * 3


def test_more_sound_than_can_wait_is_refused() -> None:
    client = converse(FakeModel(), [append(quiet(301))])
    assert [error["code"] for error in client.errors] == ["audio_buffer_full"]


# --- the beta -------------------------------------------------------------------------------------


def old(client_events: list[Told]) -> list[Told]:
    """What a beta client is told."""
    client = converse(FakeModel(), [beta.from_client(event) for event in client_events])
    return [told for _, event in client.told for told in beta.for_client(event)]


def test_a_beta_client_is_understood_and_told_the_names_that_it_knows() -> None:
    session = {
        "modalities": ["audio", "text"],
        "voice": "alloy",
        "input_audio_format": "pcm16",
        "output_audio_format": "g711_ulaw",
        "turn_detection": {"type": "server_vad"},
        "temperature": 0.8,
    }
    told = old([{"type": "session.update", "session": session}, *SPOKEN])
    kinds = {event["type"] for event in told}
    assert {
        "response.audio.delta",
        "response.audio_transcript.delta",
        "conversation.item.created",
        "response.audio.done",
    } <= kinds
    assert not any(
        "output_audio" in kind or kind.endswith("item.added")
        for kind in kinds - {"response.output_item.added"}
    )
    updated = next(event for event in told if event["type"] == "session.updated")["session"]
    assert updated["output_audio_format"] == "g711_ulaw"
    assert updated["modalities"] == ["audio", "text"]


def test_a_beta_clients_text_and_assistant_items_are_understood() -> None:
    said = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "Hi."}]}
    wanted = {"type": "response.create", "response": {"modalities": ["text"], "temperature": 1}}
    told = old([{"type": "conversation.item.create", "item": said}, typed("hello"), wanted])
    assert "response.text.done" in {event["type"] for event in told}
    assert not [event for event in told if event["type"] == "error"]


def test_sound_and_silence_may_come_in_any_pieces() -> None:
    pieces = [sound(0.013)] * 77 + [quiet(0.02)] * 150
    client = converse(FakeModel(), [append(piece) for piece in pieces] + [RESPOND])
    assert len(client.of("input_audio_buffer.committed")) == 1
