"""The think grammar, both ways: a value to text, and text to the value.

Two forms, as in OSUM-EChat (arXiv 2508.09600). The tag form is its own, slot for slot:

    <think>用户说的话是:…,年龄为:<ADULT>,性别为:<FEMALE>,情感为:<SAD>,
    声音事件为:<&&>,推测使用的回复情感为:<悲伤>,我应该综合用户的语义和
    副语言信息给出专业且对应的回答<think end><悲伤>

(one line; `<&&>` is *unknown*, and the tag after the end is that of the reply). The language form
is a sentence that says the same. What a person said is the only open slot: it is escaped on the
way in and stands left of everything else, and parsing is anchored at the right end with closed
vocabularies, so no words can forge a label.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from echat_sdk.cues import Age, Cues, Emotion, Gender, ReplyEmotion, Style, VocalEvent
from echat_sdk.errors import GenerationError
from echat_sdk.turn import Lang, ThinkStyle

THINK = "<think>"
THINK_END = "<think end>"
UNKNOWN_TAG = "&&"

_L = TypeVar("_L", Age, Gender, Emotion, VocalEvent, Style)


@dataclass(frozen=True, slots=True)
class Think:
    """What was heard and how to answer; None is *unknown*."""

    transcript: str
    age: Age | None = None
    gender: Gender | None = None
    emotion: Emotion | None = None
    event: VocalEvent | None = None
    reply_emotion: ReplyEmotion = ReplyEmotion.NEUTRAL

    @classmethod
    def of(cls, transcript: str, cues: Cues, reply_emotion: ReplyEmotion) -> Think:
        """The thought about an utterance with these cues."""
        return cls(
            transcript=transcript,
            age=_member(Age, cues.age.label),
            gender=_member(Gender, cues.gender.label),
            emotion=_member(Emotion, cues.emotion.label),
            event=_member(VocalEvent, cues.events.label),
            reply_emotion=reply_emotion,
        )


def _member(kind: type[_L], label: str) -> _L | None:
    try:
        return kind(label)
    except ValueError:
        return None


# --- escaping ------------------------------------------------------------------------------------

_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_ENTITY = re.compile(r"&(amp|lt|gt|#(\d{1,7}));")
# Line breaks, other controls, lone surrogates: what a terminal, log or database may trip over.
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})


def escape(text: str) -> str:
    """Text that holds no `<`, `>`, line break or control character; `unescape` gives it back."""
    return "".join(
        _NAMED.get(c) or (f"&#{ord(c)};" if unicodedata.category(c) in _UNPRINTABLE else c)
        for c in text
    )


def unescape(text: str) -> str:
    """What `escape` was given; anything that is no entity of ours is left as it is."""

    def plain(match: re.Match[str]) -> str:
        number = match[2]
        if number is None:
            return {"amp": "&", "lt": "<", "gt": ">"}[match[1]]
        code = int(number)
        return chr(code) if code <= 0x10FFFF else match[0]

    return _ENTITY.sub(plain, text)


# --- the tag form --------------------------------------------------------------------------------

CLOSING = "我应该综合用户的语义和副语言信息给出专业且对应的回答"
_TAG = re.compile(
    # The published data has labels that lack a bracket, so a model may write them.
    r"<think>用户说的话是:(?P<said>.*),年龄为:<?(?P<age>[^<>,]*)>?,性别为:<?(?P<gender>[^<>,]*)>?,"
    r"情感为:<?(?P<emotion>[^<>,]*)>?,声音事件为:<?(?P<event>[^<>,]*)>?,"
    rf"推测使用的回复情感为:<(?P<guess>[^<>]*)>(?:,{CLOSING})?"
    r"(?:<think end>|</think(?: end)?>)?(?:<(?P<reply>[^<>]*)>)?",
    re.DOTALL,
)
# Labels that the published data also uses.
_ALIASES = {
    "ANGRY": "anger",
    "YOUTH": "adult",
    "MIDDLE": "adult",
    "MIDDLE_AGE": "adult",
    "THROAT_CLEARING": "throat clearing",
    "朗读": "新闻科普",
    "科普百科": "新闻科普",
    "悬疑恐怖": "恐怖故事",
    "诗歌": "诗歌散文",
    "散文": "诗歌散文",
    "武侠评书": "有声书",
    "小说": "有声书",
    "历史": "有声书",
    "科幻": "有声书",
    "对话": "日常口语",
    "口语": "日常口语",
    "幽默": "其他",
}
_REPLY_ALIASES: Mapping[str, ReplyEmotion] = {
    "ANGER": ReplyEmotion.ANGRY,
    "FEAR": ReplyEmotion.AFRAID,
    "SURPRISE": ReplyEmotion.SURPRISED,
    "DISGUST": ReplyEmotion.DISGUSTED,
}


def tag_of(label: Age | Gender | Emotion | VocalEvent | Style | None) -> str:
    """The tag that stands for a label, `<&&>` for an unknown one."""
    return f"<{UNKNOWN_TAG if label is None else label.value.upper()}>"


def label_from_tag(kind: type[_L], tag: str) -> _L | None:
    """The label that a tag's text names (`SAD`, `Angry`, `小说`), None where it names none."""
    return _member(kind, _ALIASES.get(tag.strip().upper(), tag.strip().lower()))


