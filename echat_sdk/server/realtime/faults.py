"""What is wrong with an event, as the protocol tells it. The session goes on."""

from __future__ import annotations

from typing import Any


class Fault(Exception):
    """An event that cannot be done.

    Attributes:
        message: What was got, what was expected.
        code: For machines, such as `unknown_or_invalid_event`.
        param: Of the event, where one is to blame.
        kind: The protocol's type of error.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "invalid_value",
        param: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param
        self.kind = kind

    def as_event(self, event_id: str | None) -> dict[str, Any]:
        """The `error` event, without an id of its own.

        Args:
            event_id: Of the client's event.
        """
        return {
            "type": "error",
            "error": {
                "type": self.kind,
                "code": self.code,
                "message": self.message,
                "param": self.param,
                "event_id": event_id,
            },
        }
