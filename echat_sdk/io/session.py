"""A conversation that was kept in a folder: both sides on one clock, events, settings.

    user.wav       what the agent heard, 16 kHz
    agent.wav      what it said, where it was said, at the rate of the speaker
    events.jsonl   what happened, with seconds since the first frame
    settings.json  what it ran with

What is read here may come from a stranger: it is measured before it is taken.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from echat_sdk.audio import Seconds, Waveform
from echat_sdk.errors import AudioError, AudioFormatError
from echat_sdk.io.echo import Noise
from echat_sdk.io.wav import read_audio
from echat_sdk.turn import LangChoice, ThinkStyle
from echat_sdk.turn_policy import Preset

MOST_SECONDS: Seconds = 1800.0
"""The longest conversation that is kept, and read."""
MOST_EVENT_BYTES = 32 * 2**20
"""The most that is kept of its events."""

USER, AGENT, EVENTS, SETTINGS = "user.wav", "agent.wav", "events.jsonl", "settings.json"

_MOST_SETTINGS_BYTES = 64 * 2**10


class SessionSettings(BaseModel):
    """What a recorded conversation ran with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    started: str = Field(max_length=40, description="Date and time, ISO 8601.")
    consent: Literal["flag", "asked"] = Field(description="How consent to record was given.")
    model: str = Field(max_length=200)
    lang: LangChoice
    think: ThinkStyle
    policy: Preset
    echo: Literal["cancel", "guard", "off"]
    noise: Noise = Field("keep", description="Whether what was kept of the user is without it.")
    greeting: str = Field("", max_length=2000)


@dataclass(frozen=True, slots=True)
class Session:
    """A recorded conversation.

    Attributes:
        settings: What it ran with.
        user: What the agent heard, int16 at 16 kHz. Shape [S].
        events: What happened, in order; `at` is in seconds since the first frame.
    """

    settings: SessionSettings
    user: Waveform
    events: tuple[dict[str, Any], ...]


def read_session(folder: Path) -> Session:
    """Read a session's folder; one that ended in a crash is read as far as it goes.

    Raises:
        AudioFormatError: it holds no session, or one beyond the limits.
        AudioError: there is no such folder, or it may not be read.
    """
    try:
        settings = SessionSettings.model_validate_json(
            _read(folder / SETTINGS, _MOST_SETTINGS_BYTES)
        )
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "the whole"
        raise AudioFormatError(
            f"{folder / SETTINGS} is none of a session: {where} is wrong"
        ) from error
    user = read_audio(folder / USER, max_seconds=MOST_SECONDS)
    return Session(settings, user, tuple(_events(folder / EVENTS)))


def _events(path: Path) -> list[dict[str, Any]]:
    lines = _read(path, MOST_EVENT_BYTES).split(b"\n")
    events = []
    for number, line in enumerate(
        lines[:-1], 1
    ):  # behind the last end of line: a crash, or nothing
        try:
            event = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise AudioFormatError(f"{path}, line {number}: no JSON") from error
        if not isinstance(event, dict) or not isinstance(event.get("at"), int | float):
            raise AudioFormatError(f"{path}, line {number}: no event with its time")
        events.append(event)
    return events


def _read(path: Path, most: int) -> bytes:
    try:
        if path.is_symlink() or not path.is_file():
            raise AudioError(f"{path} is not there; a folder of `echat talk --record` is wanted")
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise AudioError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > most:
        raise AudioFormatError(f"{path} is larger than {most >> 10:,} KiB, the limit")
    return data
