"""A sample of training data to the exact text, ids and sequence type that a model learns from it.

Samples have upstream's fields: `task`, `txt`, `extra` (age, gender, q_emotion, caption, question,
q_txt, think_str, speech_token). `reference-repro` keeps what upstream's pipelines do to them, with
what they lose on the way: a leading tag of any task, the speech of streaming and multi-turn
samples, the truth about unknown labels. Chance is an argument: the same sample and the same
`Coins` give the same target.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from echat_sdk.cues import Style
from echat_sdk.model.echat.mode import Mode
from echat_sdk.model.echat.prompt import Version
from echat_sdk.model.echat.tagging import (
    UNKNOWN,
    reference_reply_tag,
    reference_thought,
    reply_tag,
    thought,
)
from echat_sdk.model.echat.understanding import START_OF_ANSWER
from echat_sdk.model.echat.vocab import UNKNOWN_SLOT, TextTokenizer, Vocab
from echat_sdk.model.think import (
    THINK,
    THINK_END,
    label_from_tag,
    tag_of,
)
from echat_sdk.turn import ThinkStyle


class Reason(StrEnum):
    """Why a sample is left out."""

    OTHER_NAME = "names another assistant"
    NO_THOUGHT = "no think_str"
    NO_QUESTION = "no question"
    NO_LABEL = "no label or answer to keep"
    NO_SPEECH = "no speech codes"
    WRONG_SPEECH = "speech codes of another tokenizer"


@dataclass(frozen=True, slots=True)
class Dropped:
    """A sample that is left out."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Coins:
    """What chance decided for one sample.

    Attributes:
        unknown: Whether absent labels are written as unknown. Only `reference-repro` can fall on
            the other side, which teaches that an unknown voice is a neutral man's.
        only_label: Whether the words are left out of a task that asks for words and a label.
        streaming: Whether text to speech becomes its interleaved form.
        prompt: Which of the task's prompts; taken modulo their number.
    """

    unknown: bool = True
    only_label: bool = False
    streaming: bool = False
    prompt: int = 0


@dataclass(frozen=True, slots=True)
class Target:
    """What a model learns from one sample; the arguments of `template.Template.sample`.

    Attributes:
        text: The text as it reaches the tokenizer.
        ids: Its ids, with the end mark unless the text ends in an unknown label.
        mode: Type of the sequence.
        task: The task after all changes.
        prompt: The task's prompt or the question, None without one.
        prompt_ids: Its ids.
        codes: Speech codes of the answer, without marks.
        hidden: Places in `ids` of labels that nobody knows.
    """

    text: str
    ids: tuple[int, ...]
    mode: Mode
    task: str
    prompt: str | None
    prompt_ids: tuple[int, ...]
    codes: tuple[int, ...]
    hidden: frozenset[int] = frozenset()


_ALIASES = {
    "TEXT2TOKEN": "<TEXT2TOKEN>",
    "<Speech2TEXTandTOKEN>": "<S2TCHAT> <TEXT2TOKEN>",
    "<S2TCHAT> <TEXT2TOKEN> <EMOTION>": "<S2TCHAT> <TEXT2TOKEN>",
}
_MODES: Mapping[str, Mode] = {
    "<TEXT2TOKEN>": Mode.TTS,
    "<TEXT2TOKEN> <STREAMING>": Mode.TTS_STREAM,
    "<S2TCHAT> <TEXT2TOKEN>": Mode.S2S,
    "<S2TCHAT> <TEXT2TOKEN> <STREAMING>": Mode.S2S_STREAM,
    "<S2TCHAT> <TEXT2TOKEN> <THINK>": Mode.S2S_THINK,
    "<S2TCHAT> <TEXT2TOKEN> <HISTORY>": Mode.S2S_HISTORY,
    "<TEXT2TEXT>": Mode.T2T,
    "<S2TCHAT>": Mode.S2T,
    "<S2TCHAT_FAKE>": Mode.S2T_FAKE,
    "<S2TCHAT> <THINKER>": Mode.S2T_THINK,
}
_WITH_A_LABEL = tuple(
    f"<TRANSCRIBE> <{name}>" for name in ("EMOTION", "STYLE", "CAPTION", "GENDER", "AGE")
)
_WITH_A_REPLY = "<TRANSCRIBE> <S2TCHAT>"
_THINKING = ("<S2TCHAT> <THINKER>", "<S2TCHAT> <TEXT2TOKEN> <THINK>")
# Upstream forgets these two where it attaches speech, and so loses all their samples.
_SPEECHLESS_UPSTREAM = (Mode.S2S_STREAM, Mode.S2S_HISTORY)

