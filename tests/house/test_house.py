"""The house rules that a machine can keep."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import echat_sdk

ROOT = Path(__file__).parents[2]
PACKAGES = [
    ROOT / "echat_sdk",
    ROOT / "memory/echat_memory",
    ROOT / "plugins/echat_plugins",
    ROOT / "training/echat_training",
]
SOURCES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))


def test_no_module_is_longer_than_500_lines() -> None:
    long = {p.name: n for p in SOURCES if (n := len(p.read_text().splitlines())) > 500}
    assert long == {}


def test_importing_the_sdk_loads_nothing_heavy() -> None:
    heavy = "torch transformers ctranslate2 onnxruntime sqlalchemy alembic tokenizers rich typer"
    code = f"import sys, echat_sdk; print([m for m in {heavy.split()} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_public_face_is_sorted_and_complete() -> None:
    names = echat_sdk.__all__
    assert names == sorted(names)
    tree = ast.parse((ROOT / "echat_sdk/__init__.py").read_text())
    ours = (n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom))
    typed = {a.name for n in ours if (n.module or "").startswith("echat_sdk") for a in n.names}
    assert typed == set(names)
    assert {name for name in names if getattr(echat_sdk, name).__name__ != name} == set()


def test_no_queue_is_unbounded_and_no_pickle_is_loaded() -> None:
    for path in SOURCES:
        text = path.read_text()
        assert not re.search(r"\bQueue\(\)", text), path
        # Tensors only: the child that opens a released .pt, and the vLLM protocol that carries one.
        assert path.name in ("unpickle.py", "vllm.py") or not re.search(
            r"^\s*(import|from) pickle|np\.load\([^)]*allow_pickle|torch\.load", text, re.M
        ), path


def test_no_module_bears_a_name_that_says_nothing() -> None:
    empty = {"utils", "common", "manager", "handler", "base", "core", "helpers", "misc"}
    assert [p for p in SOURCES if p.stem in empty] == []


def test_every_command_has_an_example_in_its_help() -> None:
    from typer.main import get_command

    from echat_sdk.cli.commands import app

    def leaves(command: object, path: str) -> list[tuple[str, str]]:
        inner = getattr(command, "commands", None)
        if inner:
            return [leaf for name, c in inner.items() for leaf in leaves(c, f"{path} {name}")]
        return [(path, getattr(command, "help", None) or "")]

    silent = [name for name, text in leaves(get_command(app), "echat") if "echat " not in text]
    assert silent == []


def test_the_readme_tree_is_what_is_on_disk() -> None:
    readme = (ROOT / "README.md").read_text()
    tree = readme.split("<!-- tree -->")[1].split("<!-- /tree -->")[0]
    named = re.findall(r"^([\w./-]+) {2,}\S", tree, re.M)
    missing = [name for name in named if not (ROOT / name).exists()]
    assert missing == []
    modules = {f"{p.relative_to(ROOT)}" for p in SOURCES if p.name not in ("__init__.py",)}
    told = {name for name in named if name.endswith(".py")}
    folders = tuple(name for name in named if name.endswith("/"))
    silent = [m for m in modules if m not in told and not m.startswith(folders)]
    assert silent == []


def test_every_setting_is_told_in_the_readme() -> None:
    from echat_sdk.config import Settings

    readme = (ROOT / "README.md").read_text()
    assert [k for k in Settings.model_fields if f"`{k}`" not in readme] == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_wheel_holds_our_packages_and_nothing_else(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {t for t in tops if not t.endswith(".dist-info")} == {
        "echat_memory",
        "echat_plugins",
        "echat_sdk",
        "echat_training",
    }
