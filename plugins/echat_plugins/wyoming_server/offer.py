"""What can be asked for here, as the protocol describes it."""

from __future__ import annotations

from importlib.metadata import version

from wyoming.info import (
    AsrModel,
    AsrProgram,
    Attribution,
    HandleModel,
    HandleProgram,
    Info,
    TtsProgram,
    TtsVoice,
)

from echat_sdk.agent.service import Service

NAME = "echat"
"""What each program is called."""


def languages(service: Service) -> list[str]:
    """What is spoken and heard."""
    return ["en", "zh"] if service.lang == "auto" else [service.lang]


def info(service: Service) -> Info:
    """The three programs; each has one model, and voices where the model names any."""
    model, able, ours = service.model.name, languages(service), version("echat-sdk")
    by = Attribution(name="echat-sdk", url="")
    return Info(
        asr=[
            AsrProgram(
                name=NAME,
                attribution=by,
                installed=True,
                description="Hears what is said",
                version=ours,
                models=[AsrModel(model, by, True, model, None, able)],
                supports_transcript_streaming=True,
                prefers_auto_gain_enabled=False,  # how loud and how clean a voice is tells of it
                prefers_noise_reduction_enabled=False,
            )
        ],
        handle=[
            HandleProgram(
                name=NAME,
                attribution=by,
                installed=True,
                description="Answers, and hears how something is said",
                version=ours,
                models=[HandleModel(model, by, True, model, None, able)],
                supports_handled_streaming=True,
            )
        ],
        tts=[
            TtsProgram(
                name=NAME,
                attribution=by,
                installed=True,
                description="Speaks",
                version=ours,
                voices=[
                    TtsVoice(voice, by, True, voice, None, able)
                    for voice in service.voices or (model,)
                ],
                supports_synthesize_streaming=True,
            )
        ],
    )
