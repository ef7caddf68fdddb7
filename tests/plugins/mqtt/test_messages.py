from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

import echat_plugins.mqtt
from echat_plugins.mqtt import asyncapi
from echat_plugins.mqtt.messages import (
    AFFECT,
    EVENT,
    IN_CONTROL,
    OUT_CONTROL,
    PRESENCE,
    Interrupt,
    Message,
    MessageError,
    Tell,
    id_of,
    read,
)
from echat_plugins.mqtt.once import Once
from echat_plugins.mqtt.topics import LEAVES, ROOT, Address, of_all, to_device

FILE = Path(echat_plugins.mqtt.__file__).with_name("asyncapi.yaml")
ALL = (IN_CONTROL, OUT_CONTROL, EVENT, AFFECT, PRESENCE)


def test_the_description_is_what_the_code_reads_and_writes() -> None:
    written = yaml.safe_load(FILE.read_text())
    assert written == json.loads(json.dumps(asyncapi.document())), (
        "python -m echat_plugins.mqtt.asyncapi > plugins/echat_plugins/mqtt/asyncapi.yaml"
    )


def test_the_description_tells_every_topic_and_every_message() -> None:
    written = yaml.safe_load(FILE.read_text())
    assert written["asyncapi"] == "3.0.0"
    addresses = [channel["address"] for channel in written["channels"].values()]
    assert sorted(addresses) == sorted(f"{ROOT}/{{tenant}}/{{device}}/{leaf}" for leaf in LEAVES)
    told = {name for channel in written["channels"].values() for name in channel["messages"]}
    models = {
        kind.__name__
        for kind in every(Message)
        if "type" in kind.model_fields and not kind.__name__.startswith("_")
    }
    assert told == models | {"Frame"}
    for operation in written["operations"].values():
        quality = operation["bindings"]["mqtt"]
        assert quality["retain"] == operation["channel"]["$ref"].endswith("presence")


def every(kind: type[Message]) -> list[type[Message]]:
    return [each for sub in kind.__subclasses__() for each in (sub, *every(sub))]


@pytest.mark.parametrize("kind", ALL)
@given(payload=st.one_of(st.binary(max_size=80), st.text(max_size=80).map(str.encode)))
def test_bytes_that_are_no_message_are_refused(kind: TypeAdapter[object], payload: bytes) -> None:
    with pytest.raises(MessageError):
        read(kind, payload)


def test_what_is_wrong_is_told_without_what_was_said() -> None:
    payload = b'{"type":"tell","id":"12345678","text":"my secret","more":"another secret"}'
    with pytest.raises(MessageError) as error:
        read(IN_CONTROL, payload)
    assert "secret" not in str(error.value)
    assert "extra_forbidden" in str(error.value)
    assert id_of(payload) == "12345678"


def test_deep_and_wide_json_is_refused_in_no_time() -> None:
    for payload in (b"[" * 60_000, b'{"type":' * 8_000, b'{"type":"tell","id":' + b"1" * 60_000):
        with pytest.raises(MessageError):
            read(IN_CONTROL, payload)
        assert id_of(payload) == ""


def test_a_command_without_an_id_is_none() -> None:
    with pytest.raises(MessageError, match="id"):
        read(IN_CONTROL, b'{"type":"interrupt"}')
    assert read(IN_CONTROL, Interrupt(id="12345678").render()) == Interrupt(id="12345678")


@given(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True),
    st.sampled_from(LEAVES),
)
def test_an_address_is_found_in_its_topic(tenant: str, device: str, leaf: object) -> None:
    address = Address(tenant, device, leaf)  # type: ignore[arg-type]
    assert Address.of(str(address)) == address


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "echat/v1/home",
        "echat/v1/home/a/in/other",
        "echat/v2/home/a/in/audio",
        "echat/v1/+/a/in/audio",
        "echat/v1/home/a b/in/audio",
        "x/echat/v1/home/a/in/audio",
    ],
)
def test_a_topic_that_is_none_of_ours_is_none(topic: str) -> None:
    assert Address.of(topic) is None


def test_filters_hold_one_tenant_and_one_device() -> None:
    assert of_all("home", "in/audio") == "echat/v1/home/+/in/audio"
    assert to_device("home", "robot1") == "echat/v1/home/robot1/out/#"


@given(st.lists(st.integers(0, 20), max_size=100), st.integers(1, 8))
def test_a_command_is_begun_once_among_so_many(commands: list[int], most: int) -> None:
    once, begun = Once(most), []
    for command in commands:
        if once.begin(str(command)):
            begun.append(command)
    for at, command in enumerate(begun):
        assert command not in begun[max(0, at - most + 1) : at]


def test_a_repeated_command_is_answered_as_before() -> None:
    once = Once()
    assert once.begin("a")
    assert once.answer("a") is None
    once.done("a", b"yes")
    assert not once.begin("a")
    assert once.answer("a") == b"yes"
    once.forget("a")
    assert once.begin("a")


def test_a_text_that_is_too_long_is_refused_where_it_is_written() -> None:
    with pytest.raises(ValueError, match="2000"):
        Tell(id="12345678", text="x" * 2001)
