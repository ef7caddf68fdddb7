"""A vLLM server in this process: its Completions API over a model of transformers.

As vLLM 0.32 does, a stop token is given too, probabilities are those before any rule, and what is
wrong with a request's sampling is told inside the stream. It decodes one request a thread, batches
nothing, and refuses fields that vLLM does not have.
"""

from __future__ import annotations

import base64
import io
import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import torch
from torch import Tensor
from transformers import Qwen2ForCausalLM

_FIELDS = {
    *("model", "prompt_embeds", "max_tokens", "temperature", "top_k", "top_p", "seed", "logprobs"),
    *("stop_token_ids", "allowed_token_ids", "logit_bias", "ignore_eos", "stream"),
    *("return_token_ids", "return_tokens_as_token_ids"),
}


class FakeVllm:
    """Serves a merged language model on a free port of this machine while its block runs.

    Args:
        model: What `merged` made.
        name: What the model is called.
        key: The key that requests must bring; empty for none.
        positions: Of one request at most, prompt and answer together.

    Attributes:
        url: Where it is.
        requests: The fields of each request so far; of the embeddings, how many there were.
    """

    def __init__(
        self, model: Qwen2ForCausalLM, *, name: str = "fake", key: str = "", positions: int = 4096
    ) -> None:
        self.model = model
        self.name = name
        self.key = key
        self.positions = positions
        self.requests: list[dict[str, Any]] = []
        served = self

        class Handler(_Handler):
            fake = served

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, name="fake-vllm"
        )

    def __enter__(self) -> Self:
        """Start to serve."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Serve no longer."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def refusal(self, asked: dict[str, Any]) -> str:
        """What is wrong with a request; empty for nothing."""
        rows = self.model.config.vocab_size
        if unknown := set(asked) - _FIELDS:
            return f"unknown fields: {', '.join(sorted(unknown))}"
        if asked["model"] != self.name:
            return f"The model `{asked['model']}` does not exist."
        embeds = _embeds(asked)
        if embeds.ndim != 2 or embeds.shape[1] != self.model.config.hidden_size:
            return f"`prompt_embeds` of shape {tuple(embeds.shape)}"
        if len(embeds) + asked["max_tokens"] > self.positions:
            return f"This model's maximum context length is {self.positions} tokens."
        ids = [*asked.get("allowed_token_ids", ()), *map(int, asked.get("logit_bias", ()))]
        return "a token id out of vocabulary" if any(not 0 <= i < rows for i in ids) else ""

    @torch.inference_mode()
    def tokens(self, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The choices of a stream, one a token."""
        chance = torch.Generator().manual_seed(asked.get("seed") or 0)
        stops = asked.get("stop_token_ids", ())
        out = self.model(inputs_embeds=_embeds(asked)[None].to(self.model.dtype), use_cache=True)
        for left in reversed(range(asked["max_tokens"])):
            scores = out.logits[0, -1].float()
            token = _drawn(scores, asked, chance)
            reason = "stop" if token in stops else None if left else "length"
            told = _likely(scores, token, asked["logprobs"]) if "logprobs" in asked else None
            yield {"index": 0, "token_ids": [token], "logprobs": told, "finish_reason": reason}
            if reason:
                return
            out = self.model(
                torch.tensor([[token]]), past_key_values=out.past_key_values, use_cache=True
            )


class _Handler(BaseHTTPRequestHandler):
    fake: FakeVllm
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """The models."""
        if self._may():
            one = {"id": self.fake.name, "max_model_len": self.fake.positions}
            self._whole(200, {"object": "list", "data": [one]})

    def do_POST(self) -> None:
        """A completion."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._may():
            return
        if self.path != "/v1/completions" or not asked.get("stream"):
            self._whole(404, {"error": {"message": "only streamed completions", "code": 404}})
            return
        self.fake.requests.append({**asked, "prompt_embeds": len(_embeds(asked))})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            if wrong := self.fake.refusal(asked):
                self._event(json.dumps({"error": {"message": wrong, "code": 400}}))
            else:
                for choice in self.fake.tokens(asked):
                    self._event(json.dumps({"choices": [choice]}))
            self._event("[DONE]")
            self.wfile.write(b"0\r\n\r\n")
        except ConnectionError:
            pass  # the client has heard enough
        finally:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _may(self) -> bool:
        is_known = self.headers.get("Authorization") == f"Bearer {self.fake.key}"
        if self.fake.key and not is_known:
            self._whole(401, {"error": "Unauthorized"})
            return False
        return True

    def _whole(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _event(self, data: str) -> None:
        line = f"data: {data}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))


def _embeds(asked: dict[str, Any]) -> Tensor:
    held = io.BytesIO(base64.b64decode(asked["prompt_embeds"], validate=True))
    embeds: Tensor = torch.load(held, weights_only=True)
    return embeds


def _drawn(scores: Tensor, asked: dict[str, Any], chance: torch.Generator) -> int:
    scores = scores.clone()
    for token, bias in asked.get("logit_bias", {}).items():
        scores[int(token)] += min(100.0, max(-100.0, bias))
    if "allowed_token_ids" in asked:
        only = torch.full_like(scores, -math.inf)
        only[asked["allowed_token_ids"]] = 0
        scores += only
    if not asked["temperature"]:
        return int(scores.argmax())
    best = (scores / asked["temperature"]).topk(min(asked["top_k"], len(scores)))
    weights = best.values.softmax(-1)
    weights[weights.cumsum(-1) - weights >= asked["top_p"]] = 0
    return int(best.indices[torch.multinomial(weights, 1, generator=chance)])


def _likely(scores: Tensor, token: int, most: int) -> dict[str, Any]:
    logs = scores.log_softmax(-1)
    best = {*logs.topk(min(most, len(logs))).indices.tolist(), token}
    return {"top_logprobs": [{f"token_id:{one}": float(logs[one]) for one in best}]}
