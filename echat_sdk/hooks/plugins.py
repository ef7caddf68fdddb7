"""The plugins of a host: who has which hook, in which order, and what they are told and asked."""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pluggy

from echat_sdk.audio import Seconds
from echat_sdk.cues import ReplyEmotion
from echat_sdk.errors import ConfigError
from echat_sdk.hooks.containment import Contained, Health
from echat_sdk.hooks.isolation import Isolated
from echat_sdk.hooks.permitted import EVERYTHING, Needs, permitted
from echat_sdk.hooks.spec import BEGINNINGS, NAMES, PROJECT, Hooks, Session
from echat_sdk.tools import Tool, offered
from echat_sdk.turn import Heard, SafetyEvent

MOST_CONTEXT = 8
"""Lines that one plugin may give to an answer."""

MOST_LINE = 200
"""Characters of each."""

MOST_REPLY = 2_000
"""Characters that a piece of an answer may become."""

_LOOK: Seconds = 0.05
_OFTEN: Seconds = 0.0005


@dataclass(frozen=True, slots=True)
class Registered:
    """A plugin and what it may.

    Attributes:
        name: Its name.
        plugin: The object.
        may: What it may read and do.
        consent: The purpose that a user must have agreed to before it is told of them; empty where
            the host answers for it.
    """

    name: str
    plugin: object
    may: frozenset[str] = EVERYTHING
    consent: str = ""


@dataclass(frozen=True, slots=True)
class Before:
    """What plugins say of an answer before it is made.

    Attributes:
        context: What it should know.
        voice: In which voice it is given; None for the model's own.
        danger: What was found in the words that it answers.
    """

    context: tuple[str, ...] = ()
    voice: str | None = None
    danger: SafetyEvent | None = None


