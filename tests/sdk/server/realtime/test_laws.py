"""Laws of a session, whatever its client sends and when, on virtual time.

Two users talk in one server at once. Each answer is well formed, each bad event is answered, what
was begun is ended, nothing of one is told to the other, and nothing is left when they have gone.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echat_sdk.agent.service import Service
from echat_sdk.audio import AudioFrame, Seconds
from echat_sdk.consent import RUN, Consent, Consents, ConsentState, answered
from echat_sdk.cues import Cues
from echat_sdk.server.caller import Caller
from echat_sdk.server.realtime.codec import PCM16
from echat_sdk.server.realtime.endpoint import Realtime
from echat_sdk.testing import FakeHearing, FakeModel, Line, RAMMemory, virtual_time
from echat_sdk.tools import Tool, ToolCall
from echat_sdk.turn import Delta, Heard, Lang, LangChoice, Recollection, SpeechDelta, TextDelta
from tests.sdk.server.realtime.talk import (
    ODD_FUNCTIONS,
    LoudVAD,
    Told,
    quiet,
    typed,
    update,
    valid,
)

USERS = ("zelda", "wotan")
LOUDNESS = {"zelda": 0x0F0F, "wotan": 0x2323}  # by which the model knows who speaks
PATIENCE: Seconds = 45.0
"""By when whatever was begun has ended, with nobody saying any more."""


# --- a model that says again all that it knows ----------------------------------------------------


class Echoing(FakeModel):
    """Answers with all that it heard and remembers, in a voice as loud as who is answered."""

    def listen(self, *, lang: LangChoice = "auto") -> Hears:
        return Hears(self, Line(""), "zh" if lang == "zh" else "en")

    def tool_chooser(self, tools: Any) -> Chooses:
        return Chooses({tool.name: tool for tool in tools})


class Hears(FakeHearing):
    def __init__(self, model: FakeModel, line: Line, lang: Lang) -> None:
        super().__init__(model, line, lang)
        self._loudest = 0

    def push(self, frame: AudioFrame) -> None:
        super().push(frame)
        self._loudest = max(self._loudest, int(np.abs(frame.samples.astype(np.int32)).max()))

    def heard(self) -> Heard:
        if self._given is not None:
            return Heard(self._given[0], "en", self._given[1])
        if self._loudest < 1000:
            return Heard("", "en", Cues(), self._frames * 0.02)
        if self._lang == "zh":  # nobody is heard in Chinese but who is asked in it
            return Heard("我同意。", "zh", Cues(), self._frames * 0.02)
        # Between them is what neither said: PCM that is taken for G.711.
        near = [who for who, loud in LOUDNESS.items() if 0.98 * loud < self._loudest < 1.25 * loud]
        who = near[0] if near else "somebody"
        return Heard(f"{who} speaks, look it up", "en", Cues(), self._frames * 0.02)

    def reply(
        self, recollection: Recollection, *, think: Any = "tag", speak: bool = True
    ) -> Iterator[Delta]:
        heard = self.heard()
        yield heard
        known = [f"{turn.transcript} {turn.reply[:40]}" for turn in recollection.turns]
        found = recollection.finding
        told = "" if found is None else f"{found.words} {found.data}"
        for text in (f"{heard.transcript[:80]}. ", f"{told[:80]} ", " ".join(known)[-200:]):
            yield TextDelta(text)
            if speak:
                yield from voice(text)


def voice(text: str) -> Iterator[SpeechDelta]:
    loud = LOUDNESS["wotan"] if "wotan" in text else LOUDNESS["zelda"] if "zelda" in text else 100
    if words := len(text.split()):
        yield SpeechDelta(np.full(1200 * min(words, 30), loud, np.int16), 24_000, text)


class Agrees(RAMMemory):
    """Everybody is heard until they say no."""

    def __init__(self) -> None:
        super().__init__()
        self._given: dict[str, dict[str, Consent]] = {}

    def consents(self, user: str) -> Consents:
        return Consents(dict(self._given.get(user, {})), unasked=RUN)

    def allowed(self, user: str) -> frozenset[str]:
        return self.consents(user).allowed(datetime.now(UTC))

    def consent(
        self,
        user: str,
        purposes: str | Collection[str],
        state: ConsentState = ConsentState.GRANTED,
        *,
        version: str = "",
        channel: str = "",
    ) -> dict[str, int]:
        said = {"version": version, "channel": channel, "now": datetime.now(UTC)}
        new = answered(self.consents(user), purposes, state, **said)
        self._given.setdefault(user, {}).update(new)
        return {}


@dataclass
class Chooses:
    tools: Mapping[str, Tool]

    def warm_up(self, lang: Lang) -> None:
        """Nothing to read."""

    def choose(self, heard: Heard) -> ToolCall | None:
        tool = self.tools.get("look")
        return ToolCall(tool, tool.check({})) if tool and "look" in heard.transcript else None


# --- what clients send ----------------------------------------------------------------------------

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**6), 10**6)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
# $item.N is the Nth newest item that the client knows, $other.N of the other client's.
ITEM = st.sampled_from(["$item.0", "$item.1", "$item.2", "$other.0", "root", "own_1", "nothing"])
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}
DETECTION = st.sampled_from(
    [
        None,
        {"type": "server_vad"},
        {"type": "server_vad", "silence_duration_ms": 200, "idle_timeout_ms": 5000},
        {"type": "server_vad", "create_response": False},
        {"type": "server_vad", "interrupt_response": False},
        {"type": "semantic_vad", "eagerness": "high"},
    ]
)
FORMAT = st.sampled_from([{"type": "audio/pcm", "rate": 24_000}, {"type": "audio/pcmu"}])
SESSION = st.fixed_dictionaries(
    {"type": st.just("realtime")},
    optional={
        "instructions": st.just("$who is dear to me"),
        "output_modalities": st.sampled_from([["audio"], ["text"]]),
        "tools": st.sampled_from([[], [TOOL]]),
        "tool_choice": st.sampled_from(["auto", "none"]),
        "audio": st.fixed_dictionaries(
            {},
            optional={
                "input": st.fixed_dictionaries(
                    {}, optional={"turn_detection": DETECTION, "format": FORMAT}
                ),
                "output": st.fixed_dictionaries({}, optional={"format": FORMAT}),
            },
        ),
        "echat": st.just({"events": ["state", "cues", "think", "mood", "trace"]}),
    },
)


def message(role: str, part: Told) -> Told:
    return {"type": "message", "role": role, "content": [part]}


NEW = st.sampled_from(
    [
        message("user", {"type": "input_text", "text": "$who types"}),
        message("user", {"type": "input_text", "text": "$who types: look it up"}),
        message("user", {"type": "input_text", "text": ""}),
        message("user", {"type": "input_audio", "audio": "$voice"}),
        message("user", {"type": "input_audio", "audio": "?"}),
        message("assistant", {"type": "output_text", "text": "I said to $who"}),
        message("system", {"type": "input_text", "text": "$who is here"}),
        {"type": "function_call_output", "call_id": "$call", "output": "$who has found it"},
        {"type": "function_call_output", "call_id": "call_none", "output": '{"of": "$who"}'},
        {"type": "function_call", "name": "look", "arguments": "{}", "call_id": "call_1"},
    ]
)
CREATE = st.fixed_dictionaries(
    {
        "item": st.tuples(NEW, st.sampled_from([{}, {"id": "own_1"}, {"id": "own_2"}])).map(
            lambda both: {**both[0], **both[1]}
        )
    },
    optional={"previous_item_id": ITEM},
)
RESPONSE = st.fixed_dictionaries(
    {},
    optional={
        "output_modalities": st.sampled_from([["audio"], ["text"], ["audio", "text"]]),
        "conversation": st.sampled_from(["auto", "none"]),
        "metadata": st.just({"of": "$who"}),
        "input": st.lists(
            st.tuples(NEW).map(lambda one: one[0]).filter(lambda item: "?" not in json.dumps(item))
            | ITEM.map(lambda id_: {"type": "item_reference", "id": id_}),
            max_size=3,
        ),
    },
)
PURPOSES = st.lists(st.sampled_from(["process_voice", "long_term_memory", "x"]), max_size=2)
EVENTS: Mapping[str, st.SearchStrategy[Any]] = {
    "session.update": st.fixed_dictionaries({"session": SESSION}),
    "input_audio_buffer.append": st.sampled_from(
        [{"audio": audio} for audio in ("$voice", "$voice", "$long", "", "AAA", "?", "AA==")]
    ),
    "input_audio_buffer.commit": st.just({}),
    "input_audio_buffer.clear": st.just({}),
    "output_audio_buffer.clear": st.just({}),
    "conversation.item.create": CREATE,
    "conversation.item.retrieve": st.fixed_dictionaries({"item_id": ITEM}),
    "conversation.item.truncate": st.fixed_dictionaries(
        {
            "item_id": ITEM,
            "content_index": st.sampled_from([0, 0, 0, 1]),
            "audio_end_ms": st.sampled_from([0, 10, 100, 1000, 10**400, -5]),
        }
    ),
    "conversation.item.delete": st.fixed_dictionaries({"item_id": ITEM}),
    "response.create": st.fixed_dictionaries({}, optional={"response": RESPONSE}),
    "response.cancel": st.fixed_dictionaries(
        {}, optional={"response_id": st.sampled_from(["$response.0", "nothing"])}
    ),
    "echat.consent.update": st.fixed_dictionaries(
        {"purposes": PURPOSES, "state": st.sampled_from(["granted", "denied", "?"])}
    ),
    "echat.consent.ask": st.fixed_dictionaries(
        {"purposes": PURPOSES}, optional={"lang": st.sampled_from(["en", "zh", "fr"])}
    ),
    "echat.memory.retrieve": st.just({}),
    "echat.memory.forget": st.sampled_from(
        [{"scope": "all"}, {"scope": "today"}, {"scope": "turn"}, {"scope": "turn", "turn_id": "x"}]
    ),
    "echat.mood.retrieve": st.just({}),
    "echat.trace.retrieve": st.just({"turn_id": "ram-1"}),
}
ANSWERED = {
    "session.update": "session.updated",
    "input_audio_buffer.clear": "input_audio_buffer.cleared",
    "conversation.item.retrieve": "conversation.item.retrieved",
    "conversation.item.truncate": "conversation.item.truncated",
    "conversation.item.delete": "conversation.item.deleted",
    "echat.consent.ask": "echat.consent.answered",
    "echat.consent.update": "echat.consent.updated",
    "echat.memory.retrieve": "echat.memory.retrieved",
    "echat.memory.forget": "echat.memory.forgotten",
    "echat.mood.retrieve": "echat.mood.retrieved",
    "echat.trace.retrieve": "echat.trace.retrieved",
}
"""What tells that an event was done, where only that tells it."""

_BODIES = [(kind, body) for kind, body in EVENTS.items()]
VALID = st.sampled_from(_BODIES).flatmap(
    lambda pair: pair[1].map(lambda body: {"type": pair[0], **body})
)
FIELDS = (
    "session", "audio", "item", "item_id", "content_index", "audio_end_ms", "response",
    "response_id", "previous_item_id", "purposes", "state", "lang", "scope", "turn_id",
)  # fmt: skip
FUZZED = st.tuples(VALID, st.sampled_from(FIELDS), JSON).map(
    lambda three: {**three[0], three[1]: three[2]}
)
BROKEN = st.sampled_from(
    [
        {"type": "nothing.known"},
        {"type": "session.update"},
        {"type": "session.update", "session": []},
        {"type": "session.update", "session": {"type": "realtime", "output_modalities": "audio"}},
        {"type": "input_audio_buffer.append"},
        {"type": "input_audio_buffer.append", "audio": 5},
        {"type": "conversation.item.create", "item": {"type": "mcp_call"}},
        {"type": "conversation.item.create", "item": {"type": "message", "role": "nobody"}},
        {"type": "conversation.item.create", "item": {"id": "x" * 65, **typed("hello")["item"]}},
        {"type": "conversation.item.retrieve", "item_id": None},
        {"type": "conversation.item.truncate", "item_id": "x", "content_index": 0},
        {"type": "conversation.item.delete", "item_id": "y" * 100_000},
        {"type": "response.create", "response": 5},
        {"type": "response.create", "response": {"output_modalities": ["smell"]}},
        {"type": "echat.consent.update"},
        {"type": "echat.consent.ask", "purposes": []},
        {"type": "echat.memory.forget", "scope": 5},
        update(tools=[{"type": "function", "name": "no name"}]),
        update(tools=[{"type": "function", "name": "f", "parameters": {"properties": {"x": 5}}}]),
        update(instructions="x" * 40_000),
        update(audio={"output": {"speed": 2.0}}),
        {"type": "session.update", "session": "$deep"},
        *(update(tools=[{"type": "function", "name": "f", **given}]) for given in ODD_FUNCTIONS),
    ]
)
RAW = st.sampled_from(["", "{", "[]", '"x"', '{"type": 5}', b"\xff\xfe", b"\x00", "[" * 10_000])
STEPS = (
    st.tuples(st.just("send"), VALID)
    | st.tuples(st.just("send"), VALID)
    | st.tuples(st.just("fuzz"), FUZZED)
    | st.tuples(st.just("broken"), BROKEN)
    | st.tuples(st.just("raw"), RAW)
    | st.tuples(st.just("speak"), st.sampled_from([0.3, 1.0, 1.0]))
    | st.tuples(st.just("hush"), st.sampled_from([0.3, 1.5]))
    | st.tuples(st.just("wait"), st.sampled_from([0.0, 0.05, 0.5, 3.0]))
    | st.tuples(st.just("turn"), st.just({}))
    | st.tuples(st.just("send"), st.just({"type": "response.create"}))
    | st.tuples(st.just("silent turn"), st.just({}))
    | st.tuples(st.just("asked"), st.sampled_from([0.0, 1.0, 3.0]))
)
STAYS = st.sampled_from([True, True, True, False])
HISTORIES = st.lists(st.tuples(st.sampled_from(USERS), STEPS), max_size=14)


# --- a client -------------------------------------------------------------------------------------


@dataclass
class Talker:
    """One user's WebSocket, as the server sees it.

    Attributes:
        told: Events that came.
        sent: Events that were sent, by their id, and which kind of step it was.
        knows: Ids of items, the newest last.
    """

    who: str
    to_server: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)
    told: list[Told] = field(default_factory=list)
    sent: dict[str, tuple[str, Told]] = field(default_factory=dict)
    raw: int = 0
    knows: list[str] = field(default_factory=lambda: ["nothing"])
    responses: list[str] = field(default_factory=lambda: ["nothing"])
    call: str = "call_none"
    is_gone: bool = False
    closed_with: int | None = None

    async def take(self, message: Any) -> None:
        if message["type"] == "websocket.close":
            self.closed_with = message["code"]
        if message["type"] != "websocket.send":
            return
        if self.is_gone:
            raise OSError("the client is gone")
        event = json.loads(message["text"])
        self.told.append(event)
        match event["type"]:
            case "conversation.item.added":
                self.knows.append(event["item"]["id"])
            case "response.created":
                self.responses.append(event["response"]["id"])
            case "response.function_call_arguments.done":
                self.call = event["call_id"]

    def put(self, text: str | bytes) -> None:
        kind = "text" if isinstance(text, str) else "bytes"
        self.to_server.put_nowait({"type": "websocket.receive", kind: text})

    def send(self, how: str, event: Told, other: Talker) -> None:
        event = {**self.filled(event, other), "event_id": f"{self.who}_{len(self.sent)}"}
        self.sent[event["event_id"]] = how, event
        self.put(json.dumps(event))

    def filled(self, value: Any, other: Talker) -> Any:
        if isinstance(value, dict):
            return {name: self.filled(each, other) for name, each in value.items()}
        if isinstance(value, list):
            return [self.filled(each, other) for each in value]
        if not isinstance(value, str) or "$" not in value:
            return value
        name, _, number = value.partition(".")
        match name:
            case "$item":
                return self.knows[-1 - int(number) % len(self.knows)]
            case "$other":
                return other.knows[-1 - int(number) % len(other.knows)]
            case "$response":
                return self.responses[-1]
            case "$call":
                return self.call
            case "$voice":
                return self.voice(0.2)
            case "$long":
                return self.voice(3.0)
            case "$deep":
                return json.loads("[" * 40 + "]" * 40)
        return value.replace("$who", self.who)

    def voice(self, seconds: Seconds) -> str:
        return PCM16.encode(np.full(round(24_000 * seconds), LOUDNESS[self.who], np.int16))

    async def speak(self, audio: str, seconds: Seconds, other: Talker) -> None:
        for _ in range(round(seconds / 0.1)):
            self.send("sound", {"type": "input_audio_buffer.append", "audio": audio}, other)
            await asyncio.sleep(0.1)

    async def do(self, step: tuple[str, Any], other: Talker) -> None:
        what, given_ = step
        match what:
            case "raw":
                self.raw += 1
                self.put(given_)
            case "speak":
                await self.speak(self.voice(0.1), given_, other)
            case "hush":
                await self.speak(quiet(0.1), given_, other)
            case "wait":
                await asyncio.sleep(given_)
            case "turn":
                self.send("send", typed(f"{self.who} asks"), other)
                self.send("send", {"type": "response.create"}, other)
            case "asked":
                purposes = ["process_voice", "infer_emotion"]
                ask = {"type": "echat.consent.ask", "purposes": purposes, "lang": "zh"}
                self.send("send", ask, other)
                await asyncio.sleep(given_)
                await self.speak(self.voice(0.1), 0.3, other)
                await self.speak(quiet(0.1), 1.0, other)
            case "silent turn":
                self.send("send", update(audio={"input": {"turn_detection": None}}), other)
                await self.speak(quiet(0.1), 0.3, other)
                self.send("send", {"type": "input_audio_buffer.commit"}, other)
                self.send("send", {"type": "response.create"}, other)
            case _:
                self.send(what, given_, other)

    def leave(self) -> None:
        self.to_server.put_nowait({"type": "websocket.disconnect", "code": 1000})


def lived(history: list[tuple[str, tuple[str, Any]]], stays: bool) -> dict[str, Talker]:
    """Two sessions at once, to their end.

    Args:
        history: Who does what, in that order.
        stays: Whether they wait until all is answered; else they are gone at once, unread.
    """
    service = Service(Echoing(), Agrees(), RAMMemory, LoudVAD)
    endpoint = Realtime(service)
    talkers: dict[str, Talker] = {}

    async def session(talker: Talker) -> None:
        caller = Caller(talker.who, user=talker.who)
        scope = {
            "type": "websocket",
            "path": "/v1/realtime",
            "query_string": b"model=echat",
            "headers": [],
            "subprotocols": [],
            "state": {"caller": caller},
        }
        talker.to_server.put_nowait({"type": "websocket.connect"})
        await endpoint(scope, talker.to_server.get, talker.take)

    async def act() -> None:
        for who, step in history:
            other = talkers[USERS[1 - USERS.index(who)]]
            await talkers[who].do(step, other)
        if stays:
            await asyncio.sleep(PATIENCE)
        for talker in talkers.values():
            talker.is_gone = not stays
            talker.leave()

    async def main() -> None:
        talkers.update({who: Talker(who) for who in USERS})
        async with asyncio.timeout(1000), asyncio.TaskGroup() as group:
            for talker in talkers.values():
                group.create_task(session(talker), name=f"session of {talker.who}")
            group.create_task(act(), name="clients")
        await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks are left: {left}"

    before = set(threading.enumerate())
    virtual_time.run(main())
    deadline = time.monotonic() + 5
    while (left := set(threading.enumerate()) - before) and time.monotonic() < deadline:
        time.sleep(0.0005)
    assert not left, f"threads are left: {left}"
    return talkers


# --- the laws -------------------------------------------------------------------------------------


def check(talkers: dict[str, Talker], stays: bool) -> None:
    for who, talker in talkers.items():
        for event in talker.told:
            valid(event)
        in_order(talker.told, is_whole=stays)
        nothing_of(USERS[1 - USERS.index(who)], talker)
        if stays:
            all_answered(talker)
            assert talker.closed_with == 1000


def in_order(told: list[Told], *, is_whole: bool) -> None:
    """Responses, items and parts are begun once, and ended once, the inner before the outer."""
    begun = [event["type"] for event in told[:2]]
    assert begun == ["session.created", "conversation.created"][: None if is_whole else len(begun)]
    assert len({event["event_id"] for event in told}) == len(told)
    responses: dict[str, list[str]] = {}  # what is open in each, the innermost last
    ended: set[str] = set()
    items: set[str] = set()
    default = ""
    for event in told:
        match event["type"]:
            case "response.created":
                response = event["response"]
                assert response["id"] not in responses.keys() | ended
                responses[response["id"]] = []
                if response["conversation_id"] is not None:
                    assert not default, "two default responses at once"
                    default = response["id"]
            case "response.done":
                response = event["response"]
                assert not responses.pop(response["id"]), "something in it is open"
                ended.add(response["id"])
                assert all(item["status"] != "in_progress" for item in response["output"])
                if response["id"] == default:
                    default = ""
            case "response.output_item.added":
                responses[event["response_id"]].append(event["item"]["id"])
            case "response.output_item.done":
                assert responses[event["response_id"]].pop() == event["item"]["id"]
            case "response.content_part.added":
                assert responses[event["response_id"]][-1] == event["item_id"]
                responses[event["response_id"]].append("part")
            case "response.content_part.done":
                assert responses[event["response_id"]].pop() == "part"
                assert responses[event["response_id"]][-1] == event["item_id"]
            case kind if kind.startswith("response.output_"):
                assert responses[event["response_id"]][-2:] == [event["item_id"], "part"]
            case kind if kind.startswith("response.function_call"):
                assert responses[event["response_id"]][-1] == event["item_id"]
            case "conversation.item.added":
                item = event["item"]["id"]
                assert item not in items, "an item's id is taken"
                assert event["previous_item_id"] in items | {None}
                items.add(item)
            case "conversation.item.deleted":
                items.remove(event["item_id"])
    if is_whole:
        assert not responses, "a response never ended"


def all_answered(talker: Talker) -> None:
    """Each bad event has an error that names it, and each other one was done or has one."""
    errors = Counter(e["error"]["event_id"] for e in talker.told if e["type"] == "error")
    assert errors.pop(None, 0) >= talker.raw
    assert errors.keys() <= talker.sent.keys()
    assert set(errors.values()) <= {1}
    done = Counter(event["type"] for event in talker.told)
    added = Counter(e["item"]["id"] for e in talker.told if e["type"] == "conversation.item.added")
    wanted: Counter[str] = Counter()
    own: Counter[str] = Counter()
    for event_id, (how, event) in talker.sent.items():
        if event_id in errors:
            continue
        assert how != "broken", f"nobody minded {event}"
        wanted[ANSWERED.get(event["type"], "")] += 1
        if event["type"] == "conversation.item.create" and event["item"].get("id"):
            own[event["item"]["id"]] += 1
    wanted.pop("", None)
    assert wanted == Counter({kind: done[kind] for kind in ANSWERED.values() if done[kind]})
    assert own == Counter({id_: added[id_] for id_ in own})


def nothing_of(other: str, talker: Talker) -> None:
    for event in talker.told:
        if event["type"] == "response.output_audio.delta":
            continue
        assert other not in json.dumps(event), f"told to another: {event}"


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(HISTORIES, STAYS)
def test_whatever_a_client_sends_the_laws_of_a_session_hold(history: Any, stays: bool) -> None:
    check(lived(history, stays), stays)


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("part", [1, 2])
@settings(max_examples=1000, suppress_health_check=[HealthCheck.too_slow])
@given(HISTORIES, STAYS)
def test_two_thousand_histories_keep_the_laws(part: int, history: Any, stays: bool) -> None:
    check(lived(history, stays), stays)
