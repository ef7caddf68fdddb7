"""The thinker: from what was heard and what is remembered to a thought and a checked answer.

Most answers are written ones, chosen by words and voice and made with the person's own words
(`bank`, `strategy`); what fits none is read with the small model's help (`moment`), which also
answers questions of fact (`prompt`). Every answer passes the checks before its first word is given
out, so nothing given out is taken back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

from echat_sdk.cues import ReplyEmotion
from echat_sdk.model.cascade import bank, findings, notes, prompt, recall, strategy, uptake
from echat_sdk.model.cascade.checks import Reply, faults
from echat_sdk.model.cascade.generator import TextGenerator
from echat_sdk.model.cascade.moment import HARD, MomentReader
from echat_sdk.model.cascade.strategy import Moment, Mood
from echat_sdk.model.cascade.words import sentence, valence
from echat_sdk.model.think import Think, render
from echat_sdk.plain_words import plain
from echat_sdk.safety.caring import caring_reply, was_caring
from echat_sdk.safety.danger import Danger, detect, event
from echat_sdk.turn import (
    Finding,
    Heard,
    Lang,
    Recollection,
    TextDelta,
    ThinkDelta,
    ThinkStyle,
    Thought,
    Turn,
)

SURE = -0.12
"""A fact is told if its mean log-probability is at least this; below, the agent is not sure."""

Reading = Callable[[], Mapping[str, float]]
"""Gives what `MomentReader` reads in the words, when first asked."""

_THOUGHT_PIECE = 24  # characters of the thought in one delta


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and how it is spoken.

    Attributes:
        name: The situation or move that it comes from.
        emotion: How it is spoken.
        texts: The answer first, then what to say instead if a check finds a fault in it.
        is_fixed: Said as it stands: a caring reply, what a tool gave, the last answer once more.
        danger: What the words tell of; None for none.
    """

    name: str
    emotion: ReplyEmotion
    texts: Sequence[str]
    is_fixed: bool = False
    danger: Danger | None = None


