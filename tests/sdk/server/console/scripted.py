"""A server of the Realtime protocol that says what a test tells it to, in the documented order."""

from __future__ import annotations

import asyncio
import base64
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from echat_sdk.consent import RUN, Purpose
from echat_sdk.disclosure import disclosure
from echat_sdk.server import console
from echat_sdk.server.headers import SecurityHeaders

RATE = 24000
SPOKEN = Path(__file__).parents[4] / "examples/audio"
TICKET, SECRET, KEY = "one-time", "ek_secret", "sk_pasted"
PIECE = RATE // 5


def spoken(name: str) -> npt.NDArray[np.int16]:
    """A spoken example at the protocol's rate."""
    samples, rate = soundfile.read(SPOKEN / f"{name}.wav", dtype="int16")
    return soxr.resample(samples, rate, RATE)


@dataclass(frozen=True)
class Said:
    """One exchange as it is to be played."""

    words: str
    answer: str
    cues: dict[str, Any]
    emotion: str
    lang: str = "en"
    sound: str = "happy"
    seconds: float = 5.5


UNMEASURED = {"label": "unknown", "confidence": 0.0, "why": "no measured classifier"}


def cues(**shares: float) -> dict[str, Any]:
    """Cues with a distribution of emotions; the first label is the one that was heard."""
    label, confidence = next(iter(shares.items()))
    return {
        "emotion": {"label": label, "confidence": confidence, "distribution": shares},
        "gender": {"label": "female", "confidence": 0.997},
        "age": UNMEASURED,
        "events": UNMEASURED,
        "style": UNMEASURED,
    }


SAD = Said(
    "My dog Rex died yesterday. The house feels so empty without him.",
    "I'm so sorry about your dog. You loved that little soul, and it hurts because it was real.",
    cues(sad=0.68, neutral=0.17, fear=0.09, happy=0.03, other=0.03),
    "comforting",
)
HAPPY = Said(
    "Guess what! I got the job! I start on Monday.",
    "You did it! I could hear that smile before you said a word. What happens on Monday?",
    cues(happy=0.54, surprise=0.36, neutral=0.1),
    "joyful",
    seconds=4.0,
)
QUESTION = Said(
    "",
    "I am an AI, not a person. May I listen to you? Please say yes or no.",
    cues(neutral=1.0),
    "neutral",
)
CHINESE = Said(
    "我的小狗昨天死了，我心里特别难过。",
    "听到这个我很难过。它陪了你那么久，家里一下子空了，这种心疼是真的。",
    cues(sad=0.71, neutral=0.2, fear=0.09),
    "comforting",
    lang="zh",
)


