from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.cues import Cues, ReplyEmotion
from echat_sdk.model.cascade.reflect_zh import LONGEST, reflect
from echat_sdk.turn import Turn


@pytest.mark.parametrize(
    ("said", "given_back"),
    [
        ("我弟弟忘了我的生日。", "你弟弟忘了你的生日"),
        ("我妈又把我跟表姐比", "你妈妈又把你跟表姐比"),
        ("我爸妈不让我去", "你爸妈不让你去"),
        ("我妹用我的名字贷了款", "你妹妹用你的名字贷了款"),
        ("我姐夫不让我进门", "你姐夫不让你进门"),
        ("同事都去聚餐,没人叫我", "同事都去聚餐，没人叫你"),
        ("其实我们班只有我没被选上啊", "你们班只有你没被选上"),
        ("我怀孕了，可是我还没准备好", "你怀孕了，可是你还没准备好"),
        ("我媽忘了我的生日", "你妈妈忘了你的生日"),
        ("我十八岁了，今天", "你十八岁了"),
    ],
)
def test_a_short_account_is_given_back_in_the_second_person(said: str, given_back: str) -> None:
    assert reflect(said) == given_back


@pytest.mark.parametrize(
    "said",
    [
        "你根本不懂我",
        "我该怎么办呢",
        "他为什么不理我",
        "帮我写一封信",
        "我觉得没有人需要我",
        "我又胖又丑",
        "没有人爱我",
        "我对不起我爸",
        "我妈的，气死我了",
        "<think>我很开心</think>",
        "我考了3次",
        "我累了",
        "我在这个城市里一个人住了很多很多年也没有交到一个朋友",
        "",
    ],
)
def test_what_is_no_plain_account_or_hurts_when_heard_is_not_given_back(said: str) -> None:
    assert reflect(said) == ""


def test_no_two_answers_in_a_row_give_the_words_back() -> None:
    before = Turn(
        transcript="我妈又把我跟表姐比",
        lang="zh",
        cues=Cues(),
        reply="你妈妈又把你跟表姐比，这滋味不好受吧。",
        reply_emotion=ReplyEmotion.COMFORTING,
    )
    assert reflect("我爸也不替我说话", before) == ""
    assert reflect("我爸也不替我说话") == "你爸爸也不替你说话"


@given(st.text(max_size=60))
def test_whatever_was_said_only_short_words_about_you_come_back(text: str) -> None:
    turned = reflect(text)
    assert not set("我咱俺<>") & set(turned)
    assert len(turned) <= LONGEST + 1
