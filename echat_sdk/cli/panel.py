"""The lines at the foot of a live conversation: state, levels, mood, the last waterfall, typing.

Their number depends on the size of the terminal alone, so that nothing jumps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from echat_sdk.agent.events import State
from echat_sdk.cli import account
from echat_sdk.cli.mood import Mood
from echat_sdk.turn import Timings

LABEL = 7
"""Columns of a label before what it names."""

_BESIDE = 76  # columns from which the waterfall stands beside the rest
_METER = 30  # columns of a meter at most
_STAGE = 15  # columns of a stage's name
_TIME = 8  # and of its time
_GAP = 3
_FACES = {
    State.LISTENING: ("○", "listening", "dim"),
    State.HEARING: ("●", "hearing you", "cyan"),
    State.THINKING: ("◌", "thinking", "yellow"),
    State.SPEAKING: ("▶", "speaking", "green"),
    State.OVERLAPPED: ("◈", "you speak over it", "magenta"),
    State.ENDED: ("■", "ended", "dim"),
}


@dataclass(slots=True)
class Scene:
    """What the panel shows.

    Attributes:
        title: Who converses with what.
        mood: How the user sounds.
        state: What the agent does.
        microphone: How much of its meter is lit, 0 to 1.
        speaker: The same of the agent's.
        timings: Of the last turn.
        typing: What is being typed; None where nobody can type.
    """

    title: str
    mood: Mood
    state: State = State.LISTENING
    microphone: float = 0.0
    speaker: float = 0.0
    timings: Timings = Timings()  # noqa: RUF009 - it is frozen
    typing: str | None = None


def panel(scene: Scene, width: int, height: int) -> list[Text]:
    """The panel for a terminal of this size, each line as wide as `width` at most."""
    left = _left(scene, width if width < _BESIDE else width // 2 - _GAP)
    if width >= _BESIDE:
        right = list(_waterfall(scene.timings, width - width // 2))
        body = [_beside(*pair, width // 2) for pair in zip(left, right, strict=True)]
    else:
        body = [*left, *_waterfall(scene.timings, width)]
    if len(body) > height // 2:
        body = left
    if len(body) > height // 2:
        body = left[:1]
    lines = [Text(), _rule(scene.title, width), *body, _foot(scene.typing, width)]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines


def _left(scene: Scene, width: int) -> list[Text]:
    face, words, style = _FACES[scene.state]
    columns = min(_METER, width - LABEL)
    return [
        Text(f"{face} {words}", style),
        _labelled("you", _meter(scene.microphone, columns, "cyan")),
        _labelled("agent", _meter(scene.speaker, columns, "green")),
        _labelled("mood", scene.mood.words()),
        _labelled("", scene.mood.strip()),
    ]


def _labelled(label: str, text: Text) -> Text:
    return Text.assemble((label.ljust(LABEL), "dim"), text)


def _meter(share: float, columns: int, style: str) -> Text:
    lit = round(share * columns)
    return Text.assemble(("▮" * lit, style), ("·" * (columns - lit), "dim"))


def _waterfall(timings: Timings, width: int) -> Iterator[Text]:
    """To the first sound: how long speaking takes says nothing about how long one waits."""
    columns = max(1, width - _STAGE - _TIME)
    before = [timings.first_audio, timings.first_text, timings.think, timings.heard]
    whole = next((at for at in before if at), None)
    told = {label: (bar, at) for label, bar, at in account.steps(timings, columns, whole)}
    for _, label in account.STAGES:
        bar, at = told.get(label, ("", ""))
        yield Text.assemble(
            (label.ljust(_STAGE), "dim"), (bar.ljust(columns), "blue"), at.rjust(_TIME)
        )


def _beside(left: Text, right: Text, at: int) -> Text:
    left.truncate(at - _GAP, overflow="ellipsis", pad=True)
    return Text.assemble(left, " " * _GAP, right)


def _rule(title: str, width: int) -> Text:
    return Text(f"── {title} ".ljust(width, "─"), "dim")


def _foot(typing: str | None, width: int) -> Text:
    if typing is None:
        return Text("Ctrl-C ends", "dim")
    if not typing:
        return Text.assemble(
            ("› ", "bold"), (" ", "reverse"), (" speak, or type; Ctrl-C ends", "dim")
        )
    while cell_len(typing) > width - 4:  # what was typed last is seen
        typing = typing[1:]
    return Text.assemble(("› ", "bold"), typing, (" ", "reverse"))
