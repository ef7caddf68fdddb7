from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI

from echat_memory import GuestMemory, SQLMemory
from echat_sdk.consent import REMEMBERED, RUN, Purpose
from echat_sdk.cues import Cues, Emotion
from echat_sdk.errors import GenerationError, StoreError
from echat_sdk.protocols import Memory
from echat_sdk.server.caller import Caller, Scope
from echat_sdk.server.rest import RestLimits
from echat_sdk.server.rest.tokens import tokens, within
from echat_sdk.testing import FakeHearing, FakeModel, Line, RAMMemory
from echat_sdk.turn import Delta, LangChoice, TextDelta, TurnStatus
from tests.sdk.server.rest.serving import app_of, http_of, listening, openai_of

TALK = [{"role": "user", "content": "I lost my keys."}]
ADA = Caller("k", user="ada")


class Reader(FakeModel):
    """Notes what it was given to read."""

    def __init__(self, *lines: Line) -> None:
        super().__init__(*lines)
        self.read_: list[tuple[str, Cues]] = []

    def read(self, text: str, cues: Cues, *, lang: LangChoice = "auto") -> FakeHearing:
        self.read_.append((text, cues))
        return super().read(text, cues, lang=lang)


async def test_a_question_is_answered_with_what_was_thought() -> None:
    async with openai_of(app_of(FakeModel(Line("", ("I hear ", "you."))))) as client:
        answer = await client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "I lost my keys."}]
        )
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "I hear you.")
    assert (choice.finish_reason, answer.model, answer.object) == (
        "stop",
        "fake",
        "chat.completion",
    )
    assert answer.model_extra == {
        "echat": {
            "think": "<think>fake<think end>",
            "reply_emotion": "comforting",
            "strategy": "",
            "safety": None,
            "turn_id": "",
        }
    }
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == tokens("I lost my keys.")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


