"""How a model gets here: its parts fetched and verified, then converted where they must be.

A pull can be interrupted at any moment, and killed: the next one goes on. What can be loaded is
moved to its place when it is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

from echat_sdk.errors import CheckpointError, ConfigError, ModelMissingError
from echat_sdk.model.cache import Cache, check, seal, size_text
from echat_sdk.model.fetch import Fetcher, File, Hub, Packages
from echat_sdk.model.hub import look_up
from echat_sdk.model.manifest import Card, Part
from echat_sdk.model.pins import Pin, Pins, read_pins, settle, write_pins

RELEASE = "release.json"
"""In a pulled checkpoint: the pins of the files that it was converted from."""

_VOICES = "token2wav/voices/*.safetensors"  # where `echat voices add` puts the user's own


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one file of a part is: `done` of `total` bytes; `note` says what is being done.

    While another pull or the hub's answer is waited for, `file` is empty and `total` 0.
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
class Pulled:
    """What a pull did; nothing fetched and nothing converted means that all was here.

    Attributes:
        fetched: The files that came.
        converted: Names of the parts, or of the model, that were converted.
        notes: What whoever uses them should know.
    """

    fetched: tuple[Fetched, ...] = ()
    converted: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


Tell = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Puller:
    """Pulls into one cache from one set of sources.

    Args:
        cache: Where to.
        fetcher: Where from.
        tell: Told how far each file is.
    """

    cache: Cache
    fetcher: Fetcher
    tell: Tell

    def parts(self, parts: Sequence[Part], *, update: bool) -> Pulled:
        """Fetch parts that are loaded as they are, or as the GGUF that they hold is converted.

        Args:
            parts: Which.
            update: See `pins.settle`.
        """
        fetched: list[Fetched] = []
        converted: list[str] = []
        for part in parts:
            with self.cache.lock(part.name, partial(self._waiting, part.name)):
                settled = self._settled(part, update=update, again=f"{part.name} --update")
                missing = self._missing(settled)
                if missing:
                    needed = self._bytes_to_come(settled, missing)
                    self.cache.require_space(needed + settled.converted_size)
                fetched += self._fetch(settled, missing)
                converted += self._convert(settled)
                self.cache.clear_downloads(part.name)
        return Pulled(tuple(fetched), tuple(converted))

    def release(
        self, card: Card, parts: Sequence[Part], *, allow_pickle: bool, keep: bool, update: bool
    ) -> Pulled:
        """Fetch what others released and convert it into an installed checkpoint.

        Args:
            card: The model.
            parts: Its parts.
            allow_pickle: The consent to open the released pickle; it is asked for before a byte is
                fetched.
            keep: Leave the released files in the cache too.
            update: See `pins.settle`.

        Raises:
            CheckpointError: no consent, the release changed, or it is not what the network needs.
            ConfigError: a checkpoint of this name is here that was not pulled.
            ModelMissingError: a file has no source, a package is missing, the disk is too small.
        """
        folder = self.cache.checkpoint(card.name)
        with self.cache.lock("checkpoints", partial(self._waiting, card.name)):
            refuse_foreign(folder)
            whole = not check(folder)
            if whole and not update:
                return Pulled()
            _require_consent(card, allow_pickle)
            install = _installer(card.name)
            again = f"{card.name} --update --allow-pickle"
            settled = [self._settled(part, update=update, again=again) for part in parts]
            pins = _origins(settled)
            if whole and _hashes(read_pins(folder / RELEASE)) == _hashes(pins):
                return Pulled()
            fetched = self._fetch_release(settled, install)
            notes = self._install(card, settled, install)
            write_pins(self._scratch(card) / RELEASE, pins)
            self.cache.publish(self._scratch(card), folder, carry=_VOICES)
            for part in settled:
                if not keep:
                    self.cache.drop(part.name, part.hashes)
                self.cache.clear_downloads(part.name)
            self.cache.clear_downloads(card.name)
        return Pulled(tuple(fetched), (card.name,), notes)

    def _fetch_release(self, parts: Sequence[Part], install: ModuleType) -> list[Fetched]:
        """Fetch all parts, if there is room for them and for what they are converted into."""
        missing = {part.name: self._missing(part) for part in parts}
        to_come = sum(self._bytes_to_come(part, missing[part.name]) for part in parts)
        self.cache.require_space(to_come + install.space([f for p in parts for f in p.files]))
        fetched: list[Fetched] = []
        for part in parts:
            with self.cache.lock(part.name, partial(self._waiting, part.name)):
                fetched += self._fetch(part, missing[part.name])
        return fetched

    def _install(self, card: Card, parts: Sequence[Part], install: ModuleType) -> tuple[str, ...]:
        files = [self.cache.part(part.name) / file.name for part in parts for file in part.files]
        total = max(part.size for part in parts)

        def report(stage: str, share: float) -> None:
            self.tell(Progress(card.name, "converted", int(share * total), total, stage))

        self.cache.downloads(card.name)  # and nothing in it of a process that died
        notes: tuple[str, ...]
        notes = install.install(card.converts, files, self._scratch(card), progress=report)
        return notes

    def _scratch(self, card: Card) -> Path:
        return self.cache.root / "downloads" / card.name / "checkpoint"

    def _settled(self, part: Part, *, update: bool, again: str) -> Part:
        """The part with all hashes known; for one that the manifest pins nobody is asked."""
        if all(file.sha256 for file in part.files):
            return part
        path = self.cache.pins(part.name)

        def ask(source: Hub) -> Pin:
            self.tell(Progress(part.name, "", 0, 0, "asking the hub what it is"))
            work = self.cache.downloads(part.name)
            return look_up(self.fetcher.web, self.fetcher.endpoint, source, work)

        return settle(part, path, ask, update=update, again=f"echat models pull {again}")

    def _missing(self, part: Part) -> list[File]:
        """The files whose bytes are not in the cache; hashes those that may be."""
        if not check(self.cache.part(part.name), part.hashes):
            return []
        return [file for file in part.files if not self.cache.holds(file.sha256)]

    def _bytes_to_come(self, part: Part, missing: Sequence[File]) -> int:
        """Bytes of disk that fetching files takes beyond what it has taken already."""
        here = sum(file.stat().st_size for file in self.cache.downloads(part.name).iterdir())
        size = sum(file.size for file in missing)
        if not any(isinstance(s, Packages) for file in missing for s in file.sources):
            return max(size - here, 0)
        # Wheels are about as large as what is in them, and kept until the file is verified.
        return max(2 * size - here, size)

    def _fetch(self, part: Part, missing: Sequence[File]) -> list[Fetched]:
        folder = self.cache.part(part.name)
        if not missing and not check(folder, part.hashes):
            return []
        fetched = []
        for file in missing:

            def report(done: int, note: str, file: File = file) -> None:
                self.tell(Progress(part.name, file.name, done, file.size, note))

            work = self.cache.downloads(part.name)
            path, source = self.fetcher.fetch(part.name, file, work, report)
            self.cache.admit(path, file.sha256)
            fetched.append(Fetched(part.name, file.name, file.size, source))
        for file in part.files:
            self.cache.place(part.name, file.name, file.sha256)
        seal(folder, part.hashes)
        return fetched

    def _convert(self, part: Part) -> list[str]:
        """Convert a fetched GGUF once for this version of the converter."""
        if not part.converted_size or not check(self.cache.derived(derived_name(part))):
            return []
        try:
            from echat_sdk.model.cascade.gguf import convert

            scratch = self.cache.downloads(part.name) / "converted"
            self.cache.require_space(part.converted_size)
            total = part.converted_size

            def report(share: float) -> None:
                self.tell(Progress(part.name, "converted", int(share * total), total, "converting"))

            convert(self.cache.part(part.name) / part.files[0].name, scratch, progress=report)
        except ModuleNotFoundError as error:
            raise ModelMissingError(
                f"{error.name} is not installed, which {part.name} is converted with; "
                'run: pip install "echat-sdk[lite]"'
            ) from error
        self.cache.publish(scratch, self.cache.derived(derived_name(part)))
        return [part.name]

    def _waiting(self, name: str) -> None:
        self.tell(Progress(name, "", 0, 0, "another pull is at it: waiting"))


def derived_name(part: Part) -> str:
    """The folder of a GGUF's conversion by this version of the converter."""
    from echat_sdk.model.cascade.gguf import CONVERTER_VERSION

    return f"{part.name}-{part.files[0].sha256[:12]}-v{CONVERTER_VERSION}"


