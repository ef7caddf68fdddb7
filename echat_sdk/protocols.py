"""Every seam of the system on one page: what a model and a memory must do to be one of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date, datetime, tzinfo

    from echat_sdk.audio import AudioFrame, Hertz, Seconds, Waveform
    from echat_sdk.consent import Consents, ConsentState
    from echat_sdk.cues import Cues, ReplyEmotion
    from echat_sdk.pause_profile import PauseProfile
    from echat_sdk.tools import Tool, ToolCall
    from echat_sdk.turn import (
        Delta,
        Heard,
        Known,
        Lang,
        LangChoice,
        Recollection,
        SpeechDelta,
        ThinkStyle,
        Turn,
    )


@runtime_checkable
class AudioIO(Protocol):
    """Where sound comes from and goes to. Used from the event loop's thread.

    Who plays keeps what is not heard yet: the device takes little at a time, so that an answer can
    be stopped within a word.
    """

    @property
    def output_rate(self) -> Hertz:
        """Samples a second that `play` takes."""
        ...

    @property
    def latency(self) -> Seconds:
        """From when `play` returns until its last sample is heard, about."""
        ...

    def frames(self) -> AsyncIterator[AudioFrame]:
        """What is heard, 20 ms at a time; ends when no more will come.

        Frames that nobody takes are dropped, oldest first, once half a second of them waits.

        Raises:
            AudioDeviceError: the microphone was lost and did not come back.
        """
        ...

    async def play(self, samples: Waveform) -> None:
        """Give the next 20 ms or less to the speaker; returns once it has room for more.

        Raises:
            AudioDeviceError: the speaker was lost and did not come back.
        """
        ...

    def flush(self) -> None:
        """Drop what was given but cannot be heard yet."""
        ...

    async def close(self) -> None:
        """Release the devices; `frames` ends. May be called twice."""
        ...


@runtime_checkable
class VAD(Protocol):
    """Whether somebody speaks. Carries state: one for each sound."""

    def is_speech(self, frame: AudioFrame) -> bool:
        """Take the next 20 ms. On the event loop: less than a millisecond."""
        ...

    def reset(self) -> None:
        """Forget what was heard before."""
        ...


@runtime_checkable
class TurnEnd(Protocol):
    """Tells by its sound whether a turn is complete. Synchronous, in a thread; keeps no state."""

    def chance(self, samples: Waveform) -> float:
        """That the speaker has finished, in [0, 1].

        Args:
            samples: The turn so far, pause included, int16 at 16 kHz. Shape [S]; the last seconds
                are enough.
        """
        ...


@runtime_checkable
class Hearing(Protocol):
    """One utterance being heard by a model. Synchronous; used from one thread at a time."""

    def push(self, frame: AudioFrame) -> None:
        """Take the next frame (16 kHz). Cheap: work is done as far as it helps, or put off."""
        ...

    def heard(self) -> Heard:
        """What has been said so far, and how. After the last frame: the final word."""
        ...

    def reply(
        self,
        recollection: Recollection,
        *,
        think: ThinkStyle = "tag",
        speak: bool = True,
        voice: str | None = None,
    ) -> Iterator[Delta]:
        """Think and answer. To interrupt is to stop iterating and close the iterator.

        Args:
            recollection: What is known before.
            think: Form of the thought.
            speak: Whether the answer is spoken; else it is words alone.
            voice: Whose, out of `Voiced.voices`; None for the model's own. One that does not speak
                the answer's language gives way to one that does.

        Yields:
            `Heard`, `ThinkDelta`..., `Thought`, then `TextDelta` and (if `speak`) `SpeechDelta`,
            interleaved: speech of the first clause comes while the rest is being written.
            Where no speech was heard, `Heard` alone, with an empty transcript.
        """
        ...


@runtime_checkable
class DiscreetHearing(Protocol):
    """A `Hearing` that can leave cues alone to which nobody agreed, instead of dropping them."""

    def infer_only(self, cues: Collection[str]) -> None:
        """Run no classifier of any other cue from now on. Called in the thread, before `heard`.

        Args:
            cues: Names of fields of `Cues`.
        """
        ...


@runtime_checkable
class SpeechModel(Protocol):
    """Hears an utterance, thinks, answers in deltas. Many hearings share one set of weights."""

    @property
    def name(self) -> str:
        """The name in the zoo, such as `echat-lite`."""
        ...

    @property
    def sample_rate(self) -> Hertz:
        """Samples a second of the speech that it makes."""
        ...

    def listen(self, *, lang: LangChoice = "auto") -> Hearing:
        """Open an utterance."""
        ...

    def read(self, text: str, cues: Cues, *, lang: LangChoice = "auto") -> Hearing:
        """Open an utterance that was typed: its words and cues are given."""
        ...

    def understand(self, hearing: Hearing, tasks: Sequence[str]) -> str:
        """Answer OSUM tasks (`asr`, `ser`, ...) in OSUM's output grammar, such as `words<HAPPY>`.

        A model that can `ask` takes one task `ask: ...` in the user's own words.

        Raises:
            UnsupportedError: this model cannot do one of the tasks; says which model can.
        """
        ...

    def say(
        self, text: str, *, emotion: ReplyEmotion, voice: str | None = None
    ) -> Iterator[SpeechDelta]:
        """Speak a text, clause by clause.

        Raises:
            UnsupportedError: no such voice, or no voice for the text's language.
        """
        ...


@runtime_checkable
class Voiced(Protocol):
    """A `SpeechModel` with voices that can be asked for by name."""

    def voices(self) -> Sequence[str]:
        """Their names; the first of a language is its default."""
        ...


@runtime_checkable
class ToolUser(Protocol):
    """A `SpeechModel` that can also tell which tool somebody asks for."""

    def tool_chooser(self, tools: Sequence[Tool]) -> ToolChooser:
        """What chooses among these tools. Cheap: nothing is read yet.

        Raises:
            UnsupportedError: this model would choose wrongly too often; says which can.
        """
        ...


@runtime_checkable
class ToolChooser(Protocol):
    """Decides which tool an utterance asks for. Synchronous, in the model's thread."""

    def warm_up(self, lang: Lang) -> None:
        """Read what does not change, so that nobody waits for it later."""
        ...

    def choose(self, heard: Heard) -> ToolCall | None:
        """The one tool that the words ask for, with their arguments; None for talk.

        Who tells of something asks for nothing: "my mother called" is no wish to phone her.
        """
        ...


