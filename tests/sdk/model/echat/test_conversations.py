"""What is kept between turns, and what is dropped first where memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from echat_sdk.model.echat.conversations import Conversation, Conversations
from echat_sdk.model.echat.decoding import Decoding
from echat_sdk.model.echat.engine import Engine, EngineLimits, Prompt
from echat_sdk.model.echat.layout import Layout, Part, PastTurn, Segment
from echat_sdk.model.echat.network import EChatForConditionalGeneration
from echat_sdk.model.echat.sampling import Sampler, Sampling
from echat_sdk.model.echat.vocab import Vocab
from echat_sdk.turn import Turn

VOCAB = Vocab(text_rows=300, speech_codes=40, im_start=297, im_end=298, text_end=298)
LENGTH = 40


class Bytes:
    """A tokenizer of bytes."""

    def encode(self, text: str, /) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Sequence[int], /) -> str:
        return bytes(i for i in ids if i < 256).decode("utf-8", "replace")


@pytest.fixture(scope="module")
def model(tiny_echat: Callable[..., Any]) -> EChatForConditionalGeneration:
    torch.manual_seed(2)
    return EChatForConditionalGeneration(tiny_echat(initializer_range=0.4)).eval()


def conversation(engine: Engine, seed: int) -> Conversation:
    """One that was read before, `LENGTH` ids of it."""
    ids = tuple((7 * seed + i) % 290 for i in range(LENGTH))
    turn = PastTurn((104, 105, VOCAB.text_end), prompt=(104, 111))
    empty = Conversation()
    return empty.with_turn(turn, None, (f"ho {seed}", "hi"), ids, engine.read(Prompt(ids)))


def answer(engine: Engine, kept: Conversation, ids: tuple[int, ...]) -> tuple[list[int], int]:
    """The next turn's ids, and how many ids were read for it."""
    prompt, past = kept.prompt(Layout((Segment(Part.TEXT, ids),)), None)
    decoding = Decoding.of(VOCAB, speaks=False, max_tokens=12)
    sampler = Sampler(Sampling(temperature=0), 0)
    stream = engine.start(prompt, decoding, sampler, past=past, keeps=True)
    return [t.id for t in stream], len(prompt.ids)


def find(kept: Conversations, seed: int) -> Conversation:
    return kept.find(str(seed), [Turn(f"ho {seed}", reply="hi")], VOCAB)


def test_what_was_dropped_is_read_again_and_the_answer_is_the_same(
    model: EChatForConditionalGeneration,
) -> None:
    engine = Engine(model)
    kept = Conversations(Bytes())
    kept.keep("1", conversation(engine, 1))
    ids = (*find(kept, 1).read, 5, 6, 7)
    before, few = answer(engine, find(kept, 1), ids)
    assert kept.drop_oldest()
    after, all_of_it = answer(engine, find(kept, 1), ids)

    assert before == after
    assert (few, all_of_it) == (3, LENGTH + 3)
    assert not kept.drop_oldest(), "there is nothing more to drop"


def test_the_least_recently_used_conversation_gives_way_to_a_newcomer(
    model: EChatForConditionalGeneration,
) -> None:
    size = Engine(model).read(Prompt(tuple(range(LENGTH)))).nbytes
    engine = Engine(model, EngineLimits(parked_bytes=3 * size))
    kept = Conversations(Bytes())
    for seed in range(3):
        kept.keep(str(seed), conversation(engine, seed))
    assert find(kept, 0).kv is not None  # used, so that 1 is now the oldest
    assert engine.memory.parked == 3 * size
    newcomer = engine.read(Prompt(tuple(range(LENGTH))))

    assert engine.memory.parked == 3 * size
    assert newcomer.length == LENGTH
    assert [find(kept, seed).kv is None for seed in range(3)] == [False, True, False]


def test_conversations_stay_within_their_own_limit(model: EChatForConditionalGeneration) -> None:
    engine = Engine(model)
    first = conversation(engine, 0)
    kept = Conversations(Bytes(), most_bytes=2 * first.nbytes)
    for seed in range(5):
        kept.keep(str(seed), conversation(engine, seed))

    assert kept.nbytes == 2 * first.nbytes
    assert [find(kept, seed).kv is None for seed in range(5)] == [True] * 3 + [False] * 2
    assert all(find(kept, seed).said == ((f"ho {seed}", "hi"),) for seed in range(5))


def test_audio_alone_is_forgotten_last_and_with_its_conversation() -> None:
    kept = Conversations(Bytes(), most_bytes=1000)
    for seed in range(3):
        turn = PastTurn((104, 105, VOCAB.text_end), audio=10)
        said = (f"ho {seed}", "hi")
        kept.keep(str(seed), Conversation().with_turn(turn, torch.zeros(10, 10), said, (), None))

    assert kept.nbytes == 800
    assert find(kept, 0).heard == (None,), "it begins anew from the words that memory holds"
    assert find(kept, 2).heard[0] is not None
