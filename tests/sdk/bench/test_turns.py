"""The turn bench on clips of tones, where every right answer is known; a few on the real voices."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from echat_sdk.audio import FRAME_SECONDS, SAMPLE_RATE, AudioFrame, Waveform
from echat_sdk.bench import turns as bench
from echat_sdk.bench.turn_clips import Clip, ClipMaker
from echat_sdk.bench.turn_held_out import HELD_OUT
from echat_sdk.bench.turn_runs import (
    READ_AFTER,
    Judgements,
    Readings,
    listen,
    speak_over,
    take_turn,
)
from echat_sdk.bench.turn_scripts import ClipSet, Plan
from echat_sdk.bench.turn_tuned import TUNED
from echat_sdk.cli import measure_turns
from echat_sdk.errors import ModelMissingError
from echat_sdk.foreground import Foreground
from echat_sdk.hesitation import hangs
from echat_sdk.model.cascade.prosody import Prosody
from echat_sdk.turn import Lang
from echat_sdk.turn_policy import TurnPolicy

POLICY = TurnPolicy()


def tone(text: str, lang: Lang, prosody: Prosody, voice: str | None) -> Waveform:
    """A voice: a tone of 60 ms a letter, with silence around it."""
    length = round(0.06 * max(4, len(text)) * SAMPLE_RATE / prosody.rate)
    sound = 8000 * np.sin(np.arange(length) * 2 * np.pi * 200 / SAMPLE_RATE)
    return np.pad(sound, SAMPLE_RATE // 10).astype(np.int16)


class Loud:
    """Takes what is loud for speech."""

    def is_speech(self, frame: AudioFrame) -> bool:
        return bool(np.abs(frame.samples.astype(np.int32)).max() > 1000)

    def reset(self) -> None:
        """Nothing is carried."""


class Sure:
    """Says the same of every pause, and counts how often it was asked."""

    def __init__(self, answer: float) -> None:
        self.answer = answer
        self.asked = 0

    def chance(self, samples: Waveform) -> float:
        self.asked += 1
        return self.answer


def said(samples: Waveform) -> tuple[str, Lang]:
    """A transcriber to whom everything sounds finished."""
    return "One two.", "en"


def left_open(samples: Waveform) -> tuple[str, Lang]:
    """One to whom nothing does."""
    return "One and", "en"


class Silencer:
    """Takes everything out."""

    def clean(self, heard: Waveform, played: Waveform) -> Waveform:
        return np.zeros_like(heard)


def made(script: str, group: str = "pause", **given: object) -> Clip:
    return ClipMaker(tone, TUNED).make(Plan(group, "en", script, 0, **given))  # type: ignore[arg-type]


def level(clip: Clip, start: float, end: float) -> float:
    piece = clip.samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
    return float(np.sqrt(np.mean(piece.astype(np.float64) ** 2)))


# --- the clips ------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", ["one two, |0.8| three four", "one two <0.8> three four"])
def test_the_truth_about_a_clip_is_true(script: str) -> None:
    clip = made(script)
    assert clip.start is not None
    assert clip.end is not None
    ((begin, stop),) = clip.pauses
    assert stop - begin == pytest.approx(0.8)
    assert level(clip, clip.start, begin) > 3000
    assert level(clip, begin + 0.02, stop - 0.02) < 50
    assert level(clip, stop, clip.end) > 3000
    assert level(clip, clip.end + 0.02, clip.end + 4) < 50


@pytest.mark.parametrize("db", [20, 5])
def test_noise_is_as_loud_as_its_name_says(db: int) -> None:
    clip = made("one two three four five", "noise", noise="white", level=db)
    assert clip.start is not None
    assert clip.end is not None
    noise = level(clip, clip.end + 1, clip.end + 3)
    both = level(clip, clip.start, clip.end)
    speech = np.sqrt(both**2 - noise**2)
    assert 20 * np.log10(speech / noise) == pytest.approx(db, abs=1)


@pytest.mark.parametrize("db", [-20, -6])
def test_an_echo_is_as_loud_as_its_name_says(db: int) -> None:
    clip = made("I am so sorry to hear that.", "echo", level=db)
    heard, played = (np.sqrt(np.mean(s.astype(float) ** 2)) for s in (clip.echo, clip.agent))
    assert 20 * np.log10(heard / played) == pytest.approx(db, abs=1.5)
    assert clip.start is None


def test_clips_are_the_same_every_time() -> None:
    plan = Plan("noise", "en", "one two", 0, "babble", 10)
    first, second = (ClipMaker(tone, TUNED).make(plan).samples for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("clips", [TUNED, HELD_OUT], ids=lambda clips: clips.name)
def test_there_are_enough_clips_of_every_kind_and_no_two_of_a_name(clips: ClipSet) -> None:
    every = clips.plans()
    names = [plan.name for plan in every]
    assert len(names) == len(set(names)) >= 90
    assert {plan.lang for plan in every} == {"en", "zh"}
    english = {plan.group for plan in clips.plans(("en",))}
    assert english == {plan.group for plan in every}
    assert len(english) == 10


def test_the_sets_share_no_sentence_no_voice_no_noise_and_no_room() -> None:
    def sentences(clips: ClipSet) -> set[str]:
        scripts = {re.sub(r"[|<][\d.]+[|>]", "", plan.script) for plan in clips.plans()}
        said = {*scripts, *(line for lines in clips.agent.values() for line in lines)}
        words = {"".join(c for c in line.casefold() if c.isalnum()) for line in said}
        return {*words, *clips.babble} - {""}

    def voices(clips: ClipSet) -> set[str | None]:
        users = (speaker.voice for those in clips.speakers.values() for speaker in those)
        return {*users, *(agent.voice for agent in clips.agents.values())}

    assert sentences(TUNED) & sentences(HELD_OUT) == set()
    assert voices(TUNED) & voices(HELD_OUT) == set()
    assert set(TUNED.sounds) & set(HELD_OUT.sounds) == set()
    assert TUNED.room != HELD_OUT.room
    assert bench.SETS[HELD_OUT.name] is HELD_OUT


@pytest.mark.parametrize("number", [*TUNED.sounds, *HELD_OUT.sounds])
def test_every_noise_is_heard_over_the_agent(number: int) -> None:
    clip = ClipMaker(tone, TUNED).make(Plan("sound", "en", "", number))
    assert level(clip, 1.2, 1.25) > 3 * level(clip, 0, 1)
    assert not clip.stops_agent


# --- one clip -------------------------------------------------------------------------------------


def test_a_delay_shorter_than_a_pause_cuts_it_off_and_a_longer_one_does_not() -> None:
    heard = listen(made("one two <0.6> three four"), Loud())
    short, long = (
        take_turn(heard, TurnPolicy(min_delay=0.3, delay=d, max_delay=d), None) for d in (0.4, 0.8)
    )
    assert short.cut == (True,)
    assert short.is_cut
    assert long.cut == (False,)
    assert not long.is_cut
    assert long.latency == pytest.approx(0.8, abs=0.03)


def test_a_turn_that_never_ends_has_no_latency() -> None:
    class Deaf(Loud):
        def is_speech(self, frame: AudioFrame) -> bool:
            return True

    outcome = take_turn(listen(made("one two"), Deaf()), POLICY, None)
    assert outcome.latency is None
    assert not outcome.is_cut


def test_who_sounds_complete_is_answered_sooner() -> None:
    heard = listen(made("one two three four"), Loud())
    sure, unsure = (take_turn(heard, POLICY, Judgements(Sure(c))).latency for c in (1.0, 0.0))
    assert sure == pytest.approx(POLICY.min_delay, abs=0.03)
    assert unsure == pytest.approx(POLICY.max_delay, abs=0.03)


def test_an_end_waits_for_its_words_and_longer_where_they_hang() -> None:
    heard, chance = listen(made("one two three four"), Loud()), Judgements(Sure(1.0))
    whole, hanging = (take_turn(heard, POLICY, chance, Readings(t)) for t in (said, left_open))
    read = POLICY.soft_end + READ_AFTER
    assert whole.latency == pytest.approx(read, abs=0.03)
    assert hanging.latency == pytest.approx(POLICY.end_delay(POLICY.hanging), abs=0.03)
    # Without waiting, the answer would have had to wait for the same words.
    assert take_turn(heard, POLICY, chance).answer == pytest.approx(whole.answer)


def test_words_that_are_not_read_change_nothing() -> None:
    heard, chance = listen(made("one two <0.6> three four"), Loud()), Judgements(Sure(0.0))
    unread = POLICY.model_copy(update={"speculations": 0})
    silent = take_turn(heard, POLICY, chance, Readings(lambda samples: ("", "en")))
    assert take_turn(heard, unread, chance, Readings(said)) == take_turn(heard, unread, chance)
    assert silent.latency == take_turn(heard, POLICY, chance).latency


def test_a_pause_is_read_once_however_many_settings_are_tried() -> None:
    read: list[int] = []

    def transcribe(samples: Waveform) -> tuple[str, Lang]:
        read.append(len(samples))
        return "One.", "en"

    heard, hangs = listen(made("one two <0.9> three four"), Loud()), Readings(transcribe)
    for delay in (0.3, 0.4, 0.5, 0.6):
        take_turn(heard, TurnPolicy(min_delay=delay), Judgements(Sure(1.0)), hangs)
    assert len(read) <= 3  # the first pause, the end, and the end of a turn that was cut in two


def test_a_pause_is_judged_once_however_many_settings_are_tried() -> None:
    judge = Sure(1.0)
    heard, chance = listen(made("one two three four"), Loud()), Judgements(judge)
    for delay in (0.3, 0.4, 0.5):
        take_turn(heard, TurnPolicy(min_delay=delay), chance)
    assert judge.asked == 1


@pytest.mark.parametrize(
    ("group", "words", "is_stopped"),
    [
        ("backchannel", "Mm-hm.", False),
        ("stop", "Stop.", True),
        ("words", "No, that is not what I meant.", True),
    ],
)
def test_words_over_the_agents_voice_do_what_they_mean(
    group: str, words: str, is_stopped: bool
) -> None:
    outcome = speak_over(made(words, group), POLICY, Loud())
    assert outcome.is_stopped is is_stopped
    if is_stopped:
        assert outcome.silent_after is not None
        assert 0.1 < outcome.silent_after < 1


def test_an_agent_that_hears_itself_falls_silent_and_one_that_does_not_goes_on() -> None:
    words = "I am so sorry to hear that. It must be a hard time for you all."
    loud = made(words, "echo", level=-6)
    assert speak_over(loud, POLICY, Loud()).pauses > 0
    for outcome in (
        speak_over(made(words, "echo", level=-40), POLICY, Loud()),
        speak_over(loud, POLICY, Loud(), Silencer()),
    ):
        assert outcome.pauses == 0
        assert not outcome.is_stopped


# --- the whole ------------------------------------------------------------------------------------

SOME = tuple(
    plan for plan in TUNED.plans(("en",)) if plan.number == 0 and plan.level in (None, 20, -12, -20)
)


@pytest.fixture(scope="module")
def found() -> bench.TurnBench:
    return bench.run(tone, TUNED, SOME, vad=Loud(), turn_end=Sure(0.9), transcribe=said)


SYSTEMS = ["plain VAD", "Smart Turn", "ours, by sound", "ours"]


def test_every_clip_is_made_heard_and_told(found: bench.TurnBench) -> None:
    told: list[tuple[str, int, int]] = []
    bench.run(
        tone,
        TUNED,
        SOME[:2],
        vad=Loud(),
        turn_end=Sure(1),
        transcribe=said,
        step=lambda *at: told.append(at),
    )
    assert [at for what, *at in told if "clips" in what] == [[1, 2], [2, 2]]
    for what in {what for what, *_ in told}:
        assert [done for w, done, _ in told if w == what] == list(
            range(1, 1 + next(of for w, _, of in told if w == what))
        )
    without = [row for row in found.overlaps if row.echo == "off"]
    assert found.clips + sum(row.clips for row in without) == len(SOME)
    assert [row.system for row in found.turns] == SYSTEMS
    assert found.set == "tuned"


def test_every_noise_is_told_of_every_system(found: bench.TurnBench) -> None:
    rows = {(row.system, row.noise): row for row in found.noise}
    assert {noise for _, noise in rows} == {"white, 20 dB", "babble, 20 dB"}
    assert {system for system, _ in rows} >= {"plain VAD", "Smart Turn", "ours"}
    assert all(row.clips == 1 and row.cut <= 1 for row in rows.values())


def test_waiting_longer_never_cuts_off_more(found: bench.TurnBench) -> None:
    for row in found.turns:
        assert row.cutoffs_600 <= row.cutoffs_300
        for one, other in pairwise(row.frontier):
            assert other.latency >= one.latency
            assert other.cutoffs < one.cutoffs


def test_latency_at_five_per_cent_is_that_of_the_best_setting(found: bench.TurnBench) -> None:
    plain = found.turns[0]
    assert plain.latency_at_5 is not None
    careful = [point.latency for point in plain.curve if point.cutoffs <= 0.05]
    assert plain.latency_at_5 == min(careful)
    assert plain.latency_at_5 >= max(
        stop - begin for plan in SOME for begin, stop in ClipMaker(tone, TUNED).make(plan).pauses
    ) - 3 * FRAME_SECONDS  # fmt: skip


def test_what_was_found_can_be_written_as_json(found: bench.TurnBench) -> None:
    told = json.loads(json.dumps(asdict(found)))
    assert [row["system"] for row in told["turns"]] == SYSTEMS
    assert {row["level"] for row in told["echoes"]} == {-20, -12}


def test_the_picture_is_drawn(found: bench.TurnBench, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from echat_sdk.bench.turn_plot import plot

    plot(found, tmp_path / "turns.png")
    assert (tmp_path / "turns.png").read_bytes()[:4] == b"\x89PNG"


def test_a_bench_of_nothing_says_nothing_and_does_not_fail() -> None:
    few = [replace(SOME[0])]
    nothing = bench.run(tone, TUNED, few, vad=Loud(), turn_end=Sure(1), transcribe=said)
    assert nothing.noise == nothing.echoes == ()
    assert set(nothing.false_barge_ins.values()) == {0}
    assert set(nothing.missed_barge_ins.values()) == {0}


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, found: bench.TurnBench) -> typer.Typer:
    monkeypatch.setattr(bench, "open_voice", lambda **given: tone)
    monkeypatch.setattr(bench, "languages", lambda: ("en", "zh"))
    monkeypatch.setattr(bench, "run", lambda *given, **named: found)
    monkeypatch.setattr("echat_sdk.model.turn_end.open_turn_end", lambda: Sure(0.9))
    monkeypatch.setattr(bench, "open_ears", lambda **given: said)
    monkeypatch.setattr("echat_sdk.vad.SileroVAD", lambda model: Loud())
    app = typer.Typer()
    app.command()(measure_turns.turns)
    return app


def test_the_command_shows_every_system_sound_and_noise(command: typer.Typer) -> None:
    shown = CliRunner().invoke(command, [], catch_exceptions=False, env={"COLUMNS": "140"})
    assert shown.exit_code == 0
    for word in (*SYSTEMS, "filler", "echo, -12 dB", "backchannel", "babble, 20 dB", "ERLE"):
        assert word in shown.stdout
    assert "tuned" in shown.stdout


def test_the_command_can_answer_in_json(command: typer.Typer) -> None:
    told = json.loads(CliRunner().invoke(command, ["--json"]).stdout)
    assert [row["system"] for row in told["turns"]] == SYSTEMS


def test_what_is_missing_is_said_before_anything_is_made(
    command: typer.Typer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    error = CliRunner().invoke(command, ["--plot", str(tmp_path / "a.png")]).exception
    assert isinstance(error, ModelMissingError)
    assert "matplotlib" in str(error)
    monkeypatch.setattr("echat_sdk.model.turn_end.open_turn_end", lambda: None)
    error = CliRunner().invoke(command, []).exception
    assert isinstance(error, ModelMissingError)
    assert "echat models pull smart-turn" in str(error)


def test_clips_that_need_voices_say_so_where_there_are_none(
    command: typer.Typer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "languages", lambda: ("en",))
    error = CliRunner().invoke(command, ["--set", "held-out"]).exception
    assert isinstance(error, ModelMissingError)
    assert "echat models pull kokoro-82m" in str(error)
    assert CliRunner().invoke(command, ["--set", "tuned", "--json"]).exit_code == 0


# --- on real weights ------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.timeout(300)
def test_ours_cuts_off_fewer_than_plain_voice_detection_and_answers_a_sentence_soon() -> None:
    from echat_sdk.model import zoo
    from echat_sdk.model.turn_end import FILE, SmartTurn
    from echat_sdk.vad import SileroVAD

    few = [
        plan
        for plan in TUNED.plans(("en",))
        if plan.group == "complete"
        or (plan.group in ("filler", "stop", "backchannel", "echo") and plan.number < 3)
    ]
    turn_end = SmartTurn(zoo.locate("smart-turn") / FILE)
    found = bench.run(
        bench.open_voice(),
        TUNED,
        few,
        vad=SileroVAD(),
        turn_end=turn_end,
        transcribe=bench.open_ears(),
    )
    plain, _, _, ours = found.turns
    assert ours.cutoffs_300 < plain.cutoffs_300
    assert ours.groups["complete"][1] < 0.7
    assert ours.unended == 0
    assert found.missed_barge_ins["guard"] == 0
    assert found.false_barge_ins["guard"] <= 0.2


@pytest.mark.real
@pytest.mark.timeout(300)
def test_whisper_leaves_half_a_sentence_open_and_a_whole_one_not() -> None:
    maker, transcribe = ClipMaker(bench.open_voice(), TUNED), bench.open_ears()
    scripts = ("I went to the <0.8> dentist.", "My daughter is <0.8> getting married in June.")
    for script in scripts:
        clip = maker.make(Plan("pause", "en", script, 0))
        assert clip.end is not None
        ((begin, _),) = clip.pauses
        half, whole = (
            clip.samples[: round((until + 0.14) * SAMPLE_RATE)] for until in (begin, clip.end)
        )
        assert hangs(*transcribe(half))
        assert not hangs(*transcribe(whole))


@pytest.mark.real
@pytest.mark.timeout(300)
def test_a_turn_in_a_crowd_ends() -> None:
    from echat_sdk.vad import SileroVAD

    maker, bare = ClipMaker(bench.open_voice(), TUNED), SileroVAD()
    for level in (10, 5):
        clip = maker.make(Plan("noise", "en", TUNED.noisy["en"][0], 0, "babble", level))
        crowd, user = (
            take_turn(listen(clip, vad), POLICY, None).latency for vad in (bare, Foreground(bare))
        )
        assert crowd is None
        assert user is not None
        assert user < 2


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "detector",
    [
        pytest.param("silero", marks=pytest.mark.endurance),
        pytest.param("webrtc", marks=pytest.mark.real),
    ],
)
def test_where_there_is_no_crowd_the_user_is_heard_as_by_the_detector_alone(detector: str) -> None:
    from echat_sdk.vad import SileroVAD, WebRTCVAD

    maker = ClipMaker(bench.open_voice(), TUNED)
    bare = SileroVAD() if detector == "silero" else WebRTCVAD()
    for plan in TUNED.plans(("en",)):
        if plan.noise == "babble" or (
            plan.noise and detector == "webrtc"
        ):  # it takes noise for speech
            continue
        clip = maker.make(plan)
        assert listen(clip, Foreground(bare)).flags == listen(clip, bare).flags, plan.name
