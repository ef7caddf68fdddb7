"""echat-sdk's side of `echat bench loop`: live conversations with a scripted model, in one process.

Run as `python -m echat_sdk.bench.loop_echat ORDERS`; prints what it found as JSON.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import version

from echat_sdk.agent import Agent
from echat_sdk.audio import FRAME_LEN, AudioFrame, Seconds, frames
from echat_sdk.bench.loop_script import ANSWER_RATE, HEARD, Meter, Orders, Ran, Script, Spoken
from echat_sdk.cues import ReplyEmotion
from echat_sdk.io.timed import TimedAudio
from echat_sdk.model import zoo
from echat_sdk.protocols import VAD
from echat_sdk.testing import FakeModel, Line, RAMMemory, virtual_time
from echat_sdk.turn import SpeechDelta
from echat_sdk.vad import open_vad


def run(script: Script, orders: Orders) -> Ran:
    """Converse as ordered.

    Raises:
        ModelMissingError: Silero is not installed.
    """
    converse = asyncio.run if orders.time == "real" else virtual_time.run
    return converse(_run(script, orders))


async def _run(script: Script, orders: Orders) -> Ran:
    meter = Meter(orders.sessions)
    sounds = [_Sound(script, meter) for _ in range(orders.sessions)]
    async with asyncio.TaskGroup() as group:
        for sound in sounds:
            group.create_task(_take_part(script, orders, sound), name="session")
    return Ran(
        version=version("echat-sdk"),
        cpu=meter.cpu,
        frames=orders.sessions * (len(script.heard) // FRAME_LEN),
        said=tuple(sound.heard_at() for sound in sounds),
    )


async def _take_part(script: Script, orders: Orders, sound: _Sound) -> None:
    vad = _opened(orders, script)
    if orders.part != "conversation":
        async for frame in sound.frames():
            if orders.part == "ears":
                vad.is_speech(frame)
        return
    model = _Scripted(script)
    async with Agent(model, RAMMemory(), user="bench", lang="en", audio=sound, vad=vad) as agent:
        async for _ in agent.events():
            pass


def _opened(orders: Orders, script: Script) -> VAD:
    match orders.ears:
        case "silero":
            return open_vad("silero")
        case "known":
            return _Known(script)
        case "own":  # as it was pulled, on one thread
            return open_vad("silero", silero=zoo.find_file("silero-vad"))


class _Sound(TimedAudio):
    """The script, begun together with the other conversations."""

    def __init__(self, script: Script, meter: Meter) -> None:
        super().__init__(frames(script.heard), output_rate=ANSWER_RATE)
        self._meter = meter
        self._began: Seconds = 0.0

    async def frames(self) -> AsyncIterator[AudioFrame]:
        await self._meter.begin()
        self._began = asyncio.get_running_loop().time()
        async for frame in super().frames():
            yield frame
        self._meter.end()

    def heard_at(self) -> tuple[Spoken, ...]:
        return tuple((at - self._began, len(said) / self.output_rate) for at, said in self.said)


class _Scripted(FakeModel):
    """Answers everything with the script's clauses, whose sound was made before."""

    def __init__(self, script: Script) -> None:
        super().__init__(Line(HEARD, tuple(script.clauses)))
        self._clauses = script.clauses

    def say(
        self, text: str, *, emotion: ReplyEmotion, voice: str | None = None
    ) -> Iterator[SpeechDelta]:
        if text in self._clauses:
            yield SpeechDelta(self._clauses[text], ANSWER_RATE, text)


class _Known:
    """Knows what Silero makes of the script."""

    def __init__(self, script: Script) -> None:
        self._is_speech = iter(script.is_speech)

    def is_speech(self, frame: AudioFrame) -> bool:
        return next(self._is_speech, False)

    def reset(self) -> None:
        """Nothing is carried."""


def main() -> None:
    """Run what the first argument orders."""
    orders = Orders.model_validate_json(sys.argv[1])
    sys.stdout.write(run(Script.load(orders.script), orders).model_dump_json() + "\n")


if __name__ == "__main__":
    main()
