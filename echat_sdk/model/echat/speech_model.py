"""The network as a `SpeechModel`: hears an utterance, thinks, answers in words and speech."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from echat_sdk.audio import Hertz, Waveform
from echat_sdk.cues import Cues, ReplyEmotion
from echat_sdk.errors import UnsupportedError
from echat_sdk.model.echat.backend import Backend, Past
from echat_sdk.model.echat.conversations import Conversation, Conversations
from echat_sdk.model.echat.decoding import Decoding
from echat_sdk.model.echat.features import LogMel
from echat_sdk.model.echat.guards import MAX_TOKENS
from echat_sdk.model.echat.hearing import EChatHearing, has_speech
from echat_sdk.model.echat.listening import BlockListener, Listener, WholeListener
from echat_sdk.model.echat.mode import Mode
from echat_sdk.model.echat.runner import Prompt
from echat_sdk.model.echat.sampling import PRESETS, Preset, Sampler
from echat_sdk.model.echat.speaking import Speaker, lang_of
from echat_sdk.model.echat.tasks import Task
from echat_sdk.model.echat.template import Template
from echat_sdk.model.echat.vocab import TextTokenizer, Vocab
from echat_sdk.model.options import HearingMode
from echat_sdk.turn import Heard, LangChoice, SpeechDelta, ThinkStyle

if TYPE_CHECKING:
    from echat_sdk.model.echat.token2wav import Token2Wav, VoicePrompt
    from echat_sdk.protocols import Hearing

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
        hearing: `exact` encodes an utterance when it is over; `chunked` while it comes, which is
            approximate: see `listening`.
    """

    def __init__(
        self,
        name: str,
        engine: Backend[Any],
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
        hearing: HearingMode = "exact",
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
        self._heads: dict[tuple[int, ...], Past] = {}  # one for each mode, one for the question
        self.is_speech = is_speech or has_speech
        self._seed = seed
        self._greedy = greedy
        self.max_tokens = max_tokens
        self.hearing: HearingMode = hearing
        self._log_mel = LogMel().to(engine.model.device)

    @property
    def sample_rate(self) -> Hertz:
        """Samples a second of the speech that it makes."""
        return VOICE_RATE

    @property
    def speaks(self) -> bool:
        """Whether there is a voice to speak with."""
        return bool(self.voices())

    def listen(self, *, lang: LangChoice = "auto") -> EChatHearing:
        """Open an utterance that will be pushed frame by frame."""
        return EChatHearing(self, lang)

    def read(self, text: str, cues: Cues, *, lang: LangChoice = "auto") -> EChatHearing:
        """Open an utterance whose words are given; the network was not trained to be told cues."""
        words = " ".join(text.split())
        return EChatHearing(self, lang, Heard(words, lang_of(words, lang), cues))

    def voices(self) -> Sequence[str]:
        """Names of the voices that came with the checkpoint, or were added."""
        return () if self._token2wav is None else self._token2wav.voice_names()

    def forget(self, key: str) -> None:
        """Drop what is kept of a conversation: its turns, embeddings, keys and values."""
        self.conversations.forget(key)

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

    def listener(self) -> Listener:
        """What makes embeddings of one utterance."""
        kind = BlockListener if self.hearing == "chunked" else WholeListener
        return kind(self.engine.model, self._log_mel)

    def begun(self, conversation: Conversation, head: tuple[int, ...]) -> Conversation:
        """The conversation with at least its head read; one that many share is read once.

        Args:
            conversation: As far as it is read.
            head: Ids that do not change from turn to turn: a mode's system prompt, or that and the
                question asked of every utterance.
        """
        if conversation.kv is not None or not head:
            return conversation
        if head not in self._heads:
            self._heads[head] = self.engine.read(Prompt(head))
        return replace(conversation, read=head, kv=self._heads[head])
