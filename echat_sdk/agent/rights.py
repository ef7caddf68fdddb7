"""Grants what people ask for by right: to be told what is kept of them, and to have it forgotten.

Asked before the model is, and answered without it. No such turn is kept: asking to forget would
leave a trace of itself. To forget everything is asked back first; only a yes in the next turn does
it, and a question that was not said to its end, or that something else was said after, is none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, tzinfo

from echat_sdk.agent.consenting import allowed_of
from echat_sdk.agent.keeper import Keeper
from echat_sdk.agent.own_voice import said_in
from echat_sdk.agent.requests import Request, answer_in, request_in
from echat_sdk.agent.rights_lines import LINES, Said, Sentences, told
from echat_sdk.audio import Seconds
from echat_sdk.bridge import Worker
from echat_sdk.consent import Purpose
from echat_sdk.cues import ReplyEmotion
from echat_sdk.disclosure import EVERY
from echat_sdk.errors import EChatError
from echat_sdk.protocols import ConversationKeeper, Forgetting, Memory, SpeechModel
from echat_sdk.turn import Delta, Lang, TextDelta, Thought

YES_WITHIN: Seconds = 120.0
"""How long a question stays open; a yes later is a yes to something else."""


def _now() -> datetime:
    return datetime.now(UTC)


def _nothing(lang: Lang, allowed: Collection[str]) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a host grants what people have a right to.

    Attributes:
        zone: Where the user's day begins at midnight; None for the machine's own zone.
        shown: How a user sees all that is kept of them, as it is said to them: a command, a page.
        disclosure: What a live conversation tells again before the next answer once it has lasted
            so long, in a language, to somebody who is used for these purposes; empty for nothing.
            The first time is the host's, as a greeting.
        remind_every: How long.
        now: Gives the present moment, with its zone.
    """

    zone: tzinfo | None = None
    shown: str = ""
    disclosure: Callable[[Lang, Collection[str]], str] = _nothing
    remind_every: Seconds = EVERY
    now: Callable[[], datetime] = _now

    def midnight(self) -> datetime:
        """When the user's day began."""
        today = self.now().astimezone(self.zone).date()
        begun = datetime.combine(today, time.min, self.zone)
        return begun if self.zone else begun.astimezone()  # of a time without zone: the machine's


@dataclass(frozen=True, slots=True)
class Granted:
    """What became of a request.

    Attributes:
        sentences: What is said to it.
        is_forgotten: Whether something was forgotten, so that the model must forget it, too.
    """

    sentences: Sentences
    is_forgotten: bool = False


