"""How much one request may hold and take, and how many there may be at once."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from echat_sdk.audio import Seconds


class RestLimits(BaseModel):
    """Bounds of the HTTP endpoints. In the worst case uploads hold 2 × `upload_bytes` each.

    Attributes:
        threads: Requests that the model works on at once.
        waiting: Requests beyond these that wait; more are refused with 503.
        per_key: Requests of one key among all of them; more are refused with 429.
        json_bytes: The longest body of JSON; it is read on the event loop.
        upload_bytes: The longest body with a sound file.
        audio_seconds: The longest sound, decoded.
        characters: The longest text that is spoken or answered.
        body_seconds: How long a body may take to arrive.
        send_seconds: How long a client may take nothing of what it is sent.
        answer_seconds: How long all of it may take.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    threads: int = Field(default=2, ge=1, le=64)
    waiting: int = Field(default=6, ge=0, le=1000)
    per_key: int = Field(default=4, ge=1)
    json_bytes: int = Field(default=128 * 2**10, ge=1)
    upload_bytes: int = Field(default=25 * 2**20, ge=1)
    audio_seconds: Seconds = Field(default=120.0, gt=0)
    characters: int = Field(default=4096, ge=1)
    body_seconds: Seconds = Field(default=30.0, gt=0)
    send_seconds: Seconds = Field(default=20.0, gt=0)
    answer_seconds: Seconds = Field(default=600.0, gt=0)
