from __future__ import annotations

from pathlib import Path

import pytest

from echat_sdk.config import load_with_sources
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
