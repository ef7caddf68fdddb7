from __future__ import annotations

import logging

import pytest
from pydantic import ValidationError

from echat_plugins.safety import monitor
from echat_plugins.safety.monitor import SafetyMonitor, SafetyOptions
from echat_plugins.safety.reply_lint import Hook
from echat_sdk.safety.caring import was_caring
from echat_sdk.safety.danger import Category, Danger, Level

HOST = SafetyOptions.model_validate(
    {
        "helplines": {
            "region": "GB",
            "regions": {
                "GB": {"emergency": "999", "crisis": {"name": "Night Line", "number": "0800 000"}}
            },
        }
    }
)


def test_a_danger_is_answered_in_fixed_words_with_the_numbers_of_the_host() -> None:
    care = SafetyMonitor(HOST).hear("I don't want to live any more.", "en")
    assert care is not None
    assert care.danger == Danger(Category.SELF, Level.RISK)
    assert "999 or Night Line on 0800 000" in care.reply
    assert (care.event.category, care.event.severity) == ("self", "risk")


def test_where_the_detector_fails_somebody_is_answered_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(transcript: str) -> Danger | None:
        raise RuntimeError(transcript)

    monkeypatch.setattr(monitor, "detect", broken)
    with caplog.at_level(logging.ERROR):
        care = SafetyMonitor(HOST).hear("my own words", "en")
    assert care is not None
    assert was_caring(care.reply)
    assert "RuntimeError" in caplog.text
    assert "my own words" not in caplog.text


def test_a_reply_is_mended_and_a_caring_one_stays() -> None:
    watched = SafetyMonitor(HOST)
    assert watched.say("Good night. Don't leave me.", "Good night.", "en").text == "Good night."
    care = watched.hear("I want to die. Goodbye.", "en")
    assert care is not None
    assert watched.say(care.reply, "I want to die. Goodbye.", "en").hooks == ()
    assert Hook.QUESTION in watched.say("Where to?", "Bye.", "en").hooks


def test_hours_are_told_when_they_are_due_unless_a_host_says_never() -> None:
    watched = SafetyMonitor(SafetyOptions(usage_every=3600.0), since=100.0)
    assert watched.usage(200.0, "en") == ""
    assert "about an hour" in watched.usage(3700.0, "en")
    assert watched.usage(3800.0, "en") == ""
    assert SafetyMonitor(SafetyOptions(usage_every=None)).usage(10.0**6, "en") == ""


def test_a_host_without_numbers_is_warned() -> None:
    assert "emergency and crisis not given" in SafetyOptions().warning()
    assert HOST.warning() == ""


def test_what_is_unknown_or_out_of_bounds_is_refused() -> None:
    for wrong in ({"helpline": {}}, {"usage_every": 1.0}):
        with pytest.raises(ValidationError):
            SafetyOptions.model_validate(wrong)
