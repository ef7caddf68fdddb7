"""The network as a `SpeechModel`: hears an utterance, thinks, answers in words and speech."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from echat_sdk.audio import SAMPLE_RATE, AudioFrame, Hertz, Waveform, to_float
from echat_sdk.cues import Cue, Cues, ReplyEmotion
from echat_sdk.errors import UnsupportedError
from echat_sdk.model.echat.conversations import Conversation, Conversations
from echat_sdk.model.echat.decoding import Decoding, Phase, Token
from echat_sdk.model.echat.engine import Engine, Prompt, Stream
from echat_sdk.model.echat.features import N_FFT, LogMel
from echat_sdk.model.echat.guards import MAX_TOKENS
from echat_sdk.model.echat.kv import ParkedKV
from echat_sdk.model.echat.layout import Layout, Mode, PastTurn, Template
from echat_sdk.model.echat.sampling import PRESETS, Preset, Sampler
from echat_sdk.model.echat.speaking import Letters, Speaker, lang_of
from echat_sdk.model.echat.tasks import Dimension, Task, Understanding, parse
from echat_sdk.model.echat.vocab import TextTokenizer, Vocab
from echat_sdk.model.think_stream import ThinkSplitter
from echat_sdk.turn import (
    Delta,
    Heard,
    LangChoice,
    Recollection,
    SpeechDelta,
    TextDelta,
    ThinkStyle,
)

if TYPE_CHECKING:
    from echat_sdk.model.echat.token2wav import Token2Wav, VoicePrompt
    from echat_sdk.protocols import Hearing

_HEARD = Task.of("asr", "ser", "sap", "sgc")
_MOST_SECONDS = 120
VOICE_RATE: Hertz = 22_050


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a checkpoint was trained for.

    Attributes:
        think: Form of its thought; `off` if it has none.
        interleaves: Whether it writes text and speech in turn.
        chats: Whether it answers at all: OSUM only understands.
    """

    think: ThinkStyle = "off"
    interleaves: bool = False
    chats: bool = True


