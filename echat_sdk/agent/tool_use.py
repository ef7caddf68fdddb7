"""Runs the tools that people ask for: one a turn, under a deadline, cancelled with the turn."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence

from echat_sdk.bridge import Worker
from echat_sdk.errors import ConfigError
from echat_sdk.protocols import Plugin, SpeechModel, ToolChooser, ToolUser
from echat_sdk.tools import Tool, ToolCall, finding, offered
from echat_sdk.turn import Finding, Heard, Lang

log = logging.getLogger(__name__)


class ToolUse:
    """The tools of an agent's plugins, and the model's side that chooses among them.

    Args:
        chooser: Tells which tool is meant; None where there are no tools.
    """

    def __init__(self, chooser: ToolChooser | None = None) -> None:
        self._chooser = chooser
        self._thread: Worker | None = None

    @classmethod
    def of(cls, plugins: Sequence[Plugin], model: SpeechModel) -> ToolUse:
        """The tools that plugins offer, chosen by the model.

        Raises:
            ConfigError: two tools have one name, or the model cannot choose any.
            UnsupportedError: the model would choose wrongly.
        """
        return cls(_chooser([tool for each in plugins for tool in each.tools()], model))

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
        """The tool that somebody asks for."""
        if self._chooser is None:
            return None
        return await mind.call(self._chooser.choose, heard)

    async def run(self, call: ToolCall) -> Finding:
        """Run a tool. What goes wrong in it ends it, and nothing else.

        Cancelling this cancels an `async` tool; one in a thread is left behind, unheard.
        """
        tool = call.tool
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
