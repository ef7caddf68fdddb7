from __future__ import annotations

import io
import json
import random
import re
import shutil
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from echat_memory import SQLMemory
from echat_memory.mood_report import MoodReport
from echat_sdk.cli.memory import app
from echat_sdk.cli.mood_view import ROWS, MoodView
from echat_sdk.consent import REMEMBERED
from echat_sdk.cues import Cue, Cues
from echat_sdk.errors import ConfigError, ModelMissingError, StoreError
from echat_sdk.turn import Turn

TODAY = datetime(2026, 4, 26, 12, tzinfo=UTC)  # a Sunday
FIRST = date(2026, 3, 2)
WIDE = {"COLUMNS": "120"}


class At:
    now = TODAY

    def __call__(self) -> datetime:
        return self.now


def _fill(memory: SQLMemory, clock: At, day: date, *labels: str, why: str = "") -> None:
    clock.now = datetime(day.year, day.month, day.day, 9, tzinfo=UTC)
    for label in labels:
        memory.remember("ada", Turn("x", cues=Cues(Cue(label, 0.8, why=why)), seconds=3))
        clock.now += timedelta(minutes=1)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> MoodReport:
    """Pleasant weeks, then a week of silence, an unknown day, and three sad ones."""
    clock = At()
    path = tmp_path_factory.mktemp("weeks") / "echat.db"
    with closing(SQLMemory(path, clock=clock, unasked=REMEMBERED)) as memory:
        rng = random.Random(1)
        for ago in range(55, 11, -2):
            day = TODAY.date() - timedelta(days=ago)
            _fill(memory, clock, day, *["happy"] * rng.randint(1, 4), "neutral")
        _fill(memory, clock, TODAY.date() - timedelta(days=3), "unknown", why="too\x1b[31m noisy")
        for ago in (2, 1, 0):
            _fill(memory, clock, TODAY.date() - timedelta(days=ago), "sad", "sad")
        clock.now = TODAY
        return memory.mood("ada", since=FIRST)


def drawn(report: MoodReport, width: int, first: date = FIRST, **options: object) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, **options).print(MoodView(report, first))  # type: ignore[arg-type]
    return [line.rstrip() for line in out.getvalue().splitlines()]


# --- the drawing -----------------------------------------------------------------------------


@pytest.mark.parametrize("width", [200, 80, 60, 40, 24])
@pytest.mark.parametrize("weeks", [1, 4, 8, 30, 520])
def test_it_fits_the_terminal(report: MoodReport, width: int, weeks: int) -> None:
    first = TODAY.date() - timedelta(days=7 * weeks - 1)
    assert max(len(line) for line in drawn(report, width, first)) <= width


def test_a_day_without_data_is_blank_and_never_zero(report: MoodReport) -> None:
    lines = drawn(report, 80)[2 : 2 + ROWS]
    columns = [
        {line[column] for line in lines if column < len(line)} - set(" ┄")
        for column in range(12, 12 + 56)
    ]
    with_data = {(day.day - FIRST).days for day in report.days if day.affect is not None}
    assert {column for column, marks in enumerate(columns) if marks} == with_data
    assert 20 < len(with_data) < 30


def test_a_day_of_which_nothing_is_known_is_told_apart_from_silence(report: MoodReport) -> None:
    heard = next(line for line in drawn(report, 80) if line.strip().startswith("heard"))[12:]
    day = (TODAY.date() - FIRST).days - 3
    assert heard[day] == "·"
    assert heard[day - 1] == " "
    assert set(heard[day + 1 :]) == {"▄"}  # two turns of four or five at most


def test_pleasant_is_above_and_unpleasant_below(report: MoodReport) -> None:
    lines = drawn(report, 80)[2 : 2 + ROWS]
    assert lines[0].startswith("   pleasant┤")
    height = [
        next(
            row for row, line in enumerate(lines) if len(line) > column and line[column] not in " ┄"
        )
        for column in (12, 12 + 55)
    ]
    assert height[0] < ROWS // 2 < height[1]


def test_the_home_base_is_a_line_under_the_weeks_that_it_rests_on(report: MoodReport) -> None:
    (line,) = [line[12:] for line in drawn(report, 80)[2 : 2 + ROWS] if "┄" in line]
    assert line.index("┄") >= 28


def test_mondays_are_named(report: MoodReport) -> None:
    text = "\n".join(drawn(report, 80))
    for monday in ("2 Mar", "9 Mar", "20 Apr"):
        assert monday in text


def test_the_words_hedge_and_name_no_illness(report: MoodReport) -> None:
    text = " ".join(" ".join(drawn(report, 80)).split())
    assert "perhaps lower than is usual for them" in text
    assert "Apparent, expressed emotion. Not a diagnosis." in text
    assert not any(word in text.lower() for word in ("depress", "disorder", "symptom", "risk"))


def test_what_a_model_gave_as_a_reason_cannot_steer_the_terminal(report: MoodReport) -> None:
    assert "\x1b" not in "".join(drawn(report, 80))


def test_without_colours_the_same_is_told(report: MoodReport) -> None:
    colours = {"force_terminal": True, "color_system": "standard"}
    assert "\x1b[36m" in "".join(drawn(report, 80, **colours))
    colourless = " ".join(drawn(report, 80, no_color=True, **colours))
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", colourless)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", colourless)
    assert plain.split() == " ".join(drawn(report, 80)).split()