class Plugins:
    """All plugins of a host, for all its conversations. Used from any thread.

    Args:
        registered: In the order in which they are called.

    Raises:
        ConfigError: one is no plugin, or has a method that looks like a hook and is none.
    """

    def __init__(self, registered: Sequence[Registered] = ()) -> None:
        self._manager = _Manager(PROJECT)
        self._manager.add_hookspecs(Hooks)
        self._registered = {each.name: each for each in registered}
        self._contained: dict[str, Contained] = {}
        for each in reversed(registered):  # pluggy calls who came last first
            _check(each)
            try:
                self._manager.register(each.plugin, each.name)
            except (ValueError, pluggy.PluginValidationError) as error:
                raise ConfigError(f"plugin {each.name}: {_why(error)}") from error
            process = each.plugin if isinstance(each.plugin, Isolated) else None
            self._contained[each.name] = Contained(each.name, process=process)
        self._is_closed = threading.Event()
        self._watching: threading.Thread | None = None
        self.tools = offered([tool for each in registered for tool in self._tools_of(each)])

    @classmethod
    def of(cls, plugins: Iterable[object]) -> Plugins:
        """Plugins that a host gives itself, and answers for: they may everything.

        Raises:
            ConfigError: as above.
        """
        names: dict[str, int] = {}
        registered = []
        for plugin in plugins:
            name = getattr(plugin, "name", None) or type(plugin).__name__.lower()
            names[name] = names.get(name, 0) + 1
            count = names[name]
            registered.append(Registered(name if count == 1 else f"{name}-{count}", plugin))
        return cls(registered)

    def __len__(self) -> int:
        return len(self._registered)

    def wants(self, hook: str) -> bool:
        """Whether anybody has it."""
        return bool(self._impls(hook))

    @property
    def health(self) -> Mapping[str, Health]:
        """How each has done, by its name."""
        return {name: self._contained[name].health for name in self._registered}

    def close(self) -> None:
        """Tell nobody anything more, but for what waits; does not wait for that."""
        self._is_closed.set()
        for each in self._contained.values():
            each.close()

    async def closed(self, within: Seconds) -> None:
        """As `close`; waits at most so long until all were told what waits."""
        self.close()
        async with asyncio.TaskGroup() as group:
            for each in self._contained.values():
                group.create_task(each.ended(within), name=f"echat-plugin-{each.name}")

    # --- told -------------------------------------------------------------------------------------

    def tell(self, hook: str, allowed: frozenset[str] | None = None, **values: Any) -> None:
        """Tell everybody who has a hook; nobody is waited for.

        Args:
            hook: Its name.
            allowed: The purposes that the user may be used for; None where nobody is asked.
            values: What it takes.
        """
        self._tell(self._impls(hook), hook, values, allowed)

    def erase(self, user: str, purpose: str = "") -> None:
        """Tell that everything that is known of a user was erased, by `on_erase`.

        Args:
            user: The host's own id of the user.
            purpose: A purpose that they refused; then only the plugin is told that it is about.
        """
        impls = [
            impl
            for impl in self._impls("on_erase")
            if purpose in ("", self._registered[impl.plugin_name].consent)
        ]
        self._tell(impls, "on_erase", {"user": user}, None)

    def _tell(
        self,
        impls: Sequence[pluggy.HookImpl],
        hook: str,
        values: Mapping[str, Any],
        allowed: frozenset[str] | None,
    ) -> None:
        self._watch()
        for impl in impls:
            if (given := self._given(hook, impl, values, allowed)) is not None:
                self._contained[impl.plugin_name].tell(impl.function, hook, given)

    # --- asked ------------------------------------------------------------------------------------

    async def before(
        self, session: Session, heard: Heard, voice: str | None, allowed: frozenset[str] | None
    ) -> Before:
        """What all say of an answer before it is made; they are asked at once.

        Args:
            session: Whose answer it is.
            heard: What is answered.
            voice: In which voice it would be given.
            allowed: The purposes that the user may be used for; None where nobody is asked.
        """
        values = {"session": session, "heard": heard, "voice": voice}
        async with asyncio.TaskGroup() as group:
            lines, voices, dangers = (
                group.create_task(self._ask(hook, values, allowed), name=f"echat-{hook}")
                for hook in ("shape_context", "shape_voice", "find_danger")
            )
        wished = [said for said in voices.result() if isinstance(said, str) and said]
        found = [said for said in dangers.result() if isinstance(said, SafetyEvent)]
        return Before(
            tuple(filter(None, (line for said in lines.result() for line in _lines(said)))),
            wished[-1] if wished else voice,
            found[0] if found else None,
        )

    async def emotion(
        self,
        session: Session,
        heard: Heard,
        emotion: ReplyEmotion,
        allowed: frozenset[str] | None,
    ) -> ReplyEmotion:
        """With which emotion to answer."""
        for impl in self._impls("shape_emotion"):
            asked = {"session": session, "heard": heard, "emotion": emotion}
            said = await self._asked(impl, "shape_emotion", asked, allowed)
            emotion = said if isinstance(said, ReplyEmotion) else emotion
        return emotion

    async def reply(
        self, session: Session, heard: Heard, text: str, allowed: frozenset[str] | None
    ) -> str:
        """What to say in the place of a piece of an answer."""
        for impl in self._impls("shape_reply"):
            asked = {"session": session, "heard": heard, "text": text}
            said = await self._asked(impl, "shape_reply", asked, allowed)
            text = said[:MOST_REPLY] if isinstance(said, str) else text
        return text

    async def _ask(
        self, hook: str, values: Mapping[str, Any], allowed: frozenset[str] | None
    ) -> list[Any]:
        """What all say, in their order; they are asked at once."""
        async with asyncio.TaskGroup() as group:
            asked = [
                group.create_task(self._asked(impl, hook, values, allowed), name=f"echat-{hook}")
                for impl in self._impls(hook)
            ]
        return [task.result() for task in asked]

    async def _asked(
        self,
        impl: pluggy.HookImpl,
        hook: str,
        values: Mapping[str, Any],
        allowed: frozenset[str] | None,
    ) -> Any:
        given = self._given(hook, impl, values, allowed)
        if given is None:
            return None
        self._watch()
        return await self._contained[impl.plugin_name].ask(impl.function, hook, given)

    # --- who does not come back -------------------------------------------------------------------

    def _watch(self) -> None:
        """From the first call on, look for what does not come back."""
        if self._watching is None and self._registered:
            self._watching = threading.Thread(
                target=self._look, name="echat-plugins-watch", daemon=True
            )
            self._watching.start()

    def _look(self) -> None:
        usual = sys.getswitchinterval()
        try:
            while not self._is_closed.wait(_LOOK):
                for each in self._contained.values():
                    each.look()
                # Who computes without end gives up the interpreter often, so that others go on.
                is_long = any(each.takes_long for each in self._contained.values())
                sys.setswitchinterval(min(usual, _OFTEN) if is_long else usual)
        finally:
            sys.setswitchinterval(usual)

    # --- plumbing ---------------------------------------------------------------------------------

    def _impls(self, hook: str) -> list[pluggy.HookImpl]:
        impls: list[pluggy.HookImpl] = getattr(self._manager.hook, hook).get_hookimpls()
        return impls[::-1]

    def _given(
        self,
        hook: str,
        impl: pluggy.HookImpl,
        values: Mapping[str, Any],
        allowed: frozenset[str] | None,
    ) -> dict[str, Any] | None:
        """What a plugin is given of it; None for nothing at all."""
        who = self._registered[impl.plugin_name]
        if who.consent and "user" not in values and who.consent not in (allowed or ()):
            return None
        wanted = {name: values[name] for name in impl.argnames}
        return permitted(hook, wanted, who.may)

    def _tools_of(self, who: Registered) -> Sequence[Tool]:
        tools: Callable[[], Sequence[Tool]] | None = getattr(who.plugin, "tools", None)
        found = () if tools is None else tools()
        return [tool for tool in found if Needs.tool(tool.name) in who.may or who.may == EVERYTHING]


class _Manager(pluggy.PluginManager):
    """Takes a plain method with the name of a hook for one: a plugin needs no decorator."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        opts = super().parse_hookimpl_opts(plugin, name)
        if opts is not None or name not in NAMES or not inspect.isroutine(getattr(plugin, name)):
            return opts
        return {"wrapper": False, "hookwrapper": False, "optionalhook": False} | {
            "tryfirst": False,
            "trylast": False,
            "specname": None,
        }


def _lines(said: object) -> list[str]:
    """Lines that a plugin gives, as many and as long as they may be."""
    if not isinstance(said, Sequence) or isinstance(said, str | bytes):
        return []
    return [" ".join(str(line)[:MOST_LINE].split()) for line in said[:MOST_CONTEXT]]


def _check(who: Registered) -> None:
    for name in dir(who.plugin):
        if name.startswith(BEGINNINGS) and name not in NAMES:
            raise ConfigError(
                f"plugin {who.name}: there is no hook {name!r}; there are {', '.join(NAMES)}"
            )


def _why(error: Exception) -> str:
    """In one line; pluggy shows the whole function."""
    said = str(error).splitlines()
    return next((line for line in reversed(said) if line.strip()), type(error).__name__).strip()
