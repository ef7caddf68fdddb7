"""A device's session: hello is said whenever a server is there and nobody listens."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable

from echat_plugins.mqtt.commands import ANSWER
from echat_plugins.mqtt.messages import Answer, Hello, Message, Presence, Welcome
from echat_sdk.audio import Seconds

_TRIES = 3  # of one hello, under one id
_AGAIN: Seconds = 1.0  # until another is said
_FULL: Seconds = 4.0
_NOBODY = "nobody answers our hello; look at the tenant, our name and the broker's ACL"


class Greeting:
    """Says hello.

    Args:
        send: Sends one; whether the broker has it.
        hello: Makes one, of a stream and of the session that was there before.
        on_begun: Told of the hello that was taken, and of the welcome.
        on_over: Told that nobody listens any more.
        on_refused: Told why nobody does.

    Attributes:
        welcome: What the server said; None while nobody listens.
    """

    def __init__(
        self,
        send: Callable[[bytes], Awaitable[bool]],
        hello: Callable[[int, str | None], Hello],
        *,
        on_begun: Callable[[Hello, Welcome], None],
        on_over: Callable[[], None],
        on_refused: Callable[[Answer], None],
    ) -> None:
        self._send = send
        self._hello = hello
        self._on_begun = on_begun
        self._on_over = on_over
        self._on_refused = on_refused
        self._server: Presence | None = None
        self._session: str | None = None
        self._said = ""
        self._answer: asyncio.Future[Message | None] | None = None
        self._changed = asyncio.Event()
        self._wants = True
        self.welcome: Welcome | None = None

    async def ready(self) -> Welcome:
        """Wait until an agent listens."""
        while self.welcome is None:
            await self._next_change()
        return self.welcome

    def want(self) -> None:
        """Somebody speaks: there should be an agent."""
        if not self._wants:
            self._wants = True
            self._changed.set()

    def server(self, presence: Presence | None) -> None:
        """What is known of the server now; None where the broker is away."""
        before, self._server = self._server, presence
        is_same = presence is not None and before is not None
        if is_same and presence == before:
            return
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(None)  # who was asked is not there any more
        self.over()

    def over(self, *, wants: bool = True, forgets: bool = False) -> None:
        """Nobody listens any more.

        Args:
            wants: Whether hello is said again by itself; else once somebody speaks.
            forgets: Whether the session is over, too.
        """
        if self.welcome is not None:
            self.welcome = None
            self._on_over()
        if forgets:
            self._session = None
        self._wants = wants
        self._changed.set()

    def take(self, message: Welcome | Answer) -> bool:
        """An answer; whether it is one to a hello."""
        answer = self._answer
        if answer is None or answer.done() or message.to != self._said:
            return False
        answer.set_result(message)
        return True

    async def run(self) -> None:
        """Say hello, whenever it is time, for ever."""
        while True:
            server = self._server
            if self.welcome is not None or not self._wants or server is None or not server.online:
                await self._next_change()
                continue
            hello = self._hello(secrets.randbits(32), self._session)
            answer = await self._ask(hello)
            if isinstance(answer, Welcome) and self._server is server:
                self.welcome = answer
                self._session = answer.session
                self._on_begun(hello, answer)
                self._changed.set()
            elif isinstance(answer, Answer):
                self._on_refused(answer)
                await asyncio.sleep(_FULL if answer.code in ("full", "refused") else _AGAIN)

    async def _ask(self, hello: Hello) -> Message | None:
        """What it is answered; None where nothing comes."""
        self._said = hello.id
        self._answer = asyncio.get_running_loop().create_future()
        try:
            for _ in range(_TRIES):
                await self._send(hello.render())
                await asyncio.wait([self._answer], timeout=ANSWER)
                if self._answer.done():
                    return self._answer.result()
            return Answer(to=hello.id, ok=False, code="late", message=_NOBODY)
        finally:
            self._answer = None

    async def _next_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
