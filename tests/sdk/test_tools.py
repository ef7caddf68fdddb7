from __future__ import annotations

import json
import math
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from echat_sdk.errors import ConfigError
from echat_sdk.tools import MOST_RESULT, Tool, finding, offered, tool
from echat_sdk.turn import Finding


@tool(examples={"dim the hall": {"room": "hall", "level": 30}})
def dim(room: str, level: Annotated[int, Field(ge=0, le=100)] = 50, *, slowly: bool = False) -> str:
    """Dim a room's light.

    More of it is not shown to a model.
    """
    return f"{room} {level} {slowly}"


def test_a_function_becomes_a_tool_with_a_schema_of_what_it_takes() -> None:
    assert (dim.name, dim.description, dim.deadline) == ("dim", "Dim a room's light.", 5.0)
    schema = dim.takes.model_json_schema()
    assert schema["required"] == ["room"]
    assert schema["properties"]["level"]["maximum"] == 100
    assert schema["additionalProperties"] is False


def test_arguments_are_checked_and_defaults_filled_in() -> None:
    assert dim.check({"room": "hall"}) == {"room": "hall", "level": 50, "slowly": False}
    for wrong in ({}, {"room": "x", "level": 101}, {"room": "x", "speed": 1}, {"room": 3}):
        with pytest.raises(ValidationError):
            dim.check(wrong)


def test_a_method_can_be_a_tool() -> None:
    class Lamp:
        def on(self) -> str:
            """Switch on."""
            return "on"

    made = tool(examples={"light": {}})(Lamp().on)
    assert made.function(**made.check({})) == "on"


def refused(function: Any, match: str, **given: Any) -> None:
    with pytest.raises(ConfigError, match=match):
        tool(**({"examples": {"x": {}}} | given))(function)


def test_what_no_model_could_use_is_refused_with_the_reason() -> None:
    def bare() -> None: ...

    def listed(names: list[str]) -> None:
        """List."""

    def untyped(name) -> None:  # type: ignore[no-untyped-def]
        """Untyped."""

    def many(*names: str) -> None:
        """Many."""

    def fine(n: int) -> None:
        """Fine."""

    refused(bare, "no docstring")
    refused(listed, "must be a str")
    refused(untyped, "must be a str")
    refused(many, "by name")
    refused(fine, "example 'x'")
    refused(fine, "no examples", examples={})
    refused(fine, "deadline 60", examples={"x": {"n": 1}}, deadline=60)


def test_optional_and_chosen_texts_are_taken() -> None:
    @tool(examples={"x": {"where": "left"}})
    def look(where: Literal["left", "right"], note: str | None = None) -> None:
        """Look."""

    assert look.check({"where": "right"}) == {"where": "right", "note": None}
    with pytest.raises(ValidationError):
        look.check({"where": "back"})


def test_two_tools_of_one_name_are_refused() -> None:
    assert offered([dim]) == (dim,)
    with pytest.raises(ConfigError, match="2 tools are called 'dim'"):
        offered([dim, dim])


class Mood(StrEnum):
    CALM = "calm"


class Report(BaseModel):
    place: str
    degrees: float


@pytest.mark.parametrize(
    ("result", "found"),
    [
        (None, Finding("t")),
        ("It  is\nnoon.", Finding("t", words="It is noon.")),
        ({"a": 1, "b": None}, Finding("t", data='{"a":1,"b":null}')),
        ([1, {2}], Finding("t", data="[1,[2]]")),
        (Report(place="Rome", degrees=21), Finding("t", data='{"place":"Rome","degrees":21.0}')),
        ({"mood": Mood.CALM}, Finding("t", data='{"mood":"calm"}')),
        (0, Finding("t", data="0")),
    ],
)
def test_whatever_a_tool_returns_is_data(result: object, found: Finding) -> None:
    assert finding("t", result) == found


def test_numbers_that_json_does_not_have_are_null() -> None:
    assert json.loads(finding("t", {"x": math.nan}).data) == {"x": None}


@given(st.text() | st.dictionaries(st.text(), st.text()) | st.binary() | st.complex_numbers())
def test_no_result_is_longer_than_a_model_is_shown(result: object) -> None:
    found = finding("t", result)
    assert len(found.words) <= MOST_RESULT
    assert len(found.data) <= MOST_RESULT


def test_a_result_of_a_hundred_megabytes_is_cut() -> None:
    assert len(finding("t", "x " * 50_000_000).words) == MOST_RESULT


def test_a_tool_tells_whether_it_is_asynchronous() -> None:
    async def wait() -> None:
        """Wait."""

    assert tool(examples={"x": {}})(wait).is_async
    assert not dim.is_async
    assert isinstance(dim, Tool)
