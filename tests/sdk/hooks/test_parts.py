"""A model, a memory, a detector of speech that a package brings."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from echat_plugins.clock import Clock
from echat_sdk.cli import rooms, serve
from echat_sdk.config import load_with_sources
from echat_sdk.errors import ConfigError
from echat_sdk.hooks import Plugins, parts
from echat_sdk.hooks.grants import Grants
from echat_sdk.hooks.loading import load
from echat_sdk.testing import FakeModel, Line, RAMMemory
from echat_sdk.testing.audio import ScriptedVAD


def model(words: str = "hello") -> FakeModel:
    return FakeModel(Line(words))


@pytest.fixture(autouse=True)
def points(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"mine": model, "ram": RAMMemory, "loud": ScriptedVAD, "wrong": dict}
    groups = {
        "echat.models": ["mine", "wrong"],
        "echat.memories": ["ram"],
        "echat.vads": ["loud"],
    }
    monkeypatch.setattr(
        parts,
        "entry_points",
        lambda group: [EntryPoint(name, name, group) for name in groups[group]],
    )
    monkeypatch.setattr(EntryPoint, "load", lambda self: made[self.value])


def settings(home: Path, **more: Any) -> Any:
    return load_with_sources(more, environ={"ECHAT_HOME": str(home)}).settings


def test_the_settings_name_them_and_their_options_are_a_plugins(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[plugins.mine]\nwords = "my words"\n')
    chosen = settings(tmp_path, model="plugin:mine", vad="plugin:loud", store="plugin:ram")
    found = rooms.model(chosen)
    assert isinstance(found, FakeModel)
    assert found._lines[0].transcript == "my words"
    assert isinstance(rooms.vad(chosen), ScriptedVAD)
    _, troubles = load(Grants(tmp_path / "plugins.json"), chosen.plugins)
    assert troubles == []
    with serve.opened(chosen) as service:
        assert isinstance(service.memory, RAMMemory)
        assert isinstance(service.open_vad(), ScriptedVAD)


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("plugin:other", {}, "no model 'other' in echat.models; there are mine, wrong"),
        ("plugin:mine", {"x": 1}, "model mine: TypeError: .*unexpected keyword argument 'x'"),
        ("plugin:wrong", {}, "model wrong is a dict, and no SpeechModel"),
    ],
)
def test_what_is_none_is_told(name: str, options: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parts.made("model", name, options)


def test_a_model_that_can_use_no_tools_goes_without_those_of_plugins(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Talks:
        name = "talks"

    plugins = Plugins.of([Clock()])
    rooms.fit(plugins, FakeModel())
    assert len(plugins.tools) == 3
    rooms.fit(plugins, Talks())  # type: ignore[arg-type]
    assert plugins.tools == ()
    assert "the tools of plugins are not offered: talks cannot" in capsys.readouterr().err
    plugins.close()