class Realtime:
    """One session at a time; what a test tells it is sent, what it hears is kept."""

    def __init__(self, *, user: bool = True, barred: frozenset[str] = frozenset()) -> None:
        self.is_user, self.barred = user, barred
        self.heard: list[dict[str, Any]] = []
        self.protocols: list[list[str]] = []
        self.mood: dict[str, Any] = {}
        self.purposes = dict.fromkeys(Purpose, "unknown")
        self.kept: list[str] = []
        self.facts = ["You have a dog called Rex.", "You live in Leeds."]
        self.greets = True
        self.reply = SAD
        self.text_only = False
        self.disclosure = disclosure("en", RUN | {Purpose.STORE_TRANSCRIPT}).text
        self._ids = itertools.count(1)
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue(maxsize=10_000)
        self._socket: WebSocket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.spoken_ms: dict[str, int] = {}
        self.transcripts: dict[str, str] = {}

    # What a test does

    def send(self, type_: str, **body: Any) -> None:
        event = {"type": type_, "event_id": f"event_{next(self._ids)}", **body}
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    def drop(self, code: int = 1011) -> None:
        """End the connection from this side."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._events.put_nowait, {"close": code})

    def said(self, type_: str) -> list[dict[str, Any]]:
        return [event for event in self.heard if event["type"] == type_]

    def wait(self, is_so: Callable[[], Any], what: str, limit: float = 10.0) -> Any:
        end = time.monotonic() + limit
        while not (found := is_so()):
            assert time.monotonic() < end, f"waited {limit} s for {what}"
            time.sleep(0.02)
        return found

    def audio(self) -> npt.NDArray[np.int16]:
        """All that was appended."""
        pieces = [base64.b64decode(e["audio"]) for e in self.said("input_audio_buffer.append")]
        return np.frombuffer(b"".join(pieces), "<i2")

    def hear(self, said: Said) -> str:
        """The user's side of a spoken turn; the id of its item."""
        item = f"item_u{next(self._ids)}"
        self.send("echat.state", state="hearing")
        self.send("input_audio_buffer.speech_started", item_id=item, audio_start_ms=0)
        self.send("input_audio_buffer.speech_stopped", item_id=item, audio_end_ms=5000)
        self.send("input_audio_buffer.committed", item_id=item, previous_item_id=None)
        self._item(item, "user", [{"type": "input_audio", "transcript": None}])
        self.send("echat.state", state="thinking")
        self.send("echat.cues", item_id=item, cues=said.cues)
        self.send(
            "conversation.item.input_audio_transcription.completed",
            item_id=item,
            content_index=0,
            transcript=said.words,
            echat={"lang": said.lang, "seconds": said.seconds, "cues": said.cues},
        )
        return item

    def think(self, said: Said) -> str:
        """The beginning of an answer; its id."""
        response = f"resp_{next(self._ids)}"
        self.send("response.created", response={"id": response, "status": "in_progress"})
        for delta in thought(said).split(","):
            self.send("echat.think.delta", response_id=response, delta=f"{delta},")
        self.send(
            "echat.think.done",
            response_id=response,
            think=thought(said),
            reply_emotion=said.emotion,
            strategy="comfort",
        )
        return response

    def speak(self, response: str, said: Said, *, ends: bool = True) -> str:
        """The answer aloud, as fast as it can be sent; the id of its item."""
        item = f"item_a{next(self._ids)}"
        at = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
        self._item(item, "assistant", [], response=response)
        self.send("response.content_part.added", **at, part={"type": "audio", "transcript": ""})
        self.send("echat.state", state="speaking")
        samples = spoken(said.sound)
        words = said.answer.split(" ")
        for n, word in enumerate(words):
            gap = " " if n < len(words) - 1 else ""
            self.send("response.output_audio_transcript.delta", **at, delta=word + gap)
        for start in range(0, len(samples), PIECE):
            piece = base64.b64encode(samples[start : start + PIECE].astype("<i2").tobytes())
            self.send("response.output_audio.delta", **at, delta=piece.decode())
        self.spoken_ms[item] = len(samples) * 1000 // RATE
        self.transcripts[item] = said.answer
        if ends:
            self.send("response.output_audio.done", **at)
            self.send("response.output_audio_transcript.done", **at, transcript=said.answer)
            self.end(response, item, said)
        return item

    def ask(self, said: Said) -> None:
        """Tell aloud what there is to know, and ask."""
        response = f"resp_{next(self._ids)}"
        self.send("response.created", response={"id": response, "status": "in_progress"})
        item = self.speak(response, said, ends=False)
        self.send("response.output_audio.done", response_id=response, item_id=item)
        self.send("response.done", response={"id": response, "status": "completed"})

    def answer(self, state: str) -> None:
        """What came of the question."""
        asked = self.said("echat.consent.ask")[-1]["purposes"]
        if state != "unanswered":
            self.purposes.update(dict.fromkeys(asked, state))
        self.send("echat.consent.answered", state=state, **self._agreed())

    def write(self, response: str, said: Said) -> str:
        item = f"item_a{next(self._ids)}"
        at = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
        self._item(item, "assistant", [], response=response)
        self.send("response.content_part.added", **at, part={"type": "output_text", "text": ""})
        self.send("response.output_text.delta", **at, delta=said.answer)
        self.send("response.output_text.done", **at, text=said.answer)
        self.end(response, item, said)
        return item

    def end(self, response: str, item: str, said: Said, *, is_farewell: bool = False) -> None:
        turn = f"turn_{response}"
        self.kept.append(turn)
        done = {"id": item, "type": "message", "role": "assistant", "status": "completed"}
        self.send("response.output_item.done", response_id=response, output_index=0, item=done)
        self.send("conversation.item.done", item=done, previous_item_id=None)
        self.send(
            "response.done",
            response={
                "id": response,
                "status": "completed",
                "echat": {
                    "think": thought(said),
                    "reply_emotion": said.emotion,
                    "strategy": "comfort",
                    "timings": {
                        "heard": 0.47,
                        "think": 0.49,
                        "first_text": 0.5,
                        "first_audio": 0.56,
                        "done": 0.73,
                    },
                    "turn_id": turn,
                    "farewell": is_farewell,
                    "safety": None,
                },
            },
        )
        self.send(
            "echat.trace",
            response_id=response,
            turn_id=turn,
            trace={},
            words=[["heard", said.words], ["chosen for", "a loss, told sadly"]],
        )
        self.send("echat.mood", mood=self.mood)
        self.send("echat.state", state="listening")

    def turn(self, said: Said, *, written: bool = False) -> str:
        self.hear(said)
        response = self.think(said)
        return self.write(response, said) if written else self.speak(response, said)

    def _item(self, item: str, role: str, content: list[Any], response: str = "") -> None:
        body = {"id": item, "type": "message", "role": role, "content": content}
        if response:
            self.send("response.output_item.added", response_id=response, output_index=0, item=body)
        self.send("conversation.item.added", item=body, previous_item_id=None)
        if role == "user":
            self.send("conversation.item.done", item=body, previous_item_id=None)

    # What a client hears

    async def session(self, socket: WebSocket) -> None:
        asked = socket.scope["subprotocols"]
        self.protocols.append(asked)
        if asked[-1].removeprefix("openai-insecure-api-key.") not in (SECRET, KEY):
            await socket.close(1008)
            return
        await socket.accept("realtime")
        self._socket, self._loop = socket, asyncio.get_running_loop()
        self._events = asyncio.Queue(maxsize=10_000)
        self.send("session.created", session=self._session())
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(self._write(socket), name="write")
            try:
                while True:
                    self._take(await socket.receive_json())
            except (WebSocketDisconnect, RuntimeError):
                writer.cancel()

    async def _write(self, socket: WebSocket) -> None:
        while True:
            event = await self._events.get()
            if "close" in event:
                await socket.close(event["close"])
                return
            await socket.send_json(event)

    def _session(self) -> dict[str, Any]:
        return {
            "type": "realtime",
            "model": "echat-lite",
            "output_modalities": ["audio"],
            "audio": {"output": {"voice": "heart"}},
            "echat": {
                "model": "echat-lite",
                "user": self.is_user,
                "deployment": "service",
                "disclosure": self.disclosure,
                "lang": "auto",
                "think": "tag",
                "voices": ["heart", "sky", "zf_xiaoxiao"],
                **self._agreed(),
                "barred": sorted(self.barred),
                "events": [],
            },
        }

    def _allowed(self) -> list[str]:
        return [p for p, state in self.purposes.items() if state == "granted"]

    def _take(self, event: dict[str, Any]) -> None:
        self.heard.append(event)
        match event["type"]:
            case "session.update":
                told = event["session"]
                self.text_only = told.get("output_modalities") == ["text"]
                self.send("session.updated", session=self._session())
            case "echat.consent.ask":
                self.ask(QUESTION)
            case "response.cancel" if self.said("echat.consent.ask"):
                self.answer("unanswered")
            case "echat.consent.update":
                self._agree(event)
            case "echat.memory.retrieve":
                self.send(
                    "echat.memory.retrieved",
                    turns=len(self.kept),
                    held=0,
                    since="2026-03-02T10:00:00+00:00" if self.kept else None,
                    facts=self.facts,
                    mood="Lately you have sounded sad more often than not." if self.kept else "",
                )
            case "echat.memory.forget":
                self._forget(event)
            case "echat.mood.retrieve":
                self.send("echat.mood.retrieved", mood=self.mood)
            case "conversation.item.truncate":
                ms = event["audio_end_ms"]
                if ms > self.spoken_ms[event["item_id"]]:
                    self._refuse(event, "invalid_value", "audio_end_ms beyond the audio")
                    return
                item = event["item_id"]
                self.send(
                    "conversation.item.truncated", item_id=item, content_index=0, audio_end_ms=ms
                )
                words = self.transcripts[item].split(" ")
                share = ms / self.spoken_ms[item]
                self.transcripts[item] = " ".join(words[: int(len(words) * share)])
            case "conversation.item.retrieve":
                item = event["item_id"]
                part = {"type": "output_audio", "transcript": self.transcripts[item]}
                body = {"id": item, "type": "message", "role": "assistant", "content": [part]}
                self.send("conversation.item.retrieved", item=body)
            case "conversation.item.create":
                item = f"item_u{next(self._ids)}"
                self._item(item, "user", event["item"]["content"])
            case "response.create":
                response = self.think(self.reply)
                if self.text_only:
                    self.write(response, self.reply)
                else:
                    self.speak(response, self.reply)

    def _agree(self, event: dict[str, Any]) -> None:
        if self.barred & set(event["purposes"]) and event["state"] == "granted":
            self._refuse(event, "consent", "nobody can agree to infer_emotion here")
            return
        self.purposes.update(dict.fromkeys(event["purposes"], event["state"]))
        self.send("echat.consent.updated", **self._agreed(), deleted={})

    def _agreed(self) -> dict[str, Any]:
        return {"purposes": dict(self.purposes), "allowed": self._allowed()}

    def _forget(self, event: dict[str, Any]) -> None:
        gone = [event.get("turn_id", self.kept[-1])] if event["scope"] == "turn" else [*self.kept]
        if event["scope"] == "all":
            self.facts = []
        self.kept = [turn for turn in self.kept if turn not in gone]
        self.send("echat.memory.forgotten", turns=len(gone))

    def _refuse(self, event: dict[str, Any], code: str, message: str) -> None:
        error = {
            "type": "invalid_request_error",
            "code": code,
            "message": message,
            "event_id": event.get("event_id"),
        }
        self.send("error", error=error)