class Thinker:
    """Thinks and answers. One generator may serve many thinkers; calls take turns in it.

    Args:
        generator: The small model that reads and knows.
    """

    def __init__(self, generator: TextGenerator) -> None:
        self._generator = generator
        self._read_moment = MomentReader(generator)

    def reply(
        self, heard: Heard, recollection: Recollection, *, think: ThinkStyle
    ) -> Iterator[ThinkDelta | Thought | TextDelta]:
        """Think, then answer sentence by sentence.

        Args:
            heard: What was said and how; with an empty transcript nothing is yielded.
            recollection: What memory gives; data, never instructions.
            think: The form of the thought; `off` yields none, and answers the same.
        """
        if not heard.transcript.strip():
            return
        answer = self.answer(heard, recollection)
        thought = render(Think.of(heard.transcript, heard.cues, answer.emotion), think, heard.lang)
        for start in range(0, len(thought), _THOUGHT_PIECE):
            yield ThinkDelta(thought[start : start + _THOUGHT_PIECE])
        safety = event(answer.danger) if answer.danger else None
        yield Thought(answer.emotion, answer.name, safety)
        for piece in _sentences(self._checked(answer, heard, recollection), heard.lang):
            yield TextDelta(piece)

    def warm_up(self, lang: Lang = "en") -> None:
        """Read what is fixed in the prompts of a language, so that nobody waits for it later.

        The other language's first open question takes about a second more; to read both would
        make every start that much longer.
        """
        for each in _LANGS:
            bank.find("", each)
        detect("ok, 好")  # the rules of both languages
        for head in (prompt.moment_head(), prompt.fact_head(lang)):
            self._generator.complete(prompt.question("."), static=head, sampling=_ONE_TOKEN)

    def answer(self, heard: Heard, recollection: Recollection) -> Answer:
        """What to say and how, before the checks."""
        words, lang, mood = heard.transcript, heard.lang, strategy.mood_of(heard.cues)
        read = cache(partial(self._read_moment, words))  # it takes the model; once is enough
        if danger := detect(words):
            text, name = caring_reply(danger, lang), f"care-{danger.category}"
            return Answer(name, ReplyEmotion.COMFORTING, [text], is_fixed=True, danger=danger)
        if recollection.finding is not None:
            return self._from_tool(heard, recollection.finding, mood)
        if strategy.is_question(words, lang) and (
            known := notes.fitting(words, recollection.context, lang)
        ):
            emotion = Moment("talk", mood).reply_emotion
            return Answer("context", emotion, [known], is_fixed=True)
        match = _find(words, lang, recollection)
        value = valence(uptake.main_part(words, lang), lang)
        if match and match.situation.rank < bank.ACT:
            # "Is it odd to talk to plants?" is no account of gardening.
            chats = match.situation.kind == "talk" and strategy.is_question(words, lang)
            match = None if chats or strategy.is_fact_question(words, lang) else match
        if match and match.situation.rank < bank.ACT and not _bears_out(match, mood, value, read):
            match = None
        if match and _is_loose(match) and _topic(words, lang, recollection, goes_on=False):
            match = None
        if match and match.situation.name in _FEELINGS and _ABOUT.search(plain(words)):
            match = None  # of "I'm nervous about meeting her parents" the parents are the news
        is_news = match is not None and (
            match.situation.rank < bank.ACT or match.situation.kind == "bye"
        )
        if _follows_care(recollection) and not is_news:
            texts = _lines("care-follow", mood, lang)
            return Answer("care-follow", ReplyEmotion.COMFORTING, texts)
        if recall.asks_memory(words, lang):
            return self._from_memory(heard, recollection, mood)
        if strategy.is_long(words, lang):
            kind = match.situation.kind if match else "talk"
            mood = Mood.LOW if mood is Mood.PLAIN and kind in ("loss", "bad", "wrong") else mood
            return Answer("long", Moment(kind, mood).reply_emotion, _lines("long", mood, lang))
        if match is not None and match.situation.name == "repeat" and recollection.turns:
            return _once_more(recollection.turns[-1], _lines("repeat", mood, lang))
        if match is not None:
            moment = strategy.moment_of(match, heard, kind_before(recollection, lang))
            texts = strategy.answers(match, moment, lang)
            if match.situation.rank < bank.ACT and _told_before(words, recollection):
                texts = strategy.told_again(match, moment, lang) or texts
            calm = mood in (Mood.PLAIN, Mood.UP) and match.situation.name in _NAMES
            if calm and (topic := _topic(words, lang, Recollection())):
                texts = uptake.onward(texts, topic)  # "I'm Helen and I live with my son."
            return Answer(match.situation.name, moment.reply_emotion, texts)
        if strategy.is_fact_question(words, lang):
            return self._from_knowledge(heard, mood)
        if strategy.is_question(words, lang):
            texts = _unsure(heard, mood, "asked")
            return Answer("asked", Moment("talk", mood).reply_emotion, texts)
        return _open(heard, mood, recollection, read)

    def _from_tool(self, heard: Heard, finding: Finding, mood: Mood) -> Answer:
        emotion = Moment("talk", mood).reply_emotion
        if finding.error:
            return Answer("tool-failed", emotion, _lines("tool-failed", mood, heard.lang))
        if text := findings.worded(finding, heard, self._generator):
            return Answer("tool", emotion, [text], is_fixed=True)
        return Answer("tool-done", emotion, _lines("tool-done", mood, heard.lang))

    def _from_memory(self, heard: Heard, recollection: Recollection, mood: Mood) -> Answer:
        emotion = Moment("talk", mood).reply_emotion
        if found := recall.remembered(heard.transcript, recollection, heard.lang):
            return Answer("memory", emotion, [recall.as_answer(found, heard.lang)])
        return Answer("no-memory", emotion, _lines("no-memory", mood, heard.lang))

    def _from_knowledge(self, heard: Heard, mood: Mood) -> Answer:
        emotion = Moment("talk", mood).reply_emotion
        unsure = _unsure(heard, mood)
        (completion,) = self._generator.complete(
            prompt.question(heard.transcript),
            static=prompt.fact_head(heard.lang),
            sampling=prompt.ANSWERING,
        )
        text = completion.text.strip()
        honest = (
            completion.mean_logprob >= SURE
            and not re.search(r"don't know|不知道|不确定", text)
            and not prompt.is_copied(text, heard.transcript, heard.lang)
        )
        is_whole = text.endswith((".", "!", "。", "！"))
        return Answer("fact", emotion, [text, *unsure] if honest and is_whole else unsure)

    def _checked(self, answer: Answer, heard: Heard, recollection: Recollection) -> str:
        if answer.is_fixed:
            return answer.texts[0]
        earlier = tuple(turn.reply for turn in recollection.turns)
        known = (*recollection.facts, *(turn.transcript for turn in recollection.turns))
        texts = list(answer.texts)
        if answer.name not in ("fact", "memory"):  # there the first is the answer
            texts = [
                strategy.name_it(text, heard.transcript, recollection, heard.lang)
                for text in strategy.choose(texts, heard.transcript, earlier)
            ]
        # The plain lines stand last: they hold nothing of what was said, so no check can fail them.
        for text in [*texts, *bank.lines(heard.lang)["talk"][Mood.PLAIN]]:
            text = sentence(text)
            reply = Reply(
                text,
                heard.lang,
                heard=heard.transcript,
                known=known,
                earlier=earlier,
            )
            if not faults(reply):
                return text
        return texts[0]


