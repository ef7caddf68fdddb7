from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.model.echat.mode import Mode
from echat_sdk.model.echat.targets import Coins, Dropped, Reason, Target, normalize, target
from echat_sdk.model.echat.vocab import IM_END, UNKNOWN_SLOT
from echat_sdk.turn import ThinkStyle

CASE = json.loads(
    (Path(__file__).parents[3] / "golden/osum/case10_targets.json").read_text(encoding="utf-8")
)
PIPELINES: dict[str, ThinkStyle] = {
    "processor": "off",
    "processor_tag_think": "tag",
    "processor_language_think": "language",
}
RESULTS = [
    (case["sample"], pipeline, chance, golden)
    for case in CASE["samples"]
    for pipeline, results in case["results"].items()
    for chance, golden in results.items()
]


class Recorded:
    """A tokenizer that knows the texts of the golden case."""

    def __init__(self) -> None:
        self._ids: dict[str, list[int]] = {}
        for *_, golden in RESULTS:
            if "label" in golden:
                end = -1 if golden["eos_appended"] else None
                self._ids[golden["target_text"]] = golden["label"][:end]
                self._ids[golden["prompt_text"]] = golden["prompt"]

    def encode(self, text: str, /) -> Sequence[int]:
        return self._ids.get(text, [])  # a text of a sample that is dropped is recorded nowhere

    def decode(self, ids: Sequence[int], /) -> str:
        raise NotImplementedError


class Letters:
    """A tokenizer of letters, in which `&&` is one token."""

    def encode(self, text: str, /) -> Sequence[int]:
        pieces = re.findall("&&|.", text, re.DOTALL)
        return [UNKNOWN_SLOT if piece == "&&" else 200_000 + ord(piece) for piece in pieces]

    def decode(self, ids: Sequence[int], /) -> str:
        return "".join("&&" if i == UNKNOWN_SLOT else chr(i - 200_000) for i in ids if i != IM_END)


RECORDED, LETTERS = Recorded(), Letters()
CODES = [5, 17, 300]


@pytest.mark.parametrize(
    ("sample", "pipeline", "chance", "golden"),
    RESULTS,
    ids=[f"{sample['id']}-{pipeline}-{chance}" for sample, pipeline, chance, _ in RESULTS],
)
def test_the_reference_version_makes_upstreams_targets(
    sample: dict[str, Any], pipeline: str, chance: str, golden: dict[str, Any]
) -> None:
    made = target(
        sample,
        RECORDED,
        think=PIPELINES[pipeline],
        prompts=CASE["prompt_dict"],
        coins=Coins(unknown="0.10" in chance, only_label="only_X" in chance),
        version="reference-repro",
    )
    if isinstance(made, Dropped):
        assert golden == {"dropped": True}
        return
    assert golden == {
        "target_text": made.text,
        "label": list(made.ids),
        "eos_appended": made.ids[-1] == IM_END,
        "output_type": made.mode.value,
        "task": made.task,
        "prompt_text": made.prompt,
        "prompt": list(made.prompt_ids),
        "speech_token": [4096, 4096, len(made.codes) + 2] if made.codes else [],
    }


@pytest.mark.parametrize("case", CASE["string_helpers"], ids=lambda case: case["text"])
def test_spaces_and_case_are_upstreams(case: dict[str, Any]) -> None:
    assert normalize(case["text"], "<TRANSCRIBE>") == case["text2_transcribe"]
    assert normalize(case["text"], "<TRANSCRIBE> <EMOTION>") == case["text2_other"]


def made(
    task: str,
    txt: str,
    *,
    think: ThinkStyle = "off",
    coins: Coins | None = None,
    history: object = None,
    **extra: object,
) -> Target:
    sample = {"task": task, "txt": txt, "extra": extra, "history": history}
    target_made = target(sample, LETTERS, think=think, coins=coins)
    assert isinstance(target_made, Target)
    return target_made


S2S = "<S2TCHAT> <TEXT2TOKEN>"


@pytest.mark.parametrize("think", PIPELINES.values())
@pytest.mark.parametrize(
    ("task", "txt"),
    [
        ("<EMOTION>", "<HAPPY>"),
        ("<AGE> <GENDER>", "<ADULT><MALE>"),
        ("<TRANSCRIBE> <ALIGN>", "<0.00>你<0.20><0.20>好<0.46>"),
    ],
)
def test_a_task_that_asks_for_tags_keeps_all_of_them(
    think: ThinkStyle, task: str, txt: str
) -> None:
    assert made(task, txt, think=think).text == txt


def test_a_label_alone_is_taken_from_behind_the_words() -> None:
    alone = made(
        "<TRANSCRIBE> <EMOTION>", "I say <SAD> things<HAPPY>", coins=Coins(only_label=True)
    )
    assert (alone.text, alone.task) == ("<HAPPY>", "<EMOTION>")


@pytest.mark.parametrize(
    "task", [f"{S2S} <STREAMING>", f"{S2S} <HISTORY>", S2S, f"{S2S} <EMOTION>"]
)
def test_no_kind_of_speech_loses_its_codes(task: str) -> None:
    assert made(task, "好", speech_token=CODES).codes == tuple(CODES)


def test_a_sample_with_past_turns_is_of_the_kind_that_has_them() -> None:
    past = [{"wav": "1.wav", "txt": "嗯"}]
    assert made(S2S, "好", history=past, speech_token=CODES).mode is Mode.S2S_HISTORY


