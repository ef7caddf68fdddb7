"""Where Wyoming is served, to whom, and how much it takes at most."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork

from echat_sdk.audio import Seconds
from echat_sdk.errors import ConfigError
from echat_sdk.server.origins import is_loopback


class WyomingOptions(BaseModel):
    """Frozen; unknown names are refused.

    Attributes:
        host: An address of this machine.
        port: 0 takes a free one.
        socket: A Unix socket to listen at instead; only its owner may open it.
        beyond_loopback: Whether others may reach it at all. There is neither a password nor TLS in
            the protocol: who reaches it is believed, and what is said can be listened to.
        networks: From where others may come; needed with `beyond_loopback`.
        user: Whose memory answers, and whose consents count; None for guests, of whom nothing is
            kept. Everybody who reaches it speaks for them.
        connections: Open at once, of all.
        connections_per_client: The same, of one address.
        threads: Requests that the model works on at once.
        conversations: That are kept at once; the one that was silent longest gives way.
        conversation_seconds: How long a conversation is kept that says nothing.
        header_bytes: Of one event's line of JSON, and of the data after it.
        payload_bytes: Of the sound in one event.
        utterance_seconds: Of sound in one utterance.
        characters: Of a text that is answered or spoken.
        idle_seconds: Of a connection on which nothing comes.
        event_seconds: For the rest of an event whose line has come.
        answer_seconds: For one request, waiting for the model included.
        send_seconds: How long a client may take nothing of what it is sent.
        requests_per_second: Of one address, over time.
        requests_burst: Of one address, at once.
        events_per_second: Of one connection, over time.
        events_burst: Of one connection, at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=10350, ge=0, le=65535)
    socket: Path | None = None
    beyond_loopback: bool = False
    networks: tuple[IPvAnyNetwork, ...] = ()
    user: str | None = Field(default=None, min_length=1, max_length=200)
    connections: int = Field(default=32, ge=1)
    connections_per_client: int = Field(default=16, ge=1)
    threads: int = Field(default=2, ge=1, le=64)
    conversations: int = Field(default=16, ge=1, le=1000)
    conversation_seconds: Seconds = Field(default=300.0, gt=0)
    header_bytes: int = Field(default=64 * 2**10, ge=1024)
    payload_bytes: int = Field(default=128 * 2**10, ge=1024)
    utterance_seconds: Seconds = Field(default=60.0, gt=0)
    characters: int = Field(default=4096, ge=1)
    idle_seconds: Seconds = Field(default=60.0, gt=0)
    event_seconds: Seconds = Field(default=10.0, gt=0)
    answer_seconds: Seconds = Field(default=120.0, gt=0)
    send_seconds: Seconds = Field(default=20.0, gt=0)
    requests_per_second: float = Field(default=2.0, gt=0)
    requests_burst: int = Field(default=20, ge=1)
    # A file that is sent as fast as it goes is 1,000 events a minute of sound.
    events_per_second: float = Field(default=500.0, gt=0)
    events_burst: int = Field(default=5000, ge=1)

    def check(self) -> None:
        """Refuse what would let strangers in.

        Raises:
            ConfigError: it must not be served so; says what to do.
        """
        if self.socket is not None or is_loopback(self.host):
            return
        if not self.beyond_loopback:
            raise ConfigError(
                f"wyoming: on {self.host} others reach it, and the protocol asks for no password: "
                "use host 127.0.0.1, or set beyond_loopback and name the networks"
            )
        if not self.networks:
            raise ConfigError(
                f"wyoming: on {self.host} anybody could come; name networks, such as "
                '["192.168.1.0/24"]'
            )
