"""What secrets look like: made here, checked in constant time, and kept out of every log.

A secret is `PREFIX ID _ RANDOM`. The id finds who is meant; 256 random bits prove it, and only the
SHA-256 of it is kept: what cannot be guessed needs no slow hash, which is for what people think up.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

KEY = "echat_"
"""Begins an API key."""
CLIENT = "ek_"
"""Begins a client secret; clients in browsers know it by that."""
TICKET = "et_"
"""Begins a one-time ticket."""

_LONGEST = 128  # characters
_NOBODY = "0" * 64
_SHAPE = re.compile(rf"\b({KEY}|{CLIENT}|{TICKET})([0-9a-f]{{12}})_[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Secret:
    """A new secret: its words are shown once, and not kept.

    Attributes:
        words: The whole of it.
        id: The part that may be shown.
        sha256: What is kept.
    """

    words: str
    id: str
    sha256: str

    def __repr__(self) -> str:
        return f"Secret(id={self.id!r})"


def new(prefix: str) -> Secret:
    """A secret that nobody has seen."""
    id_ = secrets.token_hex(6)
    words = f"{prefix}{id_}_{secrets.token_urlsafe(32)}"
    return Secret(words, id_, digest(words))


def id_of(words: str, prefix: str) -> str:
    """Whom a secret says it is of; empty for what is none."""
    if not words.startswith(prefix) or len(words) > _LONGEST or not words.isascii():
        return ""
    return words[len(prefix) :].partition("_")[0]


def digest(words: str) -> str:
    """SHA-256, in hexadecimal."""
    return hashlib.sha256(words.encode()).hexdigest()


def proves(words: str, sha256: str | None) -> bool:
    """Whether a secret is the one that is kept, in a time that tells nothing.

    Args:
        words: What was shown.
        sha256: What is kept; None, for nobody, takes as long and is never right.
    """
    is_equal = hmac.compare_digest(digest(words), sha256 or _NOBODY)
    return is_equal and sha256 is not None


def without_secrets(text: str) -> str:
    """The text with each secret cut down to its id."""
    return _SHAPE.sub(r"\1\2_***", text)
