"""The commands that talk: reply, understand, say, chat."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console

from echat_sdk import config
from echat_sdk.cli import account, rooms
from echat_sdk.cli.agreeing import RememberOption
from echat_sdk.cli.typed import MAX_CHARACTERS, parse_line
from echat_sdk.cues import Cues, ReplyEmotion
from echat_sdk.errors import ConfigError

if TYPE_CHECKING:
    from echat_sdk.agent import Agent, Answer
    from echat_sdk.turn import Delta

AudioFile = Annotated[Path, typer.Argument(metavar="IN.wav", help="WAV, FLAC, OGG or MP3.")]
UserOption = Annotated[str | None, typer.Option("--user", help="Whose memory is used.")]
ModelOption = Annotated[str | None, typer.Option("--model", help="A model of the zoo.")]
ThinkOption = Annotated[str | None, typer.Option("--think", metavar="tag|language|off")]
LangOption = Annotated[str | None, typer.Option("--lang", metavar="auto|en|zh")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object, and nothing else.")]


def reply(
    source: AudioFile,
    out: Annotated[Path | None, typer.Option("--out", help="The answer's WAV.")] = None,
    user: UserOption = None,
    model: ModelOption = None,
    think: ThinkOption = None,
    lang: LangOption = None,
    remember: RememberOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a recording: what was said and how, the thought, the answer in words and as speech.

    Example: [bold]echat reply examples/audio/sad.wav --out answer.wav --user ada[/]
    """
    from echat_sdk.io.wav import read_audio, write_audio

    settings = config.load({"user": user, "model": model, "think": think, "lang": lang})
    utterance = read_audio(source, max_seconds=settings.max_seconds)
    target = out or Path(f"{source.stem}.answer.wav")
    _check_target(target, source)

    with (
        rooms.agent(settings, remember=remember, may_ask=not as_json) as agent,
        account.working("listening", quiet=as_json),
    ):
        answer = asyncio.run(agent.answer(utterance))
        must_confirm = agent.awaits_yes
    if len(answer.speech):
        write_audio(target, answer.speech, answer.sample_rate)
    if as_json:
        account.write_json(account.as_json(answer, target, settings.user))
    else:
        account.show(answer, target)
    if must_confirm:  # there is no next turn in which a yes could be said
        account.complain(
            f"nothing was erased; echat memory erase {shlex.quote(settings.user)} does it"
        )


def understand(
    source: AudioFile,
    task: Annotated[
        list[str] | None,
        typer.Option("--task", metavar="asr|ser|sgc|sap|ved|ssr|srwt|sttc", help="Repeatable."),
    ] = None,
    ask: Annotated[
        str, typer.Option("--ask", help="A question of your own, for models that take one.")
    ] = "",
    model: ModelOption = None,
    lang: LangOption = None,
    as_json: JsonOption = False,
) -> None:
    """Do OSUM's understanding tasks on a recording, in OSUM's output grammar.

    asr words · ser emotion · sgc gender · sap age · ved sound events · ssr style · srwt words with
    times · sttc words and a reply · punctuation words with marks · caption everything. With asr
    among them, the others are added behind the words.

    Example: [bold]echat understand examples/audio/sad.wav --task asr --task ser[/]
    """
    from echat_sdk.audio import frames
    from echat_sdk.io.wav import read_audio
    from echat_sdk.model.echat.tasks import ASK, Task
    from echat_sdk.model.echat.understanding import parse

    settings = config.load({"model": model, "lang": lang})
    tasks = [*(task or ()), *([f"{ASK} {ask}"] if ask else [])]
    known = Task.of(*tasks)  # refuses what cannot be asked, before anything is opened
    utterance = read_audio(source, max_seconds=settings.max_seconds)
    with account.working("listening", quiet=as_json):
        opened = rooms.model(settings)
        hearing = opened.listen(lang=settings.lang)
        for frame in frames(utterance):
            hearing.push(frame)
        answer = opened.understand(hearing, tasks)
    if as_json:
        found = parse(known, answer)
        account.write_json(
            {
                "tasks": tasks,
                "answer": answer,
                "transcript": found.transcript,
                "words": [asdict(word) for word in found.words],
                "reply": found.reply,
                "cues": hearing.heard().cues.to_json(),
            }
        )
    elif not hearing.heard().transcript:
        account.say_nothing_heard()
    else:
        typer.echo(answer)


