from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echat_sdk.errors import ConfigError, GenerationError
from echat_sdk.model.echat.interleave import SpeechTooShort
from echat_sdk.model.echat.layout import Layout, Part, PastTurn
from echat_sdk.model.echat.mode import Mode
from echat_sdk.model.echat.prompt import SYSTEM_PROMPTS, System
from echat_sdk.model.echat.reference import ReferenceTemplate, reference_result
from echat_sdk.model.echat.template import Template
from echat_sdk.model.echat.vocab import BLANK, IGNORED, IM_END, UNKNOWN_SLOT, Vocab

CASE = json.loads(
    (Path(__file__).parents[3] / "golden/osum/case06_layout.json").read_text(encoding="utf-8")
)
VOCAB = Vocab()
TRAINING = {case["output_type"]: case for case in CASE["training"]}
INFERENCE = {case["method"]: case for case in CASE["inference"]}


class Recorded:
    """A tokenizer that knows the texts of the golden case, and letters for any other."""

    def __init__(self) -> None:
        self._ids = {
            "\n": [198],
            "user\n": CASE["pieces"]["USER_START"][1:],
            "assistant\n": CASE["pieces"]["ASSISTANT_START"][3:],
            "你好": [108386],
            "好的，再见": [99692, 3837, 111811],
        }
        for name, prompt in CASE["system_prompts"].items():
            self._ids[f"system\n{SYSTEM_PROMPTS[System(name)]}"] = prompt["ids"][1:-2]
        damaged = INFERENCE["generate"]["ids"]
        end = damaged.index(IM_END)
        self._ids[f"system\n{SYSTEM_PROMPTS[System.UND_DAMAGED]}"] = damaged[1:end]
        self._text = {tuple(ids): text for text, ids in self._ids.items()}

    def encode(self, text: str, /) -> Sequence[int]:
        return self._ids.get(text) or [ord(letter) for letter in text]

    def decode(self, ids: Sequence[int], /) -> str:
        return self._text.get(tuple(ids)) or "".join(map(chr, ids))


TRAIN = Template.of(Recorded(), VOCAB)
REFERENCE = ReferenceTemplate.of(Recorded(), VOCAB)


