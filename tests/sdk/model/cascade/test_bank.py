from __future__ import annotations

from collections.abc import Iterator

import pytest

from echat_sdk.model.cascade.bank import Situation, fill, find, lines, situations
from echat_sdk.model.cascade.checks import Reply, faults
from echat_sdk.turn import Lang

LANGS: list[Lang] = ["en", "zh"]
SLOTS = {
    "en": {"pet": "dog", "family": "mother", "person": "boss", "thing": "ring", "name": "Bo",
           "about": "that day", "topic": "your garden", "echo": "you sold your garden"},
    "zh": {"pet": "狗", "family": "妈妈", "person": "老板", "thing": "戒指", "name": "小林",
           "about": "这件事", "topic": "你的花园", "echo": "你把花园卖了"},
}  # fmt: skip


def every_situation() -> Iterator[Situation]:
    for lang in LANGS:
        yield from situations(lang)


def every_line() -> Iterator[tuple[str, Lang, str]]:
    for situation in every_situation():
        for texts in situation.answers.values():
            for text in texts:
                yield situation.name, situation.lang, text
    for lang in LANGS:
        for name, moods in lines(lang).items():
            if name not in ("lead", "tail"):
                yield from ((name, lang, text) for texts in moods.values() for text in texts)


def test_every_situation_is_found_by_what_it_says() -> None:
    lost = [
        (situation.name, said)
        for situation in every_situation()
        for said in situation.says
        if (match := find(said, situation.lang, follows=situation.kind == "follow")) is None
        or match.situation is not situation
    ]
    assert lost == []


def test_every_written_answer_passes_the_checks() -> None:
    bad = [
        (name, fault, text)
        for name, lang, text in every_line()
        for fault in faults(Reply(fill(text, SLOTS[lang], lang), lang))
        # A doctor or a lawyer is named where one is needed; that is not the agent's own advice.
    ]
    assert bad == []


def test_every_slot_in_an_answer_is_known() -> None:
    unfilled = [
        (name, text)
        for name, lang, text in every_line()
        if "{" in fill(text, SLOTS[lang], lang) or "  " in fill(text, SLOTS[lang], lang)
    ]
    assert unfilled == []


@pytest.mark.parametrize("lang", LANGS)
def test_no_two_situations_share_a_name_and_no_answer_is_written_twice(lang: Lang) -> None:
    names = [s.name for s in situations(lang)]
    assert len(names) == len(set(names))
    said = [t for s in situations(lang) for texts in s.answers.values() for t in texts]
    assert len(set(said)) / len(said) > 0.97


def test_a_farewell_is_answered_without_a_question() -> None:
    hooks = [
        text
        for situation in every_situation()
        if situation.kind == "bye"
        for texts in situation.answers.values()
        for text in texts
        if "?" in text or "？" in text
    ]
    assert hooks == []


def test_pronouns_follow_the_person() -> None:
    template = "Your {family}. What was {he} like? Tell me about {him}."
    assert fill(template, {"family": "mother"}, "en") == (
        "Your mother. What was she like? Tell me about her."
    )
    assert fill(template, {"family": "parents"}, "en") == (
        "Your parents. What were they like? Tell me about them."
    )


def test_a_follow_up_means_nothing_without_a_turn_before() -> None:
    match = find("It was yesterday.", "en", follows=False)
    assert match is None or match.situation.kind != "follow"


@pytest.mark.parametrize("lang", LANGS)
def test_no_pattern_hangs_on_hostile_text(lang: Lang) -> None:
    for text in ("my " * 3000, "a" * 6000, "i found my lost my dog " * 300, "我" * 6000):
        find(text, lang)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("I passed my driving test!", "exam-passed"),
        ("My sister passed her driving test!", "other-success"),
        ("I'm so proud of my brother, he gave a speech.", "other-success"),
        ("I'm baking bread this afternoon.", "cooking"),
        ("We won, and I was happy.", "sport-win"),
        ("We won, and then they cancelled the rest.", None),
        ("Guess what? I got the job.", "got-job"),
    ],
)
def test_a_situation_fits_only_who_it_happened_to_and_how_it_went(
    text: str, name: str | None
) -> None:
    match = find(text, "en")
    assert (match and match.situation.name) == name


def name_of(text: str, lang: Lang = "en", *, follows: bool = False) -> str:
    match = find(text, lang, follows=follows)
    return match.situation.name if match else ""


