"""What a device shows to be let in: a signature over who it is and when it was given."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable

from echat_sdk.audio import Seconds

_DAY: Seconds = 86_400.0
_AHEAD: Seconds = 300.0  # that another machine's clock may be
_LONGEST = 100  # characters


class Tokens:
    """Makes tokens, and knows them again; nothing is kept of them.

    A token is `SIGNATURE.TIME`: HMAC-SHA256 over `client|device|time`, and whole seconds.

    Args:
        secret: Of this server.
        days: How long one counts.
        now: Seconds since 1970.
    """

    def __init__(self, secret: bytes, days: float, now: Callable[[], Seconds] = time.time) -> None:
        self._secret = secret
        self._counts: Seconds = days * _DAY
        self._now = now

    def make(self, client: str, device: str) -> str:
        """One for a device; neither name has a `|`."""
        at = str(int(self._now()))
        return f"{self._sign(client, device, at)}.{at}"

    def proves(self, token: str, client: str, device: str) -> bool:
        """Whether a token is this device's and counts, in a time that tells nothing."""
        signature, _, at = token[:_LONGEST].rpartition(".")
        right = self._sign(client, device, at)
        is_ours = hmac.compare_digest(right.encode(), signature.encode())
        if not is_ours:
            return False
        age = self._now() - int(at)  # ours: a whole number
        return -_AHEAD <= age < self._counts

    def _sign(self, client: str, device: str, at: str) -> str:
        signed = hmac.new(self._secret, f"{client}|{device}|{at}".encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(signed.digest()).decode().rstrip("=")
