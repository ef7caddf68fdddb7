"""Decoding at a vLLM server, by prompt embeddings: the same calls as our own engine has.

The server runs the merged language model (`merged.py`); here are the ears, the tables and the
grammar (`segments.py`). What was read is kept as embeddings and sent again with each request, which
the server's own prefix cache makes cheap.

Not as in our engine: no repetition penalty is asked for. vLLM has no ids of a prompt that came as
embeddings, and its V1 runner (0.32) lets the penalty fall on ids that other requests left behind.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from echat_sdk.errors import ConfigError, GenerationError
from echat_sdk.model.echat.completions import CompletionsServer, Written
from echat_sdk.model.echat.decoding import Decoding
from echat_sdk.model.echat.interleave import Head
from echat_sdk.model.echat.merged import load_ears
from echat_sdk.model.echat.network import EChatForConditionalGeneration
from echat_sdk.model.echat.runner import Prompt
from echat_sdk.model.echat.sampling import Rule, Sampler
from echat_sdk.model.echat.segments import ReadEmbeds, SegmentedStream
from echat_sdk.model.echat.vocab import Vocab

POSITIONS = 4096
_NEVER = -100.0  # added to a score: OpenAI's bound, and far below what a network gives
_LIKELY = 20  # ids whose probabilities are asked for; what a server gives unless told otherwise


class VllmEngine:
    """Decodes at a server, which batches the requests of all its clients.

    Args:
        model: What hears and embeds; layers of its language model are not used.
        server: Where the merged language model is served.
        name: What the server calls it.
        positions: Of one conversation at most.
    """

    def __init__(
        self,
        model: EChatForConditionalGeneration,
        server: CompletionsServer,
        *,
        name: str,
        positions: int = POSITIONS,
    ) -> None:
        self.model = model
        self.positions = positions
        self._server = server
        self._name = name
        rows = model.config.vocab_size
        self._silence = {
            str(rows + row): _NEVER for row in range(model.speech_embedding.num_embeddings)
        }
        bias: list[float] = model.speech_head.bias.detach().float().tolist()
        self._bias = {str(rows + row): value for row, value in enumerate(bias) if value}

    @classmethod
    def connect(
        cls,
        directory: Path,
        url: str,
        *,
        name: str = "",
        key: str = "",
        allow_plain: bool = False,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> VllmEngine:
        """Open the ears of a checkpoint and the server of its merged language model.

        Args:
            directory: The checkpoint that was merged.
            url: See `CompletionsServer`.
            name: What the server calls the model; empty where it serves one.
            key: The server's key, if it has one.
            allow_plain: See `CompletionsServer`.
            dtype: Of the ears and the tables.
            device: Where they run.

        Raises:
            ConfigError: an address that cannot be, or no such model there.
            GenerationError: the server does not answer.
            CheckpointError: the checkpoint is damaged.
        """
        server = CompletionsServer(url, key=key, allow_plain=allow_plain)
        served = server.models()
        if (name not in served) if name else len(served) != 1:
            raise ConfigError(
                f"vllm_model {name!r}: the server at {server.at} serves {', '.join(served)}"
            )
        name = name or next(iter(served))
        ears = load_ears(directory, dtype=dtype, device=device)
        return cls(ears, server, name=name, positions=min(served[name] or POSITIONS, POSITIONS))

    def start(
        self,
        prompt: Prompt,
        decoding: Decoding,
        sampler: Sampler,
        *,
        past: ReadEmbeds | None = None,
        keeps: bool = False,
    ) -> SegmentedStream:
        """Begin a request; it is sent when its first token is asked for.

        Raises:
            GenerationError: the prompt cannot be read, or the conversation is too long.
        """
        embeds = self._embeds(prompt, past)
        return SegmentedStream(
            embeds,
            decoding,
            sampler,
            ask=self._ask,
            lookup=self._lookup,
            positions=self.positions,
            keeps=keeps,
        )

    def read(self, prompt: Prompt, past: ReadEmbeds | None = None) -> ReadEmbeds:
        """Read ahead: the server is asked for one token, which leaves the rest in its prefix cache.

        Raises:
            GenerationError: it cannot be read, or the server does not answer.
        """
        embeds = self._embeds(prompt, past)
        with closing(self._complete(embeds, {"max_tokens": 1, "temperature": 0})) as written:
            next(written, None)
        return ReadEmbeds(embeds)

    def _ask(
        self, embeds: Tensor, decoding: Decoding, rule: Rule, sampler: Sampler
    ) -> Generator[Written, None, None]:
        """The tokens that follow, as far as one head writes them: see `segments.Ask`."""
        order, how = decoding.order, sampler.sampling
        most = min(decoding.max_tokens - decoding.written, self.positions - len(embeds))
        if order.turns and order.piece is None and not order.text_over:
            most = min(most, order.left)
        asked = {
            "max_tokens": most,
            "temperature": how.temperature,
            "top_k": how.top_k,
            "top_p": how.top_p,
            "seed": int(sampler.uniform() * 2**53),
        }
        half = self._speech if order.head is Head.SPEECH else self._text
        return self._complete(embeds, asked | half(rule, order.vocab))

    def _speech(self, rule: Rule, vocab: Vocab) -> dict[str, Any]:
        """What makes the server's one head the speech head."""
        rows = rule.allowed or set(range(vocab.speech_rows)).difference(rule.banned)
        return {
            "allowed_token_ids": [vocab.text_rows + row for row in sorted(rows)],
            "stop_token_ids": [vocab.speech_bos],
            "logit_bias": self._bias,
        }

    def _text(self, rule: Rule, vocab: Vocab) -> dict[str, Any]:
        """What makes it the text head. A list of all text ids would be a megabyte each time."""
        banned = {str(row): _NEVER for row in rule.banned}
        allowed = {} if rule.allowed is None else {"allowed_token_ids": sorted(rule.allowed)}
        return {
            "stop_token_ids": [vocab.text_end],
            "logit_bias": self._silence | banned,
            "logprobs": _LIKELY,
            **allowed,
        }

    def _complete(self, embeds: Tensor, asked: Mapping[str, Any]) -> Generator[Written, None, None]:
        held = io.BytesIO()
        torch.save(embeds.cpu().clone(), held)  # of a view, all that it is a part of would be saved
        prompt = base64.b64encode(held.getvalue()).decode("ascii")
        fixed = {"model": self._name, "prompt_embeds": prompt, "ignore_eos": True}
        return self._server.complete({**asked, **fixed})

    @torch.inference_mode()
    def _lookup(self, ids: Sequence[int]) -> Tensor:
        return self.model.embed(torch.tensor(ids, device=self.model.device, dtype=torch.long))

    @torch.inference_mode()
    def _embeds(self, prompt: Prompt, past: ReadEmbeds | None) -> Tensor:
        if not prompt.ids:
            raise GenerationError("a prompt without ids; it must have at least one")
        new = self._lookup(prompt.ids)
        placeholder = self.model.config.vocab.audio_placeholder
        spans = [at for at, token in enumerate(prompt.ids) if token == placeholder]
        heard = new[:0] if prompt.heard is None else prompt.heard.to(new)
        if len(spans) != len(heard):
            raise GenerationError(f"{len(spans)} placeholders for {len(heard)} audio embeddings")
        new[spans] = heard
        whole = torch.cat((past.embeds, new)) if past else new
        if len(whole) >= self.positions:
            raise GenerationError(
                f"a conversation of {len(whole)} positions; the limit is {self.positions}: "
                "start a new one or drop earlier turns"
            )
        return whole
