"""Files that the manifest does not pin: trusted as the hub had them at the first pull, then pinned.

`HOME/pins/PART.json` holds, for each such file, the commit, sha256 and size that the hub gave
before the first byte was fetched. Every later pull must get the same bytes, or be told otherwise.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from echat_sdk.errors import CheckpointError, ModelMissingError
from echat_sdk.model.fetch import File, Hub
from echat_sdk.model.manifest import Part
from echat_sdk.model.web import NoSuchFileError


@dataclass(frozen=True, slots=True)
class Pin:
    """What a file was when it was first trusted; its size in bytes."""

    repository: str
    commit: str
    sha256: str
    size: int


Pins = dict[str, Pin]


def read_pins(path: Path) -> Pins:
    """The pins of a file, by the names of what they pin; none where there is no file.

    Raises:
        CheckpointError: it is damaged.
    """
    try:
        data = json.loads(path.read_text("utf-8"))
        return {str(name): Pin(**pin) for name, pin in data.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is damaged: it should hold the hashes of what was pulled; remove it to trust "
            "the hub afresh"
        ) from error


def write_pins(path: Path, pins: Mapping[str, Pin]) -> None:
    """Write what `read_pins` reads, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps({n: asdict(p) for n, p in pins.items()}, indent=1) + "\n", "utf-8")
    fresh.replace(path)


def pinned(part: Part, pins: Mapping[str, Pin]) -> Part:
    """A part whose files have the sizes and hashes that were pinned.

    Others stay as they are, but for an optional one: it was not there to be pinned.
    """
    files = (_pinned(file, pins.get(file.name)) for file in part.files)
    return replace(part, files=tuple(file for file in files if file.sha256 or not file.optional))


def settle(
    part: Part, path: Path, look_up: Callable[[Hub], Pin], *, update: bool, again: str
) -> Part:
    """A part with the size and hash of every file: the manifest's, the first pull's or the hub's.

    Args:
        part: As the manifest has it.
        path: Where its pins are, or will be.
        look_up: Asks the hub what a file is.
        update: Take what the hub has now, instead of refusing what is not as it was.
        again: The command that does so, for the message.

    Raises:
        CheckpointError: the hub has another file than it had at the first pull.
        ModelMissingError: the hub cannot be asked, and the file was never pinned.
    """
    pins = read_pins(path)
    pulled = bool(pins)
    for file in (file for file in part.files if not file.sha256):
        known = pins.get(file.name)
        source = next(source for source in file.sources if isinstance(source, Hub))
        try:
            found = look_up(source)
        except ModelMissingError as error:
            if file.optional and (pulled or isinstance(error, NoSuchFileError)):
                continue
            if known is None:
                raise ModelMissingError(f"cannot ask the hub about {file.name}: {error}") from error
            continue  # what is pinned may be here already, or in a local folder
        if known is not None and known.sha256 != found.sha256 and not update:
            raise CheckpointError(
                f"{file.name} is no longer what it was at the first pull: {source.repository} now "
                f"has sha256 {found.sha256[:12]}... (commit {found.commit[:8]}), then it had "
                f"{known.sha256[:12]}... (commit {known.commit[:8]}). If you trust the change, "
                f"run: {again}"
            )
        if known is None or known.sha256 != found.sha256:
            pins[file.name] = found
    write_pins(path, pins)
    return pinned(part, pins)


def _pinned(file: File, pin: Pin | None) -> File:
    if file.sha256 or pin is None:
        return file
    sources = tuple(
        replace(source, revision=pin.commit) if isinstance(source, Hub) else source
        for source in file.sources
    )
    return replace(file, size=pin.size, sha256=pin.sha256, sources=sources)