@pytest.mark.parametrize(
    ("text", "never"),
    [
        ("I wasn't fired, I quit.", "lost-job"),
        ("I'm not angry, I'm just disappointed.", "feel-angry"),
        ("My dog didn't die, he was asleep.", "pet-died"),
        ("My grandmother died when I was five.", "death-family"),
        ("My neighbor's cat died.", "death-friend"),
        ("My brother got fired again.", "lost-job"),
        ("If I lose my job we can't pay the rent.", "lost-job"),
        ("I laughed so hard I almost died.", "accident-car"),
        ("I'm thinking about getting a dog.", "pet-new"),
        ("I said yes but I wanted to say no.", "wedding"),
        ("Thanks for nothing.", "thanks"),
        ("我没被开除，我是自己辞的", "lost-job"),
        ("我不是生气，我是失望", "feel-angry"),
        ("我奶奶在我五岁的时候就去世了", "death-family"),
        ("我最好的朋友要搬走了", "death-other"),
        ("要是我失业了怎么办", "lost-job"),
        ("昨晚男朋友跟我分手了", "other-trouble"),
        ("切菜切到手了", "about-food"),
        ("My boss complimented my work in front of everyone.", "boss-bad"),
        ("I gave my seat to an old man on the bus.", "taken-from-me"),
        ("I'm moving to Portugal in March.", "moving-home"),
        ("He doesn't look at me the way he used to.", "see-me"),
        ("Tomato. My mum's recipe.", "hobby"),
        ("我妈又催我结婚了", "wedding"),
        ("我养了两只猫", "pet-new"),
        ("我想给侄女买个礼物", "kindness"),
        ("你觉得我该不该跟他分手", "breakup"),
        ("我在学吉他，手指头疼", "pain"),
    ],
)
def test_what_did_not_happen_or_not_now_or_not_to_them_is_not_answered_as_if(
    text: str, never: str
) -> None:
    assert name_of(text, "zh" if "㐀" <= text[0] <= "鿿" else "en") != never


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("um i just uh i feel really lonely", "lonely"),
        ("I've never felt so alone.", "lonely"),
        ("im gonna miss her so much", "miss-person"),
        ("well to be honest i lost my job", "lost-job"),
        ("What if I lose my job?", "what-if"),
        ("I just wanted to talk to someone.", "just-chat"),
        ("can you speak slower please", "speak-differently"),
        ("Are you recording this?", "recording"),
        ("What's your name?", "your-name"),
        ("Do you love me?", "do-you-love"),
        ("Can you repeat that?", "repeat"),
        ("I'm sorry.", "sorry-you"),
    ],
)
def test_what_is_said_in_a_first_talk_is_found_as_whisper_writes_it(text: str, name: str) -> None:
    assert name_of(text) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("我媽媽生病了", "someone-sick"),
        ("我的貓不見了", "pet-lost"),
        ("嗯,那个,我就是觉得特别孤单", "lonely"),
        ("你能再说一遍吗", "repeat"),
        ("我就是想找个人说说话", "just-chat"),
        ("给我妈打个电话", "remind"),
        ("你爱我吗", "do-you-love"),
    ],
)
def test_the_same_holds_in_chinese_in_either_script(text: str, name: str) -> None:
    assert name_of(text, "zh") == name


@pytest.mark.parametrize(
    ("text", "name", "lang"),
    [
        ("It was so sudden.", "follow-sudden", "en"),
        ("I don't know what to do.", "follow-lost", "en"),
        ("Since last week.", "follow-recent", "en"),
        ("Three years.", "follow-long", "en"),
        ("Next month.", "follow-soon", "en"),
        ("Because of the money.", "follow-because", "en"),
        ("Not really.", "follow-no", "en"),
        ("It's complicated.", "follow-complicated", "en"),
        ("She's at home now.", "follow-place", "en"),
        ("就是突然的", "follow-sudden", "zh"),
        ("三年了", "follow-long", "zh"),
        ("下个月", "follow-soon", "zh"),
        ("我也不知道", "follow-dunno", "zh"),
    ],
)
def test_a_fragment_carries_on_what_was_told_before(text: str, name: str, lang: Lang) -> None:
    assert name_of(text, lang, follows=True) == name
    assert not name_of(text, lang).startswith("follow")


def test_every_follow_up_has_an_answer_after_each_kind_of_moment() -> None:
    kinds = {"loss", "bad", "good", "talk"}
    lacking = [s.name for s in every_situation() if s.kind == "follow" and set(s.answers) != kinds]
    assert lacking == []


def test_chinese_answers_have_full_width_marks() -> None:
    half = [text for _, lang, text in every_line() if lang == "zh" and set(",.!?;:") & set(text)]
    assert half == []
