"""What a device can do, asked for by its user."""

from __future__ import annotations

from typing import Any

from echat_sdk.testing import FakeModel, Line
from tests.plugins.xiaozhi.device import device, service_of, serving


def takes(**properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"description": "Does something.", "inputSchema": schema}


VOLUME = {
    **takes(volume={"type": "integer", "minimum": 0, "maximum": 100}),
    "_gives": "The volume is 80 now.",
}
LOUDER = Line("louder", calls="audio_speaker_set_volume", arguments={"volume": 80})


async def asked(line: Line, tools: dict[str, Any], **options: Any) -> tuple[Any, Any]:
    """What a device was called with, and what was said then."""
    service = service_of(FakeModel(line))
    async with (
        serving(service, **options) as port,
        device(port, tools=tools, paged=True) as robot,
    ):
        await robot.hello(mcp=True)
        for _ in range(1 + len(tools)):  # it is asked for one page after the other
            await robot.until("mcp")
        await robot.listen("detect", text=line.transcript)
        await robot.until("tts", state="stop")
    return robot.called, [each["text"] for each in robot.of("tts") if "text" in each]


async def test_what_somebody_asks_for_is_done_by_the_device() -> None:
    tools = {
        "self.screen.set_theme": takes(theme={"type": "string"}),
        "self.audio_speaker.set_volume": VOLUME,
    }
    called, said = await asked(LOUDER, tools)
    assert called == [{"name": "self.audio_speaker.set_volume", "arguments": {"volume": 80}}]
    assert said == ["The volume is 80 now."]


async def test_a_device_that_cannot_or_does_not_answer_is_told_of() -> None:
    for gives, options in (("no", {}), (None, {"tool_seconds": 0.1})):
        tools = {"self.audio_speaker.set_volume": {**VOLUME, "_gives": gives}}
        called, said = await asked(LOUDER, tools, **options)
        assert len(called) == 1
        assert said in (["ToolFailed"], ["late"])


async def test_tools_that_nobody_could_ask_for_are_left_out() -> None:
    tools = {
        "self.nested": takes(where={"type": "object"}),
        "self.audio_speaker.set_volume": VOLUME,
        "": VOLUME,
        "self.audio_speaker_set_volume": VOLUME,  # of the same name to us
    }
    called, _ = await asked(LOUDER, tools)
    assert [each["name"] for each in called] == ["self.audio_speaker.set_volume"]


async def test_a_device_that_tells_no_tools_talks_all_the_same() -> None:
    async with serving(service_of(FakeModel(Line("hi")))) as port, device(port) as robot:
        await robot.hello(mcp=True)
        await robot.listen("detect", text="hi")
        await robot.until("tts", state="stop")
