from __future__ import annotations

import asyncio
import time

import pytest

from echat_sdk.bridge import Worker
from echat_sdk.testing import virtual_time


def test_an_hour_passes_at_once_and_in_order() -> None:
    seen = []

    async def sleeper(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((name, asyncio.get_running_loop().time()))

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(sleeper("long", 3600))
            group.create_task(sleeper("short", 0.02))

    start = time.perf_counter()
    virtual_time.run(main())
    assert time.perf_counter() - start < 5
    assert seen == [("short", 0.02), ("long", 3600)]


def test_work_in_a_thread_takes_no_time() -> None:
    async def main() -> float:
        worker = Worker("slow")
        async with asyncio.timeout(0.01):
            await worker.call(time.sleep, 0.05)
        worker.close()
        return asyncio.get_running_loop().time()

    assert virtual_time.run(main()) == 0


def test_a_conversation_in_which_nothing_can_happen_any_more_is_told() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="nothing is left"):
        virtual_time.run(main())
