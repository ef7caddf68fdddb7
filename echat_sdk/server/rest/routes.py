"""The endpoints and their paths."""

from __future__ import annotations

from starlette.routing import Route

from echat_sdk.agent.service import Service
from echat_sdk.server.caller import Scope
from echat_sdk.server.rest.chat import Chat
from echat_sdk.server.rest.endpoint import Answers, Endpoint
from echat_sdk.server.rest.limits import RestLimits
from echat_sdk.server.rest.models import Models
from echat_sdk.server.rest.places import Places
from echat_sdk.server.rest.speech import Speech
from echat_sdk.server.rest.transcriptions import Transcriptions


def routes(service: Service, limits: RestLimits | None = None) -> list[Route]:
    """What is answered over HTTP; each reads `request.state.caller`.

    Speech and transcription need `Scope.AUDIO`, chat `Scope.CHAT`, models any key.

    Args:
        service: What answers.
        limits: How much of it.
    """
    limits = limits or RestLimits()
    places = Places(limits)
    models = Models(service)

    def worked(answer: Answers, scope: Scope, most: int) -> Endpoint:
        return Endpoint(answer, limits, scope=scope, places=places, most=most)

    speech = Speech(service, places, limits).answer
    transcriptions = Transcriptions(service, places, limits).answer
    chat = Chat(service, places, limits).answer
    return [
        Route("/v1/audio/speech", worked(speech, Scope.AUDIO, limits.json_bytes)),
        Route("/v1/audio/transcriptions", worked(transcriptions, Scope.AUDIO, limits.upload_bytes)),
        Route("/v1/chat/completions", worked(chat, Scope.CHAT, limits.json_bytes)),
        Route("/v1/models", Endpoint(models.all, limits, method="GET")),
        Route("/v1/models/{id}", Endpoint(models.one, limits, method="GET")),
    ]
