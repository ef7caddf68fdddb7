"""What a plugin says of itself, read from its source without running any of it.

```python
ECHAT_PLUGIN = {"needs": ["read_transcript", "network:example.org"], "isolated": True}
```

in the module that its entry point names, as a literal. Without it a plugin needs nothing.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from echat_sdk.errors import PluginError
from echat_sdk.hooks.permitted import Needs
from echat_sdk.hooks.spec import NAMES, PROJECT

GROUP = f"{PROJECT}.plugins"
"""The group of entry points in which plugins are."""

VARIABLE = "ECHAT_PLUGIN"
"""The name of the literal."""

_NAME = re.compile(r"[a-z][a-z0-9-]{0,49}")
_PLAIN = (Needs.READ_TRANSCRIPT, Needs.READ_EMOTION, Needs.SHAPE, Needs.KEEP)
_WITH = re.compile(r"tool:[A-Za-z_][A-Za-z0-9_]{0,63}|network:[A-Za-z0-9.*-]{1,253}(?::\d{1,5})?")
_MOST_SOURCE = 10 * 1024 * 1024


def _checked(need: str) -> str:
    if need not in _PLAIN and not _WITH.fullmatch(need):
        raise ValueError(
            f"no capability {need[:80]!r}; one of {', '.join(_PLAIN)}, tool:NAME, network:HOST"
        )
    return need


class _Literal(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    needs: list[Annotated[str, AfterValidator(_checked)]] = Field(default=[], max_length=64)
    isolated: bool = False


class Manifest(BaseModel):
    """What is known of a plugin before it runs.

    Attributes:
        name: Of its entry point.
        version: Of the package that brings it.
        module: Where it is.
        attribute: What it is there: an object, or a class that is called with its options.
        path: The module's file.
        about: The first line of the module's docstring.
        needs: What it asks for; see `permitted.Needs`.
        isolated: Whether it runs in a process of its own.
        hooks: Names of hooks that the source has.
        sha256: Of the source: of a package's, all its files.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    module: str
    attribute: str
    path: Path
    about: str = ""
    needs: frozenset[str] = frozenset()
    isolated: bool = False
    hooks: tuple[str, ...] = ()
    sha256: str

    @property
    def shares(self) -> bool:
        """Whether what it reads outlives the conversation or leaves this machine.

        Then each user has to agree to it, by the purpose `share_plugin:NAME`.
        """
        leaves = any(need.startswith("network:") for need in self.needs)
        return leaves or Needs.KEEP in self.needs


def installed() -> Iterator[Manifest | PluginError]:
    """Every plugin that an installed package brings, by name; for one that is none, why."""
    points = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    names = [point.name for point in points]
    for point in points:
        try:
            if names.count(point.name) > 1:
                raise PluginError(f"{names.count(point.name)} packages bring {point.name!r}")
            yield of_entry_point(point)
        except PluginError as error:
            yield error


def of_entry_point(point: EntryPoint) -> Manifest:
    """What a plugin says of itself.

    Raises:
        PluginError: it is none, or says what cannot be.
    """
    version = point.dist.version if point.dist is not None else ""
    return read(point.name, version, point.module, point.attr, _path_of(point.module))


def read(name: str, version: str, module: str, attribute: str, path: Path) -> Manifest:
    """What the source in a file says of a plugin.

    Raises:
        PluginError: as above.
    """
    if not _NAME.fullmatch(name):
        raise PluginError(f"plugin {name[:60]!r}: a name is small letters, digits and dashes")
    try:
        if path.stat().st_size > _MOST_SOURCE:
            raise PluginError(f"plugin {name}: its source is larger than 10 MiB")
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError) as error:
        raise PluginError(f"plugin {name}: {path} is no Python: {type(error).__name__}") from error
    try:
        said = _Literal.model_validate(_literal(tree))
    except (ValueError, ValidationError) as error:
        first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise PluginError(f"plugin {name}: {VARIABLE}: {first}") from error
    return Manifest(
        name=name,
        version=version,
        module=module,
        attribute=attribute,
        path=path,
        about=(ast.get_docstring(tree) or "").partition("\n")[0],
        needs=frozenset(said.needs),
        isolated=said.isolated,
        hooks=tuple(hook for hook in NAMES if hook in _functions(tree)),
        sha256=_hash(path),
    )


def _literal(tree: ast.Module) -> Any:
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == [VARIABLE]:
            try:
                return ast.literal_eval(node.value)
            except (ValueError, TypeError, MemoryError, RecursionError) as error:
                raise ValueError("it has to be a literal: it is read, and not run") from error
    return {}


def _functions(tree: ast.Module) -> set[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def _path_of(module: str) -> Path:
    """Where a module is; only its top-level package is asked for, which runs nothing."""
    top, *rest = module.split(".")
    found = importlib.util.find_spec(top)
    if found is None:
        raise PluginError(f"there is no module {top}")
    folders = [Path(each) for each in found.submodule_search_locations or ()]
    if not folders and not rest and found.origin is not None:
        return Path(found.origin)
    for folder in folders:
        base = folder.joinpath(*rest)
        for path in (base / "__init__.py", base.with_suffix(".py")):
            if path.is_file():
                return path
    raise PluginError(f"there is no module {module}")


def _hash(path: Path) -> str:
    files = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
    whole = hashlib.sha256()
    for file in files:
        whole.update(f"{file.relative_to(path.parent)}\0".encode())
        whole.update(hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()
