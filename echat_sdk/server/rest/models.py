"""Which model is served."""

from __future__ import annotations

import time
from typing import Any

from starlette.responses import JSONResponse, Response

from echat_sdk.agent.service import Service
from echat_sdk.server.rest.bodies import no_model
from echat_sdk.server.rest.endpoint import Call, Stream


class Models:
    """`GET /v1/models`, and one of them by its name.

    Args:
        service: Has the model.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._since = int(time.time())

    async def all(self, call: Call) -> Response | Stream:
        """The one model."""
        return JSONResponse({"object": "list", "data": [self._card()]})

    async def one(self, call: Call) -> Response | Stream:
        """The model, if that is its name."""
        if call.path["id"] != self._service.model.name:
            raise no_model(self._service.model.name)
        return JSONResponse(self._card())

    def _card(self) -> dict[str, Any]:
        return {
            "id": self._service.model.name,
            "object": "model",
            "created": self._since,
            "owned_by": "echat",
            "echat": {"voices": list(self._service.voices)},
        }