_AGES = re.compile(r"<(?:YOUTH|MIDDLE_AGE|MIDDLE)>")
# Upstream leaves out every text with one of these, whoever says it; three were meant as two each.
_OTHER_NAMES = re.compile(
    "MOSS Assistant|MOSS助手|QWEN|小智机器人|小智助手|小智AI助手|Qwen助手VirtualAssistant"
    "|virtual assistant|[Hh]elper|ChatBot|Chat Bot|chat bot|chatbot|AI [Aa]gent|ChatGPT|chatgpt"
    "|<think>小明助手|小红小助手|小刚AI|晓明助手|阿强Bot|阿丽小助手|王磊AI助手|李娜AI|张伟助手|赵敏Bot"
    "|刘洋AI小助手|陈晨智能助手|<think>MOSS小助手|小智Bot|Assistant小智|AI小智|VirtualAssistant李娜"
    "|语言模型"
)
_CHINESE = re.compile(r"\s*([\u4e00-\u9fff])\s*")
_TAG = re.compile(r"<([^<>\s]+)>")


def normalize(text: str, task: str) -> str:
    """Upstream's spacing: none beside Chinese characters, `<` and `>`; plain transcripts lower."""
    text = _CHINESE.sub(r"\1", text)
    if task == "<TRANSCRIBE>":
        text = text.lower()
    return re.sub(r"\s*>\s*", ">", re.sub(r"\s*<\s*", "<", text))


def target(
    sample: Mapping[str, Any],
    tokenizer: TextTokenizer,
    *,
    think: ThinkStyle = "off",
    prompts: Mapping[str, Sequence[str]] | None = None,
    coins: Coins | None = None,
    vocab: Vocab | None = None,
    version: Version = "train",
) -> Target | Dropped:
    """What a model learns from a sample.

    Args:
        sample: A row of the data.
        tokenizer: Cuts the text.
        think: The pipeline: `tag` writes thoughts of labels, the other two the sample's think_str.
        prompts: Prompts for each task.
        coins: What chance decided.
        vocab: The id space.
        version: `reference-repro` for what upstream's pipeline of that name makes of it.

    Returns:
        The target, or why the sample is left out.
    """
    coins, vocab, extra = coins or Coins(), vocab or Vocab(), _extra(sample)
    reference, tag = version == "reference-repro", think == "tag"
    if reference and _OTHER_NAMES.search(str(sample.get("txt", ""))):
        return Dropped(Reason.OTHER_NAME)
    task, text = _asked(sample, coins, reference=reference)
    if text is None:
        return Dropped(Reason.NO_LABEL)
    mode = _MODES.get(task, Mode.UNDERSTAND)
    cut = reference_reply_tag if reference else reply_tag
    emotion, text = cut(text, mode, tag=tag)
    unknown_slots = 0
    if task in _THINKING:
        said = extra.get("q_txt", extra.get("question"))
        if not tag:
            if "think_str" not in extra:
                return Dropped(Reason.NO_THOUGHT)
            text = f"{THINK}{extra['think_str']}{THINK_END}{text}"
        elif said is None or not (said or reference):
            return Dropped(Reason.NO_QUESTION)
        elif reference:
            text = reference_thought(str(said), extra, emotion, unknown=coins.unknown) + text
        else:
            thinks = thought(str(said), extra, emotion)
            unknown_slots = thinks.count(UNKNOWN)
            text = thinks + text.removeprefix(emotion)
    final = normalize(text, task)
    ids = tuple(tokenizer.encode(final))
    prompt = _prompt(task, extra, prompts or {}, coins)
    if prompt == "":
        return Dropped(Reason.NO_QUESTION)
    codes: tuple[int, ...] | Reason = ()
    if mode.speaks and not (reference and mode in _SPEECHLESS_UPSTREAM):
        codes = _codes(extra.get("speech_token", sample.get("speech_token")), vocab)
    if isinstance(codes, Reason):
        return Dropped(codes)
    return Target(
        text=final,
        ids=ids if text.endswith(UNKNOWN) else (*ids, vocab.text_end),
        mode=mode,
        task=task,
        prompt=prompt,
        prompt_ids=tuple(tokenizer.encode(prompt)) if prompt else (),
        codes=codes,
        hidden=frozenset() if reference else _hidden(final, ids, unknown_slots),
    )


