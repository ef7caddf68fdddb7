"""How robots are served: every choice and every cap."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from echat_plugins.mqtt.broker import Broker
from echat_plugins.mqtt.topics import SERVER, Name
from echat_sdk.audio import Seconds


class Caps(BaseModel):
    """What is taken of devices at most. Frozen; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    devices: int = Field(default=16, ge=1, le=1000, description="At once; one more is refused.")
    known: int = Field(
        default=256,
        ge=1,
        description="Whose commands are remembered; of more, who came longest ago.",
    )
    payload_bytes: int = Field(default=65_536, ge=1024, le=2**20, description="Of one message.")
    frames_per_second: float = Field(
        default=60.0,
        gt=0,
        description="Of one device; more are dropped, a second's worth at once aside.",
    )
    controls_per_second: float = Field(
        default=10.0, gt=0, description="The same; more are refused."
    )
    controls_burst: int = Field(
        default=60, ge=1, description="At once, as after a broker came back."
    )
    commands: int = Field(
        default=32, ge=1, description="That wait to be done; one more is refused."
    )
    waiting: int = Field(default=256, ge=8, description="Events that wait; of more, the oldest go.")
    calls_per_minute: int = Field(
        default=30, ge=1, description="Of one tool; the device may allow fewer."
    )
    idle: Seconds = Field(
        default=900.0, gt=0, description="Without a frame or a command, until a conversation ends."
    )
    away: Seconds = Field(
        default=30.0, gt=0, description="A device may be gone, and go on where it was."
    )


class MQTTOptions(BaseModel):
    """How robots are served. Frozen; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    broker: Broker = Broker()
    tenant: Name = "home"
    users: dict[Name, str] = Field(
        default_factory=dict,
        description="Whom each device speaks for; all others speak for a guest. Each agreed to it.",
    )
    guests: bool = Field(
        default=True, description="Whether a device that is not in `users` is served."
    )
    ahead_ms: int = Field(
        default=120,
        ge=40,
        le=400,
        description="How far ahead of its time sound is sent to a device.",
    )
    reorder_ms: int = Field(
        default=80, ge=0, le=500, description="How long is waited for a frame that is missing."
    )
    says_disclosure: bool = Field(
        default=True, description="Whether what people are to be told first is said aloud."
    )
    caps: Caps = Caps()

    @field_validator("users")
    @classmethod
    def _no_server(cls, users: dict[str, str]) -> dict[str, str]:
        if SERVER in users:
            raise ValueError(f"no device may be called {SERVER!r}")
        return users