_FEELINGS = ("feel-sad", "feel-afraid", "feel-angry")
_ABOUT = re.compile(r"\b(?:about|because|that) \w+ \w+")
_NAMES = ("tell-name", "im-name")
_TOLD = 1.5  # a follow-up of a lower rank ("and then she said ...") may tell of anything
_LANGS: tuple[Lang, ...] = ("en", "zh")
_ONE_TOKEN = prompt.ANSWERING.model_copy(update={"max_tokens": 1})


def kind_before(recollection: Recollection, lang: Lang) -> str:
    """The kind of moment that the last turns were about; empty if there were none."""
    for turn in reversed(recollection.turns):
        match = bank.find(turn.transcript, turn.lang)
        if match is not None and match.situation.kind not in ("talk", "follow", "bye"):
            return match.situation.kind
        if match is None and (value := valence(turn.transcript, turn.lang)):
            return "good" if value > 0 else "bad"
    return ""


def _bears_out(match: bank.Match, mood: Mood, value: int, read: Reading) -> bool:
    """Whether the voice, the words, or else the reading let a situation be what was told."""
    kind = match.situation.kind
    # The form of a sentence ("I used to ...") says little of what it means to somebody.
    if kind == "talk" and match.situation.rank < bank.FORM:
        return strategy.fits(kind, read(), mood)
    if not strategy.is_doubtful(kind, mood) or (kind != "good" and value < 0):
        return True  # "I lost my job!" is no good news, however bright
    return strategy.fits(kind, read(), mood)


def _find(words: str, lang: Lang, recollection: Recollection) -> bank.Match | None:
    """The situation; where the words alone show none, that of whom "she" and "he" stand for."""
    match = bank.find(uptake.main_part(words, lang), lang, follows=bool(recollection.turns))
    if match is None or match.situation.kind == "follow" or match.situation.rank < bank.FORM:
        spelt_out = uptake.resolved(words, recollection.turns, lang)
        other = bank.find(spelt_out, lang, follows=False) if spelt_out else None
        if other and bank.FORM < other.situation.rank < bank.ACT:
            return other
    return match


def _is_loose(match: bank.Match) -> bool:
    """Whether a situation says less of what was told than its topic does."""
    situation = match.situation
    if situation.kind == "follow":
        return situation.rank < _TOLD
    return situation.kind == "talk" and situation.rank < bank.FORM


