"""What somebody calls with: an SDP offer and what the session is to be, checked before use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.datastructures import UploadFile

from echat_sdk.server.realtime import wire
from echat_sdk.server.realtime.config import SessionConfig
from echat_sdk.server.realtime.faults import Fault

if TYPE_CHECKING:
    from starlette.requests import Request

_MOST_SDP = 64 * 1024
_MOST_SESSION = 128 * 1024

BODY = _MOST_SDP + _MOST_SESSION + 8 * 1024
"""Bytes of a request that offers a call."""

_DIRECTIONS = ("sendrecv", "recvonly", "sendonly", "inactive")


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer that can be answered.

    Attributes:
        sdp: Without the caller's candidates: they come to us, and we go nowhere on their word.
        session: What the session is to be, as the body of a `session.update`.
    """

    sdp: str
    session: Mapping[str, Any] = field(default_factory=dict)


async def read(request: Request, voices: tuple[str, ...] = ()) -> Offer:
    """The offer in a request: SDP alone, or a form of `sdp` and `session`.

    Args:
        request: Its body is no longer than `BODY`.
        voices: Names that are voices here.

    Raises:
        Fault: it is no offer of a call, or of a session that cannot be.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/sdp":
        return Offer(checked(_text(await request.body(), "sdp")))
    if kind != "multipart/form-data":
        raise Fault("send application/sdp, or multipart/form-data of sdp and session", param="sdp")
    async with request.form(max_files=2, max_fields=2, max_part_size=_MOST_SESSION) as form:
        sdp = checked(await _part(form.get("sdp"), "sdp"))
        session = await _part(form["session"], "session") if "session" in form else "{}"
    return Offer(sdp, _session(session, voices))


def checked(sdp: str) -> str:
    """An offer of one audio track and one data channel, without its candidates.

    Raises:
        Fault: it is something else.
    """
    if len(sdp) > _MOST_SDP:
        raise Fault(f"an offer of {len(sdp)} characters; at most {_MOST_SDP}", param="sdp")
    lines = [line.strip() for line in sdp.splitlines()]
    if not lines or lines[0] != "v=0":
        raise Fault("this is no SDP: it begins with v=0", code="invalid_offer", param="sdp")
    media = [line[2:].partition(" ")[0] for line in lines if line.startswith("m=")]
    if sorted(media) != ["application", "audio"]:
        raise Fault(
            "expected one audio track and one data channel in the offer",
            code="invalid_offer",
            param="sdp",
        )
    if _direction(lines) not in ("sendrecv", "recvonly"):
        raise Fault(
            "the audio track must be sendrecv, or recvonly for a caller without a microphone",
            code="invalid_offer",
            param="sdp",
        )
    for name in ("ice-ufrag", "ice-pwd", "fingerprint", "setup"):
        if not any(line.startswith(f"a={name}:") for line in lines):
            raise Fault(f"the offer has no {name}", code="invalid_offer", param="sdp")
    dropped = ("a=candidate:", "a=end-of-candidates")
    kept = [line for line in lines if line and not line.startswith(dropped)]
    return "\r\n".join((*kept, ""))


def _direction(lines: list[str]) -> str:
    """Of the audio track; of the whole where it has none of its own."""
    found, is_audio = "sendrecv", True
    for line in lines:
        if line.startswith("m="):
            is_audio = line.startswith("m=audio")
        elif is_audio and line.removeprefix("a=") in _DIRECTIONS:
            found = line.removeprefix("a=")
    return found


def _session(text: str, voices: tuple[str, ...]) -> Mapping[str, Any]:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Fault("session: expected one JSON object", param="session") from error
    if not isinstance(given, dict):
        raise Fault("session: expected one JSON object", param="session")
    session = wire.begun(given)
    SessionConfig().updated(session, voices)
    return session


async def _part(part: UploadFile | str | None, name: str) -> str:
    if part is None:
        raise Fault(f"there is no {name} in the form", param=name)
    return part if isinstance(part, str) else _text(await part.read(), name)


def _text(raw: bytes, name: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise Fault(f"{name} is not UTF-8", param=name) from error
