"""Every token id, in one place: text, speech codes and marks share one space.

With V rows in the text head, a text token is its own id, a speech code c is V + c, and above the
codes stand the marks of the speech table: begin or end of speech, begin and end of the user's
audio. One more id holds the place of an audio embedding; it is never embedded and never predicted.
Upstream keeps codes and text ids apart by position only; here they cannot collide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from echat_sdk.errors import ConfigError, GenerationError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Ids of the Qwen2 and Qwen2.5 tokenizers.
END_OF_TEXT = 151643
IM_START = 151644
IM_END = 151645

IGNORED = -100
"""The label of a position that is not supervised."""

THINK_END = (13708, 766, 835, 29)
"""`<think end>` alone; between other letters it is cut differently, see `interleave`."""

UNKNOWN_SLOT = 7672
"""`&&`, what stands in a slot whose label nobody knows."""

BLANK = 0
"""What is embedded where a position is hidden from attention."""

AGE_SLOT = (102185, 17714, 31252)
"""`年龄为:<`, after which an age label must come."""

AGE_LABELS = frozenset({99119, 1808, 7863})
"""First tokens of `CHILD>`, `ADULT>` and `OLD>`."""

SILENT_CODE = 1446
"""The speech code of a pause or a breath, which may be repeated longer than others."""

REAL_TEXT_ROWS = 151_936
SPEECH_CODES = 4096


@dataclass(frozen=True, slots=True)
class Vocab:
    """The id space of one model.

    Args:
        text_rows: V, rows of the text head.
        speech_codes: C, codes of the speech tokenizer.
        im_start: Opens a message of the chat template.
        im_end: Closes one.
        text_end: Ends what the model writes: `<|im_end|>` for OSUM-EChat, `<|endoftext|>` for OSUM.

    Raises:
        ConfigError: sizes that hold nothing, or a mark outside the text rows.
    """

    text_rows: int = REAL_TEXT_ROWS
    speech_codes: int = SPEECH_CODES
    im_start: int = IM_START
    im_end: int = IM_END
    text_end: int = IM_END

    def __post_init__(self) -> None:
        marks = (self.im_start, self.im_end, self.text_end)
        if (
            self.text_rows < 1
            or self.speech_codes < 1
            or not 0 <= min(marks) <= max(marks) < (self.text_rows)
        ):
            raise ConfigError(
                f"{self.text_rows} text rows, {self.speech_codes} speech codes and marks {marks}: "
                "expected sizes above 0 and marks that are text ids"
            )

    @property
    def speech_rows(self) -> int:
        """S, rows of the speech head: the codes and `speech_bos`."""
        return self.speech_codes + 1

    @property
    def speech_bos(self) -> int:
        """Begins speech, and ends it."""
        return self.text_rows + self.speech_codes

    @property
    def audio_begin(self) -> int:
        """Stands before the embeddings of the user's audio."""
        return self.speech_bos + 1

    @property
    def audio_end(self) -> int:
        """Stands after them."""
        return self.speech_bos + 2

    @property
    def audio_placeholder(self) -> int:
        """Holds the place of one audio embedding."""
        return self.speech_bos + 3

    def speech(self, row: int) -> int:
        """The id of a row of the speech table: a code, `speech_codes` for the begin mark and so on.

        Raises:
            GenerationError: no such row.
        """
        if not 0 <= row < self.speech_codes + 3:
            raise GenerationError(
                f"speech code {row} is outside 0..{self.speech_codes + 2}; "
                "the codes come from another speech tokenizer"
            )
        return self.text_rows + row

    def code(self, token: int) -> int:
        """The row of the speech table that an id stands for, without the check of `is_speech`."""
        return token - self.text_rows

    def is_speech(self, token: int) -> bool:
        """Whether an id is a speech code, or the mark that begins and ends speech."""
        return self.text_rows <= token <= self.speech_bos

    def codes_of(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """The speech codes among ids, in their order; text and marks are left out."""
        return tuple(t - self.text_rows for t in tokens if self.text_rows <= t < self.speech_bos)

    def text_of(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """The text among ids, in its order; speech and the end mark are left out."""
        return tuple(t for t in tokens if t < self.text_rows and t != self.text_end)

    def spoken(self, codes: Sequence[int]) -> tuple[int, ...]:
        """Speech as the model writes it: begin, codes, end.

        Raises:
            GenerationError: a code outside the speech tokenizer's.
        """
        wrong = [code for code in codes if not 0 <= code < self.speech_codes]
        if wrong:
            raise GenerationError(
                f"speech code {wrong[0]} is outside 0..{self.speech_codes - 1}; "
                "the codes come from another speech tokenizer"
            )
        return (self.speech_bos, *(self.text_rows + code for code in codes), self.speech_bos)


class TextTokenizer(Protocol):
    """Text to ids and back; no text may become a mark of the chat template."""

    def encode(self, text: str, /) -> Sequence[int]:
        """The ids of a text, nothing added."""
        ...

    def decode(self, ids: Sequence[int], /) -> str:
        """The text of ids; marks stand for nothing."""
        ...


class PlainText:
    """A `tokenizers.Tokenizer` that cuts text only: `<|im_end|>` in a text is seven letters' worth.

    Args:
        tokenizer: Becomes this object's own: its handling of special tokens is switched off.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer

    def encode(self, text: str, /) -> list[int]:
        """The ids of a text."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int], /) -> str:
        """The text of ids."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)