@runtime_checkable
class Memory(Protocol):
    """What is kept of a user. Synchronous; the agent calls it on one thread of its own."""

    def recall(self, user: str, *, query: str = "") -> Recollection:
        """What a reply to this user should know; empty for a user never met.

        Args:
            user: The host's own id of the user.
            query: The words just heard, so that fitting memories can be found.
        """
        ...

    def prefetch(self, user: str) -> None:
        """Make ready what `recall` of this user will need: they have begun to speak.

        A hint: it changes how fast the next `recall` is, never what it gives. Doing nothing is
        right.

        Args:
            user: The host's own id of the user.

        Raises:
            StoreError: the store cannot be read.
        """
        ...

    def remember(self, user: str, turn: Turn, *, turn_id: str | None = None) -> str:
        """Make a turn durable and return its id. On return it survives a power cut.

        The agent calls it twice a turn: with what was heard (`TurnStatus.OPEN`) before it answers,
        and with the whole, and the id that the first call gave, afterwards.

        Args:
            user: The host's own id of the user.
            turn: What is kept.
            turn_id: The turn of this user that `turn` replaces.

        Raises:
            StoreError: the store cannot be written; nothing was kept.
        """
        ...

    def pauses(self, user: str) -> PauseProfile:
        """How this user pauses within a turn; of a user never met what is usual.

        Args:
            user: The host's own id of the user.

        Raises:
            StoreError: the store cannot be read.
        """
        ...

    def keep_pauses(self, user: str, profile: PauseProfile) -> None:
        """Make it durable how this user pauses, in the place of what was kept before.

        It is kept beside turns, never alone: of a user of whom no turn is kept, nothing is.

        Args:
            user: The host's own id of the user.
            profile: What is kept.

        Raises:
            StoreError: the store cannot be written; what was kept before stays.
        """
        ...

    def close(self) -> None:
        """Flush and release the store. May be called twice."""
        ...


