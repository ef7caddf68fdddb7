"""What conversations are made with: one model and one memory for all; and how devices come in."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from echat_sdk.agent.agent import Agent
from echat_sdk.agent.rights import Manner
from echat_sdk.hooks import Plugins
from echat_sdk.protocols import VAD, AudioIO, Memory, SpeechModel, TurnEnd, Voiced
from echat_sdk.turn import Lang, LangChoice, ThinkStyle
from echat_sdk.turn_policy import TurnPolicy


@dataclass(frozen=True, slots=True)
class Service:
    """What every conversation is made with; a server's sessions, a transport's devices.

    Attributes:
        model: Hears, thinks and speaks, for all at once.
        memory: Keeps; `Agreeing`, `Forgetting` and an `Account` too, where people can see and
            change what is kept.
        guest_memory: Makes the memory of one session whose user is nobody that is known; it is
            dropped with the session.
        open_vad: Opens one voice activity detector for one session.
        turn_end: Tells whether a turn sounds complete; None waits by the clock alone.
        policy: How patient a session is, unless it asks for something else.
        think: Form of the thought.
        lang: Language that is spoken, or `auto`.
        manner: How rights are granted to a user.
        in_words: A trace of the account's as lines in a language: what each is, and its text.
        greeting: What is said to whoever asks for an answer before anything was said.
        plugins: What extends every conversation.
        deployment: Where it is used; see `config.Settings`.
        disclosure: What a person is told before they are heard, in a language.
        own_disclosure: The host's own words for that; empty for the usual ones.
    """

    model: SpeechModel
    memory: Memory
    guest_memory: Callable[[], Memory]
    open_vad: Callable[[], VAD]
    turn_end: TurnEnd | None = None
    policy: TurnPolicy = field(default_factory=TurnPolicy)
    think: ThinkStyle = "tag"
    lang: LangChoice = "auto"
    manner: Callable[[str], Manner] = lambda user: Manner()
    in_words: Callable[[Any, Lang], Sequence[tuple[str, str]]] = lambda trace, lang: ()
    greeting: str = ""
    plugins: Plugins = field(default_factory=Plugins)
    deployment: str = "private"
    disclosure: Callable[[Lang], str] = lambda lang: ""
    own_disclosure: str = ""

    @property
    def voices(self) -> tuple[str, ...]:
        """Names of voices that may be asked for."""
        return tuple(self.model.voices()) if isinstance(self.model, Voiced) else ()

    def voice_of(self, asked: str) -> str | None:
        """A voice of the model's by its name; None, its own, for any other name."""
        return asked if asked in self.voices else None

    def agent(
        self,
        audio: AudioIO,
        vad: VAD,
        *,
        user: str | None,
        memory: Memory | None = None,
        voice: str | None = None,
        policy: TurnPolicy | None = None,
        greeting: str = "",
    ) -> Agent:
        """A live agent for one conversation; to be entered with `async with`.

        Args:
            audio: Where it is heard and spoken.
            vad: Its own; `open_vad` made it, in a thread.
            user: The host's own id of the user; None for a guest, of whom nothing is kept.
            memory: Where the conversation is kept; None where all are, or nowhere for a guest.
            voice: Out of `voices`; None for the model's own.
            policy: How patient it is; None as all are.
            greeting: What it says first.
        """
        known = self.memory if user is not None else self.guest_memory()
        user = user or f"guest_{secrets.token_hex(12)}"
        return Agent(
            self.model,
            known if memory is None else memory,
            user=user,
            think=self.think,
            lang=self.lang,
            voice=voice,
            audio=audio,
            vad=vad,
            turn_end=self.turn_end,
            policy=policy or self.policy,
            greeting=greeting,
            manner=self.manner(user),
            plugins=self.plugins,
            ends_on_farewell=False,
        )


class Transport(Protocol):
    """A way in for devices: each conversation has an agent of its own, made by the service."""

    async def run(self, service: Service) -> None:
        """Take conversations until cancelled.

        Raises:
            EChatError: they cannot be taken at all: an address in use, a certificate that is none.
        """
        ...
