"""What a session was asked to be: the protocol's JSON in, a frozen value out, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, cast

from echat_sdk.server.realtime.codec import PCM16, FormatName, WireFormat
from echat_sdk.server.realtime.faults import Fault
from echat_sdk.server.realtime.turn_taking import BY_MEANING, TurnTaking
from echat_sdk.server.voices import OPENAI_VOICES
from echat_sdk.turn import Lang

Kind = Literal["realtime", "transcription"]

EVENTS = frozenset({"state", "cues", "think", "mood", "trace"})
"""The events of ours that a client may ask for."""


_MOST_TOOLS = 128
_MOST_TEXT = 32_000


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
        reader: Language of what the server itself tells the user; empty for that of `lang`.
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
    lang: Lang | Literal[""] = ""
    reader: Lang | Literal[""] = ""
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
            changes["voice"] = voice_in(mouth["voice"], voices, "session.audio.output.voice")
        if (speed := mouth.get("speed")) not in (None, 1, 1.0):
            raise Fault(
                f"speed {speed}: voices here speak at 1.0", param="session.audio.output.speed"
            )
        if body.get("output_modalities"):
            changes["speaks"] = speaks_in(body["output_modalities"], "session.output_modalities")
        if body.get("instructions") is not None:
            changes["instructions"] = _text(body["instructions"], "session.instructions")
        if body.get("tools") is not None:
            changes["tools"] = tuple(body["tools"])
            if len(changes["tools"]) > _MOST_TOOLS:
                raise Fault(f"more than {_MOST_TOOLS} tools", param="session.tools")
        for name in ("tool_choice", "max_output_tokens"):
            if body.get(name) is not None:
                changes[name] = body[name]
        transcription = ear.get("transcription")
        if "transcription" in ear:
            changes["lang"] = _spoken(transcription or {})
        if (ours := body.get("echat")) is not None:
            changes |= _ours(ours)
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


@dataclass(frozen=True, slots=True)
class Asked:
    """What a response was asked to be.

    Attributes:
        speaks: Whether it is spoken; else it is written.
        voice: As the client called it.
        metadata: Of the client's.
    """

    speaks: bool
    voice: str
    metadata: Mapping[str, str] | None = None

    @classmethod
    def in_body(
        cls, body: Mapping[str, Any], session: SessionConfig, voices: tuple[str, ...]
    ) -> Asked:
        """What the `response` of a `response.create` says; else as the session has it.

        Raises:
            Fault: it cannot be so.
        """
        speaks, voice = session.speaks, session.voice
        if body.get("output_modalities"):
            speaks = speaks_in(body["output_modalities"], "response.output_modalities")
        mouth = (body.get("audio") or {}).get("output") or {}
        if mouth.get("voice") is not None:
            voice = voice_in(mouth["voice"], voices, "response.audio.output.voice")
        return cls(speaks, voice, body.get("metadata"))


def _format(body: Mapping[str, Any], param: str) -> WireFormat:
    name = body.get("type", "audio/pcm")
    if name == "audio/pcm" and body.get("rate", 24_000) != 24_000:
        raise Fault(f"audio/pcm at {body['rate']} Hz; only 24000 is spoken here", param=param)
    return WireFormat(cast("FormatName", name))


def _format_json(format_: WireFormat) -> dict[str, Any]:
    rate = {"rate": format_.rate} if format_.name == "audio/pcm" else {}
    return {"type": format_.name, **rate}


def voice_in(given: Any, voices: tuple[str, ...], param: str) -> str:
    """The name of a voice.

    Raises:
        Fault: there is none of that name.
    """
    name = str(given.get("id") if isinstance(given, Mapping) else given)
    if name not in OPENAI_VOICES and name not in voices:
        known = ", ".join((*voices, "alloy"))
        raise Fault(f"no voice {name[:80]!r}; one of {known}", param=param)
    return name


def speaks_in(modalities: Any, param: str) -> bool:
    """Whether these modalities are speech.

    Raises:
        Fault: they are neither speech nor text alone.
    """
    if list(modalities) not in (["audio"], ["text"]):
        raise Fault('expected ["audio"] or ["text"]', param=param)
    return bool(modalities[0] == "audio")


def _text(text: str, param: str) -> str:
    if len(text) > _MOST_TEXT:
        raise Fault(f"{len(text)} characters; at most {_MOST_TEXT}", param=param)
    return text


def _spoken(transcription: Mapping[str, Any]) -> Lang | Literal[""]:
    asked = str(transcription.get("language") or "")
    return _lang(asked[:2].lower(), asked, "session.audio.input.transcription.language")


def _lang(code: str, asked: str, param: str) -> Lang | Literal[""]:
    match code:
        case "en" | "zh" | "":
            return code
    raise Fault(f"language {asked[:20]!r} is not spoken here; en or zh", param=param)


def _ours(given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise Fault("session.echat: expected an object", param="session.echat")
    changes: dict[str, Any] = {}
    if "events" in given:
        names = given["events"]
        if not isinstance(names, list) or not EVENTS.issuperset(map(str, names)):
            raise Fault(
                f"session.echat.events: expected some of {', '.join(sorted(EVENTS))}",
                param="session.echat.events",
            )
        changes["events"] = frozenset(map(str, names))
    if "lang" in given:
        lang = str(given["lang"] or "")
        changes["reader"] = _lang(lang, lang, "session.echat.lang")
    return changes
