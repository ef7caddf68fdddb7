"""What a guest told is known as long as they talk, and nowhere after."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echat_memory import SQLMemory
from echat_memory.guests import GuestMemory
from echat_sdk.consent import REMEMBERED
from echat_sdk.turn import Turn

TOLD = [
    "My dog is called Rex.",
    "My dog is called Bello.",
    "My dog Rex died yesterday.",
    "My dog is ill.",
    "I live in Leeds.",
    "I live in Bonn.",
    "I don't live in Bonn any more.",
    "I have an exam on Friday.",
    "I don't want to talk about my exam.",
    "My favourite colour is green.",
    "Thank you.",
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(said=st.lists(st.sampled_from(TOLD), min_size=1, max_size=8))
def test_of_a_guest_holds_what_would_hold_had_it_been_kept(
    tmp_path_factory: Any, said: list[str]
) -> None:
    guest = GuestMemory(unasked=REMEMBERED)
    path = tmp_path_factory.mktemp("kept") / "echat.db"
    with closing(SQLMemory(path, unasked=REMEMBERED)) as kept:
        for words in said:
            guest.remember("ada", Turn(words))
            kept.remember("ada", Turn(words))
        assert set(guest.recall("ada").facts) == set(kept.recall("ada").facts)


def test_what_a_guest_told_is_known_in_the_same_session_alone(store: Path, clock: Any) -> None:
    with closing(SQLMemory(store, clock=clock)) as memory:
        memory.remember("ada", Turn("My dog is called Rex."))
        assert memory.recall("ada").facts == ("their dog is called Rex",)
        assert memory.recall("bob").facts == ()
        assert memory.facts("ada") == ()  # nothing is kept
        clock.advance(hours=1)
        assert memory.recall("ada").facts == ()


def test_a_guest_who_speaks_chinese_is_told_of_in_chinese() -> None:
    guest = GuestMemory(unasked=REMEMBERED)
    guest.remember("ada", Turn("我的狗叫旺财。", lang="zh"))
    assert guest.recall("ada").facts == ("用户的狗叫旺财",)
