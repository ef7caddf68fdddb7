"""What is scheduled when: which requests read, write, wait and give way. Knows no threads.

Newcomers are read together, a bounded piece a step, so that no answer that is running stutters;
where no row is free, the longest served row past its first packet is parked for a newcomer and goes
on afterwards. A request that fails, is dropped or yields numbers that are none ends alone.
"""

from __future__ import annotations

from collections import deque

import torch

from echat_sdk.errors import GenerationError
from echat_sdk.model.echat.batch import Batch
from echat_sdk.model.echat.kv import ParkedKV
from echat_sdk.model.echat.limits import EngineLimits
from echat_sdk.model.echat.parking import Parking
from echat_sdk.model.echat.request import FAULTS, Request
from echat_sdk.model.echat.runner import Runner
from echat_sdk.model.echat.sampling import Sampler
from echat_sdk.model.echat.seats import Seats


class Scheduler:
    """The requests of an engine. For one caller at a time, except `add` and `set_aside`.

    Args:
        runner: Holds the rows and runs them.
        limits: What it may hold.
    """

    def __init__(self, runner: Runner, limits: EngineLimits) -> None:
        self.parking = Parking(limits.parked_bytes)
        self._limits = limits
        self._runner = runner
        self._seats = Seats(runner, limits.rows)
        self._batch = Batch(runner, self._seats, limits.positions)
        self._new: deque[Request] = deque()  # at most `waiting`; one more is refused
        self._parked: deque[Request] = deque()  # each was admitted once, so it is bounded as well

    def add(self, request: Request) -> None:
        """Let a request wait for a row. A step may be going on, another `add` may not.

        Raises:
            GenerationError: too many are waiting.
        """
        if len(self._new) >= self._limits.waiting and self._seats.is_full:
            raise GenerationError(
                f"{len(self._new)} requests are waiting, which is all that this engine takes; "
                "try again later"
            )
        self._new.append(request)

    def set_aside(self, request: Request, positions: int) -> None:
        """Take the memory in which a request is to be kept. At any time, from any thread.

        Raises:
            GenerationError: there is none.
        """
        self._need(self.bytes_of(positions))
        request.place = self.parking.take(self.bytes_of(positions))

    @torch.inference_mode()
    def step(self) -> None:
        """Read and write a step for all."""
        for request in [one for one in self._seats.running if self._is_ahead(one)]:
            if self._has_room(request):
                self._leave(request)
        self._admit()
        # Nobody stutters where nobody writes; and first tokens do not wait for second ones.
        is_anybody_writing = bool(self._seats.running)
        self._batch.read(self._limits.piece * (1 if is_anybody_writing else self._limits.rows))
        self._end()
        if is_anybody_writing:
            self._batch.decode()
            self._end()

    @torch.inference_mode()
    def forked(self, request: Request, sampler: Sampler | None) -> Request:
        """A second request that goes on from here; it is not added yet.

        Raises:
            GenerationError: there is no memory for it.
        """
        fork = request.forked(sampler)
        if not request.is_over and request in self._seats.rows:
            self._need(self.bytes_of(request.length))
            fork.past = self._park(request)
        return fork

    @torch.inference_mode()
    def drop(self, request: Request) -> None:
        """End a request, wherever it is."""
        request.is_over, request.place = True, None
        request.outbox.clear()
        if request in self._seats.rows:
            self._leave(request)
        elif request in self._new:
            self._new.remove(request)
        elif request in self._parked:
            self._parked.remove(request)

    def bytes_of(self, positions: int) -> int:
        """What the keys and values of so many positions take."""
        return self._runner.arena.shape.nbytes(positions, self._runner.model.dtype)

    # --- who has a row ----------------------------------------------------------------------------

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
                request.place = self.parking.take(self.bytes_of(request.length))

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
        return len(request.outbox) >= self._limits.ahead

    def _may_give_way(self, request: Request) -> bool:
        is_served = request.decoding.codes_written >= self._limits.first_packet
        return is_served and request.turns >= self._limits.quantum

    # --- memory -----------------------------------------------------------------------------------

    def _has_room(self, request: Request) -> bool:
        aside = request.place.nbytes if request.place else 0
        return self.parking.make_room(self.bytes_of(request.length) - aside)

    def _need(self, nbytes: int) -> None:
        if not self.parking.make_room(nbytes):
            raise GenerationError(
                f"{self.parking.nbytes >> 20} MiB of conversations are parked and {nbytes >> 20} "
                f"MiB more do not fit into {self.parking.most >> 20} MiB; try again later, or set "
                "parked_bytes higher"
            )
