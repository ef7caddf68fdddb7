"""The engine on a tiny network: batch = alone, cached = whole, and one failure stays one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echat_sdk.errors import GenerationError
from echat_sdk.model.echat.configuration import EChatConfig
from echat_sdk.model.echat.decoding import Decoding, Phase
from echat_sdk.model.echat.engine import Engine, EngineLimits, Prompt
from echat_sdk.model.echat.network import EChatForConditionalGeneration
from echat_sdk.model.echat.sampling import Sampler, Sampling
from echat_sdk.model.echat.vocab import Vocab

VOCAB = Vocab(text_rows=64, speech_codes=20, im_start=61, im_end=62, text_end=62)
GREEDY = Sampling(temperature=0)
WARM = Sampling(temperature=1.0, top_k=10)


@pytest.fixture(scope="module")
def model(tiny_echat: Callable[..., EChatConfig]) -> EChatForConditionalGeneration:
    torch.manual_seed(12)
    config = tiny_echat(vocab_size=64, layers=3, codes=20, initializer_range=0.4)
    return EChatForConditionalGeneration(config).eval()


def text_answer(most: int = 12) -> Decoding:
    return Decoding.of(VOCAB, speaks=False, max_tokens=most)


def spoken_answer(most: int = 20) -> Decoding:
    return Decoding.of(VOCAB, speaks=True, max_tokens=most)


def ids_of(engine: Engine, prompt: Prompt, decoding: Decoding, seed: int = 0) -> list[int]:
    return [t.id for t in engine.start(prompt, decoding, Sampler(WARM, seed))]


@torch.inference_mode()
def whole_sequence(
    model: EChatForConditionalGeneration, ids: tuple[int, ...], most: int
) -> list[int]:
    """The greedy answer with nothing cached and nothing of ours but the rule."""
    decoding, out = text_answer(most), list(ids)
    while not decoding.is_done:
        hidden = model.backbone(inputs_embeds=model.embed(torch.tensor([out]))).last_hidden_state
        token = Sampler(GREEDY, 0).draw(model.text_logits(hidden[0, -1]), decoding.rule())
        decoding = decoding.after(token)
        out.append(token)
    return out[len(ids) :]


def test_a_cached_answer_is_the_whole_sequence_answer(model: EChatForConditionalGeneration) -> None:
    engine = Engine(model)
    ids = (3, 9, 27, 17, 51)
    stream = engine.start(Prompt(ids), text_answer(), Sampler(GREEDY, 0))

    assert [t.id for t in stream] == whole_sequence(model, ids, 12)


@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    prompts=st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=12), min_size=1, max_size=7),
    rows=st.integers(1, 4),
    piece=st.integers(1, 8),
    pulls=st.randoms(use_true_random=False),
)
def test_a_request_gets_the_same_answer_alone_and_among_others(
    model: EChatForConditionalGeneration,
    prompts: list[list[int]],
    rows: int,
    piece: int,
    pulls: object,
) -> None:
    alone = [
        ids_of(Engine(model), Prompt(tuple(p)), spoken_answer(), seed)
        for seed, p in enumerate(prompts)
    ]
    engine = Engine(model, EngineLimits(rows=rows, piece=piece, ahead=5, quantum=4, first_packet=2))
    streams = {
        seed: engine.start(Prompt(tuple(p)), spoken_answer(), Sampler(WARM, seed))
        for seed, p in enumerate(prompts)
    }
    together: dict[int, list[int]] = {seed: [] for seed in streams}
    while streams:
        seed = pulls.choice(sorted(streams))  # type: ignore[attr-defined]
        token = next(streams[seed], None)
        if token is None:
            del streams[seed]
        else:
            together[seed].append(token.id)

    assert [together[seed] for seed in range(len(prompts))] == alone


def test_what_was_read_before_need_not_be_read_again(model: EChatForConditionalGeneration) -> None:
    engine = Engine(model)
    past = engine.read(Prompt((1, 2, 3, 4)))
    fresh = ids_of(engine, Prompt((1, 2, 3, 4, 5, 6)), spoken_answer())
    stream = engine.start(Prompt((5, 6)), spoken_answer(), Sampler(WARM, 0), past=past)

    assert [t.id for t in stream] == fresh
    assert past.length == 4, "a fork leaves what it came from as it was"


def test_a_conversation_goes_on_from_where_it_was_cut(model: EChatForConditionalGeneration) -> None:
    engine = Engine(model)
    stream = engine.start(Prompt((1, 2, 3)), spoken_answer(), Sampler(WARM, 3), keeps=True)
    answer = [t.id for t in stream]
    text = [i for i in answer if i < 64]
    cut = stream.parked.crop(3 + len(text))  # the speech behind the text is evicted
    again = engine.start(Prompt((7, 8)), spoken_answer(), Sampler(WARM, 4), past=cut)

    whole = Prompt((1, 2, 3, *text, 7, 8))
    assert [t.id for t in again] == ids_of(engine, whole, spoken_answer(), 4)


def test_speech_begins_with_its_mark_and_ends_with_it(model: EChatForConditionalGeneration) -> None:
    tokens = list(Engine(model).start(Prompt((1, 2)), spoken_answer(400), Sampler(WARM, 1)))
    speech = [t.id for t in tokens if t.phase is Phase.SPEECH]

    assert speech[0] == VOCAB.speech_bos
    assert all(t.id >= 64 for t in tokens if t.phase is Phase.SPEECH)
    assert all(t.id < 64 for t in tokens if t.phase is Phase.TEXT)


def test_a_request_with_numbers_that_are_none_fails_alone(
    model: EChatForConditionalGeneration,
) -> None:
    engine = Engine(model, EngineLimits(rows=4))
    good = ids_of(engine, Prompt((1, 2, 3)), spoken_answer())
    holder = VOCAB.audio_placeholder
    bad = Prompt((1, holder), torch.full((1, 32), float("nan")))
    streams = [engine.start(p, spoken_answer(), Sampler(WARM, 0)) for p in (Prompt((1, 2, 3)), bad)]

    with pytest.raises(GenerationError, match="others go on"):
        list(streams[1])
    assert [t.id for t in streams[0]] == good


def test_one_prompt_that_fails_leaves_those_that_are_read_with_it(
    model: EChatForConditionalGeneration, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(model, EngineLimits(rows=4))
    good = [ids_of(Engine(model), Prompt((seed, 2, 3)), spoken_answer(), seed) for seed in range(3)]
    read = engine._runner.prefill
    forwards: list[int] = []

    def failing(rows: Sequence[Any]) -> torch.Tensor:
        forwards.append(len(rows))
        if any(prompt.ids[0] == 60 for _, _, prompt in rows):
            raise RuntimeError("out of memory")
        return read(rows)

    monkeypatch.setattr(engine._runner, "prefill", failing)
    bad = engine.start(Prompt((60,)), spoken_answer(), Sampler(WARM, 0))
    streams = [
        engine.start(Prompt((seed, 2, 3)), spoken_answer(), Sampler(WARM, seed))
        for seed in range(3)
    ]

    with pytest.raises(GenerationError, match="others go on: out of memory"):
        list(bad)
    assert [[t.id for t in stream] for stream in streams] == good
    assert forwards[0] == 4, "all were read in one forward, and then each alone"


def test_newcomers_are_read_in_one_forward(
    model: EChatForConditionalGeneration, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = _forwards(model, monkeypatch)
    engine = Engine(model, EngineLimits(rows=8))
    streams = [
        engine.start(Prompt(tuple(range(9 + seed))), text_answer(2), Sampler(WARM, seed))
        for seed in range(6)
    ]
    next(streams[-1])

    assert sizes[0] == (6, 14)
    assert all(length == 1 for _, length in sizes[1:])


def test_a_long_prompt_is_read_in_pieces_while_others_write(
    model: EChatForConditionalGeneration, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(model, EngineLimits(rows=3, piece=16))
    long = tuple(i % 60 for i in range(100))
    alone = ids_of(Engine(model), Prompt(long), text_answer(), 1)
    running = engine.start(Prompt((1, 2)), spoken_answer(60), Sampler(WARM, 0))
    next(running)
    sizes = _forwards(model, monkeypatch)
    newcomer = engine.start(Prompt(long), text_answer(), Sampler(WARM, 1))
    short = engine.start(Prompt((5, 6)), text_answer(), Sampler(WARM, 2))

    assert [t.id for t in newcomer] == alone
    assert list(short)
    assert sizes[:4] == [(2, 14), (2, 1), (1, 16), (2, 1)], "a token is written after each piece"
    assert max(length for _, length in sizes) == 16


def test_placeholders_of_a_prompt_in_pieces_get_their_own_embeddings(
    model: EChatForConditionalGeneration,
) -> None:
    torch.manual_seed(8)
    holder = VOCAB.audio_placeholder
    prompt = Prompt((1, holder, holder, 2, holder, 3, holder), torch.randn(4, 32))
    whole = ids_of(Engine(model), prompt, spoken_answer(), 1)
    engine = Engine(model, EngineLimits(rows=2, piece=3))
    running = engine.start(Prompt((1, 2)), spoken_answer(60), Sampler(WARM, 0))
    next(running)

    assert ids_of(engine, prompt, spoken_answer(), 1) == whole


@pytest.mark.parametrize("sampling", [GREEDY, WARM])
@pytest.mark.parametrize("taken", [0, 1, 5])
def test_a_fork_and_what_it_came_from_go_on_as_if_alone(
    model: EChatForConditionalGeneration, sampling: Sampling, taken: int
) -> None:
    prompt = Prompt(tuple(range(20)))
    straight = [t.id for t in Engine(model).start(prompt, spoken_answer(40), Sampler(sampling, 7))]
    engine = Engine(model, EngineLimits(rows=2))
    stream = engine.start(prompt, spoken_answer(40), Sampler(sampling, 7))
    begun = [next(stream).id for _ in range(taken)]
    forks = [stream.fork(), stream.fork()]
    forks[0].close()

    assert begun + [t.id for t in forks[1]] == straight
    assert begun + [t.id for t in stream] == straight
    assert list(stream.fork()) == []


def test_a_fork_may_draw_otherwise(model: EChatForConditionalGeneration) -> None:
    engine = Engine(model)
    stream = engine.start(Prompt((1, 2)), spoken_answer(40), Sampler(WARM, 0))
    next(stream)
    others = [[t.id for t in stream.fork(Sampler(WARM, seed))] for seed in range(1, 5)]

    assert any(other != others[0] for other in others)


def test_what_a_fork_came_from_may_end_while_the_fork_is_read_elsewhere(
    model: EChatForConditionalGeneration,
) -> None:
    engine = Engine(model, EngineLimits(rows=1, ahead=4))
    stream = engine.start(Prompt((1, 2, 3)), spoken_answer(40), Sampler(WARM, 2), keeps=True)
    next(stream)
    fork = stream.fork()
    stream.close()
    kept = stream.parked
    before = kept.keys.clone()

    assert list(fork)
    assert torch.equal(kept.keys, before), "nobody writes to what is parked"
    assert fork.parked.length > kept.length


def test_an_answer_that_is_dropped_costs_its_conversation_nothing(
    model: EChatForConditionalGeneration,
) -> None:
    engine = Engine(model)
    past = engine.read(Prompt((1, 2, 3, 4)))
    calm = ids_of(engine, Prompt((1, 2, 3, 4, 5, 6)), spoken_answer())
    held = engine.memory.parked
    draft = engine.start(Prompt((5, 9, 9)), spoken_answer(), Sampler(WARM, 3), past=past)
    next(draft)
    draft.close()

    assert engine.memory.parked == held
    stream = engine.start(Prompt((5, 6)), spoken_answer(), Sampler(WARM, 0), past=past)
    assert [t.id for t in stream] == calm


def test_all_that_is_parked_is_counted_once_and_as_long_as_it_is_held(
    model: EChatForConditionalGeneration,
) -> None:
    engine = Engine(model)
    past = engine.read(Prompt(tuple(range(40))))
    assert engine.memory.parked == past.nbytes

    view = past.crop(10)
    assert engine.memory.parked == past.nbytes, "a crop is a view"
    own = view.compact()
    assert engine.memory.parked == past.nbytes + own.nbytes
    del past, view
    assert engine.memory.parked == own.nbytes
    assert engine.memory.rows == engine.kv_bytes <= engine.memory.rows_most


def test_a_conversation_that_nothing_makes_room_for_is_refused(
    model: EChatForConditionalGeneration,
) -> None:
    size = Engine(model).read(Prompt(tuple(range(40)))).nbytes
    engine = Engine(model, EngineLimits(parked_bytes=2 * size))
    held = [engine.read(Prompt(tuple(range(40)))) for _ in range(2)]

    with pytest.raises(GenerationError, match="parked_bytes"):
        engine.start(Prompt((1, 2)), text_answer(), Sampler(WARM, 0), keeps=True)
    assert ids_of(engine, Prompt((1, 2)), text_answer()), "what is not kept needs no room"
    held.pop()
    assert engine.read(Prompt((1, 2))).length == 2
    assert engine.memory.parked == size


def test_a_row_is_not_given_way_where_nothing_more_may_be_parked(
    model: EChatForConditionalGeneration,
) -> None:
    engine = Engine(
        model, EngineLimits(rows=1, quantum=4, first_packet=2, ahead=10_000, parked_bytes=1)
    )
    calm = ids_of(Engine(model), Prompt((1,)), spoken_answer(60), 2)
    long = engine.start(Prompt((1,)), spoken_answer(60), Sampler(WARM, 2))
    begun = [next(long).id for _ in range(min(40, len(calm)))]
    short = engine.start(Prompt((9,)), text_answer(4), Sampler(WARM, 0))

    assert list(short)
    assert begun + [t.id for t in long] == calm
    assert engine.memory.parked == 0


def _forwards(
    model: EChatForConditionalGeneration, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[int, int]]:
    """Rows and positions of each forward from now on."""
    sizes: list[tuple[int, int]] = []
    forward = model.backbone.forward

    def counted(*args: Any, inputs_embeds: torch.Tensor, **kwargs: Any) -> Any:
        sizes.append((inputs_embeds.shape[0], inputs_embeds.shape[1]))
        return forward(*args, inputs_embeds=inputs_embeds, **kwargs)

    monkeypatch.setattr(model.backbone, "forward", counted)
    return sizes


def test_placeholders_without_audio_are_refused(model: EChatForConditionalGeneration) -> None:
    prompt = Prompt((1, VOCAB.audio_placeholder), torch.zeros(2, 32))
    with pytest.raises(GenerationError, match="1 placeholders for 2"):
        list(Engine(model).start(prompt, text_answer(), Sampler(WARM, 0)))


def test_a_closed_request_frees_its_row_for_the_next(model: EChatForConditionalGeneration) -> None:
    engine = Engine(model, EngineLimits(rows=1, waiting=1, quantum=10_000))
    first = engine.start(Prompt((1,)), spoken_answer(400), Sampler(WARM, 0))
    next(first)
    second = engine.start(Prompt((2,)), text_answer(), Sampler(WARM, 0))
    with pytest.raises(GenerationError, match="try again later"):
        engine.start(Prompt((3,)), text_answer(), Sampler(WARM, 0))
    first.close()

    assert list(second)
    assert list(first) == [], "what is closed gives nothing more"


def test_a_full_conversation_ends_plainly(model: EChatForConditionalGeneration) -> None:
    engine = Engine(model, EngineLimits(positions=64))
    stream = engine.start(Prompt(tuple(range(50))), spoken_answer(400), Sampler(WARM, 0))
    tokens = list(stream)

    assert len(tokens) <= 14
    assert stream.decoding.ended in ("full", "stop")
    with pytest.raises(GenerationError, match="start a new one"):
        engine.start(Prompt(tuple(range(60)) * 2), text_answer(), Sampler(WARM, 0))


def test_many_threads_pull_at_once_and_none_is_lost(model: EChatForConditionalGeneration) -> None:
    engine = Engine(model, EngineLimits(rows=3))
    alone = [ids_of(Engine(model), Prompt((s, 1)), spoken_answer(), s) for s in range(8)]
    found: dict[int, list[int]] = {}

    def work(seed: int) -> None:
        found[seed] = ids_of(engine, Prompt((seed, 1)), spoken_answer(), seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert [found[s] for s in range(8)] == alone


def test_a_long_answer_gives_way_to_a_newcomer_and_goes_on(
    model: EChatForConditionalGeneration,
) -> None:
    engine = Engine(model, EngineLimits(rows=1, quantum=4, first_packet=2, ahead=10_000))
    calm = ids_of(Engine(model), Prompt((1,)), spoken_answer(120), 2)
    long = engine.start(Prompt((1,)), spoken_answer(120), Sampler(WARM, 2))
    begun = [next(long).id for _ in range(min(40, len(calm)))]
    short = engine.start(Prompt((9,)), text_answer(4), Sampler(WARM, 0))

    assert next(short).id == ids_of(Engine(model), Prompt((9,)), text_answer(4))[0]
    assert begun + [t.id for t in long] == calm
