"""What a session was asked to be: the protocol's JSON in, a frozen value out, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, cast

from echat_sdk.audio import Seconds
from echat_sdk.server.realtime.codec import PCM16, FormatName, WireFormat
from echat_sdk.server.realtime.faults import Fault
from echat_sdk.server.voices import OPENAI_VOICES
from echat_sdk.turn_policy import TurnPolicy

Detection = Literal["server_vad", "semantic_vad", "none"]
Eagerness = Literal["low", "medium", "high", "auto"]
Kind = Literal["realtime", "transcription"]

EVENTS = frozenset({"state", "cues", "think", "mood", "trace"})
"""The events of ours that a client may ask for."""

GIVES_UP: Seconds = 20.0
"""How long an answer may be waited for: functions run at the client, and take their time."""

_MOST_TOOLS = 128
_MOST_TEXT = 32_000
_WORST_WAIT: Mapping[str, Seconds] = MappingProxyType({"low": 8, "medium": 4, "high": 2, "auto": 4})


@dataclass(frozen=True, slots=True)
class TurnTaking:
    """Who decides when a turn ends.

    Attributes:
        kind: By silence, by how complete it sounds, or the client alone.
        create_response: Whether a turn that ended is answered.
        interrupt_response: Whether whoever speaks over the agent interrupts it.
        eagerness: How soon an end is taken for one, of `semantic_vad`.
        threshold: Of `server_vad`; told back, as our detectors have thresholds of their own.
        prefix: Sound before speech that belongs to the turn.
        silence: That ends a turn, of `server_vad`.
        idle: Silence after which the agent asks whether anybody is there; None for never.
    """

    kind: Detection = "semantic_vad"
    create_response: bool = True
    interrupt_response: bool = True
    eagerness: Eagerness = "auto"
    threshold: float = 0.5
    prefix: Seconds = 0.3
    silence: Seconds = 0.5
    idle: Seconds | None = None

    @classmethod
    def from_json(cls, body: Mapping[str, Any] | None) -> TurnTaking:
        """What a session asks for.

        Raises:
            Fault: a value is out of range.
        """
        if body is None:
            return cls("none", create_response=False)
        kind = body.get("type", "server_vad")
        common = {
            "create_response": _given(body, "create_response", True),
            "interrupt_response": _given(body, "interrupt_response", True),
        }
        if kind == "semantic_vad":
            return cls("semantic_vad", eagerness=_given(body, "eagerness", "auto"), **common)
        idle = body.get("idle_timeout_ms")
        return cls(
            "server_vad",
            threshold=_between(body, "threshold", 0.5, 0, 1),
            prefix=_between(body, "prefix_padding_ms", 300, 0, 2_000) / 1000,
            silence=_between(body, "silence_duration_ms", 500, 100, 10_000) / 1000,
            idle=None
            if idle is None
            else _between(body, "idle_timeout_ms", 0, 5_000, 30_000) / 1000,
            **common,
        )

    def to_json(self) -> dict[str, Any] | None:
        """As a session tells it."""
        common = {
            "create_response": self.create_response,
            "interrupt_response": self.interrupt_response,
        }
        match self.kind:
            case "none":
                return None
            case "semantic_vad":
                return {"type": self.kind, "eagerness": self.eagerness, **common}
            case _:
                return {
                    "type": self.kind,
                    "threshold": self.threshold,
                    "prefix_padding_ms": round(1000 * self.prefix),
                    "silence_duration_ms": round(1000 * self.silence),
                    "idle_timeout_ms": None if self.idle is None else round(1000 * self.idle),
                    **common,
                }

    def policy(self, usual: TurnPolicy) -> TurnPolicy:
        """The policy that does so.

        Args:
            usual: That of a server.
        """
        changes: dict[str, Any] = {"reengagements": 0, "gives_up_after": GIVES_UP}
        if self.kind == "server_vad":
            silence = self.silence
            changes |= {
                "pre_roll": self.prefix,
                "soft_end": min(usual.soft_end, silence),
                "min_delay": min(silence, 2.0),
                "delay": silence,
                "max_delay": silence,
                "words": 0.0,
                "most_patience": 1.0,
            }
            if self.idle is not None:
                changes |= {"reengagements": 2, "reengage_after": self.idle}
        elif self.kind == "semantic_vad":
            preset = {"low": TurnPolicy.of("patient"), "high": TurnPolicy.of("brisk")}
            usual = preset.get(self.eagerness, usual)
            changes["max_delay"] = min(usual.max_delay, _WORST_WAIT[self.eagerness])
        return TurnPolicy.model_validate(usual.model_dump() | changes)

    @property
    def is_by_meaning(self) -> bool:
        """Whether it matters how complete a turn sounds."""
        return self.kind == "semantic_vad"


BY_MEANING = TurnTaking()
"""How a session takes turns that says nothing of it."""


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What a session is.

    Attributes:
        kind: Whether it answers, or writes down what is said and no more.
        model: As the client called it.
        instructions: Told back; what a model does with them is its own.
        speaks: Whether answers are spoken; else they are written.
        hears_as: How sound comes.
        says_as: How sound goes.
        turns: Who decides when a turn ends.
        voice: As the client called it.
        tools: The functions that the client offers, as JSON.
        tool_choice: Whether they may be used.
        max_output_tokens: Told back.
        lang: Language that is spoken; empty as the server has it.
        events: The events of ours that are sent.
        told: What is kept only to be told back.
    """

    kind: Kind = "realtime"
    model: str = ""
    instructions: str = ""
    speaks: bool = True
    hears_as: WireFormat = PCM16
    says_as: WireFormat = PCM16
    turns: TurnTaking = BY_MEANING
    voice: str = "alloy"
    tools: tuple[Mapping[str, Any], ...] = ()
    tool_choice: Any = "auto"
    max_output_tokens: int | Literal["inf"] = "inf"
    lang: str = ""
    events: frozenset[str] = frozenset()
    told: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def updated(self, body: Mapping[str, Any], voices: tuple[str, ...] = ()) -> SessionConfig:
        """The same with what a `session.update` says.

        Args:
            body: Its `session`.
            voices: Names that are voices here.

        Raises:
            Fault: it cannot be so; nothing changes.
        """
        kind = cast("Kind", body.get("type", self.kind))
        audio = body.get("audio") or {}
        ear, mouth = audio.get("input") or {}, audio.get("output") or {}
        changes: dict[str, Any] = {"kind": kind}
        if "turn_detection" in ear:
            changes["turns"] = TurnTaking.from_json(ear["turn_detection"])
        if kind == "transcription":
            turns = changes.get("turns", self.turns)
            changes["turns"] = replace(turns, create_response=False)
        if ear.get("format"):
            changes["hears_as"] = _format(ear["format"], "session.audio.input.format")
        if mouth.get("format"):
            changes["says_as"] = _format(mouth["format"], "session.audio.output.format")
        if mouth.get("voice") is not None:
            changes["voice"] = _voice(mouth["voice"], voices)
        if (speed := mouth.get("speed")) not in (None, 1, 1.0):
            raise Fault(
                f"speed {speed}: voices here speak at 1.0", param="session.audio.output.speed"
            )
        if body.get("output_modalities"):
            changes["speaks"] = _speaks(body["output_modalities"], "session.output_modalities")
        if body.get("instructions") is not None:
            changes["instructions"] = _text(body["instructions"], "session.instructions")
        if body.get("tools") is not None:
            changes["tools"] = tuple(body["tools"])
            if len(changes["tools"]) > _MOST_TOOLS:
                raise Fault(f"more than {_MOST_TOOLS} tools", param="session.tools")
        for name in ("tool_choice", "max_output_tokens"):
            if body.get(name) is not None:
                changes[name] = body[name]
        if (transcription := ear.get("transcription")) and transcription.get("language"):
            changes["lang"] = str(transcription["language"])[:2].lower()
        if (ours := body.get("echat")) is not None:
            changes["events"] = _events(ours)
        kept = ("include", "tracing", "truncation", "prompt", "reasoning", "parallel_tool_calls")
        told = {name: body[name] for name in kept if body.get(name) is not None}
        noise = {"noise_reduction": ear["noise_reduction"]} if ear.get("noise_reduction") else {}
        if transcription:
            noise["transcription"] = transcription
        changes["told"] = MappingProxyType({**self.told, **told, **noise})
        return replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """As `session.created` and `session.updated` tell it, but for the session's id."""
        told = dict(self.told)
        ear = {
            "format": _format_json(self.hears_as),
            "noise_reduction": told.pop("noise_reduction", None),
            "transcription": told.pop("transcription", None),
            "turn_detection": self.turns.to_json(),
        }
        if self.kind == "transcription":
            return {"type": self.kind, "audio": {"input": ear}, **told}
        return {
            "type": self.kind,
            "model": self.model,
            "instructions": self.instructions,
            "output_modalities": ["audio" if self.speaks else "text"],
            "audio": {
                "input": ear,
                "output": {"format": _format_json(self.says_as), "voice": self.voice, "speed": 1.0},
            },
            "tools": [dict(tool) for tool in self.tools],
            "tool_choice": self.tool_choice,
            "max_output_tokens": self.max_output_tokens,
            **told,
        }


