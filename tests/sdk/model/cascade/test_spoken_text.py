from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.model.cascade.spoken_text import spoken_text
from echat_sdk.turn import Lang


@pytest.mark.parametrize(
    ("written", "lang", "spoken"),
    [
        ("I'm here 😢❤️ for you!", "en", "I'm here for you!"),
        ("**Really** _good_ `news`", "en", "Really good news"),
        ("# Title\n- one\n- two", "en", "Title one two"),
        ("See [the page](https://x.org/a?b=1).", "en", "See the page."),
        ("See https://x.org/a?b=1 now", "en", "See a link now"),
        ("看 https://x.org/a。好", "zh", "看 链接。好"),
        ("Wait....... what?!?!", "en", "Wait… what!"),
        ("You’re “brave” (very)", "en", "You're brave very"),
        ("It costs $5 & 50%", "en", "It costs $5 & 50%"),
        ("say [hibari](/hibˈɑɹi/) now", "en", "say hibari now"),
        ("🎉🎉 !!! ...", "en", ""),
        ("", "zh", ""),
        ("（小声）别怕～", "zh", "小声 别怕～"),
    ],
)
def test_what_cannot_be_spoken_is_not_read(written: str, lang: Lang, spoken: str) -> None:
    assert spoken_text(written, lang) == spoken


@given(st.text(max_size=200), st.sampled_from(["en", "zh"]))
def test_any_text_is_cleaned_to_words_or_to_nothing(text: str, lang: Lang) -> None:
    spoken = spoken_text(text, lang)
    assert spoken == "" or any(c.isalnum() for c in spoken)
    assert not set(spoken) & set("<>[]{}()*_`\n\t")
