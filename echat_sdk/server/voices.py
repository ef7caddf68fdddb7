"""OpenAI's names of voices; whoever asks for one of them gets the default voice."""

from __future__ import annotations

OPENAI_VOICES = frozenset(
    {"alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx"}
    | {"sage", "shimmer", "verse"}
)
