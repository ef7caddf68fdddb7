from __future__ import annotations

import pytest

from echat_sdk.model.cascade.checks import CHECKS, Reply, faults


def failed(text: str, **more: object) -> set[str]:
    reply = Reply(text, **{"lang": "en", **more})  # type: ignore[arg-type]
    return {fault.check for fault in faults(reply)}


@pytest.mark.parametrize(
    ("check", "text"),
    [
        ("not_empty", " ... "),
        ("length", "word " * 46 + "end."),
        ("language", "I am 很 glad."),
        ("cliche", "As an AI language model, I have no dog."),
        ("cliche", "I'm sorry, but I can't assist with that."),
        ("cliche", "I understand how you feel."),
        ("label", "You sound sad."),
        ("label", "I hear you're angry."),
        ("advice", "You should call him first."),
        ("advice", "Have you tried yoga?"),
        ("markup", "**Well** then."),
        ("markup", "First, do this:\n- breathe"),
        ("markup", "That's great 😀"),
        ("thought", "情感为 sad, 推测使用的回复情感 happy"),
        ("human", "When I was a child, I had that too."),
        ("human", "My wife says that too."),
        ("pressure", "Don't go, I need you."),
        ("loop", "That must hurt so much, that must hurt so much."),
        ("questions", "Why? When? Who was it?"),
    ],
)
def test_each_fault_is_found(check: str, text: str) -> None:
    assert check in failed(text)


@pytest.mark.parametrize(
    ("check", "text"),
    [
        ("length", "好" * 81),
        ("language", "Well, that is hard."),
        ("cliche", "我理解你的感受。"),
        ("label", "你听起来很悲伤。"),
        ("advice", "你应该去休息。"),
        ("human", "我小时候也这样。"),
    ],
)
def test_each_fault_is_found_in_chinese(check: str, text: str) -> None:
    assert check in failed(text, lang="zh")


def test_the_persons_clause_in_the_first_person_is_found() -> None:
    heard = "Nobody called me on my birthday."
    assert "person" in failed("Nobody called me on my birthday, that hurts.", heard=heard)
    assert "person" not in failed("Nobody called you on your birthday, that hurts.", heard=heard)


def test_the_persons_own_must_given_back_is_no_advice() -> None:
    text = "You have to tell your parents, and that is hard."
    assert "advice" in failed(text)
    assert "advice" not in failed(text, heard="I have to tell my parents.")


def test_a_memory_that_nobody_told_is_found() -> None:
    text = "I remember your trip to Spain."
    assert "memory" in failed(text)
    assert "memory" not in failed(text, known=("they had a trip to Spain",))


def test_the_same_answer_again_is_found() -> None:
    text = "Tell me how that came about, please."
    assert "loop" in failed(text, earlier=(text,))
    assert "loop" not in failed(text)


def test_a_mere_echo_is_found() -> None:
    heard = "My brother sold the old house."
    assert "parrot" in failed("Your brother sold the old house.", heard=heard)


@pytest.mark.parametrize(
    "text",
    [
        "Oh no, Rex. The house must feel so quiet. What was he like?",
        "You got it! Who did you tell first?",
        "You sound so heavy, and yet it is good news.",
    ],
)
def test_a_good_answer_passes_all(text: str) -> None:
    assert failed(text) == set()


def test_a_fault_never_repeats_what_was_said() -> None:
    found = faults(Reply("My secret, my secret, you should hide it **now**.", "en"))
    assert found
    assert not any("secret" in fault.why for fault in found)


def test_every_check_says_in_its_docstring_what_it_asks_for() -> None:
    assert all(check.__doc__ for check in CHECKS)
