from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import aclosing

import pytest

from echat_sdk.bridge import Worker, settled
from echat_sdk.errors import StoreError


async def test_an_iterator_runs_in_the_workers_thread_and_its_items_arrive_in_order() -> None:
    seen: list[str] = []

    def items() -> Iterator[int]:
        for i in range(5):
            seen.append(threading.current_thread().name)
            yield i

    worker = Worker("mind")
    async with aclosing(worker.iterate(items)) as pieces:
        assert [i async for i in pieces] == [0, 1, 2, 3, 4]
    worker.close()
    assert {name.split("_")[0] for name in seen} == {"mind"}


async def test_an_error_crosses_the_bridge_whole() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise StoreError("the disk is full")

    worker = Worker("mind")
    got = []
    with pytest.raises(StoreError, match="the disk is full"):  # noqa: PT012
        async for item in worker.iterate(items):
            got.append(item)
    worker.close()
    assert got == [1]


async def test_to_stop_iterating_closes_the_iterator_before_the_next_work_starts() -> None:
    order: list[str] = []

    def items() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            order.append("closed")

    worker = Worker("mind")
    async with aclosing(worker.iterate(items)) as pieces:
        async for _ in pieces:
            break
    await worker.call(order.append, "next")
    worker.close()
    assert order == ["closed", "next"]


async def test_a_cancelled_consumer_releases_the_iterator() -> None:
    released = threading.Event()

    def items() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            released.set()

    worker = Worker("mind")

    started = asyncio.Event()

    async def consume() -> None:
        async with aclosing(worker.iterate(items)) as pieces:
            async for _ in pieces:
                started.set()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(consume(), name="consumer")
        await started.wait()
        task.cancel()
    worker.close()
    assert released.is_set()


async def test_work_that_nobody_waits_for_logs_its_failure_without_its_content(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> None:
        raise StoreError("about ada")

    worker = Worker("store")
    worker.submit(fail)
    worker.close()
    assert "StoreError" in caplog.text
    assert "ada" not in caplog.text


async def test_work_that_hangs_can_be_left_behind() -> None:
    goes_on = threading.Event()
    worker = Worker("stuck")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await worker.call(goes_on.wait)
    worker.submit(goes_on.wait)
    worker.abandon()
    stuck = next(t for t in threading.enumerate() if t.name == "stuck")
    assert stuck.daemon
    goes_on.set()
    stuck.join(5)
    assert not stuck.is_alive()


async def test_a_closed_worker_says_so() -> None:
    worker = Worker("mind")
    worker.close()
    with pytest.raises(RuntimeError, match="mind is closed"):
        await worker.call(print)


@pytest.mark.parametrize("first", ["close", "abandon"])
async def test_a_worker_that_is_left_twice_ends_its_thread(first: str) -> None:
    worker = Worker("echat-left-twice")
    await worker.call(int)
    getattr(worker, first)()
    worker.abandon()
    for _ in range(100):
        if "echat-left-twice" not in [thread.name for thread in threading.enumerate()]:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the thread is still there")


@pytest.mark.parametrize("blocks", [True, False])
async def test_a_worker_that_hangs_is_left_behind_when_it_is_closed(blocks: bool) -> None:
    goes_on = threading.Event()
    worker = Worker("echat-hangs")
    worker.submit(goes_on.wait)
    if blocks:
        worker.close(within=0.05)
    else:
        await worker.closed(within=0.05)
    goes_on.set()
    with pytest.raises(RuntimeError, match="closed"):
        await worker.call(int)


async def test_a_worker_that_is_closed_finishes_what_waits() -> None:
    done: list[int] = []
    worker = Worker("echat-finishes")
    worker.submit(time.sleep, 0.05)
    worker.submit(done.append, 1)
    await worker.closed(within=5)
    assert done == [1]


def test_what_a_thread_is_busy_with_is_waited_for_before_the_end() -> None:
    begun, goes_on = threading.Event(), threading.Event()
    worker = Worker("echat-busy")
    worker.submit(lambda: (begun.set(), goes_on.wait()))
    begun.wait(5)
    worker.abandon()
    assert not settled(0.02)
    goes_on.set()
    assert settled(5)


def test_a_command_ends_with_its_code_though_a_thread_hangs() -> None:
    code = (
        "import atexit, threading; from echat_sdk import cli; from echat_sdk.bridge import Worker\n"
        "Worker('hangs').submit(threading.Event().wait)\n"
        "atexit.register(print, 'the interpreter was taken down around it')\n"
        "cli.run = lambda _: print('told') or 3\n"
        "cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "told\n", "")
