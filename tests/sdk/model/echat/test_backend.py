"""What every backend keeps: our engine, and a vLLM server that serves the merged language model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
import torch

from echat_sdk.errors import GenerationError
from echat_sdk.model.echat import guards
from echat_sdk.model.echat.backend import Backend
from echat_sdk.model.echat.completions import CompletionsServer
from echat_sdk.model.echat.configuration import EChatConfig
from echat_sdk.model.echat.decoding import Decoding, Phase
from echat_sdk.model.echat.engine import Engine, EngineLimits
from echat_sdk.model.echat.interleave import Head
from echat_sdk.model.echat.merged import merged
from echat_sdk.model.echat.network import EChatForConditionalGeneration
from echat_sdk.model.echat.runner import Prompt
from echat_sdk.model.echat.sampling import Sampler, Sampling
from echat_sdk.model.echat.vllm import VllmEngine
from echat_sdk.model.echat.vocab import THINK_END, Vocab
from echat_sdk.testing.vllm import FakeVllm

ROWS, CODES = 14_000, 20  # text rows enough for the ids of THINK_END
VOCAB = Vocab(ROWS, CODES, im_start=0, im_end=0, text_end=2)
GREEDY, WARM = Sampling(temperature=0), Sampling(temperature=1.0, top_k=40)
PROMPT = Prompt((3, 9, 27, 17, 51))

Open = Callable[..., Backend[Any]]


@pytest.fixture(scope="module")
def network(tiny_echat: Callable[..., EChatConfig]) -> EChatForConditionalGeneration:
    """Random, and of a size at which greedy answers do not circle at once."""
    torch.manual_seed(5)
    config = tiny_echat(
        vocab_size=ROWS,
        codes=CODES,
        encoder={"d_model": 16, "encoder_attention_heads": 2},
        adapter={"num_attention_heads": 2},
        initializer_range=0.4,
        tie_word_embeddings=True,
        eos_token_id=2,
    )
    network = EChatForConditionalGeneration(config)
    with torch.no_grad():
        network.speech_head.weight.normal_(0, 0.4)
        network.speech_head.bias.normal_(0, 2)
        network.speech_embedding.weight.normal_(0, 0.4)
    return network.eval()


@pytest.fixture(scope="module", params=["engine", "vllm"])
def opened(request: pytest.FixtureRequest, network: Any) -> Iterator[Open]:
    """Opens the backend under test; conversations of so many positions at most."""
    if request.param == "engine":
        yield lambda positions=512: Engine(network, EngineLimits(positions=positions))
        return
    with FakeVllm(merged(network)) as fake:
        server = CompletionsServer(fake.url)
        yield lambda positions=512: VllmEngine(network, server, name=fake.name, positions=positions)


@pytest.fixture
def backend(opened: Open) -> Backend[Any]:
    return opened()


def spoken(most: int = 60, vocab: Vocab = VOCAB, **how: Any) -> Decoding:
    return Decoding.of(vocab, speaks=True, max_tokens=most, **how)


def ids_of(backend: Backend[Any], decoding: Decoding, prompt: Prompt = PROMPT) -> list[int]:
    return [token.id for token in backend.start(prompt, decoding, Sampler(GREEDY, 0))]


@torch.inference_mode()
def reference(
    network: EChatForConditionalGeneration, decoding: Decoding, prompt: Prompt = PROMPT
) -> tuple[list[int], Decoding]:
    """The greedy answer with nothing cached and nothing of ours but the rule."""
    embeds = network.embed(torch.tensor([prompt.ids]))
    if prompt.heard is not None:
        spans = torch.tensor([prompt.ids]) == VOCAB.audio_placeholder
        embeds = embeds.masked_scatter(spans[..., None], prompt.heard)
    out: list[int] = []
    while not decoding.is_done:
        token = decoding.forced
        if token is None:
            hidden = network.backbone(inputs_embeds=embeds).last_hidden_state[0, -1]
            is_text = decoding.head is Head.TEXT
            scores = network.text_logits(hidden) if is_text else network.speech_logits(hidden)
            row = Sampler(GREEDY, 0).draw(scores, decoding.rule())
            token = row if is_text else row + ROWS
        decoding = decoding.after(token)
        out.append(token)
        embeds = torch.cat((embeds, network.embed(torch.tensor([[token]]))), 1)
    return out, decoding


@pytest.fixture(scope="module")
def ending(network: Any) -> Vocab:
    """The ids with such an end of text as the network writes after some words."""
    words, _ = reference(network, Decoding.of(VOCAB, speaks=False, max_tokens=12))
    end = next(word for at, word in enumerate(words) if at > 7 and word not in words[:at])
    return replace(VOCAB, text_end=end)


def test_a_greedy_text_is_the_whole_sequence_text(backend: Any, network: Any, ending: Any) -> None:
    decoding = Decoding.of(ending, speaks=False, max_tokens=40)
    ids, ended = reference(network, decoding)

    assert ids_of(backend, decoding) == ids
    assert ended.ended == "stop"


def test_text_and_then_speech_are_the_whole_sequence_answer(
    backend: Any, network: Any, ending: Any
) -> None:
    decoding = spoken(vocab=ending)
    ids, ended = reference(network, decoding)
    tokens = list(backend.start(PROMPT, decoding, Sampler(GREEDY, 0)))

    assert [token.id for token in tokens] == ids
    assert {token.phase for token in tokens} == {Phase.TEXT, Phase.SPEECH}
    assert ended.codes_written > 5


def test_text_and_speech_in_turn_are_the_whole_sequence_answer(backend: Any, network: Any) -> None:
    decoding = spoken(52, interleaves=True)
    ids, _ = reference(network, decoding)

    assert ids_of(backend, decoding) == ids
    assert [token >= ROWS for token in ids[:25]] == [False] * 6 + [True] * 18 + [False]


def test_speech_that_circles_is_stopped_by_the_same_codes(
    backend: Any, network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "TIMES", 1)  # random networks circle less than trained ones
    decoding, banned = spoken(60, begins_with_speech=True), 0
    ids, _ = reference(network, decoding)
    for token in ids:
        banned += bool(decoding.repetition.banned)
        decoding = decoding.after(token)

    assert ids_of(backend, spoken(60, begins_with_speech=True)) == ids
    assert 0 < banned < len(ids), "the rule was narrowed and widened in the middle of speech"


def test_a_thought_is_ended_for_the_model_at_its_budget(backend: Any, network: Any) -> None:
    (first,), _ = reference(network, spoken(1))
    pieces = {first: "<think>", THINK_END[-1]: "<think end>"}
    decoding = spoken(30, thinks=lambda token: pieces.get(token, "x"), think_budget=8)
    ids, _ = reference(network, decoding)
    tokens = list(backend.start(PROMPT, decoding, Sampler(GREEDY, 0)))

    assert [token.id for token in tokens] == ids
    assert tuple(ids[8:12]) == THINK_END
    assert [token.probability for token in tokens[8:12]] == [1, 1, 1, 1]


def test_a_slot_takes_none_but_its_labels(
    backend: Any, network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, _ = reference(network, Decoding.of(VOCAB, speaks=False, max_tokens=5))
    labels = frozenset({words[3] + 1, words[3] + 2})
    monkeypatch.setattr(guards, "AGE_SLOT", tuple(words[:3]))
    monkeypatch.setattr(guards, "AGE_LABELS", labels)
    decoding = Decoding.of(VOCAB, speaks=False, max_tokens=12)
    ids, _ = reference(network, decoding)

    assert ids_of(backend, decoding) == ids
    assert ids[:3] == words[:3]
    assert ids[3] in labels


def test_what_was_heard_is_read(backend: Any, network: Any) -> None:
    torch.manual_seed(3)
    place = VOCAB.audio_placeholder
    prompt = Prompt((7, place, place, 8), torch.randn(2, 32))
    decoding = Decoding.of(VOCAB, speaks=False, max_tokens=10)

    assert ids_of(backend, decoding, prompt) == reference(network, decoding, prompt)[0]


def test_what_was_read_before_need_not_be_given_again(backend: Any) -> None:
    fresh = ids_of(backend, spoken(20))
    past = backend.read(Prompt(PROMPT.ids[:2]))
    stream = backend.start(Prompt(PROMPT.ids[2:]), spoken(20), Sampler(GREEDY, 0), past=past)

    assert [token.id for token in stream] == fresh
    assert past.length == 2, "a fork leaves what it came from as it was"


def test_a_conversation_goes_on_from_where_it_was_cut(backend: Any) -> None:
    stream = backend.start(PROMPT, spoken(30), Sampler(GREEDY, 0), keeps=True)
    written = [next(stream).id for _ in range(4)]
    stream.close()
    assert stream.parked.length >= len(PROMPT.ids) + 3
    cut = stream.parked.crop(len(PROMPT.ids) + 2).compact()
    again = backend.start(Prompt((7, 8)), spoken(10), Sampler(GREEDY, 0), past=cut)

    whole = Prompt((*PROMPT.ids, *written[:2], 7, 8))
    assert [token.id for token in again] == ids_of(backend, spoken(10), whole)
    assert cut.nbytes > 0
    with pytest.raises(ValueError, match="crop"):
        cut.crop(cut.length + 1)


def test_a_closed_answer_gives_no_more(backend: Any) -> None:
    stream = backend.start(PROMPT, spoken(), Sampler(GREEDY, 0), keeps=True)
    next(stream)
    with pytest.raises(ValueError, match="ended"):
        _ = stream.parked
    stream.close()
    stream.close()

    assert list(stream) == []
    assert stream.decoding.written >= 1, "a backend may have been ahead of who reads"


def test_an_answer_ends_where_it_must(opened: Open) -> None:
    long = opened().start(PROMPT, spoken(7), Sampler(GREEDY, 0))
    full = opened(positions=64).start(PROMPT, spoken(), Sampler(GREEDY, 0))

    assert (len(list(long)), long.decoding.ended) == (7, "length")
    assert (len(list(full)), full.decoding.ended) == (59, "full")


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        (Prompt(()), "without ids"),
        (Prompt((1, VOCAB.audio_placeholder)), "1 placeholders for 0"),
        (Prompt((1,), torch.ones(2, 32)), "0 placeholders for 2"),
        (Prompt((1,) * 512), "512 positions"),
    ],
)
def test_a_prompt_that_cannot_be_read_is_refused(backend: Any, prompt: Prompt, told: str) -> None:
    with pytest.raises(GenerationError, match=told):
        next(backend.start(prompt, spoken(), Sampler(GREEDY, 0)))


def test_a_seed_repeats_an_answer_and_another_gives_another(backend: Any) -> None:
    def warm(seed: int) -> list[int]:
        return [t.id for t in backend.start(PROMPT, spoken(30), Sampler(WARM, seed))]

    assert warm(1) == warm(1)
    assert warm(1) != warm(2)


def test_answers_that_are_read_in_turn_are_those_of_each_alone(backend: Any) -> None:
    prompts = [PROMPT, Prompt((4, 4, 8))]
    streams = [backend.start(prompt, spoken(20), Sampler(GREEDY, 0)) for prompt in prompts]
    together: list[list[int]] = [[], []]
    for _ in range(20):
        for stream, ids in zip(streams, together, strict=True):
            ids.append(next(stream).id)

    assert together == [ids_of(backend, spoken(20), prompt) for prompt in prompts]


def test_a_token_tells_what_the_network_gave_it(backend: Any, network: Any) -> None:
    with closing(backend.start(PROMPT, spoken(), Sampler(GREEDY, 0))) as stream:
        first = next(stream)
    with torch.inference_mode():
        hidden = network.backbone(inputs_embeds=network.embed(torch.tensor([PROMPT.ids])))
        scores = network.text_logits(hidden.last_hidden_state[0, -1])

    assert first.probability == pytest.approx(float(scores.softmax(-1)[first.id]), rel=0.02)
