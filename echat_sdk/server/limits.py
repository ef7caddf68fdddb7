"""How much a server takes at most, where whoever runs it may want it otherwise."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from echat_sdk.audio import Seconds

_MIB = 1024 * 1024


class Limits(BaseModel):
    """Caps on sizes, rates, times and numbers. Frozen; unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # The protocol allows 15 MiB of base64 in one append, and there is JSON around it.
    message_bytes: int = Field(default=16 * _MIB, ge=1024, description="Of one session's message.")
    upload_bytes: int = Field(default=25 * _MIB, ge=1024, description="Of one request's body.")
    upload_seconds: Seconds = Field(default=60.0, gt=0, description="Until a body has come whole.")
    header_seconds: Seconds = Field(default=10.0, gt=0, description="Until a connection asks.")
    connections: int = Field(default=1000, ge=1, description="Open at once, whoever they are.")

    sessions: int = Field(default=50, ge=1, description="At once, of all.")
    sessions_per_key: int = Field(default=50, ge=1, description="At once, of one key.")
    requests: int = Field(default=16, ge=1, description="The same, of other requests.")
    requests_per_key: int = Field(default=8, ge=1, description="The same, of one key.")
    idle_seconds: Seconds = Field(default=900.0, gt=0, description="Of which nothing happens.")
    total_seconds: Seconds = Field(default=7200.0, gt=0, description="Of one session.")

    audio_rate: float = Field(default=1.2, ge=1, description="Seconds of sound taken a second.")
    # One append of 15 MiB is 246 s at 24 kHz: who sends a recording may send it at once.
    audio_burst: Seconds = Field(default=300.0, gt=0, description="Of sound taken at once.")
    events_per_second: float = Field(default=200.0, gt=0, description="Of a client, over time.")
    events_burst: int = Field(default=1000, ge=1, description="Of a client, at once.")

    secrets: int = Field(default=10_000, ge=1, description="Client secrets that count.")
    secrets_per_key: int = Field(default=2_000, ge=1, description="The same, made by one key.")
    failures_per_minute: float = Field(default=30.0, gt=0, description="Of one address.")
    addresses: int = Field(default=4096, ge=1, description="Whose failures are counted.")