def say(
    text: Annotated[str, typer.Argument(help="What to speak.")],
    out: Annotated[Path, typer.Option("--out", help="The WAV to write.")],
    emotion: Annotated[
        str, typer.Option("--emotion", help="happy, comforting, sad, ...")
    ] = "neutral",
    voice: Annotated[
        str | None, typer.Option("--voice", help="A voice; unknown ones list all.")
    ] = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Speak a text with an emotion.

    Example: [bold]echat say "I saved you a seat." --emotion happy --out seat.wav[/]
    """
    from echat_sdk.io.wav import check_writable, write_audio

    settings = config.load({"model": model, "voice": voice})
    try:
        wanted = ReplyEmotion.from_word(emotion)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    check_writable(out)
    with account.working("speaking", quiet=as_json):
        opened = rooms.model(settings)
        pieces = [delta.samples for delta in opened.say(text, emotion=wanted, voice=voice)]
    if not pieces:
        raise ConfigError("there is nothing in that text to speak; give words")
    speech = np.concatenate(pieces)
    write_audio(out, speech, opened.sample_rate)
    seconds = len(speech) / opened.sample_rate
    if as_json:
        audio = {"path": str(out), "sample_rate": opened.sample_rate, "seconds": round(seconds, 3)}
        account.write_json({"text": text, "emotion": wanted.word, "audio": audio})
    else:
        typer.echo(f"{out}: {seconds:.1f} s, {wanted.word}")


def chat(
    user: UserOption = None,
    model: ModelOption = None,
    think: ThinkOption = None,
    lang: LangOption = None,
    remember: RememberOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One answer object a line.")] = False,
) -> None:
    """Talk by typing; reads a pipe too.

    A line is plain words, or a JSON object {text, emotion, gender, age, events} whose cues stand
    in for the voice. An empty line is passed over; the end of the input ends the talk.

    Example: [bold]echo '{"text": "I got the job.", "emotion": "sad"}' | echat chat --json[/]
    """
    settings = config.load({"user": user, "model": model, "think": think, "lang": lang})
    interactive = sys.stdin.isatty() and not as_json

    faults = 0
    # One loop for the whole talk; lines are read between its runs, so Ctrl-C works at any time.
    with (
        rooms.agent(settings, speak=False, remember=remember, may_ask=interactive) as agent,
        asyncio.Runner() as runner,
    ):
        for line in _lines(interactive):
            try:
                text, cues = parse_line(line)
            except ConfigError as error:
                faults += 1
                account.complain(str(error))
                continue
            answer = runner.run(_answer_line(agent, text, cues, show=not as_json))
            if as_json:
                account.write_json(account.as_json(answer, None, settings.user), indent=None)
    if faults and not interactive:
        raise typer.Exit(2)


async def _answer_line(agent: Agent, text: str, cues: Cues, *, show: bool) -> Answer:
    from echat_sdk.agent import Answer

    pieces: AsyncGenerator[Delta | Answer] = agent.stream_text(text, cues)
    async with aclosing(pieces):
        async for piece in pieces:
            if isinstance(piece, Answer):
                if show:
                    account.end_line(piece)
                return piece
            if show:
                account.show_delta(piece)
    raise AssertionError("an exchange ends with its answer")


def _check_target(target: Path, source: Path) -> None:
    """Find out before the work, not after it, that the answer has no place to go."""
    from echat_sdk.io.wav import check_writable

    check_writable(target)
    if target.exists() and target.samefile(source):
        raise ConfigError(f"--out {target} is the recording itself; give another name")


def _lines(interactive: bool) -> Iterator[str]:
    prompt = Console(highlight=False)
    while True:
        try:
            line = prompt.input("[bold]you:[/] ") if interactive else _read_line()
        except EOFError:
            return
        if line.strip():
            yield line.strip()


def _read_line() -> str:
    """The next line, or of one that is too long as much as shows that.

    Raises:
        EOFError: there is none.
    """
    if not (line := sys.stdin.readline(MAX_CHARACTERS + 2)):
        raise EOFError
    rest = line
    while rest and not rest.endswith("\n"):
        rest = sys.stdin.readline(2**16)
    return line
