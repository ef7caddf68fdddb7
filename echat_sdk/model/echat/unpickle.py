"""The child process that opens a pickle: a program of its own, and nothing else imports it.

    python -I unpickle.py SOURCE TARGET [SOURCE TARGET ...]
    python -I unpickle.py --zero TARGET MODEL_STATES OPTIM_STATES [MODEL_STATES OPTIM_STATES ...]

Reads the tensors of a `torch.save` file without running what the file may ask for
(`weights_only`), under limits of memory, time and output, and writes them as safetensors: numbered,
with the path of each in the metadata. Tensors that share memory are written once. With `--zero` the
files are those of DeepSpeed's ZeRO stage 3, a pair for each rank, and the parameters that they
split are joined. On failure it says why on the error stream and leaves with status 1.
"""

from __future__ import annotations

import json
import math
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
_WRONG_TYPES = (ValueError, TypeError, AttributeError)  # what a file of another make leads to
_BESIDE_TENSORS = (
    "deepspeed.runtime.fp16.loss_scaler.LossScaler",
    "deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler",
    "deepspeed.runtime.zero.config.ZeroStageEnum",
)


def main() -> None:
    """Convert each file, or join the shards."""
    joins = sys.argv[1] == "--zero"
    sources = sys.argv[3:] if joins else sys.argv[1::2]
    _limit(sum(os.path.getsize(source) for source in sources))
    try:
        if joins:
            _write(_joined(sources), sys.argv[2], sum(os.path.getsize(file) for file in sources))
        else:
            for source, target in zip(sources, sys.argv[2::2], strict=True):
                _write(_unwrapped(_load(source)), target, os.path.getsize(source))
    except MemoryError:
        sys.exit("it needs more memory than its size allows")
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        what = asked[1] if asked else str(error).partition("\n")[0]
        sys.exit(f"it asks for more than tensors ({what}); save its state dict alone")
    except (RuntimeError, OSError, EOFError, LookupError, *_WRONG_TYPES) as error:
        sys.exit(f"it is damaged, or no torch file: {type(error).__name__}: {error}")


def _load(source: str) -> Any:
    import torch

    # Only the zip format of torch 1.6 and later can be mapped; older files are read whole.
    mapped = zipfile.is_zipfile(source)
    inert: list[Any] = [(_Inert, name) for name in _BESIDE_TENSORS]
    with torch.serialization.safe_globals(inert):
        return torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)


def _write(state: Any, target: str, size: int) -> None:
    """Write the tensors of what was loaded from `size` bytes."""
    import torch
    from safetensors.torch import save_file

    paths: list[tuple[list[str], str]] = []
    tensors: dict[str, torch.Tensor] = {}
    numbers: dict[object, str] = {}
    for path, tensor in _tensors(state, []):
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


def _joined(sources: list[str]) -> dict[str, Any]:
    """The whole parameters of a training run that ZeRO stage 3 split among its ranks.

    A rank's flat groups, one after the other, hold its share of each trained parameter, in the
    order of `param_shapes`. A share is the parameter's numbers over the ranks, rounded up: the last
    one ends in padding. Frozen parameters are split in the same way, each by itself.
    """
    import torch

    models = [_load(source) for source in sources[0::2]]
    states = [_load(source)["optimizer_state_dict"] for source in sources[1::2]]
    for state in states:
        count = state["partition_count"]
        if (max(count) if isinstance(count, list) else count) != len(models):
            raise ValueError(f"shards of {len(models)} ranks, written by {count}")
    first = models[0]
    module = first["module"]
    flat = [torch.cat([group.flatten() for group in s["fp32_flat_groups"]]) for s in states]
    joined: dict[str, Any] = {n: module[n] for n in first["buffer_names"] if n in module}

    def join(name: str, shape: Any, shares: list[torch.Tensor]) -> None:
        whole = torch.cat(shares)[: math.prod(shape)].view(tuple(shape))
        # The masters are float32; the network ran in the type of what is left in its place.
        joined[name] = whole.to(module[name].dtype if name in module else whole.dtype)

    start = 0
    for name, shape in (item for group in first["param_shapes"] for item in group.items()):
        share = -(-math.prod(shape) // len(models))
        join(name, shape, [part[start : start + share] for part in flat])
        start += share
    if any(len(part) != start for part in flat):
        raise ValueError(f"shards of {len(flat[0])} numbers for parameters of {start}")
    for name, shape in (first.get("frozen_param_shapes") or {}).items():
        join(name, shape, [model["frozen_param_fragments"][name].flatten() for model in models])
    for alias, name in dict(first.get("shared_params") or {}).items():
        joined[alias] = joined[name]
    return joined


class _Inert:
    """Stands for a class of DeepSpeed's whose objects lie beside the tensors; does nothing."""

    def __new__(cls, *_: object, **__: object) -> _Inert:
        return super().__new__(cls)


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
