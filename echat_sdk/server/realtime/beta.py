"""The names that the protocol had in its beta, for clients that still speak them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_FORMATS = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}
_OLD_FORMATS = {new: old for old, new in _FORMATS.items()}
_RENAMED = {
    "response.output_text.": "response.text.",
    "response.output_audio.": "response.audio.",
    "response.output_audio_transcript.": "response.audio_transcript.",
}
_PARTS = {"output_text": "text", "output_audio": "audio"}
_OLD_PARTS = {"text": "output_text", "audio": "output_audio"}


def from_client(event: Mapping[str, Any]) -> dict[str, Any]:
    """A beta client's event as it is called today."""
    event = dict(event)
    match event.get("type"):
        case "session.update" if isinstance(event.get("session"), Mapping):
            event["session"] = _session(event["session"])
        case "transcription_session.update" if isinstance(event.get("session"), Mapping):
            event["type"] = "session.update"
            event["session"] = {**_session(event["session"]), "type": "transcription"}
        case "conversation.item.create" if isinstance(event.get("item"), Mapping):
            event["item"] = _item(event["item"])
        case "response.create" if isinstance(event.get("response"), Mapping):
            event["response"] = _response(event["response"])
    return event


def for_client(event: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """An event as a beta client knows it; nothing where it knows none."""
    told = dict(event)
    kind = told["type"]
    for new, old in _RENAMED.items():
        if kind.startswith(new):
            told["type"] = old + kind.removeprefix(new)
    match kind:
        case "session.created" | "session.updated":
            session = told["session"]
            told["session"] = _old_session(session)
            if session.get("type") == "transcription":
                told["type"] = f"transcription_{kind}"
        case "conversation.item.added":
            told["type"] = "conversation.item.created"
        case "conversation.item.done":
            return
    if isinstance(told.get("item"), Mapping):
        told["item"] = _old_item(told["item"])
    if isinstance(response := told.get("response"), Mapping):
        response = dict(response)
        response["modalities"] = _old_modalities(response.pop("output_modalities", None))
        response["output"] = [_old_item(item) for item in response.get("output") or ()]
        told["response"] = response
    yield told


def _session(old: Mapping[str, Any]) -> dict[str, Any]:
    new: dict[str, Any] = {"type": "realtime"}
    kept = ("instructions", "tools", "tool_choice", "tracing", "include", "echat", "prompt")
    new |= {name: old[name] for name in kept if name in old}
    if "max_response_output_tokens" in old:
        new["max_output_tokens"] = old["max_response_output_tokens"]
    if "modalities" in old:
        new["output_modalities"] = _modalities(old["modalities"])
    ear: dict[str, Any] = {}
    mouth: dict[str, Any] = {}
    for name, place in (("input_audio_format", ear), ("output_audio_format", mouth)):
        if old.get(name) is not None:
            place["format"] = {"type": _renamed(old[name], _FORMATS)}
            if old[name] == "pcm16":
                place["format"]["rate"] = 24_000
    if "input_audio_transcription" in old:
        ear["transcription"] = old["input_audio_transcription"]
    if "input_audio_noise_reduction" in old:
        ear["noise_reduction"] = old["input_audio_noise_reduction"]
    if "turn_detection" in old:
        ear["turn_detection"] = old["turn_detection"]
    for name in ("voice", "speed"):
        if name in old:
            mouth[name] = old[name]
    audio = {name: place for name, place in (("input", ear), ("output", mouth)) if place}
    return {**new, "audio": audio} if audio else new


def _old_session(new: Mapping[str, Any]) -> dict[str, Any]:
    audio = new.get("audio") or {}
    ear, mouth = audio.get("input") or {}, audio.get("output") or {}
    kept = ("id", "model", "instructions", "tools", "tool_choice", "echat", "include")
    old = {name: new[name] for name in kept if name in new}
    old |= {
        "object": "realtime.session",
        "input_audio_format": _OLD_FORMATS.get((ear.get("format") or {}).get("type", "")),
        "input_audio_transcription": ear.get("transcription"),
        "turn_detection": ear.get("turn_detection"),
    }
    if new.get("type") == "transcription":
        return old
    return {
        **old,
        "modalities": _old_modalities(new.get("output_modalities")),
        "output_audio_format": _OLD_FORMATS.get((mouth.get("format") or {}).get("type", "")),
        "voice": mouth.get("voice"),
        "temperature": 0.8,
        "max_response_output_tokens": new.get("max_output_tokens"),
    }


def _response(old: Mapping[str, Any]) -> dict[str, Any]:
    new = dict(old)
    if "modalities" in new:
        new["output_modalities"] = _modalities(new.pop("modalities"))
    if "max_response_output_tokens" in new:
        new["max_output_tokens"] = new.pop("max_response_output_tokens")
    for name in ("voice", "output_audio_format", "temperature"):
        new.pop(name, None)
    if isinstance(new.get("input"), list):
        new["input"] = [_item(item) if isinstance(item, Mapping) else item for item in new["input"]]
    return new


def _modalities(old: Any) -> Any:
    if not isinstance(old, list):
        return old
    return ["audio"] if "audio" in old else ["text"]


def _old_modalities(new: Any) -> list[str]:
    return ["audio", "text"] if new == ["audio"] else ["text"]


def _renamed(name: Any, names: Mapping[str, str]) -> Any:
    return names.get(name, name) if isinstance(name, str) else name


def _item(old: Mapping[str, Any]) -> dict[str, Any]:
    return _with_parts(old, _OLD_PARTS) if old.get("role") == "assistant" else dict(old)


def _old_item(new: Mapping[str, Any]) -> dict[str, Any]:
    return _with_parts(new, _PARTS)


def _with_parts(item: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    content = item.get("content")
    if not isinstance(content, list):
        return dict(item)
    parts = [
        {**part, "type": _renamed(part.get("type"), names)} if isinstance(part, Mapping) else part
        for part in content
    ]
    return {**item, "content": parts}
