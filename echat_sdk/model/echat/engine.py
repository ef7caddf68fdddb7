"""The engine: many requests on one set of weights, decoded in one batch.

There is no thread of its own. Whoever waits for a token and finds nobody decoding takes one step
for all requests; the others find their tokens done. So a request that nobody reads costs nothing
once it is `ahead` tokens ahead, and a process that only holds a model holds no thread. What a step
does, and for whom, is the scheduler's.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from echat_sdk.errors import GenerationError
from echat_sdk.model.echat.decoding import Decoding, Token
from echat_sdk.model.echat.kv import ParkedKV
from echat_sdk.model.echat.limits import EngineLimits, EngineMemory
from echat_sdk.model.echat.network import EChatForConditionalGeneration
from echat_sdk.model.echat.request import Request
from echat_sdk.model.echat.runner import Prompt, Runner
from echat_sdk.model.echat.sampling import Sampler, Sampling
from echat_sdk.model.echat.scheduler import Scheduler

__all__ = ["Engine", "EngineLimits", "EngineMemory", "Prompt", "Stream"]


class Engine:
    """Decodes requests of any number of threads beside each other.

    Args:
        model: The network, in evaluation mode.
        limits: What it may hold.
    """

    def __init__(
        self, model: EChatForConditionalGeneration, limits: EngineLimits | None = None
    ) -> None:
        self.model = model
        self.limits = limits = limits or EngineLimits()
        self._runner = _runner(model, limits)
        self._scheduler = Scheduler(self._runner, limits)
        self.parking = self._scheduler.parking
        self._changed = threading.Condition()
        self._is_stepping = False

    @property
    def kv_bytes(self) -> int:
        """Bytes that the rows take now, parked conversations not counted."""
        return self._runner.arena.nbytes

    @property
    def memory(self) -> EngineMemory:
        """What keys and values take now, and may take."""
        most = self._scheduler.bytes_of(self.limits.rows * self.limits.positions)
        return EngineMemory(self.kv_bytes, most, self.parking.nbytes, self.parking.most)

    def start(
        self,
        prompt: Prompt,
        decoding: Decoding,
        sampler: Sampler,
        *,
        past: ParkedKV | None = None,
        keeps: bool = False,
    ) -> Stream:
        """Begin a request.

        Args:
            prompt: What is read first.
            decoding: Where the answer begins; one that is done reads and writes nothing.
            sampler: How tokens are drawn; this request's own.
            past: What was read before. It may be the past of any number of requests.
            keeps: Whether `Stream.parked` will be asked for.

        Raises:
            GenerationError: too many are waiting, the conversation is too long, there is no memory
                to keep it in, or the prompt's embeddings do not fit its placeholders.
        """
        self._runner.check(prompt)
        held = past.length if past else 0
        length = held + len(prompt.ids)
        if length >= self.limits.positions:
            raise GenerationError(
                f"a conversation of {length} positions; the limit is {self.limits.positions}: "
                "start a new one or drop earlier turns"
            )
        request = Request(prompt, decoding, sampler, past, keeps, held, len(prompt.ids))
        if keeps:
            self._scheduler.set_aside(request, length)
        with self._changed:
            self._scheduler.add(request)
        return Stream(self, request)

    def read(self, prompt: Prompt, past: ParkedKV | None = None) -> ParkedKV:
        """Read ahead, with no answer: a fixed head, or speech while it is still going on.

        Raises:
            GenerationError: see `start`.
        """
        nothing = Decoding.of(self.model.config.vocab, speaks=False).cut()
        sampler = Sampler(Sampling(temperature=0), 0)
        stream = self.start(prompt, nothing, sampler, past=past, keeps=True)
        for _ in stream:
            pass
        return stream.parked

    # --- taking turns -----------------------------------------------------------------------------

    def _next(self, request: Request) -> Token | None:
        """The next token of a request, None at its end; takes steps for all while it waits."""
        while True:
            with self._changed:
                if request.outbox:
                    return request.outbox.popleft()
                if request.error is not None:
                    raise request.error
                if request.is_over:
                    return None
                if self._is_stepping:
                    self._changed.wait()
                    continue
                self._is_stepping = True
            try:
                self._scheduler.step()
            finally:
                self._release()

    def _release(self) -> None:
        with self._changed:
            self._is_stepping = False
            self._changed.notify_all()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keeps everybody else from stepping."""
        with self._changed:
            while self._is_stepping:
                self._changed.wait()
            self._is_stepping = True
        try:
            yield
        finally:
            self._release()

    def _fork(self, request: Request, sampler: Sampler | None) -> Request:
        with self._alone():
            fork = self._scheduler.forked(request, sampler)
            if not fork.is_over:
                with self._changed:
                    self._scheduler.add(fork)
            return fork

    def _close(self, request: Request) -> None:
        """End a request now, or with the step that is going on."""
        with self._alone():
            self._scheduler.drop(request)


class Stream(Iterator[Token]):
    """The tokens of one request, as they are drawn. Used from one thread at a time.

    Close it to end the request before its own end; iterating to the end closes it.
    """

    def __init__(self, engine: Engine, request: Request) -> None:
        self._engine = engine
        self._request = request

    def __next__(self) -> Token:
        """The next token.

        Raises:
            GenerationError: this request failed; others go on.
        """
        token = self._engine._next(self._request)
        if token is None:
            raise StopIteration
        return token

    def close(self) -> None:
        """End the request; what was read and written so far can be kept."""
        self._engine._close(self._request)

    def fork(self, sampler: Sampler | None = None) -> Stream:
        """A second stream that goes on from here; closing either leaves the other as it is.

        It begins with the tokens that were drawn and not yet taken from this one.

        Args:
            sampler: How its tokens are drawn from then on; as this one's if None, so that both give
                the same tokens.

        Raises:
            GenerationError: too many are waiting, or there is no memory for it.
        """
        return Stream(self._engine, self._engine._fork(self._request, sampler))

    @property
    def decoding(self) -> Decoding:
        """Where the answer stands: its phase, counters and how it ended."""
        return self._request.decoding

    @property
    def parked(self) -> ParkedKV:
        """What was read and written, the last token left out, which was drawn but not yet read.

        Raises:
            ValueError: the request goes on, failed, or was not started to keep it.
        """
        if not self._request.is_over or self._request.past is None:
            raise ValueError("only a request that ended, and was started with keeps=True, is kept")
        return self._request.past


def _runner(model: EChatForConditionalGeneration, limits: EngineLimits) -> Runner:
    if model.device.type == "cuda":
        from echat_sdk.model.echat.captured import CapturedRunner

        return CapturedRunner(model, rows=limits.rows, most=limits.positions)
    return Runner(model, rows=limits.rows, most=limits.positions)
