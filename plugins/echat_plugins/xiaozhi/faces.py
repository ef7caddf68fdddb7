"""How the agent's emotions look on a device: xiaozhi's names for its faces."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from echat_sdk.cues import ReplyEmotion

# Comfort is calm: "loving" would look at somebody who mourns with hearts in its eyes.
FACES: Mapping[ReplyEmotion, tuple[str, str]] = MappingProxyType(
    {
        ReplyEmotion.JOYFUL: ("laughing", "😆"),
        ReplyEmotion.SORRY: ("embarrassed", "😳"),
        ReplyEmotion.HAPPY: ("happy", "🙂"),
        ReplyEmotion.ANGRY: ("angry", "😠"),
        ReplyEmotion.SURPRISED: ("surprised", "😯"),
        ReplyEmotion.DISGUSTED: ("confused", "🙄"),
        ReplyEmotion.SAD: ("sad", "😔"),
        ReplyEmotion.AFRAID: ("shocked", "😱"),
        ReplyEmotion.TEARFUL: ("crying", "😭"),
        ReplyEmotion.COMFORTING: ("relaxed", "😌"),
        ReplyEmotion.NEUTRAL: ("neutral", "😶"),
    }
)
"""The name of a face, and the emoji that is shown where a device has no faces."""
