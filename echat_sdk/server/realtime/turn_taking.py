"""Who decides when a turn ends: the protocol's `turn_detection`, as a policy of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from echat_sdk.audio import Seconds
from echat_sdk.server.realtime.faults import Fault
from echat_sdk.turn_policy import TurnPolicy

Detection = Literal["server_vad", "semantic_vad", "none"]
Eagerness = Literal["low", "medium", "high", "auto"]

GIVES_UP: Seconds = 20.0
"""How long an answer may be waited for: functions run at the client, and take their time."""

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
