"""What aiomqtt and paho do not tell of a connection: who refused what, and why."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Any

import aiomqtt
from aiomqtt.exceptions import MqttConnectError

from echat_plugins.mqtt.broker import Broker
from echat_sdk.audio import Seconds

ANSWER: Seconds = 2.5
"""For a broker's answer, to a connection too."""

NOT_ALLOWED = 135

_CONNECT: Seconds = 1.0
_NOT_LET_IN = {4: "password", 5: "user", 134: "password", 135: "user", 133: "client id"}


class Client(aiomqtt.Client):
    """Knows whether the broker let us publish, which aiomqtt does not tell.

    What is touched here is its own; where a later version has it otherwise, less is known.
    """

    not_allowed = 0

    def be_quick(self) -> None:
        """Wait no longer for a connection than for an answer."""
        if hasattr(self, "_client"):
            self._client.connect_timeout = ANSWER

    def forget(self) -> None:
        """It was heeded that the connection is lost, or did not matter."""
        lost: asyncio.Future[None] | None = getattr(self, "_disconnected", None)
        if lost is not None and lost.done() and not lost.cancelled():
            lost.exception()

    def _on_disconnect(self, *args: Any, **more: Any) -> None:
        with contextlib.suppress(asyncio.CancelledError):  # nobody waits for the connection now
            super()._on_disconnect(*args, **more)

    def _on_publish(self, *args: Any, **more: Any) -> None:
        self.not_allowed += any(number(each) == NOT_ALLOWED for each in args)
        super()._on_publish(*args, **more)


def shown(broker: Broker, context: ssl.SSLContext, waits: Seconds) -> ssl.SSLError | None:
    """What TLS has against the broker, or the broker against us; None for nothing. Blocks.

    A broker that does not like our certificate says so after the handshake, where paho does not
    look; and of a bad one of the broker's paho leaves a socket open.
    """
    try:
        with (
            socket.create_connection((broker.host, broker.where), _CONNECT) as plain,
            context.wrap_socket(plain, server_hostname=broker.host) as greeted,
        ):
            greeted.settimeout(waits)
            greeted.recv(1)  # the alert, if there is one; else nothing
    except ssl.SSLError as error:
        return error
    except OSError:
        pass
    return None


def refusal(error: BaseException, code: int) -> str:
    """Why trying again will not help; empty where it may."""
    cause = error if isinstance(error, ssl.SSLError) else error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not to be trusted: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed: {cause.reason or 'no TLS there'}; look at our certificate"
    if isinstance(error, MqttConnectError) and code in _NOT_LET_IN:
        return f"it does not let us in; look at the {_NOT_LET_IN[code]}, or its ACL"
    if code == NOT_ALLOWED:
        return "it does not allow our topics; look at its ACL, our name and the tenant"
    return ""


def first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error in a group of groups."""
    found: BaseException = errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def number(code: Any) -> int:
    """A reason code as a number: paho has two kinds."""
    value = getattr(code, "value", code)
    return value if isinstance(value, int) else -1
