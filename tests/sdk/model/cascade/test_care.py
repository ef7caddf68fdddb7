from __future__ import annotations

import pytest
from echat_sdk.model.cascade.care import (
    DETECTOR,
    Danger,
    caring_reply,
    danger_in,
    event,
    was_caring,
)

from echat_sdk.plain_words import is_chinese
from echat_sdk.turn import Lang, SafetyEvent

DANGERS = {
    Danger.SELF: [
        "I feel like nobody would notice if I was gone",
        "No one would care if I disappeared.",
        "我觉得我不在了也没人会发现",
        "I want to die.",
        "I don't want to live anymore.",
        "I just wish I was dead.",
        "I'm thinking of ending my life.",
        "They'd be better off without me.",
        "I've been cutting myself again.",
        "There's nothing left to live for.",
        "Life isn't worth living.",
        "What's the point of living?",
        "I want it all to end.",
        "I dont want to be here anymore.",
        "I just wanna, um, die.",
        "I want to um kill myself.",
        "I could take all my pills tonight.",
        "I want to sleep forever.",
        "I wish I'd never been born, I want to kill myself.",
        "我想死。",
        "我真的不想活了。",
        "活着没意思。",
        "我想从楼上跳下去。",
        "死了算了。",
        "我又割腕了。",
        "活着真没意思。",
        "我想一了百了。",
        "站在天台上，真想跳下去。",
        "我吃了一整瓶安眠药。",
        "我攒了好多安眠药。",
        "我想离开这个世界。",
        "我没有活下去的勇气了。",
        "我活够了。",
        "真希望睡着了就别再醒。",
        "我只想解脱。",
        "我把后事都交代好了。",
        "生不如死。",
        "累到想死。",
        "作业多到想死，真的不想活了。",
        "想死这口火锅，可我真的不想活了。",
    ],
    Danger.OTHER: [
        "My friend says she wants to kill herself.",
        "My brother keeps talking about suicide.",
        "I think he wants to die.",
        "我朋友说她想自杀。",
        "我妹妹说不想活了。",
    ],
    Danger.VIOLENCE: ["My husband hits me.", "I was raped.", "我老公打我。", "我被性侵了。"],
    Danger.BODY: [
        "I have chest pain and my arm is numb.",
        "I can't breathe.",
        "He's unconscious on the floor.",
        "My brother is having a stroke.",
        "She just had a heart attack.",
        "I think I had a stroke.",
        "我爸中风了。",
        "我胸口很疼。",
    ],
    Danger.HARM: ["I'm going to kill him.", "我要杀了他。"],
}
NO_DANGER = [
    "No one would notice if I left early.",
    "我的笔没了也没人知道",
    "I'm dying to see that movie!",
    "I'm just killing time.",
    "My feet are killing me.",
    "I died laughing.",
    "You're killing me!",
    "I could kill for a coffee.",
    "That cake is to die for.",
    "I'm dead tired.",
    "My phone is dead.",
    "I cut myself shaving.",
    "I'm scared to death of spiders.",
    "My dog died yesterday.",
    "I'm not suicidal, just sad.",
    "I don't want to die.",
    "I don't want to go on holiday.",
    "I hit a tree.",
    "My grandma can't live alone any more.",
    "I can't live without coffee.",
    "He hit me up for money.",
    "We watched Suicide Squad.",
    "笑死我了。",
    "累死了。",
    "今天热死我了。",
    "气死我了，他又迟到。",
    "我想死你了。",
    "吓死我了！",
    "我的狗死了。",
    "他打我电话了。",
    "我在杀时间。",
    "好吃死了。",
    "我没想死，只是累。",
    "我不想活动，太累了。",
    "外婆上个月离开了这个世界。",
    "想死你了！",
    "我想死你们了。",
    "饿死我了。",
    "忙死了，一口水都没喝。",
    "这价格真是跳楼价。",
    "游泳池水好清，我直接跳下去游了两圈。",
    "我妈要吃安眠药才睡得着。",
    "可爱死了。",
    "手机又死机了。",
    "周末去吃炭烤鱼。",
    "My brother had a stroke.",
    "My brother had a stroke last year.",
    "I had a heart attack two years ago.",
    "想死这口火锅了。",
    "作业多到想死。",
    "热得想死。",
    "我哥去年中风了。",
    "医生让我们准备后事。",
]


def _lang(text: str) -> Lang:
    return "zh" if is_chinese(text) else "en"


@pytest.mark.parametrize(
    ("text", "danger"), [(text, danger) for danger, texts in DANGERS.items() for text in texts]
)
def test_a_danger_is_heard(text: str, danger: Danger) -> None:
    assert danger_in(text, _lang(text)) is danger


@pytest.mark.parametrize("text", NO_DANGER)
def test_a_figure_of_speech_is_no_danger(text: str) -> None:
    assert danger_in(text, _lang(text)) is None


@pytest.mark.parametrize("text", ["I WANT TO DIE!!!", "i... want to die", "I want, to die."])
def test_case_and_punctuation_do_not_hide_it(text: str) -> None:
    assert danger_in(text, "en") is Danger.SELF


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("danger", list(Danger))
def test_every_caring_reply_asks_one_question_and_names_help(danger: Danger, lang: Lang) -> None:
    reply = caring_reply(danger, lang)
    assert len([c for c in reply if c in "?？"]) == 1
    assert ("emergency number" in reply) or ("电话" in reply)
    assert was_caring(reply)
    assert not any(word in reply.lower() for word in ("pill", "knife", "rope", "药", "刀", "楼"))


@pytest.mark.parametrize("danger", Danger)
def test_of_each_danger_there_is_an_event_without_words(danger: Danger) -> None:
    found = event(danger)
    assert found == SafetyEvent(danger.value, found.severity, DETECTOR, "caring reply")
    assert found.severity in ("concern", "risk", "imminent")
