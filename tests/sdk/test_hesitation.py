"""What can be the end of a turn, as a transcriber writes it, and what cannot."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.hesitation import hangs
from echat_sdk.turn import Lang

BANK = Path(__file__).parents[2] / "echat_sdk/model/cascade/data"

HANGING = """\
I went to the...
I went to the
I was late because…
So, uh…
We met in a —
I bought some bread, milk,
I was thinking about the.
I like it, but.
He left because.
It is bigger than.
I wanted to call her and then I.
She told me that.
She looked at me as if.
I do not know what I should.
Um.
Um. Um.
Well, you know.
Let me see.
Actually.
Could you tell me?
Can you please give me.
If it rains on Saturday.
When I was a child.
My number is 555.
I am sorry. I just thought that maybe the."""

WHOLE = """\
That's what it's for.
I think so.
Come on.
What are you up to?
Where are you from?
No, I don't want to.
I have no idea what this is for.
She is the one I was talking to.
Yes, I am.
So do I.
He is taller than I am.
I didn't know that.
Yes.
Okay.
Thank you.
Not really.
Because I was tired.
If you like.
Whenever you want.
If it rains, we stay at home.
When does the train leave?
Do you know why?
And you?
You do, don't they?
My number is 555-2194.
The room number is 305.
I know how.
Could you tell me the time?
It is what it is."""

HANGING_ZH = """\
我本来打算去的，但是。
我本来打算去的,可是……
因为
嗯。
那个。
我觉得
我妈妈说
如果有时间的话。
虽然很累。
他是一个。"""

WHOLE_ZH = """\
我很好。
我就要这个。
你今天怎么样？
如果下雨就不去了。
如果有时间的话，我们一起吃饭吧。
因为我昨天晚上没睡好。
当时你在哪儿？
我也是这么想的。"""


@pytest.mark.parametrize("words", HANGING.splitlines())
def test_after_these_words_nobody_has_finished(words: str) -> None:
    assert hangs(words, "en")


@pytest.mark.parametrize("words", WHOLE.splitlines())
def test_after_these_words_somebody_may_have(words: str) -> None:
    assert not hangs(words, "en")


@pytest.mark.parametrize("words", HANGING_ZH.splitlines())
def test_the_same_in_chinese(words: str) -> None:
    assert hangs(words, "zh")


@pytest.mark.parametrize("words", WHOLE_ZH.splitlines())
def test_and_what_may_be_an_end_there(words: str) -> None:
    assert not hangs(words, "zh")


def test_no_words_tell_nothing() -> None:
    assert not hangs("", "en")
    assert not hangs("  ", "zh")


def test_a_missing_full_stop_tells_nothing_of_a_transcriber_that_writes_none() -> None:
    assert hangs("my dog died yesterday", "en")
    assert not hangs("my dog died yesterday", "en", is_marked=False)
    assert hangs("i went to the", "en", is_marked=False)
    assert hangs("我本来打算去的但是", "zh", is_marked=False)


def sentences(lang: Lang) -> Iterator[str]:
    """Everything that is said in our own bank: whole sentences, of people and of the agent."""

    def texts(found: object) -> Iterator[str]:
        if isinstance(found, str):
            yield found
        elif isinstance(found, list | dict):
            for inner in found.values() if isinstance(found, dict) else found:
                yield from texts(inner)

    for file in BANK.glob(f"*_{lang}.jsonl"):
        for line in file.read_text().splitlines():
            for text in texts(json.loads(line)):
                for sentence in re.split(r"(?<=[.!?。！？])\s*", text):
                    is_sentence = sentence[:1].isupper() if lang == "en" else len(sentence) > 2
                    if is_sentence and re.fullmatch(r"[^{}\[\]|()*^]+[.!?。！？]", sentence):
                        yield sentence


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_of_a_thousand_whole_sentences_hardly_one_hangs(lang: Lang) -> None:
    every = list(sentences(lang))
    assert len(every) > 1000
    wrong = [sentence for sentence in every if hangs(sentence, lang)]
    assert len(wrong) < 0.002 * len(every), wrong


@given(st.text(max_size=300), st.sampled_from(["en", "zh"]))
def test_any_text_is_taken_and_three_dots_after_it_hang(text: str, lang: Lang) -> None:
    hangs(text, lang)
    assert hangs(text + "...", lang)


def test_a_text_that_never_ends_takes_no_longer_than_its_end() -> None:
    assert hangs("what i and " * 100_000, "en")
    assert not hangs("what i and " * 100_000 + "it is.", "en")