def refuse_foreign(folder: Path) -> None:
    """Refuse a checkpoint that nobody pulled: what it should be is written nowhere.

    Raises:
        ConfigError: it was converted by hand.
    """
    if (folder / "echat.json").exists() and not (folder / RELEASE).exists():
        raise ConfigError(
            f"{folder} is there already, and was converted from a file of yours: use it, or remove "
            "it and pull again"
        )


def _require_consent(card: Card, allow_pickle: bool) -> None:
    if not allow_pickle:
        size = f"{size_text(card.size)} are fetched and then" if card.size else "It is fetched and"
        raise CheckpointError(
            f"{card.name} is released as a pickle, which can run programs when it is opened. {size}"
            " opened in a child process that may load tensors and nothing else. If you trust its "
            f"makers, run: echat models pull {card.name} --allow-pickle"
        )


def _installer(model: str) -> ModuleType:
    """What converts a release; it is missed before gigabytes are fetched, not after."""
    try:
        from echat_sdk.model.echat import install
    except ModuleNotFoundError as error:
        raise ModelMissingError(
            f"{error.name} is not installed, which {model} is converted with; "
            'run: pip install "echat-sdk[echat]"'
        ) from error
    return install


def _origins(parts: Sequence[Part]) -> Pins:
    """Where each file of settled parts comes from."""
    return {
        file.name: Pin(source.repository, source.revision, file.sha256, file.size)
        for part in parts
        for file in part.files
        for source in file.sources
        if isinstance(source, Hub)
    }


def _hashes(pins: Pins) -> dict[str, str]:
    return {name: pin.sha256 for name, pin in pins.items()}
