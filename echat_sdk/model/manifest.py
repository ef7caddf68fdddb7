"""The zoo's manifest as values: what a part and a model are, read from `zoo.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from echat_sdk.model.fetch import File, Hub, Member, Packages, Source, Web


@dataclass(frozen=True, slots=True)
class Part:
    """A directory of files that one network is loaded from, or converted from.

    Attributes:
        name: Its name in the zoo.
        licence: SPDX name of the weights' licence.
        files: What it consists of.
        converted_size: For a GGUF, about how many bytes it has when converted to CTranslate2, which
            is what it is loaded from; 0 for a part that is loaded as it is.
    """

    name: str
    licence: str
    files: tuple[File, ...]
    converted_size: int = 0

    @property
    def size(self) -> int:
        """Bytes of all files, before conversion; 0 where one is not known."""
        sizes = [file.size for file in self.files if not file.optional]
        return sum(sizes) if all(sizes) else 0

    @property
    def hashes(self) -> dict[str, str]:
        """Name to sha256 of each file."""
        return {file.name: file.sha256 for file in self.files}


@dataclass(frozen=True, slots=True)
class Card:
    """What a model can do, and what it is made of.

    Attributes:
        name: Its name in the zoo.
        summary: What it is, in a line.
        languages: What it hears and answers, as ISO 639-1 codes.
        tasks: The OSUM tasks that it does.
        licence: SPDX names of the weights' licences.
        size: Bytes to fetch, without the voices; 0 where the release does not say.
        parts: Names of the parts that it is loaded from.
        voices: Names of optional parts, for more voices and languages to answer in.
        release: Instead of `parts`: names of the parts that it is converted from, once, as others
            released them.
        converts: The kind of checkpoint that `release` is, of `echat.convert.KINDS`.
    """

    name: str
    summary: str
    languages: tuple[str, ...]
    tasks: tuple[str, ...]
    licence: str
    size: int
    parts: tuple[str, ...] = ()
    voices: tuple[str, ...] = ()
    release: tuple[str, ...] = ()
    converts: str = ""


def read_manifest(path: Path) -> tuple[dict[str, Part], dict[str, Card]]:
    """The parts and models of a manifest, by name, in its order."""
    data = tomllib.loads(path.read_text("utf-8"))
    parts = {name: _read_part(name, entry) for name, entry in data["parts"].items()}
    return parts, {name: _read_card(name, entry, parts) for name, entry in data["models"].items()}


def _read_part(name: str, entry: Mapping[str, Any]) -> Part:
    files = []
    for file in entry["files"]:
        sources: list[Source] = []
        if "hub" in entry:
            repository, revision = entry["hub"].split("@")
            sources.append(Hub(repository, revision, file["name"]))
        if "web" in file:
            sources.append(Web(file["web"]))
        if "wheels" in file:
            sources.append(Packages(tuple(Member(*w.split(":")) for w in file["wheels"])))
        size, sha256 = file.get("size", 0), file.get("sha256", "")
        optional = file.get("optional", False)
        files.append(File(file["name"], size, sha256, tuple(sources), optional))
    return Part(name, entry["licence"], tuple(files), entry.get("converted_size", 0))


def _read_card(name: str, entry: Mapping[str, Any], parts: Mapping[str, Part]) -> Card:
    loaded, release = entry.get("parts", ()), entry.get("release", ())
    own = [parts[part] for part in (*loaded, *release)]
    licences = sorted({part.licence for part in own})
    sizes = [part.size for part in own]
    return Card(
        name,
        entry["summary"],
        tuple(entry["languages"]),
        tuple(entry["tasks"]),
        ", ".join(licences),
        sum(sizes) if all(sizes) else 0,
        tuple(loaded),
        tuple(entry.get("voices", ())),
        tuple(release),
        entry.get("converts", ""),
    )
