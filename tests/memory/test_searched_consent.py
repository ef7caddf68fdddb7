"""What is searched, traced and asked obeys consent, and works in an encrypted store alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from echat_memory import Encryption, SQLMemory
from echat_sdk.consent import REMEMBERED, ConsentState, Purpose
from echat_sdk.cues import Cue, Cues, Emotion
from echat_sdk.errors import ConsentError
from echat_sdk.retention import Retention
from echat_sdk.turn import Recollection, Turn, TurnStatus

pytest.importorskip("cryptography")

SEALS = "We walked along the harbour and saw two seals."
SAD = Cues(Cue("sad", 0.8, {"sad": 0.8}))


@pytest.fixture(params=[None, Encryption()], ids=["plain", "encrypted"])
def memory(
    request: pytest.FixtureRequest, store: Path | str, clock: Callable[[], Any]
) -> Iterator[SQLMemory]:
    memory = SQLMemory(
        store,
        clock=clock,
        unasked=REMEMBERED,
        encryption=request.param,
        retention=Retention(turns_days=90),
    )
    yield memory
    memory.close()


def talk(memory: SQLMemory, n: int = 8) -> None:
    memory.remember("ada", Turn("My dog is called Rex.", cues=SAD))
    memory.remember("ada", Turn("My dog is called Max."))
    memory.remember("ada", Turn(SEALS, cues=SAD))
    for i in range(n):
        memory.remember("ada", Turn(f"I had number {i} today."))


def seals(memory: SQLMemory) -> Recollection:
    return memory.recall("ada", query="Do you remember the seals?")


def test_what_was_said_is_found_asked_about_and_traced(memory: SQLMemory) -> None:
    talk(memory)
    found = seals(memory)
    assert [(e.said, e.sounded) for e in found.episodes] == [(SEALS, "sad")]
    assert "Rex" in found.questions[0]
    words = "Do you remember the seals?"
    turn_id = memory.remember("ada", Turn(words, status=TurnStatus.OPEN))
    memory.remember("ada", Turn(words, reply="I do.", strategy="memory"), turn_id=turn_id)
    trace = memory.trace("ada", turn_id)
    assert [e.said for e in trace.episodes] == [SEALS]
    assert set(trace.facts) == set(found.facts)
    assert trace.turn.strategy == "memory"
    memory.remember("ada", Turn("We saw two otters there."), turn_id=turn_id)
    talk(memory)
    (episode,) = memory.recall("ada", query="the otters").episodes
    assert episode.said == "We saw two otters there."


@pytest.mark.parametrize("purpose", [Purpose.STORE_TRANSCRIPT, Purpose.LONG_TERM_MEMORY])
def test_words_that_are_refused_leave_what_is_searched(memory: SQLMemory, purpose: str) -> None:
    talk(memory)
    assert seals(memory).episodes
    memory.consent("ada", purpose, ConsentState.DENIED)
    assert len(memory._episodes) == 0
    assert memory._recalled == {}
    memory.prefetch("ada")
    found = seals(memory)
    assert len(memory._episodes) == 0
    assert (found.episodes, found.questions, found.helped, found.facts) == ((), (), "", ())
    memory.consent("ada", purpose)
    assert seals(memory).episodes == ()


def test_words_that_another_process_emptied_are_not_found_again(
    memory: SQLMemory, store: Path | str, clock: Any
) -> None:
    talk(memory)
    assert seals(memory).episodes
    encryption = None if memory._cipher is None else Encryption()
    with closing(SQLMemory(store, clock=clock, unasked=REMEMBERED, encryption=encryption)) as other:
        other.consent("ada", Purpose.STORE_TRANSCRIPT, ConsentState.DENIED)
        other.consent("ada", Purpose.STORE_TRANSCRIPT)
    assert seals(memory).episodes == ()


def test_how_one_sounded_is_not_told_of_an_episode_once_that_is_refused(memory: SQLMemory) -> None:
    talk(memory)
    memory.consent("ada", Purpose.STORE_EMOTION, ConsentState.DENIED)
    assert [e.sounded for e in seals(memory).episodes] == [""]
    with pytest.raises(ConsentError, match="store_emotion"):
        memory.report("ada", memory.show("ada")[-1].id, Emotion.HAPPY)
    assert all(each.felt is None for each in memory.show("ada"))


def test_what_a_sweep_took_is_held_no_longer(memory: SQLMemory, clock: Any) -> None:
    talk(memory)
    assert seals(memory).episodes
    clock.now += timedelta(days=91)
    assert memory.sweep()["turns"]
    assert len(memory._episodes) == 0
    assert seals(memory).episodes == ()


def test_new_keys_lose_nothing_that_is_searched(memory: SQLMemory) -> None:
    talk(memory)
    assert seals(memory).episodes
    if memory._cipher is not None:
        memory.rotate("ada")
    assert [e.said for e in seals(memory).episodes] == [SEALS]
