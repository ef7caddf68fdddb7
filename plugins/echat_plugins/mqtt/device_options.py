"""What a device is, and where it keeps what waits."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from echat_plugins.mqtt.broker import Broker
from echat_plugins.mqtt.messages import LangName, Sound
from echat_plugins.mqtt.outbox import Outbox
from echat_plugins.mqtt.topics import SERVER, Name
from echat_sdk.audio import Seconds

MOST_BYTES = 65_536
"""Of one message."""


class DeviceOptions(BaseModel):
    """What a device is. Frozen; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    broker: Broker = Broker()
    tenant: Name = "home"
    device: Name
    sound: Sound = Sound()
    lang: LangName | None = Field(default=None, description="None: the server's.")
    outbox: Path | None = Field(
        default=None, description="Folder for commands while the broker is away."
    )
    outbox_key: Path | None = Field(default=None, description="None: outbox.key beside the folder.")
    most_commands: int = Field(
        default=256, ge=1, le=100_000, description="That wait; one more is refused."
    )
    keeps: Seconds = Field(
        default=3600.0, gt=0, description="A command that waited longer is dropped."
    )

    @field_validator("device")
    @classmethod
    def _is_no_server(cls, name: str) -> str:
        if name == SERVER:
            raise ValueError(f"no device may be called {SERVER!r}")
        return name


def outbox_of(options: DeviceOptions) -> Outbox | None:
    """Where its commands wait; None for in RAM."""
    folder = options.outbox
    if folder is None:
        return None
    key = options.outbox_key or folder.parent / "outbox.key"
    return Outbox(folder, key, most=options.most_commands, most_bytes=MOST_BYTES)
