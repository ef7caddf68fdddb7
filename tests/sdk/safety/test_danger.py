from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echat_sdk.safety.danger import DETECTOR, Category, Danger, Level, canonical, detect, event
from echat_sdk.turn import SafetyEvent

DANGERS = {
    Category.SELF: [
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
    Category.OTHER: [
        "My friend says she wants to kill herself.",
        "My brother keeps talking about suicide.",
        "I think he wants to die.",
        "我朋友说她想自杀。",
        "我妹妹说不想活了。",
    ],
    Category.VIOLENCE: ["My husband hits me.", "I was raped.", "我老公打我。", "我被性侵了。"],
    Category.BODY: [
        "I have chest pain and my arm is numb.",
        "I can't breathe.",
        "He's unconscious on the floor.",
        "My brother is having a stroke.",
        "She just had a heart attack.",
        "I think I had a stroke.",
        "我爸中风了。",
        "我胸口很疼。",
    ],
    Category.HARM: ["I'm going to kill him.", "我要杀了他。"],
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
    "I have my tablets ready for the day.",
    "We're sitting on the roof watching the fireworks.",
    "How much ibuprofen is too much for a child?",
    "The rope I tied to the boat came loose.",
    "I'll be gone by noon, I have a meeting.",
    "My dad hit his head on the shelf.",
    "My husband beat me at chess again.",
    "I'm going to shoot the new video tomorrow.",
    "I'm tired of everything being so expensive.",
    "I can't take it any more, the neighbours are so loud.",
    "We said goodbye to everyone at the airport.",
    "My teacher told us not to tell anyone about the party.",
    "How long does it take to bleed the brakes?",
    "孩子打疫苗了。",
    "老师打了个电话给孩子。",
    "我想结束这段感情。",
    "我要跳槽了。",
    "我妈让我别告诉爸爸，要给他惊喜。",
    "我的电脑没反应了。",
    "我女儿说她不想活在我的阴影下。",
    "感冒药一次吃几片？",
    "医生让我们准备后事。",
]


LEVELS = {
    "I won't be a burden much longer.": Level.CONCERN,
    "没有我大家会更好。": Level.CONCERN,
    "I want to die.": Level.RISK,
    "我不想活了。": Level.RISK,
    "I'm standing on the bridge and I want to jump.": Level.IMMINENT,
    "我刚刚把一整瓶药都吃了。": Level.IMMINENT,
}
HOSTILE = st.lists(
    st.sampled_from(
        ["i", "i am", "my friend", "she", "not", "never", "want to", "the", "nobody would", "it",
         "how many", "a" * 40, "of", "die", "kill", "burden", "without me", "he will", "film",
         "when i", "我", "他", "想", "没有", "孩子", "吃", "不", "死", "妈妈", "，", "的", "…", "'"]
    ),
    min_size=1,
    max_size=12,
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "category"),
    [(text, category) for category, texts in DANGERS.items() for text in texts],
)
def test_a_danger_is_heard(text: str, category: Category) -> None:
    found = detect(text)
    assert found is not None
    assert found.category is category


@pytest.mark.parametrize("text", NO_DANGER)
def test_a_figure_of_speech_is_no_danger(text: str) -> None:
    assert detect(text) is None


@pytest.mark.parametrize("text", ["I WANT TO DIE!!!", "i... want to die", "I want, to die."])
def test_case_and_punctuation_do_not_hide_it(text: str) -> None:
    assert detect(text) == Danger(Category.SELF, Level.RISK)


@pytest.mark.parametrize(("text", "level"), LEVELS.items())
def test_what_is_hinted_at_said_or_about_to_happen_has_its_level(text: str, level: Level) -> None:
    found = detect(text)
    assert found is not None
    assert found.level is level


def test_the_highest_level_counts_whatever_comes_first() -> None:
    found = detect("I'm a burden to everyone, and I took all of my sleeping tablets.")
    assert found == Danger(Category.SELF, Level.IMMINENT)


@pytest.mark.parametrize(
    "text",
    ["Today was fine, 可是我不想活了。", "我今天还好 but I want to die", "I ｗａｎｔ ｔｏ ｄｉｅ"],
)
def test_words_of_the_other_language_are_looked_at(text: str) -> None:
    assert detect(text) is not None


def test_what_a_film_tells_ends_where_the_speaker_comes_in() -> None:
    assert detect("We watched a film about a man who wants to kill himself.") is None
    assert detect("We watched a film about a man, and now I want to kill myself.") is not None


def test_contractions_are_one_form() -> None:
    assert canonical("I'm sure it won't, he's out; can't.", "en") == (
        "i am sure it will not he is out can not"
    )


@pytest.mark.parametrize("category", Category)
def test_of_each_danger_there_is_an_event_without_words(category: Category) -> None:
    for level in Level:
        found = event(Danger(category, level))
        assert found == SafetyEvent(category.value, level.value, DETECTOR, "caring reply")


@given(st.text())
def test_any_text_at_all_is_looked_at(text: str) -> None:
    detect(text)


@settings(deadline=None, max_examples=40)
@given(HOSTILE)
def test_no_text_however_made_takes_long(pieces: list[str]) -> None:
    piece = " ".join(pieces)
    text = (f"{piece} " * (10_000 // (len(piece) + 1) + 1))[:10_000]
    detect("")
    assert _fastest(text) < 0.05


@pytest.mark.parametrize(
    "text",
    [
        "well you know today i was at the office and then my boss came and said that the report was"
        " fine but i should change the second page before the meeting tomorrow morning",
        "今天我去公司的时候老板过来跟我说报告写得不错但是第二页要改一下明天早上开会之前要给他",
    ],
)
def test_an_utterance_takes_less_than_a_millisecond(text: str) -> None:
    assert _fastest(text, times=50) < 0.001


def _fastest(text: str, times: int = 3) -> float:
    """Seconds of the fastest run: of a busy machine the others tell."""
    seconds = []
    for _ in range(times):
        start = time.thread_time()
        detect(text)
        seconds.append(time.thread_time() - start)
    return min(seconds)
