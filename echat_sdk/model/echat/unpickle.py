"""The child process that opens a pickle: a program of its own, and nothing else imports it.

    python -I unpickle.py SOURCE TARGET [SOURCE TARGET ...]

Reads the tensors of a `torch.save` file without running what the file may ask for
(`weights_only`), under limits of memory, time and output, and writes them as safetensors: numbered,
with the path of each in the metadata. Tensors that share memory are written once. On failure it
says why on the error stream and leaves with status 1.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

_WRAPPERS = ("module", "state_dict", "model")
_MAX_TENSORS = 100_000
_MAX_DEPTH = 4
_GIGABYTE = 1 << 30


def main() -> None:
    """Convert each file."""
    pairs = list(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    _limit(sum(os.path.getsize(source) for source, _ in pairs))
    for source, target in pairs:
        try:
            _convert(source, target)
        except MemoryError:
            sys.exit("it needs more memory than its size allows")
        except pickle.UnpicklingError as error:
            asked = re.search(r"GLOBAL (\S+)", str(error))
            what = asked[1] if asked else str(error).partition("\n")[0]
            sys.exit(f"it asks for more than tensors ({what}); save its state dict alone")
        except (RuntimeError, OSError, EOFError, ValueError, KeyError, TypeError) as error:
            sys.exit(f"it is damaged, or no torch file: {type(error).__name__}: {error}")


def _convert(source: str, target: str) -> None:
    import torch
    from safetensors.torch import save_file

    # Only the zip format of torch 1.6 and later can be mapped; older files are read whole.
    mapped = zipfile.is_zipfile(source)
    loaded = torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)
    size = os.path.getsize(source)
    paths: list[tuple[list[str], str]] = []
    tensors: dict[str, torch.Tensor] = {}
    numbers: dict[object, str] = {}
    for path, tensor in _tensors(_unwrapped(loaded), []):
        if tensor.nbytes > size or len(paths) >= _MAX_TENSORS:
            raise ValueError(f"{'.'.join(path)} claims more than the file can hold")
        place = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        number = numbers.setdefault(place if tensor.numel() else len(paths), str(len(tensors)))
        if number not in tensors:
            # A view would bring all that it is a view of.
            whole = tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes
            contiguous = torch.contiguous_format
            tensors[number] = tensor if whole else tensor.clone(memory_format=contiguous)
        paths.append((path, number))
    save_file(tensors, target, metadata={"paths": json.dumps(paths)})


def _unwrapped(loaded: Any) -> Any:
    """The state dict itself: training frameworks put it under a key beside their own state."""
    if isinstance(loaded, Mapping):
        for key in _WRAPPERS:
            if isinstance(loaded.get(key), Mapping):
                return loaded[key]
    return loaded


def _tensors(node: Any, path: list[str]) -> Iterator[tuple[list[str], Any]]:
    import torch

    if isinstance(node, torch.Tensor):
        yield path, node.detach()
    elif isinstance(node, Mapping) and len(path) < _MAX_DEPTH:
        for key, value in node.items():
            yield from _tensors(value, [*path, str(key)])


def _limit(size: int) -> None:
    """Bound what this process may take; where a system has no such limits it has none."""
    try:
        import resource
    except ImportError:
        return
    bounds = {
        resource.RLIMIT_AS: 24 * _GIGABYTE + 3 * size,  # torch with CUDA maps much of this
        resource.RLIMIT_CPU: 300 + size // (20 << 20),  # seconds
        resource.RLIMIT_FSIZE: 2 * size + (64 << 20),
        resource.RLIMIT_CORE: 0,
    }
    for kind, bound in bounds.items():
        _, hard = resource.getrlimit(kind)
        ceiling = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(kind, (ceiling, ceiling))


if __name__ == "__main__":
    main()
