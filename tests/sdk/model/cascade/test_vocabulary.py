from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.errors import CheckpointError
from echat_sdk.model.cascade.vocabulary import BYTE_OF_LETTER, MARKUP, Vocabulary, token_bytes

WORDS = ["hello", " sad", "你好", "。", "getElement", "привет"]


def learned() -> Vocabulary:
    of_byte = {byte: letter for letter, byte in BYTE_OF_LETTER.items()}
    tokens, merges = [*MARKUP, *BYTE_OF_LETTER], []
    for word in ("".join(of_byte[b] for b in word.encode()) for word in WORDS):
        for end in range(2, len(word) + 1):
            if word[:end] not in tokens:
                tokens.append(word[:end])
                merges.append(f"{word[: end - 1]} {word[end - 1]}")
    return Vocabulary.parse([*tokens, "<|fim_middle|>"], merges, "qwen2")


FULL = learned()
PRUNED = FULL.pruned()
TOKENIZER = PRUNED.tokenizer()
texts = st.text() | st.lists(st.sampled_from([*WORDS, *MARKUP, " ", "\n", "é"])).map("".join)


@given(texts)
def test_any_text_comes_back_from_its_tokens(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    tokens = TOKENIZER.encode(text).tokens
    assert b"".join(map(token_bytes, tokens)).decode() == unicodedata.normalize("NFC", text)


@given(texts)
def test_no_text_can_make_markup(text: str) -> None:
    assert not set(TOKENIZER.encode(text).tokens) & set(MARKUP)


@given(st.lists(st.sampled_from(["hello", " sad", "你好", "。", " ", "\n", "x", "7"])).map("".join))
def test_a_text_of_kept_tokens_is_cut_as_before(text: str) -> None:
    before = FULL.tokenizer().encode(text).tokens
    assert TOKENIZER.encode(text).tokens == before


def test_words_stay_and_program_text_and_other_scripts_go() -> None:
    kept = {token_bytes(token).decode("utf-8", "replace") for token in PRUNED.tokens}
    assert {"hello", " sad", "你好", "。"} <= kept
    assert not {"getElement", "привет"} & kept
    assert set(BYTE_OF_LETTER) | set(MARKUP) <= set(PRUNED.tokens)


def test_rows_point_into_the_checkpoint() -> None:
    assert [FULL.tokens[FULL.rows.index(row)] for row in PRUNED.rows] == list(PRUNED.tokens)


def test_markup_that_is_not_of_a_chat_is_dropped() -> None:
    assert "<|fim_middle|>" not in FULL.tokens


def test_a_merge_of_unknown_tokens_is_refused() -> None:
    with pytest.raises(CheckpointError, match="merge"):
        Vocabulary.parse([*MARKUP, *BYTE_OF_LETTER], ["a b"], "qwen2")


def test_a_token_that_stands_twice_is_refused() -> None:
    with pytest.raises(CheckpointError, match="twice"):
        Vocabulary.parse([*MARKUP, *BYTE_OF_LETTER, "a"], [], "qwen2")


@pytest.mark.parametrize(("tokens", "split"), [([*BYTE_OF_LETTER], "qwen2"), ([*MARKUP], "gpt-4o")])
def test_a_model_without_chat_markup_is_refused(tokens: list[str], split: str) -> None:
    with pytest.raises(CheckpointError, match="ChatML"):
        Vocabulary.parse(tokens, [], split)