@dataclass(slots=True)
class Rights:
    """The rights of one user in one conversation. Called from the event loop.

    Attributes:
        memory: Keeps; where it cannot tell and forget, nobody is told that it did.
        store: The memory's thread.
        user: Whose rights they are.
        clock: Seconds, rising.
        manner: How they are granted.
        keeper: What holds turns that are not kept yet, where something does.
        on_all: Told when everything was forgotten.
    """

    memory: Memory
    store: Worker
    user: str
    clock: Callable[[], Seconds]
    manner: Manner = field(default_factory=Manner)
    keeper: Keeper | None = None
    on_all: Callable[[], None] = lambda: None
    _asked_at: Seconds | None = None  # when it was asked whether to forget everything
    _was_request: bool = False  # whether the last turn was one, and so is not kept

    @property
    def awaits_yes(self) -> bool:
        """Whether it was asked back, and a yes now forgets everything."""
        return self._asked_at is not None and self.clock() - self._asked_at <= YES_WITHIN

    def asked(self, transcript: str) -> Request | None:
        """What somebody asks for with these words; None for anything else. Changes nothing."""
        if self.awaits_yes and (answer := answer_in(transcript)):
            return answer
        request = request_in(transcript)
        if request is Request.KNOWN and not isinstance(self.memory, Forgetting):
            return None  # the model may know
        return request

    def other(self) -> None:
        """Somebody said something else, or the agent did: an open question is none any more."""
        self._asked_at = None

    def passed(self) -> None:
        """A turn was taken that asks for nothing here."""
        self.other()
        self._was_request = False

    def over(self, request: Request, *, is_whole: bool) -> None:
        """A request was answered.

        Args:
            request: What was asked for.
            is_whole: Whether all that is said to it was said.
        """
        self._was_request = True
        self._asked_at = self.clock() if is_whole and request is Request.EVERYTHING else None
        if not isinstance(self.memory, Forgetting):
            self._asked_at = None

    async def grant(
        self,
        request: Request,
        lang: Lang,
        allowed: Collection[str] | None,
        *,
        begun: str = "",
    ) -> Granted:
        """Do what was asked for; what it comes to.

        Args:
            request: What was asked for.
            lang: Language of the answer.
            allowed: The purposes that the user may be used for; None where nobody is asked.
            begun: The store's id of a turn that has the first words of the request in it.

        Raises:
            StoreError: it could not be done.
        """
        memory = self.memory
        if not isinstance(memory, Forgetting):
            return _line("kept" if request is Request.NO else "cannot", lang)
        match request:
            case Request.EVERYTHING:
                granted = _line("sure", lang)
            case Request.NO:
                granted = _line("kept", lang)
            case Request.KNOWN:
                known = await self.store.call(lambda: memory.known(self.user, lang=lang))
                since = known.since and known.since.astimezone(self.manner.zone).date()
                today = self.manner.now().astimezone(self.manner.zone).date()
                shown = self.manner.shown
                granted = Granted(
                    told(known, lang, allowed=allowed, since=since, today=today, shown=shown)
                )
            case Request.TODAY | Request.LAST | Request.YES:
                granted = await self.store.keep(self._forget, memory, request, lang, begun)
                begun = ""
                if request is Request.YES:
                    self.on_all()
        if begun:
            await self.store.keep(lambda: memory.forget(self.user, turn=begun))
        return granted

    def _forget(self, memory: Forgetting, request: Request, lang: Lang, begun: str) -> Granted:
        """Forget it; in the memory's thread."""
        if request is Request.YES:
            if self.keeper is not None:
                self.keeper.forget()
            memory.forget(self.user)
            # A host may count people as asked elsewhere; then what they say now is kept again.
            is_kept = Purpose.LONG_TERM_MEMORY in self._allowed()
            return _line("all" if is_kept else "all, and no more", lang, is_forgotten=True)
        if request is Request.TODAY:
            since = self.manner.midnight()
            count = 0 if self.keeper is None else self.keeper.forget(since=since)
            count += memory.forget(self.user, since=since)
            return _line("today" if count else "nothing", lang, is_forgotten=True)
        if begun:
            memory.forget(self.user, turn=begun)
        if self._was_request:
            return _line("nothing", lang)
        if self.keeper is not None and self.keeper.forget_last():
            return _line("last", lang, is_forgotten=True)
        last = memory.last_turn(self.user)
        count = 0 if last is None else memory.forget(self.user, turn=last)
        return _line("last" if count else "nothing", lang, is_forgotten=True)

    def _allowed(self) -> Collection[str]:
        allowed = allowed_of(self.memory, self.user)
        return (Purpose.LONG_TERM_MEMORY,) if allowed is None else allowed


def failed(lang: Lang) -> Granted:
    """What is said where the store could not do it."""
    return Granted(LINES["failed"][lang])


def spoken(
    model: SpeechModel,
    request: Request,
    sentences: Sentences,
    lang: Lang,
    *,
    speak: bool,
    voice: str | None = None,
) -> Iterator[Delta]:
    """The deltas of an answer to a request; in writing alone where the model has no voice."""
    yield Thought(ReplyEmotion.NEUTRAL, f"asked: {request}")
    for number, sentence in enumerate(sentences):
        yield TextDelta(sentence if lang == "zh" or not number else f" {sentence}")
        if speak:
            try:
                yield from said_in(voice, model, sentence, ReplyEmotion.NEUTRAL)
            except EChatError:
                speak = False  # what was done must be told all the same


def forget_conversation(model: SpeechModel, key: str) -> None:
    """Have a model drop what it read of a conversation, in its thread."""
    if isinstance(model, ConversationKeeper):
        model.forget(key)


def _line(said: Said, lang: Lang, *, is_forgotten: bool = False) -> Granted:
    return Granted(LINES[said][lang], is_forgotten)
