from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from echat_sdk.cues import Emotion
from echat_sdk.errors import CheckpointError, ModelMissingError
from echat_sdk.model.cascade.fusion import fuse
from echat_sdk.model.cascade.heads import TEXT
from echat_sdk.model.cascade.text_emotion import EMOTIONS, TextEmotion, terms


@pytest.fixture(scope="module")
def text_emotion() -> TextEmotion:
    """The head that ships."""
    return TextEmotion(TEXT)


def test_contractions_are_opened_and_negated_words_are_other_words() -> None:
    found = terms("I'm not happy, I can't")
    assert {"i", "am", "not", "!happy", "not happy", "can not"} <= found
    assert "happy" not in found
    assert terms("I’m not happy, I can not") == found


@pytest.mark.parametrize(
    ("words", "label"),
    [
        ("I got the job!", "happy"),
        ("We're having a baby.", "happy"),
        ("My dog died yesterday.", "sad"),
        ("They fired me this morning.", "sad"),
        ("Nobody called me on my birthday.", "sad"),
        ("I failed the exam again.", "sad"),
        ("She left me.", "sad"),
        ("Somebody is in my house!", "fear"),
        ("I'm so angry at him, he lied to me again.", "anger"),
        ("That is disgusting.", "disgust"),
        ("Oh wow, I did not expect that.", "surprise"),
        ("Kids are talking by the door.", "neutral"),
        ("Dogs are sitting by the door.", "neutral"),
        ("What time does the train leave?", "neutral"),
    ],
)
def test_the_shipped_head_reads_what_people_say(
    text_emotion: TextEmotion, words: str, label: str
) -> None:
    found = text_emotion(words, "en")
    assert EMOTIONS[found.argmax()] == label


@pytest.mark.parametrize(
    ("words", "label"),
    [
        ("我的狗昨天死了。", "sad"),
        ("我找到工作了！", "happy"),
        ("没有人给我打电话。", "sad"),
        ("他又骗了我，气死我了。", "anger"),
        ("我家里有人，我好怕。", "fear"),
        ("天哪，真没想到！", "surprise"),
        ("这个味道好恶心。", "disgust"),
        ("今天星期三。", "neutral"),
        ("我不开心。", "sad"),
        ("我不生气。", "neutral"),
    ],
)
def test_chinese_words_are_read_by_the_lexicon(
    text_emotion: TextEmotion, words: str, label: str
) -> None:
    found = text_emotion(words, "zh")
    assert EMOTIONS[found.argmax()] == label
    assert found.max() < 0.9  # a list is never sure


@given(words=st.text(max_size=80), zh=st.booleans())
@settings(max_examples=80, deadline=None)
def test_any_text_gives_a_distribution(words: str, zh: bool) -> None:
    found = _SHIPPED(words, "zh" if zh else "en")
    assert found.shape == (8,)
    assert found.sum() == pytest.approx(1.0, abs=1e-4)


_SHIPPED = TextEmotion(TEXT)


def test_words_that_nobody_knows_are_neutral(text_emotion: TextEmotion) -> None:
    for words in ("", "   ", "🙂", "xyzzyq plughq"):
        assert EMOTIONS[text_emotion(words, "en").argmax()] == "neutral"


def test_a_megabyte_of_words_is_cut_and_fast(text_emotion: TextEmotion) -> None:
    assert text_emotion("sad " * 250_000, "en").sum() == pytest.approx(1.0, abs=1e-4)


def test_a_damaged_head_is_a_checkpoint_error(tmp_path: Path) -> None:
    damaged, other = tmp_path / "damaged.safetensors", tmp_path / "other.safetensors"
    damaged.write_bytes(TEXT.read_bytes()[:1000])
    save_file({"keys": np.zeros(3, np.uint32), "weight": np.zeros((2, 8), np.int8)}, other)
    for path in (damaged, other):
        with pytest.raises(CheckpointError, match=path.name):
            TextEmotion(path)
    with pytest.raises(ModelMissingError):
        TextEmotion(tmp_path / "none.safetensors")


def test_everyday_words_do_not_vote_against_a_voice(text_emotion: TextEmotion) -> None:
    voice = np.full(8, 0.1, np.float32)
    voice[EMOTIONS.index(Emotion.ANGER)] = 0.3
    everyday = (
        "Kids are talking by the door.",
        "Dogs are sitting by the door.",
        "The letter came on Thursday.",
        "He put the plates back into the cupboard.",
        "You can park behind the library.",
    )
    for words in everyday:
        assert EMOTIONS[fuse(voice, text_emotion(words, "en")).argmax()] == "anger"


