"""Which plugins are used here, and what each was granted: a file that its owner alone may read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from echat_sdk import private_file
from echat_sdk.errors import ConfigError
from echat_sdk.hooks.manifest import Manifest


class Grant(BaseModel):
    """What was said of one plugin.

    Attributes:
        enabled: Whether it is used.
        granted: What it may; see `permitted.Needs`.
        version: Of the plugin, when that was said.
        sha256: Of its source then.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = False
    granted: frozenset[str] = frozenset()
    version: str = ""
    sha256: str = ""

    def missing(self, manifest: Manifest) -> frozenset[str]:
        """What the plugin needs, as it is now, and was not granted."""
        return manifest.needs - self.granted

    def is_same(self, manifest: Manifest) -> bool:
        """Whether its source is what it was."""
        return self.sha256 == manifest.sha256


class _Kept(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: int = Field(default=1, ge=1, le=1)
    plugins: dict[str, Grant] = Field(default_factory=dict, max_length=1000)


class Grants:
    """The file.

    Args:
        path: Where it is; one that is not there grants nothing.

    Raises:
        ConfigError: it cannot be read, or is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = self._read()

    def of(self, name: str) -> Grant:
        """What was said of a plugin."""
        return self._kept.plugins.get(name, Grant())

    def keep(
        self,
        manifest: Manifest,
        *,
        enabled: bool | None = None,
        granted: frozenset[str] | None = None,
    ) -> Grant:
        """Change what is said of a plugin, as it is now.

        Raises:
            ConfigError: the file cannot be written.
        """
        with self._changing() as kept:
            before = kept.plugins.get(manifest.name, Grant())
            after = kept.plugins[manifest.name] = Grant(
                enabled=before.enabled if enabled is None else enabled,
                granted=before.granted if granted is None else granted,
                version=manifest.version,
                sha256=manifest.sha256,
            )
        return after

    def _read(self) -> _Kept:
        try:
            return _Kept.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return _Kept()
        except OSError as error:
            raise ConfigError(f"cannot read {self._path}: {error.strerror}") from error
        except ValidationError as error:
            raise ConfigError(
                f"{self._path} is no file of grants; put it back, or delete it and enable anew"
            ) from error

    @contextmanager
    def _changing(self) -> Iterator[_Kept]:
        try:
            with private_file.locked(self._path):
                self._kept = self._read()
                yield self._kept
                private_file.write(self._path, self._kept.model_dump_json(indent=1))
        except OSError as error:
            raise ConfigError(f"cannot write {self._path}: {error.strerror}") from error
