"""Speech to text with Whisper, at the utterance's own length.

Whisper was trained on windows of 30 s; filling up to that costs most of its time on a short
utterance. A second or two of silence serve as well if the network writes timestamps: without them
it says a short utterance again and again (16 % word errors on 50 clear sentences, 0 % with them),
and words that it places after the end of the sound are no words of the speaker. Sound without
speech is never shown to it, so that it cannot invent words there.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from echat_sdk.audio import SAMPLE_RATE, FloatWaveform, Seconds
from echat_sdk.errors import CheckpointError, ModelMissingError, UnsupportedError
from echat_sdk.model.cascade.activity import Span, analyse
from echat_sdk.model.cascade.features import log_mel

if TYPE_CHECKING:
    from ctranslate2 import StorageView

    from echat_sdk.turn import Lang, LangChoice

# Silence after the speech, and after a doubtful transcript; tiny.en repeats itself with less.
_TAILS: tuple[Seconds, ...] = (1.5, 4.0, 8.0)
_ENGLISH_TAILS: tuple[Seconds, ...] = (3.0, 5.0, 8.0)
_CHUNK: Seconds = 25.0
_PAUSE: Seconds = 1.5  # a longer one ends a chunk: over it words lose their places
_EDGE: Seconds = 0.1  # sound kept around a chunk, beside the detector's own margin
_MAX_FRAMES = 3000  # of 10 ms, all that the positions reach
_STATE: Seconds = 0.02  # one state of the encoder

# As if said before: it makes Whisper write simplified Chinese, and more of it right (character
# errors on 22 synthetic sentences: 13 % with it, 22 % without).
_CHINESE_PROMPT = " 以下是普通话的句子。"

# What makes a transcript doubtful (Radford et al. 2022, section 4.5); then it is heard again with
# the next longer tail, which is dearer and nearer to what Whisper was trained on.
_MAX_COMPRESSION = 2.4
_MIN_LOGPROB = -1.0
_NO_SPEECH = 0.6
_LOOP = re.compile(r"(.{2,40}?)\1{3,}")

_TOKENS_PER_SECOND = 10  # faster than anyone speaks; bounds what a loop can cost
_MAX_TOKENS = 448  # positions of the decoder; CTranslate2 writes at most half of `max_length`
_TIMESTAMP: Seconds = 0.02  # between two timestamps
_END_SLACK: Seconds = 0.15  # a timestamp so near to the end of the sound is its end


@dataclass(frozen=True, slots=True)
class Word:
    """A word, or one Han character, with its place in seconds from the start of the recording."""

    text: str
    start: Seconds
    end: Seconds


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said.

    Attributes:
        text: The words; empty when nobody spoke.
        lang: Their language; `en` when nobody spoke and none was asked for.
        confidence: Geometric mean of the probabilities of the text's tokens; 0 when empty.
    """

    text: str
    lang: Lang
    confidence: float = 0.0


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A stretch of speech after the encoder."""

    start: Seconds
    seconds: Seconds
    states: StorageView  # [1, T / 2, D]
    frames: int  # T


@dataclass(frozen=True, slots=True)
class _Decoded:
    chunk: _Chunk
    tokens: list[int]
    text: str
    is_closed: bool  # it ended of itself, not for want of tokens
    logprob: float
    no_speech: float

    @property
    def is_doubtful(self) -> bool:
        return self.logprob < _MIN_LOGPROB or self.is_looped

    @property
    def is_looped(self) -> bool:
        text = self.text
        return (
            not self.is_closed or _compression(text) > _MAX_COMPRESSION or bool(_LOOP.search(text))
        )


class Transcriber:
    """A Whisper model in a CTranslate2 directory. Calls from several threads take turns.

    Args:
        directory: Holds `model.bin`, `config.json`, `tokenizer.json` and the vocabulary.
        threads: Cores for one call.

    Raises:
        ModelMissingError: no such directory, or ctranslate2 or tokenizers is not installed.
        CheckpointError: the files are damaged or not those of a Whisper model.
    """

    def __init__(self, directory: Path, *, threads: int = 2) -> None:
        try:
            import ctranslate2
            from tokenizers import Tokenizer
        except ImportError as error:
            raise ModelMissingError(
                f"{error.name} is not installed; pip install 'echat-sdk[lite]'"
            ) from error
        tokenizer_file = directory / "tokenizer.json"
        if not (directory / "model.bin").is_file() or not tokenizer_file.is_file():
            raise ModelMissingError(f"no Whisper in {directory}; pull it with echat models pull")
        try:
            self._tokenizer = Tokenizer.from_file(str(tokenizer_file))
            self._model = ctranslate2.models.Whisper(
                str(directory), compute_type="int8", inter_threads=1, intra_threads=threads
            )
        except Exception as error:  # for a damaged file tokenizers raises a plain Exception
            raise CheckpointError(
                f"Whisper in {directory} cannot be loaded; mend it with echat models pull"
            ) from error

    @property
    def languages(self) -> tuple[Lang, ...]:
        """The languages that this model hears."""
        return ("en", "zh") if self._model.is_multilingual else ("en",)

    def transcribe(
        self,
        samples: FloatWaveform,
        *,
        lang: LangChoice = "auto",
        spans: Sequence[Span] | None = None,
    ) -> Transcript:
        """Write down what was said.

        Args:
            samples: 16 kHz mono in [-1, 1]. Shape [S].
            lang: The language, or `auto` to choose between those that the model hears.
            spans: Where somebody speaks, if it is known; found by `activity.analyse` otherwise.

        Raises:
            UnsupportedError: the model does not hear this language.
        """
        lang, decoded = self._decode(samples, lang, spans)
        if not decoded:
            return Transcript("", lang)
        glue = "" if lang == "zh" else " "
        text = glue.join(part.text for part in decoded)
        count = sum(len(part.tokens) for part in decoded)
        logprob = sum(part.logprob * len(part.tokens) for part in decoded) / count
        return Transcript(text, lang, float(np.exp(logprob)))

    def align(
        self,
        samples: FloatWaveform,
        *,
        lang: LangChoice = "auto",
        spans: Sequence[Span] | None = None,
    ) -> tuple[Word, ...]:
        """Write down what was said with the time of each word, good to about 0.1 s.

        As `transcribe`; punctuation is left out.
        """
        lang, decoded = self._decode(samples, lang, spans)
        return tuple(word for part in decoded for word in self._words(part, lang))

    def _decode(
        self, samples: FloatWaveform, choice: LangChoice, spans: Sequence[Span] | None
    ) -> tuple[Lang, list[_Decoded]]:
        if choice == "zh" and "zh" not in self.languages:
            raise UnsupportedError("this Whisper hears English only; echat-lite hears Chinese too")
        lang: Lang | None = choice if choice != "auto" else None
        if lang is None and len(self.languages) == 1:
            lang = "en"
        found = analyse(samples).spans if spans is None else spans
        decoded: list[_Decoded] = []
        tails = _TAILS if self._model.is_multilingual else _ENGLISH_TAILS
        for start, stop in _cut(samples, found):
            tries: list[_Decoded] = []
            for tail in tails:
                chunk = self._encode(samples, start, stop, tail)
                lang = lang or self._detect(chunk)
                tries.append(self._decode_chunk(chunk, lang))
                if choice == "auto" and not decoded and _is_prompt(tries[-1]):
                    lang = "en"  # nothing Chinese was heard
                    tries[-1] = self._decode_chunk(chunk, lang)
                if not tries[-1].is_doubtful or _is_invented(tries[-1]):
                    break
            part = max(tries, key=lambda t: (not t.is_looped, t.logprob))
            if part.text and not _is_invented(part):
                decoded.append(part)
        return lang or "en", decoded

    def _encode(self, samples: FloatWaveform, start: int, stop: int, tail: Seconds) -> _Chunk:
        import ctranslate2

        silence = np.zeros(round(tail * SAMPLE_RATE), np.float32)
        mel = log_mel(np.concatenate([samples[start:stop], silence]), n_mels=self._model.n_mels)
        mel = np.ascontiguousarray(mel[None, :, : min(mel.shape[1], _MAX_FRAMES) // 2 * 2])
        states = self._model.encode(ctranslate2.StorageView.from_array(mel))
        return _Chunk(
            start / SAMPLE_RATE, (stop - start) / SAMPLE_RATE, states, frames=mel.shape[2]
        )

    def _detect(self, chunk: _Chunk) -> Lang:
        """The likelier of the languages that we hear, whatever else Whisper knows."""
        chances: dict[str, float] = dict(self._model.detect_language(chunk.states)[0])
        return "zh" if chances.get("<|zh|>", 0.0) > chances.get("<|en|>", 0.0) else "en"

    def _start(self, lang: Lang) -> list[int]:
        if not self._model.is_multilingual:
            return [self._id("<|startoftranscript|>")]
        return [self._id(f"<|{name}|>") for name in ("startoftranscript", lang, "transcribe")]

    def _id(self, token: str) -> int:
        if (number := self._tokenizer.token_to_id(token)) is None:
            raise CheckpointError(f"Whisper's tokenizer has no {token}; pull the model again")
        return int(number)

    def _decode_chunk(self, chunk: _Chunk, lang: Lang) -> _Decoded:
        prompt = self._start(lang)
        if lang == "zh":
            before = self._tokenizer.encode(_CHINESE_PROMPT, add_special_tokens=False).ids
            prompt = [self._id("<|startofprev|>"), *before, *prompt]
        budget = max(len(prompt), 10 + round(_TOKENS_PER_SECOND * chunk.seconds))
        budget = min(budget, _MAX_TOKENS // 2)
        (result,) = self._model.generate(
            chunk.states,
            [prompt],
            beam_size=1,
            max_length=2 * budget,
            return_scores=True,
            return_no_speech_prob=True,
        )
        written = result.sequences_ids[0]
        tokens, is_closed = self._spoken(written, chunk.seconds)
        return _Decoded(
            chunk,
            tokens,
            text=_tidy(self._tokenizer.decode(tokens), lang),
            is_closed=is_closed or len(written) < budget,
            logprob=float(result.scores[0]),
            no_speech=result.no_speech_prob,
        )

    def _spoken(self, tokens: Sequence[int], seconds: Seconds) -> tuple[list[int], bool]:
        """The text's tokens up to the timestamp at the end of the sound; whether one closes it."""
        zero = self._id("<|notimestamps|>") + 1
        segments: list[list[int]] = [[]]
        is_closed = False
        for token in tokens:
            is_closed = token >= zero
            if not is_closed:
                segments[-1].append(token)
            elif segments[-1]:
                end = (token - zero) * _TIMESTAMP
                # The same again, said to end after the end of the sound, is an echo.
                if end > seconds + _END_SLACK and segments[-1] in segments[:-1]:
                    segments.pop()
                if end >= seconds - _END_SLACK:
                    break
                segments.append([])
        return [token for segment in segments for token in segment], is_closed

    def _words(self, part: _Decoded, lang: Lang) -> Iterator[Word]:
        (result,) = self._model.align(
            part.chunk.states, self._start(lang), [part.tokens], part.chunk.frames
        )
        begins = dict(reversed([(token, state) for token, state in result.alignments]))
        end_of_speech = part.chunk.seconds
        times = [begins.get(i, 0) * _STATE for i in range(len(part.tokens) + 1)]
        times[-1] = times[-1] or end_of_speech
        for first, last, text in self._spelled(part.tokens):
            word = re.sub(r"^\W+|\W+$", "", text)
            # A token may hold two Han characters; they share its time.
            units = list(word) if _is_han(word[:1]) else [word] if word else []
            edges = np.linspace(times[first], max(times[first], times[last]), len(units) + 1)
            edges = part.chunk.start + np.minimum(edges, end_of_speech)
            for unit, start, end in zip(units, edges, edges[1:], strict=False):
                yield Word(unit, round(float(start), 2), round(float(end), 2))

    def _spelled(self, tokens: Sequence[int]) -> Iterator[tuple[int, int, str]]:
        """Words, or single Han characters, with the tokens that spell them: first, one past."""
        first, text = 0, ""
        begun = 0  # first token of a character that is not whole yet
        for i in range(len(tokens)):
            piece = self._tokenizer.decode(tokens[begun : i + 1])
            if "\ufffd" in piece:
                continue
            if text and (piece.startswith(" ") or _is_han(piece[:1]) or _is_han(text[-1])):
                yield first, begun, text
                first, text = begun, ""
            text += piece
            begun = i + 1
        if text:
            yield first, len(tokens), text


