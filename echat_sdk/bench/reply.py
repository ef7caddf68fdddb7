"""The main path, timed: utterance in, spoken answer out, warm, one after the other.

The utterances are made with a packaged voice, about three seconds each, so that the run needs
nothing but the model. Times are counted from the end of the utterance, as a user would.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import soxr

from echat_sdk.agent import Agent, Answer
from echat_sdk.audio import SAMPLE_RATE, Seconds, Waveform, to_float, to_int16
from echat_sdk.cues import ReplyEmotion
from echat_sdk.protocols import SpeechModel
from echat_sdk.testing import RAMMemory
from echat_sdk.turn import Lang

SENTENCES: Mapping[Lang, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        "en": (
            ("My dog died last night, and I miss him.", "sad"),
            ("Guess what, I got the job in London!", "happy"),
            ("Nobody called me on my birthday this year.", "sad"),
            ("They cancelled my train again this morning.", "angry"),
            ("I have to see the dentist tomorrow afternoon.", "afraid"),
            ("My daughter took her first steps today.", "happy"),
            ("What do you like to do on a rainy Sunday?", "neutral"),
            ("I burned the dinner and everyone laughed.", "sad"),
            ("My neighbour plays his drums until midnight.", "angry"),
            ("I finally finished painting the kitchen.", "happy"),
            ("I cannot sleep before the exam on Friday.", "afraid"),
            ("Good morning, how are you doing today?", "neutral"),
            ("She left without saying goodbye to me.", "sad"),
            ("We are going to the seaside this weekend.", "happy"),
            ("Somebody scratched my new car last night.", "angry"),
            ("I think I heard a noise behind the door.", "afraid"),
            ("My grandmother turned ninety on Sunday.", "happy"),
            ("I failed my driving test for the third time.", "sad"),
            ("Could you tell me something nice, please?", "neutral"),
            ("The doctor said that everything looks fine.", "happy"),
            ("I moved to a new city and know nobody here.", "sad"),
            ("My brother borrowed money and lied about it.", "angry"),
        ),
        "zh": (
            ("我的小狗昨天晚上走了，我很想它。", "sad"),
            ("告诉你一个好消息，我找到工作了！", "happy"),
            ("今年我生日，没有一个人打电话给我。", "sad"),
            ("今天早上火车又取消了，真气人。", "angry"),
            ("明天下午我要去看牙，有点害怕。", "afraid"),
            ("我女儿今天会自己走路了，太开心了！", "happy"),
            ("下雨的星期天，你喜欢做些什么呢？", "neutral"),
            ("晚饭被我烧糊了，大家都在笑我。", "sad"),
            ("邻居每天打鼓打到半夜，烦死了。", "angry"),
            ("我终于把厨房刷完了，真漂亮！", "happy"),
            ("星期五要考试，我紧张得睡不着。", "afraid"),
            ("早上好，你今天过得怎么样？", "neutral"),
            ("她没有跟我说再见，就这样走了。", "sad"),
            ("这个周末，我们一家人要去海边玩！", "happy"),
            ("昨天晚上，有人把我的新车刮坏了。", "angry"),
            ("我好像听见，门后面有什么声音。", "afraid"),
            ("星期天，我奶奶过了九十岁生日！", "happy"),
            ("我考驾照，已经是第三次没通过了。", "sad"),
            ("你能不能跟我说一点开心的事情？", "neutral"),
            ("医生说检查结果一切都很好！", "happy"),
            ("我刚搬到一个新城市，谁也不认识。", "sad"),
            ("我弟弟跟我借了钱，还对我撒谎。", "angry"),
        ),
    }
)
STAGES = ("heard", "think", "first_text", "first_audio", "done")
COLD = (
    "import time; t = time.perf_counter(); from echat_sdk.model import load_model; "
    "load_model({name!r}, threads={threads}, lang={lang!r}); print(time.perf_counter() - t)"
)
IMPORT = "import time; t = time.perf_counter(); import echat_sdk; print(time.perf_counter() - t)"


@dataclass(frozen=True, slots=True)
class ReplyBench:
    """What one run found.

    Attributes:
        stages: For each stage its times over the utterances, in seconds.
        utterance_seconds: Length of each utterance.
        answer_rtf: For each answer, seconds of work by seconds of answer spoken.
        cold_start: Seconds from a fresh process to a model that is ready to answer.
        import_seconds: Seconds of `import echat_sdk` in a fresh process.
        resident_mb: Largest resident memory of this process, in megabytes (10^6 bytes).
    """

    stages: dict[str, list[Seconds]]
    utterance_seconds: list[Seconds]
    answer_rtf: list[float]
    cold_start: Seconds
    import_seconds: Seconds
    resident_mb: float

    def percentile(self, stage: str, q: float) -> Seconds:
        """A percentile (0 to 100) of one stage's times."""
        return float(np.percentile(self.stages[stage], q))


def run(
    model: SpeechModel,
    *,
    threads: int,
    lang: Lang = "en",
    step: Callable[[int, int], None] = lambda done, of: None,
) -> ReplyBench:
    """Answer every sentence once, after one that warms up.

    Args:
        model: An open model.
        threads: What it was opened with; the cold start is measured with as many.
        lang: Language that is spoken.
        step: Called after each answer with how many are done, and of how many.
    """
    utterances = [spoken(model, words, emotion) for words, emotion in SENTENCES[lang]]
    answers: list[Answer] = []

    async def talk() -> None:
        async with Agent(model, RAMMemory(), user="bench", lang=lang) as agent:
            await agent.answer(utterances[0])
            for utterance in utterances:
                answers.append(await agent.answer(utterance))
                step(len(answers), len(utterances))

    asyncio.run(talk())
    answered = [a for a in answers if len(a.speech)]
    times = [a.turn.timings for a in answered]
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return ReplyBench(
        stages={stage: [getattr(t, stage) for t in times] for stage in STAGES},
        utterance_seconds=[len(u) / SAMPLE_RATE for u in utterances],
        answer_rtf=[
            (a.turn.timings.done or 0.0) / (len(a.speech) / a.sample_rate) for a in answered
        ],
        cold_start=_fresh(COLD.format(name=model.name, threads=threads, lang=lang)),
        import_seconds=min(_fresh(IMPORT) for _ in range(3)),
        resident_mb=resident / (1e6 if sys.platform == "darwin" else 1e3),
    )


def spoken(model: SpeechModel, words: str, emotion: str) -> Waveform:
    """A sentence in the model's own voice, as an utterance to be heard: int16 mono at 16 kHz."""
    pieces = [d.samples for d in model.say(words, emotion=ReplyEmotion.from_word(emotion))]
    whole = to_float(np.concatenate(pieces))
    return to_int16(soxr.resample(whole, model.sample_rate, SAMPLE_RATE))


def _fresh(code: str) -> Seconds:
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    # What the code measured itself; the interpreter's own start is nobody's cold start.
    return float(done.stdout.split()[-1]) if done.stdout.split() else time.perf_counter() - start