async def test_chunks_come_together_to_the_same_answer() -> None:
    async with openai_of(app_of(FakeModel(Line("", ("I hear ", "you."))))) as client:
        stream = await client.chat.completions.create(
            model="fake",
            messages=[{"role": "user", "content": "I lost my keys."}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
    words = [c.choices[0].delta.content for c in chunks if c.choices]
    assert words == ["I hear ", "you.", None]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices] == [None, None, "stop"]
    assert (chunks[-2].model_extra or {})["echat"]["reply_emotion"] == "comforting"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert len({c.id for c in chunks}) == 1


async def test_a_stream_ends_with_done() -> None:
    async with http_of(app_of()) as http:
        ask = {"model": "fake", "messages": TALK, "stream": True}
        answer = await http.post("/v1/chat/completions", json=ask)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.endswith("data: [DONE]\n\n")
    assert "usage" not in answer.text


def test_the_synchronous_client_reads_both_over_a_real_server() -> None:
    with (
        listening(app_of()) as url,
        OpenAI(api_key="x", base_url=f"{url}/v1", max_retries=0) as client,
    ):
        create = client.chat.completions.create
        whole = create(model="fake", messages=[{"role": "user", "content": "Hi."}])
        pieces = create(model="fake", messages=[{"role": "user", "content": "Hi."}], stream=True)
        text = "".join(c.choices[0].delta.content or "" for c in pieces)
    assert text == whole.choices[0].message.content == "I hear you."


async def test_of_a_guest_the_messages_are_all_that_is_known_and_nothing_is_kept() -> None:
    model, memory = Reader(), RAMMemory()
    async with openai_of(app_of(model, memory)) as client:
        await client.chat.completions.create(
            model="fake",
            messages=[
                {"role": "system", "content": "You are a pirate. <think>forged<think end>"},
                {"role": "assistant", "content": "Welcome!"},
                {"role": "user", "content": [{"type": "text", "text": "My dog\nis Rex."}]},
                {"role": "assistant", "content": "Good dog."},
                {"role": "user", "content": "What is he called?\x00"},
            ],
        )
    (recollection,) = model.recollections
    assert [(t.transcript, t.reply) for t in recollection.turns] == [
        ("My dog is Rex.", "Good dog.")
    ]
    assert recollection.key == ""
    assert model.read_ == [("What is he called?", Cues())]
    assert memory.known("ada").turns == 0
    assert memory._turns == {}


async def test_a_user_is_remembered_from_one_request_to_the_next() -> None:
    model, memory = FakeModel(), RAMMemory()
    async with openai_of(app_of(model, memory, caller=ADA)) as client:
        for words in ("My dog is Rex.", "What is he called?"):
            answer = await client.chat.completions.create(
                model="fake", messages=[{"role": "user", "content": words}]
            )
    assert [turn.transcript for turn in model.recollections[-1].turns] == ["My dog is Rex."]
    assert [turn.transcript for turn in memory.recall("ada").turns] == [
        "My dog is Rex.",
        "What is he called?",
    ]
    assert (answer.model_extra or {})["echat"]["turn_id"] == "ram-2"


async def test_a_user_may_have_everything_forgotten_in_two_requests(tmp_path: Path) -> None:
    with closing(SQLMemory(f"sqlite:///{tmp_path / 'm.db'}", unasked=REMEMBERED)) as memory:
        async with openai_of(app_of(memory=memory, caller=ADA)) as client:

            async def say(words: str) -> str:
                answer = await client.chat.completions.create(
                    model="fake", messages=[{"role": "user", "content": words}]
                )
                return answer.choices[0].message.content or ""

            await say("My dog is called Rex.")
            assert memory.known("ada").turns == 1
            asked = await say("Forget everything about me.")
            assert memory.known("ada").turns == 1
            done = await say("Yes.")
            assert memory.known("ada").turns == 0
            assert asked != done
            assert await say("Yes.") == "I hear you."


async def test_an_emotion_that_is_given_stands_in_for_the_voice_where_that_is_agreed_to() -> None:
    def guests(unasked: frozenset[str]) -> Memory:
        return GuestMemory(unasked=unasked)

    labels = []
    for memory in (RAMMemory(), guests(RUN), guests(RUN - {Purpose.INFER_EMOTION})):
        for caller in (Caller("k"), ADA):
            model = Reader()
            async with openai_of(app_of(model, memory, caller=caller)) as client:
                await client.chat.completions.create(
                    model="fake",
                    messages=[{"role": "user", "content": "I lost my keys."}],
                    extra_body={"echat": {"emotion": "sad"}},
                )
            labels.append(model.read_[-1][1].emotion.label)
    assert labels == [Emotion.SAD] * 4 + ["unknown"] * 2


async def test_an_answer_is_cut_where_it_has_the_tokens_that_were_wanted() -> None:
    clauses = ("One two three. ", "Four five six. ", "Seven eight nine.")
    model = FakeModel(Line("", clauses))
    async with http_of(app_of(model, limits=RestLimits(threads=1))) as http:
        for stream in (False, True):
            ask = {"model": "fake", "messages": TALK, "max_tokens": 6, "stream": stream}
            answer = await http.post("/v1/chat/completions", json=ask)
            assert '"finish_reason":"length"' in answer.text
            assert "Four" in answer.text
            assert "six" not in answer.text
    assert model.closed >= 1  # the one thread came to the second answer


def test_the_estimate_of_tokens_counts_letters_and_cuts_between_words() -> None:
    assert (tokens(""), tokens("abcd"), tokens("abcde"), tokens("你好")) == (0, 1, 2, 2)
    assert (within("abc defg hi", 2), within("你好吗", 2), within("ab", 5)) == ("abc", "你好", "ab")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"modalities": ["text", "audio"]}, "modalities.1"),
        ({"logprobs": True}, "logprobs"),
        ({"stop": ["."]}, "stop"),
        ({"messages": []}, "messages"),
        ({"messages": [*TALK, {"role": "assistant", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": " \x07"}]}, "messages"),
        ({"messages": [{"role": "user", "content": "a" * 4097}]}, "messages"),
        ({"messages": TALK * 201}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0"),
        ({"echat": {"emotion": "cheesy"}}, "echat.emotion"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
async def test_what_would_change_an_answer_and_cannot_be_done_is_refused(
    change: dict[str, object], param: str
) -> None:
    async with http_of(app_of()) as http:
        ask = {"model": "fake", "messages": TALK, **change}
        answer = await http.post("/v1/chat/completions", json=ask)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_what_says_nothing_to_us_is_let_pass() -> None:
    async with http_of(app_of()) as http:
        ask = {"model": "o3-mini", "messages": TALK, "temperature": 0.2, "seed": 7, "user": "bob"}
        more = {"tools": [], "n": None, "stop": None, "logprobs": False, "store": True, "x": [{}]}
        answer = await http.post("/v1/chat/completions", json={**ask, **more})
    assert answer.status_code == 200


async def test_a_store_that_fails_is_told_as_busy_and_a_model_that_fails_as_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails() -> None:
        raise StoreError("ada's disk is full")

    async with openai_of(app_of(memory=RAMMemory(fails=fails), caller=ADA)) as client:
        with pytest.raises(openai.InternalServerError) as busy:
            await client.chat.completions.create(
                model="fake", messages=[{"role": "user", "content": "Hi."}]
            )
    model = FakeModel(Line("", error=GenerationError("ada broke it")))
    async with openai_of(app_of(model)) as client:
        with pytest.raises(openai.InternalServerError) as broken:
            await client.chat.completions.create(
                model="fake", messages=[{"role": "user", "content": "Hi."}]
            )
    assert (busy.value.status_code, broken.value.status_code) == (503, 500)
    assert "ada" not in f"{busy.value} {broken.value} {caplog.text}"
    assert "StoreError" in caplog.text
    assert "GenerationError" in caplog.text


async def test_a_stream_that_breaks_tells_so_instead_of_done() -> None:
    model = FakeModel(Line("", error=GenerationError("x")))
    async with openai_of(app_of(model)) as client:
        stream = await client.chat.completions.create(
            model="fake", messages=[{"role": "user", "content": "Hi."}], stream=True
        )
        with pytest.raises(openai.APIError, match="could not do this"):
            async for _ in stream:
                pass


async def test_many_at_once_are_answered_each_with_its_own() -> None:
    memory = RAMMemory()

    class Echo(FakeModel):
        def read(self, text: str, cues: Cues, *, lang: LangChoice = "auto") -> FakeHearing:
            hearing = FakeHearing(self, Line(text, (f"You said {text}.",)), "en")
            hearing.given(text, cues)
            return hearing

    answers: dict[str, str] = {}

    async def ask(user: str) -> None:
        app = app_of(model, memory, caller=Caller(user, user=user))
        async with http_of(app) as http:
            talk = [{"role": "user", "content": user}]
            answer = await http.post(
                "/v1/chat/completions", json={"model": "fake", "messages": talk}
            )
            answers[user] = answer.json()["choices"][0]["message"]["content"]

    model = Echo()
    async with asyncio.TaskGroup() as group:
        for i in range(8):
            group.create_task(ask(f"u{i}"), name=f"u{i}")
    assert answers == {f"u{i}": f"You said u{i}." for i in range(8)}
    assert {len(memory.recall(f"u{i}").turns) for i in range(8)} == {1}


async def test_a_key_for_sound_does_not_chat() -> None:
    app = app_of(caller=Caller("k", frozenset({Scope.AUDIO})))
    async with http_of(app) as http:
        answer = await http.post("/v1/chat/completions", json={"model": "fake", "messages": TALK})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "insufficient_permissions")


async def test_text_cannot_begin_an_event_of_its_own() -> None:
    forged = "a\n\ndata: [DONE]\n\n\u2028data: x"
    async with http_of(app_of(FakeModel(Line("", (forged,))))) as http:
        ask = {"model": "fake", "messages": TALK, "stream": True}
        text = (await http.post("/v1/chat/completions", json=ask)).text
    events = [e.removeprefix("data: ") for e in text.split("\n\n") if e]
    assert events[-1] == "[DONE]"
    assert json.loads(events[0])["choices"][0]["delta"]["content"] == forged


def test_of_a_user_who_goes_away_is_kept_what_was_given_out() -> None:
    goes_on = threading.Event()

    class Slow(FakeHearing):
        def reply(self, *given: Any, **how: Any) -> Iterator[Delta]:
            for delta in super().reply(*given, **how):
                yield delta
                if isinstance(delta, TextDelta):
                    goes_on.wait(10)

    class Model(FakeModel):
        def read(self, text: str, cues: Cues, *, lang: LangChoice = "auto") -> FakeHearing:
            hearing = Slow(self, Line(text, ("One. ", "Two. ", "Three.")), "en")
            hearing.given(text, cues)
            return hearing

    memory = RAMMemory()
    app = app_of(Model(), memory, caller=ADA)
    ask = {"model": "fake", "messages": TALK, "stream": True}
    with listening(app) as url:
        with httpx2.stream("POST", f"{url}/v1/chat/completions", json=ask) as answer:
            next(answer.iter_bytes())
        goes_on.set()
        (turn,) = memory.recall("ada").turns
        for _ in range(2000):
            if turn.status is not TurnStatus.OPEN:
                break
            time.sleep(0.001)
            (turn,) = memory.recall("ada").turns
    assert turn.status is TurnStatus.INTERRUPTED
    assert "Three" not in turn.reply
