"""The command that runs a recorded conversation again and shows what differs."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from echat_sdk import config
from echat_sdk.audio import Seconds
from echat_sdk.cli import account
from echat_sdk.cli.conversation import Typed, converse, kept
from echat_sdk.cli.event_json import event_as_json
from echat_sdk.cli.live import NoiseOption, PolicyOption, noise_kind, policy_name
from echat_sdk.cli.talk import JsonOption, ModelOption
from echat_sdk.cli.typed import MAX_CHARACTERS
from echat_sdk.consent import REMEMBERED
from echat_sdk.cues import Cues
from echat_sdk.errors import ConfigError

if TYPE_CHECKING:
    from echat_sdk.agent.events import Event
    from echat_sdk.config import Settings
    from echat_sdk.io.session import Session, SessionSettings

_TAIL: Seconds = 6.0  # of silence behind the user's side, so that the last answer is heard
_SAME: Seconds = 1.5  # turns that ended within so long of each other are the same turn


@dataclass(frozen=True, slots=True)
class ReplayedTurn:
    """What became of one turn. Times are seconds since the first frame.

    Attributes:
        ended: When the user had fallen silent, and the pause was over; or when they typed it.
        spoke: When the agent began to speak; None if it did not.
        first_audio: From the end of the user's speech to the first sound that was made, as the
            turn's own timings tell it.
    """

    ended: Seconds
    transcript: str
    emotion: str
    reply: str
    reply_emotion: str
    status: str
    spoke: Seconds | None
    first_audio: Seconds | None


Pair = tuple[ReplayedTurn | None, ReplayedTurn | None]

_TOLD = ("transcript", "emotion", "reply", "reply_emotion", "status")


def replay(
    folder: Annotated[Path, typer.Argument(help="What `echat talk --record` kept.")],
    model: ModelOption = None,
    policy: PolicyOption = "",
    noise: NoiseOption = "",
    as_json: JsonOption = False,
) -> None:
    """Run the user's side of a recorded conversation again, as fast as it was spoken.

    The agent starts with an empty memory and the settings of the recording, but for what is given
    here; what differs is shown turn by turn. What was typed is typed again at its time. The user
    does not react to the new answers.

    Example: [bold]echat replay monday --policy brisk[/]
    """
    from echat_sdk.io.session import read_session

    recorded = read_session(folder)
    before = recorded.settings
    settings = config.load({"model": model or before.model, "lang": before.lang})
    settings = settings.model_copy(update={"think": before.think, "user": "replay"})
    after = before.model_copy(
        update={
            "model": settings.model,
            "policy": policy_name(policy or before.policy),
            "noise": noise_kind(noise or before.noise),
        }
    )
    if after.noise == "keep" and before.noise == "suppress":
        raise ConfigError(f"{folder} was recorded without its noise, which cannot be put back")
    with tempfile.TemporaryDirectory(prefix="echat-replay-") as scratch:
        again = asyncio.run(_again(recorded, settings, after, Path(scratch), quiet=as_json))
    pairs = side_by_side(turns_of(recorded.events), turns_of(again.events))
    if as_json:
        account.write_json(_as_json(before, after, pairs))
    else:
        _show(before, after, pairs)


def turns_of(events: tuple[dict[str, Any], ...]) -> list[ReplayedTurn]:
    """The turns that events tell of, in order."""
    turns: list[ReplayedTurn] = []
    ended: Seconds = 0.0
    spoke: Seconds | None = None
    typed: Seconds | None = None  # at which a turn was typed that nothing was heard of yet
    for event in events:
        match event:
            case {"event": "user_stopped", "at": at}:
                ended, spoke = float(at), None
            case {"event": "typed", "at": at}:
                typed = float(at)
            case {"event": "heard"} if typed is not None:
                ended, spoke, typed = typed, None, None
            case {"event": "state", "state": "speaking", "at": at} if spoke is None:
                spoke = float(at)
            case {"event": "turn"}:
                turns.append(_turn(event, ended, spoke))
    return turns


def side_by_side(recorded: list[ReplayedTurn], replayed: list[ReplayedTurn]) -> list[Pair]:
    """Each turn beside the one that ended at the same time; None where there is none."""
    pairs: list[Pair] = []
    left, right = list(recorded), list(replayed)
    while left and right:
        apart = left[0].ended - right[0].ended
        if abs(apart) <= _SAME:
            pairs.append((left.pop(0), right.pop(0)))
        elif apart < 0:
            pairs.append((left.pop(0), None))
        else:
            pairs.append((None, right.pop(0)))
    return pairs + [(each, None) for each in left] + [(None, each) for each in right]


def differing(pair: Pair) -> list[str]:
    """The names of what differs between two turns, timings aside."""
    a, b = pair
    if a is None or b is None:
        return list(_TOLD)
    return [name for name in _TOLD if getattr(a, name) != getattr(b, name)]


async def _again(
    recorded: Session, settings: Settings, after: SessionSettings, folder: Path, *, quiet: bool
) -> Session:
    """Converse as before and record it, so that both are read in the same way."""
    from echat_memory import SQLMemory
    from echat_sdk.audio import frames
    from echat_sdk.io.echo import without_echo
    from echat_sdk.io.recorder import SessionRecorder
    from echat_sdk.io.session import read_session
    from echat_sdk.io.timed import TimedAudio

    spoken = TimedAudio(frames(recorded.user), tail=_TAIL)
    # What was suppressed already is not suppressed again; there is no echo either.
    is_noisy = recorded.settings.noise == "keep"
    audio = without_echo(spoken, "off", after.noise if is_noisy else "keep")
    store = f"sqlite:///{folder / 'memory.db'}"
    async with SessionRecorder(audio, folder / "again", after) as recorder:

        def tell(event: Event) -> None:
            recorder.tell(event_as_json(event, settings.user))

        with closing(SQLMemory(store, unasked=REMEMBERED)) as memory:
            await converse(
                settings,
                after.policy,
                recorder,
                memory,
                tell,
                after.greeting,
                quiet=quiet,
                typed=kept(_typed_again(recorded.events), recorder.tell),
            )
    return read_session(folder / "again")


async def _typed_again(events: tuple[dict[str, Any], ...]) -> Typed:
    """What was typed, at its time; what is no typed turn is passed over."""
    now = asyncio.get_running_loop().time
    begin = now()
    for event in events:
        match event:
            case {"event": "typed", "at": at, "text": str(text), "cues": dict(cues)}:
                await asyncio.sleep(begin + float(at) - now())
                if text.strip():
                    yield text[:MAX_CHARACTERS], _cues(cues)


def _cues(told: dict[str, Any]) -> Cues:
    try:
        return Cues.from_json(told)
    except (AttributeError, TypeError, ValueError):
        return Cues()


def _turn(event: dict[str, Any], ended: Seconds, spoke: Seconds | None) -> ReplayedTurn:
    """What the file says of a turn; a field that is not as it should be counts as empty."""

    def text(value: object) -> str:
        return value if isinstance(value, str) else ""

    def inner(name: str, key: str) -> Any:
        found = event.get(name)
        return found.get(key) if isinstance(found, dict) else None

    emotion = inner("cues", "emotion")
    first = inner("timings", "first_audio")
    return ReplayedTurn(
        ended=round(ended, 3),
        transcript=text(event.get("transcript")),
        emotion=text(emotion.get("label")) if isinstance(emotion, dict) else "",
        reply=text(event.get("reply")),
        reply_emotion=text(event.get("reply_emotion")),
        status=text(event.get("status")),
        spoke=spoke,
        first_audio=first if isinstance(first, float) else None,
    )


def _as_json(before: SessionSettings, after: SessionSettings, pairs: list[Pair]) -> dict[str, Any]:
    return {
        "recorded": before.model_dump(),
        "replayed": after.model_dump(),
        "turns": [
            {
                "recorded": None if a is None else asdict(a),
                "replayed": None if b is None else asdict(b),
                "differs": differing((a, b)),
            }
            for a, b in pairs
        ],
    }


def _show(before: SessionSettings, after: SessionSettings, pairs: list[Pair]) -> None:
    console = Console(highlight=False)
    table = Table("turn", "", f"recorded: {before.model}, {before.policy}",
                  f"replayed: {after.model}, {after.policy}", box=None)  # fmt: skip
    for number, pair in enumerate(pairs, 1):
        differs = differing(pair)
        for field in fields(ReplayedTurn):
            cells = [_cell(turn, field.name) for turn in pair]
            style = "yellow" if field.name in differs else ""
            first = str(number) if field.name == "ended" else ""
            table.add_row(
                first, Text(field.name.replace("_", " "), "dim"), *(Text(c, style) for c in cells)
            )
        table.add_section()
    console.print(table)
    changed = sum(bool(differing(pair)) for pair in pairs)
    console.print(f"{changed} of {len(pairs)} turns differ" if pairs else "no turn in either")


def _cell(turn: ReplayedTurn | None, name: str) -> str:
    if turn is None:
        return "no such turn" if name == "transcript" else ""
    value = getattr(turn, name)
    if value is None:
        return "-"
    return f"{value:.2f} s" if isinstance(value, float) else account.printable(value) or "-"
