"""The front door: `echat`. It alone opens every room, and only when a command needs it.

Exit codes: 0 done · 1 a bug · 2 usage or bad input · 3 model missing or corrupt · 4 store ·
130 interrupted.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys

from echat_sdk.bridge import settled
from echat_sdk.cli import interrupts
from echat_sdk.errors import EChatError, ModelError, StoreError, UnknownUserError, UnsupportedError

_SETTLING = 0.5  # seconds


def main() -> None:
    """Run one command; errors of ours become a line and an exit code, never a traceback."""
    interrupts.install()
    prepare_streams()
    code = run(sys.argv[1:])
    if not settled(_SETTLING):  # a model hangs, or thinks for long: nothing of it is waited for
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        return _run(arguments)
    except EChatError as error:
        _tell(str(error))
        return exit_code(error)
    except KeyboardInterrupt as interrupt:
        _tell(str(interrupt) or "interrupted")
        return 130
    except BrokenPipeError:
        # The reader of our output has gone; what is buffered has nowhere to go.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # rich has seen to it
            return 0
        raise
    except OSError as error:  # such as standard output on a full disk
        where = f" {error.filename}" if error.filename else ""
        _tell(f"the system refused to go on:{where} {error.strerror or type(error).__name__}")
        return 2
    except Exception as error:
        if os.environ.get("ECHAT_DEBUG"):
            raise
        _tell(f"a bug in echat: {type(error).__name__}. ECHAT_DEBUG=1 shows where; please report")
        return 1


def _run(arguments: list[str]) -> int:
    # Imported in here, so that Ctrl-C is obeyed in this third of a second too.
    import typer
    from typer.exceptions import TyperException
    from typer.main import get_command

    from echat_sdk.cli.commands import app

    command = get_command(app)
    if "_ECHAT_COMPLETE" in os.environ:  # a shell asks for completions
        command.main(arguments, "echat")
    try:
        # Not `app()`: it turns interruptions and broken pipes into exit codes of its own.
        with command.make_context("echat", list(arguments)) as context:
            command.invoke(context)
    except typer.Exit as stop:
        return stop.exit_code
    except typer.Abort:
        raise KeyboardInterrupt from None
    except TyperException as error:
        # Empty where the help was printed already.
        if str(error) and (line := error.format_message().rstrip(".")):
            _tell(f"{line}; see: echat --help")
        return 2
    return 0


def exit_code(error: EChatError) -> int:
    """The exit code that tells what kind of thing went wrong."""
    match error:
        case UnsupportedError() | UnknownUserError():
            return 2
        case ModelError():
            return 3
        case StoreError():
            return 4
        case _:
            return 2


def prepare_streams() -> None:
    """Make the three standard streams fit for any text, whatever the caller left of them."""
    # A closed one would give its number to the next file opened, and a library that writes to
    # "standard error" would then write into that file.
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        continue
    os.close(handle)
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: SIM115
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if isinstance(sys.stdin, io.TextIOWrapper):
        # Undecodable bytes become lone surrogates, which `parse_line` refuses line by line.
        ascii_only = sys.stdin.encoding.lower() in ("ascii", "us-ascii", "ansi_x3.4-1968")
        sys.stdin.reconfigure(encoding="utf-8" if ascii_only else None, errors="surrogateescape")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _tell(line: str) -> None:
    """One line on the error stream; what is in it steers neither rich nor the terminal."""
    from rich.console import Console
    from rich.text import Text

    from echat_sdk.cli.account import printable

    text = Text.assemble(("echat:", "bold red"), f" {printable(line)}")
    with contextlib.suppress(OSError, SystemExit):  # a full or closed error stream takes nothing
        Console(stderr=True, highlight=False).print(text, soft_wrap=True)