def test_too_little_is_told_as_too_little(tmp_path: Path) -> None:
    clock = At()
    with closing(SQLMemory(tmp_path / "echat.db", clock=clock, unasked=REMEMBERED)) as memory:
        _fill(memory, clock, TODAY.date(), "sad", "sad")
        text = " ".join(" ".join(drawn(memory.mood("ada"), 80)).split())
        nothing = " ".join(drawn(memory.mood("nobody"), 80))
    assert "not enough data: needs 5 sessions on 3 days within 28 days" in text
    assert "┄" not in text
    assert "nothing in these weeks" in nothing


# --- the commands ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ten_days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clock, now = At(), datetime.now(UTC)
    path = tmp_path_factory.mktemp("days") / "echat.db"
    with closing(SQLMemory(path, clock=clock, unasked=REMEMBERED)) as memory:
        for ago in range(9, -1, -1):
            _fill(memory, clock, (now - timedelta(days=ago)).date(), "happy", "neutral")
    return path.parent


@pytest.fixture
def url(ten_days: Path, tmp_path: Path) -> str:
    shutil.copytree(ten_days, tmp_path / "store")
    return f"sqlite:///{tmp_path / 'store' / 'echat.db'}"


def test_mood_draws_and_tells(url: str) -> None:
    result = CliRunner().invoke(app, ["mood", "ada", "--store", url], env=WIDE)
    assert result.exit_code == 0, result.output
    for wanted in ("pleasant┤", "home base", "20 turns on 10 days", "days of UTC"):
        assert wanted in result.output


def test_mood_json_gives_the_numbers(url: str) -> None:
    asked = ["mood", "ada", "--weeks", "1", "--json", "--zone", "Asia/Tokyo", "--store", url]
    found = json.loads(CliRunner().invoke(app, asked).stdout)
    assert (found["user"], found["zone"]) == ("ada", "Asia/Tokyo")
    assert len(found["days"]) == len(found["sessions"]) >= 6
    assert set(found["days"][0]) == {"day", "affect", "weight", "turns", "known", "sessions"}
    assert found["home"]["base"] == found["days"][0]["affect"]
    assert found["sessions"][-1]["state"]["label"] in ("happy", "neutral", "unknown")
    assert set(found["trend"]["valence"]) == {"per_day", "low", "high"}
    assert found["coverage"] == 1.0


def test_json_says_what_is_missing_where_there_is_too_little(url: str) -> None:
    with closing(SQLMemory(url, unasked=REMEMBERED)) as memory:
        memory.remember("bob", Turn("x"))
    found = json.loads(CliRunner().invoke(app, ["mood", "bob", "--json", "--store", url]).stdout)
    for name in ("home", "mood", "deviation", "trend"):
        assert "needs" in found[name]["insufficient_data"]
    assert found["days"][0]["affect"] is None


def test_mood_draws_a_picture(url: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "mood.png"
    asked = ["mood", "ada", "--png", str(picture), "--store", url]
    result = CliRunner().invoke(app, asked, env=WIDE)
    assert str(picture) in result.output
    assert picture.read_bytes()[:4] == b"\x89PNG"
    with closing(SQLMemory(url, unasked=REMEMBERED)) as memory:
        memory.remember("bob", Turn("x"))
    asked[1] = "bob"  # nothing is known of how he sounds
    assert CliRunner().invoke(app, [*asked, "--weeks", "60"]).exit_code == 0


def test_without_matplotlib_it_is_said_what_to_install(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echat_sdk.cli.memory.find_spec", lambda name: None)
    asked = ["mood", "ada", "--png", str(tmp_path / "mood.png"), "--store", url]
    error = CliRunner().invoke(app, asked).exception
    assert isinstance(error, ModelMissingError)
    assert "pip install 'echat-sdk[training]'" in str(error)


@pytest.mark.parametrize("zone", ["Mars/Phobos", "", "../../etc/passwd", "/etc/passwd", "a\0b"])
def test_a_zone_that_is_none_is_refused(url: str, zone: str) -> None:
    error = CliRunner().invoke(app, ["mood", "ada", "--zone", zone, "--store", url]).exception
    assert isinstance(error, ConfigError)
    assert "Europe/Berlin" in str(error)


@pytest.mark.parametrize("command", [["mood", "nobody"], ["mood", "nobody", "--json"]])
def test_a_user_never_met_is_told(url: str, command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--store", url])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no user with this id" in result.stderr


def test_felt_keeps_the_users_own_word_and_show_tells_it(url: str) -> None:
    result = CliRunner().invoke(app, ["felt", "ada", "20", "fear", "--store", url])
    assert result.output == "kept: in turn 20 they felt fear, in their own word\n"
    shown = CliRunner().invoke(app, ["show", "ada", "--limit", "2", "--store", url], env=WIDE)
    assert "fear, in their own word" in shown.output
    found = CliRunner().invoke(app, ["show", "ada", "--limit", "2", "--json", "--store", url])
    assert [turn["felt"] for turn in json.loads(found.stdout)["turns"]] == [None, "fear"]


def test_felt_refuses_what_is_no_turn_or_no_emotion(url: str) -> None:
    result = CliRunner().invoke(app, ["felt", "ada", "999", "fear", "--store", url])
    assert isinstance(result.exception, StoreError)
    assert CliRunner().invoke(app, ["felt", "ada", "1", "gloomy", "--store", url]).exit_code == 2


def test_felt_can_answer_in_json(url: str) -> None:
    result = CliRunner().invoke(app, ["felt", "ada", "1", "sad", "--json", "--store", url])
    assert json.loads(result.stdout) == {"user": "ada", "turn": "1", "felt": "sad"}
