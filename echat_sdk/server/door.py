"""The door: who is calling, may they, and from where. Nothing behind it asks again.

```
Host ─▶ Origin ─▶ public? ─▶ key, client secret or nobody ─▶ scope ─▶ scope["state"]["caller"]
 403     403       let in            401 (429)                403
```
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.routing import BaseRoute, Match

from echat_sdk.server.allowance import Allowances
from echat_sdk.server.caller import Caller, Scope
from echat_sdk.server.origins import Origins
from echat_sdk.server.refusals import refuse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Send
    from starlette.types import Scope as Asked

    from echat_sdk.server.keys import Keys
    from echat_sdk.server.tickets import ClientSecrets

_NEEDS: tuple[tuple[str, Scope | None], ...] = (
    ("/v1/realtime/client_secrets", Scope.SECRETS),
    ("/v1/realtime", Scope.REALTIME),
    ("/v1/audio", Scope.AUDIO),
    ("/v1/chat", Scope.CHAT),
    ("/v1/models", None),
    ("/metrics", Scope.METRICS),
)
"""What a path needs, the first that fits; None: any caller. What is not here is not there."""

_IN_PROTOCOL = "openai-insecure-api-key."
_SPOKEN = "realtime"
_BETA = "openai-beta.realtime-v1"


@dataclass(frozen=True, slots=True)
class Access:
    """Who is let in.

    Attributes:
        keys: API keys; None where there are none.
        secrets: Client secrets.
        origins: Pages that may call, and names that we are called by.
        nobody: Whom a caller without any key is taken for; None lets none in.
    """

    secrets: ClientSecrets
    keys: Keys | None = None
    origins: Origins = field(default_factory=Origins)
    nobody: Caller | None = None

    def caller(self, words: str) -> Caller | None:
        """Whom these words let in; None for nobody.

        Args:
            words: A key or a client secret; empty where none was shown.
        """
        if self.nobody is not None:  # clients that insist on a key show any
            return self.nobody
        if self.keys is not None and (key := self.keys.find(words)) is not None:
            return Caller(key.id, key.scopes, key.user)
        if (caller := self.secrets.find(words)) is None:
            return None
        if caller.key.startswith(LINK):
            return caller
        # What a key made ends with it.
        return caller if self.keys is not None and self.keys.counts(caller.key) else None


LINK = "link"
"""Begins the `Caller.key` of who came by the one-time link."""


class Door:
    """ASGI middleware that puts the `Caller` where the rest of the server looks for it."""

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        public: Sequence[BaseRoute],
        failures: Allowances,
        refused: Callable[[str], None],
    ) -> None:
        """Stand before an app.

        Args:
            app: What is behind the door.
            access: Who is let in.
            public: Routes that need no caller.
            failures: Wrong keys that an address may still show.
            refused: Told why somebody was refused, in one word.
        """
        self._app, self._access, self._public = app, access, public
        self._failures, self._refused = failures, refused

    async def __call__(self, scope: Asked, receive: Receive, send: Send) -> None:
        """Let in, or refuse."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def no(status: int, code: str, message: str, **headers: str) -> None:
            self._refused(code)
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            await refuse(scope, receive, send, status, code, message, headers=named)

        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._access.origins.is_host(host):
            await no(403, "wrong_host", "this server is not called so; see --allow-host")
            return
        secure = scope["scheme"] in ("https", "wss")
        if not self._access.origins.is_allowed(headers.get("origin", ""), host, secure=secure):
            await no(403, "wrong_origin", "pages of this origin may not call; see --allow-origin")
            return
        words, is_beta = _shown(scope, headers)
        offered = scope.get("subprotocols", [])
        _hide(scope)
        state = scope.setdefault("state", {})
        state["is_beta"] = is_beta
        if any(route.matches(scope)[0] is Match.FULL for route in self._public):
            await self._app(scope, receive, send)
            return
        if (caller := self._access.caller(words)) is None:
            # A right key is let in all the same: else one address of many people locks all out.
            if not self._failures.take(_address(scope)):
                await no(429, "too_many_failures", "too many wrong keys; wait", retry_after="60")
            elif words:
                await no(401, "invalid_api_key", "no such key, or it counts no more", **_BEARER)
            else:
                await no(401, "missing_api_key", "a key is needed; see echat keys new", **_BEARER)
            return
        needs = _needs(scope["path"])
        if not needs:
            await no(404, "not_found", "there is nothing at this path")
            return
        if needs[0] is not None and needs[0] not in caller.scopes:
            await no(403, "missing_scope", f"this key is not for that; it lacks {needs[0]}")
            return
        state["caller"] = caller
        await self._app(scope, receive, _speaking(send) if _SPOKEN in offered else send)


_BEARER = {"www_authenticate": "Bearer"}


def _needs(path: str) -> tuple[Scope | None, ...]:
    for prefix, scope in _NEEDS:
        if path == prefix or path.startswith(f"{prefix}/"):
            return (scope,)
    return ()


def _shown(scope: Asked, headers: Headers) -> tuple[str, bool]:
    """The key that a caller shows, and whether they speak the protocol's beta."""
    kind, _, words = headers.get("authorization", "").partition(" ")
    shown = words.strip() if kind.lower() == "bearer" else ""
    is_beta = headers.get("openai-beta", "") == "realtime=v1"
    for offered in scope.get("subprotocols", []):
        if offered == _BETA:
            is_beta = True
        elif offered.startswith(_IN_PROTOCOL) and not shown:
            shown = offered.removeprefix(_IN_PROTOCOL)
    return shown, is_beta


def _hide(scope: Asked) -> None:
    """Take the key out of the request, so that nothing behind the door can tell it to a log."""
    hidden = (b"authorization", b"sec-websocket-protocol")
    scope["headers"] = [(name, value) for name, value in scope["headers"] if name not in hidden]
    if "subprotocols" in scope:
        names = [each for each in scope["subprotocols"] if not each.startswith(_IN_PROTOCOL)]
        scope["subprotocols"] = names


def _speaking(send: Send) -> Send:
    """Accept with the subprotocol that a browser offered: it hangs up else."""

    async def accept(message: Message) -> None:
        if message["type"] == "websocket.accept" and not message.get("subprotocol"):
            message = {**message, "subprotocol": _SPOKEN}
        await send(message)

    return accept


def _address(scope: Asked) -> str:
    """Whose failures are counted: an IPv6 network, for one machine has many addresses of it."""
    host = scope["client"][0] if scope.get("client") else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ""
    if address.version == 6 and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    if address.version == 6:
        return str(ipaddress.ip_network(f"{host.partition('%')[0]}/64", strict=False))
    return host
