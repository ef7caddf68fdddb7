from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_plugins.safety.evaluation import utterances
from echat_sdk.safety import danger
from echat_sdk.safety.required import required


@pytest.mark.parametrize(
    ("pattern", "pieces"),
    [
        (r"\bi (?:\w+ ){0,8}(?:a|the) burden\b", {" burden"}),
        (r"\b(?:kill(?:ing)?|hurt) myself\b(?! laughing)", {" myself"}),
        (r"(?:我|想)[^。，]{0,8}自杀|^自杀", {"自杀"}),
        (r"wake(?: up)?", {"wake"}),
        (r"colou?r", {"colo"}),
        (r"go+d", {"go"}),
        (r"\w+|die", set()),
        (r"(?:a|b)?", set()),
        (r"x{0,3}", set()),
    ],
)
def test_what_a_match_must_hold_is_known(pattern: str, pieces: set[str]) -> None:
    assert required(pattern) == pieces


WORDS = st.sampled_from(["a", "b", "ab", "ba", "(?:a|b)", "(?:ab|b)?", "a?", "b+", "[ab]", "(?!b)",
                         "(?:a(?:b|a)|b{1,2})", ".", "|", r"\b", "^", "$", "a{0,2}"])  # fmt: skip


@given(st.lists(WORDS, max_size=6).map("".join), st.text("ab", max_size=8))
def test_a_match_holds_what_is_required(pattern: str, text: str) -> None:
    try:
        compiled = re.compile(pattern)
    except re.error:
        return
    if (pieces := required(pattern)) and compiled.search(text):
        assert any(piece in text for piece in pieces)


def test_no_danger_of_the_labelled_set_is_lost_by_not_trying() -> None:
    every = [p for lang in ("en", "zh") for r in danger._rules(lang).rules for p in r.patterns]
    assert sum(bool(p.required) for p in every) > 0.95 * len(every)
    for said in utterances():
        words = danger.canonical(said.text, said.lang)
        for pattern in every:
            if pattern.compiled.search(words):
                assert not pattern.required or any(piece in words for piece in pattern.required)
