from __future__ import annotations

import re
from typing import Any, cast

import pytest

from echat_sdk.cues import Cue, Cues
from echat_sdk.model.cascade.bank import find, lines, situations
from echat_sdk.model.cascade.checks import Reply, faults
from echat_sdk.model.cascade.generator import Completion, TextGenerator
from echat_sdk.model.cascade.thinker import Thinker
from echat_sdk.turn import Heard, Recollection, TextDelta

LONGEST = 60  # Chinese characters that somebody listens to


class Silent:
    """A generator that reads nothing, so that only written lines answer."""

    vocabulary_size = 1

    def complete(self, messages: Any, **_: Any) -> list[Completion]:
        return [Completion("", 0.0)]


def say(text: str, emotion: str = "") -> str:
    heard = Heard(text, "zh", Cues(emotion=Cue(emotion, 0.9) if emotion else Cue()))
    thinker = Thinker(cast(TextGenerator, Silent()))
    deltas = thinker.reply(heard, Recollection(), think="off")
    return "".join(d.text for d in deltas if isinstance(d, TextDelta))


# What was said, how, the situation that must be found, and what may not be in the answer.
SPOKEN = [
    ("孩子第一次叫我爸爸!", "happy", "child-calls", "旁边吗"),
    ("我养的花全枯了", "sad", "plant-died", "堵在心里|开了"),
    ("老板说我这个方案做得好", "happy", "praised", "刺|气"),
    ("我辛苦做了一个月的方案被否了", "sad", "work-rejected", "饭|香"),
    ("我朋友结婚没请我", "sad", "left-out", "喜|恭喜"),
    ("我老公又忘了我们的结婚纪念日", "anger", "forgot-birthday", "好消息|喜事"),
    ("我最好的朋友要结婚了", "happy", "friend-wedding", "求婚|心跳"),
    ("欠了三年的钱,今天终于还清了", "happy", "debt-free", "苦中作乐|最急"),
    ("检查结果出来了,没什么大事", "happy", "all-clear", "最怕|从哪儿听来"),
    ("我爸最近老忘事,刚说的话就忘了", "fear", "elder-health", "看着它"),
    ("第一次一个人坐飞机,心里没底", "fear", "first-time", "动静"),
    ("下雨天窝在家里看电影真舒服", "happy", "cosy", "哪一站|外面"),
    ("今天跟我妈打电话,她说她血压又高了", "sad", "elder-health", "说了什么"),
    ("我钓到一条五斤的鱼", "happy", "caught-fish", "小家伙"),
    ("孩子在学校被人欺负了,不肯告诉我", "sad", "child-bullied", "屋檐"),
    ("今天没什么事,就在家待着", "", "at-home", "说不准"),
    ("股票又亏了两万", "anger", "invest-loss", "不知道"),
    ("我爸走了快一年了,昨天我梦到他", "sad", "dream-gone", "这么多年"),
    ("明天是我们结婚三十周年", "happy", "long-marriage", "定下来"),
    ("我相亲又被拒绝了", "sad", "turned-down", "成绩"),
    ("今天女儿跟我说妈妈我爱你", "happy", "words-waited", "被夸"),
    ("我有一个朋友得了癌症", "sad", "someone-sick", "喜事"),
    ("捷运上有人一直咳嗽还不戴口罩", "disgust", "public-manners", "热水"),
    ("我今天做了个手术,割阑尾", "", "own-surgery", "梦"),
    ("我还得去喝喜酒", "", "feast", "胃口"),
]


@pytest.mark.parametrize(("text", "emotion", "name", "never"), SPOKEN)
def test_what_people_say_is_answered_for_what_it_is(
    text: str, emotion: str, name: str, never: str
) -> None:
    match = find(text, "zh")
    assert match is not None
    assert match.situation.name == name
    assert not re.search(never, say(text, emotion))


def test_the_same_words_are_answered_by_the_voice() -> None:
    voices = ("happy", "sad", "anger", "fear", "surprise")
    assert len({say("我最好的朋友要结婚了", voice) for voice in voices}) == len(voices)


@pytest.mark.parametrize("emotion", ["", "happy", "sad", "anger", "fear", "surprise", "disgust"])
def test_what_fits_no_situation_is_answered_and_never_in_the_first_person(emotion: str) -> None:
    text = "那只箱子我又挪回去了,挪了好几趟"
    assert find(text, "zh") is None
    reply = say(text, emotion)
    assert reply
    assert "箱子我" not in reply


@pytest.mark.parametrize("text", ["我外婆不记得我是谁了", "我喜欢吃火锅", "没人记得我的生日"])
def test_a_statement_is_no_question_to_memory(text: str) -> None:
    assert "还没告诉过我" not in say(text, "sad")


def test_no_written_chinese_answer_is_long_or_asks_twice() -> None:
    written = [t for s in situations("zh") for texts in s.answers.values() for t in texts]
    written += [t for moods in lines("zh").values() for texts in moods.values() for t in texts]
    slots = re.compile(r"\{\w+\}")
    long = [t for t in written if len(re.findall("[㐀-鿿]", slots.sub("妈妈", t))) > LONGEST]
    assert long == []
    assert [t for t in written if t.count("？") > 2] == []


@pytest.mark.parametrize(("text", "emotion"), [row[:2] for row in SPOKEN])
def test_every_answer_passes_the_checks(text: str, emotion: str) -> None:
    assert faults(Reply(say(text, emotion), "zh", heard=text)) == []


@pytest.mark.parametrize("text", ["晚安。", "那我先走了,再见", "谢谢你陪我聊天"])
def test_a_goodbye_holds_nobody_back(text: str) -> None:
    assert "？" not in say(text, "sad")