def reply_emotion_from_tag(tag: str | None) -> ReplyEmotion | None:
    """The reply emotion that a tag's text names (`悲伤`, `SAD`), None where it names none."""
    if tag is None:
        return None
    tag = tag.strip()
    if tag.upper() in _REPLY_ALIASES:
        return _REPLY_ALIASES[tag.upper()]
    try:
        return ReplyEmotion.from_word(tag)
    except ValueError:
        return None


# --- the language form ---------------------------------------------------------------------------

_Who = tuple[Age | None, Gender | None]


@dataclass(frozen=True, slots=True)
class _Sentences:
    """The language form in one language: words for every label, and the frame around them."""

    who: Mapping[_Who, str]
    emotion: Mapping[Emotion | None, str]
    event: Mapping[VocalEvent | None, str]
    reply: Mapping[ReplyEmotion, str]
    frame: str

    def render(self, think: Think) -> str:
        return self.frame.format(
            who=self.who[think.age, think.gender],
            said=escape(think.transcript),
            emotion=self.emotion[think.emotion],
            event=self.event[think.event],
            reply=self.reply[think.reply_emotion],
        )

    def pattern(self) -> re.Pattern[str]:
        def one_of(name: str, words: Mapping[_Who, str] | Mapping[str, str]) -> str:
            # Longest first: "an adult" must not win over "an adult woman".
            ordered = sorted(words.values(), key=len, reverse=True)
            return f"(?P<{name}>{'|'.join(map(re.escape, ordered))})"

        slots = {
            "who": one_of("who", self.who),
            "emotion": one_of("emotion", {str(k): v for k, v in self.emotion.items()}),
            "event": one_of("event", {str(k): v for k, v in self.event.items()}),
            "reply": one_of("reply", {str(k): v for k, v in self.reply.items()}),
            "said": "(?P<said>.*)",
        }
        parts = re.split(r"\{(\w+)\}", self.frame)
        pattern = "".join(slots[p] if i % 2 else re.escape(p) for i, p in enumerate(parts))
        end = "(?:<think end>|</think(?: end)?>)?"
        return re.compile(f"{THINK}{pattern}{end}(?:<[^<>]*>)?", re.DOTALL)

    def read(self, match: re.Match[str]) -> Think:
        age, gender = _key(self.who, match["who"])
        return Think(
            transcript=unescape(match["said"]),
            age=age,
            gender=gender,
            emotion=_key(self.emotion, match["emotion"]),
            event=_key(self.event, match["event"]),
            reply_emotion=_key(self.reply, match["reply"]),
        )


_K = TypeVar("_K")


def _key(words: Mapping[_K, str], word: str) -> _K:
    return next(k for k, v in words.items() if v == word)


