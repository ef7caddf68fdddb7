"""The face: a touch, a yes, and from then on by voice alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.sdk.server.console.scripted import HAPPY, SAD, Realtime, Site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

Visit = Callable[..., Page]


@pytest.fixture
def guest(site: Site, realtime: Realtime) -> Realtime:
    site.realtime = Realtime(user=False)
    return site.realtime


def test_one_yes_opens_ears_and_mouth_and_the_face_shows_what_it_does(
    visit: Visit, guest: Realtime
) -> None:
    page = visit("/kiosk")
    expect(page.locator("#ask h2")).to_contain_text("May I listen")
    expect(page.locator("#disclosure")).to_contain_text("I am an AI")
    assert page.evaluate("window.asked") == 0
    page.click("#yes")
    expect(page.locator("#state")).to_have_text("Listening")
    (said,) = guest.said("echat.consent.update")
    assert (said["purposes"], said["state"]) == (["process_voice", "infer_emotion"], "granted")
    guest.wait(lambda: len(guest.audio()), "the microphone")
    # From here on nobody touches anything.
    brows = page.locator(".brow").first
    calm = brows.get_attribute("d")
    guest.hear(SAD)
    expect(page.locator("#state")).to_have_text("Thinking")
    expect(page.locator("body")).to_have_attribute("data-emotion", "sad")
    expect(page.locator("#theirs")).to_have_text(SAD.words)
    expect(brows).not_to_have_attribute("d", calm or "")
    guest.speak(guest.think(SAD), SAD)
    expect(page.locator("#state")).to_have_text("Speaking")
    expect(page.locator("#ours")).to_have_text(SAD.answer)
    shapes = set()
    for _ in range(12):
        shapes.add(page.locator(".mouth").get_attribute("d"))
        page.wait_for_timeout(60)
    assert len(shapes) > 6  # it moves with the voice
    expect(page.locator(".face svg")).to_have_attribute("aria-label", "A face: Speaking")
    guest.send("input_audio_buffer.speech_started", item_id="item_x", audio_start_ms=1)
    expect(page.locator("#state")).to_have_text("Listening")
    guest.turn(HAPPY)
    expect(page.locator("#ours")).to_have_text(HAPPY.answer)
    assert page.evaluate("window.played.some((sample) => sample !== 0)")


def test_who_wants_no_judging_is_listened_to_and_not_judged(visit: Visit, guest: Realtime) -> None:
    page = visit("/kiosk")
    page.click("#half")
    expect(page.locator("#state")).to_have_text("Listening")
    assert guest.purposes["process_voice"] == "granted"
    assert guest.purposes["infer_emotion"] == "denied"


def test_a_no_is_taken_and_the_next_person_is_asked_anew(visit: Visit, guest: Realtime) -> None:
    page = visit("/kiosk")
    page.click("#no")
    expect(page.locator("#bye")).to_contain_text("Then not.")
    assert (page.evaluate("window.asked"), guest.said("echat.consent.update")) == (0, [])
    page.click("#wake")
    page.click("#yes")
    guest.turn(SAD)
    expect(page.locator("#ours")).to_have_text(SAD.answer)
    page.click("#leave")
    expect(page.locator("#ask")).to_be_visible()
    expect(page.locator("#ours")).to_be_hidden()
    assert len(guest.protocols) == 2  # a session of their own
    assert SAD.answer not in page.inner_text("body")