class EChatModel:
    """One set of weights for any number of conversations.

    Args:
        name: Its name in the zoo, or its directory's.
        engine: Decodes.
        tokenizer: Cuts text.
        abilities: What the checkpoint can do.
        token2wav: Makes sound of codes; None answers in writing.
        voice: Name of the voice; empty for the first that came with the checkpoint.
        infer: Cues that may be told, of emotion and gender; the others stay unknown.
        seed: Makes answers repeatable; None draws a new one for each.
        greedy: Take the likeliest token always, instead of upstream's presets.
        max_tokens: Text and speech of one answer together.
        is_speech: Whether anybody speaks in an utterance, so that no words are heard in noise; None
            asks Silero's detector.
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        tokenizer: TextTokenizer,
        abilities: Abilities,
        *,
        token2wav: Token2Wav | None = None,
        voice: str = "",
        infer: frozenset[str] = frozenset({"emotion", "gender"}),
        seed: int | None = None,
        greedy: bool = False,
        max_tokens: int = MAX_TOKENS,
        is_speech: Callable[[Waveform], bool] | None = None,
    ) -> None:
        self.name = name
        self.engine = engine
        self.tokenizer = tokenizer
        self.abilities = abilities
        self.vocab: Vocab = engine.model.config.vocab
        self.template = Template.of(tokenizer, self.vocab)
        self.conversations = Conversations(tokenizer)
        self._token2wav = token2wav
        self.infer = infer
        self._voice = voice
        self._voices: dict[str, VoicePrompt] = {}
        self._heads: dict[tuple[int, ...], ParkedKV] = {}  # one for each mode
        self.is_speech = is_speech or has_speech
        self._seed = seed
        self._greedy = greedy
        self.max_tokens = max_tokens
        self._log_mel = LogMel().to(engine.model.device)

    @property
    def sample_rate(self) -> Hertz:
        """Samples a second of the speech that it makes."""
        return VOICE_RATE

    @property
    def speaks(self) -> bool:
        """Whether there is a voice to speak with."""
        return self._token2wav is not None and bool(self._token2wav.voice_names())

    def listen(self, *, lang: LangChoice = "auto") -> EChatHearing:
        """Open an utterance that will be pushed frame by frame."""
        return EChatHearing(self, lang)

    def read(self, text: str, cues: Cues, *, lang: LangChoice = "auto") -> EChatHearing:
        """Open an utterance whose words are given; the network was not trained to be told cues."""
        words = " ".join(text.split())
        return EChatHearing(self, lang, Heard(words, lang_of(words, lang), cues))

    def understand(self, hearing: Hearing, tasks: Sequence[str]) -> str:
        """Answer OSUM tasks in OSUM's own words."""
        assert isinstance(hearing, EChatHearing)
        return hearing.ask(Task.of(*tasks))

    def say(
        self, text: str, *, emotion: ReplyEmotion, voice: str | None = None
    ) -> Iterator[SpeechDelta]:
        """Speak a text. The voice sets the emotion: this network is not told one.

        Raises:
            UnsupportedError: the checkpoint came without a voice, or has none of this name.
        """
        ids = tuple(self.tokenizer.encode(text))
        prompt = self.template.prompt(Mode.TTS, prompt=ids)
        decoding = Decoding.of(
            self.vocab, speaks=True, begins_with_speech=True, max_tokens=self.max_tokens
        )
        stream = self.engine.start(Prompt(prompt.ids), decoding, self.sampler("tts"))
        spoken = self.speaker(voice, text)
        try:
            for token in stream:
                yield from spoken.push(token.id)
            yield from spoken.finish()
        finally:
            stream.close()

    def sampler(self, preset: Preset) -> Sampler:
        """A fresh sampler in one of upstream's ways."""
        seed = secrets.randbits(48) if self._seed is None else self._seed
        return Sampler(PRESETS["greedy" if self._greedy else preset], seed)

    def speaker(self, name: str | None, text: str = "") -> Speaker:
        """What makes sound of codes, for one answer."""
        if self._token2wav is None or not self.speaks:
            raise UnsupportedError(
                f"{self.name} has no voice; add one: echat voices add NAME clip.wav"
            )
        names = self._token2wav.voice_names()
        wanted = name or self._voice or names[0]
        if wanted not in names:
            raise UnsupportedError(f"no voice {wanted!r}; there are {', '.join(names)}")
        if wanted not in self._voices:
            self._voices[wanted] = self._token2wav.voice(wanted)
        voice = self._voices[wanted]
        return Speaker(self._token2wav, voice, self.vocab, text=text, seed=self._seed or 0)

    def begun(self, conversation: Conversation, layout: Layout) -> Conversation:
        """The conversation with at least its system prompt read; that is done once a mode."""
        ids = layout.ids[: layout.system_end]
        if conversation.kv is not None or not ids:
            return conversation
        if ids not in self._heads:
            self._heads[ids] = self.engine.read(Prompt(ids))
        return replace(conversation, read=ids, kv=self._heads[ids])

    @torch.inference_mode()
    def embeddings(self, samples: Waveform) -> Tensor:
        """Audio embeddings of an utterance. Shape [N, H]."""
        network = self.engine.model
        wave = torch.from_numpy(to_float(samples)).to(network.device)
        features, frames = self._log_mel(wave[None])
        embeds, counts = network.hear(features.to(network.dtype), frames)
        return embeds[0, : int(counts[0])]


