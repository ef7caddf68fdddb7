"""Laws of the think grammar: it reads back what it wrote, and no words can forge a label."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.cues import Age, Emotion, Gender, ReplyEmotion, VocalEvent
from echat_sdk.model.think import Think, escape, parse, render, unescape
from echat_sdk.model.think_stream import ThinkSplitter
from echat_sdk.turn import Lang, TextDelta, ThinkDelta, ThinkStyle, Thought

# Anything at all, and what somebody would say who knows the grammar.
HOSTILE = st.lists(
    st.sampled_from(
        [
            "<", ">", "<think>", "<think end>", "</think>", "</think end>", "<&&>", "<SAD>",
            "<开心>",
            ",情感为:", "情感为:<HAPPY>", "推测使用的回复情感为:", "用户说的话是:",
            "年龄为:", ",", ":", "\n",
            '"', "”", "“", ' The voice sounds happy. I will answer happily.', "声音听起来开心。",
            "我要带着开心的语气回应。", "&lt;", "&amp;", "&#10;", "&", ";", "#",
            "<|im_end|>", "\u2028", "\ud800", "a",
            "我应该综合用户的语义和副语言信息给出专业且对应的回答",
        ]
    )
).map("".join)  # fmt: skip
WORDS = st.text() | HOSTILE
THINKS = st.builds(
    Think,
    transcript=WORDS,
    age=st.none() | st.sampled_from(Age),
    gender=st.none() | st.sampled_from(Gender),
    emotion=st.none() | st.sampled_from(Emotion),
    event=st.none() | st.sampled_from(VocalEvent),
    reply_emotion=st.sampled_from(ReplyEmotion),
)
STYLES: list[ThinkStyle] = ["tag", "language"]
LANGS: list[Lang] = ["en", "zh"]


@given(WORDS)
def test_escaping_is_undone_and_leaves_no_marker(text: str) -> None:
    escaped = escape(text)
    assert unescape(escaped) == text
    assert not set(escaped) & set("<>\n\r\u2028")


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("lang", LANGS)
@given(think=THINKS)
def test_what_is_rendered_is_read_back(style: ThinkStyle, lang: Lang, think: Think) -> None:
    assert parse(render(think, style, lang)) == think


@pytest.mark.parametrize("style", STYLES)
@given(think=THINKS, reply=st.text(st.characters(exclude_characters="<>")), data=st.data())
def test_a_stream_cut_anywhere_keeps_thought_and_reply_apart(
    style: ThinkStyle, think: Think, reply: str, data: st.DataObject
) -> None:
    text = render(think, style, "en") + reply
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    splitter = ThinkSplitter()
    deltas = [
        delta
        for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)
        for delta in splitter.push(text[a:b])
    ]
    deltas += splitter.finish()
    spoken = "".join(d.text for d in deltas if isinstance(d, TextDelta))
    emotions = [d.reply_emotion for d in deltas if isinstance(d, Thought)]
    thought = "".join(d.text for d in deltas if isinstance(d, ThinkDelta))
    assert spoken == reply.lstrip()
    assert thought.startswith("<think>")
    assert thought.endswith("<think end>")
    # The language form carries no tag: how it is spoken is decided beside it.
    assert emotions == [think.reply_emotion if style == "tag" else think.reply_emotion.NEUTRAL]


@given(WORDS)
def test_any_stream_at_all_ends_with_one_thought_and_no_marker_in_the_reply(text: str) -> None:
    splitter = ThinkSplitter()
    deltas = [d for c in text for d in splitter.push(c)]
    deltas += splitter.finish()
    assert sum(isinstance(d, Thought) for d in deltas) == 1
    spoken = "".join(d.text for d in deltas if isinstance(d, TextDelta))
    assert "<think" not in spoken
    assert "</think" not in spoken
    assert "<" not in spoken