_R = ReplyEmotion
_EN = _Sentences(
    frame='{who} says: "{said}" {emotion}{event} I will answer {reply}.',
    who={
        (Age.CHILD, Gender.FEMALE): "A girl",
        (Age.CHILD, Gender.MALE): "A boy",
        (Age.CHILD, None): "A child",
        (Age.ADULT, Gender.FEMALE): "An adult woman",
        (Age.ADULT, Gender.MALE): "An adult man",
        (Age.ADULT, None): "An adult",
        (Age.OLD, Gender.FEMALE): "An older woman",
        (Age.OLD, Gender.MALE): "An older man",
        (Age.OLD, None): "An older person",
        (None, Gender.FEMALE): "A woman",
        (None, Gender.MALE): "A man",
        (None, None): "Somebody",
    },
    emotion={
        Emotion.SAD: "The voice sounds sad.",
        Emotion.ANGER: "The voice sounds angry.",
        Emotion.NEUTRAL: "The voice sounds even.",
        Emotion.HAPPY: "The voice sounds happy.",
        Emotion.SURPRISE: "The voice sounds surprised.",
        Emotion.FEAR: "The voice sounds afraid.",
        Emotion.DISGUST: "The voice sounds disgusted.",
        Emotion.OTHER: "The voice carries a feeling that I have no word for.",
        None: "How the voice feels I cannot tell.",
    },
    event={
        VocalEvent.LAUGH: " There is laughter in it.",
        VocalEvent.COUGH: " There is a cough in it.",
        VocalEvent.CRY: " There is crying in it.",
        VocalEvent.SCREAM: " There is a scream in it.",
        VocalEvent.SIGH: " There is a sigh in it.",
        VocalEvent.THROAT_CLEARING: " There is a throat being cleared.",
        VocalEvent.SNEEZE: " There is a sneeze in it.",
        VocalEvent.OTHER: " There is another sound in it.",
        None: "",
    },
    reply={
        _R.JOYFUL: "with delight",
        _R.SORRY: "with regret",
        _R.HAPPY: "happily",
        _R.ANGRY: "with anger on their side",
        _R.SURPRISED: "with surprise",
        _R.DISGUSTED: "with disgust on their side",
        _R.SAD: "with sadness",
        _R.AFRAID: "with alarm",
        _R.TEARFUL: "close to tears",
        _R.COMFORTING: "with comfort and courage",
        _R.NEUTRAL: "calmly",
    },
)
_ZH = _Sentences(
    frame="{who}说：“{said}”{emotion}{event}我要{reply}回应。",
    who={
        (Age.CHILD, Gender.FEMALE): "一个女孩",
        (Age.CHILD, Gender.MALE): "一个男孩",
        (Age.CHILD, None): "一个孩子",
        (Age.ADULT, Gender.FEMALE): "一位成年女性",
        (Age.ADULT, Gender.MALE): "一位成年男性",
        (Age.ADULT, None): "一位成年人",
        (Age.OLD, Gender.FEMALE): "一位年长的女性",
        (Age.OLD, Gender.MALE): "一位年长的男性",
        (Age.OLD, None): "一位老人",
        (None, Gender.FEMALE): "一位女性",
        (None, Gender.MALE): "一位男性",
        (None, None): "有人",
    },
    emotion={
        Emotion.SAD: "声音听起来难过。",
        Emotion.ANGER: "声音听起来生气。",
        Emotion.NEUTRAL: "声音听起来平静。",
        Emotion.HAPPY: "声音听起来开心。",
        Emotion.SURPRISE: "声音听起来惊讶。",
        Emotion.FEAR: "声音听起来害怕。",
        Emotion.DISGUST: "声音听起来厌恶。",
        Emotion.OTHER: "声音里有一种说不清的情绪。",
        None: "声音里的情绪听不出来。",
    },
    event={
        VocalEvent.LAUGH: "里面有笑声。",
        VocalEvent.COUGH: "里面有咳嗽。",
        VocalEvent.CRY: "里面有哭声。",
        VocalEvent.SCREAM: "里面有尖叫。",
        VocalEvent.SIGH: "里面有叹气。",
        VocalEvent.THROAT_CLEARING: "里面有清嗓子的声音。",
        VocalEvent.SNEEZE: "里面有喷嚏。",
        VocalEvent.OTHER: "里面有别的声音。",
        None: "",
    },
    reply={emotion: f"带着{emotion.value}的语气" for emotion in ReplyEmotion},
)
_LANGUAGES: Mapping[Lang, _Sentences] = {"en": _EN, "zh": _ZH}
_PATTERNS = tuple((form, form.pattern()) for form in (_EN, _ZH))


# --- both ways -----------------------------------------------------------------------------------


def render(think: Think, style: ThinkStyle, lang: Lang) -> str:
    """The thought as text, markers included; empty for style `off`.

    Args:
        think: What to write.
        style: `tag` ends with the reply's own tag, `language` with the end marker.
        lang: Language of the language form; the tag form is Chinese always.
    """
    if style == "off":
        return ""
    if style == "language":
        return f"{THINK}{_LANGUAGES[lang].render(think)}{THINK_END}"
    return (
        f"{THINK}用户说的话是:{escape(think.transcript)},年龄为:{tag_of(think.age)},"
        f"性别为:{tag_of(think.gender)},情感为:{tag_of(think.emotion)},声音事件为:{tag_of(think.event)},"
        f"推测使用的回复情感为:<{think.reply_emotion.value}>,{CLOSING}"
        f"{THINK_END}<{think.reply_emotion.value}>"
    )


def parse(text: str) -> Think:
    """The thought that a text of either form holds.

    A label outside the vocabulary is *unknown*; a reply emotion outside it is neutral. Where the
    tag after the end and the slot in the thought differ, the tag counts: it is what is spoken.

    Raises:
        GenerationError: the text is neither form.
    """
    if match := _TAG.fullmatch(text):
        reply = reply_emotion_from_tag(match["reply"]) or reply_emotion_from_tag(match["guess"])
        return Think(
            transcript=unescape(match["said"]),
            age=label_from_tag(Age, match["age"]),
            gender=label_from_tag(Gender, match["gender"]),
            emotion=label_from_tag(Emotion, match["emotion"]),
            event=label_from_tag(VocalEvent, match["event"]),
            reply_emotion=reply or ReplyEmotion.NEUTRAL,
        )
    for form, pattern in _PATTERNS:
        if match := pattern.fullmatch(text):
            return form.read(match)
    raise GenerationError(
        f"a thought of {len(text)} characters is neither the tag form nor the language form; "
        "the model that wrote it was trained on another grammar"
    )
