"""The engine on a tiny network: batch = alone, cached = whole, and one failure stays one."""

from __future__ import annotations

import threading

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
def model() -> EChatForConditionalGeneration:
    torch.manual_seed(5)
    config = EChatConfig(
        encoder={
            "d_model": 16,
            "encoder_layers": 1,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
        },
        adapter={"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
        llm={
            "vocab_size": 64,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "initializer_range": 0.4,
        },
        speech_codes=20,
    )
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
    pulls=st.randoms(use_true_random=False),
)
def test_a_request_gets_the_same_answer_alone_and_among_others(
    model: EChatForConditionalGeneration, prompts: list[list[int]], rows: int, pulls: object
) -> None:
    alone = [
        ids_of(Engine(model), Prompt(tuple(p)), spoken_answer(), seed)
        for seed, p in enumerate(prompts)
    ]
    engine = Engine(model, EngineLimits(rows=rows, ahead=5, quantum=4, first_packet=2))
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
