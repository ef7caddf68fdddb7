from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from echat_plugins.mqtt.jitter import MOST_CONCEALED, JitterBuffer

ARRIVALS = st.lists(st.tuples(st.integers(0, 60), st.floats(0, 0.2)), max_size=80)


def drained(buffer: JitterBuffer[int], arrivals: list[tuple[int, float]]) -> list[int | None]:
    now, given_out = 0.0, []
    for sequence, wait in arrivals:
        now += wait
        given_out += list(buffer.ready(now))
        buffer.push(sequence, sequence, now)
        given_out += list(buffer.ready(now))
    given_out += list(buffer.ready(now + 10))
    return given_out


@given(ARRIVALS)
def test_whatever_comes_is_given_in_order_and_none_twice(arrivals: list[tuple[int, float]]) -> None:
    heard = [n for n in drained(JitterBuffer[int](0.1), arrivals) if n is not None]
    assert heard == sorted(set(heard))
    assert set(heard) <= {sequence for sequence, _ in arrivals}


@given(st.permutations(range(12)), st.sets(st.integers(0, 11)))
def test_what_comes_within_the_wait_is_never_lost(order: list[int], doubled: set[int]) -> None:
    arrivals = [(n, 0.0) for n in order] + [(n, 0.0) for n in doubled]
    assert drained(JitterBuffer[int](0.1), arrivals) == list(range(12))


@given(ARRIVALS)
def test_every_frame_is_given_or_counted(arrivals: list[tuple[int, float]]) -> None:
    buffer = JitterBuffer[int](0.05)
    given_out = drained(buffer, arrivals)
    taken = [n for n in given_out if n is not None]
    assert len(taken) + buffer.dropped == len(arrivals)
    assert given_out.count(None) <= buffer.lost


@given(ARRIVALS, st.integers(1, 10))
def test_no_more_wait_than_may(arrivals: list[tuple[int, float]], most: int) -> None:
    buffer = JitterBuffer[int](1e9, most=most)
    for sequence, _ in arrivals:
        buffer.push(sequence, sequence, 0.0)
        list(buffer.ready(0.0))
        assert len(buffer._waiting) <= most


def test_a_lost_frame_is_waited_for_and_then_told() -> None:
    buffer = JitterBuffer[str](0.08)
    buffer.push(0, "a", 0.0)
    assert list(buffer.ready(0.0)) == ["a"]
    buffer.push(2, "c", 0.04)
    assert list(buffer.ready(0.1)) == []
    assert buffer.due() == 0.12
    assert list(buffer.ready(0.12)) == [None, "c"]
    assert buffer.lost == 1


def test_an_old_frame_that_is_played_again_is_dropped() -> None:
    buffer = JitterBuffer[str](0.08)
    for n in range(5):
        buffer.push(n, "x", 0.0)
    assert len(list(buffer.ready(0.0))) == 5
    assert not any(buffer.push(n, "x", 1.0) for n in range(5))
    assert list(buffer.ready(9.0)) == []


def test_one_number_far_ahead_stops_nobody() -> None:
    buffer = JitterBuffer[str](0.08)
    assert not buffer.push(2**32 - 1, "x", 0.0)
    assert buffer.push(0, "a", 0.0)
    assert list(buffer.ready(0.0)) == ["a"]


def test_a_long_loss_is_not_made_up_for() -> None:
    buffer = JitterBuffer[str](0.08)
    buffer.push(500, "x", 0.0)
    assert len(list(buffer.ready(1.0))) == MOST_CONCEALED + 1
    assert buffer.lost == 500
