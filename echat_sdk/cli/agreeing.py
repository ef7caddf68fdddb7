"""Whose memory a command uses, and whether they agreed to it.

On one's own machine whoever runs `echat` asks it to listen: for that run, and in RAM. What outlives
the run is asked for: by one question on a terminal, the first time; elsewhere by `--remember`. Who
is not asked is a guest.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.text import Text

from echat_sdk.cli import memory_keys
from echat_sdk.config import OF_A_PLUGIN
from echat_sdk.consent import IN_WORDS, REMEMBERED, RUN, ConsentState, Purpose, barred_in
from echat_sdk.disclosure import VERSION
from echat_sdk.errors import ConfigError, ConsentError

if TYPE_CHECKING:
    from echat_memory import GuestMemory, SQLMemory
    from echat_sdk.config import Deployment, Settings

Recorded = Literal["flag", "asked"]
"""How it was agreed that a conversation is recorded."""

RememberOption = Annotated[
    bool | None,
    typer.Option(
        "--remember/--guest", help="Whether this is remembered; without either you are asked once."
    ),
]


@contextmanager
def memory(
    settings: Settings, remember: bool | None, *, by_voice: bool, may_ask: bool
) -> Iterator[SQLMemory | GuestMemory]:
    """The memory that the settings name, once its user was asked what may be kept of them.

    Args:
        settings: What was configured.
        remember: What `--remember` or `--guest` said.
        by_voice: Whether the user is heard; else they type.
        may_ask: Whether a question may be put on the terminal.

    Raises:
        ConsentError: they are to be heard and did not agree to it.
    """
    from echat_memory import GuestMemory, SQLMemory

    unasked = unasked_in(settings.deployment)
    barred = barred_in(settings.deployment, settings.exemption)
    if settings.store.startswith(OF_A_PLUGIN) and remember is not False:
        raise ConfigError(
            f"store is {settings.store}: a plugin's memory is for echat serve and Agent; "
            "here give --guest, or a URL in ECHAT_STORE"
        )
    opened: SQLMemory | GuestMemory = (
        GuestMemory(unasked=unasked, barred=barred)
        if remember is False
        else SQLMemory(
            settings.store,
            unasked=unasked,
            barred=barred,
            retention=settings.retention,
            encryption=memory_keys.encryption(settings),
        )
    )
    with closing(opened):
        wanted = (RUN if remember is False else REMEMBERED) - barred
        _agree(opened, settings.user, wanted, remember=remember, may_ask=may_ask)
        if by_voice and Purpose.PROCESS_VOICE not in opened.allowed(settings.user):
            raise ConsentError(
                "nobody is listened to without consent: give it with echat memory consent "
                "USER process_voice grant, or with --remember"
            )
        yield opened


def to_record(memory: SQLMemory | GuestMemory, user: str, *, flag: bool) -> Recorded:
    """How it was agreed that both sides are kept; the answer is kept as the user's own, too.

    Args:
        memory: Knows what the user said before.
        user: Who talks.
        flag: Whether `--consent` says it for all who will be heard.

    Raises:
        ConfigError: nobody can be asked, or somebody does not agree.
        ConsentError: the user said before that the sound of their voice shall not be kept.
    """
    consents = memory.consents(user)
    state = consents.of(Purpose.STORE_AUDIO).at(datetime.now(UTC))
    if state in (ConsentState.DENIED, ConsentState.WITHDRAWN):
        raise ConsentError(
            f"this user's answer to store_audio is {state}: leave --record away, or have them "
            "change it with echat memory consent USER store_audio grant"
        )
    if not flag:
        if not sys.stdin.isatty():
            raise ConfigError(
                "--record keeps what everybody says; add --consent if all who will be heard agree"
            )
        question = "Both sides will be kept. Do all who will be heard agree?"
        if not typer.confirm(question, default=False, err=True):
            raise ConfigError(
                "nobody is recorded without consent; leave --record away to talk anyway"
            )
    if state is not ConsentState.GRANTED:
        channel = "flag" if flag else "cli"
        memory.consent(user, Purpose.STORE_AUDIO, version=VERSION, channel=channel)
    return "flag" if flag else "asked"


def unasked_in(deployment: Deployment) -> frozenset[str]:
    """What counts before anybody was asked: whoever starts `echat` at home asks to be heard."""
    return RUN if deployment == "private" else frozenset()


def heeding(settings: Settings, allowed: Collection[str]) -> Settings:
    """The settings of a model that infers nothing to which its user did not agree."""
    return settings.model_copy(
        update={
            "infer_emotion": settings.infer_emotion and Purpose.INFER_EMOTION in allowed,
            "infer_gender": settings.infer_gender and Purpose.INFER_GENDER in allowed,
        }
    )


def _agree(
    memory: SQLMemory | GuestMemory,
    user: str,
    wanted: frozenset[str],
    *,
    remember: bool | None,
    may_ask: bool,
) -> None:
    if remember:
        if not wanted <= memory.allowed(user):
            memory.consent(user, wanted, version=VERSION, channel="flag")
        return
    known = memory.consents(user)
    open_ = [p for p in wanted - known.unasked if p not in known.given]
    if not open_ or Purpose.LONG_TERM_MEMORY in known.given:
        return
    if may_ask and sys.stdin.isatty():
        _ask(memory, user, [p for p in Purpose if p in wanted])
    elif remember is None:
        _say("nothing of this is kept: nobody agreed to be remembered; --remember agrees")


def _ask(memory: SQLMemory | GuestMemory, user: str, wanted: Collection[Purpose]) -> None:
    """One question; who wants to answer each purpose apart may."""
    console = Console(stderr=True, highlight=False)
    console.print("If you agree:")
    for purpose in wanted:
        console.print(Text(f"  · {IN_WORDS[purpose]}", "dim"))
    console.print("On this machine alone; see, change and erase it with echat memory.")
    answer = typer.prompt("Agree? [y]es, [n]o, [e]ach", default="n", show_default=False, err=True)
    match answer.strip().lower():
        case "y" | "yes":
            yes = set(wanted)
        case "e" | "each":
            yes = {p for p in wanted if typer.confirm(f"  {IN_WORDS[p]}?", err=True)}
        case _:
            # Who is not to be remembered may be heard all the same: they started this themselves.
            yes = set()
            wanted = [p for p in wanted if p not in memory.consents(user).unasked]
    no = set(wanted) - yes
    for purposes, state in ((yes, ConsentState.GRANTED), (no, ConsentState.DENIED)):
        if purposes:
            memory.consent(user, purposes, state, version=VERSION, channel="cli")
    if Purpose.LONG_TERM_MEMORY not in yes:
        _say("you are a guest: nothing of this is kept")


def _say(line: str) -> None:
    """Tell whoever watches; a script finds it in the turn's id."""
    console = Console(stderr=True, highlight=False)
    if console.is_terminal:
        console.print(Text(f"echat: {line}", "dim"), soft_wrap=True)
