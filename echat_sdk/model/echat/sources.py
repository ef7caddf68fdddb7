"""Reads checkpoints as others wrote them: torch files, DeepSpeed folders, safetensors, tars.

A pickle can run programs when it is opened. It is opened only on consent, in a child process that
gets no environment, and that builds tensors only (see `unpickle`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from echat_sdk.errors import CheckpointError

Paths = dict[tuple[str, ...], Tensor]

COSYVOICE_TENSORS = ("flow.pt", "hift.pt", "spk2info.pt")
COSYVOICE_NETWORKS = ("campplus.onnx", "speech_tokenizer_v1.onnx")
_DEEPSPEED = "mp_rank_00_model_states.pt"
_MAX_MEMBER = 8 << 30  # bytes of one file in a tar
_MAX_MEMBERS = 10_000
_CHILD_SECONDS = 3600


def read_state(source: Path, *, allow_pickle: bool, work: Path | None = None) -> dict[str, Tensor]:
    """The state dict of a file or a training folder, under the names that it has there.

    Args:
        source: A torch file, flat or wrapped by a training framework; a safetensors file or a
            folder of them; a DeepSpeed folder, of any ZeRO stage, without model parallelism.
        allow_pickle: The consent of whoever trusts the file's maker.
        work: Where what is temporary is written, about as large as the file; None takes the
            system's folder for it.

    Raises:
        CheckpointError: no consent, no such file, damaged, or not a state dict.
    """
    file = find_file(source)
    if isinstance(file, list) and file[0].suffix == ".safetensors":
        merged: dict[str, Tensor] = {}
        for shard in file:
            merged |= _read_safetensors(shard)
        return merged
    if isinstance(file, list):
        return _read_zero(file, allow_pickle, work)
    if file.suffix == ".safetensors":
        return _read_safetensors(file)
    with unpickled(file, allow=allow_pickle, work=work) as (tensors,):
        nested = next((path for path in tensors if len(path) != 1), None)
        if nested is not None or not tensors:
            raise CheckpointError(
                f"{file.name} is no state dict of named tensors"
                + (f": it nests {'.'.join(nested)}" if nested else "")
            )
        state = {path[0]: tensor for path, tensor in tensors.items()}
    empty = [name for name, tensor in state.items() if not tensor.numel()]
    if empty:
        raise CheckpointError(
            f"{file.name} holds {len(empty)} empty tensors ({empty[0]}, ...): its weights are in "
            "ZeRO stage 3 shards; give the whole folder of them"
        )
    return state


def _read_zero(models: list[Path], allow: bool, work: Path | None) -> dict[str, Tensor]:
    """The parameters that ZeRO stage 3 split: shapes in these files, numbers in those beside."""
    files: list[Path] = []
    for model in models:
        beside = model.name.replace("model_states", "optim_states")
        named = (model.with_name(prefix + beside) for prefix in ("", "bf16_"))
        optim = next((file for file in named if file.is_file()), None)
        if optim is None:
            raise CheckpointError(
                f"no {beside} beside {model.name}: in ZeRO stage 3 the weights are in there"
            )
        files += [model, optim]
    names = f"{models[0].parent.name} ({len(models)} shards of ZeRO stage 3)"
    _require_consent(names, files, allow)
    with _scratch(work) as scratch:
        target = scratch / "joined.safetensors"
        try:
            _run_child(names, ["--zero", target, *files], scratch)
        except CheckpointError as error:
            raise CheckpointError(
                f"{error}. DeepSpeed's own zero_to_fp32.py, which it saves beside the shards, joins"
                " them too; convert what it writes"
            ) from error
        return {".".join(path): tensor for path, tensor in _read_paths(target).items()}


def _rank(shard: Path) -> int:
    found = re.match(r"zero_pp_rank_(\d+)_", shard.name)
    return int(found[1]) if found else 0


def find_file(source: Path) -> Path | list[Path]:
    """The file that holds the weights, or the shards.

    Raises:
        CheckpointError: there is none.
    """
    if source.is_file():
        return source
    if not source.is_dir():
        raise CheckpointError(f"there is no file or folder {source}")
    if shards := sorted(source.glob("*.safetensors")):
        return shards
    latest = source / "latest"
    tag = latest.read_text("utf-8").strip() if latest.is_file() else ""
    for folder in (source, source / Path(tag).name):
        if (folder / _DEEPSPEED).is_file():
            return folder / _DEEPSPEED
        if shards := list(folder.glob(f"zero_pp_rank_*_{_DEEPSPEED}")):
            return sorted(shards, key=_rank)
    raise CheckpointError(
        f"{source} holds neither safetensors nor {_DEEPSPEED}; give the checkpoint's own file"
    )


@contextmanager
def unpickled(*files: Path, allow: bool, work: Path | None = None) -> Iterator[list[Paths]]:
    """The tensors of torch files by their paths; `work` as in `read_state`.

    Raises:
        CheckpointError: no consent, damaged, or a file asks for more than tensors.
    """
    names = ", ".join(file.name for file in files)
    _require_consent(names, files, allow)
    with _scratch(work) as scratch:
        targets = [scratch / f"{i}.safetensors" for i in range(len(files))]
        pairs = zip(files, targets, strict=True)
        _run_child(names, [path for pair in pairs for path in pair], scratch)
        yield [_read_paths(target) for target in targets]


def _require_consent(names: str, files: Iterable[Path], allow: bool) -> None:
    for file in files:
        _refuse_foreign(file)
    if not allow:
        raise CheckpointError(
            f"{names}: a pickle, which can run programs when it is opened. If you trust where it "
            "came from, say so with --allow-pickle; it is then opened in a child process"
        )


def _refuse_foreign(file: Path) -> None:
    """Refuse what torch never wrote, before anybody is asked to trust it."""
    try:
        with file.open("rb") as opened:
            head = opened.read(4)
    except OSError as error:
        raise CheckpointError(f"{file.name} cannot be read: {error.strerror}") from error
    if not head.startswith((b"PK", b"\x80")):
        what = "empty" if not head else "not a checkpoint"
        raise CheckpointError(
            f"{file.name} is {what}; expected a .pt that torch wrote, a .safetensors, a DeepSpeed "
            "folder, or a CosyVoice tar"
        )


@contextmanager
def cosyvoice_files(source: Path, work: Path | None = None) -> Iterator[dict[str, Path]]:
    """The files of a CosyVoice release that we know, from its folder or its tar.

    A tar's members are copied under our own names, so none can be written anywhere else.

    Raises:
        CheckpointError: neither, damaged, too large, or without flow.pt and hift.pt.
    """
    known = (*COSYVOICE_TENSORS, *COSYVOICE_NETWORKS)
    with _scratch(work) as scratch:
        if source.is_dir():
            files = {name: source / name for name in known if (source / name).is_file()}
        else:
            files = _untar(source, scratch, known)
        missing = [name for name in ("flow.pt", "hift.pt") if name not in files]
        if missing:
            raise CheckpointError(
                f"{source.name} has no {' and no '.join(missing)}; expected a release of CosyVoice"
            )
        yield files


def is_cosyvoice(source: Path) -> bool:
    """Whether a source looks like a CosyVoice release, and not like a checkpoint."""
    if source.is_dir():
        return (source / "flow.pt").is_file()
    return source.is_file() and tarfile.is_tarfile(source)


@contextmanager
def _scratch(work: Path | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(
        prefix="echat-", dir=work, ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder).resolve()


def _untar(source: Path, scratch: Path, known: tuple[str, ...]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    try:
        with tarfile.open(source) as tar:
            for count, member in enumerate(tar):
                name = member.name.rsplit("/", 1)[-1]
                if count >= _MAX_MEMBERS:
                    raise CheckpointError(f"{source.name} has more than {_MAX_MEMBERS} members")
                if name not in known or not member.isreg() or name in files:
                    continue
                if member.size > _MAX_MEMBER:
                    raise CheckpointError(f"{name} in {source.name} claims {member.size} bytes")
                reader = tar.extractfile(member)
                if reader is not None:
                    files[name] = scratch / name
                    with reader, files[name].open("wb") as writer:
                        shutil.copyfileobj(reader, writer, 1 << 20)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise CheckpointError(f"{source.name} is no tar, or damaged: {error}") from error
    return files


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        with safe_open(file, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file.name} is no safetensors file, or damaged: {error}") from error


def _read_paths(target: Path) -> Paths:
    tensors: Paths = {}
    with safe_open(target, framework="pt") as opened:
        numbered: dict[str, Tensor] = {}
        for path, number in json.loads(opened.metadata()["paths"]):
            if number not in numbered:
                numbered[number] = opened.get_tensor(number)
            tensors[tuple(path)] = numbered[number]
    return tensors


def _run_child(names: str, files: Sequence[Path | str], scratch: Path) -> None:
    program = Path(__file__).with_name("unpickle.py")
    arguments = [str(file.resolve() if isinstance(file, Path) else file) for file in files]
    told = scratch / "told.txt"
    try:
        with told.open("wb") as errors:
            done = subprocess.run(
                [sys.executable, "-I", str(program), *arguments],
                cwd=scratch,
                env={"PATH": os.defpath, "OMP_NUM_THREADS": "1", "TMPDIR": str(scratch)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                timeout=_CHILD_SECONDS,
                check=False,
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CheckpointError(f"{names} could not be opened: {error}") from error
    if done.returncode:
        lines = told.read_text("utf-8", "replace").strip().splitlines()
        why = lines[-1][:500] if lines else f"the child process ended with {done.returncode}"
        raise CheckpointError(f"{names} cannot be opened: {why}")
