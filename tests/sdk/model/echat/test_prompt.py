from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from echat_sdk.model.echat.layout import Layout, Part
from echat_sdk.model.echat.mode import Mode
from echat_sdk.model.echat.prompt import (
    AUDIO_MARK,
    CHAT_TEMPLATE,
    OSUM_TASK_PROMPTS,
    SYSTEM_PROMPTS,
    TASK_PROMPTS,
    System,
)
from echat_sdk.model.echat.targets import Coins, Target, target
from echat_sdk.model.echat.tasks import Task
from echat_sdk.model.echat.template import Template
from echat_sdk.model.echat.vocab import (
    AGE_LABELS,
    AGE_SLOT,
    THINK_END,
    UNKNOWN_SLOT,
    PlainText,
    TextTokenizer,
    Vocab,
)

GOLDEN = Path(__file__).parents[3] / "golden/osum"
LAYOUT = json.loads((GOLDEN / "case06_layout.json").read_text(encoding="utf-8"))
TARGETS = json.loads((GOLDEN / "case10_targets.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", LAYOUT["system_prompts"])
def test_system_prompts_are_upstreams_to_the_letter(name: str) -> None:
    text = SYSTEM_PROMPTS[System(name)]
    assert LAYOUT["system_prompts"][name]["text"] == f"<|im_start|>system\n{text}<|im_end|>\n"


def test_every_system_prompt_is_there_and_none_twice() -> None:
    assert set(SYSTEM_PROMPTS) == set(System)
    assert len(set(SYSTEM_PROMPTS.values())) == len(System)


def test_the_slip_of_the_pen_is_in_one_prompt_only() -> None:
    assert "anaosum_echat2e" in SYSTEM_PROMPTS[System.UND_DAMAGED]
    assert [n for n, text in SYSTEM_PROMPTS.items() if "osum_echat2" in text] == ["UND*"]


def test_osums_own_prompts_are_for_tasks_that_both_know() -> None:
    assert set(OSUM_TASK_PROMPTS) <= set(TASK_PROMPTS)


class Letters:
    """A tokenizer of letters, with the chat marks as letters of their own beyond Unicode."""

    START, END = 0x110000, 0x110001

    def encode(self, text: str, /) -> list[int]:
        return [ord(letter) for letter in text]

    def decode(self, ids: Any, /) -> str:
        return "".join(map(chr, ids))


def rendered(ids: Any, vocab: Vocab) -> str:
    marks = {Letters.START: "<|im_start|>", Letters.END: "<|im_end|>"}
    return "".join(marks.get(i) or chr(i) for i in ids if i < vocab.text_rows)


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode is not Mode.OSUM])
def test_the_template_in_jinja_and_the_template_in_ids_are_one(mode: Mode) -> None:
    import jinja2

    vocab = Vocab(0x110002, im_start=Letters.START, im_end=Letters.END, text_end=Letters.END)
    template = Template.of(Letters(), vocab)
    asked = "请转录。" if mode.asks else ""
    layout = template.prompt(
        mode, audio=4 if mode.hears else 0, prompt=Letters().encode(asked), history=()
    )
    system = rendered(layout.segments[0].ids, vocab)
    content: list[dict[str, str]] = [{"type": "text", "text": asked}] if asked else []
    content += [{"type": "audio"}] if mode.hears else []
    text = jinja2.Template(CHAT_TEMPLATE).render(
        messages=[
            {"role": "system", "content": system[len("<|im_start|>system\n") : -11]},
            {"role": "user", "content": content},
        ],
        add_generation_prompt=True,
    )
    assert text.replace(AUDIO_MARK, "") == rendered(layout.ids, vocab)
    assert AUDIO_MARK in text if mode.hears else AUDIO_MARK not in text


