"""`echat models convert|assemble` and `echat voices`: checkpoints of the end-to-end model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars

from echat_sdk import config
from echat_sdk.cli.account import write_json
from echat_sdk.errors import ConfigError, ModelMissingError, UnsupportedError
from echat_sdk.model import checkpoint_folder, checkpoints_home

if TYPE_CHECKING:
    from echat_sdk.model.echat.convert import Report

JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout, and nothing else.")]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="A converted checkpoint: its name or folder.")
]

voices = typer.Typer(
    help="The voices of an end-to-end checkpoint.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def convert(
    source: Annotated[Path, typer.Argument(help="A released .pt, folder, safetensors or tar.")],
    out: Annotated[str, typer.Argument(help="A name, or a folder to write.")],
    kind: Annotated[
        str | None, typer.Option("--kind", help="osum, osum-echat or cosyvoice; else it looks.")
    ] = None,
    allow_pickle: Annotated[
        bool,
        typer.Option(
            "--allow-pickle",
            help="Open .pt files, in a child process that may load tensors and nothing else.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a released checkpoint one that can be loaded: safetensors, every tensor accounted for.

    A CosyVoice tar goes into a checkpoint that is there already, and gives it its voice.

    Example: [bold]echat models convert tag_think_final.pt osum-echat-tag --allow-pickle[/]
    """
    from echat_sdk.model.echat.convert import convert as run

    if not source.exists():
        raise ConfigError(f"no file or folder {source}")
    with _progress(quiet=as_json) as tell:
        report = run(source, _folder(out), kind=kind, allow_pickle=allow_pickle, progress=tell)
    _print(report, as_json)


def assemble(
    name: Annotated[str, typer.Argument(help="nano-init.")] = "nano-init",
    out: Annotated[str, typer.Option("--out", help="A name, or a folder to write.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Put real weights of the zoo into the end-to-end network, untrained where none exist.

    Example: [bold]echat models assemble nano-init[/]
    """
    from echat_sdk.model.echat.assemble import assemble as run

    with _progress(quiet=as_json) as tell:
        report = run(name, _folder(out or name), progress=tell)
    _print(report, as_json)


def export(
    name: Annotated[str, typer.Argument(help="A checkpoint, or its folder.")],
    out: Annotated[Path, typer.Argument(help="A folder to write.")],
    target: Annotated[str, typer.Option("--for", help="vllm: its language model, a plain Qwen2.")],
) -> None:
    """Write a part of a checkpoint for another program.

    Example: [bold]echat models export osum-echat-tag ./served --for vllm[/]
    """
    if target != "vllm":
        raise ConfigError(f"export is for vllm, not for {target!r}")
    folder = checkpoint_folder(name)
    if folder is None:
        raise ModelMissingError(
            f"no checkpoint {name}; echat models list shows those that are here"
        )
    from echat_sdk.model.echat.merged import export as run

    run(folder, out)
    flags = "--enable-prompt-embeds --skip-tokenizer-init --generation-config vllm"
    typer.echo(f"in {out}; serve it with: vllm serve {out} {flags}")


@voices.command("list")
def list_voices(model: ModelOption = None, as_json: JsonOption = False) -> None:
    """List the voices of a checkpoint.

    Example: [bold]echat voices list --model osum-echat-tag[/]
    """
    from echat_sdk.model.echat.token2wav.voices import voice_names

    names = voice_names(_spoken(model) / "voices")
    if as_json:
        write_json(names)
    else:
        typer.echo("\n".join(names) or "none yet; add one: echat voices add NAME clip.wav")


@voices.command("add")
def add_voice(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    clip: Annotated[Path, typer.Argument(help="3 to 30 s of one person speaking.")],
    model: ModelOption = None,
    seconds: Annotated[
        float,
        typer.Option("--prompt", min=1, max=30, help="Seconds of it kept; fewer speak sooner."),
    ] = 10.0,
) -> None:
    """Make a voice from a recording of somebody who agreed to it.

    Example: [bold]echat voices add ada ada.wav --model osum-echat-tag[/]
    """
    import torch

    from echat_sdk.audio import SAMPLE_RATE, to_float
    from echat_sdk.io.wav import read_audio
    from echat_sdk.model.echat.token2wav import SpeakerEncoder, SpeechTokenizer, make_voice
    from echat_sdk.model.echat.token2wav.voices import voice_file

    spoken = _spoken(model)
    voice_file(spoken / "voices", name)  # refuse the name before the work
    wave = torch.from_numpy(to_float(read_audio(clip, max_seconds=30.0)))
    networks = [spoken / "speech_tokenizer_v1.onnx", spoken / "campplus.onnx"]
    for network in networks:
        if not network.is_file():
            raise ModelMissingError(
                f"no {network.name} in {spoken}; convert the whole CosyVoice tar, which holds it"
            )
    made = make_voice(
        wave, SAMPLE_RATE, SpeechTokenizer(networks[0]), SpeakerEncoder(networks[1]), prompt=seconds
    )
    typer.echo(f"voice {name}: {made.save(spoken / 'voices', name)}")


def _folder(out: str) -> Path:
    """A plain name is a checkpoint in the home; all else is a path."""
    return checkpoints_home() / out if Path(out).name == out else Path(out)


def _spoken(model: str | None) -> Path:
    name = config.load({"model": model}).model
    folder = checkpoint_folder(name)
    if folder is None:
        raise UnsupportedError(f"{name} has voices of its own: unknown names of --voice list them")
    if not (folder / "token2wav").is_dir():
        raise ModelMissingError(
            f"{name} has no token2wav; run: echat models convert CosyVoice-300M-25Hz.tar {name}"
        )
    return folder / "token2wav"


def _print(report: Report, as_json: bool) -> None:
    if as_json:
        told: dict[str, Any] = asdict(report)
        write_json(told | {"out": str(report.out)})
        return
    size = f"{report.parameters / 1e6:,.1f} M numbers in {report.tensors} tensors"
    typer.echo(f"{report.kind}: {size}, every one accounted for, in {report.seconds:.0f} s")
    for note in report.notes:
        typer.echo(f"note: {note}")
    typer.echo(f"in {report.out}")


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[str, float], None]]:
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda stage, share: None
        return
    with Bars(TextColumn("{task.description}"), BarColumn(), console=console) as bars:
        task = bars.add_task("", total=1.0)
        yield lambda stage, share: bars.update(task, description=stage, completed=share)
