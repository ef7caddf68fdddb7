"""One suite a protocol: the fake, the real thing, and whatever a host writes must pass it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from echat_memory import Encryption, GuestMemory, SQLMemory
from echat_sdk.audio import AudioFrame, Waveform, frames
from echat_sdk.consent import REMEMBERED, RUN
from echat_sdk.cues import Cue, Cues, ReplyEmotion
from echat_sdk.errors import StoreError, UnsupportedError
from echat_sdk.io.wav import read_audio
from echat_sdk.pause_profile import PauseProfile
from echat_sdk.protocols import Forgetting, Memory, SpeechModel, Voiced
from echat_sdk.testing import FakeModel, Line, RAMMemory
from echat_sdk.turn import (
    Heard,
    Known,
    Recollection,
    SpeechDelta,
    TextDelta,
    ThinkDelta,
    Thought,
    Turn,
    TurnStatus,
)

SAD_WAV = Path(__file__).parents[2] / "examples/audio/sad.wav"


@pytest.fixture(
    params=[
        "ram",
        "guest",
        "sqlite",
        "sqlite, words encrypted",
        "sqlite guest",
        pytest.param("postgresql", marks=pytest.mark.postgres),
    ]
)
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Memory]:
    """Each with users who agreed to all, but for the guests of a store, who agreed to be heard."""
    url = f"sqlite:///{tmp_path / 'm.db'}"
    made: dict[str, Callable[[], Memory]] = {
        "ram": RAMMemory,
        "guest": lambda: GuestMemory(unasked=REMEMBERED),
        "sqlite": lambda: SQLMemory(url, unasked=REMEMBERED),
        "sqlite, words encrypted": lambda: SQLMemory(
            url, unasked=REMEMBERED, encryption=Encryption()
        ),
        "sqlite guest": lambda: SQLMemory(url, unasked=RUN),
        "postgresql": lambda: SQLMemory(
            request.getfixturevalue("postgres_store"), unasked=REMEMBERED
        ),
    }
    opened = made[request.param]()
    yield opened
    opened.close()


def turn(words: str = "hello", reply: str = "hi", **given: object) -> Turn:
    return Turn(words, reply=reply, model="fake", **given)  # type: ignore[arg-type]


def test_a_user_never_met_has_no_past(memory: Memory) -> None:
    assert memory.recall("nobody") == Recollection()


def test_a_turn_comes_back_as_it_was(memory: Memory) -> None:
    cues = Cues(emotion=Cue("sad", 0.9, {"sad": 0.9, "neutral": 0.1}), age=Cue(why="not asked"))
    kept = turn("我的狗死了 🐕", cues=cues, lang="zh", reply_emotion=ReplyEmotion.SAD, think="<x>")
    memory.remember("ada", kept)
    assert memory.recall("ada").turns == (kept,)


def test_an_open_turn_is_completed_under_its_id(memory: Memory) -> None:
    turn_id = memory.remember("ada", turn(reply="", status=TurnStatus.OPEN))
    assert memory.remember("ada", turn(reply="hi"), turn_id=turn_id) == turn_id
    assert memory.recall("ada").turns == (turn(reply="hi"),)


def test_a_turn_of_somebody_else_cannot_be_completed(memory: Memory) -> None:
    turn_id = memory.remember("ada", turn("mine", status=TurnStatus.OPEN))
    with pytest.raises(StoreError):
        memory.remember("bob", turn("stolen"), turn_id=turn_id)
    assert memory.recall("ada").turns[0].transcript == "mine"
    assert memory.recall("bob").turns == ()


def test_turns_come_oldest_first_and_only_ones_own(memory: Memory) -> None:
    for words in ("one", "two"):
        memory.remember("ada", turn(words))
    memory.remember("bob", turn("secret"))
    assert [t.transcript for t in memory.recall("ada").turns] == ["one", "two"]


def test_a_prefetch_changes_nothing_that_is_recalled(memory: Memory) -> None:
    memory.prefetch("nobody")
    assert memory.recall("nobody") == Recollection()
    for words in ("I saw a seal", *"abcdefg"):
        memory.remember("ada", turn(words))
    before = memory.recall("ada", query="a seal")
    memory.prefetch("ada")
    assert memory.recall("ada", query="a seal") == before


def test_how_a_user_pauses_is_kept_beside_their_turns_and_replaced(memory: Memory) -> None:
    for user in ("ada", "bob"):
        memory.remember(user, turn())
    assert memory.pauses("ada") == PauseProfile()
    for mean in (0.75, 0.1 + 0.2):
        memory.keep_pauses("ada", PauseProfile(mean=mean, count=3))
        assert memory.pauses("ada") == PauseProfile(mean=mean, count=3)
    assert memory.pauses("bob") == PauseProfile()
    assert memory.recall("ada").turns == (turn(),)


def test_of_a_user_never_met_no_pauses_are_known_and_none_are_kept(memory: Memory) -> None:
    memory.keep_pauses("nobody", PauseProfile(mean=1, count=1))
    assert memory.pauses("nobody") == PauseProfile()
    assert memory.recall("nobody") == Recollection()
    memory.remember("nobody", turn())
    assert memory.pauses("nobody") == PauseProfile()


def test_a_memory_is_one_by_its_methods(memory: Memory) -> None:
    assert isinstance(memory, Memory)


def test_a_memory_of_ours_can_be_asked_and_can_forget(memory: Memory) -> None:
    assert isinstance(memory, Forgetting)
    assert memory.known("nobody") == Known()
    assert memory.last_turn("nobody") is None
    assert memory.forget("nobody") == 0
    first, last = (memory.remember("ada", turn(words)) for words in ("one", "two"))
    memory.remember("bob", turn("not hers"))
    known = memory.known("ada")
    assert max(known.turns, known.held) == 2
    assert memory.last_turn("ada") == last
    assert memory.forget("ada", turn=last) == 1
    assert memory.forget("ada", turn=last) == 0
    assert memory.last_turn("ada") == first
    assert memory.recall("ada", query="two").turns == (turn("one"),)
    assert memory.forget("bob", turn=first) == 0  # it is not theirs
    assert memory.recall("ada").turns == (turn("one"),)
    assert len(memory.recall("bob").turns) == 1


def test_what_was_said_since_a_moment_is_forgotten_and_nothing_before(memory: Memory) -> None:
    assert isinstance(memory, Forgetting)
    memory.remember("ada", turn("before"))
    since = datetime.now(UTC)
    ids = [memory.remember("ada", turn(words)) for words in ("one", "two")]
    assert memory.forget("ada", since=since + timedelta(hours=1)) == 0
    assert memory.forget("ada", since=since) == 2
    assert memory.recall("ada", query="one").turns == (turn("before"),)
    with pytest.raises(StoreError):  # what was begun before cannot come back
        memory.remember("ada", turn("one, ended"), turn_id=ids[0])


def test_a_user_who_was_forgotten_is_one_never_met(memory: Memory) -> None:
    assert isinstance(memory, Forgetting)
    memory.remember("ada", turn("my dog is called Rex"))
    memory.remember("bob", turn("not hers"))
    memory.keep_pauses("ada", PauseProfile(mean=1, count=1))
    memory.recall("ada", query="Rex")
    assert memory.forget("ada") == 1
    assert memory.forget("ada") == 0
    assert memory.recall("ada", query="Rex") == Recollection()
    assert memory.pauses("ada") == PauseProfile()
    assert memory.known("ada") == Known()
    assert len(memory.recall("bob").turns) == 1


def test_with_their_last_turn_goes_how_they_pause(memory: Memory) -> None:
    assert isinstance(memory, Forgetting)
    first, last = (memory.remember("ada", turn(words)) for words in ("one", "two"))
    memory.keep_pauses("ada", PauseProfile(mean=1, count=1))
    memory.forget("ada", turn=first)
    assert memory.pauses("ada").count == 1
    memory.forget("ada", turn=last)
    assert memory.pauses("ada") == PauseProfile()


def test_a_memory_may_be_closed_twice(memory: Memory) -> None:
    memory.close()
    memory.close()


@pytest.fixture(
    params=[
        "fake",
        pytest.param("echat-lite", marks=[pytest.mark.real, pytest.mark.timeout(300)]),
        pytest.param("echat-mini", marks=[pytest.mark.real, pytest.mark.timeout(300)]),
    ]
)
def model(request: pytest.FixtureRequest) -> SpeechModel:
    if request.param == "fake":
        return FakeModel(Line("my dog died"), voices=("low", "high"))
    from echat_sdk.model import load_model

    return load_model(request.param)


def spoken() -> list[AudioFrame]:
    return list(frames(read_audio(SAD_WAV)))


def test_a_model_keeps_the_order_of_the_protocol(model: SpeechModel) -> None:
    hearing = model.listen()
    for frame in spoken():
        hearing.push(frame)
    heard = hearing.heard()
    deltas = list(hearing.reply(Recollection()))
    assert deltas[0] == heard
    assert heard.transcript
    (thought,) = [i for i, d in enumerate(deltas) if isinstance(d, Thought)]
    assert all(i < thought for i, d in enumerate(deltas) if isinstance(d, ThinkDelta))
    assert all(i > thought for i, d in enumerate(deltas) if isinstance(d, TextDelta | SpeechDelta))
    assert sum(isinstance(d, Heard) for d in deltas) == 1
    assert any(isinstance(d, ThinkDelta) for d in deltas)
    assert any(isinstance(d, TextDelta) for d in deltas)
    sound = [d for d in deltas if isinstance(d, SpeechDelta)]
    assert {d.sample_rate for d in sound} == {model.sample_rate}


def test_a_model_that_is_not_to_speak_or_think_does_not(model: SpeechModel) -> None:
    hearing = model.read("My dog died.", Cues(emotion=Cue("sad", 1.0)))
    deltas = list(hearing.reply(Recollection(), think="off", speak=False))
    assert not [d for d in deltas if isinstance(d, ThinkDelta | SpeechDelta)]
    assert "".join(d.text for d in deltas if isinstance(d, TextDelta)).strip()


def test_a_model_that_heard_nothing_answers_nothing(model: SpeechModel) -> None:
    assert [type(d) for d in model.listen().reply(Recollection())] == [Heard]


def test_a_reply_can_be_dropped_at_any_delta_and_the_next_one_is_whole(model: SpeechModel) -> None:
    for stop in range(4):
        reply = model.read("My dog died.", Cues()).reply(Recollection())
        for _ in zip(range(stop), reply, strict=False):
            pass
        reply.close()  # type: ignore[attr-defined]
    deltas = list(model.read("My dog died.", Cues()).reply(Recollection(), speak=False))
    assert isinstance(deltas[-1], TextDelta)


def test_a_task_or_voice_that_a_model_does_not_have_is_refused_in_words(model: SpeechModel) -> None:
    hearing = model.listen()
    with pytest.raises(UnsupportedError, match="sap"):
        model.understand(hearing, ["sap"])
    with pytest.raises(UnsupportedError, match="nobody"):
        list(model.say("Hello.", emotion=ReplyEmotion.HAPPY, voice="nobody"))


def test_every_voice_that_a_model_names_speaks_and_is_another(model: SpeechModel) -> None:
    assert isinstance(model, Voiced)
    english = [name for name in model.voices() if not name.startswith("z")][:3]
    spoken = {None: _said(model, None)} | {name: _said(model, name) for name in english}
    assert all(sound.any() for sound in spoken.values())
    apart = [sound.tobytes() for name, sound in spoken.items() if name in english]
    assert len(set(apart)) == len(english)


def _said(model: SpeechModel, voice: str | None) -> Waveform:
    hearing = model.read("My dog died.", Cues())
    deltas = hearing.reply(Recollection(), voice=voice)
    return np.concatenate([d.samples for d in deltas if isinstance(d, SpeechDelta)])
