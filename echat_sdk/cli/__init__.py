"""The front door: `echat`. It alone opens every room, and only when a command needs it.

Exit codes: 0 done · 1 a bug · 2 usage or bad input · 3 model missing or corrupt · 4 store ·
130 interrupted.
"""

from __future__ import annotations

import os
import sys

import typer
import typer.exceptions
from rich.console import Console

from echat_sdk.cli import doctor, evaluate, measure, memory, models, settings, talk
from echat_sdk.errors import EChatError, ModelError, StoreError, UnsupportedError

app = typer.Typer(
    name="echat",
    help="Speech in, an empathetic spoken answer out, remembered.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("reply")(talk.reply)
app.command("understand")(talk.understand)
app.command("say")(talk.say)
app.command("chat")(talk.chat)
app.add_typer(models.app, name="models")
app.add_typer(memory.app, name="memory")
app.add_typer(evaluate.app, name="eval")
app.add_typer(measure.app, name="bench")
app.command("doctor")(doctor.doctor)
app.command("config")(settings.config)


def main() -> None:
    """Run one command; errors of ours become a line and an exit code, never a traceback."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        code = app(args=arguments, prog_name="echat", standalone_mode=False)
    except EChatError as error:
        _tell(str(error))
        return exit_code(error)
    except typer.Exit as stop:
        return stop.exit_code
    except (typer.Abort, KeyboardInterrupt):
        _tell("interrupted")
        return 130
    except typer.exceptions.TyperException as error:
        if line := str(error).rstrip("."):  # empty where the help was printed already
            _tell(f"{line}; see: echat --help")
        return 2
    except BrokenPipeError:
        # The reader of our output has gone; what is buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("ECHAT_DEBUG"):
            raise
        _tell(f"a bug in echat: {type(error).__name__}. ECHAT_DEBUG=1 shows where; please report")
        return 1
    return code if isinstance(code, int) else 0


def exit_code(error: EChatError) -> int:
    """The exit code that tells what kind of thing went wrong."""
    match error:
        case UnsupportedError():
            return 2
        case ModelError():
            return 3
        case StoreError():
            return 4
        case _:
            return 2


def _tell(line: str) -> None:
    Console(stderr=True, highlight=False).print(
        f"[bold red]echat:[/] {line.replace('[', chr(92) + '[')}", soft_wrap=True
    )
