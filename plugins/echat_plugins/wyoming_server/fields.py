"""What an event asks for, checked: the library takes whatever a field holds."""

from __future__ import annotations

from wyoming.event import Event

from echat_plugins.wyoming_server.faults import Fault
from echat_plugins.wyoming_server.offer import languages
from echat_sdk.agent.service import Service
from echat_sdk.turn import LangChoice


def with_fields(event: Event, *names: str) -> Event:
    """The event, if it has these fields.

    Raises:
        Fault: it has not.
    """
    for name in names:
        if name not in event.data:
            raise Fault(f"{event.type}: {name} is missing")
    return event


def text_of(event: Event, name: str, most: int) -> str | None:
    """A text of at most so many characters; None for none.

    Raises:
        Fault: it is none, or longer.
    """
    text = event.data.get(name)
    if text is not None and not isinstance(text, str):
        raise Fault(f"{event.type}: {name}: expected a text")
    if text is not None and len(text) > most:
        raise Fault(f"a text has {most:,} characters at most, got {len(text):,}", "too-long")
    return text


def lang_of(event: Event, service: Service) -> LangChoice:
    """The language that is asked for, of those that are heard here.

    Raises:
        Fault: it is none of those.
    """
    given = text_of(event, "language", 40)
    if not given:
        return service.lang
    primary = given.strip().lower().replace("_", "-").partition("-")[0]
    if primary not in languages(service):
        able = ", ".join(languages(service))
        raise Fault(f"language: {able} are heard here", "unsupported-language")
    return "zh" if primary == "zh" else "en"
