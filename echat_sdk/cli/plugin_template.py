"""The package that `echat plugins new` writes: three files and a page, which pass their test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from string import Template

from echat_sdk.errors import ConfigError

_PYPROJECT = """[build-system]
requires = ["setuptools>=68"]
build-backend = "setuptools.build_meta"

[project]
name = "echat-$name"
version = "0.1.0"
description = "A plugin for echat-sdk."
requires-python = ">=3.11"
dependencies = ["echat-sdk"]

[project.entry-points."echat.plugins"]
$name = "$module:Plugin"

[tool.setuptools]
py-modules = ["$module"]
"""

_MODULE = '''"""Counts how often somebody sounded sad, and tells when asked."""

from collections import Counter
from collections.abc import Sequence

from echat_sdk.hooks import Session
from echat_sdk.tools import Tool, tool
from echat_sdk.turn import Heard

# What it needs is read without running it, shown to whoever enables it, and granted or not.
ECHAT_PLUGIN = {"needs": ["read_emotion", "tool:how_often_sad"]}


class Plugin:
    """Has those hooks that it wants; each takes those arguments that it wants."""

    def __init__(self) -> None:
        self._sad: Counter[str] = Counter()

    def on_cues(self, session: Session, heard: Heard) -> None:
        """Somebody said something: how did it sound?"""
        self._sad[session.user] += heard.cues.emotion.label == "sad"

    def on_erase(self, user: str) -> None:
        """Nothing of them is known any more."""
        self._sad.pop(user, None)

    def tools(self) -> Sequence[Tool]:
        """Functions for the model: what people say to mean them makes it choose rightly."""

        @tool(examples={"How often did people sound sad?": {}}, looks_only=True)
        def how_often_sad() -> str:
            """How often somebody sounded sad."""
            return f"Somebody sounded sad {self._sad.total()} times."

        return [how_often_sad]
'''

_TEST = """from echat_sdk.cues import Cue, Cues
from echat_sdk.hooks import Session
from echat_sdk.testing.plugins import troubles
from echat_sdk.turn import Heard
from $module import Plugin


def test_it_is_a_good_plugin() -> None:
    assert troubles(Plugin()) == ()


def test_it_counts_and_forgets() -> None:
    plugin = Plugin()
    ada, sad = Session("k", "ada"), Heard("hm", "en", Cues(emotion=Cue("sad", 0.9)))
    plugin.on_cues(ada, sad)
    (tool,) = plugin.tools()
    assert tool.function() == "Somebody sounded sad 1 times."
    plugin.on_erase("ada")
    assert tool.function() == "Somebody sounded sad 0 times."
"""

_README = """# echat-$name

A plugin for echat-sdk.

```sh
pip install -e .
pytest
echat plugins check $name
echat plugins enable $name --grant all
```
"""


def write(name: str, folder: Path) -> Iterator[Path]:
    """Write the package; each file as it is written.

    Raises:
        ConfigError: the name is none, or something is there already.
    """
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,49}", name):
        raise ConfigError(f"no name {name[:60]!r}: small letters, digits and dashes")
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty")
    words = {"name": name, "module": f"echat_{name.replace('-', '_')}"}
    files = {
        "pyproject.toml": _PYPROJECT,
        f"{words['module']}.py": _MODULE,
        f"test_{words['module']}.py": _TEST,
        "README.md": _README,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for each, text in files.items():
        path = folder / each
        path.write_text(Template(text).substitute(words), encoding="utf-8")
        yield path
