"""`echat plugins`: what is installed, what is used, and what it was granted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from echat_sdk import config
from echat_sdk.cli import account
from echat_sdk.errors import ConfigError, PluginError

if TYPE_CHECKING:
    from echat_sdk.hooks.grants import Grant, Grants
    from echat_sdk.hooks.manifest import Manifest

app = typer.Typer(help="What extends the agent.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object, and nothing else.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Of the plugin.")]
NeedsArgument = Annotated[list[str], typer.Argument(metavar="CAPABILITY...")]


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """Show all plugins that are installed: what each needs, was granted, and whether it is used.

    Example: [bold]echat plugins list[/]
    """
    from echat_sdk.hooks.manifest import installed

    grants, found = _grants(), list(installed())
    if as_json:
        account.write_json(
            [
                {"error": str(each)}
                if isinstance(each, PluginError)
                else _row(each, grants.of(each.name))
                for each in found
            ]
        )
        return
    table = Table("name", "version", "is", "needs", "about", box=None)
    for each in found:
        if isinstance(each, PluginError):
            continue
        grant = grants.of(each.name)
        table.add_row(
            each.name,
            each.version,
            Text(_state(each, grant), style="" if grant.enabled else "dim"),
            " ".join(sorted(each.needs)) or "nothing",
            Text(account.printable(each.about)),
        )
    Console(highlight=False).print(table)
    for each in found:
        if isinstance(each, PluginError):
            account.complain(str(each))


@app.command("info")
def info(name: NameArgument, as_json: JsonOption = False) -> None:
    """Show one plugin: where it is, its hooks, what it needs and was granted.

    Example: [bold]echat plugins info captions[/]
    """
    manifest = _manifest(name)
    row = _row(manifest, _grants().of(name))
    if as_json:
        account.write_json(row)
        return
    table = Table(box=None, show_header=False)
    for what, value in row.items():
        shown = " ".join(map(str, value)) if isinstance(value, list) else str(value)
        table.add_row(Text(what, "dim"), Text(account.printable(shown or "-")))
    Console(highlight=False).print(table)


@app.command("enable")
def enable(
    name: NameArgument,
    grant: Annotated[
        list[str] | None, typer.Option("--grant", help="Repeatable; `all` is what it needs.")
    ] = None,
) -> None:
    """Use a plugin from the next start on. What it needs is asked for, or granted by --grant.

    Example: [bold]echat plugins enable captions --grant all[/]
    """
    manifest, grants = _manifest(name), _grants()
    given = set(grant or ())
    given = set(manifest.needs) if given == {"all"} else given
    granted = grants.of(name).granted | _known(given, manifest)
    missing = manifest.needs - granted
    if missing and not grant and sys.stdin.isatty():
        account.complain(f"{name} needs {' '.join(sorted(missing))}")
        if typer.confirm("Grant that?", default=False, err=True):
            granted, missing = granted | missing, frozenset()
    if missing:
        needs = " ".join(sorted(missing))
        raise PluginError(f"{name} needs {needs}: give it with --grant, or --grant all")
    grants.keep(manifest, enabled=True, granted=granted)
    typer.echo(f"{name} is used from the next start on")
    if manifest.shares:
        account.complain(
            f"of each user it is told only once they agreed: echat memory consent USER "
            f"share_plugin:{name} grant"
        )


@app.command("disable")
def disable(name: NameArgument) -> None:
    """Use a plugin no more; what it was granted is taken back.

    Example: [bold]echat plugins disable captions[/]
    """
    _grants().keep(_manifest(name), enabled=False, granted=frozenset())
    typer.echo(f"{name} is not used from the next start on")


@app.command("grant")
def grant(
    name: NameArgument,
    needs: NeedsArgument,
    revoke: Annotated[bool, typer.Option("--revoke", help="Take them back.")] = False,
) -> None:
    """Grant a plugin what it needs, or take it back.

    Example: [bold]echat plugins grant captions read_transcript[/]
    """
    manifest, grants = _manifest(name), _grants()
    wanted = _known(set(needs), manifest)
    before = grants.of(name).granted
    after = grants.keep(manifest, granted=before - wanted if revoke else before | wanted)
    typer.echo(f"{name} may: {' '.join(sorted(after.granted)) or 'nothing'}")


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Small letters, digits, dashes.")],
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where it is written; by default ./echat-NAME.")
    ] = None,
) -> None:
    """Write a plugin that works: its package, its module, and its test that passes.

    Example: [bold]echat plugins new weather[/]
    """
    from echat_sdk.cli import plugin_template

    target = folder or Path(f"echat-{name}")
    for path in plugin_template.write(name, target):
        typer.echo(path)
    typer.echo(f"\nTry next:\n  cd {target}\n  pip install -e .\n  pytest\n  echat plugins list")


@app.command("check")
def check(
    named: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A plugin, or its module.")],
    attribute: Annotated[str, typer.Option("--class", help="In a file: which.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Try a plugin as a conversation would, and with hostile words. It runs in this process.

    Example: [bold]echat plugins check weather[/]
    """
    from echat_sdk.hooks import loading, manifest
    from echat_sdk.testing.plugins import troubles

    if named.endswith(".py"):
        path = Path(named).resolve()
        sys.path.insert(0, str(path.parent))
        name = path.stem.removeprefix("echat_").replace("_", "-")
        found = manifest.read(name, "", path.stem, attribute or "Plugin", path)
    else:
        found = _manifest(named)
    options = config.load().plugins.get(found.name, {})
    wrong = troubles(loading.made(found, options), found.name)
    if as_json:
        account.write_json({"plugin": found.name, "hooks": found.hooks, "troubles": wrong})
    elif not wrong:
        typer.echo(f"{found.name} is a good plugin; hooks: {', '.join(found.hooks) or 'none'}")
    for each in () if as_json else wrong:
        account.complain(each)
    if wrong:
        raise typer.Exit(1)


def _row(manifest: Manifest, grant: Grant) -> dict[str, Any]:
    return {
        "name": manifest.name,
        "version": manifest.version,
        "state": _state(manifest, grant),
        "about": manifest.about,
        "module": f"{manifest.module}:{manifest.attribute}",
        "path": str(manifest.path),
        "isolated": manifest.isolated,
        "hooks": list(manifest.hooks),
        "needs": sorted(manifest.needs),
        "granted": sorted(grant.granted),
        "consent": f"share_plugin:{manifest.name}" if manifest.shares else "",
        "sha256": manifest.sha256,
    }


def _state(manifest: Manifest, grant: Grant) -> str:
    if not grant.enabled:
        return "not used"
    if grant.missing(manifest):
        return "needs a grant"
    return "used" if grant.is_same(manifest) else "used; changed since it was granted"


def _known(asked: set[str], manifest: Manifest) -> frozenset[str]:
    if strange := sorted(asked - manifest.needs):
        needs = ", ".join(sorted(manifest.needs)) or "nothing"
        raise ConfigError(f"{manifest.name} does not ask for {strange[0][:80]!r}; it needs {needs}")
    return frozenset(asked)


def _manifest(name: str) -> Manifest:
    from echat_sdk.hooks.manifest import installed

    found = {each.name: each for each in installed() if not isinstance(each, PluginError)}
    if name not in found:
        known = ", ".join(found) or "none"
        raise PluginError(f"no plugin {name[:60]!r} is installed; there are {known}")
    return found[name]


def _grants() -> Grants:
    from echat_sdk.hooks.grants import Grants

    return Grants(config.load().home / "plugins.json")
