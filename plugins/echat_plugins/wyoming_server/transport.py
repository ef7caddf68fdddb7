"""Takes connections: from where they may come, and so many."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import logging
import os
import socket
import stat
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from echat_plugins.wyoming_server.carried import Carried
from echat_plugins.wyoming_server.connection import Connection, Shared
from echat_plugins.wyoming_server.conversations import Conversations
from echat_plugins.wyoming_server.options import WyomingOptions
from echat_sdk.agent.service import Service
from echat_sdk.audio import Seconds
from echat_sdk.bridge import Workers
from echat_sdk.errors import ConfigError
from echat_sdk.server.allowance import Allowances

log = logging.getLogger(__name__)

_MOST_CLIENTS = 1024  # whose requests are counted
_CLOSE: Seconds = 2.0

_Connected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]


class Wyoming:
    """A `Transport` for Home Assistant, and for whoever else speaks Wyoming.

    Args:
        options: Where, to whom, and how much.

    Raises:
        ConfigError: it would let strangers in.
    """

    def __init__(self, options: WyomingOptions) -> None:
        options.check()
        self._options = options
        self._began = asyncio.Event()
        self._open: Counter[str] = Counter()  # connections, by client
        self._numbers = itertools.count(1)
        self._port = 0

    async def listening(self) -> int:
        """Wait until connections are taken; the port, 0 for a Unix socket."""
        await self._began.wait()
        return self._port

    async def run(self, service: Service) -> None:
        """Take connections until cancelled.

        Raises:
            ConfigError: it cannot listen there.
        """
        options, threads = self._options, Workers(self._options.threads, "echat-wyoming")
        conversations = Conversations(service, options)
        clock = asyncio.get_running_loop().time
        requests = Allowances(
            options.requests_per_second, options.requests_burst, _MOST_CLIENTS, clock
        )
        shared = Shared(service, options, threads, conversations, Carried(clock), requests)
        group = asyncio.TaskGroup()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            work = self._serve(shared, reader, writer)
            group.create_task(work, name="echat-wyoming-connection")

        server = await self._listen(connected)
        try:
            async with group:
                group.create_task(conversations.sweep(), name="echat-wyoming-sweep")
                async with server:
                    await server.start_serving()
                    self._began.set()
                    await server.serve_forever()
        finally:
            self._began.clear()
            threads.let_go()
            await conversations.close()
            if options.socket is not None:
                options.socket.unlink(missing_ok=True)

    async def _listen(self, connected: _Connected) -> asyncio.Server:
        """What takes connections once it is started."""
        options, limit = self._options, self._options.header_bytes
        try:
            if options.socket is not None:
                own = _unix_socket(options.socket)
                return await asyncio.start_unix_server(
                    connected, sock=own, limit=limit, start_serving=False
                )
            server = await asyncio.start_server(
                connected, options.host, options.port, limit=limit, start_serving=False
            )
        except OSError as error:
            where = options.socket or f"{options.host}:{options.port}"
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else "no such address"
            raise ConfigError(f"wyoming: cannot listen at {where}: {why}") from error
        self._port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(
        self, shared: Shared, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        client = _client(writer)
        connection = Connection(shared, reader, writer, client, str(next(self._numbers)))
        refusal = self._refusal(client)
        self._open[client] += 1
        try:
            if refusal:
                await connection.refuse(refusal, "refused")
            else:
                await connection.run()
        except (ConnectionError, TimeoutError):
            pass  # it is gone
        except Exception as error:  # noqa: BLE001 - one connection's end is not that of the others
            log.error("wyoming: a connection failed with %s", type(error).__name__)
        finally:
            self._open[client] -= 1
            self._open += Counter()  # drops clients without a connection
            writer.close()
            try:
                async with asyncio.timeout(_CLOSE):
                    await writer.wait_closed()
            except (ConnectionError, TimeoutError):
                writer.transport.abort()  # what was not taken by now is not waited for

    def _refusal(self, client: str) -> str:
        """Why a client is not served; empty where it is."""
        options = self._options
        if client and options.networks and not _is_within(client, options):
            return "this address may not come"
        if self._open.total() >= options.connections:
            return "the server is full; try again in a moment"
        if self._open[client] >= options.connections_per_client:
            return "this address has as many connections as it may"
        return ""


def _client(writer: asyncio.StreamWriter) -> str:
    """The address of a client; empty for one of a Unix socket."""
    peer = writer.get_extra_info("peername")
    if not isinstance(peer, tuple):
        return ""
    address = ipaddress.ip_address(peer[0].partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _is_within(client: str, options: WyomingOptions) -> bool:
    address = ipaddress.ip_address(client)
    return address.is_loopback or any(address in network for network in options.networks)


def _unix_socket(path: Path) -> socket.socket:
    """A socket that only its owner may open; one that nobody listens at any more gives way.

    Raises:
        OSError: it cannot be made; something else is there.
    """
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        with socket.socket(socket.AF_UNIX) as other:
            if other.connect_ex(str(path)) != 0:
                path.unlink()
    own = socket.socket(socket.AF_UNIX)
    try:
        own.bind(str(path))
        os.chmod(path, 0o600)  # nobody can connect before it listens
    except OSError:
        own.close()
        raise
    return own
