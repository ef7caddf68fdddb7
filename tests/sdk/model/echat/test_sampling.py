"""One law for a row alone and in a batch: what is drawn, how often, and that nothing is awaited."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from echat_sdk.model.echat.sampling import PRESETS, Draws, Rule, Sampler, Sampling, draw_rows

GREEDY = PRESETS["greedy"]
CPU = torch.device("cpu")

settings = st.one_of(
    st.sampled_from(list(PRESETS.values())),
    st.builds(
        Sampling,
        temperature=st.sampled_from([0.0, 0.3, 1.0, 2.0]),
        top_k=st.integers(1, 60),
        top_p=st.sampled_from([0.05, 0.5, 0.9, 1.0]),
        repetition_penalty=st.sampled_from([1.0, 1.3, 2.0]),
    ),
)
# Of few values, so that many are equal; the larger vocabularies are cut into blocks.
scores = st.tuples(st.integers(0, 2**32), st.integers(2, 12), st.sampled_from([6, 700, 21_003]))


def logits_of(seed: int, values: int, vocabulary: int) -> Tensor:
    made = torch.Generator().manual_seed(seed)
    return torch.randint(values, (vocabulary,), generator=made) / 2.0 - values / 4


def rules_of(vocabulary: int, seed: int) -> Rule:
    chance = random.Random(seed)
    ids = list(range(vocabulary))
    return Rule(
        banned=chance.sample(ids, chance.choice([0, 3])),
        allowed=chance.choice([None, None, frozenset(chance.sample(ids, 4))]),
        seen=frozenset(chance.sample(ids, chance.choice([0, 5]))),
    )


def drawn_plainly(logits: Tensor, how: Sampling, rule: Rule, uniform: float) -> int:
    """The law, written with no tensor: order, cut, add up, and stop at the number."""
    found = logits.tolist()
    if how.repetition_penalty != 1:
        factor = torch.tensor(how.repetition_penalty, dtype=torch.float32)
        for at in rule.seen:
            old = logits[at]
            found[at] = float(old * factor if old < 0 else old / factor)
    can = [at for at in range(len(found)) if at not in rule.banned]
    can = [at for at in can if rule.allowed is None or at in rule.allowed]
    order = sorted(can, key=lambda at: (-found[at], at))[: how.top_k if how.temperature else 1]
    if not order:
        return -1
    best = found[order[0]]
    weights = [math.exp((found[at] - best) / (how.temperature or 1)) for at in order]
    whole, kept, nucleus = math.fsum(weights), 0.0, []
    for at, weight in zip(order, weights, strict=True):
        if kept < how.top_p * whole * (1 - 1e-12):
            nucleus.append((at, weight))
            kept += weight
    point = uniform * kept
    for at, weight in nucleus:
        point -= weight
        if point < 0:
            return at
    return nucleus[-1][0]


def batch(
    rows: Sequence[Tensor], how: Sequence[Sampling], rules: Sequence[Rule], seeds: Sequence[int]
) -> list[int]:
    samplers = [Sampler(one, seed) for one, seed in zip(how, seeds, strict=True)]
    return draw_rows(torch.stack(list(rows)), Draws.of(samplers, rules, CPU)).ids.tolist()


@given(scores, st.lists(st.tuples(settings, st.integers(0, 10**6)), min_size=1, max_size=5))
def test_a_row_draws_in_any_batch_what_it_draws_alone(
    shape: tuple[int, int, int], rows: list[tuple[Sampling, int]]
) -> None:
    seed, values, vocabulary = shape
    logits = [logits_of(seed + row, values, vocabulary) for row in range(len(rows))]
    how, seeds = [one for one, _ in rows], [one for _, one in rows]
    rules = [rules_of(vocabulary, seed + row) for row in range(len(rows))]
    together = batch(logits, how, rules, seeds)
    for row, token in enumerate(together):
        sampler = Sampler(how[row], seeds[row])
        if token < 0:
            with pytest.raises(ValueError, match="no token can be drawn"):
                sampler.draw(logits[row], rules[row])
        else:
            assert sampler.draw(logits[row], rules[row]) == token


@given(scores, settings, st.integers(0, 10**6))
def test_a_draw_is_the_law_written_plainly(
    shape: tuple[int, int, int], how: Sampling, seed: int
) -> None:
    logits, rule = logits_of(*shape), rules_of(shape[2], seed)
    expected = drawn_plainly(logits, how, rule, Sampler(how, seed).uniform())
    assert batch([logits], [how], [rule], [seed]) == [expected]


@pytest.mark.parametrize("vocabulary", [8, 4096])
def test_tokens_come_as_often_as_they_are_likely(vocabulary: int) -> None:
    logits = torch.full((vocabulary,), -9.0)
    logits[[5, 2, 7, 3]] = torch.tensor([2.0, 1.5, 1.0, 0.2])
    how, draws = Sampling(temperature=0.7, top_k=4, top_p=0.95), 20_000
    sampler = Sampler(how, 3)
    given_rows = Draws.of([sampler] * draws, [Rule()] * draws, CPU)
    counts = Counter(draw_rows(logits.expand(draws, -1), given_rows).ids.tolist())
    likely = (logits[[5, 2, 7]] / 0.7).softmax(-1).tolist()  # token 3 is beyond top_p
    assert set(counts) == {5, 2, 7}
    for token, share in zip((5, 2, 7), likely, strict=True):
        spread = math.sqrt(draws * share * (1 - share))
        assert abs(counts[token] - draws * share) < 4 * spread


def test_the_first_token_that_crosses_top_p_is_the_last_one_in() -> None:
    logits = torch.tensor([0.5, 0.3, 0.2]).log()
    cut = {top_p: set[int]() for top_p in (0.4, 0.6, 0.9)}
    for top_p, seen in cut.items():
        sampler = Sampler(Sampling(top_p=top_p), 0)
        seen.update(sampler.draw(logits, Rule()) for _ in range(200))
    assert cut == {0.4: {0}, 0.6: {0, 1}, 0.9: {0, 1, 2}}


def test_a_greedy_row_takes_the_lowest_of_the_likeliest_whatever_its_seed() -> None:
    logits = torch.zeros(9000)
    logits[[8000, 4000, 6000]] = 3.0
    assert {Sampler(GREEDY, seed).draw(logits, Rule()) for seed in range(5)} == {4000}


def test_a_seed_repeats_and_another_differs() -> None:
    logits, how = torch.zeros(64), Sampling(top_k=64)

    def drawn(seed: int) -> list[int]:
        sampler = Sampler(how, seed)
        return [sampler.draw(logits, Rule()) for _ in range(12)]

    assert drawn(1) == drawn(1) != drawn(2)


def test_rules_of_one_row_do_not_bind_another() -> None:
    logits = torch.tensor([4.0, 3.0, 2.0, 1.0])
    rules = [Rule(), Rule(banned=[0]), Rule(allowed=[3, 2]), Rule(banned=[0], allowed=[0, 3])]
    assert batch([logits] * 4, [GREEDY] * 4, rules, [0] * 4) == [0, 1, 2, 3]


def test_the_penalty_falls_on_what_was_seen_on_both_sides_of_zero() -> None:
    how = Sampling(temperature=0, repetition_penalty=1.5)
    above, below = torch.tensor([2.0, 1.9]), torch.tensor([-1.0, -1.1])
    rules = [Rule(seen=[0]), Rule(), Rule(seen=[0]), Rule()]
    assert batch([above, above, below, below], [how] * 4, rules, [0] * 4) == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("spoilt", "rule"),
    [
        (math.nan, Rule()),
        (math.inf, Rule()),
        (math.nan, Rule(allowed=[3])),  # the network failed, whatever the rule leaves of it
        (0.0, Rule(banned=range(5000))),
        (0.0, Rule(allowed=())),
    ],
)
def test_a_row_that_cannot_draw_says_so_and_its_neighbours_draw(spoilt: float, rule: Rule) -> None:
    fine = torch.arange(5000.0)
    bad = fine.clone()
    bad[17] = spoilt
    drawn = batch([fine, bad, fine], [GREEDY] * 3, [Rule(), rule, Rule()], [0] * 3)
    assert drawn == [4999, -1, 4999]
    with pytest.raises(ValueError, match="no token can be drawn"):
        Sampler(GREEDY, 0).draw(bad, rule)


def test_the_probability_is_the_head_s_own_whatever_it_was_drawn_with() -> None:
    logits = torch.randn(3, 6000, generator=torch.Generator().manual_seed(1))
    how = [PRESETS["s2t"], PRESETS["tts"], GREEDY]
    rules = [Rule(banned=[int(logits[0].argmax())]), Rule(), Rule(allowed=[9])]
    samplers = [Sampler(one, 4) for one in how]
    drawn = draw_rows(logits, Draws.of(samplers, rules, CPU)).read()
    for row, (token, probability) in enumerate(drawn):
        assert probability == pytest.approx(float(logits[row].softmax(-1)[token]), rel=1e-4)


def test_the_logits_are_left_as_they_are() -> None:
    logits = torch.randn(5000)
    before = logits.clone()
    Sampler(PRESETS["understand"], 0).draw(logits, Rule(banned=[1], allowed=[2, 3], seen=[2]))
    assert torch.equal(logits, before)


def test_logits_of_half_precision_are_drawn_as_their_own_values() -> None:
    logits = torch.randn(4096, generator=torch.Generator().manual_seed(2)).bfloat16()
    how = PRESETS["tts"]
    assert Sampler(how, 5).draw(logits, Rule()) == Sampler(how, 5).draw(logits.float(), Rule())


def test_a_draw_never_waits_for_the_device() -> None:
    """Tensors that have shapes but no numbers pass, so no number is looked at on the way."""
    samplers = [Sampler(PRESETS["understand"], 1), Sampler(PRESETS["tts"], 2)]
    draws = Draws.of(samplers, [Rule(banned=[1], seen=[4]), Rule(allowed=[7, 8])], CPU)
    with FakeTensorMode() as shapes:
        parts = {name: shapes.from_tensor(getattr(draws, name)) for name in Draws.__slots__}
        drawn = draw_rows(torch.empty(2, 5000), Draws(**parts))
        assert drawn.ids.shape == (2,)
        with pytest.raises(DataDependentOutputException):  # so would any number that is read
            drawn.read()


@pytest.mark.cuda
def test_a_gpu_draws_what_a_processor_draws_and_is_not_waited_for() -> None:
    device = torch.device("cuda")
    logits = torch.randn(4, 151_936, generator=torch.Generator().manual_seed(3)).bfloat16()
    how = [PRESETS["understand"], PRESETS["tts"], PRESETS["s2s"], GREEDY]
    rules = [Rule(banned=[1, 2], seen=[4]), Rule(), Rule(allowed=[7, 8]), Rule()]
    expected = batch(list(logits), how, rules, [5] * 4)
    there = logits.to(device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        samplers = [Sampler(one, 5) for one in how]
        drawn = draw_rows(there, Draws.of(samplers, rules, device))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert [token for token, _ in drawn.read()] == expected
