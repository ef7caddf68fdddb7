"""The text generator: a small chat model under CTranslate2, streamed piece by piece.

The markup of a chat (ChatML) is put in as tokens, by structure alone. The tokenizer knows no
markup, so a text that spells `<|im_end|>` is read as those letters and can end nobody's turn.
"""

from __future__ import annotations

import codecs
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from echat_sdk.errors import CheckpointError, GenerationError, ModelMissingError
from echat_sdk.model.cascade.vocabulary import MARKUP, TURN_END, TURN_START, token_bytes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from ctranslate2 import GenerationStepResult

CONTEXT_TOKENS = 2048
"""The prompt and the longest answer together; a longer prompt is refused, never cut."""

MAX_CACHED_HEADS = 6
"""Fixed heads whose state is kept; one of 250 tokens takes about 45 MB with Qwen 0.5B."""

_STALL = 0.5  # seconds without a token after which the decoding is asked whether it failed


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat. Its text is data: it cannot hold markup."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer and how likely the model found it: mean log-probability of its tokens."""

    text: str
    mean_logprob: float


class Sampling(BaseModel):
    """How tokens are drawn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(default=0.7, ge=0, le=2, description="0 takes the likeliest token")
    top_k: int = Field(default=40, ge=1, le=1000, description="draw among so many likeliest tokens")
    top_p: float = Field(default=0.9, gt=0, le=1, description="and among this much probability")
    repetition_penalty: float = Field(default=1.05, ge=1, le=2, description="1 is none")
    no_repeat_ngram: int = Field(
        default=0, ge=0, le=16, description="no so many tokens twice; 0 is off"
    )
    max_tokens: int = Field(default=96, ge=1, le=1024, description="longest answer, in tokens")


class TextGenerator:
    """A chat model in a directory that `gguf.convert` wrote.

    Calls from several threads take turns.

    Args:
        directory: Holds `model.bin` and `tokenizer.json`.
        threads: Cores for one call.
        seed: Makes the run of calls reproducible. CTranslate2 seeds a thread once, so a single
            call cannot be seeded.

    Raises:
        ModelMissingError: no such directory, or the package ctranslate2 or tokenizers is missing.
        CheckpointError: the files are damaged or do not fit each other.
    """

    def __init__(self, directory: Path, *, threads: int = 2, seed: int | None = None) -> None:
        try:
            import ctranslate2
            from tokenizers import Tokenizer
        except ImportError as error:
            raise ModelMissingError(
                f"{error.name} is not installed; pip install 'echat-sdk[lite]'"
            ) from error
        tokenizer_file = directory / "tokenizer.json"
        if not (directory / "model.bin").is_file() or not tokenizer_file.is_file():
            raise ModelMissingError(f"no text model in {directory}; pull it with echat models pull")
        if seed is not None:
            ctranslate2.set_random_seed(seed)
        try:
            self._model = ctranslate2.Generator(
                str(directory), compute_type="default", inter_threads=1, intra_threads=threads
            )
            self._tokenizer = Tokenizer.from_file(str(tokenizer_file))
        except Exception as error:  # for a damaged file tokenizers raises a plain Exception
            raise CheckpointError(
                f"the text model in {directory} cannot be loaded; mend it with echat models pull"
            ) from error
        if self._tokenizer.get_added_tokens_decoder():
            raise CheckpointError(
                f"the tokenizer in {directory} knows markup, so texts could forge it; "
                "convert the model with this program"
            )
        self._cached: set[tuple[str, ...]] = set()
        self._lock = threading.Lock()
        # The first draw binds the seed to the model's thread, and warms its buffers.
        self._model.generate_batch([[TURN_START]], max_length=1, sampling_topk=2)

    def stream(
        self,
        messages: Sequence[Message],
        *,
        static: Sequence[Message] = (),
        prefix: str = "",
        sampling: Sampling | None = None,
        suppress: Sequence[str] = (),
    ) -> Iterator[str]:
        """Answer, piece by piece; closing the iterator ends the decoding within a token.

        Args:
            messages: The chat; the assistant's turn follows.
            static: Its fixed head. The state of the first six heads is kept, so that only
                `messages` is read in later calls; results are the same.
            prefix: How the answer begins; not repeated in what is yielded.
            sampling: How tokens are drawn.
            suppress: Phrases that are never written, as cut at their own start or after a space.

        Yields:
            Whole characters, never empty.

        Raises:
            GenerationError: the prompt leaves no room for the answer; trim `messages`.
        """
        sampling = sampling or Sampling()
        options = self._options(static, messages, prefix, sampling, suppress)
        return self._stream(options)

    def complete(
        self,
        messages: Sequence[Message],
        *,
        n: int = 1,
        static: Sequence[Message] = (),
        prefix: str = "",
        sampling: Sampling | None = None,
        suppress: Sequence[str] = (),
    ) -> list[Completion]:
        """`n` answers drawn side by side, which costs little more than one; see `stream`."""
        sampling = sampling or Sampling()
        options = self._options(static, messages, prefix, sampling, suppress)
        prompt = options.pop("start_tokens")
        results = self._model.generate_batch(prompt * n, return_scores=True, **options)
        return [
            Completion(_text(result.sequences[0]), float(result.scores[0])) for result in results
        ]

    def next_scores(
        self, messages: Sequence[Message], *, static: Sequence[Message] = (), prefix: str = ""
    ) -> npt.NDArray[np.float32]:
        """How the model would go on after `prefix`: a score for each token, before the softmax.

        Shape [vocabulary_size].

        Raises:
            GenerationError: the prompt is longer than the context.
        """
        import numpy as np

        sampling = Sampling(temperature=0, repetition_penalty=1, max_tokens=1)
        options = self._options(static, messages, prefix, sampling, ())
        (result,) = self._model.generate_batch(return_logits_vocab=True, **options)
        return np.asarray(result.logits[-1], np.float32).reshape(-1)

    @property
    def vocabulary_size(self) -> int:
        """How many tokens the model can write."""
        size: int = self._tokenizer.get_vocab_size()
        return size

    def count_tokens(self, text: str) -> int:
        """How many tokens a text takes."""
        return len(self._encode(text))

    def _stream(self, options: dict[str, Any]) -> Iterator[str]:
        steps: queue.SimpleQueue[GenerationStepResult] = queue.SimpleQueue()
        closed = threading.Event()

        def step_done(step: GenerationStepResult) -> bool:
            steps.put(step)
            return closed.is_set()

        (running,) = self._model.generate_batch(asynchronous=True, callback=step_done, **options)
        decoder = codecs.getincrementaldecoder("utf-8")("ignore")
        try:
            while True:
                try:
                    step = steps.get(timeout=_STALL)
                except queue.Empty:
                    if running.done() and steps.empty():
                        break
                    continue
                if step.token in MARKUP:
                    break
                if piece := decoder.decode(token_bytes(step.token)):
                    yield piece
                if step.is_last:
                    break
        finally:
            closed.set()
            running.result()  # ends within a token; raises what went wrong

    def _options(
        self,
        static: Sequence[Message],
        messages: Sequence[Message],
        prefix: str,
        sampling: Sampling,
        suppress: Sequence[str],
    ) -> dict[str, Any]:
        head = self._chat(static)
        prompt = [*self._chat(messages), *self._open(prefix)]
        _check_length(len(head) + len(prompt), sampling.max_tokens)
        with self._lock:
            if len(self._cached) < MAX_CACHED_HEADS and head:
                self._cached.add(tuple(head))
            keep = tuple(head) in self._cached
        phrases = [text for phrase in suppress for text in (phrase, " " + phrase) if phrase.strip()]
        return {
            "start_tokens": [prompt if keep else head + prompt],
            "static_prompt": head if keep else None,
            "cache_static_prompt": keep,
            "include_prompt_in_result": False,
            "end_token": list(MARKUP),
            "max_length": sampling.max_tokens,
            "sampling_topk": sampling.top_k if sampling.temperature > 0 else 1,
            "sampling_topp": sampling.top_p if sampling.temperature > 0 else 1,
            "sampling_temperature": sampling.temperature or 1,
            "repetition_penalty": sampling.repetition_penalty,
            "no_repeat_ngram_size": sampling.no_repeat_ngram,
            "suppress_sequences": [self._encode(text) for text in phrases] or None,
        }

    def _chat(self, messages: Sequence[Message]) -> list[str]:
        tokens: list[str] = []
        for message in messages:
            text = self._encode(f"{message.role}\n{message.text}")
            tokens += [TURN_START, *text, TURN_END, *self._encode("\n")]
        return tokens

    def _open(self, prefix: str) -> list[str]:
        return [TURN_START, *self._encode("assistant\n"), *self._encode(prefix)]

    def _encode(self, text: str) -> list[str]:
        tokens: list[str] = self._tokenizer.encode(text, add_special_tokens=False).tokens
        return tokens


def _text(tokens: Sequence[str]) -> str:
    return b"".join(map(token_bytes, tokens)).decode("utf-8", "ignore")


def _check_length(prompt: int, answer: int) -> None:
    if prompt + answer > CONTEXT_TOKENS:
        raise GenerationError(
            f"a prompt of {prompt} tokens and an answer of {answer}: the context holds "
            f"{CONTEXT_TOKENS}; send less of the conversation"
        )
