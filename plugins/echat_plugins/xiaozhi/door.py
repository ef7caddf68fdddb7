"""Who a device is, and whether it is let in."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from starlette.datastructures import Headers

from echat_plugins.xiaozhi.options import NAMED, Device, XiaozhiOptions
from echat_plugins.xiaozhi.tokens import Tokens
from echat_sdk.server.allowance import Allowances

_MOST_ADDRESSES = 4096  # whose failures are counted


class Refused(Exception):
    """A device that is not let in.

    Attributes:
        status: Of HTTP.
        code: One word for a program.
        text: A sentence for a person.
    """

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class Caller:
    """What a device says of itself.

    Attributes:
        device: Its `Device-Id`, in small letters.
        client: Its `Client-Id`.
    """

    device: str
    client: str


class Door:
    """Lets devices in.

    Args:
        options: Which, and whether they need a token.
    """

    def __init__(self, options: XiaozhiOptions) -> None:
        self._options = options
        secret = options.secret.get_secret_value().encode() if options.secret else None
        self._tokens = Tokens(secret or secrets.token_bytes(32), options.token_days)
        rate = options.failures_per_minute
        self._failures = Allowances(rate / 60, max(1.0, rate), _MOST_ADDRESSES)

    def enrolled(self, headers: Headers) -> tuple[Caller, Device]:
        """Who says that they call, and what is known of them.

        Raises:
            Refused: they are none of ours.
        """
        if "origin" in headers:  # a browser's page; devices have none
            raise Refused(403, "origin_not_allowed", "pages are not served here")
        device, client = headers.get("device-id", "").lower(), headers.get("client-id", "")
        if not NAMED.fullmatch(device) or not NAMED.fullmatch(client):
            raise Refused(400, "invalid_device", "expected the headers Device-Id and Client-Id")
        known = self._options.devices.get(device)
        if known is None:
            if not self._options.serves_guests:
                raise Refused(403, "unknown_device", "this device is not known here")
            return Caller(device, client), Device()
        right = known.client
        if right is not None and not secrets.compare_digest(right.encode(), client.encode()):
            raise Refused(403, "unknown_device", "this device is not known here")
        return Caller(device, client), known

    def token(self, caller: Caller) -> str:
        """What this device may show from now on."""
        return self._tokens.make(caller.client, caller.device)

    def enter(self, headers: Headers, address: str) -> tuple[Caller, Device]:
        """As `enrolled`, of a device that shows its token, where it needs one.

        Raises:
            Refused: it is not let in.
        """
        try:
            caller, device = self.enrolled(headers)
            scheme, _, token = headers.get("authorization", "").partition(" ")
            shows = token.strip() if scheme.lower() == "bearer" else ""
            if self._options.needs_token and not self._tokens.proves(
                shows, caller.client, caller.device
            ):
                raise Refused(401, "invalid_token", "ask POST /xiaozhi/ota/ for a token")
        except Refused as refused:
            if not self._failures.take(address):
                raise Refused(429, "too_many_failures", "too many failures; wait") from refused
            raise
        return caller, device
