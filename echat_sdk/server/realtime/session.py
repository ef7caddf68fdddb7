"""One session: a client's events in, done one after the other; what the agent does, told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from echat_sdk.agent.ear import Ear
from echat_sdk.agent.events import State, StateChanged
from echat_sdk.agent.service import Service
from echat_sdk.audio import FRAME_SECONDS, Hertz, Seconds, Waveform
from echat_sdk.bridge import Worker
from echat_sdk.errors import ConfigError, EChatError, UnsupportedError
from echat_sdk.protocols import VAD, Forgetting, Memory
from echat_sdk.server.caller import Caller
from echat_sdk.server.realtime import apart
from echat_sdk.server.realtime.account import AccountDesk
from echat_sdk.server.realtime.asking import Asking
from echat_sdk.server.realtime.client_tools import ClientCalls, client_tool
from echat_sdk.server.realtime.config import Asked, SessionConfig
from echat_sdk.server.realtime.faults import Fault
from echat_sdk.server.realtime.items import Conversation, Item, from_client, new_id
from echat_sdk.server.realtime.line import Line, in_pieces
from echat_sdk.server.realtime.telling import Teller
from echat_sdk.server.realtime.writer import ResponseWriter
from echat_sdk.turn import Lang, LangChoice, Turn, TurnStatus

MOST_UNCOMMITTED: Seconds = 120.0
"""Sound that a client may hold before it commits it."""

HELLO = {"en": "Hello, I'm here. What is on your mind?", "zh": "你好，我在呢。想聊点什么？"}
"""What is said to whoever wants an answer and has said nothing, unless the host has a greeting."""


class Session:
    """What a client's connection is to us.

    Args:
        service: What is served.
        caller: Whose it is.
        model: As the client called it.
        send: Takes events, without waiting.
        vad: Tells speech; its own.
        on_turn: Told of each turn that ended.
        on_state: Told what the agent does, as it changes.
        line: Where sound comes from and goes to; None for sound in events.
    """

    def __init__(
        self,
        service: Service,
        caller: Caller,
        model: str,
        send: Callable[[dict[str, Any]], None],
        vad: VAD,
        on_turn: Callable[[Turn], None] = lambda turn: None,
        on_state: Callable[[State], None] = lambda state: None,
        line: Line | None = None,
    ) -> None:
        self.id = new_id("sess")
        self._service = service
        self._send = send
        self._on_turn = on_turn
        self._on_state = on_state
        self._user = caller.user or new_id("guest")
        self._is_guest = caller.user is None
        self._conversation = Conversation()
        memory: Memory = service.guest_memory() if self._is_guest else service.memory
        self._memory = memory
        self._config = SessionConfig(model=model or service.model.name)
        self._line = line or Line(service.model.sample_rate)
        self._desk = AccountDesk(service, memory, self._user)
        self._apart: dict[str, asyncio.Task[None]] = {}
        self._transcribing: set[asyncio.Task[None]] = set()
        self._is_over = False
        self._aside_mind: Worker | None = None
        self._group = asyncio.TaskGroup()
        self._buffer: Ear | None = None  # what a client commits itself
        self._calls = ClientCalls()
        self._teller = Teller(
            send,
            self._conversation,
            lambda: self._config,
            on_heard_out=self._write_down,
            on_turn=self._after_turn,
        )
        self._agent = service.agent(
            self._line,
            vad,
            user=self._user,
            memory=memory,
            policy=self._config.turns.policy(service.policy),
        )
        means = service, self._desk, self._agent, self._teller, self._line, send
        self._asking = Asking(*means, lambda: self._config, self._spawn)
        self._began = dict(caller.session)
        self._does: Mapping[str, Callable[[dict[str, Any]], Awaitable[None]]] = {
            "session.update": self._update,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
            "output_audio_buffer.clear": self._cancel_all,
            "conversation.item.create": self._create_item,
            "conversation.item.retrieve": self._retrieve,
            "conversation.item.truncate": self._truncate,
            "conversation.item.delete": self._delete,
            "response.create": self._respond,
            "response.cancel": self._cancel,
            "echat.consent.ask": self._asking.ask,
            "echat.consent.update": self._asking.update,
        }

    async def run(self, events: Callable[[], Awaitable[dict[str, Any] | None]]) -> None:
        """Do what a client asks for until it asks for no more.

        Args:
            events: Gives its next event, checked; None at the end.
        """
        async with self._agent:
            try:
                async with self._group:
                    self._group.create_task(self._tell(), name="echat-telling")
                    await self._begin()
                    while (event := await events()) is not None:
                        await self._do(event)
                    self._is_over = True
                    self._asking.close()
                    for task in (*self._apart.values(), *self._transcribing):
                        task.cancel()
                    self._agent.end()  # what happens until then is heeded, though nobody reads it
            finally:
                self._teller.close()
                self._desk.close()
                if self._aside_mind is not None:
                    self._aside_mind.abandon()

    async def _begin(self) -> None:
        fault = None
        if self._began:
            try:
                await self._change(self._config.updated(self._began, self._service.voices))
            except Fault as error:  # whoever made the secret asked for what cannot be
                fault = error
        self._send({"type": "session.created", "session": await self._told()})
        if fault is not None:
            self._send(fault.as_event(None))
        conversation = {"id": self._conversation.id, "object": "realtime.conversation"}
        self._send({"type": "conversation.created", "conversation": conversation})

    async def _tell(self) -> None:
        async for event in self._agent.events():
            self._teller.tell(event)
            self._asking.tell(event)
            if isinstance(event, StateChanged):
                self._on_state(event.state)

    async def _do(self, event: dict[str, Any]) -> None:
        """Do one; what cannot be done is told, and the session goes on."""
        try:
            if (does := self._does.get(event["type"])) is not None:
                await does(event)
            else:
                self._send(await self._desk.answer(event))
        except Fault as fault:
            self._send(fault.as_event(event.get("event_id")))
        except EChatError as error:
            told = Fault(str(error), code=type(error).__name__, kind="server_error")
            self._send(told.as_event(event.get("event_id")))

    # --- the session ------------------------------------------------------------------------------

    async def _update(self, event: dict[str, Any]) -> None:
        await self._change(self._config.updated(event["session"], self._service.voices))
        self._send({"type": "session.updated", "session": await self._told()})

    async def _change(self, config: SessionConfig) -> None:
        before, live = self._config, self._agent.conversation
        if config.tools != before.tools or config.tool_choice != before.tool_choice:
            tools = []
            for each in config.tools:
                tools.append(client_tool(each, self._calls.call))
                await asyncio.sleep(0)  # each takes a millisecond; other sessions go on between
            try:
                self._agent.offer([] if config.tool_choice == "none" else tools)
            except (ConfigError, UnsupportedError) as error:
                raise Fault(str(error), param="session.tools") from error
        live.speak_as(self._service.voice_of(config.voice), self._lang_of(config))
        if (config.turns, config.speaks) != (before.turns, before.speaks):
            live.adapt(
                config.turns.policy(self._service.policy),
                self._service.turn_end if config.turns.is_by_meaning else None,
                answers=config.turns.create_response,
                speak=config.speaks,
            )
            if (config.turns.kind == "none") != (before.turns.kind == "none"):
                self._asking.stop()  # its words are cut off
                live.mute(config.turns.kind == "none")
                self._buffer = None
            self._line.plays = config.turns.kind != "none"
        self._line.speaks = config.speaks
        self._config = config

    async def _told(self) -> dict[str, Any]:
        service = self._service
        ours = {
            "model": service.model.name,
            "user": not self._is_guest,
            "deployment": service.deployment,
            "disclosure": service.disclosure(self._reader),
            "lang": self._lang_of(self._config),
            "think": service.think,
            "voices": list(service.voices),
            "events": sorted(self._config.events),
            **await self._desk.consents(),
        }
        told = {"id": self.id, "object": "realtime.session", **self._config.to_json()}
        return {**told, "echat": ours}

    def _lang_of(self, config: SessionConfig) -> LangChoice:
        """The language that is spoken."""
        return config.lang or self._service.lang

    @property
    def _reader(self) -> Lang:
        """The language in which the user reads what the server itself tells them."""
        return self._config.reader or ("zh" if self._lang_of(self._config) == "zh" else "en")

    # --- sound ------------------------------------------------------------------------------------

    async def _append(self, event: dict[str, Any]) -> None:
        form = self._config.hears_as
        await self.hear(await form.decode(event["audio"]), form.rate)

    async def hear(self, samples: Waveform, rate: Hertz) -> None:
        """Take the next sound of the client's, int16 mono.

        Raises:
            Fault: too much of it waits.
        """
        config = self._config
        if self._asking.is_open:
            async for piece in in_pieces(samples, rate):
                self._asking.hear(piece, rate)
            return
        if config.turns.kind == "none":
            self._buffer = self._buffer or self._agent.conversation.spoken()
            length = self._buffer.frames * FRAME_SECONDS + len(samples) / rate
            if length > MOST_UNCOMMITTED:
                raise Fault(
                    f"{length:.0f} s are not committed; at most {MOST_UNCOMMITTED:.0f} s are held",
                    code="audio_buffer_full",
                    param="audio",
                )
            async for piece in in_pieces(samples, rate):
                self._buffer.push(self._line.framed(piece, rate))
            return
        speaks = self._agent.state in (State.SPEAKING, State.OVERLAPPED)
        if speaks and not config.turns.interrupt_response:
            samples = np.zeros_like(samples)  # who may not interrupt is not heard meanwhile
        self._line.check(len(samples) / rate)
        async for piece in in_pieces(samples, rate):
            self._line.hear(piece, rate)

    async def _commit(self, event: dict[str, Any]) -> None:
        if self._config.turns.kind != "none":
            raise Fault(
                "turns are detected here; commit is for turn_detection null",
                code="input_audio_buffer_commit_not_allowed",
            )
        ear, self._buffer = self._buffer, None
        if ear is None or not ear.frames:
            raise Fault(
                "the buffer is empty; append audio first", code="input_audio_buffer_commit_empty"
            )
        self._write_down(self._teller.commit(ear))

    async def _clear(self, event: dict[str, Any]) -> None:
        self._buffer = None
        self._line.clear()
        if self._config.turns.kind != "none" and not self._asking.is_open:
            self._agent.mute()
            self._agent.mute(False)
        self._send({"type": "input_audio_buffer.cleared"})

    def _write_down(self, item: Item) -> None:
        """Tell the words of an item that nobody answers yet."""
        assert item.ear is not None
        if self._is_over:
            return  # there is nobody to tell, and soon no model's thread
        task = self._spawn(partial(self._transcribe, item, item.ear), "transcribing")
        self._transcribing.add(task)
        task.add_done_callback(self._transcribing.discard)

    async def _transcribe(self, item: Item, ear: Ear) -> None:
        try:
            self._teller.transcribed(item, await self._agent.conversation.heard(ear))
        except EChatError as error:
            told = {"type": "server_error", "code": type(error).__name__, "message": str(error)}
            kind = "conversation.item.input_audio_transcription.failed"
            self._send({"type": kind, "item_id": item.id, "content_index": 0, "error": told})

    # --- items ------------------------------------------------------------------------------------

    async def _create_item(self, event: dict[str, Any]) -> None:
        item = from_client(event["item"])
        if item.body["type"] == "function_call_output":
            self._calls.take(item.body["call_id"], item.body["output"])
        for sound in item.sound:
            item.ear = item.ear or self._agent.conversation.spoken()
            form = self._config.hears_as
            line = Line(form.rate)
            async for piece in in_pieces(await form.decode(sound), form.rate):
                item.ear.push(line.framed(piece, form.rate))
        item.sound.clear()
        previous = self._conversation.add(item, event.get("previous_item_id"))
        for what in ("added", "done"):
            told = {"previous_item_id": previous, "item": item.to_json()}
            self._send({"type": f"conversation.item.{what}", **told})
        self._recount()
        if item.ear is not None:
            self._write_down(item)

    def _recount(self) -> None:
        """Answers know what the client put into the conversation, but for what they answer."""
        told = [item for item in self._conversation if item.is_told]
        self._agent.conversation.recount(apart.turns_of(told))

    async def _retrieve(self, event: dict[str, Any]) -> None:
        item = self._conversation.get(event["item_id"])
        self._send({"type": "conversation.item.retrieved", "item": item.to_json()})

    async def _truncate(self, event: dict[str, Any]) -> None:
        item = self._conversation.get(event["item_id"])
        if event["content_index"] != 0:
            raise Fault("a message has one part, 0", param="content_index")
        writer = self._teller.active
        if writer is not None and writer.item is item:
            await self._interrupt()
        item.truncate(event["audio_end_ms"])
        if item.turn is not None:
            await self._agent.conversation.kept(self._cut, item)
        at = {name: event[name] for name in ("item_id", "content_index", "audio_end_ms")}
        self._send({"type": "conversation.item.truncated", **at})

    def _cut(self, item: Item) -> None:
        """Keep of an answer what was heard; in the memory's thread."""
        assert item.turn is not None
        turn = replace(item.turn, reply=item.text, status=TurnStatus.INTERRUPTED)
        self._memory.remember(self._user, turn, turn_id=item.turn_id or None)

    async def _delete(self, event: dict[str, Any]) -> None:
        item = self._conversation.delete(event["item_id"])
        memory = self._memory
        if item.turn_id and item.role == "user" and isinstance(memory, Forgetting):
            await self._agent.conversation.kept(
                lambda: memory.forget(self._user, turn=item.turn_id)
            )
        self._recount()
        self._send({"type": "conversation.item.deleted", "item_id": item.id})

    # --- responses --------------------------------------------------------------------------------

    async def _respond(self, event: dict[str, Any]) -> None:
        given = event.get("response") or {}
        asked = Asked.in_body(given, self._config, self._service.voices)
        if given.get("conversation") == "none":
            self._respond_apart(given, asked)
            return
        self._asking.check()
        if (active := self._teller.active) is not None:
            raise Fault(
                f"{active.id} is on its way; wait for response.done, or cancel it",
                code="conversation_already_has_active_response",
            )
        called = self._teller.call_id, self._teller.call_name
        if self._calls.is_awaited(*called):
            self._teller.asked = asked
            self._teller.begin()
            self._calls.resolve(*called)
            return
        await self._interrupt()  # of a turn that is being answered, and nobody was told so yet
        self._teller.asked = asked
        item = self._conversation.last_said()
        live = self._agent.conversation
        if item is None or (not item.text and item.ear is None):
            self._teller.begin_aside()
            live.say(self._service.greeting or HELLO[self._reader])
            return
        ear = item.ear or live.typed(item.text)
        ear.speak, ear.voice = asked.speaks, self._service.voice_of(asked.voice)
        ear.finding = self._calls.finding(*called)
        self._teller.answering(item, ear)
        self._teller.begin()
        live.answer(ear)

    def _respond_apart(self, body: Mapping[str, Any], asked: Asked) -> None:
        if asked.speaks and self._line.carries_speech:
            raise Fault(
                'a call says one thing at a time: ask for a response apart with ["text"]',
                param="response.output_modalities",
            )
        if len(self._apart) >= apart.MOST:
            raise Fault(f"at most {apart.MOST} responses apart at once", code="too_many_responses")
        given = body.get("input")
        items = [*self._conversation] if given is None else [self._named(each) for each in given]
        writer = ResponseWriter(
            self._send,
            lambda item: None,
            speaks=asked.speaks,
            says_as=self._config.says_as,
            conversation=None,
            metadata=asked.metadata,
            voice=asked.voice,
        )
        self._aside_mind = self._aside_mind or Worker("echat-apart")
        work = apart.answer(
            self._service.model,
            self._aside_mind,
            items,
            writer,
            speaks=asked.speaks,
            voice=self._service.voice_of(asked.voice),
            think=self._service.think,
            lang=self._lang_of(self._config),
            fail=self._teller.fail,
        )
        task = self._group.create_task(work, name="echat-apart")
        self._apart[writer.id] = task
        task.add_done_callback(lambda _: self._apart.pop(writer.id, None))

    def _named(self, given: Mapping[str, Any]) -> Item:
        if given.get("type") == "item_reference":
            return self._conversation.get(str(given.get("id")))
        return from_client(given)

    async def _cancel(self, event: dict[str, Any]) -> None:
        wanted, writer = event.get("response_id"), self._teller.active
        if wanted is not None and wanted in self._apart:
            self._apart[wanted].cancel()
            return
        if wanted is None and writer is None and self._asking.is_open:
            await self._asking.end()
            return
        if writer is None or (wanted is not None and writer.id != wanted):
            raise Fault("no response is on its way", code="response_cancel_not_active")
        await self._interrupt()

    async def _cancel_all(self, event: dict[str, Any]) -> None:
        await self._interrupt()

    async def _interrupt(self) -> None:
        self._asking.stop()
        self._teller.cut()
        self._agent.interrupt()
        await self._agent.conversation.settled()
        await self._asking.end()

    # --- afterwards -------------------------------------------------------------------------------

    def _after_turn(self, turn: Turn, answer: Item | None, response: str) -> None:
        self._on_turn(turn)
        if answer is None or not answer.turn_id:
            return
        if answer.is_cut:
            self._spawn(partial(self._agent.conversation.kept, self._cut, answer), "cut")
        for kind in ("mood", "trace"):
            if kind in self._config.events:
                self._spawn(partial(self._tell_after, kind, answer.turn_id, response), kind)

    async def _tell_after(self, kind: str, turn_id: str, response: str) -> None:
        told = await self._desk.after_turn(kind, turn_id, self._reader)
        if told is not None:
            told["type"] = f"echat.{kind}"
            self._send({**told, "response_id": response} if kind == "trace" else told)

    def _spawn(self, work: Callable[[], Coroutine[Any, Any, Any]], name: str) -> asyncio.Task[None]:
        """Start what the session waits for at its end; what goes wrong is told."""

        async def run() -> None:
            try:
                await work()
            except EChatError as error:
                self._teller.fail(error)

        return self._group.create_task(run(), name=f"echat-{name}")