def test_the_reply_keeps_its_tag_where_tags_are_thought_in_and_loses_it_elsewhere() -> None:
    assert made(S2S, "<开心>好", think="tag", speech_token=CODES).text == "<开心>好"
    assert made(S2S, "<HAPPY>好", think="tag", speech_token=CODES).text == "<开心>好"
    assert made(S2S, "好", think="tag", speech_token=CODES).text == "<中立>好"
    assert made(S2S, "<SHY>好", think="tag", speech_token=CODES).text == "<中立>好"
    assert made(S2S, "<SHY>好", speech_token=CODES).text == "好"
    assert made(S2S, "<开心>好", speech_token=CODES).text == "好"
    assert made("<TEXT2TOKEN>", "<strong>好", speech_token=CODES).text == "<strong>好"
    assert made("<TEXT2TOKEN>", "<开心>好", think="tag", speech_token=CODES).text == "<开心>好"
    assert made("<TEXT2TOKEN>", "好", think="tag", speech_token=CODES).text == "好"


def test_a_line_break_is_a_space_in_every_task() -> None:
    sample = {"task": "<TRANSCRIBE> <AGE>", "txt": "a\nb<YOUTH>"}
    ours, theirs = target(sample, LETTERS), target(sample, LETTERS, version="reference-repro")
    assert isinstance(ours, Target)
    assert isinstance(theirs, Target)
    assert ours.text == "a b<ADULT>"
    assert theirs.text == "a\nb<ADULT>"


def thought(**extra: object) -> Target:
    extra = {"question": "你好", "speech_token": CODES} | extra
    return made(f"{S2S} <THINK>", "<安慰鼓励>好", think="tag", **extra)


def test_a_label_nobody_knows_is_never_guessed_and_never_learned() -> None:
    for absent in ({}, {"gender": ""}, {"gender": "NONE"}, {"gender": "<&&>"}, {"gender": "robot"}):
        text = thought(age="<OLD", **absent)
        assert "年龄为:<OLD>,性别为:<&&>,情感为:<&&>,声音事件为:<&&>" in text.text
        assert len(text.hidden) == 3
        assert all(text.ids[place] == UNKNOWN_SLOT for place in text.hidden)


@given(st.text("你a& <>,:", max_size=20), st.text("好b&, ", max_size=8))
def test_signs_in_peoples_words_are_never_hidden(said: str, reply: str) -> None:
    sample = {
        "task": f"{S2S} <THINK>",
        "txt": f"<开心>{reply}",
        "extra": {"q_txt": f"你{said}", "age": "ADULT", "speech_token": CODES},
    }
    one = target(sample, LETTERS, think="tag")
    assert isinstance(one, Target)
    shown = ["".join(LETTERS.decode(one.ids[:place])) for place in sorted(one.hidden)]
    assert [text.rpartition(",")[2] for text in shown] == ["性别为:<", "情感为:<", "声音事件为:<"]


def test_unknown_labels_behind_the_words_are_hidden_and_learned_without_an_end() -> None:
    both = made("<TRANSCRIBE> <AGE> <GENDER>", "a && b<&&><&&>")
    assert len(both.hidden) == 2
    assert both.ids[-1] != IM_END
    first = made("<TRANSCRIBE> <AGE> <GENDER>", "a<&&><MALE>")
    assert len(first.hidden) == 1
    assert first.ids[-1] == IM_END
    assert made("<TRANSCRIBE>", "a && b").hidden == frozenset()


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        ({"task": S2S, "txt": "好"}, Reason.NO_SPEECH),
        ({"task": S2S, "txt": "好", "extra": {"speech_token": []}}, Reason.NO_SPEECH),
        ({"task": S2S, "txt": "好", "extra": {"speech_token": [4096]}}, Reason.WRONG_SPEECH),
        ({"task": S2S, "txt": "好", "extra": {"speech_token": ["x"]}}, Reason.WRONG_SPEECH),
        ({"task": S2S, "txt": "好", "extra": "{not json"}, Reason.NO_SPEECH),
        ({"task": "<TEXT2TEXT>", "txt": "好", "extra": {"question": ""}}, Reason.NO_QUESTION),
        ({"task": "<S2TCHAT> <THINKER>", "txt": "好"}, Reason.NO_THOUGHT),
        ({"task": "<TRANSCRIBE> <S2TCHAT>", "txt": "no mark"}, Reason.NO_LABEL),
        ({"task": "<TRANSCRIBE> <AGE>", "txt": "no label"}, Reason.NO_LABEL),
    ],
)
def test_a_sample_that_cannot_be_used_says_why(sample: dict[str, Any], reason: Reason) -> None:
    assert target(sample, LETTERS, coins=Coins(only_label=True)) == Dropped(reason)


def test_who_speaks_of_a_helper_is_left_out_upstream_only() -> None:
    sample = {"task": "<TRANSCRIBE>", "txt": "the helper said"}
    assert isinstance(target(sample, LETTERS), Target)
    dropped = target(sample, LETTERS, version="reference-repro")
    assert dropped == Dropped(Reason.OTHER_NAME)


def test_chance_is_an_argument() -> None:
    prompts = {"<TRANSCRIBE>": ["a", "b", "c"]}
    sample = {"task": "<TRANSCRIBE>", "txt": "hi"}
    picked = [target(sample, LETTERS, prompts=prompts, coins=Coins(prompt=n)) for n in range(4)]
    assert [one.prompt for one in picked if isinstance(one, Target)] == ["a", "b", "c", "a"]
    tts = made("<TEXT2TOKEN>", "好", coins=Coins(streaming=True), speech_token=CODES)
    assert tts.mode is Mode.TTS_STREAM
