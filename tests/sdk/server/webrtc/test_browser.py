"""A page in real Chromium calls as OpenAI's documentation has it, with a WAV for a microphone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import async_playwright
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from echat_sdk.io.wav import read_audio, write_audio
from echat_sdk.testing import Line
from tests.sdk.server.webrtc.calling import serving
from tests.sdk.server.webrtc.test_call import Voice

pytestmark = pytest.mark.slow

PAGE = """<!doctype html><meta charset=utf-8><title>call</title>
<link rel=icon href=data:,><script src=/call.js></script>"""
SCRIPT = """
window.told = [];
window.call = async () => {
  const peer = window.peer = new RTCPeerConnection();
  const speaker = document.createElement("audio");
  speaker.autoplay = true;
  peer.ontrack = (event) => { speaker.srcObject = event.streams[0]; };
  const microphone = await navigator.mediaDevices.getUserMedia({ audio: true });
  peer.addTrack(microphone.getTracks()[0], microphone);
  const channel = peer.createDataChannel("oai-events");
  channel.onmessage = (event) => { window.told.push(JSON.parse(event.data)); };
  await peer.setLocalDescription(await peer.createOffer());
  const form = new FormData();
  form.set("sdp", peer.localDescription.sdp);
  form.set("session", JSON.stringify({ type: "realtime", model: "echat" }));
  const answer = await fetch("/v1/realtime/calls", { method: "POST", body: form });
  window.place = answer.headers.get("location");
  await peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
};
window.until = async (kind) => {
  while (!window.told.some((event) => event.type === kind))
    await new Promise((done) => setTimeout(done, 50));
};
window.energy = async () => {
  for (const each of (await window.peer.getStats()).values())
    if (each.type === "inbound-rtp" && each.kind === "audio") return each.totalAudioEnergy;
};
"""
FLAGS = [
    "--no-sandbox",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


async def page(_: Request) -> Response:
    return HTMLResponse(PAGE)


async def script(_: Request) -> Response:
    return Response(SCRIPT, media_type="text/javascript")


async def test_chromium_speaks_and_hears_the_answer(tmp_path: Path) -> None:
    wav = tmp_path / "said.wav"
    write_audio(wav, read_audio(Path("examples/audio/sad.wav")), 16_000)
    pages = [Route("/call", page), Route("/call.js", script)]
    model = Voice(Line("My dog died.", ("I am so sorry.",)))
    async with (
        serving(model, pages=pages) as served,
        async_playwright() as playwright,
        await playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=[*FLAGS, f"--use-file-for-fake-audio-capture={wav}%noloop"],
        ) as browser,
    ):
        tab = await browser.new_page()
        errors: list[str] = []
        tab.on("console", lambda message: errors.append(message.text))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        await tab.goto(f"{served.url}/call")
        await tab.evaluate("call()")
        async with asyncio.timeout(20):
            await tab.evaluate("until('output_audio_buffer.stopped')")
        told = await tab.evaluate("told")
        energy = await tab.evaluate("energy()")
        place = await tab.evaluate("place")
        assert (await tab.evaluate(f"fetch('{place}/hangup', {{method: 'POST'}})")) is not None
        await served.emptied()
    kinds = [event["type"] for event in told]
    assert kinds[0] == "session.created"
    assert "input_audio_buffer.speech_started" in kinds
    assert "output_audio_buffer.started" in kinds
    assert "error" not in kinds
    assert energy > 0.001
    assert not errors