# --- with the real tokenizer ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def qwen() -> TextTokenizer:
    """Qwen2.5's whole tokenizer, out of the zoo's file; the zoo's own conversion is smaller."""
    from echat_sdk.config import home_dir
    from echat_sdk.model import zoo
    from echat_sdk.model.cache import Cache
    from echat_sdk.model.cascade.gguf import GgufFile
    from echat_sdk.model.cascade.vocabulary import Vocabulary

    part = "qwen2.5-coder-0.5b"
    zoo.locate(part)
    (path,) = Cache(home_dir()).part(part).glob("*.gguf")
    with path.open("rb") as raw:
        file = GgufFile(raw)
        vocabulary = Vocabulary.parse(
            file.strings("tokenizer.ggml.tokens"), file.strings("tokenizer.ggml.merges"), "qwen2"
        )
    return PlainText(vocabulary.tokenizer())


@pytest.mark.real
@pytest.mark.timeout(120)  # reads a large vocabulary
def test_with_qwens_tokenizer_every_recorded_text_has_the_recorded_ids(qwen: TextTokenizer) -> None:
    template = Template.of(qwen, Vocab())
    for name, prompt in LAYOUT["system_prompts"].items():
        assert list(template.system[System(name)]) == prompt["ids"]
    assert list(template.user_start) == LAYOUT["pieces"]["USER_START"]
    assert list(template.assistant_start) == LAYOUT["pieces"]["ASSISTANT_START"]
    damaged = LAYOUT["inference"][0]["ids"]
    assert list(template.system[System.UND_DAMAGED]) == damaged[: damaged.index(198, 5) + 1]
    for text, ids in LAYOUT["tokens"].items():
        if "<|im_end|>" not in text:
            assert list(qwen.encode(text)) == ids


@pytest.mark.real
@pytest.mark.timeout(120)
def test_with_qwens_tokenizer_the_ids_we_know_by_heart_are_right(qwen: TextTokenizer) -> None:
    assert tuple(qwen.encode("<think end>")) == THINK_END
    assert tuple(qwen.encode(",年龄为:<"))[-3:] == AGE_SLOT
    assert {qwen.encode(f"年龄为:<{age}>")[3] for age in ("CHILD", "ADULT", "OLD")} == AGE_LABELS
    assert qwen.decode([UNKNOWN_SLOT]) == "&&"
    assert qwen.decode(qwen.encode("早上好 <think> hi")) == "早上好 <think> hi"


@pytest.mark.real
@pytest.mark.timeout(120)
def test_with_qwens_tokenizer_unknown_slots_are_hidden_and_nothing_else_is(
    qwen: TextTokenizer,
) -> None:
    sample = {
        "task": "<S2TCHAT> <TEXT2TOKEN> <THINK>",
        "txt": "<开心>a && b",
        "extra": {"q_txt": "if x && y。&&", "age": "<ADULT>", "speech_token": [1] * 90},
    }
    made = target(sample, qwen, think="tag", coins=Coins())
    assert isinstance(made, Target)
    assert len(made.hidden) == 3
    for place in made.hidden:
        assert qwen.decode(made.ids[place - 1 : place + 1]).endswith(":<&&")
    layout = Template.of(qwen, Vocab()).sample(
        made.mode, text=made.ids, codes=made.codes, audio=2, hidden=made.hidden
    )
    assert isinstance(layout, Layout)
    assert layout.attention_mask.count(0) == 3
    assert layout.ends(Part.AUDIO) == (layout.audio_end,)


@pytest.mark.real
@pytest.mark.timeout(120)
def test_with_qwens_tokenizer_every_recorded_target_has_the_recorded_label(
    qwen: TextTokenizer,
) -> None:
    for case in TARGETS["samples"]:
        for pipeline in case["results"].values():
            for golden in pipeline.values():
                if "label" in golden:
                    ids = [*qwen.encode(golden["target_text"]), 151645]
                    assert ids[: len(golden["label"])] == golden["label"]


def test_every_task_prompt_is_reached_by_a_task() -> None:
    assert all(Task.from_tags(tags).prompt() == text for tags, text in TASK_PROMPTS.items())
    assert all(
        Task.from_tags(tags).prompt(osum=True) == text for tags, text in OSUM_TASK_PROMPTS.items()
    )
