from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.cues import Cue, Cues, Emotion, ReplyEmotion, VocalEvent
from echat_sdk.model.cascade import bank, strategy
from echat_sdk.model.cascade.checks import Reply, faults
from echat_sdk.model.cascade.moment import HARD, KINDS, UNREAD
from echat_sdk.model.cascade.strategy import Mood
from echat_sdk.model.cascade.words import valence
from echat_sdk.turn import Heard, Lang, Recollection


def cues(emotion: str = "", event: str = "") -> Cues:
    return Cues(
        emotion=Cue(emotion, 0.9) if emotion else Cue(), events=Cue(event, 0.9) if event else Cue()
    )


def heard(text: str, emotion: str = "", event: str = "", lang: Lang = "en") -> Heard:
    return Heard(text, lang, cues(emotion, event))


def answers(text: str, emotion: str = "", event: str = "", before: str = "") -> list[str]:
    match = bank.find(text, "en")
    assert match is not None
    moment = strategy.moment_of(match, heard(text, emotion, event), before)
    return strategy.answers(match, moment, "en")


@pytest.mark.parametrize(
    ("emotion", "event", "mood"),
    [
        (Emotion.SAD, "", Mood.LOW),
        (Emotion.HAPPY, VocalEvent.CRY, Mood.LOW),
        (Emotion.NEUTRAL, VocalEvent.LAUGH, Mood.UP),
        (Emotion.ANGER, VocalEvent.LAUGH, Mood.HOT),
        (Emotion.NEUTRAL, VocalEvent.SIGH, Mood.LOW),
        (Emotion.OTHER, "", Mood.PLAIN),
        ("", "", Mood.PLAIN),
        ("", VocalEvent.SCREAM, Mood.AFRAID),
    ],
)
def test_the_mood_comes_from_label_and_event(emotion: str, event: str, mood: Mood) -> None:
    assert strategy.mood_of(cues(emotion, event)) is mood


@pytest.mark.parametrize("emotion", list(Emotion))
@pytest.mark.parametrize("text", ["I got the job.", "My dog died.", "I made soup.", "How are you?"])
def test_every_voice_has_an_answer_to_every_kind_of_moment(text: str, emotion: Emotion) -> None:
    assert all(answers(text, emotion))


@pytest.mark.parametrize(
    "text", ["I got the job.", "My cat died.", "I have an exam tomorrow.", "I made soup."]
)
def test_the_same_words_in_another_voice_get_other_answers(text: str) -> None:
    voices = ("sad", "anger", "fear", "happy", "neutral")
    said = [frozenset(answers(text, voice)) for voice in voices]
    assert all(not a & b for i, a in enumerate(said) for b in said[i + 1 :])


def test_bad_news_told_laughing_is_taken_up_with_a_hedge() -> None:
    (first, *_) = answers("I sold my piano, I had to sell my piano.", "happy")
    assert "sound" in first
    assert all("laugh" in a for a in answers("They fired everyone, my bike was stolen.", "happy"))


def test_a_reply_to_loss_is_spoken_softly_and_to_joy_gladly() -> None:
    assert strategy.Moment("loss", Mood.LOW).reply_emotion is ReplyEmotion.SAD
    assert strategy.Moment("good", Mood.UP).reply_emotion is ReplyEmotion.HAPPY
    assert strategy.Moment("good", Mood.LOW).reply_emotion is ReplyEmotion.COMFORTING
    assert strategy.Moment("talk", Mood.PLAIN).reply_emotion is ReplyEmotion.NEUTRAL


@pytest.mark.parametrize("kind", ["loss", "bad", "wrong", "threat", "good", "talk", "bye"])
@pytest.mark.parametrize("mood", list(Mood))
def test_no_answer_is_spoken_in_anger(kind: str, mood: Mood) -> None:
    assert strategy.Moment(kind, mood).reply_emotion not in (
        ReplyEmotion.ANGRY,
        ReplyEmotion.AFRAID,
    )


def test_what_follows_a_loss_is_answered_as_one() -> None:
    assert answers("It was yesterday.", "sad", before="loss") != answers(
        "It was yesterday.", "happy", before="good"
    )


def test_a_bare_yes_after_bad_news_is_answered_gently() -> None:
    assert answers("Yes.", before="bad") == answers("Yes.", "sad")
    assert answers("Yes.", before="good") == answers("Yes.", "neutral")


def test_what_was_said_lately_comes_last() -> None:
    candidates = ["First one. How?", "Second one. Why?"]
    for words in ("a", "b", "c"):
        assert strategy.choose(candidates, words, ["First one. How?"])[-1] == "First one. How?"


def test_the_words_choose_and_choose_the_same_again() -> None:
    candidates = [f"{n} is one." for n in "abcdefgh"]
    first = [strategy.choose(candidates, words, [])[0] for words in ("one", "two", "three", "four")]
    assert len(set(first)) > 1
    assert first[0] == strategy.choose(candidates, "one", [])[0]


@pytest.mark.parametrize(
    ("text", "lang", "expected"),
    [
        ("My plants are finally blooming.", "en", 1),
        ("I lost everything.", "en", -1),
        ("I don't love it.", "en", 0),
        ("I bought a chair.", "en", 0),
        ("我终于学会了。", "zh", 1),
        ("钥匙丢了。", "zh", -1),
    ],
)
def test_plain_words_are_glad_or_bad(text: str, lang: Lang, expected: int) -> None:
    assert valence(text, lang) == expected


