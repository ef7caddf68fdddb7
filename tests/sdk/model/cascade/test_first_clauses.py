"""Speech starts once the first clause is synthesised: no Chinese answer begins with a long one."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from echat_sdk.model.cascade.bank import fill, lines, situations
from echat_sdk.model.cascade.clauses import ClauseSplitter
from echat_sdk.model.cascade.prompt import fact_head
from echat_sdk.safety.caring import caring_reply
from echat_sdk.safety.danger import Category, Danger, Level

MOST = 10  # Chinese characters of a first clause
SLOTS = {"pet": "小狗", "family": "妈妈", "person": "男朋友", "thing": "手机", "what": "上班",
         "who": "他", "name": "王小明", "about": "丢了工作", "reply": "我在听。",
         "echo": "你把花园卖了"}  # fmt: skip


def every_line() -> Iterator[str]:
    for situation in situations("zh"):
        for texts in situation.answers.values():
            yield from texts
    for moods in lines("zh").values():
        for texts in moods.values():
            yield from texts
    yield from (caring_reply(Danger(c, level), "zh") for c in Category for level in Level)
    yield from (message.text for message in fact_head("zh") if message.role == "assistant")


def first_clause(text: str) -> str:
    splitter = ClauseSplitter("zh", brisk=True)
    return (splitter.push(text) + splitter.flush())[0]


def characters(text: str) -> int:
    return len(re.findall(r"[\u4e00-\u9fff]|[A-Za-z0-9]+", text))


@pytest.mark.parametrize(
    ("text", "count"), [("慢慢说，我听着。", 3), ("哈，快讲讲。", 4), ("这么突然……你还好吗？", 8)]
)
def test_a_first_clause_is_counted_as_it_is_spoken(text: str, count: int) -> None:
    assert characters(first_clause(text)) == count


def test_no_chinese_answer_starts_with_a_long_clause() -> None:
    written = [line for line in every_line() if not line.lower().startswith("{echo}")]
    long = [line for line in written if characters(first_clause(fill(line, SLOTS, "zh"))) > MOST]
    assert len(written) > 2500
    assert long == []
