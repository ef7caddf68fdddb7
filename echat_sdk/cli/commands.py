"""The table of commands."""

from __future__ import annotations

import typer

from echat_sdk.cli import (
    checkpoints,
    consents,
    doctor,
    evaluate,
    keys,
    live,
    measure,
    memory,
    memory_erase,
    memory_export,
    models,
    plugins,
    replay,
    serve,
    settings,
    talk,
)

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
app.command("talk")(live.talk)
app.command("replay")(replay.replay)
app.command("serve")(serve.serve)
models.app.command("convert")(checkpoints.convert)
models.app.command("assemble")(checkpoints.assemble)
models.app.command("export")(checkpoints.export)
memory.app.command("erase")(memory_erase.erase)
memory.app.command("receipts")(memory_erase.receipts)
memory.app.command("audit")(memory_erase.audit)
memory.app.command("consent")(consents.consent)
memory.app.command("sweep")(consents.sweep)
memory.app.command("export")(memory_export.export)
memory.app.command("import")(memory_export.import_document)
app.add_typer(models.app, name="models")
app.add_typer(checkpoints.voices, name="voices")
app.add_typer(memory.app, name="memory")
app.add_typer(keys.app, name="keys")
app.add_typer(plugins.app, name="plugins")
app.add_typer(evaluate.app, name="eval")
app.add_typer(measure.app, name="bench")
app.command("doctor")(doctor.doctor)
app.command("config")(settings.config)