@runtime_checkable
class AtHand(Protocol):
    """A `Memory` that can often recall without reading anything, once `prefetch` has."""

    def at_hand(self, user: str, *, query: str = "") -> Recollection | None:
        """What `recall` would give now; None where something has to be read or waited for.

        Called on the event loop, between calls of the memory's own thread: well under 5 ms.

        Args:
            user: The host's own id of the user.
            query: The words just heard.

        Raises:
            StoreError: the store cannot be read.
        """
        ...


@runtime_checkable
class Consenting(Protocol):
    """A `Memory` that knows what its users agreed to."""

    def allowed(self, user: str) -> frozenset[str]:
        """The purposes that this user may be used for now; see `echat_sdk.consent`.

        Asked anew each turn: consent may be withdrawn at any time, and on another device.

        Args:
            user: The host's own id of the user.

        Raises:
            StoreError: the store cannot be read.
        """
        ...


@runtime_checkable
class Agreeing(Protocol):
    """A `Memory` to which its users say what they agree to. Synchronous; in a memory's thread.

    Every method raises `StoreError` where the store cannot be read or written.
    """

    def consents(self, user: str) -> Consents:
        """All that a user said, and what counts where they said nothing."""
        ...

    def consent(
        self,
        user: str,
        purposes: str | Collection[str],
        state: ConsentState = ...,
        *,
        version: str = ...,
        channel: str = ...,
    ) -> Mapping[str, int]:
        """Keep what a user answered; what was deleted, by table.

        Raises:
            ConsentError: a purpose is none, or cannot become that.
        """
        ...


@runtime_checkable
class Account(Protocol):
    """A `Memory` that its users may look into. Synchronous; in a memory's thread.

    Every method raises `StoreError` where the store cannot be read.
    """

    def mood(self, user: str, *, since: date | None = ..., zone: tzinfo = ...) -> Any:
        """How a user has sounded; has `to_json`."""
        ...

    def trace(self, user: str, turn_id: str | None = None) -> Any:
        """Why a turn was answered as it was; has `to_json`."""
        ...


@runtime_checkable
class Forgetting(Protocol):
    """A `Memory` that people can ask what it knows of them, and to forget it.

    What is forgotten is gone from the store and from RAM, with all that was derived from it.
    """

    def known(self, user: str, *, lang: Lang = "en") -> Known:
        """What is kept of a user, as far as their consents allow to tell it.

        Args:
            user: The host's own id of the user.
            lang: Language of its lines.

        Raises:
            StoreError: the store cannot be read.
        """
        ...

    def last_turn(self, user: str) -> str | None:
        """The id of what a user said last in this sitting; None where they said nothing in it.

        Args:
            user: The host's own id of the user.

        Raises:
            StoreError: the store cannot be read.
        """
        ...

    def forget(self, user: str, *, turn: str | None = None, since: datetime | None = None) -> int:
        """Forget one turn, or all since a moment; with neither, all that is known of a user.

        May be repeated: of what is not there nothing is forgotten.

        Args:
            user: The host's own id of the user.
            turn: What `remember` returned.
            since: With its zone.

        Returns:
            How many turns were forgotten.

        Raises:
            StoreError: nothing was forgotten, or it was, but something keeps what it leaves behind
                from being removed; says which.
        """
        ...


@runtime_checkable
class ConversationKeeper(Protocol):
    """A `SpeechModel` that keeps what it has read of a conversation, under `Recollection.key`."""

    def forget(self, key: str) -> None:
        """Drop what is kept of a conversation. Called in the model's thread.

        Args:
            key: Of the conversation; nothing happens where nothing is kept under it.
        """
        ...