def _asked(sample: Mapping[str, Any], coins: Coins, *, reference: bool) -> tuple[str, str | None]:
    """The task and the text that is left of the sample's, None where nothing is."""
    task, raw = str(sample.get("task", "<TRANSCRIBE>")), str(sample.get("txt", ""))
    text = raw.replace("\n", " ")
    if not reference:
        raw = text
    # Upstream goes back to the raw text, line breaks and all, wherever it changes something.
    if "<AGE>" in task and _AGES.search(raw):
        raw = text = _AGES.sub("<ADULT>", raw)
    if "<STYLE>" in task:
        raw = text = _TAG.sub(_style, raw)
    task = _ALIASES.get(task, task)
    if task == "<S2TCHAT> <TEXT2TOKEN>" and sample.get("history"):
        task = "<S2TCHAT> <TEXT2TOKEN> <HISTORY>"
    if task == "<TEXT2TOKEN>" and coins.streaming:
        task = "<TEXT2TOKEN> <STREAMING>"
    if not coins.only_label or task not in (*_WITH_A_LABEL, _WITH_A_REPLY):
        return task, text
    answers = task == _WITH_A_REPLY
    task = task.removeprefix("<TRANSCRIBE> ")
    kept = _reply_of(raw) if answers else _label_of(raw, reference=reference)
    if kept is None and reference:
        # Upstream writes this, and a later stage drops it.
        kept = "None_in_extract_answer" if answers else "None_in_extract_X"
    return task, kept


def _style(tag: re.Match[str]) -> str:
    style = label_from_tag(Style, tag[1])
    return tag_of(style) if style else tag[0]


def _codes(found: object, vocab: Vocab) -> tuple[int, ...] | Reason:
    if not isinstance(found, list) or not found:
        return Reason.NO_SPEECH
    try:
        codes = tuple(int(code) for code in found)
    except (TypeError, ValueError):
        return Reason.WRONG_SPEECH
    return codes if 0 <= min(codes) <= max(codes) < vocab.speech_codes else Reason.WRONG_SPEECH


def _extra(sample: Mapping[str, Any]) -> Mapping[str, Any]:
    extra = sample.get("extra")
    if isinstance(extra, str):
        try:
            extra = json.loads(extra)
        except json.JSONDecodeError:
            return {}
    return extra if isinstance(extra, dict) else {}


def _label_of(text: str, *, reference: bool) -> str | None:
    if reference:
        first = re.search(r"<[^>]+>", text)
        return first[0] if first else None
    last = re.search(r"<[^<>]+>\s*$", text)
    return last[0].strip() if last else None


def _reply_of(text: str) -> str | None:
    parts = text.strip().split(START_OF_ANSWER)
    return parts[1] if len(parts) == 2 else None


def _prompt(
    task: str, extra: Mapping[str, Any], prompts: Mapping[str, Sequence[str]], coins: Coins
) -> str | None:
    if "question" in extra:
        return str(extra["question"])
    known = prompts.get(task, ())
    return known[coins.prompt % len(known)] if known else None


def _hidden(text: str, ids: Sequence[int], unknown_slots: int) -> frozenset[int]:
    """Places of the unknown labels: those in a thought's slots, or in the tags at the end."""
    places = [place for place, token in enumerate(ids) if token == UNKNOWN_SLOT]
    if unknown_slots:  # nothing before them can be one: the user's words are escaped
        return frozenset(places[:unknown_slots])
    tags = re.search(r"(?:<[^<>]*>)*$", text)
    unknown = tags[0].count(UNKNOWN) if tags else 0
    return frozenset(places[len(places) - unknown :])
