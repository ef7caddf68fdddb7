"""The face: by a touch and a yes, or by voice alone where the browser lets it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.sdk.server.console.scripted import HAPPY, RATE, SAD, Realtime, Said, Site, cues

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

Visit = Callable[..., Page]

BYE = Said("Goodbye!", "Take good care.", cues(neutral=0.9), "joyful")

# A microphone in which somebody speaks when a test says so.
_MICROPHONE = """
const before = navigator.mediaDevices.getUserMedia;
navigator.mediaDevices.getUserMedia = async (wanted) => {
  (await before(wanted)).getTracks().forEach((track) => track.stop());
  const context = new AudioContext();
  const [voice, loud, to] = [
    new OscillatorNode(context, { frequency: 300 }),
    new GainNode(context, { gain: 0 }),
    new MediaStreamAudioDestinationNode(context),
  ];
  voice.connect(loud).connect(to);
  voice.start();
  window.near = (seconds) => {
    loud.gain.setValueAtTime(0.4, context.currentTime);
    loud.gain.setValueAtTime(0, context.currentTime + seconds);
  };
  return to.stream;
};
"""

# Two minutes pass in two seconds.
_HASTE = """
const later = window.setTimeout;
window.setTimeout = (act, ms, ...rest) => later(act, ms === 120000 ? 2000 : ms, ...rest);
"""


@pytest.fixture
def touched(visit: Visit) -> Visit:
    """Opens the kiosk in a browser that lets no page use the microphone unasked."""
    return lambda **settings: visit("/kiosk", permissions=[], **settings)


@pytest.fixture
def hands_free(visit: Visit) -> Visit:
    """Opens it in one that does, with a microphone that is silent until `speaks`."""

    def open_(*, also: str = "", **settings: Any) -> Page:
        return visit("/kiosk", script=_MICROPHONE + also, **settings)

    return open_


@pytest.fixture
def guest(site: Site, realtime: Realtime) -> Realtime:
    site.realtime = Realtime(user=False)
    return site.realtime


def test_one_yes_opens_ears_and_mouth_and_the_face_shows_what_it_does(
    touched: Visit, guest: Realtime
) -> None:
    page = touched()
    expect(page.locator("#ask h2")).to_contain_text("May I listen")
    expect(page.locator("#disclosure")).to_contain_text("I am an AI")
    assert page.evaluate("window.asked") == 0
    expect(page.locator("#light")).to_have_text("The microphone is off.")
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


def test_who_wants_no_judging_is_listened_to_and_not_judged(
    touched: Visit, guest: Realtime
) -> None:
    page = touched()
    page.click("#half")
    expect(page.locator("#state")).to_have_text("Listening")
    assert guest.purposes["process_voice"] == "granted"
    assert guest.purposes["infer_emotion"] == "denied"


def test_a_no_is_taken_and_the_next_person_is_asked_anew(touched: Visit, guest: Realtime) -> None:
    page = touched()
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


def speaks(page: Page, seconds: float = 0.6) -> None:
    """Somebody speaks near the kiosk: the fake microphone is otherwise silent."""
    expect(page.locator("#asleep")).to_be_visible()
    page.wait_for_timeout(300)  # in which it learns how quiet the room is
    page.evaluate("seconds => window.near(seconds)", seconds)


def test_who_speaks_to_it_wakes_it_and_is_asked_aloud(hands_free: Visit, guest: Realtime) -> None:
    page = hands_free()
    expect(page.locator("#asleep h2")).to_have_text("Say hello.")
    page.wait_for_timeout(700)
    assert page.evaluate("window.asked") == 1
    assert guest.audio().size == 0  # what it hears while it is asleep stays where it is
    expect(page.locator("#light")).to_have_text("Waiting for a voice; nothing is sent.")
    speaks(page)
    (asked,) = guest.wait(lambda: guest.said("echat.consent.ask"), "the question")
    assert asked["purposes"] == ["process_voice", "infer_emotion"]
    assert asked["lang"] == "en"
    expect(page.locator("#ask")).to_be_visible()
    expect(page.locator("#state")).to_have_text("Speaking")
    expect(page.locator("#answer")).to_contain_text("Say yes or no")
    guest.wait(lambda: guest.audio().size, "the answer, on its way")
    expect(page.locator("#light")).to_have_text("You are heard.")
    guest.answer("granted")
    expect(page.locator("#ours")).to_contain_text("I am listening")
    expect(page.locator("#light")).to_have_attribute("data-light", "on")
    assert guest.said("echat.consent.update") == []
    guest.turn(SAD)
    expect(page.locator("#ours")).to_have_text(SAD.answer)
    assert page.evaluate("window.asked") == 1  # and nobody touched anything


def test_a_spoken_no_is_taken_and_the_next_person_is_asked_anew(
    hands_free: Visit, guest: Realtime
) -> None:
    page = hands_free()
    speaks(page)
    guest.wait(lambda: guest.said("echat.consent.ask"), "the question")
    guest.answer("denied")
    expect(page.locator("#bye")).to_contain_text("Speak to me whenever you like.")
    page.wait_for_timeout(300)
    sent = guest.audio().size
    expect(page.locator("#asleep")).to_be_visible(timeout=10_000)
    assert len(guest.protocols) == 2
    assert guest.audio().size == sent


def test_where_nobody_answers_it_falls_asleep_again(hands_free: Visit, guest: Realtime) -> None:
    page = hands_free()
    speaks(page)
    guest.wait(lambda: guest.said("echat.consent.ask"), "the question")
    guest.answer("unanswered")
    expect(page.locator("#asleep")).to_be_visible()
    page.wait_for_timeout(300)
    sent = guest.audio().size
    speaks(page)
    page.wait_for_timeout(800)
    assert len(guest.said("echat.consent.ask")) == 1  # who walks on is let go
    assert guest.audio().size == sent


def test_who_touches_a_button_while_it_asks_is_not_asked_any_more(
    hands_free: Visit, guest: Realtime
) -> None:
    page = hands_free()
    speaks(page)
    guest.wait(lambda: guest.said("echat.consent.ask"), "the question")
    page.click("#half")
    expect(page.locator("#captions")).to_be_visible()
    expect(page.locator("#state")).to_have_text("Listening")
    assert guest.purposes["infer_emotion"] == "denied"
    kinds = [event["type"] for event in guest.heard]
    assert kinds.index("response.cancel") < kinds.index("echat.consent.update")


def test_who_says_goodbye_has_left_once_they_heard_the_answer(
    hands_free: Visit, guest: Realtime
) -> None:
    page = hands_free()
    speaks(page)
    guest.wait(lambda: guest.said("echat.consent.ask"), "the question")
    guest.answer("granted")
    expect(page.locator("#captions")).to_be_visible()
    guest.hear(BYE)
    response = guest.think(BYE)
    item = guest.speak(response, BYE, ends=False)
    guest.send("response.output_audio.done", response_id=response, item_id=item)
    guest.end(response, item, BYE, is_farewell=True)
    expect(page.locator("#state")).to_have_text("Speaking")
    expect(page.locator("#ours")).to_have_text(BYE.answer)
    expect(page.locator("#asleep")).to_be_visible()
    assert len(guest.protocols) == 2
    assert page.evaluate("window.played.filter((s) => s !== 0).length") > 3 * RATE


def test_a_browser_that_plays_nothing_unasked_waits_for_a_touch(
    touched: Visit, guest: Realtime
) -> None:
    page = touched()
    expect(page.locator("#ask")).to_be_visible()
    expect(page.locator("#asleep")).to_be_hidden()
    assert page.evaluate("window.asked") == 0


def test_it_asks_in_the_language_of_the_page(hands_free: Visit, guest: Realtime) -> None:
    page = hands_free(locale="zh-CN")
    expect(page.locator("#asleep h2")).to_have_text("说一声“你好”。")
    speaks(page)
    (asked,) = guest.wait(lambda: guest.said("echat.consent.ask"), "the question")
    assert asked["lang"] == "zh"
    expect(page.locator("#answer")).to_contain_text("我同意")


def test_who_touches_the_screen_and_walks_on_is_not_waited_for_for_ever(
    hands_free: Visit, guest: Realtime
) -> None:
    page = hands_free(also=_HASTE)
    page.click("#touch")
    expect(page.locator("#ask")).to_be_visible()
    expect(page.locator("#asleep")).to_be_visible()
    assert len(guest.protocols) == 2


def test_what_nobody_may_agree_to_is_not_asked_for(
    hands_free: Visit, site: Site, guest: Realtime
) -> None:
    site.realtime = Realtime(user=False, barred=frozenset({"infer_emotion"}))
    page = hands_free()
    speaks(page)
    (asked,) = site.realtime.wait(lambda: site.realtime.said("echat.consent.ask"), "the question")
    assert asked["purposes"] == ["process_voice"]
    expect(page.locator("#ask h2")).to_have_text("Hello. May I listen?")
    expect(page.locator("#half")).to_be_hidden()
