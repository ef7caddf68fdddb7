"""What is done about speech over the agent's."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.overlap import Act, Kind, Overlap, OverlapJudge, kind_of
from echat_sdk.turn_policy import TurnPolicy

POLICY = TurnPolicy(echo_guard=0)


def acts(judge: OverlapJudge, flags: str) -> list[tuple[int, Act]]:
    judge.begin()
    return [(n, act) for n, flag in enumerate(flags) for act in judge.push(flag == "x")]


def test_a_cough_lowers_the_voice_for_a_moment() -> None:
    found = acts(OverlapJudge(POLICY), "." * 10 + "x" * 8 + "." * 30)
    assert [act for _, act in found] == [Act.DUCK, Act.RESUME]


def test_the_voice_is_lowered_within_a_tenth_of_a_second() -> None:
    ((when, act), *_) = acts(OverlapJudge(POLICY), "x" * 30)
    assert act is Act.DUCK
    assert (when + 1) * 0.02 <= 0.1


def test_who_goes_on_speaking_stops_the_agent_whatever_is_said() -> None:
    found = [act for _, act in acts(OverlapJudge(POLICY), "x" * 100)]
    assert found[:3] == [Act.DUCK, Act.PAUSE, Act.INTERRUPT]


@pytest.mark.parametrize(
    ("kind", "act"),
    [
        (Kind.BACKCHANNEL, Act.RESUME),
        (Kind.NOISE, Act.RESUME),
        (Kind.WORDS, Act.INTERRUPT),
        (Kind.STOP, Act.INTERRUPT),
    ],
)
def test_a_paused_agent_does_what_the_words_mean(kind: Kind, act: Act) -> None:
    judge = OverlapJudge(POLICY)
    acts(judge, "x" * 20)
    assert list(judge.judge(kind)) == [act]
    assert judge.state is Overlap.CLEAR


def test_a_paused_agent_goes_on_where_nobody_can_tell() -> None:
    found = acts(OverlapJudge(POLICY), "x" * 20 + "." * 100)
    assert [act for _, act in found] == [Act.DUCK, Act.PAUSE, Act.RESUME]
    paused, resumed = found[1][0], found[2][0]
    assert (resumed - paused) * 0.02 <= POLICY.decide


def test_stop_ends_the_answer_before_it_was_paused() -> None:
    judge = OverlapJudge(POLICY)
    acts(judge, "x" * 6)
    assert judge.state is Overlap.DUCKED
    assert list(judge.judge(Kind.STOP)) == [Act.INTERRUPT]


def test_the_agents_own_first_sound_is_not_taken_for_somebody() -> None:
    guarded = OverlapJudge(TurnPolicy(echo_guard=0.3))
    assert acts(guarded, "x" * 15 + "." * 20) == []


def test_words_that_come_after_the_overlap_change_nothing() -> None:
    judge = OverlapJudge(POLICY)
    acts(judge, "." * 20)
    assert list(judge.judge(Kind.STOP)) == []


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 120)), max_size=12),
    st.none() | st.sampled_from(Kind),
)
def test_every_pause_ends_and_every_duck_is_undone(
    runs: list[tuple[bool, int]], kind: Kind | None
) -> None:
    judge = OverlapJudge(POLICY)
    judge.begin()
    found: list[Act] = []
    quiet = [(False, round(POLICY.decide / 0.02) + 20)]
    for is_speech, count in runs + quiet:
        for _ in range(count):
            found += judge.push(is_speech)
        if kind is not None:
            found += judge.judge(kind)
    assert judge.state is Overlap.CLEAR
    for act, following in pairwise([*found, None]):
        if act is Act.DUCK:
            assert following in (Act.PAUSE, Act.RESUME, Act.INTERRUPT)
        if act is Act.PAUSE:
            assert following in (Act.RESUME, Act.INTERRUPT)


@pytest.mark.parametrize(
    ("transcript", "kind"),
    [
        ("", Kind.NOISE),
        ("...", Kind.NOISE),
        ("Mm-hm.", Kind.BACKCHANNEL),
        ("Yeah, yeah.", Kind.BACKCHANNEL),
        ("Okay, got it.", Kind.BACKCHANNEL),
        ("Oh really?", Kind.BACKCHANNEL),
        ("嗯。", Kind.BACKCHANNEL),
        ("对对对", Kind.BACKCHANNEL),
        ("好的，嗯", Kind.BACKCHANNEL),
        ("Stop!", Kind.STOP),
        ("Okay, hold on a second.", Kind.STOP),
        ("No, wait.", Kind.STOP),
        ("等一下", Kind.STOP),
        ("别说了！", Kind.STOP),
        ("Yeah, but my sister said no.", Kind.WORDS),
        ("I see it go", Kind.WORDS),
        ("Right, turn right at the corner", Kind.WORDS),
        ("等一下我想问你一个问题", Kind.WORDS),
        ("I can't stop crying", Kind.WORDS),
    ],
)
def test_words_are_told_apart(transcript: str, kind: Kind) -> None:
    assert kind_of(transcript, seconds=0.6) is kind


def test_a_long_yes_is_an_answer_and_no_backchannel() -> None:
    assert kind_of("yes yes yes", seconds=2.0) is Kind.WORDS


SAID = "I am so sorry to hear that. Do you want to tell me what happened?"


@pytest.mark.parametrize(
    ("transcript", "own", "kind"),
    [
        ("so sorry to hear that", SAID, Kind.NOISE),
        ("sorry to here that do you", SAID, Kind.NOISE),
        ("我真的很难过", "听到这个消息我真的很难过。", Kind.NOISE),
        ("What happened?", SAID, Kind.WORDS),
        ("Do you want to hear the whole story?", SAID, Kind.WORDS),
        ("I was so happy that day", SAID, Kind.WORDS),
        ("Stop.", "You can say stop at any time.", Kind.STOP),
        ("不是这样的", "听到这个消息我真的很难过。", Kind.WORDS),
    ],
)
def test_the_agents_own_words_are_no_interruption(transcript: str, own: str, kind: Kind) -> None:
    assert kind_of(transcript, 1.0, own=own) is kind


@given(
    st.lists(
        st.sampled_from(["you", "never", "told", "me", "that", "it", "hurts", "so", "much"]),
        min_size=3,
    )
)
def test_whatever_the_agent_says_is_its_own_echo(words: list[str]) -> None:
    said = " ".join(words)
    assert kind_of(said, 1.0, own=f"well {said} indeed") is Kind.NOISE
