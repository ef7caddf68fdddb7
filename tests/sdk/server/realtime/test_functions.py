"""Functions that run at the client: offered, called, and what they returned is answered with."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from pydantic import ValidationError

from echat_sdk.server.realtime.client_tools import DEADLINE, client_tool
from echat_sdk.server.realtime.faults import Fault
from echat_sdk.testing import FakeModel, Line
from tests.sdk.server.realtime.talk import RESPOND, Client, converse, typed, update

WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a town.",
    "parameters": {
        "type": "object",
        "properties": {
            "town": {"type": "string"},
            "days": {"type": "integer"},
            "unit": {"type": "string", "enum": ["c", "f"]},
        },
        "required": ["town"],
    },
}
ASKS = Line("what is the weather in Oslo", calls="weather", arguments={"town": "Oslo"})


def never(name: str, arguments: Any) -> Any:
    raise AssertionError


async def call(client: Client) -> dict[str, Any]:
    client.send(update(tools=[WEATHER]), typed("what is the weather in Oslo"), RESPOND)
    done = await client.until("response.done")
    (item,) = done["response"]["output"]
    return item


def output(call_id: str, text: str) -> dict[str, Any]:
    item = {"type": "function_call_output", "call_id": call_id, "output": text}
    return {"type": "conversation.item.create", "item": item}


def test_a_function_is_called_and_its_result_is_answered_with() -> None:
    fake = FakeModel(ASKS)

    async def script(client: Client) -> None:
        item = await call(client)
        assert (item["type"], item["name"]) == ("function_call", "weather")
        assert json.loads(item["arguments"]) == {"town": "Oslo", "days": None, "unit": None}
        await asyncio.sleep(3)
        client.send(output(item["call_id"], json.dumps({"sky": "clear"})), RESPOND)
        await client.until("response.done", 3)  # it has said meanwhile that it takes a moment

    client = converse(fake, script)
    asked = fake.recollections[-1].finding
    assert asked is not None
    assert (asked.tool, json.loads(asked.data)) == ("weather", {"sky": "clear"})
    first, _, second = (e["response"] for e in client.of("response.done"))
    assert first["id"] != second["id"]
    assert [each["type"] for each in first["output"]] == ["function_call"]
    assert [each["type"] for each in second["output"]] == ["message"]
    assert client.of("response.function_call_arguments.done")[0]["name"] == "weather"


def test_what_is_returned_too_late_is_answered_with_all_the_same() -> None:
    fake = FakeModel(ASKS)

    async def script(client: Client) -> None:
        item = await call(client)
        await asyncio.sleep(DEADLINE + 30)  # the agent has said by then that it did not work
        before = len(client.of("response.done"))
        client.send(output(item["call_id"], "It is sunny."), RESPOND)
        await client.until("response.done", before + 1)

    converse(fake, script)
    finding = fake.recollections[-1].finding
    assert finding is not None
    assert finding.words == "It is sunny."


def test_functions_may_be_forbidden() -> None:
    script = [update(tools=[WEATHER], tool_choice="none"), typed(ASKS.transcript), RESPOND]
    client = converse(FakeModel(Line(ASKS.transcript)), script)
    assert "response.function_call_arguments.done" not in client.kinds


@pytest.mark.parametrize(
    "given",
    [
        {**WEATHER, "name": "no spaces"},
        {**WEATHER, "name": ""},
        {**WEATHER, "type": "mcp", "server_label": "x"},
        {**WEATHER, "parameters": {"properties": {"a": {"type": "object"}}}},
        {**WEATHER, "parameters": {"properties": {"a b": {"type": "string"}}}},
        {**WEATHER, "echat": {"examples": {"the weather": {"days": "many"}}}},
    ],
)
def test_what_cannot_be_offered_is_refused_with_its_reason(given: dict[str, Any]) -> None:
    with pytest.raises(Fault) as error:
        client_tool(given, never)
    assert error.value.param == "tools"


def test_a_refused_update_changes_nothing() -> None:
    bad = update(tools=[{**WEATHER, "name": "no spaces"}], instructions="x")
    client = converse(FakeModel(), [bad, update(output_modalities=["text"])])
    assert len(client.errors) == 1
    session = client.of("session.updated")[0]["session"]
    assert (session["instructions"], session["tools"]) == ("", [])


def test_of_many_functions_one_bad_one_changes_nothing_and_others_have_their_turn() -> None:
    good = [{**WEATHER, "name": f"weather_{number}"} for number in range(127)]
    turns: list[int] = []

    async def script(client: Client) -> None:
        client.send(update(tools=[*good, {**WEATHER, "name": "no spaces"}], instructions="x"))
        while not client.errors:
            turns.append(1)
            await asyncio.sleep(0)
        client.send(update(tools=good))
        await client.until("session.updated")
        client.send(update(output_modalities=["text"]))

    client = converse(FakeModel(), script)
    assert len(turns) > 100
    first = client.of("session.updated")[0]["session"]
    assert (first["instructions"], len(first["tools"])) == ("", 127)


def test_arguments_are_checked_as_the_schema_has_them() -> None:
    tool = client_tool(WEATHER, never)
    assert tool.check({"town": "Oslo", "days": 2, "unit": "c"})["days"] == 2
    for wrong in ({}, {"town": "Oslo", "unit": "k"}, {"town": "Oslo", "days": "two"}, {"x": 1}):
        with pytest.raises(ValidationError):
            tool.check(wrong)


def test_examples_of_what_people_say_may_come_with_a_function() -> None:
    examples = {"Will it rain in Rome?": {"town": "Rome"}}
    tool = client_tool({**WEATHER, "echat": {"examples": examples}}, never)
    assert tool.examples == (("Will it rain in Rome?", {"town": "Rome"}),)
