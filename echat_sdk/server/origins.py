"""Which pages may call, and by which names: a stranger's page must not use a visitor's browser."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from echat_sdk.errors import ConfigError

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
"""What a machine calls itself."""


@dataclass(frozen=True, slots=True)
class Origins:
    """What is let in of names and pages.

    Attributes:
        allowed: Origins of pages that may call beside our own, as `https://example.org`.
        hosts: Names that a request may call us by, without port; None for any. On loopback they
            are `LOOPBACK_NAMES`: else a page whose name was made to lead here (DNS rebinding)
            would pass for our own.
    """

    allowed: frozenset[str] = frozenset()
    hosts: frozenset[str] | None = LOOPBACK_NAMES

    def is_host(self, host: str) -> bool:
        """Whether a request may call us so.

        Args:
            host: The header.
        """
        return bool(host) and (self.hosts is None or _name(host) in self.hosts)

    def is_allowed(self, origin: str, host: str, *, secure: bool) -> bool:
        """Whether a page may call.

        Args:
            origin: The header; empty where there is none: a browser always sends one where it
                matters (each WebSocket, each request from elsewhere), so that is no page.
            host: The header.
            secure: Whether the request came by TLS.
        """
        if not origin:
            return True
        if origin.lower() in self.allowed:
            return True
        scheme, _, rest = origin.lower().partition("://")
        return rest == host.lower() and (scheme == "https" or (scheme == "http" and not secure))


def origin_of(text: str) -> str:
    """An origin as browsers write it.

    Raises:
        ConfigError: it is none.
    """
    parts = urlsplit(text.strip().lower())
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
        raise ConfigError(f"no origin {text[:60]!r}; expected one such as https://example.org")
    default = {"http": ":80", "https": ":443"}[parts.scheme]
    return f"{parts.scheme}://{parts.netloc.removesuffix(default)}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """The header without its port."""
    if host.startswith("["):  # IPv6
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")