def _topic(
    words: str, lang: Lang, recollection: Recollection, *, goes_on: bool = True
) -> bank.Match | None:
    """What the words are about; a fragment goes on with what was spoken of before."""
    spelt_out = uptake.resolved(words, recollection.turns, lang)
    if found := bank.topic(uptake.main_part(spelt_out or words, lang), lang):
        return found
    # After bad news a question about its topic can hurt: "What's your dog's name?"
    light = goes_on and recollection.turns and kind_before(recollection, lang) in ("", "good")
    if light and strategy.is_fragment(words, lang):
        return bank.topic(recollection.turns[-1].transcript, lang)
    return None


def _open(heard: Heard, mood: Mood, recollection: Recollection, read: Reading) -> Answer:
    words, lang = heard.transcript, heard.lang
    value = valence(uptake.main_part(words, lang), lang)
    kind = strategy.tune(read(), mood, value)
    before = recollection.turns[-1] if recollection.turns else None
    perhaps = kind in HARD and mood is Mood.PLAIN and value == 0
    perhaps = perhaps and not strategy.is_certain(read())
    if topic := _topic(words, lang, recollection):
        near = "talk" if perhaps else kind
        if texts := uptake.answers(heard, near, mood, topic, before):
            emotion = ReplyEmotion.COMFORTING if perhaps else Moment(kind, mood).reply_emotion
            return Answer(f"topic-{topic.situation.name}", emotion, texts)
    if perhaps:
        _, texts = strategy.open_answers(heard, "perhaps", mood, before)
        return Answer("open-perhaps", ReplyEmotion.COMFORTING, texts)
    goes_on = kind == "talk" and mood is Mood.PLAIN and bool(recollection.turns)
    if goes_on and strategy.is_fragment(words, lang):
        kind = kind_before(recollection, lang) or "talk"
        return Answer("more", Moment(kind, mood).reply_emotion, strategy.more(kind, lang))
    moment, texts = strategy.open_answers(heard, kind, mood, before)
    return Answer(f"open-{kind}", moment.reply_emotion, texts)


def _unsure(heard: Heard, mood: Mood, otherwise: str = "unsure") -> Sequence[str]:
    """What is said where the answer is not known; how-to questions have lines of their own."""
    how = heard.lang == "en" and _HOW_TO.match(plain(heard.transcript))
    return _lines("unsure-how" if how else otherwise, mood, heard.lang)


_HOW_TO = re.compile(
    r"(?:(?:and|so|hey|ok|do you know|can you tell me) )*how (?:do i|can i|to|do you|should i)\b"
    # How to live with something is another question.
    r"(?!.*\b(?:him|her|them|feel\w*|love\w*|forget|forgive|stop|tell|talk|cope|deal|live|get over"
    r"|miss\w*|trust|kids?|friends?|know)\b)"
)


def _once_more(turn: Turn, templates: Sequence[str]) -> Answer:
    """The answer of the last turn again, behind a few words that say so."""
    heads = [template.partition("{")[0] for template in templates]
    reply = turn.reply
    for head in heads:
        reply = reply.removeprefix(head)
    return Answer("repeat", turn.reply_emotion, [f"{head}{reply}" for head in heads], is_fixed=True)


def _follows_care(recollection: Recollection) -> bool:
    return bool(recollection.turns) and was_caring(recollection.turns[-1].reply)


def _told_before(words: str, recollection: Recollection) -> bool:
    return plain(words) in (plain(turn.transcript) for turn in recollection.turns)


def _lines(name: str, mood: Mood, lang: Lang) -> Sequence[str]:
    written = bank.lines(lang)[name]
    return written.get(mood) or written[Mood.PLAIN]


def _sentences(text: str, lang: Lang) -> Iterator[str]:
    """The text in sentences that join to it."""
    pieces = re.findall(
        r".+?(?:[.!?…]+[\"'”’)]*(?:\s+|$)|[。！？…]+[”’」』）)\"]*|$)", text, re.DOTALL
    )
    yield from (piece for piece in pieces if piece)
