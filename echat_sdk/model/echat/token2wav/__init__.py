"""Speech codes to sound: CosyVoice-1's flow at 25 codes a second and its HiFT vocoder.

`Token2Wav` speaks; a `VoicePrompt` says as whom; a `ChunkPlan` says when. Shapes: P codes and Fp
mel frames of a voice, N codes and F mel frames of an answer, T = Fp + F, S samples.
"""

from echat_sdk.model.echat.token2wav.checkpoint import convert_cosyvoice
from echat_sdk.model.echat.token2wav.config import (
    CODE_RATE,
    HOP,
    SAMPLE_RATE,
    Token2WavConfig,
    mel_frames,
)
from echat_sdk.model.echat.token2wav.plan import ChunkPlan
from echat_sdk.model.echat.token2wav.prompt_audio import SpeakerEncoder, SpeechTokenizer
from echat_sdk.model.echat.token2wav.stream import Token2WavStream
from echat_sdk.model.echat.token2wav.token2wav import Token2Wav
from echat_sdk.model.echat.token2wav.voices import VoicePrompt, make_voice, spk2info_voices

__all__ = [
    "CODE_RATE",
    "HOP",
    "SAMPLE_RATE",
    "ChunkPlan",
    "SpeakerEncoder",
    "SpeechTokenizer",
    "Token2Wav",
    "Token2WavConfig",
    "Token2WavStream",
    "VoicePrompt",
    "convert_cosyvoice",
    "make_voice",
    "mel_frames",
    "spk2info_voices",
]
