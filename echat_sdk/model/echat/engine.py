"""The engine: many requests on one set of weights, decoded in one batch.

There is no thread of its own. Whoever waits for a token and finds nobody decoding takes one step
for all requests; the others find their tokens done. So a request that nobody reads costs nothing
once it is `ahead` tokens ahead, and a process that only holds a model holds no thread.

What is scheduled when: newcomers are read together, a bounded piece a step, so that no answer that
is running stutters; where no row is free, the longest served row past its first packet is parked
for a newcomer and goes on afterwards. A request that fails, is closed or yields numbers that are
none ends alone.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from echat_sdk.errors import GenerationError
from echat_sdk.model.echat.batch import Batch
from echat_sdk.model.echat.decoding import Decoding, Token
from echat_sdk.model.echat.kv import ParkedKV
from echat_sdk.model.echat.limits import EngineLimits, EngineMemory
from echat_sdk.model.echat.network import EChatForConditionalGeneration
from echat_sdk.model.echat.parking import Parking
from echat_sdk.model.echat.request import FAULTS, Request
from echat_sdk.model.echat.runner import Prompt, Runner
from echat_sdk.model.echat.sampling import Sampler, Sampling
from echat_sdk.model.echat.seats import Seats

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
        self.parking = Parking(limits.parked_bytes)
        self._runner = _runner(model, limits)
        self._seats = Seats(self._runner, limits.rows)
        self._batch = Batch(self._runner, self._seats, limits.positions)
        self._new: deque[Request] = deque()  # at most `waiting`; one more is refused
        self._parked: deque[Request] = deque()  # each was admitted once, so it is bounded as well
        self._changed = threading.Condition()
        self._is_stepping = False

    @property
    def kv_bytes(self) -> int:
        """Bytes that the rows take now, parked conversations not counted."""
        return self._runner.arena.nbytes

    @property
    def memory(self) -> EngineMemory:
        """What keys and values take now, and may take."""
        most = self._bytes(self.limits.rows * self.limits.positions)
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
            self._need(self._bytes(length))
            request.place = self.parking.take(self._bytes(length))
        with self._changed:
            self._wait(request)
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

    # --- one step ---------------------------------------------------------------------------------

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
                self._step()
            finally:
                self._release()

    @torch.inference_mode()
    def _step(self) -> None:
        for request in [one for one in self._seats.running if self._is_ahead(one)]:
            if self._has_room(request):
                self._leave(request)
        self._admit()
        # Nobody stutters where nobody writes.
        self._batch.read(self.limits.piece * (1 if self._seats.running else self.limits.rows))
        self._end()
        self._batch.decode()
        self._end()

    def _end(self) -> None:
        for request in [one for one in self._seats.rows if one.is_over]:
            self._leave(request)

    def _admit(self) -> None:
        """Fill free rows: with newcomers, then with those that gave way to one."""
        if self._new and self._seats.is_full:
            served = [one for one in self._seats.running if self._may_give_way(one)]
            longest = max(served, key=lambda one: one.turns, default=None)
            if longest is not None and self._has_room(longest):
                self._leave(longest)
        while self._new and not self._seats.is_full:
            self._enter(self._new.popleft())
        for _ in range(len(self._parked)):
            if self._seats.is_full:
                break
            request = self._parked.popleft()
            if self._is_ahead(request):
                self._parked.append(request)
            else:
                self._enter(request)

    def _enter(self, request: Request) -> None:
        try:
            self._seats.enter(request)
        except FAULTS as error:
            request.fail(error)
            request.place = None
        else:
            if request.keeps and request.place is None:  # it gave way before
                request.place = self.parking.take(self._bytes(request.length))

    def _leave(self, request: Request) -> None:
        """Take a request out of its row; it waits, or ends as it may."""
        request.place = None  # what was set aside is free, or taken now
        if request.error is None and (not request.is_over or request.keeps):
            request.past = self._park(request)
        if not request.is_over:
            self._parked.append(request)
        self._seats.leave(request)

    def _park(self, request: Request) -> ParkedKV:
        kv = self._runner.park(self._seats.rows.index(request), request.length)
        return kv.counted(self.parking)

    def _is_ahead(self, request: Request) -> bool:
        return len(request.outbox) >= self.limits.ahead

    def _may_give_way(self, request: Request) -> bool:
        is_served = request.decoding.codes_written >= self.limits.first_packet
        return is_served and request.turns >= self.limits.quantum

    # --- memory -----------------------------------------------------------------------------------

    def _bytes(self, positions: int) -> int:
        return self._runner.arena.shape.nbytes(positions, self.model.dtype)

    def _has_room(self, request: Request) -> bool:
        aside = request.place.nbytes if request.place else 0
        return self.parking.make_room(self._bytes(request.length) - aside)

    def _need(self, nbytes: int) -> None:
        if not self.parking.make_room(nbytes):
            raise GenerationError(
                f"{self.parking.nbytes >> 20} MiB of conversations are parked and {nbytes >> 20} "
                f"MiB more do not fit into {self.parking.most >> 20} MiB; try again later, or set "
                "parked_bytes higher"
            )

    # --- taking turns -----------------------------------------------------------------------------

    def _wait(self, request: Request) -> None:
        if len(self._new) >= self.limits.waiting and self._seats.is_full:
            raise GenerationError(
                f"{len(self._new)} requests are waiting, which is all that this engine takes; "
                "try again later"
            )
        self._new.append(request)

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

    @torch.inference_mode()
    def _fork(self, request: Request, sampler: Sampler | None) -> Request:
        with self._alone():
            fork = request.forked(sampler)
            if request.is_over:
                return fork
            if request in self._seats.rows:
                self._need(self._bytes(request.length))
                fork.past = self._park(request)
            with self._changed:
                self._wait(fork)
            return fork

    @torch.inference_mode()
    def _close(self, request: Request) -> None:
        """End a request now, or with the step that is going on."""
        with self._alone():
            request.is_over, request.place = True, None
            request.outbox.clear()
            if request in self._seats.rows:
                self._leave(request)
            elif request in self._new:
                self._new.remove(request)
            elif request in self._parked:
                self._parked.remove(request)


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
