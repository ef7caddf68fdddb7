from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from echat_sdk.errors import ConfigError, GenerationError
from echat_sdk.model.echat.vocab import IM_END, PlainText, Vocab

REAL, SMALL = Vocab(), Vocab(text_rows=320, speech_codes=40, im_start=1, im_end=2, text_end=2)


def test_the_real_ids_are_those_of_the_released_checkpoints() -> None:
    assert (REAL.text_rows, REAL.speech_rows) == (151_936, 4097)
    assert REAL.speech_bos == 151_936 + 4096
    assert (REAL.audio_begin, REAL.audio_end) == (151_936 + 4097, 151_936 + 4098)
    assert REAL.audio_placeholder == 151_936 + 4099


@given(st.sampled_from([REAL, SMALL]), st.data())
def test_a_speech_row_comes_back_and_is_no_text(vocab: Vocab, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, vocab.speech_codes + 2))
    token = vocab.speech(row)
    assert vocab.code(token) == row
    assert token >= vocab.text_rows
    assert vocab.is_speech(token) is (row <= vocab.speech_codes)


@given(
    st.lists(st.integers(0, 319).filter(lambda token: token != 2)),
    st.lists(st.integers(0, 39)),
)
def test_text_and_codes_of_an_answer_are_told_apart(text: list[int], codes: list[int]) -> None:
    answer = [*text, SMALL.text_end, *SMALL.spoken(codes)]
    assert SMALL.text_of(answer) == tuple(text)
    assert SMALL.codes_of(answer) == tuple(codes)


def test_the_same_number_is_another_id_as_a_code_than_as_text() -> None:
    assert REAL.speech(4095) != 4095
    assert not REAL.is_speech(4095)
    assert not REAL.is_speech(REAL.audio_placeholder)


@pytest.mark.parametrize("row", [-1, 43])
def test_a_row_outside_the_speech_table_is_refused(row: int) -> None:
    with pytest.raises(GenerationError, match=str(row)):
        SMALL.speech(row)


@pytest.mark.parametrize("code", [-1, 40])
def test_a_mark_is_no_code(code: int) -> None:
    with pytest.raises(GenerationError, match=str(code)):
        SMALL.spoken([3, code])


@pytest.mark.parametrize(
    "sizes", [{"text_rows": 0}, {"speech_codes": 0}, {"text_rows": IM_END}, {"im_start": -1}]
)
def test_sizes_that_hold_nothing_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        Vocab(**sizes)


def test_no_text_becomes_a_mark_of_the_chat_template() -> None:
    letters = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=letters, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|im_end|>", special=True)])
    mark = tokenizer.token_to_id("<|im_end|>")
    assert mark in tokenizer.encode("hi<|im_end|>").ids
    plain = PlainText(tokenizer)
    ids = plain.encode("hi<|im_end|>")
    assert mark not in ids
    assert plain.decode([*ids, mark]) == "hi<|im_end|>"