class EChatHearing:
    """One utterance on its way through an `EChatModel`."""

    def __init__(self, model: EChatModel, lang: LangChoice, typed: Heard | None = None) -> None:
        self._model = model
        self._lang: LangChoice = lang
        self._typed = typed
        self._heard = typed
        self._frames: list[Waveform] = []
        self._embeds: Tensor | None = None

    def push(self, frame: AudioFrame) -> None:
        """Take the next frame; the work is done when it is asked for."""
        if len(self._frames) * len(frame.samples) < _MOST_SECONDS * SAMPLE_RATE:
            self._frames.append(frame.samples)
        self._heard, self._embeds = None, None

    def heard(self) -> Heard:
        """Words and cues, as the network tells them when it is asked for them.

        A cue's confidence is what the network gave its label, which nobody has calibrated.
        """
        if self._heard is None:
            words, cues = "", Cues()
            if self._is_sound:
                tokens = list(self._asked(_HEARD))
                found = parse(_HEARD, self._text(tokens))
                cues = found.cues(self._confidence(tokens, found))
                off = Cue(why="switched off")
                silenced = {n: off for n in ("emotion", "gender") if n not in self._model.infer}
                words, cues = found.transcript, replace(cues, **silenced)
            seconds = sum(map(len, self._frames)) / SAMPLE_RATE
            self._heard = Heard(words, lang_of(words, self._lang), cues, seconds)
        return self._heard

    def ask(self, task: Task) -> str:
        """What the network answers to a task about the utterance."""
        return self._text(list(self._asked(task)))

    def _asked(self, task: Task) -> Stream:
        model = self._model
        if self._typed is not None:
            raise UnsupportedError(f"{model.name} understands speech, not typed words")
        embeds = self._sound()
        ids = tuple(model.tokenizer.encode(task.prompt(osum=not model.abilities.chats)))
        mode = Mode.UNDERSTAND if model.abilities.chats else Mode.OSUM
        layout = model.template.prompt(mode, audio=len(embeds), prompt=ids)
        sampler = model.sampler("understand")
        decoding = Decoding.of(
            model.vocab,
            speaks=False,
            max_tokens=model.max_tokens,
            penalises=sampler.sampling.repetition_penalty != 1,
        )
        prompt, kv = model.begun(Conversation(), layout).prompt(layout, embeds)
        return model.engine.start(prompt, decoding, sampler, past=kv)

    def _text(self, tokens: Sequence[Token]) -> str:
        text = self._model.vocab.text_of([token.id for token in tokens])
        return self._model.tokenizer.decode(text).strip()

    def _confidence(
        self, tokens: Sequence[Token], found: Understanding
    ) -> Mapping[Dimension, float]:
        """What the network gave each label: the probability of the tokens that spell it."""
        pieces = [self._text([token]).upper() for token in tokens]
        whole, ends = "".join(pieces), list(accumulate(map(len, pieces)))
        confidence = {}
        for dimension, label in found.labels.items():
            start = whole.rfind(label.value.upper())  # behind the words, where labels stand
            spelt = range(start, start + len(label.value))
            if start >= 0:
                confidence[dimension] = math.prod(
                    token.probability
                    for token, piece, end in zip(tokens, pieces, ends, strict=True)
                    if range(max(spelt.start, end - len(piece)), min(spelt.stop, end))
                )
        return confidence

    def reply(
        self, recollection: Recollection, *, think: ThinkStyle = "tag", speak: bool = True
    ) -> Iterator[Delta]:
        """Think and answer. What was read and written is kept for the next turn."""
        heard = self.heard()
        yield heard
        if not heard.transcript:
            return
        if not self._model.abilities.chats:
            raise UnsupportedError(f"{self._model.name} understands, but does not answer")
        answer = _Answer(self._model, self, heard, recollection)
        try:
            yield from answer.deltas(think=think, speak=speak and self._model.speaks)
        finally:
            answer.close()

    @property
    def typed(self) -> bool:
        """Whether the words were given."""
        return self._typed is not None

    @property
    def _is_sound(self) -> bool:
        long_enough = sum(map(len, self._frames)) >= N_FFT
        return long_enough and self._model.is_speech(np.concatenate(self._frames))

    def _sound(self) -> Tensor:
        if self._embeds is None:
            self._embeds = self._model.embeddings(np.concatenate(self._frames))
        return self._embeds

    def embeds(self) -> Tensor | None:
        """Audio embeddings; None for typed words. Shape [N, H]."""
        return None if self.typed else self._sound()


