from __future__ import annotations

import numpy as np
import pytest

from echat_memory import GuestMemory
from echat_sdk import Agent
from echat_sdk.consent import RUN, ConsentState, Purpose
from echat_sdk.cues import Cue, Cues
from echat_sdk.errors import ConsentError
from echat_sdk.testing import FakeModel, Line

SAD = Cues(Cue("sad", 0.9), Cue("female", 0.9))
SOUND = np.full(16_000, 500, np.int16)


class Sees(FakeModel):
    """Tells what its replies were made from."""

    def __init__(self) -> None:
        super().__init__(Line("my dog died", cues=SAD))
        self.seen: list[Cues] = []

    def read(self, text: str, cues: Cues, *, lang: object = "auto") -> object:  # type: ignore[override]
        self.seen.append(cues)
        return super().read(text, cues)


async def test_a_cue_that_was_not_consented_reaches_neither_reply_nor_record() -> None:
    model, memory = Sees(), GuestMemory(unasked=RUN)
    async with Agent(model, memory, user="ada") as agent:
        assert (await agent.answer(SOUND)).turn.cues == SAD
        assert model.seen == []
        memory.consent("ada", Purpose.INFER_EMOTION, ConsentState.DENIED)
        turn = (await agent.answer(SOUND)).turn
        assert turn.cues.emotion == Cue(why="not consented")
        assert turn.cues.gender == SAD.gender
        assert model.seen == [turn.cues]


async def test_who_did_not_agree_to_be_heard_is_not_but_may_type() -> None:
    async with Agent(FakeModel(), GuestMemory(), user="ada") as agent:
        with pytest.raises(ConsentError, match="nobody is listened to"):
            await agent.answer(SOUND)
        assert (await agent.answer_text("hello")).turn.transcript == "hello"
