"""English words to the sounds that the voices read (misaki's alphabet), through hibari's rules."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Protocol, cast

from echat_sdk.errors import ModelMissingError

_MISSING = "hibari-tts is not installed: pip install 'echat-sdk[lite]'"


class Phonemizer(Protocol):
    """Turns a text into sounds; characters that it does not know make none."""

    def __call__(self, text: str) -> str:
        """The sounds of a text."""
        ...


def hibari_asset(name: str) -> Path:
    """A file that hibari-tts ships.

    Raises:
        ModelMissingError: hibari-tts is not installed.
    """
    try:
        from hibari.tts import ASSETS
    except ImportError as error:
        raise ModelMissingError(_MISSING) from error
    return Path(ASSETS, name)


@cache
def english_phonemizer(*, british: bool = False) -> Phonemizer:
    """The pronunciation rules and lexicon; loaded once (about 0.3 s), shared by all voices.

    Raises:
        ModelMissingError: hibari-tts is not installed.
    """
    try:
        from hibari.g2p import G2P
    except ImportError as error:
        raise ModelMissingError(_MISSING) from error
    return cast(Phonemizer, G2P(british=british))


@cache
def vocabulary() -> dict[str, int]:
    """The number of each sound in the networks' input; Kokoro's table, which hibari shares."""
    return cast(dict[str, int], json.loads(hibari_asset("vocab.json").read_text("utf-8")))
