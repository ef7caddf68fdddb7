"""Make the spoken examples of this folder anew, with the packaged voices.

Example: python examples/audio/make.py --kokoro "$(echat models path kokoro-82m)"
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import soxr
import typer

from echat_sdk.audio import SAMPLE_RATE, to_float, to_int16
from echat_sdk.io.wav import write_audio
from echat_sdk.model.cascade.prosody import Prosody
from echat_sdk.model.cascade.voice import Voice
from echat_sdk.turn import Lang

# Stronger than any answer is spoken: these play a person who is sad or happy.
SAD = Prosody(
    pitch=-2.5, range=0.5, rate=0.82, final=-2.0, loudness=-5.0, effort=-0.6, tilt=-2.5, breath=0.2
)
HAPPY = Prosody(pitch=4.0, range=2.2, rate=1.02, final=2.0, loudness=2.0, effort=0.5, tilt=1.3)
CRYING = Prosody(
    pitch=-1.5, range=0.45, rate=0.82, final=-2.0, loudness=-5.0, effort=-0.6, tilt=-2.5,
    breath=0.25, tremor=0.35,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Example:
    """One recording: what is said, in which voice and how."""

    file: str
    text: str
    lang: Lang
    voice: str
    prosody: Prosody


EXAMPLES = (
    Example(
        "sad.wav", "My dog Rex died yesterday. The house feels so empty without him.",
        "en", "heart", SAD,
    ),
    Example("happy.wav", "Guess what! I got the job! I start on Monday.", "en", "heart", HAPPY),
    Example("news.wav", "Guess what. I got the job. I start on Monday.", "en", "heart", CRYING),
    Example("zh.wav", "我的小狗昨天死了，我心里特别难过。", "zh", "zf_xiaoxiao", SAD),
)  # fmt: skip


def main(
    kokoro: Annotated[Path, typer.Option(help="Folder of the part kokoro-82m, or its file.")],
    out: Annotated[Path, typer.Option(help="Where to write.")] = Path(__file__).parent,
) -> None:
    """Write every example as 16 kHz mono WAV."""
    voice = Voice(kokoro / "kokoro-v1.0.int8.onnx" if kokoro.is_dir() else kokoro)
    for example in EXAMPLES:
        deltas = voice.say(
            example.text, emotion=example.prosody, lang=example.lang, voice=example.voice
        )
        spoken = np.concatenate([to_float(delta.samples) for delta in deltas])
        around = np.zeros(voice.sample_rate // 5, np.float32)
        whole = np.concatenate([around, spoken, around])
        write_audio(
            out / example.file,
            to_int16(soxr.resample(whole, voice.sample_rate, SAMPLE_RATE)),
            SAMPLE_RATE,
        )


if __name__ == "__main__":
    typer.run(main)
