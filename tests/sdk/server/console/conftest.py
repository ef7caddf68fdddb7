from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

from tests.sdk.server.console.scripted import SPOKEN, TAP, TICKET, Realtime, Site, serving
from tests.sdk.server.console.weeks import weeks

PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 800}

_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]

# What reaches the loudspeaker is kept, as is each time that the microphone is asked for.
_WATCHED = """
window.asked = 0;
window.wanted = null;
const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = (wanted) => {
  window.asked++;
  window.wanted = wanted.audio;
  const off = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  return open({ audio: { ...wanted.audio, ...(window.raw ? off : {}) } });
};
window.played = [];
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (to, ...rest) {
  if (to instanceof AudioDestinationNode) {
    this.context.audioWorklet.addModule("/tap.js").then(() => {
      const tap = new AudioWorkletNode(this.context, "tap", { numberOfOutputs: 0 });
      tap.port.onmessage = ({ data }) => window.played.push(...data);
      connect.call(this, tap);
    });
  }
  return connect.call(this, to, ...rest);
};
window.playedPcm = () => {
  const bytes = new Uint8Array(Int16Array.from(window.played, (s) => s * 32767).buffer);
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) {
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  }
  return btoa(text);
};
"""


def _watched(anything: bool) -> str:
    """As it is put into a page; where a page may run anything it needs no server of ours."""
    module = f"new Blob([{TAP!r}], {{ type: 'text/javascript' }})"
    return _WATCHED.replace('"/tap.js"', f"URL.createObjectURL({module})") if anything else _WATCHED


@contextmanager
def hearing(playwright: Playwright, speaker: Path) -> Iterator[Browser]:
    """A browser whose microphone hears a file."""
    opened = playwright.chromium.launch(
        executable_path="/usr/bin/chromium",
        args=[*_ARGUMENTS, f"--use-file-for-fake-audio-capture={speaker}"],
    )
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def browser(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    speaker = tmp_path_factory.mktemp("microphone") / "sad.wav"
    samples, rate = soundfile.read(SPOKEN / "sad.wav", dtype="int16")
    # Played over and over: who has spoken waits for an answer.
    soundfile.write(speaker, np.pad(samples, (rate // 5, 20 * rate)), rate)
    with hearing(playwright, speaker) as opened:
        yield opened


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serving() as serves:
        yield serves


@pytest.fixture(scope="module")
def artefacts() -> Path:
    """Pictures stay here, to be looked at; git ignores it."""
    folder = Path(__file__).parents[4] / "artefacts/console"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def realtime(site: Site) -> Realtime:
    site.realtime = Realtime()
    site.realtime.mood = weeks()
    return site.realtime


@pytest.fixture
def context(browser: Browser, site: Site) -> Iterator[Callable[..., BrowserContext]]:
    """Opens windows that ask nobody but the server for anything; what they ask elsewhere fails."""
    opened: list[BrowserContext] = []
    asks: list[str] = []

    def open_(script: str = "", **settings: Any) -> BrowserContext:
        made = browser.new_context(
            **{"viewport": DESK, "locale": "en-GB", "permissions": ["microphone"], **settings}
        )
        opened.append(made)
        made.on("request", lambda asked: asks.append(asked.url))
        made.add_init_script(_watched(settings.get("bypass_csp", False)))
        made.add_init_script(script)
        return made

    yield open_
    for each in opened:
        each.close()
    # Each page asks one server, the first that was asked, and nobody else.
    assert [url for url in asks if url.split("/")[2] != asks[0].split("/")[2]] == []


@pytest.fixture
def visit(context: Callable[..., BrowserContext], site: Site) -> Iterator[Callable[..., Page]]:
    """Opens a page by its one-time link. Its console stays clean, or the test fails."""
    said: list[str] = []

    def open_(
        path: str = "/", *, link: bool = True, clean: bool = True, at: str = "", **settings: Any
    ) -> Page:
        page = context(**settings).new_page()
        page.set_default_timeout(10_000)
        if clean:
            page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(at or f"{site.url}{path}{f'#ticket={TICKET}' if link else ''}")
        return page

    yield open_
    assert said == []


@pytest.fixture
def talking(visit: Callable[..., Page]) -> Callable[..., Page]:
    """A page whose user agreed to everything that is asked, and is in the conversation."""

    def open_(**settings: Any) -> Page:
        page = visit(**settings)
        page.wait_for_selector("#consent:not([hidden])")
        for box in page.query_selector_all("#consent [role=switch]"):
            box.check()
        page.click("#consent-go")
        page.wait_for_selector("#talk:not([hidden])")
        return page

    return open_