ZH_SENTENCES = {
    "sad": [
        "我的小狗昨天死了,我心里特别难过。",
        "我奶奶上个月走了，我天天想她。",
        "他不要我了。",
        "辛苦半年，最后还是落选了。",
        "我一个人在外地过年，真冷清。",
        "听到那首歌，我眼泪就下来了。",
        "儿子一年都没回家看我了。",
        "我覺得很難過，一直在哭。",
    ],
    "happy": [
        "我考上研究生了！",
        "今天是我们结婚十周年，特别幸福。",
        "女儿会走路了，我好激动！",
        "老板给我涨工资了。",
        "终于放假了，太爽了！",
        "我们队拿了冠军。",
        "医生说我完全好了，太好了。",
        "收到你的礼物，我特别开心。",
    ],
    "anger": [
        "他凭什么插队！",
        "我受够了，天天加班不给钱。",
        "室友又偷用我的东西，气死我了。",
        "这个骗子把我的钱卷走了。",
        "你别太过分了！",
        "老板当着大家的面骂我，真可恶。",
        "楼上又在装修，烦死了。",
        "他居然还怪我，简直不讲理！",
    ],
    "fear": [
        "我一个人在家，门外好像有人，好害怕。",
        "明天要做手术，我很紧张。",
        "孩子不见了，我该怎么办！",
        "后面有个人一直跟着我。",
        "刚才地震了，我腿都软了。",
        "我特别担心检查结果。",
        "半夜听见有人撬门，吓死我了。",
        "飞机颠得厉害，我手心全是汗，好怕。",
    ],
    "surprise": [
        "天哪，你怎么来了！",
        "真没想到会在这里碰到你。",
        "什么？他们居然结婚了！",
        "不会吧，这也太巧了！",
        "哇，这真的是我画的吗，不敢相信！",
        "我竟然中签了，真的假的？",
        "太意外了，他突然就回来了。",
        "我简直惊呆了。",
    ],
    "disgust": [
        "厨房里爬出一只蟑螂，好恶心。",
        "这牛奶都馊了，我想吐。",
        "他身上那股味道真难闻。",
        "菜里吃出一条虫子，太倒胃口了。",
        "厕所脏得下不去脚。",
        "那个人在地铁上吐痰，真恶心。",
        "剩饭长毛了，臭死了。",
        "他看人的眼神好猥琐。",
    ],
    "other": [
        "今天好无聊啊。",
        "刚才叫错人了，好尴尬。",
        "我有点羡慕她。",
        "我也说不清，心里很复杂。",
        "我很纠结要不要去。",
        "最近挺迷茫的。",
        "想起那件事，我还是很内疚。",
        "当众摔了一跤，真丢脸。",
    ],
    "neutral": [
        "今天星期三。",
        "我住在北京。",
        "晚饭吃的面条。",
        "明天八点开会。",
        "我先去洗个澡。",
        "你喜欢吃什么？",
        "这趟车到火车站吗？",
        "帮我把窗户关上。",
        "我在超市买了牛奶。",
        "他是我高中同学。",
        "突然下雨了。",
        "你哭什么呀？",
        "我爸在银行上班。",
        "周末我去了图书馆。",
        "现在几点了？",
        "这本书讲的是历史。",
        "我下个月去上海出差。",
        "不用担心，已经到了。",
        "我不生气。",
        "我没有难过。",
        "快递放在门口就行。",
        "旅行社在三楼。",
        "他每天六点起床。",
        "手机放在桌子上。",
    ],
}


def test_the_chinese_lexicon_reads_eighty_short_sentences(text_emotion: TextEmotion) -> None:
    read = [
        (label, EMOTIONS[text_emotion(words, "zh").argmax()])
        for label, sentences in ZH_SENTENCES.items()
        for words in sentences
    ]
    neutral = [found for label, found in read if label == "neutral"]
    accuracy = sum(label == found for label, found in read) / len(read)
    false_alarms = sum(found != "neutral" for found in neutral) / len(neutral)
    assert accuracy >= 0.8, f"accuracy {accuracy:.2f} of {len(read)}"
    assert false_alarms <= 0.1, f"false alarms {false_alarms:.2f} of {len(neutral)}"


@pytest.mark.parametrize(
    "words",
    [
        "我的小狗昨天死了，我心里特别难过。",
        "我的小狗昨天死了,我心裡特別難過",
        "我心里难受极了",
    ],
)
def test_sad_chinese_words_are_heard_through_a_flat_voice(
    text_emotion: TextEmotion, words: str
) -> None:
    voice = np.full(8, 0.03 / 7, np.float32)
    voice[EMOTIONS.index(Emotion.NEUTRAL)] = 0.97
    assert EMOTIONS[fuse(voice, text_emotion(words, "zh")).argmax()] == "sad"


@pytest.mark.parametrize("words", ["今天累死了。", "别难过。", "我不怕。", "你喜欢喝茶吗？"])
def test_a_chinese_phrase_that_only_holds_a_feeling_word_is_neutral(
    text_emotion: TextEmotion, words: str
) -> None:
    assert EMOTIONS[text_emotion(words, "zh").argmax()] == "neutral"
