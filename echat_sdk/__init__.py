"""An empathetic voice agent: speech in, an empathetic spoken answer out, remembered.

Why so little is here: these names are what a host needs; the rest is a room behind one of them.
"""

from echat_sdk.agent import Agent, Answer
from echat_sdk.audio import AudioFrame
from echat_sdk.cues import Cue, Cues, Emotion, ReplyEmotion
from echat_sdk.errors import EChatError
from echat_sdk.io.wav import read_audio, write_audio
from echat_sdk.model import load_model
from echat_sdk.protocols import Hearing, Memory, SpeechModel
from echat_sdk.turn import Recollection, Turn

__all__ = [
    "Agent",
    "Answer",
    "AudioFrame",
    "Cue",
    "Cues",
    "EChatError",
    "Emotion",
    "Hearing",
    "Memory",
    "Recollection",
    "ReplyEmotion",
    "SpeechModel",
    "Turn",
    "load_model",
    "read_audio",
    "write_audio",
]
