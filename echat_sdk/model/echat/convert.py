"""Checkpoints as upstream releases them into directories of ours, and back."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from echat_sdk.errors import CheckpointError, ConfigError
from echat_sdk.model.echat.checkpoint import build, expected_shapes, infer_config
from echat_sdk.model.echat.configuration import EChatConfig
from echat_sdk.model.echat.directory import (
    CARD,
    Card,
    Think,
    read_config,
    save_network,
    written_whole,
)
from echat_sdk.model.echat.names import Kind, State, from_upstream, to_upstream
from echat_sdk.model.echat.sources import (
    COSYVOICE_NETWORKS,
    COSYVOICE_TENSORS,
    Paths,
    cosyvoice_files,
    find_file,
    is_cosyvoice,
    read_state,
    unpickled,
)
from echat_sdk.model.echat.token2wav.checkpoint import convert_cosyvoice
from echat_sdk.model.echat.token2wav.config import Token2WavConfig
from echat_sdk.model.echat.token2wav.token2wav import (
    CONFIG_FILE,
    FLOW_FILE,
    VOCODER_FILE,
    VOICES,
)
from echat_sdk.model.echat.token2wav.voices import spk2info_voices, voice_file
from echat_sdk.model.echat.tokenizer import save_processor

Progress = Callable[[str, float], None]
KINDS = ("osum", "osum-echat", "cosyvoice")
TOKEN2WAV = "token2wav"


@dataclass(frozen=True, slots=True)
class Report:
    """What a conversion did.

    Attributes:
        kind: What the source was: one of `KINDS`.
        out: The directory that was written.
        sha256: Of the source file; of the first shard where there are several.
        tensors: How many were written.
        parameters: How many numbers they hold.
        notes: What whoever uses the directory should know.
        seconds: How long it took.
    """

    kind: str
    out: Path
    sha256: str
    tensors: int
    parameters: int
    notes: tuple[str, ...]
    seconds: float = 0.0


def convert(
    source: Path,
    out: Path,
    *,
    kind: str | None = None,
    allow_pickle: bool = False,
    progress: Progress = lambda stage, share: None,
    config: EChatConfig | Token2WavConfig | None = None,
    dtype: torch.dtype | None = None,
    think: Think | None = None,
    tokenizer: Path | None = None,
    work: Path | None = None,
) -> Report:
    """Write a released checkpoint as a directory of ours.

    Args:
        source: A `.pt` of OSUM or OSUM-EChat, a DeepSpeed folder, safetensors; or a CosyVoice tar
            or folder.
        out: The directory to write, whole or not at all. A CosyVoice goes into its `token2wav`
            if it is a checkpoint directory already.
        kind: One of `KINDS`; None looks.
        allow_pickle: See `sources.unpickled`.
        progress: Told what is being done and how far it is, 0 to 1.
        config: Sizes; None reads them from the tensors, with the heads of the released models.
        dtype: Type of the weights; None keeps the file's.
        think: How the model thinks; None takes it from the released files' names.
        tokenizer: A Qwen `tokenizer.json` or GGUF file; None takes the zoo's, if it was pulled.
        work: Where what is temporary is written, about as large as the source; None takes the
            system's folder for it.

    Raises:
        ConfigError: an unknown kind, or `out` is there already.
        CheckpointError: not such a checkpoint, damaged, or not exactly the network's tensors.
    """
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"no kind {kind!r} of checkpoint; there are {', '.join(KINDS)}")
    start = time.monotonic()
    if kind == "cosyvoice" or (kind is None and is_cosyvoice(source)):
        voice = config if isinstance(config, Token2WavConfig) else Token2WavConfig()
        report = _convert_cosyvoice(source, out, voice, allow_pickle, work, progress)
    else:
        network = config if isinstance(config, EChatConfig) else None
        progress("reading", 0.0)
        released = read_state(source, allow_pickle=allow_pickle, work=work)
        card = Card(
            kind=_kind_of(released, source, kind),
            think=think or _think_of(source),
            source=source.name,
            sha256=sha256_of(_first_file(source)),
        )
        progress("renaming", 0.4)
        state = from_upstream(released, dtype=dtype)
        report = _write_network(state, out, card, network, tokenizer, progress)
    progress("done", 1.0)
    return replace(report, seconds=time.monotonic() - start)


def export(directory: Path, target: Path) -> None:
    """Write a directory of ours as a file that upstream's code loads.

    Args:
        directory: As `convert` wrote it. LoRA stays merged.
        target: A new `.pt` or `.safetensors` file.

    Raises:
        ConfigError: another ending, or the file is there already.
        CheckpointError: the directory is damaged.
    """
    if target.suffix not in (".pt", ".safetensors") or target.exists():
        raise ConfigError(f"{target}: expected a new file that ends in .pt or .safetensors")
    config, card = read_config(directory), Card.read(directory)
    state = read_state(directory, allow_pickle=False)
    build(state, config, what=str(directory))
    named = to_upstream(state, kind=card.kind)
    if config.llm.tie_word_embeddings:
        named["llama_model.lm_head.weight"] = named["llama_model.model.embed_tokens.weight"]
    if target.suffix == ".pt":
        torch.save(named, target)
    else:  # which holds no tensor under two names
        save_file({name: tensor.clone() for name, tensor in named.items()}, target)


def sha256_of(file: Path) -> str:
    """The hash of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _kind_of(state: State, source: Path, told: str | None) -> Kind:
    names = {name.removeprefix("module.").split(".")[0] for name in state}
    if not {"encoder", "llama_model", "speech_transformer"} <= names:
        first = ", ".join(sorted(state)[:4])
        raise CheckpointError(
            f"{source.name} is no checkpoint of OSUM or OSUM-EChat: it holds {first}, ..."
        )
    found: Kind = "osum" if "speaker_head" in names else "osum-echat"
    if told is not None and told != found:
        raise CheckpointError(f"{source.name} is a checkpoint of {found}, not of {told}")
    return found