def thought(said: Said) -> str:
    label = str(said.cues["emotion"]["label"]).upper()
    return (
        f"<think>用户说的话是:{said.words},年龄为:<&&>,性别为:<FEMALE>,情感为:<{label}>,"
        "声音事件为:<&&>,推测使用的回复情感为:<安慰鼓励>,"
        "我应该综合用户的语义和副语言信息给出专业且对应的回答<think end><安慰鼓励>"
    )


# Keeps what is played. In the audio thread, where nothing is lost on a busy machine.
TAP = """
registerProcessor("tap", class extends AudioWorkletProcessor {
  process([input]) {
    if (input.length) this.port.postMessage(input[0].slice());
    return true;
  }
});
"""


@dataclass
class Site:
    """Where a browser finds it.

    Attributes:
        refused: Paths that were asked for with a key that is none.
    """

    url: str
    realtime: Realtime = field(default_factory=Realtime)
    refused: list[str] = field(default_factory=list)


@contextmanager
def serving() -> Iterator[Site]:
    site = Site("")

    async def ticket(request: Request) -> Response:
        if (await request.json())["ticket"] != TICKET:
            return JSONResponse({"error": {"code": "invalid_ticket"}}, 401)
        return JSONResponse({"value": SECRET, "expires_at": int(time.time()) + 600})

    async def models(request: Request) -> Response:
        words = request.headers.get("authorization", "").removeprefix("Bearer ")
        if words not in (SECRET, KEY):
            site.refused.append(request.url.path)
            return JSONResponse({"error": {}}, 401)
        return JSONResponse({"data": []})

    async def tap(request: Request) -> Response:
        return Response(TAP, media_type="text/javascript")

    async def realtime(socket: WebSocket) -> None:
        await site.realtime.session(socket)

    app = Starlette(
        routes=[
            *console.routes(),
            Route("/ticket", ticket, methods=["POST"]),
            Route("/v1/models", models),
            Route("/tap.js", tap),
            WebSocketRoute("/v1/realtime", realtime),
        ]
    )
    listener = socket.create_server(("127.0.0.1", 0))
    site.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config = uvicorn.Config(
        SecurityHeaders(app),
        log_level="error",
        lifespan="off",
        timeout_graceful_shutdown=1,
        ws="websockets-sansio",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield site
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
