from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from echat_memory import SQLMemory
from echat_memory.budget import cost, fit, tokens
from echat_sdk.turn import Episode, Recollection, Turn

_text = st.text(st.sampled_from("ab 狗。é😀"), max_size=120)
_turn = st.builds(Turn, _text, reply=_text)
_whole = st.builds(
    Recollection,
    turns=st.lists(_turn, max_size=7).map(tuple),
    mood=_text,
    facts=st.lists(_text, max_size=9).map(tuple),
    episodes=st.lists(st.builds(Episode, _text, _text, _text), max_size=6).map(tuple),
    questions=st.lists(_text, max_size=3).map(tuple),
    helped=_text,
)


@settings(deadline=None)
@given(whole=_whole, budget=st.integers(0, 900), first=st.integers(0, 9))
def test_what_is_given_is_within_the_budget_whole_and_in_order(
    whole: Recollection, budget: int, first: int
) -> None:
    given, is_in = fit(whole, budget, first=first)
    assert cost(given) <= budget
    # No line is cut: each is one that was found, in the order in which it was.
    lines = [*whole.facts, *whole.episodes]
    assert [line for line, there in zip(lines, is_in, strict=True) if there] == [
        *given.facts,
        *given.episodes,
    ]
    assert set(given.questions) <= set(whole.questions)
    assert given.mood in ("", whole.mood)
    assert given.helped in ("", whole.helped)
    # Turns have no gap, and the last one is always there.
    assert len(given.turns) <= len(whole.turns)
    if whole.turns:
        assert given.turns
        n = len(given.turns)
        assert given.turns[:-1] == whole.turns[-n:][:-1]
        last, was = given.turns[-1], whole.turns[-1]
        assert was.reply.startswith(last.reply.rstrip("…"))
        assert was.transcript.startswith(last.transcript.rstrip("…"))


@settings(deadline=None)
@given(whole=_whole, first=st.integers(0, 9))
def test_within_a_large_budget_nothing_is_left_out(whole: Recollection, first: int) -> None:
    assert fit(whole, 100_000, first=first) == (
        whole,
        [True] * (len(whole.facts) + len(whole.episodes)),
    )


@settings(deadline=None)
@given(_text, _text)
def test_two_texts_take_no_less_than_both_together(one: str, other: str) -> None:
    assert tokens(one + other) <= tokens(one) + tokens(other)


def test_a_token_is_a_chinese_character_or_four_others() -> None:
    assert (tokens(""), tokens("abcd"), tokens("abcde"), tokens("我的狗"), tokens("我a")) == (
        0, 1, 2, 3, 2,
    )  # fmt: skip


def test_what_matters_most_is_given_first() -> None:
    """All take two tokens, so that each budget holds one line more."""
    last = Turn("the last")
    whole = Recollection(
        turns=(Turn("an older"), last),
        facts=("boundary", "one fact"),
        mood="the mood",
        helped="it helps",
        episodes=(Episode("once", "long"),),
        questions=("which is",),
    )
    came: list[str] = []
    for budget in range(4, 20):
        given, _ = fit(whole, budget, first=1)
        lines = [t.transcript for t in given.turns] + [*given.facts, *given.questions]
        lines += [given.mood, given.helped] + [e.said for e in given.episodes]
        came += sorted(set(lines) - {*came, ""})
    assert came == [
        *("boundary", "the last", "which is", "one fact", "the mood", "it helps"),
        *("an older", "once"),
    ]


def test_a_memory_gives_no_more_than_its_budget(memory: SQLMemory) -> None:
    for i in range(30):
        said = f"My dog is called Rex. I love thing{chr(97 + i % 26)}. " + "It was a day. " * i
        memory.remember("ada", Turn(said, reply="I see. " * i))
        given = memory.recall("ada", query="my dog and the day")
        assert cost(given) <= 600
        assert given.turns
        assert given.facts
