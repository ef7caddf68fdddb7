"""The console at `echat serve` itself, with real weights: who speaks is answered aloud."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soxr
from playwright.sync_api import Page, expect

from echat_sdk import load_model
from echat_sdk.audio import SAMPLE_RATE, frames
from tests.sdk.server.console.linked import linked
from tests.sdk.server.console.scripted import RATE, Realtime

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


@pytest.fixture
def link(tmp_path: Path) -> Iterator[str]:
    """The one-time link of a server of the test's own."""
    with linked(tmp_path / "memory.db") as shown:
        yield shown


def test_the_page_hears_answers_aloud_shows_the_emotion_and_forgets(
    link: str, visit: Callable[..., Page], realtime: Realtime
) -> None:
    page = visit(at=link, bypass_csp=True)  # for the tap
    page.wait_for_selector("#consent:not([hidden])")
    for box in page.query_selector_all("#consent [role=switch]"):
        box.check()
    page.click("#consent-go")
    page.click("#mic")
    expect(page.locator(".entry.user .said").first).to_contain_text("dog", timeout=30_000)
    expect(page.locator("#state")).to_have_text("Speaking", timeout=30_000)
    expect(page.locator(".entry.user .note").first).to_contain_text(re.compile("sound"))
    expect(page.locator("#state")).to_have_text("Listening", timeout=30_000)
    answer = page.locator(".entry.agent .said").last.inner_text()
    heard = np.frombuffer(base64.b64decode(page.evaluate("window.playedPcm()")), "<i2")
    ears = load_model("echat-lite").listen(lang="en")
    for frame in frames(soxr.resample(heard, RATE, SAMPLE_RATE)):
        ears.push(frame)
    told = set(re.findall(r"\w{4,}", ears.heard().transcript.lower()))
    said = set(re.findall(r"\w{4,}", answer.lower()))
    assert len(told & said) >= 0.5 * len(said), (told, said)
    page.click("#views [data-view=memory]")
    expect(page.locator("[data-panel=memory]")).to_contain_text(re.compile("turns? kept"))
    page.click("#forget-all")
    page.click("#sure button[value=yes]")
    expect(page.locator("[data-panel=memory]")).to_contain_text("It keeps nothing about you.")