class _Answer:
    """One answer being decoded, and the turn that it leaves behind."""

    def __init__(
        self, model: EChatModel, hearing: EChatHearing, heard: Heard, recollection: Recollection
    ) -> None:
        self._model = model
        self._heard = heard
        self._embeds = hearing.embeds()
        self._key = recollection.key
        self._past = model.conversations.find(self._key, recollection.turns, model.vocab)
        self._stream: Stream | None = None
        self._read: tuple[int, ...] = ()
        self._ids: list[int] = []
        self._reply = ""

    def deltas(self, *, think: ThinkStyle, speak: bool) -> Iterator[Delta]:
        """The answer, piece by piece."""
        model = self._model
        mode, preset = self._mode(think, speak)
        prompt_ids = (
            () if self._embeds is not None else model.tokenizer.encode(self._heard.transcript)
        )
        audio = 0 if self._embeds is None else len(self._embeds)
        layout = model.template.prompt(
            mode, audio=audio, prompt=prompt_ids, history=self._past.turns
        )
        prompt, kv = model.begun(self._past, layout).prompt(layout, self._embeds)
        sampler = model.sampler(preset)
        decoding = Decoding.of(
            model.vocab,
            speaks=mode.speaks,
            interleaves=mode.interleaves,
            thinks=model.template.piece,
            max_tokens=model.max_tokens,
            penalises=sampler.sampling.repetition_penalty != 1,
        )
        self._read = layout.ids
        self._stream = model.engine.start(prompt, decoding, sampler, past=kv, keeps=True)
        speaker = model.speaker(None) if mode.speaks else None
        yield from self._decoded(self._stream, speaker)
        if speak and not mode.speaks:  # typed words are answered in writing, then spoken
            yield from model.say(self._reply, emotion=ReplyEmotion.NEUTRAL)

    def close(self) -> None:
        """End the answer and keep the turn as far as it came."""
        if self._stream is None:
            return
        self._stream.close()
        vocab = self._model.vocab
        text = tuple(i for i in self._ids if i < vocab.text_rows)
        if not text:
            return
        read, kv = (*self._read, *text), None
        parked = self._stream.parked
        # In turn with speech, text has no place of its own to be cropped to; it is read again.
        if not self._stream.decoding.order.turns:
            held = min(parked.length, len(read))
            read, kv = read[:held], parked.crop(held).compact()
        turn = PastTurn(
            text,
            audio=0 if self._embeds is None else len(self._embeds),
            prompt=()
            if self._embeds is not None
            else tuple(self._model.tokenizer.encode(self._heard.transcript)),
        )
        said = (self._heard.transcript, self._reply)
        kept = self._past.with_turn(turn, self._embeds, said, read, kv)
        self._model.conversations.keep(self._key, kept)

    def _decoded(self, stream: Stream, speaker: Speaker | None) -> Iterator[Delta]:
        splitter, letters = ThinkSplitter(), Letters(self._model.tokenizer)
        is_text_over = False
        for token in stream:
            self._ids.append(token.id)
            if token.phase is not Phase.SPEECH:
                yield from self._noted(splitter.push(letters.push(token.id)), speaker)
                continue
            if not is_text_over and not stream.decoding.order.turns:
                is_text_over = True
                yield from self._noted(splitter.finish(), speaker)
            if speaker is not None:
                yield from speaker.push(token.id)
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

    def _mode(self, think: ThinkStyle, speak: bool) -> tuple[Mode, Preset]:
        abilities = self._model.abilities
        if self._embeds is None:
            return Mode.T2T, "t2t"
        thinks = think != "off" and abilities.think != "off"
        if not speak:
            return (Mode.S2T_THINK if thinks else Mode.S2T), "s2t"
        if abilities.interleaves:
            return (Mode.S2S_STREAM_THINK if thinks else Mode.S2S_STREAM), "s2s"
        return (Mode.S2S_THINK if thinks else Mode.S2S), "s2s"


def has_speech(samples: Waveform) -> bool:
    """Whether anybody speaks. Samples are int16, 16 kHz."""
    from echat_sdk.model.cascade.activity import analyse

    return bool(analyse(to_float(samples)).spans)
