"""Runs the tools that people ask for: one a turn, under a deadline, cancelled with the turn."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from echat_sdk.agent.requests import Request, answer_in
from echat_sdk.agent.rights import YES_WITHIN
from echat_sdk.audio import Seconds
from echat_sdk.bridge import Worker
from echat_sdk.errors import ConfigError
from echat_sdk.protocols import SpeechModel, ToolChooser, ToolUser
from echat_sdk.tools import Tool, ToolCall, finding, needs_yes, offered, question
from echat_sdk.turn import Finding, Heard, Lang

log = logging.getLogger(__name__)

_LEFT: dict[Lang, str] = {"en": "All right, I'll leave it.", "zh": "好的，那就不做了。"}


class ToolUse:
    """The tools of an agent's plugins, and the model's side that chooses among them.

    A tool that `asks` runs in the turn after its question, if that is a yes and nothing else.

    Args:
        chooser: Tells which tool is meant; None where there are no tools.
        clock: Seconds, rising.
    """

    def __init__(
        self, chooser: ToolChooser | None = None, clock: Callable[[], Seconds] = time.monotonic
    ) -> None:
        self._chooser = chooser
        self._clock = clock
        self._thread: Worker | None = None
        self._asked: tuple[ToolCall, Seconds] | None = None  # and when

    @classmethod
    def of(cls, tools: Sequence[Tool], model: SpeechModel) -> ToolUse:
        """These tools, chosen by the model.

        Raises:
            ConfigError: two tools have one name, or the model cannot choose any.
            UnsupportedError: the model would choose wrongly.
        """
        return cls(_chooser(tools, model))

    def offer(self, tools: Sequence[Tool], model: SpeechModel) -> None:
        """Choose among these tools from now on.

        Raises:
            ConfigError: as `of`.
            UnsupportedError: as `of`.
        """
        self._chooser = _chooser(tools, model)

    async def warm_up(self, mind: Worker, lang: Lang) -> None:
        """Read the tools in a language, so that the first wish is understood at once."""
        if self._chooser is not None:
            await mind.call(self._chooser.warm_up, lang)

    async def choose(self, heard: Heard, mind: Worker) -> ToolCall | None:
        """The tool that somebody asks for, or said yes to."""
        if self._asked is not None:
            call, at = self._asked
            answer = answer_in(heard.transcript) if self._clock() - at <= YES_WITHIN else None
            if answer is not None:
                return replace(call, answer=answer is Request.YES)
        if self._chooser is None:
            return None
        return await mind.call(self._chooser.choose, heard)

    def over(self, call: ToolCall | None) -> None:
        """A turn has ended; the question of this call was said in it to its end, if one was."""
        self._asked = None if call is None or not needs_yes(call) else (call, self._clock())

    async def run(self, call: ToolCall, lang: Lang) -> Finding:
        """Run a tool, or ask first, or leave it. What goes wrong in it ends it, and nothing else.

        Cancelling this cancels an `async` tool; one in a thread is left behind, unheard.
        """
        tool = call.tool
        if needs_yes(call):
            return Finding(tool.name, words=question(call, lang))
        if call.answer is False:
            return Finding(tool.name, words=_LEFT[lang])
        try:
            async with asyncio.timeout(tool.deadline):
                return await self._found(call)
        except TimeoutError:
            log.warning("tool %s took longer than %.1f s", tool.name, tool.deadline)
            return Finding(tool.name, error="late")
        except Exception as error:  # noqa: BLE001 - a tool is a stranger's code
            # Its message may hold what somebody said.
            log.warning("tool %s failed with %s", tool.name, type(error).__name__)
            return Finding(tool.name, error=type(error).__name__)

    def close(self) -> None:
        """Leave what still runs in a thread to itself."""
        if self._thread is not None:
            self._thread.abandon()
            self._thread = None

    async def _found(self, call: ToolCall) -> Finding:
        """What it gives. A result may be large, so it is put into its form in the thread."""
        name, function = call.tool.name, call.tool.function
        thread = self._thread = self._thread or Worker("echat-tool")
        try:
            if not call.tool.is_async:
                return await thread.call(lambda: finding(name, function(**call.arguments)))
            awaited = function(**call.arguments)
            assert isinstance(awaited, Awaitable)
            return await thread.call(finding, name, await awaited)
        except asyncio.CancelledError:
            thread.abandon()  # it may hang; the next tool has another thread
            self._thread = None
            raise


def _chooser(tools: Sequence[Tool], model: SpeechModel) -> ToolChooser | None:
    tools = offered(tools)
    if not tools:
        return None
    if not isinstance(model, ToolUser):
        raise ConfigError(
            f"{model.name} cannot use the tools of plugins; echat-lite can, or any ToolUser"
        )
    return model.tool_chooser(tools)
