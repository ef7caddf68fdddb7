from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_plugins.mqtt.affect import STEP, STILL, Face
from echat_plugins.mqtt.messages import Affect
from echat_sdk.agent.events import Dismissed, Event, State, StateChanged, UserStopped
from echat_sdk.cues import ANCHORS, Cue, Cues, Emotion, ReplyEmotion
from echat_sdk.turn import Heard, Thought

RATE = 24_000


def heard(emotion: Emotion, confidence: float = 0.9) -> Heard:
    return Heard("words", "en", Cues(emotion=Cue(emotion.value, confidence)))


def state(name: str) -> Event:
    return StateChanged(State(name))


def shown(face: Face, now: float) -> Affect:
    frame = face.frame(now, round(now * 1000))
    assert frame is not None
    return frame


EVENTS = st.one_of(
    st.sampled_from(State).map(StateChanged),
    st.sampled_from(ReplyEmotion).map(Thought),
    st.builds(heard, st.sampled_from(Emotion), st.floats(0, 1)),
    st.just(UserStopped(0.4)),
    st.just(Dismissed()),
)


@given(
    st.lists(
        st.tuples(st.floats(0, 0.3), EVENTS, st.integers(-32768, 32767), st.integers(0, 2000)),
        max_size=60,
    )
)
def test_there_are_at_most_ten_frames_a_second_and_all_are_within_bounds(
    history: list[tuple[float, Event, int, int]],
) -> None:
    face, now, frames = Face(), 0.0, []
    for wait, event, loud, count in history:
        now += wait
        face.take(event, now)
        face.play(np.full(count, loud, np.int16), RATE, now)
        if (frame := face.frame(now, round(now * 1000))) is not None:
            frames.append((now, frame))
    for (before, _), (after, _) in pairwise(frames):
        assert after - before >= STEP - 1e-6
    for _, frame in frames:
        assert Affect.model_validate_json(frame.render()) == frame


@pytest.mark.parametrize("late", [0.0, 0.02, 0.05, 0.08])
def test_the_mouth_moves_with_what_is_heard_now(late: float) -> None:
    # Half a second of sound from 1.0 on, given 0.2 s before it is heard, in pieces of 20 ms.
    face, moves = Face(), []
    tone = (8000 * np.sin(np.arange(RATE // 50) / 9)).astype(np.int16)
    given_out = 0
    for tick in range(200):
        now = late / 4 + tick * 0.025
        while given_out < 25 and now >= 0.8 + given_out * 0.02:
            face.play(tone, RATE, 1.0 + given_out * 0.02)
            given_out += 1
        if (frame := face.frame(now, 0)) is not None:
            moves.append((now, frame.mouth))
    opened = [at for at, mouth in moves if mouth > 0.3]
    # A frame stands for the tenth of a second after it: what is shown is right within 80 ms.
    assert opened[0] == pytest.approx(1.0, abs=0.08)
    closed = next(at for at, mouth in moves if at > opened[0] and mouth < 0.3)
    assert closed == pytest.approx(1.5, abs=0.08)


def test_what_was_taken_back_moves_no_mouth() -> None:
    face = Face()
    face.play(np.full(RATE, 8000, np.int16), RATE, 1.0)
    assert shown(face, 1.0).mouth > 0.5
    face.drop(1.1)
    assert shown(face, 1.2).mouth == 0


def test_it_shows_its_reply_while_it_speaks_and_its_own_face_else() -> None:
    face = Face()
    face.take(Thought(ReplyEmotion.HAPPY), 0.0)
    assert shown(face, 0.0).emotion == "neutral"
    face.take(state("speaking"), 1.0)
    frame = shown(face, 1.0)
    assert frame.emotion == "happy"
    assert (frame.valence, frame.arousal) == ANCHORS[Emotion.HAPPY]


def test_it_mirrors_faintly_whom_it_hears_and_only_when_sure() -> None:
    face = Face()
    face.take(state("hearing"), 0.0)
    face.take(heard(Emotion.SAD), 0.0)
    frame = shown(face, 0.0)
    assert frame.emotion == "tender"
    assert abs(frame.valence) <= 0.2
    face.take(heard(Emotion.SAD, 0.4), 1.0)
    assert shown(face, 1.0).emotion == "neutral"
    face.take(heard(Emotion.HAPPY), 2.0)
    assert shown(face, 2.0).emotion == "happy"
    assert shown(face, 13.0).emotion == "neutral"


def test_it_looks_away_and_tilts_its_head_while_it_thinks() -> None:
    face = Face()
    face.take(state("thinking"), 0.0)
    frame = shown(face, 0.0)
    assert (frame.gaze, frame.gesture) == ("away", "tilt")
    assert shown(face, 0.1).gesture == "none"


@pytest.mark.parametrize("event", [Dismissed(), UserStopped(0.4)])
def test_it_nods_when_a_turn_ends_and_at_a_backchannel(event: Event) -> None:
    face = Face()
    face.take(event, 0.0)
    frame = shown(face, 0.0)
    assert (frame.gaze, frame.gesture) == ("user", "nod")


def test_a_face_that_does_not_change_is_told_once_a_second() -> None:
    face = Face()
    shown(face, 0.0)
    assert [face.frame(t / 10, 0) for t in range(1, 10)] == [None] * 9
    assert shown(face, STILL)
