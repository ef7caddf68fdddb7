"""Makes neutral speech in many voices, English and Chinese: what differs from it is not emotion.

python -m echat_training.anchors --kokoro kokoro-v1.0.int8.onnx --out DIR

The voice head learns from it which way German studio recordings lie from other speech, so that it
does not take a language or a microphone for a feeling. Files are named `VOICE_NUMBER.wav`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import soxr
import typer
from rich.console import Console
from rich.progress import track

from echat_sdk.audio import SAMPLE_RATE
from echat_sdk.cues import ReplyEmotion
from echat_sdk.model.cascade.kokoro import KokoroVoice
from echat_sdk.model.cascade.prosody import PROSODY

VOICES = (
    "af_bella", "af_heart", "am_fenrir", "am_michael", "bf_emma", "bm_george",
    "zf_xiaoxiao", "zf_xiaoyi", "zm_yunxi", "zm_yunyang",
)  # fmt: skip
ENGLISH = (
    "The train leaves at ten past nine.",
    "Please put the letters on the kitchen table.",
    "There are three chairs next to the window.",
)
CHINESE = (
    "火车九点十分开。",
    "请把信放在厨房的桌子上。",
    "窗户旁边有三把椅子。",
)


def main(
    kokoro: Annotated[Path, typer.Option(help="The file kokoro-v1.0.int8.onnx.")],
    out: Annotated[Path, typer.Option(help="Folder for the recordings.")],
    seed: Annotated[int, typer.Option(help="Seed of the speaking rates.")] = 0,
) -> None:
    """Speak every sentence of a language with every voice of it."""
    out.mkdir(parents=True, exist_ok=True)
    speaker = KokoroVoice(kokoro, threads=1)
    rng = np.random.default_rng(seed)
    jobs = [
        (voice, number, text)
        for voice in VOICES
        for number, text in enumerate(CHINESE if voice.startswith("z") else ENGLISH)
    ]
    for voice, number, text in track(jobs, "speaking", console=Console()):
        samples = speaker.speak(text, PROSODY[ReplyEmotion.NEUTRAL], voice=voice)
        rate = speaker.sample_rate * rng.uniform(
            0.92, 1.08
        )  # a little slower or faster, as on tape
        soundfile.write(
            out / f"{voice}_{number}.wav", soxr.resample(samples, rate, SAMPLE_RATE), SAMPLE_RATE
        )


if __name__ == "__main__":
    typer.run(main)
