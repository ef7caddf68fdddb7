"""The kiosk at `echat serve` itself, with real weights: by voice alone, from hello to goodbye."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import soxr
from playwright.sync_api import Browser, Page, Playwright, expect

from echat_memory import SQLMemory
from echat_sdk import load_model
from echat_sdk.consent import Purpose
from echat_sdk.cues import ReplyEmotion
from tests.sdk.server.console.conftest import DESK, hearing
from tests.sdk.server.console.linked import linked
from tests.sdk.server.console.scripted import RATE, spoken

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

# When somebody says what, from when the microphone was opened on.
HELLO, YES, STORY, BYE, END = 2, 20, 36, 62, 100


def says(text: str) -> npt.NDArray[np.int16]:
    """A voice other than the kiosk's own hearing: made by the same model, as a file."""
    parts = list(load_model("echat-lite").say(text, emotion=ReplyEmotion.NEUTRAL))
    rate = parts[0].sample_rate
    return soxr.resample(np.concatenate([part.samples for part in parts]), rate, RATE)


@pytest.fixture(scope="module")
def browser(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    speaker = tmp_path_factory.mktemp("microphone") / "visitor.wav"
    heard = np.zeros(END * RATE, np.int16)
    for at, said in (
        (HELLO, says("Hello there!")),
        (YES, says("Yes.")),
        (STORY, spoken("sad")),
        (BYE, says("Goodbye.")),
    ):
        heard[at * RATE : at * RATE + len(said)] = said
    soundfile.write(speaker, heard, RATE)
    with hearing(playwright, speaker) as opened:
        yield opened


def test_hello_wakes_it_a_yes_is_consent_and_who_says_goodbye_has_left(
    visit: Callable[..., Page], tmp_path: Path, artefacts: Path
) -> None:
    store = tmp_path / "memory.db"
    with linked(store, ECHAT_DEPLOYMENT="service") as link:
        page = visit(at=link.replace("/#", "/kiosk#"), bypass_csp=True)  # for the tap
        expect(page.locator("#asleep")).to_be_visible(timeout=30_000)
        expect(page.locator("#ask")).to_be_visible(timeout=30_000)
        expect(page.locator("#state")).to_have_text("Speaking", timeout=15_000)
        page.wait_for_timeout(1500)
        page.screenshot(path=artefacts / "kiosk-real-asking.png", animations="disabled")
        assert page.viewport_size == DESK
        expect(page.locator("#captions")).to_be_visible(timeout=30_000)
        told = page.evaluate("window.played.length")
        assert told > 5 * RATE
        page.evaluate("window.played.length = 0")
        expect(page.locator("#theirs")).to_contain_text("dog", timeout=40_000)
        expect(page.locator("#state")).to_have_text("Speaking", timeout=30_000)
        expect(page.locator("#ours")).not_to_be_empty()
        page.screenshot(path=artefacts / "kiosk-real-answering.png", animations="disabled")
        page.wait_for_timeout(1000)
        assert page.evaluate("window.played.some((sample) => Math.abs(sample) > 0.05)")
        expect(page.locator("#theirs")).to_contain_text("oodbye", timeout=40_000)
        expect(page.locator("#asleep")).to_be_visible(timeout=30_000)
    with closing(SQLMemory(f"sqlite:///{store}")) as memory:
        consents = memory.consents("ada")
    for purpose in (Purpose.PROCESS_VOICE, Purpose.INFER_EMOTION):
        given = consents.of(purpose)
        assert (given.state, given.channel) == ("granted", "voice")
