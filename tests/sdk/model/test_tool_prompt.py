from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.model.asking import asks
from echat_sdk.model.said_numbers import is_said, said_numbers
from echat_sdk.model.tool_prompt import NOTHING, may_ask, read_call, tool_prompt
from echat_sdk.tools import tool
from echat_sdk.turn import Lang


@tool(
    examples={
        "Set a timer for ten minutes.": {"minutes": 10, "name": "eggs"},
        "定一个十分钟的闹钟。": {"minutes": 10, "name": "蛋"},
    }
)
def timer(minutes: float, name: str = "") -> None:
    """Set a timer."""


@tool(examples={"Look left.": {"where": "left"}})
def look(where: Literal["left", "right"]) -> None:
    """Turn the head."""


TOOLS = (timer, look)


def test_the_prompt_shows_signatures_and_calls_in_turn_with_talk() -> None:
    prompt = tool_prompt(TOOLS, "en")
    assert prompt.system.splitlines()[1:4] == [
        "timer(minutes: float, name: str)  # Set a timer.",
        "look(where: Literal['left', 'right'])  # Turn the head.",
        f"{NOTHING}  # Anything else: talk, news, feelings.",
    ]
    calls = [call for _, call in prompt.shots]
    assert calls[:3] == ["timer(minutes=10, name='eggs')", NOTHING, "look(where='left')"]
    assert calls.count(NOTHING) == len(calls) - 2


def test_words_of_a_language_are_shown_examples_in_it_where_there_are_any() -> None:
    calls = [call for _, call in tool_prompt(TOOLS, "zh").shots if call != NOTHING]
    assert calls == ["timer(minutes=10, name='蛋')", "look(where='left')"]


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        ("timer(minutes=5)", {"minutes": 5.0, "name": ""}),
        ("timer(5)", {"minutes": 5.0, "name": ""}),
        (" timer(minutes=5, name=' Tea')\nmore", {"minutes": 5.0, "name": "Tea"}),
        ("```python\ntimer(minutes=5)\n```", {"minutes": 5.0, "name": ""}),
    ],
)
def test_a_call_is_read(written: str, arguments: dict[str, object]) -> None:
    call = read_call(written, "a timer for the tea, five minutes", TOOLS)
    assert call is not None
    assert (call.tool, call.arguments) == (timer, arguments)


@pytest.mark.parametrize(
    "written",
    [
        "",
        NOTHING,
        "timer",
        "timer(",
        "timer(minutes=__import__('os').getpid())",
        "timer(minutes=5, name='coffee')",  # not said
        "timer(minutes=6)",  # not said
        "timer(minutes='soon')",
        "timer(hours=5)",
        "timer(minutes=5, **{})",
        "timer(minutes=5, name=None)",
        "look(where='back')",
        "os.system('x')",
        "open('/etc/passwd')",
        "lambda: timer(5)",
    ],
)
def test_what_is_no_call_or_was_not_said_is_none(written: str) -> None:
    assert read_call(written, "a timer for the tea, five minutes", TOOLS) is None


@given(st.text() | st.text(alphabet="timer(look)='\"5,*{}[]\n ").map(lambda t: f"timer({t})"))
def test_whatever_a_model_writes_can_be_read(written: str) -> None:
    read_call(written, "five", TOOLS)


@pytest.mark.parametrize(
    ("words", "lang"),
    [
        ("Set a timer for five minutes.", "en"),
        ("Oh, and could you call my son?", "en"),
        ("It's dark in here, turn on the light.", "en"),
        ("I'd like to hear the Beatles.", "en"),
        ("Lights off in the bathroom, please.", "en"),
        ("几点了？", "zh"),
        ("把客厅的灯打开。", "zh"),
        ("厨房的灯关一下。", "zh"),
        ("广州今天热不热", "zh"),
        ("一个小时以后叫我。", "zh"),
    ],
)
def test_questions_wishes_and_orders_ask(words: str, lang: Lang) -> None:
    assert asks(words, lang)
    assert may_ask(words, lang)


@pytest.mark.parametrize(
    ("words", "lang"),
    [
        ("My mother called me this morning and she was crying.", "en"),
        ("The weather was awful at the funeral.", "en"),
        ("Music always makes me cry.", "en"),
        ("She turned off the light and left me.", "en"),
        ("I wish somebody would call me.", "en"),
        ("Stopped.", "en"),
        ("", "en"),
        ("他昨天没给我打电话。", "zh"),
        ("音乐让我想起他。", "zh"),
        ("灯一关我就害怕。", "zh"),
        ("我考试没考好。", "zh"),
    ],
)
def test_who_tells_of_something_asks_for_nothing(words: str, lang: Lang) -> None:
    assert not may_ask(words, lang)


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ("twenty five minutes", {20, 5, 25}),
        ("two hundred", {2, 100, 200}),
        ("an hour and a half", {1, 0.5}),
        ("3.5 or 12", {3.5, 12}),
        ("二十分钟", {20}),
        ("一百零五", {105}),
        ("两个半小时", {2, 0.5}),
        ("none at all", set()),
    ],
)
def test_numbers_are_found_in_words(words: str, numbers: set[float]) -> None:
    assert said_numbers(words) == numbers


@pytest.mark.parametrize(
    ("value", "words", "told"),
    [
        (90, "an hour and a half", True),
        (80, "an hour and twenty minutes", True),
        (60.5, "an hour and a half", False),
        (30, "half an hour", True),
        (120, "two hours", True),
        (-2, "two degrees colder", True),
        (25, "twenty-five", True),
        (30, "一个小时", False),
        (60, "一个小时", True),
        (3, "a few", False),
    ],
)
def test_a_number_counts_as_said_in_its_own_unit_or_another(
    value: float, words: str, told: bool
) -> None:
    assert is_said(value, words) is told
