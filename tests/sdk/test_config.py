from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from echat_sdk.cli.commands import app
from echat_sdk.config import load_with_sources, without_password
from echat_sdk.errors import ConfigError


def home(tmp_path: Path, toml: str = "") -> dict[str, str]:
    if toml:
        (tmp_path / "config.toml").write_text(toml)
    return {"ECHAT_HOME": str(tmp_path)}


def test_an_argument_outranks_the_environment_which_outranks_the_file(tmp_path: Path) -> None:
    environ = home(tmp_path, 'think = "off"\nuser = "file"\nlang = "zh"')
    environ |= {"ECHAT_THINK": "language", "ECHAT_USER": "environ"}
    loaded = load_with_sources({"user": "ada", "voice": None}, environ=environ)
    assert (loaded.settings.user, loaded.settings.think, loaded.settings.lang) == (
        "ada",
        "language",
        "zh",
    )
    assert {k: loaded.sources[k] for k in ("user", "think", "lang", "voice")} == {
        "user": "argument",
        "think": "ECHAT_THINK",
        "lang": str(tmp_path / "config.toml"),
        "voice": "default",
    }


def test_the_store_lies_in_the_home_folder_unless_told(tmp_path: Path) -> None:
    assert load_with_sources(environ=home(tmp_path)).settings.store == (
        f"sqlite:///{tmp_path / 'echat.db'}"
    )


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        ('colour = "red"', "colour .* is no setting"),
        ("threads = 0", "threads = 0 .* greater than or equal to 1"),
        ('think = "loud"', "think = 'loud' .* 'tag', 'language' or 'off'"),
        ('home = "/x"', "home is set by ECHAT_HOME"),
        ("threads = ", "cannot read settings"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_what_is_allowed(
    tmp_path: Path, toml: str, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        load_with_sources(environ=home(tmp_path, toml))


def test_a_named_settings_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_with_sources(environ=home(tmp_path) | {"ECHAT_CONFIG": str(tmp_path / "no.toml")})


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:////srv/e@b:c.db", "sqlite:////srv/e@b:c.db"),
        ("postgresql://ada@host/db", "postgresql://ada@host/db"),
        ("postgresql://ada:hidden@host:5432/db", "postgresql://ada:***@host:5432/db"),
        ("postgresql://:hid/den@host/db?a=b", "postgresql://:***@host/db?a=b"),
        (
            "postgresql://host/db?user=a&password=hidden&a=b",
            "postgresql://host/db?user=a&password=***&a=b",
        ),
    ],
)
def test_a_store_is_shown_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_the_command_shows_no_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ECHAT_HOME", str(tmp_path))
    monkeypatch.setenv("ECHAT_STORE", "postgresql://ada:hidden@host/db")
    for arguments in ([], ["--json"]):
        shown = CliRunner().invoke(app, ["config", *arguments], env={"COLUMNS": "200"}).output
        assert "ada:***@host" in shown
        assert "hidden" not in shown
