"""Functions that run at the client: offered to the model as tools, called over the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from echat_sdk.agent.described import described_tool, found
from echat_sdk.audio import Seconds
from echat_sdk.errors import ConfigError
from echat_sdk.server.realtime.faults import Fault
from echat_sdk.tools import MOST_RESULT, Tool
from echat_sdk.turn import Finding

DEADLINE: Seconds = 15.0
"""How long a client may take; what comes later is answered when it asks for an answer."""

_MOST_OUTPUTS = 16

Wait = Callable[[str, Mapping[str, object]], "asyncio.Future[str]"]
"""Tells the client of a call, by name and arguments; what it will have given."""


class ClientCalls:
    """Functions that were called at a client, and what it returned. On the event loop."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[str]] = {}  # by the name of the function
        self._outputs: dict[str, str] = {}  # by the id of the call; the last _MOST_OUTPUTS

    def call(self, name: str, arguments: Mapping[str, object]) -> asyncio.Future[str]:
        """Wait for a function; that it was called is told with the response that calls it."""
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting[name] = future
        return future

    def take(self, call_id: str, output: str) -> None:
        """Take what a function returned, until an answer is asked for."""
        self._outputs[call_id] = output
        while len(self._outputs) > _MOST_OUTPUTS:
            del self._outputs[next(iter(self._outputs))]

    def is_awaited(self, call_id: str, name: str) -> bool:
        """Whether what a call returned is here, and an answer waits for it."""
        waiting = self._waiting.get(name)
        return call_id in self._outputs and waiting is not None and not waiting.done()

    def resolve(self, call_id: str, name: str) -> None:
        """Give what a call returned to the answer that waits for it."""
        self._waiting.pop(name).set_result(self._outputs.pop(call_id))

    def finding(self, call_id: str, name: str) -> Finding | None:
        """What a call returned that is not waited for any more; None for nothing."""
        output = self._outputs.pop(call_id, None)
        return None if output is None else late(name, output)


def client_tool(given: Mapping[str, Any], wait: Wait) -> Tool:
    """A tool out of the JSON that describes a client's function; see `described_tool`.

    Args:
        given: Its `type`, `name`, `description`, `parameters` and `echat`.
        wait: Has it called.

    Raises:
        Fault: it is no function that can be offered here.
    """
    try:
        return described_tool(given, wait, deadline=DEADLINE)
    except ConfigError as error:
        raise Fault(str(error), param="tools") from error


def late(name: str, output: str) -> Finding:
    """What a client gave after it was not waited for any more."""
    value = found(output)
    if isinstance(value, str):
        return Finding(name, words=" ".join(value.split())[:MOST_RESULT])
    return Finding(name, data=output[:MOST_RESULT])
