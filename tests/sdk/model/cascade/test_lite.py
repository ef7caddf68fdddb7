from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from echat_sdk.audio import frames
from echat_sdk.cues import Cue, Cues, ReplyEmotion
from echat_sdk.errors import ConfigError, ModelMissingError, UnsupportedError
from echat_sdk.model import load_model
from echat_sdk.model.cascade.lite import CascadeHearing, CascadeModel, lang_of
from echat_sdk.protocols import DiscreetHearing
from echat_sdk.turn import Recollection, SpeechDelta, TextDelta, ThinkDelta, Thought

CUES = Cues(emotion=Cue("sad", 0.8), gender=Cue("female", 0.9))


class Voice:
    """Speaks English as `anna`, and nothing else."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ReplyEmotion, str | None]] = []

    def voices(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="anna", lang="en")]

    def say(
        self, text: str, *, emotion: Any, lang: str, voice: str | None
    ) -> Iterator[SpeechDelta]:
        self.asked.append((text, emotion, voice))
        yield SpeechDelta(np.ones(10, np.int16), 24_000, text)


def parts(words: str = "my dog died", lang: str = "en") -> Any:
    def think(heard: Any, recollection: Any, *, think: str) -> Iterator[Any]:
        if think != "off":
            yield ThinkDelta("<think>…<think end>")
        yield Thought(ReplyEmotion.COMFORTING)
        yield TextDelta("Oh no.")
        yield TextDelta(" Your dog.")

    def hear(samples: object, infer: frozenset[str], **_: object) -> Cues:
        off = Cue(why="switched off")
        return replace(CUES, **{n: off for n in ("emotion", "gender") if n not in infer})

    word = SimpleNamespace(text="dog", start=0.04, end=0.36)
    return SimpleNamespace(
        transcriber=SimpleNamespace(
            transcribe=lambda samples, lang, spans: SimpleNamespace(text=words, lang=lang_or(lang)),
            align=lambda samples, lang: (word,),
        ),
        cue_hearer=SimpleNamespace(hear=hear),
        thinker=SimpleNamespace(reply=think),
        voice=Voice(),
    )


def lang_or(lang: str) -> str:
    return "en" if lang == "auto" else lang


@pytest.fixture(autouse=True)
def _speech_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    import echat_sdk.model.cascade.activity as activity

    heard = activity.Activity((activity.Span(0.0, 1.0),), 1.0, 30.0)
    monkeypatch.setattr(activity, "analyse", lambda samples: heard)


def listen(model: CascadeModel, **given: Any) -> CascadeHearing:
    hearing = model.listen(**given)
    for frame in frames(np.ones(16_000, np.int16)):
        hearing.push(frame)
    return hearing


def test_each_clause_is_spoken_before_the_next_is_written() -> None:
    model = CascadeModel("echat-lite", parts())
    kinds = [type(d).__name__ for d in listen(model).reply(Recollection())]
    assert kinds == [
        "Heard", "ThinkDelta", "Thought", "TextDelta", "SpeechDelta", "TextDelta", "SpeechDelta"
    ]  # fmt: skip
    assert [e for _, e, _ in model.parts.voice.asked] == [ReplyEmotion.COMFORTING] * 2


def test_a_cue_that_may_not_be_inferred_is_unknown_and_says_why() -> None:
    heard = listen(CascadeModel("echat-lite", parts(), infer=frozenset({"gender"}))).heard()
    assert heard.cues.emotion == Cue(why="switched off")
    assert heard.cues.gender.label == "female"


def test_a_hearing_can_be_told_to_leave_cues_alone_and_never_to_take_up_others() -> None:
    hearing = listen(CascadeModel("echat-lite", parts(), infer=frozenset({"gender"})))
    hearing.infer_only(["emotion", "age"])
    assert {hearing.heard().cues.emotion.why, hearing.heard().cues.gender.why} == {"switched off"}
    assert isinstance(hearing, DiscreetHearing)


def test_more_frames_after_a_first_look_are_heard_too() -> None:
    hearing = listen(CascadeModel("echat-lite", parts()))
    assert hearing.heard().seconds == pytest.approx(1.0)
    for frame in frames(np.ones(8_000, np.int16)):
        hearing.push(frame)
    assert hearing.heard().seconds == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("tasks", "answer"),
    [
        (["asr"], "my dog died"),
        (["ser"], "<SAD>"),
        (["sgc", "asr", "ser"], "my dog died<SAD><FEMALE>"),
        (["srwt"], "<0.0>dog<0.4>"),
        (["sttc"], "my dog died<开始回答>Oh no. Your dog."),
    ],
)
def test_tasks_are_answered_in_osums_grammar(tasks: list[str], answer: str) -> None:
    model = CascadeModel("echat-lite", parts())
    assert model.understand(listen(model), tasks) == answer


@pytest.mark.parametrize("task", ["sap", "ved", "ssr"])
def test_a_task_that_it_cannot_do_names_the_models_that_can(task: str) -> None:
    model = CascadeModel("echat-lite", parts())
    with pytest.raises(UnsupportedError, match=f"{task}.*osum-echat-tag"):
        model.understand(listen(model), ["asr", task])


def test_no_words_have_no_cues_and_no_answer() -> None:
    hearing = listen(CascadeModel("echat-lite", parts(words="")))
    assert list(hearing.reply(Recollection())) == [hearing.heard()]
    assert hearing.heard().cues == Cues()


def test_a_language_without_a_voice_is_answered_in_writing() -> None:
    deltas = list(
        CascadeModel("echat-lite", parts()).read("我的狗死了", Cues()).reply(Recollection())
    )
    assert [type(d) for d in deltas if isinstance(d, TextDelta | SpeechDelta)] == [TextDelta] * 2


@pytest.mark.parametrize(("wanted", "asked"), [("anna", "anna"), ("zf_xiaoxiao", None)])
def test_a_voice_of_another_language_gives_way_to_the_default(
    wanted: str, asked: str | None
) -> None:
    model = CascadeModel("echat-lite", parts(), voice=wanted)
    list(listen(model).reply(Recollection()))
    assert {voice for _, _, voice in model.parts.voice.asked} == {asked}


def test_the_language_of_a_text_is_seen_in_its_script() -> None:
    assert (lang_of("I got the job."), lang_of("我找到工作了"), lang_of("OK 吗")) == (
        "en",
        "zh",
        "zh",
    )


def test_an_unknown_model_is_told_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match="echat-lite"):
        load_model("echat-late")


def test_a_released_model_that_is_not_here_says_how_to_pull_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ECHAT_HOME", str(tmp_path))
    with pytest.raises(ModelMissingError, match="echat models pull osum-echat-tag --allow-pickle"):
        load_model("osum-echat-tag")


def test_a_voice_that_nobody_has_is_told_with_those_that_there_are() -> None:
    with pytest.raises(UnsupportedError, match=r"nosuch.*zf_xiaoxiao"):
        load_model("echat-lite", voice="nosuch", lazy=True)
