"""One answer of the network being decoded, and the turn that it leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from operator import is_
from typing import TYPE_CHECKING, Any

from torch import Tensor

from echat_sdk.cues import ReplyEmotion
from echat_sdk.errors import GenerationError
from echat_sdk.model.echat.backend import Past, TokenStream
from echat_sdk.model.echat.conversations import Conversation
from echat_sdk.model.echat.decoding import Decoding, Phase
from echat_sdk.model.echat.layout import Layout, PastTurn
from echat_sdk.model.echat.mode import Mode
from echat_sdk.model.echat.sampling import Preset
from echat_sdk.model.echat.speaking import Letters, Speaker
from echat_sdk.model.think_stream import ThinkSplitter
from echat_sdk.turn import Delta, Heard, Recollection, TextDelta, ThinkStyle

if TYPE_CHECKING:
    from echat_sdk.model.echat.speech_model import EChatModel


class Answer:
    """One answer to one utterance.

    Args:
        model: Answers.
        heard: What it is an answer to.
        embeds: Audio embeddings of it; None for typed words. Shape [N, H].
        recollection: The turns so far, and the key that this one is kept under.
        draft: An answer to the same utterance that was dropped; what it read is not read again.
    """

    def __init__(
        self,
        model: EChatModel,
        heard: Heard,
        embeds: Tensor | None,
        recollection: Recollection,
        *,
        draft: Answer | None = None,
    ) -> None:
        self._model = model
        self._heard = heard
        self._embeds = embeds
        self._prompt = () if embeds is not None else tuple(model.tokenizer.encode(heard.transcript))
        self._key = recollection.key
        self._past = model.conversations.find(self._key, recollection.turns, model.vocab)
        self._draft = draft
        self._stream: TokenStream[Any] | None = None
        self._mode = Mode.S2T
        self._read: tuple[int, ...] = ()
        self._ids: list[int] = []
        self._reply = ""
        self._is_dropped = self._is_kept = self._failed = False

    def deltas(
        self, *, think: ThinkStyle, speak: bool, voice: str | None = None
    ) -> Iterator[Delta]:
        """The answer, piece by piece."""
        model = self._model
        self._mode, preset = mode, _ = self._ways(think, speak)
        layout = model.template.prompt(
            mode,
            audio=0 if self._embeds is None else len(self._embeds),
            prompt=self._prompt,
            history=self._past.turns,
        )
        prompt, kv = self._begun(layout).prompt(layout, self._embeds)
        sampler = model.sampler(preset)
        decoding = Decoding.of(
            model.vocab,
            speaks=mode.speaks,
            interleaves=mode.interleaves,
            # Where no thought is asked for, the first run is counted from the first token on.
            thinks=model.template.piece if mode.thinks or not mode.interleaves else None,
            max_tokens=model.max_tokens,
            penalises=sampler.sampling.repetition_penalty != 1,
        )
        self._read = layout.ids
        self._stream = model.engine.start(prompt, decoding, sampler, past=kv, keeps=True)
        speaker = model.speaker(voice) if mode.speaks else None
        try:
            yield from self._decoded(self._stream, speaker)
        except GenerationError:
            self._failed = True
            raise
        if speak and not mode.speaks:  # typed words are answered in writing, then spoken
            yield from model.say(self._reply, emotion=ReplyEmotion.NEUTRAL, voice=voice)

    def close(self) -> None:
        """End the answer and keep the turn as far as it came, unless it was dropped."""
        if self._stream is None:
            return
        self._stream.close()
        text = tuple(i for i in self._ids if i < self._model.vocab.text_rows)
        if self._is_dropped or not text:
            return
        # In turn with speech, text has no place of its own to be cropped to; it is read again.
        read = self._read if self._mode.interleaves else (*self._read, *text)
        kv = self._parked()
        if kv is not None:
            read = read[: kv.length]
            kv = kv.crop(len(read)).compact()
        audio = 0 if self._embeds is None else len(self._embeds)
        turn = PastTurn(text, audio=audio, prompt=self._prompt)
        said = (self._heard.transcript, self._reply)
        kept = self._past.with_turn(turn, self._embeds, said, read, kv)
        self._model.conversations.keep(self._key, kept)
        self._is_kept = True

    def drop(self) -> None:
        """End the answer as if it had never begun: the utterance went on, so nobody heard it."""
        self._is_dropped = True
        if self._stream is not None:
            self._stream.close()
        if not self._is_kept:
            return
        self._is_kept = False
        if self._past.said:
            self._model.conversations.keep(self._key, self._past)
        else:
            self._model.conversations.forget(self._key)

    def _parked(self) -> Past | None:
        """What was read and written; None where nothing was, or not to the end of a step."""
        return (
            None if self._stream is None or self._failed or not self._ids else self._stream.parked
        )

    def _begun(self, layout: Layout) -> Conversation:
        """The conversation with what was read of this prompt before."""
        draft, self._draft = self._draft, None
        if draft is not None and draft._read == layout.ids and _same(draft._past, self._past):
            kv = draft._parked()
            if kv is not None:
                return replace(self._past, read=layout.ids, kv=kv.crop(len(layout.ids)))
        return self._model.begun(self._past, layout.ids[: layout.system_end])

    def _decoded(self, stream: TokenStream[Any], speaker: Speaker | None) -> Iterator[Delta]:
        splitter, letters = ThinkSplitter(), Letters(self._model.tokenizer)
        is_text_over = False
        for token in stream:
            self._ids.append(token.id)
            if token.phase is Phase.SPEECH:
                if speaker is not None:
                    yield from speaker.push(token.id)
                continue
            yield from self._noted(splitter.push(letters.push(token.id)), speaker)
            if token.id == self._model.vocab.text_end:
                is_text_over = True
                yield from self._noted(splitter.finish(), speaker)
        if not is_text_over:
            yield from self._noted(splitter.finish(), speaker)
        if speaker is not None:
            yield from speaker.finish()

    def _noted(self, deltas: Iterator[Delta], speaker: Speaker | None) -> Iterator[Delta]:
        for delta in deltas:
            if isinstance(delta, TextDelta):
                self._reply += delta.text
                if speaker is not None:
                    speaker.words(delta.text)
            yield delta

    def _ways(self, think: ThinkStyle, speak: bool) -> tuple[Mode, Preset]:
        abilities = self._model.abilities
        if self._embeds is None:
            return Mode.T2T, "t2t"
        thinks = think != "off" and abilities.think != "off"
        if not speak:
            return (Mode.S2T_THINK if thinks else Mode.S2T), "s2t"
        if abilities.interleaves:
            return (Mode.S2S_STREAM_THINK if thinks else Mode.S2S_STREAM), "s2s"
        return (Mode.S2S_THINK if thinks else Mode.S2S), "s2s"


def _same(one: Conversation, other: Conversation) -> bool:
    """Whether two conversations hold the same turns, heard in the same voice."""
    return one.said == other.said and all(map(is_, one.heard, other.heard))
