"""Byte-level BPE vocabularies: the letters of the bytes, what is kept of a large one, a tokenizer.

A text model reads its whole output matrix for every token it writes. Of Qwen's 151 936 rows most
are for program text and for languages that the voices cannot speak; dropping them makes each token
cheaper and changes nothing else: what is kept is closed under merges, so a text whose tokens are
all kept is cut exactly as before, and any other text falls back to shorter tokens and to bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from echat_sdk.errors import CheckpointError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# The chat markup of both models. No merge makes these tokens, so no text can contain one.
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
TEXT_END = "<|endoftext|>"
MARKUP = (TEXT_END, TURN_START, TURN_END)

# What a token of spoken English looks like, and its highest rank: tokens are in the order in which
# they were learned, so common ones come first and other languages' pieces last. Of the tokens of
# 20 000 English comments 99.4 % stay.
_ENGLISH = (
    (re.compile(r"[ \"'(*-]?(?:[A-Z]?[a-z]+|[A-Z])"), 100_000),
    (re.compile(r" ?[A-Z]{2,}"), 40_000),
    (re.compile(r" ?[!-/:-@\[-`{-~]+\n*|\s+|[0-9]+"), 50_000),
)
_CHINESE = re.compile(r"[㐀-䶿一-鿿]{1,4}|[\u2010-\u2027\u3000-\u303f\uff00-\uffef·]{1,2}")

_QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _byte_letters() -> dict[str, int]:
    """The letter that stands for each byte in a byte-level vocabulary (GPT-2's table)."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in set(visible)]
    letters = {chr(byte): byte for byte in visible}
    return letters | {chr(256 + i): byte for i, byte in enumerate(hidden)}


BYTE_OF_LETTER = _byte_letters()


def token_bytes(token: str) -> bytes:
    """The bytes that a byte-level token stands for; markup stands for none."""
    return b"" if token in MARKUP else bytes(BYTE_OF_LETTER[letter] for letter in token)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A byte-level BPE vocabulary.

    Attributes:
        tokens: The tokens; a token's place is its id.
        merges: Pairs of tokens that become one, in order of precedence.
        split: Name of the rule that cuts a text before merging: `qwen2` or `smollm`.
        rows: The id that each token had in the checkpoint: which rows of its matrices to take.
    """

    tokens: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]
    split: str
    rows: tuple[int, ...]

    @classmethod
    def parse(cls, tokens: Sequence[str], merges: Iterable[str], split: str) -> Vocabulary:
        """The vocabulary of a checkpoint, all that is not text or chat markup left out.

        Raises:
            CheckpointError: not a byte-level vocabulary with ChatML markup.
        """
        missing = [mark for mark in MARKUP if mark not in tokens]
        if missing or split not in ("qwen2", "smollm"):
            raise CheckpointError(
                f"a vocabulary split by {split!r} without {missing}: expected qwen2 or smollm "
                "with ChatML markup; convert an instruct model of those families"
            )
        known = set(tokens)
        if len(known) != len(tokens):
            raise CheckpointError("a token stands twice in the vocabulary; pull the model again")
        made = known & BYTE_OF_LETTER.keys()
        pairs: list[tuple[str, str]] = []
        for merge in merges:
            left, _, right = merge.partition(" ")
            if not {left, right} <= made or left + right not in known:
                raise CheckpointError("a merge of tokens that are not there; pull the model again")
            pairs.append((left, right))
            made.add(left + right)
        rows = [i for i, token in enumerate(tokens) if token in made or token in MARKUP]
        return cls(
            tokens=tuple(tokens[i] for i in rows),
            merges=tuple(pairs),
            split=split,
            rows=tuple(rows),
        )

    def pruned(self) -> Vocabulary:
        """What spoken English and Chinese need of it: whole words, Han, punctuation, all bytes."""
        parents = {left + right: (left, right) for left, right in reversed(self.merges)}
        keep = set(MARKUP) | (BYTE_OF_LETTER.keys() & set(self.tokens))
        wanted = [t for i, t in enumerate(self.tokens) if t not in keep and _is_spoken(t, i)]
        while wanted:
            token = wanted.pop()
            if token not in keep:
                keep.add(token)
                wanted.extend(parents[token])
        kept = [i for i, token in enumerate(self.tokens) if token in keep]
        return Vocabulary(
            tokens=tuple(self.tokens[i] for i in kept),
            merges=tuple((a, b) for a, b in self.merges if a + b in keep and {a, b} <= keep),
            split=self.split,
            rows=tuple(self.rows[i] for i in kept),
        )

    def tokenizer(self) -> Tokenizer:
        """A tokenizer that knows text only: markup in a text is cut like any other letters."""
        from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

        tokenizer = Tokenizer(
            models.BPE(
                vocab={token: i for i, token in enumerate(self.tokens)}, merges=list(self.merges)
            )
        )
        if self.split == "qwen2":
            tokenizer.normalizer = normalizers.NFC()
            cut: pre_tokenizers.PreTokenizer = pre_tokenizers.Split(
                Regex(_QWEN2_SPLIT), behavior="isolated"
            )
            letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        else:
            cut = pre_tokenizers.Digits(individual_digits=True)
            letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, letters])
        tokenizer.decoder = decoders.ByteLevel()
        return tokenizer


def _is_spoken(token: str, rank: int) -> bool:
    try:
        text = token_bytes(token).decode()
    except UnicodeDecodeError:  # a part of a character: kept where a kept token is merged from it
        return False
    if _CHINESE.fullmatch(text):
        return True
    return any(rank < limit and shape.fullmatch(text) for shape, limit in _ENGLISH)