def _think_of(source: Path) -> Think:
    styles: tuple[Think, ...] = ("tag", "language")
    return next((style for style in styles if f"{style}_think" in source.name), "none")


def _first_file(source: Path) -> Path:
    found = find_file(source)
    return found[0] if isinstance(found, list) else found


def _write_network(
    state: State,
    out: Path,
    card: Card,
    config: EChatConfig | None,
    tokenizer: Path | None,
    progress: Progress,
) -> Report:
    config = config or infer_config(state, kind=card.kind)
    model = build(state, config, what=card.source)
    progress("writing", 0.6)
    with written_whole(out) as folder:
        save_network(model, folder)
        notes = save_processor(folder, config, tokenizer)
        card.write(folder)
    numbers = sum(shape.numel() for shape in expected_shapes(config).values())
    return Report(card.kind, out, card.sha256, len(state), numbers, notes)


def _convert_cosyvoice(
    source: Path,
    out: Path,
    config: Token2WavConfig,
    allow_pickle: bool,
    work: Path | None,
    progress: Progress,
) -> Report:
    if (out / CARD).is_file():
        out = out / TOKEN2WAV
    progress("reading", 0.0)
    with cosyvoice_files(source, work) as files:
        pickles = {name: files[name] for name in COSYVOICE_TENSORS if name in files}
        with unpickled(*pickles.values(), allow=allow_pickle, work=work) as opened:
            tensors = dict(zip(pickles, opened, strict=True))
        progress("checking", 0.5)
        flow, vocoder = convert_cosyvoice(
            _flat(tensors["flow.pt"]), _flat(tensors["hift.pt"]), config
        )
        speakers: dict[str, State] = {}
        for path, tensor in tensors.get("spk2info.pt", {}).items():
            speakers.setdefault(path[0], {})[".".join(path[1:])] = tensor
        voices = spk2info_voices(speakers)
        progress("writing", 0.7)
        with written_whole(out) as folder:
            config.write(folder / CONFIG_FILE)
            save_file(flow, folder / FLOW_FILE)
            save_file(vocoder, folder / VOCODER_FILE)
            for number, (name, voice) in enumerate(sorted(voices.items())):
                voice.save(folder / VOICES, _voice_name(name, number))
            for name in set(COSYVOICE_NETWORKS) & files.keys():
                shutil.copyfile(files[name], folder / name)
        missing = [name for name in COSYVOICE_NETWORKS if name not in files]
    notes = tuple(f"no {name}: voices cannot be made from recordings" for name in missing)
    written = [*flow.values(), *vocoder.values()]
    sha256 = sha256_of(source if source.is_file() else source / "flow.pt")
    numbers = sum(tensor.numel() for tensor in written)
    return Report("cosyvoice", out, sha256, len(written), numbers, notes)


def _flat(tensors: Paths) -> State:
    return {".".join(path): tensor for path, tensor in tensors.items()}


def _voice_name(name: str, number: int) -> str:
    """A speaker's own name where a file may bear it."""
    try:
        voice_file(Path(), name)
    except ConfigError:
        return f"speaker-{number}"
    return name
