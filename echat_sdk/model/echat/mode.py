"""What a sequence is for: whether it hears, asks, thinks and speaks, and its system prompt."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from echat_sdk.model.echat.prompt import System


class Mode(StrEnum):
    """What a sequence is for, under the name that its training data has upstream."""

    UNDERSTAND = "text"
    S2T = "s2t_chat"
    S2T_FAKE = "s2t_chat_fake"
    S2T_THINK = "s2t_chat_think"
    S2S = "speech2text_token"
    S2S_THINK = "speech2text_token_think"
    S2S_HISTORY = "speech2text_token_history"
    S2S_STREAM = "speech2text_token_streaming"
    S2S_STREAM_THINK = "speech2text_token_streaming_think"
    T2T = "text2text"
    TTS = "text2token"
    TTS_STREAM = "text2token_streaming"
    OSUM = "osum_text"

    @property
    def hears(self) -> bool:
        """Whether the user's audio is in the sequence."""
        return self not in (Mode.T2T, Mode.TTS, Mode.TTS_STREAM)

    @property
    def asks(self) -> bool:
        """Whether the user's message holds text: a task, a question, words to speak."""
        return not self.hears or self in (Mode.UNDERSTAND, Mode.OSUM)

    @property
    def speaks(self) -> bool:
        """Whether the answer holds speech."""
        return self.value.startswith(("speech2", "text2token"))

    @property
    def interleaves(self) -> bool:
        """Whether text and speech come in turn."""
        return "streaming" in self.value

    @property
    def thinks(self) -> bool:
        """Whether a thought comes first."""
        return self.value.endswith("think") or self is Mode.S2T_FAKE

    @property
    def system(self) -> System | None:
        """What the model is told first; OSUM is told nothing."""
        return _SYSTEM.get(self)


_SYSTEM: Mapping[Mode, System] = {
    Mode.UNDERSTAND: System.UND,
    Mode.S2T: System.S2T,
    Mode.S2T_FAKE: System.S2S_THINK,
    Mode.S2T_THINK: System.S2T_THINK,
    Mode.S2S: System.S2S,
    Mode.S2S_THINK: System.S2S_THINK,
    Mode.S2S_HISTORY: System.S2S,
    Mode.S2S_STREAM: System.S2S_STREAM,
    Mode.S2S_STREAM_THINK: System.S2S_STREAM_THINK,
    Mode.T2T: System.T2T,
    Mode.TTS: System.TTS,
    Mode.TTS_STREAM: System.TTS_STREAM,
}
