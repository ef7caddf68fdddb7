"""The console in a real browser, whose microphone is fed from a spoken recording."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from playwright.sync_api import Page, expect

from tests.sdk.server.console.scripted import (
    HAPPY,
    KEY,
    RATE,
    SAD,
    SECRET,
    TICKET,
    Realtime,
    Site,
    cues,
    spoken,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

Visit = Callable[..., Page]


def likeness(wanted: npt.NDArray[Any], heard: npt.NDArray[Any]) -> tuple[float, int]:
    """How alike a piece of sound and its place in another are, -1 to 1; and that place."""
    piece = wanted.astype(float) - wanted.mean()
    size = 1 << (len(heard) + len(piece)).bit_length()
    product = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(piece, size)), size)
    at = int(np.argmax(product[: max(1, len(heard) - len(piece) + 1)]))
    there = heard[at : at + len(piece)].astype(float)
    scale = float(np.linalg.norm(there) * np.linalg.norm(piece))
    return float(there @ piece) / scale if scale else 0.0, at


def loudest(samples: npt.NDArray[Any], seconds: float) -> npt.NDArray[Any]:
    """The part of that length in which most is said."""
    n = int(seconds * RATE)
    power = np.cumsum(samples.astype(float) ** 2)
    at = int(np.argmax(power[n:] - power[:-n]))
    return samples[at : at + n]


def until(page: Page, expression: str) -> None:
    """Wait until it is so. Not in the page, whose policy lets nobody evaluate text."""
    end = time.monotonic() + 10
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        time.sleep(0.02)


def played(page: Page) -> npt.NDArray[np.float64]:
    pcm = base64.b64decode(page.evaluate("window.playedPcm()"))
    return np.frombuffer(pcm, "<i2") / 32767


def test_consent_comes_first_and_the_microphone_is_not_asked_for_before_talk(
    visit: Visit, realtime: Realtime
) -> None:
    page = visit()
    expect(page.locator("#consent h2")).to_have_text("Before we begin")
    expect(page.locator("#disclosure")).to_contain_text("I am an AI, not a person.")
    switches = page.locator("#consent [role=switch]")
    expect(switches).to_have_count(9)
    assert [switches.nth(n).is_checked() for n in range(9)] == [False] * 9
    expect(page.locator("#talk")).to_be_hidden()
    assert TICKET not in page.url  # it is gone from the address bar, and from the history
    assert realtime.protocols == [["realtime", f"openai-insecure-api-key.{SECRET}"]]
    page.check("#ask-process_voice")
    page.check("#ask-infer_emotion")
    page.click("#consent-go")
    expect(page.locator("#state")).to_have_text("Microphone off")
    answers = {e["state"]: e["purposes"] for e in realtime.said("echat.consent.update")}
    assert answers["granted"] == ["process_voice", "infer_emotion"]
    assert len(answers["denied"]) == 7
    assert page.evaluate("window.asked") == 0
    assert realtime.said("input_audio_buffer.append") == []
    page.click("#mic")
    expect(page.locator("#state")).to_have_text("Listening")
    assert page.evaluate("window.asked") == 1
    for name in ("echoCancellation", "noiseSuppression", "autoGainControl"):
        assert page.evaluate(f"window.wanted.{name}") is True
    assert page.evaluate("Object.keys(sessionStorage).length + document.cookie.length") == 0


def test_who_is_not_to_be_listened_to_can_type_and_the_microphone_stays_shut(
    visit: Visit, realtime: Realtime
) -> None:
    page = visit()
    page.click("#consent-go")
    page.click("#mic")
    expect(page.locator("#trouble")).to_contain_text("You have not agreed to be listened to")
    assert page.evaluate("window.asked") == 0
    page.fill("#text", "My dog died.")
    page.press("#text", "Enter")
    expect(page.locator(".entry.user .said")).to_have_text("My dog died.")
    expect(page.locator(".entry.agent .said")).to_have_text(SAD.answer)
    expect(page.locator("[data-panel=turn]")).to_contain_text("You typed this")
    kinds = [event["type"] for event in realtime.heard]
    assert kinds.index("conversation.item.create") < kinds.index("response.create")


def test_the_microphone_arrives_as_the_recording_at_24_khz(
    talking: Visit, realtime: Realtime
) -> None:
    page = talking()
    page.evaluate("window.raw = true")  # what the browser does to a voice is not ours to test
    page.click("#mic")
    piece = 1200  # 50 ms
    realtime.wait(lambda: len(realtime.said("input_audio_buffer.append")) * piece > 3 * RATE, "3 s")
    page.click("#mic")
    pieces = realtime.said("input_audio_buffer.append")
    assert {len(each["audio"]) for each in pieces} == {2 * piece * 4 // 3}
    assert likeness(loudest(realtime.audio(), 1.2), spoken("sad"))[0] > 0.95


def test_what_the_agent_says_is_heard_and_a_spoken_turn_is_laid_open(
    talking: Visit, realtime: Realtime
) -> None:
    page = talking()
    page.click("#mic")
    expect(page.locator("#mic")).to_have_attribute("aria-pressed", "true")
    until(page, "+getComputedStyle(document.body).getPropertyValue('--user') > 0.3")
    realtime.hear(SAD)
    expect(page.locator("#state")).to_have_text("Thinking")
    response = realtime.think(SAD)
    expect(page.locator(".think")).to_contain_text("情感为:<SAD>")  # before there is an answer
    expect(page.locator(".entry.agent")).to_have_count(0)
    realtime.speak(response, SAD)
    expect(page.locator("#state")).to_have_text("Speaking")
    until(page, "+getComputedStyle(document.body).getPropertyValue('--agent') > 0.3")
    panel = page.locator("[data-panel=turn]")
    expect(panel.locator(".verdict")).to_have_text("You sound sad.")
    expect(panel.locator(".bars li").first).to_have_text(re.compile(r"sad\s*68%"))
    expect(panel.locator(".others")).to_contain_text("Age, Sounds, Style")
    expect(panel.locator(".others")).to_contain_text("no measured classifier")
    expect(panel.locator(".tone")).to_contain_text("comforting")
    expect(panel.locator("[data-stage=first_audio]")).to_contain_text("0.56 s")
    assert panel.locator(".waterfall tr").count() == 5
    panel.locator("summary", has_text="Why this answer").click()
    expect(panel.locator(".trace")).to_contain_text("a loss, told sadly")
    expect(page.locator(".entry.user .said")).to_have_text(SAD.words)
    expect(page.locator(".entry.user .note")).to_contain_text("you sound sad")
    expect(page.locator("#told")).to_contain_text(SAD.answer)  # read out once it is whole
    expect(page.locator("#state")).to_have_text("Listening", timeout=10_000)
    alike, _ = likeness(loudest(spoken("happy"), 1.5), played(page))
    assert alike > 0.95


def test_who_interrupts_stops_the_sound_and_the_server_is_told_how_much_was_heard(
    talking: Visit, realtime: Realtime
) -> None:
    page = talking()
    page.click("#mic")
    realtime.hear(SAD)
    response = realtime.think(SAD)
    item = realtime.speak(response, SAD, ends=False)
    until(page, "window.played.filter((s) => s !== 0).length > 1.3 * 24000")
    realtime.send("input_audio_buffer.speech_started", item_id="item_x", audio_start_ms=1)
    realtime.wait(lambda: realtime.said("conversation.item.truncate"), "the truncation")
    realtime.speak(response, SAD, ends=False)  # what was on its way is of the same answer
    realtime.end(response, item, SAD)
    (cut,) = realtime.said("conversation.item.truncate")
    assert (cut["item_id"], cut["content_index"]) == (item, 0)
    page.wait_for_timeout(200)
    sound, came = spoken("happy") / 32768, played(page)
    word = loudest(sound[:RATE], 0.5)
    start = likeness(word, came)[1] - likeness(word, sound[:RATE])[1]
    came = came[max(0, start) :]
    # How far it was played, by the sound itself: 20 ms that are the same are the same place.
    step = RATE // 50
    same = [
        at + step
        for at in range(0, min(len(came), len(sound)) - step, step)
        if np.abs(sound[at : at + step]).max() > 0.02
        and likeness(sound[at : at + step], came[at : at + step])[0] > 0.9
    ]
    assert abs(cut["audio_end_ms"] - 1000 * max(same) / RATE) < 90
    expect(page.locator(".entry.agent s").first).to_be_visible()
    expect(page.locator(".entry.agent .outcome").first).to_have_text("interrupted")
    assert realtime.said("conversation.item.retrieve")[0]["item_id"] == item


def test_escape_stops_the_answer_and_typing_over_it_does_too(
    talking: Visit, realtime: Realtime
) -> None:
    page = talking()
    realtime.hear(SAD)
    realtime.speak(realtime.think(SAD), SAD, ends=False)
    expect(page.locator("#state")).to_have_text("Speaking")
    page.keyboard.press("Escape")
    realtime.wait(lambda: realtime.said("response.cancel"), "the cancellation")
    expect(page.locator("#stop")).to_be_visible()  # until the server says that it ended
    realtime.speak(realtime.think(HAPPY), HAPPY, ends=False)
    until(page, "+getComputedStyle(document.body).getPropertyValue('--agent') > 0.2")
    page.fill("#text", "Wait.")
    page.press("#text", "Enter")
    realtime.wait(lambda: realtime.said("response.create"), "the question")
    kinds = [e["type"] for e in realtime.heard if e["type"] != "input_audio_buffer.append"]
    cancelled = len(kinds) - kinds[::-1].index("response.cancel")
    assert cancelled <= kinds.index("conversation.item.create") < kinds.index("response.create")
    assert len(realtime.said("conversation.item.truncate")) == 2


def test_mood_is_drawn_over_the_conversation_and_the_weeks_with_a_table_for_each(
    talking: Visit, realtime: Realtime
) -> None:
    page = talking()
    realtime.turn(SAD, written=True)
    realtime.turn(HAPPY, written=True)
    unknown = {**cues(sad=0.5), "emotion": {"label": "unknown", "why": "speech too short"}}
    realtime.turn(type(SAD)("Yes.", "I see.", unknown, "neutral"), written=True)
    expect(page.locator(".verdict")).to_have_text("I cannot tell how you sound.")
    expect(page.locator("[data-panel=turn]")).to_contain_text("speech too short")
    page.click("#views [data-view=mood]")
    mood = page.locator("[data-panel=mood]")
    now, weeks = mood.locator("svg").nth(0), mood.locator("svg").nth(1)
    sad, happy = now.locator("[data-emotion=sad]"), now.locator("[data-emotion=happy]")
    assert float(sad.get_attribute("cy") or 0) > float(happy.get_attribute("cy") or 0)
    assert now.locator(".none").count() == 1
    days = len(realtime.mood["days"])
    assert weeks.locator(".dot").count() == days
    expect(weeks).to_have_attribute("aria-label", re.compile("Mood day by day"))
    assert mood.locator("#now-table tbody tr").count() == 3
    assert mood.locator("#weeks-table tbody tr").count() == days
    expect(mood.locator(".told")).to_contain_text("usual for you")
    expect(mood).to_contain_text("Not a diagnosis")


def test_what_is_known_is_shown_and_forgotten_turn_by_turn_and_all_of_it(
    talking: Visit, realtime: Realtime
) -> None:
    page = talking()
    realtime.turn(SAD, written=True)
    realtime.turn(HAPPY, written=True)
    expect(page.locator(".entry")).to_have_count(4)
    first = realtime.kept[0]
    page.locator(".forget-turn").first.focus()  # seen as soon as it is reached
    page.keyboard.press("Enter")
    expect(page.locator(".entry")).to_have_count(2)
    expect(page.locator(".entry.user .said")).to_have_text(HAPPY.words)
    assert realtime.said("echat.memory.forget")[0]["turn_id"] == first
    page.click("#views [data-view=memory]")
    memory = page.locator("[data-panel=memory]")
    expect(memory.locator(".facts li")).to_have_text(realtime.facts)
    expect(memory).to_contain_text("1 turn kept, since 2 Mar")
    page.click("#forget-all")
    page.click("#sure button[value=no]")
    assert len(realtime.said("echat.memory.forget")) == 1
    page.click("#forget-all")
    page.click("#sure button[value=yes]")
    expect(page.locator(".entry")).to_have_count(0)
    expect(memory).to_contain_text("It keeps nothing about you.")
    expect(page.locator("#memory-note")).to_have_text("Forgotten: 1 turn.")
    assert realtime.said("echat.memory.forget")[-1]["scope"] == "all"


def test_a_consent_is_withdrawn_in_the_memorys_panel_and_listening_ends_with_its_own(
    talking: Visit, realtime: Realtime
) -> None:
    page = talking()
    page.click("#mic")
    realtime.wait(lambda: len(realtime.audio()), "sound")
    page.click("#views [data-view=memory]")
    page.uncheck("#agreed-process_voice")
    expect(page.locator("#state")).to_have_text("Microphone off")
    last = realtime.said("echat.consent.update")[-1]
    assert (last["purposes"], last["state"]) == (["process_voice"], "withdrawn")


def test_a_guest_is_asked_for_nothing_that_would_outlive_the_talk(
    visit: Visit, site: Site, realtime: Realtime
) -> None:
    site.realtime = Realtime(user=False)
    page = visit()
    expect(page.locator("#consent")).to_contain_text("You are a guest here")
    assert page.locator("#consent [role=switch]").count() == 4
    page.click("#consent-go")
    page.click("#views [data-view=mood]")
    expect(page.locator("[data-panel=mood]")).to_contain_text("Nothing is kept")
    assert site.realtime.said("echat.mood.retrieve") == []


def test_where_nobody_is_asked_for_consent_the_page_does_not_ask(
    visit: Visit, site: Site, realtime: Realtime
) -> None:
    site.realtime = Realtime()
    site.realtime.purposes = {}
    page = visit()
    expect(page.locator("#disclosure")).to_be_visible()
    assert page.locator("#consent [role=switch]").count() == 0
    page.click("#consent-go")
    page.click("#mic")
    expect(page.locator("#state")).to_have_text("Listening")
    assert site.realtime.said("echat.consent.update") == []


def test_what_nobody_may_agree_to_here_is_shown_as_such_and_not_asked_for(
    visit: Visit, site: Site, realtime: Realtime
) -> None:
    site.realtime = Realtime(barred=frozenset({"infer_emotion"}))
    page = visit()
    expect(page.locator("#ask-infer_emotion")).to_be_disabled()
    expect(page.locator("#ask-infer_emotion-words")).to_contain_text("nobody can agree to it")
    page.check("#ask-process_voice")
    page.click("#consent-go")
    expect(page.locator("#talk")).to_be_visible()
    updates = site.realtime.said("echat.consent.update")
    asked = {purpose for event in updates for purpose in event["purposes"]}
    assert "process_voice" in asked
    assert "infer_emotion" not in asked
    page.click("#views [data-view=memory]")
    expect(page.locator("#agreed-infer_emotion")).to_be_disabled()
    expect(page.locator("#trouble")).to_be_empty()


def test_who_merely_opens_the_page_tries_no_key(
    visit: Visit, site: Site, realtime: Realtime
) -> None:
    page = visit(link=False)
    expect(page.locator("#gate h2")).to_have_text("Come in")
    assert site.refused == []


def test_the_server_is_told_which_language_the_reader_reads(
    visit: Visit, realtime: Realtime
) -> None:
    page = visit(locale="zh-CN")
    expect(page.locator("#consent")).to_be_visible()
    page.click("#lang")
    updates = realtime.wait(lambda: realtime.said("session.update")[1:], "the update")
    told = [event["session"]["echat"]["lang"] for event in realtime.said("session.update")]
    assert told == ["zh", "en"]
    assert updates[0]["session"]["echat"]["events"]
    realtime.disclosure = "In another language."
    page.click("#lang")
    expect(page.locator("#disclosure")).to_contain_text("In another language.")


def test_a_lost_connection_is_taken_up_again_and_what_was_agreed_is_said_again(
    talking: Visit, realtime: Realtime
) -> None:
    page = talking(clean=False)  # the browser itself tells of it in the console
    realtime.turn(SAD, written=True)
    expect(page.locator(".entry")).to_have_count(2)
    realtime.purposes = dict.fromkeys(realtime.purposes, "unknown")  # of a guest nothing is kept
    realtime.heard.clear()
    realtime.drop()
    expect(page.locator("#state")).to_contain_text("Trying again")
    expect(page.locator("#mic")).to_be_disabled()
    expect(page.locator("#state")).to_have_text("Microphone off")
    assert len(realtime.said("echat.consent.update")[0]["purposes"]) == 9
    expect(page.locator(".entry")).to_have_count(2)


def test_a_link_that_was_used_and_a_wrong_key_say_what_to_do(
    visit: Visit, site: Site, realtime: Realtime
) -> None:
    page = visit(f"/#ticket={TICKET}x", link=False, clean=False)
    expect(page.locator("#trouble")).to_contain_text("used before or is too old")
    expect(page.locator("#gate h2")).to_have_text("Come in")
    page.click("#gate-form button")
    expect(page.locator("#trouble")).to_contain_text("Paste a key first.")
    page.fill("#gate-key", "sk_wrong")
    page.press("#gate-key", "Enter")
    expect(page.locator("#trouble")).to_contain_text("did not let us in")
    expect(page.locator("#gate-key")).to_have_value("")
    page.fill("#gate-key", f" {KEY} ")
    page.press("#gate-key", "Enter")
    expect(page.locator("#consent")).to_be_visible()
    expect(page.locator("#trouble")).to_be_empty()


def test_a_microphone_that_is_denied_or_missing_is_explained(
    talking: Visit, realtime: Realtime
) -> None:
    page = talking()
    for name, words in (
        ("NotAllowedError", "Allow it beside the address"),
        ("NotFoundError", "No microphone was found"),
        ("NotReadableError", "in use by another program"),
    ):
        page.evaluate(
            "name => navigator.mediaDevices.getUserMedia = async () => {"
            " throw new DOMException('', name); }",
            name,
        )
        page.click("#mic")
        expect(page.locator("#trouble")).to_contain_text(words)
        expect(page.locator("#mic")).to_have_attribute("aria-pressed", "false")


def test_all_of_it_is_done_by_keyboard_alone(visit: Visit, realtime: Realtime) -> None:
    page = visit()
    page.wait_for_selector("#consent:not([hidden])")
    keys = page.keyboard

    def reach(selector: str) -> None:
        for _ in range(40):
            if page.evaluate("s => document.activeElement.matches(s)", selector):
                outline = "getComputedStyle(document.activeElement).outlineStyle"
                assert page.evaluate(outline) == "solid"  # it is seen where one is
                return
            keys.press("Tab")
        raise AssertionError(f"{selector} is not reached")

    reach("#ask-process_voice")
    keys.press("Space")
    reach("#consent-go")
    keys.press("Enter")
    expect(page.locator("#talk")).to_be_visible()
    keys.press("Alt+t")
    expect(page.locator("#mic")).to_have_attribute("aria-pressed", "true")
    keys.press("Alt+t")
    expect(page.locator("#mic")).to_have_attribute("aria-pressed", "false")
    keys.press("Alt+i")
    keys.type("My dog died.")
    keys.press("Enter")
    expect(page.locator(".entry.agent .said")).to_have_text(SAD.answer)
    keys.press("Alt+4")
    reach("#forget-all")
    keys.press("Enter")
    expect(page.locator("#sure button[value=no]")).to_be_focused()
    keys.press("Escape")
    expect(page.locator("#sure")).to_be_hidden()
    keys.press("Alt+5")
    expect(page.locator("[data-panel=settings]")).to_be_visible()
    reach("#set-theme")
    keys.press("ArrowDown")
    keys.press("ArrowDown")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_devices_voice_and_silence_are_the_users_to_choose(
    talking: Visit, realtime: Realtime
) -> None:
    page = talking()
    page.click("#mic")
    page.click("#views [data-view=settings]")
    expect(page.locator("#set-microphone option")).not_to_have_count(1)
    page.select_option("#set-microphone", index=1)
    until(page, "window.asked === 2 && window.wanted.deviceId.exact.length > 0")
    page.select_option("#set-voice", "sky")
    page.uncheck("#set-aloud")
    updates = realtime.wait(lambda: realtime.said("session.update")[2:], "the updates")
    assert updates[-1]["session"]["audio"]["output"]["voice"] == "sky"
    assert updates[-1]["session"]["output_modalities"] == ["text"]
    page.fill("#text", "Hello.")
    page.press("#text", "Enter")
    expect(page.locator(".entry.agent .said")).to_have_text(SAD.answer)
    time.sleep(0.2)
    assert not np.any(played(page))


def test_the_page_speaks_chinese_and_remembers_that_it_should(
    talking: Visit, realtime: Realtime
) -> None:
    page = talking()
    page.click("#lang")
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(page.locator("#state")).to_have_text("麦克风已关闭")
    expect(page.locator("#disclosure")).to_contain_text("我是人工智能")
    page.click("#views [data-view=memory]")
    expect(page.locator("label[for=agreed-process_voice]")).to_have_text("听我说话")
    expect(page.locator("#agreed-process_voice-words")).to_have_text("聆听你的声音，并转成文字。")
    page.reload()
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