def _given(body: Mapping[str, Any], name: str, default: Any) -> Any:
    value = body.get(name)
    return default if value is None else value


def _between(
    body: Mapping[str, Any], name: str, default: float, least: float, most: float
) -> float:
    value = float(_given(body, name, default))
    if not least <= value <= most:
        raise Fault(
            f"{name} {value:g} is not within {least:g} to {most:g}",
            param=f"session.audio.input.turn_detection.{name}",
        )
    return value


def _format(body: Mapping[str, Any], param: str) -> WireFormat:
    name = body.get("type", "audio/pcm")
    if name == "audio/pcm" and body.get("rate", 24_000) != 24_000:
        raise Fault(f"audio/pcm at {body['rate']} Hz; only 24000 is spoken here", param=param)
    return WireFormat(cast("FormatName", name))


def _format_json(format_: WireFormat) -> dict[str, Any]:
    rate = {"rate": format_.rate} if format_.name == "audio/pcm" else {}
    return {"type": format_.name, **rate}


def _voice(given: Any, voices: tuple[str, ...]) -> str:
    name = str(given.get("id") if isinstance(given, Mapping) else given)
    if name not in OPENAI_VOICES and name not in voices:
        known = ", ".join((*voices, "alloy"))
        raise Fault(f"no voice {name[:80]!r}; one of {known}", param="session.audio.output.voice")
    return name


def _speaks(modalities: Any, param: str) -> bool:
    if list(modalities) not in (["audio"], ["text"]):
        raise Fault('expected ["audio"] or ["text"]', param=param)
    return bool(modalities[0] == "audio")


def _text(text: str, param: str) -> str:
    if len(text) > _MOST_TEXT:
        raise Fault(f"{len(text)} characters; at most {_MOST_TEXT}", param=param)
    return text


def _events(ours: Any) -> frozenset[str]:
    names = ours.get("events", []) if isinstance(ours, Mapping) else None
    if not isinstance(names, list) or not EVENTS.issuperset(map(str, names)):
        raise Fault(
            f"session.echat.events: expected some of {', '.join(sorted(EVENTS))}",
            param="session.echat.events",
        )
    return frozenset(map(str, names))