def embeddings(mel_frames: int) -> int:
    return -(-mel_frames // 8)


def combined(ids: Sequence[int], table: str) -> list[int]:
    """Upstream's ids of two tables and of audio (-1) in our one space; unknown tables are kept."""

    def one(token: int, kind: str) -> int:
        if kind == "a":
            return VOCAB.audio_placeholder
        return VOCAB.speech(token) if kind == "s" else token

    return [one(token, kind) for token, kind in zip(ids, table, strict=True)]


def past(turns: list[dict[str, Any]]) -> list[PastTurn]:
    return [
        PastTurn(
            answer=(
                *Recorded().encode(turn["txt"]),
                IM_END,
                *(VOCAB.spoken(turn["codes"]) if turn["codes"] else ()),
            ),
            audio=embeddings(turn["mel_frames"]),
        )
        for turn in turns
    ]


def as_sample(template: Template, case: dict[str, Any], row: int) -> Layout:
    mode = Mode(case["output_type"])
    layout = template.sample(
        mode,
        text=case["labels"][row],
        codes=case["speech_tokens"][row][1:-1] if case["speech_tokens"] else (),
        audio=embeddings(case["audio_frames_mel"][row]) if mode.hears else 0,
        prompt=case["prompt_ids"][row],
        history=None if case["history"] is None else past(case["history"][row]),
    )
    assert isinstance(layout, Layout)
    return layout


@pytest.mark.parametrize("row", [0, 1])
@pytest.mark.parametrize("output_type", TRAINING)
def test_the_reference_version_writes_upstreams_training_sequences(
    output_type: str, row: int
) -> None:
    case = TRAINING[output_type]
    layout, golden = as_sample(REFERENCE, case, row), case["rows"][row]
    mask = [bit for bit, times in golden["mask_rle"] for _ in range(times)]
    kept = [place for place, bit in enumerate(mask) if bit]
    ours = [place for place, bit in enumerate(layout.attention_mask) if bit]
    ids = combined(golden["ids"], golden["table"])
    assert [layout.ids[i] for i in ours] == [ids[i] for i in kept]
    assert [layout.labels[i] for i in ours] == [golden["target"][i] for i in kept]
    assert [layout.position_ids[i] for i in ours] == [golden["position_ids"][i] for i in kept]
    if len(layout) == len(ids):  # a row without pads: hidden places too stand where they stood
        assert list(layout.ids) == ids
        assert list(layout.attention_mask) == mask
        assert list(layout.labels) == golden["target"]
        assert list(layout.position_ids) == golden["position_ids"]


def golden_prompt(case: dict[str, Any]) -> list[int]:
    return combined(case["ids"], case["table"])


@pytest.mark.parametrize(
    ("method", "mode", "hears", "prompt"),
    [
        ("generate", Mode.UNDERSTAND, True, TRAINING["text"]["prompt_ids"][0]),
        ("generate4chat", Mode.S2T, True, ()),
        ("generate4chat_think", Mode.S2T_THINK, True, ()),
        ("generate_tts", Mode.TTS, False, [100437, 37029, 105761, 106726, 1773]),
        ("generate_text2text", Mode.T2T, False, [100437, 37029, 105761, 106726, 1773]),
        ("generate_s2s_no_stream_with_repetition_penalty", Mode.S2S, True, ()),
        ("generate_s2s_no_stream_think_with_repetition_penalty", Mode.S2S_THINK, True, ()),
        ("generate_s2s_no_stream_multi_turn turn 1", Mode.S2S, True, ()),
    ],
)
def test_the_reference_version_writes_upstreams_prompts(
    method: str, mode: Mode, hears: bool, prompt: Sequence[int]
) -> None:
    golden = INFERENCE[method]
    layout = REFERENCE.prompt(mode, audio=golden["ids"].count(-1) if hears else 0, prompt=prompt)
    assert list(layout.ids) == golden_prompt(golden)


def test_the_reference_version_writes_upstreams_second_turn() -> None:
    first = INFERENCE["generate_s2s_no_stream_multi_turn turn 1"]
    second = INFERENCE["generate_s2s_no_stream_multi_turn turn 2"]
    wrote = first["scripted_llm_output"]
    end = wrote.index(IM_END) + 1
    answer = (*wrote[:end], *(VOCAB.speech(code) for code in wrote[end:]))
    turn = PastTurn(answer=answer, audio=first["ids"].count(-1))
    layout = REFERENCE.prompt(Mode.S2S, audio=6, history=[turn])
    assert list(layout.ids) == golden_prompt(second)


@pytest.mark.parametrize(
    "method", [m for m, c in INFERENCE.items() if "output_text" in c["returned"]]
)
def test_what_upstream_returns_of_an_answer(method: str) -> None:
    case = INFERENCE[method]
    wrote = case["scripted_llm_output"]
    end = wrote.index(IM_END) + 1
    answer = (*wrote[:end], *(VOCAB.speech(code) for code in wrote[end:]))
    result = reference_result(VOCAB, answer)
    assert result is not None
    assert [list(part) for part in result] == [
        case["returned"]["text_ids"],
        case["returned"]["speech_ids"],
    ]
    # Ours keeps the last word and drops both marks.
    assert VOCAB.text_of(answer) == tuple(wrote[: end - 1])
    assert VOCAB.codes_of(answer) == tuple(wrote[end + 1 : -1])


def test_an_answer_without_an_end_of_text_is_no_exception_here() -> None:
    assert CASE["inference_without_im_end_raises"] == "IndexError"
    assert reference_result(VOCAB, [1, 2, 3]) is None
    assert VOCAB.text_of([1, 2, 3]) == (1, 2, 3)


def test_the_reference_version_forgets_all_but_five_turns() -> None:
    history = [PastTurn(answer=(n, n, IM_END), audio=n) for n in range(1, 8)]
    layout = REFERENCE.prompt(Mode.S2S, audio=9, history=history)
    audio = [len(s.ids) - 2 for s in layout.segments if s.part is Part.AUDIO]
    assert audio == [3, 4, 5, 6, 7, 9]


def test_osum_has_no_chat_template() -> None:
    vocab = Vocab(text_end=151643)
    template = Template.of(Recorded(), vocab)
    layout = template.sample(Mode.OSUM, audio=2, prompt=[5, 6], text=[7, 151643])
    held = vocab.audio_placeholder
    assert isinstance(layout, Layout)
    assert layout.ids == (5, 6, vocab.audio_begin, held, held, vocab.audio_end, 7, 151643)
    assert layout.labels == (*[IGNORED] * 6, 7, 151643)


@pytest.mark.parametrize("mode", list(Mode))
def test_a_training_sample_is_the_prompt_of_inference_and_an_answer(mode: Mode) -> None:
    text, codes = [11, 12, IM_END], list(range(40))
    asked = {"audio": 3 if mode.hears else 0, "prompt": [11, 12] if mode.asks else ()}
    history = [PastTurn(answer=(9, IM_END), audio=2)]
    sample = TRAIN.sample(mode, text=text, codes=codes, history=history, **asked)
    prompt = TRAIN.prompt(mode, history=history, **asked)
    assert isinstance(sample, Layout)
    assert sample.ids[: len(prompt)] == prompt.ids
    answer = sample.ids[len(prompt) :]
    assert answer == sample.labels[len(prompt) :]
    # The begin mark of text to speech is given in inference, and learned all the same.
    assert set(sample.labels[: len(prompt)]) <= {IGNORED, VOCAB.speech_bos}


@pytest.mark.parametrize("output_type", [t for t in TRAINING if TRAINING[t]["history"] is None])
def test_without_history_our_template_is_what_upstream_trains_with(output_type: str) -> None:
    for row in (0, 1):
        case = TRAINING[output_type]
        ours, theirs = as_sample(TRAIN, case, row), as_sample(REFERENCE, case, row)
        assert [t for t in ours.ids if t != UNKNOWN_SLOT] == [t for t in theirs.ids if t != BLANK]


answers = st.lists(st.integers(0, 99), max_size=8).map(tuple)
turns = st.builds(
    lambda text, codes, audio: PastTurn(
        answer=(*text, IM_END, *(VOCAB.spoken(codes) if codes else ())), audio=audio
    ),
    answers,
    st.lists(st.integers(0, 4095), max_size=6),
    st.integers(1, 5),
)


@settings(max_examples=30)
@given(st.lists(turns, max_size=4), turns, st.integers(1, 5))
def test_a_later_turn_begins_with_all_of_the_turn_before(
    history: list[PastTurn], last: PastTurn, audio: int
) -> None:
    before = TRAIN.prompt(Mode.S2S, audio=last.audio, history=history)
    after = TRAIN.prompt(Mode.S2S, audio=audio, history=[*history, last])
    known = (*before.ids, *last.answer)
    assert after.ids[: len(known)] == known
    assert after.ids[len(known) :][:1] == (198,)


def test_a_cut_off_answer_is_closed() -> None:
    layout = TRAIN.prompt(Mode.S2S, audio=1, history=[PastTurn(answer=(7, 8), audio=1)])
    turn = next(segment for segment in layout.segments if segment.part is Part.TURN)
    assert turn.ids == (IM_END, 198)


def test_cuts_lie_after_the_system_prompt_the_audio_and_the_text() -> None:
    layout = TRAIN.sample(Mode.S2S, audio=3, text=[11, 12, IM_END], codes=[1, 2, 3])
    assert isinstance(layout, Layout)
    ids = layout.ids
    assert ids[layout.system_end :][:3] == TRAIN.user_start
    assert ids[layout.audio_end - 1] == VOCAB.audio_end
    assert ids[layout.text_end - 1] == IM_END
    assert ids[layout.text_end] == VOCAB.speech_bos
    assert TRAIN.prompt(Mode.T2T, prompt=[1]).audio_end == 0


def test_a_slot_that_nobody_knows_is_hidden_by_its_place_alone() -> None:
    text = [5, UNKNOWN_SLOT, 6, UNKNOWN_SLOT, IM_END]
    layout = TRAIN.sample(Mode.S2T, audio=1, text=text, hidden=frozenset({3}))
    assert isinstance(layout, Layout)
    assert layout.labels[-5:] == (5, UNKNOWN_SLOT, 6, IGNORED, IM_END)
    assert layout.ids[-5:] == (5, UNKNOWN_SLOT, 6, BLANK, IM_END)
    assert layout.attention_mask[-5:] == (1, 1, 1, 0, 1)
    last = layout.position_ids[-5:]
    assert last[4] == last[2] + 1


def test_a_hidden_slot_keeps_its_place_when_text_and_speech_are_interleaved() -> None:
    text = [*range(300, 307), UNKNOWN_SLOT, IM_END]
    layout = TRAIN.sample(
        Mode.S2S_STREAM, audio=1, text=text, codes=range(60), hidden=frozenset({7})
    )
    assert isinstance(layout, Layout)
    hidden = [i for i, bit in enumerate(layout.attention_mask) if not bit]
    place = len(TRAIN.prompt(Mode.S2S_STREAM, audio=1)) + 6 + 18 + 1
    assert hidden == [place]
    assert layout.ids[place] == BLANK


def test_too_little_speech_is_a_value_not_an_exception() -> None:
    short = TRAIN.sample(Mode.S2S_STREAM, audio=1, text=[1, 2, 3, IM_END], codes=[1])
    assert short == SpeechTooShort(text=4, speech=3)


def test_a_thought_needs_no_speech_in_our_template() -> None:
    thought = [ord(letter) for letter in "<think>why, I wonder<think end>"]
    layout = TRAIN.sample(
        Mode.S2S_STREAM_THINK, audio=1, text=[*thought, 300, IM_END], codes=range(6)
    )
    assert isinstance(layout, Layout)
    answer = layout.ids[len(TRAIN.prompt(Mode.S2S_STREAM_THINK, audio=1)) :]
    assert answer[: len(thought) + 3] == (*thought, 300, IM_END, VOCAB.speech_bos)


def test_audio_where_none_belongs_is_refused() -> None:
    with pytest.raises(ConfigError, match="hears nothing"):
        TRAIN.prompt(Mode.T2T, audio=3)
    with pytest.raises(ConfigError, match="needs some"):
        TRAIN.prompt(Mode.S2S)


def test_a_code_of_another_speech_tokenizer_is_refused() -> None:
    with pytest.raises(GenerationError, match="6561"):
        TRAIN.sample(Mode.TTS, text=[1, IM_END], codes=[6561])