def _cut(samples: FloatWaveform, spans: Sequence[Span]) -> list[tuple[int, int]]:
    """Stretches of samples, each of at most 25 s, cut at pauses or else where it is quietest."""
    limit = int(_CHUNK * SAMPLE_RATE)
    pieces: list[tuple[int, int]] = []
    for span in spans:
        start, stop = int(span.start * SAMPLE_RATE), int(span.end * SAMPLE_RATE)
        while stop - start > limit:
            cut = _quietest(samples, start + limit * 3 // 5, start + limit)
            pieces.append((start, cut))
            start = cut
        pieces.append((start, stop))
    joined: list[tuple[int, int]] = []
    for start, stop in pieces:
        near = joined and start - joined[-1][1] <= _PAUSE * SAMPLE_RATE
        if near and stop - joined[-1][0] <= limit:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    edge = int(_EDGE * SAMPLE_RATE)
    return [(max(0, start - edge), min(len(samples), stop + edge)) for start, stop in joined]


def _quietest(samples: FloatWaveform, start: int, stop: int) -> int:
    """The middle of the quietest 0.2 s between two places."""
    width = SAMPLE_RATE // 5
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples[start:stop], dtype=np.float64))])
    return start + int(np.argmin(energy[width:] - energy[:-width])) + width // 2


def _is_invented(part: _Decoded) -> bool:
    """Whether it repeats its prompt, or doubts both that somebody spoke and what it wrote."""
    doubts = part.no_speech > _NO_SPEECH and part.logprob < _MIN_LOGPROB
    return doubts or _is_prompt(part)


def _is_prompt(part: _Decoded) -> bool:
    return part.text == _CHINESE_PROMPT.strip()


def _compression(text: str) -> float:
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def _is_han(char: str) -> bool:
    return "\u3400" <= char <= "\u9fff"


def _tidy(text: str, lang: Lang) -> str:
    text = text.replace("\ufffd", "").strip()
    return re.sub(r"(?<=[^\x00-\x7f])\s+|\s+(?=[^\x00-\x7f])", "", text) if lang == "zh" else text
