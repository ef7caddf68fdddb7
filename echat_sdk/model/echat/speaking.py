"""From tokens to what is given out: letters of whole characters, and sound with its words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from echat_sdk.audio import Waveform, to_int16
from echat_sdk.model.echat.token2wav.config import SAMPLE_RATE
from echat_sdk.model.echat.vocab import TextTokenizer, Vocab
from echat_sdk.turn import Lang, LangChoice, SpeechDelta

if TYPE_CHECKING:
    from echat_sdk.model.echat.token2wav import Token2Wav, VoicePrompt

_LETTERS_A_SECOND: dict[Lang, float] = {"en": 14.0, "zh": 4.5}


class Speaker:
    """Codes of one answer to speech deltas, with the words that each piece speaks.

    Where a word lies in the speech the network does not tell. It is estimated from how fast people
    speak, and what is left is given to the last piece.

    Args:
        token2wav: Makes the sound.
        voice: Whose.
        vocab: The id space.
        text: The words to be spoken, as far as they are known.
        seed: The same codes and seed make the same samples.
    """

    def __init__(
        self, token2wav: Token2Wav, voice: VoicePrompt, vocab: Vocab, *, text: str, seed: int
    ) -> None:
        self._stream = token2wav.stream(voice, seed=seed)
        self._vocab = vocab
        self._text = text
        self._told = 0
        self._seconds = 0.0

    def words(self, text: str) -> None:
        """Take more of the words."""
        self._text += text

    def push(self, token: int) -> Iterator[SpeechDelta]:
        """Take the next speech token."""
        if codes := self._vocab.codes_of([token]):
            yield from self._piece(to_int16(self._stream.push(codes)), is_last=False)

    def finish(self) -> Iterator[SpeechDelta]:
        """The rest."""
        yield from self._piece(to_int16(self._stream.finish()), is_last=True)

    def _piece(self, samples: Waveform, *, is_last: bool) -> Iterator[SpeechDelta]:
        if not len(samples):
            return
        self._seconds += len(samples) / SAMPLE_RATE
        rate = _LETTERS_A_SECOND[lang_of(self._text, "auto")]
        end = len(self._text) if is_last else self._whole_words(round(self._seconds * rate))
        text, self._told = self._text[self._told : end], max(end, self._told)
        yield SpeechDelta(samples, SAMPLE_RATE, text)

    def _whole_words(self, letters: int) -> int:
        """Where the last word ends that so many letters hold whole, as far as is known."""
        end = min(letters, len(self._text))
        if self._text[end : end + 1].isspace():
            return end
        while end and self._text[end - 1].isascii() and not self._text[end - 1].isspace():
            end -= 1
        return end


class Letters:
    """Text ids to text as they come; a character that is cut between tokens waits for its rest."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._decode = tokenizer.decode
        self._held: list[int] = []

    def push(self, token: int) -> str:
        """The letters that are certain now; often one word, empty while one is cut."""
        self._held.append(token)
        text = self._decode(self._held)
        if text.endswith("�") and len(self._held) < 8:
            return ""
        self._held.clear()
        return text


def lang_of(text: str, lang: LangChoice) -> Lang:
    """The language of a text: Chinese where it has Han characters, unless another is asked for."""
    if lang != "auto":
        return lang
    return "zh" if any("\u4e00" <= char <= "\u9fff" for char in text) else "en"