def shares(**known: float) -> dict[str, float]:
    rest = (1 - sum(known.values())) / (len(KINDS) - len(known))
    return {kind: known.get(kind, rest) for kind in KINDS}


@pytest.mark.parametrize(
    ("read", "mood", "value", "expected"),
    [
        (shares(talk=0.9), Mood.PLAIN, 0, "talk"),
        (shares(good=0.8), Mood.PLAIN, 0, "good"),
        (shares(loss=0.8), Mood.PLAIN, 0, "loss"),
        (shares(loss=0.4, bad=0.3), Mood.PLAIN, 0, "bad"),
        (shares(loss=0.3, bad=0.3, wrong=0.3), Mood.PLAIN, 0, "bad"),
        (shares(good=0.5, talk=0.4), Mood.PLAIN, 0, "talk"),
        (shares(good=0.5, talk=0.4), Mood.UP, 0, "good"),
        (shares(good=0.5, talk=0.4), Mood.PLAIN, 1, "good"),
        (shares(bad=0.45, talk=0.5), Mood.LOW, 0, "bad"),
        (shares(bad=0.6, talk=0.3), Mood.UP, 0, "talk"),
        (shares(wrong=0.3, bad=0.3, talk=0.3), Mood.HOT, 0, "wrong"),
        (UNREAD, Mood.PLAIN, 0, "talk"),
        (UNREAD, Mood.PLAIN, -1, "bad"),
        (UNREAD, Mood.UP, 0, "good"),
        (UNREAD, Mood.LOW, 0, "talk"),
    ],
)
def test_voice_and_words_weigh_what_was_read_and_only_what_is_sure_counts(
    read: dict[str, float], mood: Mood, value: int, expected: str
) -> None:
    assert strategy.tune(read, mood, value) == expected


@given(
    st.lists(st.floats(0.01, 1), min_size=len(KINDS), max_size=len(KINDS)), st.sampled_from(Mood)
)
def test_a_glad_voice_never_makes_a_moment_harder_nor_a_low_one_gladder(
    weights: list[float], mood: Mood
) -> None:
    read = {kind: weight / sum(weights) for kind, weight in zip(KINDS, weights, strict=True)}
    if strategy.tune(read, Mood.PLAIN, 0) not in HARD:
        assert strategy.tune(read, Mood.UP, 0) not in HARD
    if strategy.tune(read, Mood.PLAIN, 0) != "good":
        assert strategy.tune(read, Mood.LOW, 0) != "good"
    assert strategy.tune(read, mood, 0) in KINDS


def test_a_reading_rules_a_situation_out_only_where_the_voice_speaks_against_it() -> None:
    assert strategy.is_doubtful("bad", Mood.UP)
    assert strategy.is_doubtful("good", Mood.LOW)
    assert not strategy.is_doubtful("good", Mood.UP)
    assert not strategy.is_doubtful("talk", Mood.LOW)
    assert not strategy.fits("bad", shares(good=0.8), Mood.UP)
    assert strategy.fits("bad", shares(bad=0.8), Mood.UP)
    assert strategy.fits("good", shares(good=0.9), Mood.LOW)


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mood", list(Mood))
def test_every_open_answer_passes_the_checks(lang: Lang, kind: str, mood: Mood) -> None:
    text = "I polished the medals." if lang == "en" else "我在擦勋章。"
    moment, texts = strategy.open_answers(heard(text, lang=lang), kind, mood)
    assert texts
    assert moment.mood is mood
    for reply in texts:
        assert faults(Reply(reply, lang, heard=text)) == []
        assert reply.count("?") + reply.count("？") <= 2


def test_an_open_answer_uses_the_persons_words_in_the_right_person() -> None:
    _, texts = strategy.open_answers(heard("My tent blew into the lake."), "bad", Mood.LOW)
    assert any("your tent blew into the lake" in text.lower() for text in texts)
    _, texts = strategy.open_answers(heard("我在擦勋章。", lang="zh"), "talk", Mood.PLAIN)
    assert any("你在擦勋章" in text for text in texts)


@pytest.mark.parametrize(
    ("text", "fact", "question"),
    [
        ("Who wrote Hamlet?", True, True),
        ("What is my name?", False, True),
        ("Do you like me?", False, True),
        ("I like it here.", False, False),
    ],
)
def test_questions_about_the_world_are_told_from_others(
    text: str, fact: bool, question: bool
) -> None:
    assert strategy.is_fact_question(text, "en") is fact
    assert strategy.is_question(text, "en") is question


def test_a_name_that_memory_knows_takes_the_place_of_the_noun() -> None:
    memory = Recollection(facts=("their dog is called Rex", "their cat is called Tom"))
    reply = "Oh no, your dog. What was your dog like?"
    assert strategy.name_it(reply, "My dog died.", memory, "en") == (
        "Oh no, Rex. What was Rex like?"
    )
    assert strategy.name_it(reply, "A dog barked.", memory, "en") == reply
    zh = Recollection(facts=("用户的狗叫旺财",))
    assert strategy.name_it("你家狗不见了？", "我的狗丢了", zh, "zh") == "旺财不见了？"
