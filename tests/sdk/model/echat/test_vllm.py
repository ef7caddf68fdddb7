"""The client of a vLLM server: what it asks, whom it trusts, and what it says when that fails."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from echat_sdk.audio import AudioFrame
from echat_sdk.errors import ConfigError, GenerationError
from echat_sdk.model.echat import completions
from echat_sdk.model.echat.completions import CompletionsServer, Written
from echat_sdk.model.echat.decoding import Decoding, Phase
from echat_sdk.model.echat.directory import Card, save_network
from echat_sdk.model.echat.engine import Engine, EngineLimits
from echat_sdk.model.echat.interleave import Head
from echat_sdk.model.echat.merged import merged
from echat_sdk.model.echat.runner import Prompt
from echat_sdk.model.echat.sampling import PRESETS, Sampler, Sampling
from echat_sdk.model.echat.speech_model import Abilities, EChatModel
from echat_sdk.model.echat.vllm import VllmEngine
from echat_sdk.testing.vllm import FakeVllm
from echat_sdk.turn import Heard, Recollection, Turn

GREEDY = Sampling(temperature=0)
KEY = "s3cret-key"
SAID = Prompt((5, 9, 200, 17))


class Letters:
    """A tokenizer of bytes."""

    def encode(self, text: str, /) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Sequence[int], /) -> str:
        return bytes(i for i in ids if i < 256).decode("utf-8", "replace")


@pytest.fixture
def fake(small_model: Any) -> Iterator[FakeVllm]:
    with FakeVllm(merged(small_model), key=KEY, positions=200) as server:
        yield server


@pytest.fixture
def engine(small_model: Any, fake: FakeVllm) -> VllmEngine:
    return VllmEngine(small_model, CompletionsServer(fake.url, key=KEY), name=fake.name)


def spoken(engine: VllmEngine, most: int, **how: Any) -> Decoding:
    return Decoding.of(engine.model.config.vocab, speaks=True, max_tokens=most, **how)


@contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """The address of a server that answers every request so."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            answer(self)

        def do_GET(self) -> None:
            answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def told(*events: object, status: int = 200) -> Callable[[BaseHTTPRequestHandler], None]:
    """An answer of these events, which ends with them."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.end_headers()
        for event in events:
            raw = event if isinstance(event, bytes) else b"data: " + json.dumps(event).encode()
            handler.wfile.write(raw + b"\n\n")

    return answer


def token(*ids: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "token_ids": list(ids), "logprobs": None}]}


def test_each_half_of_an_answer_is_one_request_and_forbids_the_other(
    engine: VllmEngine, fake: FakeVllm
) -> None:
    whole = spoken(engine, 9)
    (end,) = [token.id for token in engine.start(SAID, spoken(engine, 1), Sampler(GREEDY, 0))]
    fake.requests.clear()
    vocab = replace(whole.order.vocab, text_end=end)
    decoding = replace(whole, order=replace(whole.order, vocab=vocab))
    tokens = list(engine.start(SAID, decoding, Sampler(PRESETS["understand"], 0)))
    words = [token for token in tokens if token.phase is Phase.TEXT]
    text, speech = fake.requests

    speech_ids = set(range(vocab.text_rows, vocab.audio_placeholder))
    forbidden = {int(i) for i, bias in text["logit_bias"].items() if bias == -100}
    assert speech_ids < forbidden
    assert vocab.im_start in forbidden
    assert text["stop_token_ids"] == [end]
    assert "allowed_token_ids" not in text
    assert set(speech["allowed_token_ids"]) == speech_ids - {vocab.audio_begin, vocab.audio_end}
    bias = engine.model.speech_head.bias.tolist()
    assert speech["logit_bias"] == {str(vocab.text_rows + row): b for row, b in enumerate(bias)}
    assert text["prompt_embeds"] == len(SAID.ids)
    assert speech["prompt_embeds"] == len(SAID.ids) + len(words) + 1, "the mark was put in here"
    assert (text["top_k"], text["top_p"]) == (5, 0.9)
    assert text["seed"] != speech["seed"]
    assert "repetition_penalty" not in text, "vLLM lets it fall on what others wrote"


def test_text_and_speech_in_turn_are_asked_for_run_by_run(
    engine: VllmEngine, fake: FakeVllm
) -> None:
    tokens = list(engine.start(SAID, spoken(engine, 30, interleaves=True), Sampler(GREEDY, 0)))

    asked = [request["max_tokens"] for request in fake.requests]
    # The mark that begins speech is put in here, so 17 of its first 18 are asked for.
    assert asked[:2] == [6, 17]
    assert len(tokens) == 30


def test_an_answer_that_is_closed_closes_its_connection(
    engine: VllmEngine, fake: FakeVllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    over, decode = threading.Event(), fake.tokens

    def tokens(asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        try:
            yield from decode(asked | {"max_tokens": 10_000})
        finally:
            over.set()

    monkeypatch.setattr(fake, "tokens", tokens)
    stream = engine.start(SAID, spoken(engine, 100), Sampler(GREEDY, 0))
    next(stream)
    stream.close()

    assert over.wait(10)


def test_reading_ahead_leaves_the_server_the_same_prefix(
    engine: VllmEngine, fake: FakeVllm
) -> None:
    past = engine.read(SAID)
    assert [(r["prompt_embeds"], r["max_tokens"]) for r in fake.requests] == [(4, 1)]
    assert past.length == 4


def test_the_only_model_of_a_server_need_not_be_named(
    small_model: Any, fake: FakeVllm, tmp_path: Path
) -> None:
    save_network(small_model, tmp_path)
    Card(kind="osum-echat").write(tmp_path)
    far = VllmEngine.connect(tmp_path, fake.url + "/v1", key=KEY)

    assert far.positions == 200
    near = VllmEngine(small_model, CompletionsServer(fake.url, key=KEY), name="fake")
    answers = [
        [t.id for t in each.start(SAID, spoken(each, 12), Sampler(GREEDY, 0))]
        for each in (far, near)
    ]
    assert answers[0] == answers[1]
    with pytest.raises(ConfigError, match=r"'other'.* serves fake"):
        VllmEngine.connect(tmp_path, fake.url, name="other", key=KEY)


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8000",
        "ftp://127.0.0.1",
        "http://",
        "http://user:pw@127.0.0.1",
        "http://[::1",
        "http://127.0.0.1:99999",
    ],
)
def test_an_address_that_cannot_be_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="vllm_url") as error:
        CompletionsServer(url)
    assert "pw" not in str(error.value)


def test_what_was_said_leaves_the_machine_encrypted_or_by_permission() -> None:
    for url in ("http://localhost:8000", "http://[::1]:8000", "https://example.org"):
        CompletionsServer(url)
    with pytest.raises(ConfigError, match="unencrypted"):
        CompletionsServer("http://192.168.0.7:8000")
    CompletionsServer("http://192.168.0.7:8000", allow_plain=True)


def test_a_key_is_sent_and_never_told(engine: VllmEngine, small_model: Any, fake: Any) -> None:
    next(engine.start(SAID, spoken(engine, 3), Sampler(GREEDY, 0)))
    wrong = VllmEngine(small_model, CompletionsServer(fake.url, key="wr0ng"), name="fake")
    with pytest.raises(GenerationError, match="VLLM_API_KEY") as error:
        next(wrong.start(SAID, spoken(wrong, 3), Sampler(GREEDY, 0)))
    assert "wr0ng" not in str(error.value)
    with pytest.raises(ConfigError, match="no header") as refused:
        CompletionsServer(fake.url, key="a\r\nX-Evil: 1")
    assert "Evil" not in str(refused.value)


def test_a_server_that_is_not_there_is_named() -> None:
    server = CompletionsServer("http://127.0.0.1:9")
    with pytest.raises(GenerationError, match=r"no vLLM server answers at 127\.0\.0\.1:9"):
        server.models()


def test_a_server_of_another_checkpoint_is_named(engine: VllmEngine, fake: FakeVllm) -> None:
    small = engine.model.config
    fake.model.config.hidden_size = small.hidden_size + 1
    with pytest.raises(GenerationError, match=r"refused \(200\): `prompt_embeds`"):
        next(engine.start(SAID, spoken(engine, 3), Sampler(GREEDY, 0)))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (told(token(5), token(6)), "stopped in the middle"),
        (told(token(5), b'data: {"choi'), "no Completions API"),
        (told({"choices": [{"text": "hello"}]}, b"data: [DONE]"), "no Completions API"),
        (told(token("hello")), "no Completions API"),
        (told(token(True)), "no Completions API"),
        (told(b"data: " + b"[" * 5000), "no Completions API"),
        (told(b"data: " + b" " * (1 << 20)), "stopped in the middle"),
        (
            told({"error": {"message": "out of memory", "code": 500}}),
            r"refused \(200\): out of memory",
        ),
        (told({"error": "m" * 9000}), r"refused \(200\): m{200}$"),
        (told(b"<html>", status=502), r"refused \(502\)"),
        (told(b"", status=302), r"refused \(302\)"),
        (told(b"data: [DONE]"), "wrote nothing"),
        (told(token(300)), "told not to"),
        (told(token(-1)), "told not to"),
        (lambda handler: handler.wfile.write(b"nonsense\r\n\r\n"), "broke off"),
        (lambda handler: None, "broke off"),
    ],
)
def test_a_server_that_fails_ends_the_answer_with_a_name(
    small_model: Any, answer: Callable[[BaseHTTPRequestHandler], None], said: str
) -> None:
    with answering(answer) as url:
        engine = VllmEngine(small_model, CompletionsServer(url), name="m")
        with pytest.raises(GenerationError, match=said):
            list(engine.start(SAID, spoken(engine, 9), Sampler(GREEDY, 0)))


def test_a_server_that_says_nothing_is_waited_for_only_so_long(
    small_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completions, "TOKEN_SECONDS", 0.05)
    monkeypatch.setattr(completions, "CONNECT_SECONDS", 15.0)
    over = threading.Event()
    with answering(lambda _: over.wait(10) and None) as url:
        engine = VllmEngine(small_model, CompletionsServer(url), name="m")
        with pytest.raises(GenerationError, match="gave nothing"):
            next(engine.start(SAID, spoken(engine, 9), Sampler(GREEDY, 0)))
        over.set()


def test_what_speech_takes_of_the_probability_is_given_back_to_the_text(engine: VllmEngine) -> None:
    from echat_sdk.model.echat.segments import SegmentedStream

    def ask(*_: object) -> Iterator[Written]:
        yield Written(7, {7: -1.3862944, 301: -0.6931472})  # a quarter, beside a half for speech
        yield Written(8)

    stream = SegmentedStream(
        torch.zeros(1, 48),
        spoken(engine, 9),
        Sampler(GREEDY, 0),
        ask=ask,  # type: ignore[arg-type]
        lookup=lambda ids: torch.zeros(len(ids), 48),
        positions=99,
        keeps=False,
    )
    assert next(stream).probability == pytest.approx(0.5)
    assert next(stream).probability != next(stream, None), "not known is not a number"
    assert stream.decoding.head is Head.TEXT


def test_a_conversation_is_the_same_at_a_server_as_here(small_model: Any, fake: FakeVllm) -> None:
    """Two turns, the second of which goes on from what was kept of the first."""
    there = VllmEngine(small_model, CompletionsServer(fake.url, key=KEY), name="fake")
    fake.positions = 4096

    def talk(engine: Any) -> list[str]:
        model = EChatModel(
            "tiny",
            engine,
            Letters(),
            Abilities(think="tag"),
            seed=1,
            greedy=True,
            max_tokens=24,
            is_speech=np.any,
        )
        replies: list[str] = []
        for turn in range(2):
            chance = np.random.default_rng(turn)
            hearing = model.listen()
            for _ in range(30):
                hearing.push(AudioFrame(chance.normal(0, 3000, 320).astype(np.int16)))
            past = Recollection(key="k", turns=(Turn("hm", replies[0]),) if replies else ())
            deltas = list(hearing.reply(past))
            replies.append("".join(str(delta) for delta in deltas if not isinstance(delta, Heard)))
        return replies

    here = talk(Engine(small_model, EngineLimits(positions=4096)))
    assert talk(there) == here
    assert len(here[0]) > 10
