"""Each state of both pages: usable by all, and kept as pictures to be looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.sdk.server.console.conftest import DESK, PHONE
from tests.sdk.server.console.scripted import CHINESE, HAPPY, SAD, Realtime, Site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

Visit = Callable[..., Page]

LOOKS = [
    pytest.param(PHONE, "dark", "zh-CN", id="phone-zh"),
    pytest.param(DESK, "light", "en-GB", id="desk-en"),
]


class Gallery:
    """Takes pictures, and asks axe of each whether anybody is shut out."""

    def __init__(self, page: Page, folder: Path, look: str, scheme: str) -> None:
        self._page, self._folder, self._look, self._scheme = page, folder, look, scheme

    def take(self, name: str) -> None:
        page = self._page
        for scheme in ("light", "dark") if self._scheme == "dark" else ("dark", "light"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            picture = self._folder / f"{self._look}-{scheme}-{name}.png"
            page.screenshot(path=picture, animations="disabled")
        found = Axe().run(page).response["violations"]
        grave = [
            (rule["id"], [node["html"][:160] for node in rule["nodes"]][:3])
            for rule in found
            if rule["impact"] in ("serious", "critical")
        ]
        assert grave == [], name
        wide = "document.documentElement.scrollWidth <= innerWidth"
        assert page.evaluate(wide), f"{name} scrolls sideways"


def _settings(size: dict[str, int], scheme: str, locale: str) -> dict[str, object]:
    return {
        "viewport": size,
        "color_scheme": scheme,
        "locale": locale,
        "reduced_motion": "reduce",
        # axe is put into the page as a script of its own.
        "bypass_csp": True,
    }


@pytest.mark.parametrize(("size", "scheme", "locale"), LOOKS)
def test_every_state_of_the_console_is_usable_by_all(
    request: pytest.FixtureRequest,
    visit: Visit,
    realtime: Realtime,
    artefacts: Path,
    size: dict[str, int],
    scheme: str,
    locale: str,
) -> None:
    page = visit("/#ticket=", link=False, clean=False, **_settings(size, scheme, locale))
    gallery = Gallery(page, artefacts, request.node.callspec.id, scheme)
    expect(page.locator("#gate")).to_be_visible()
    expect(page.locator("#trouble p")).to_be_visible()
    gallery.take("gate")
    page.fill("#gate-key", "sk_pasted")
    page.press("#gate-key", "Enter")
    expect(page.locator("#consent")).to_be_visible()
    page.check("#ask-process_voice")
    gallery.take("consent")
    for box in page.query_selector_all("#consent [role=switch]"):
        box.check()
    page.click("#consent-go")
    expect(page.locator(".empty")).to_be_visible()
    gallery.take("empty")
    page.click("#mic")
    spoken = CHINESE if locale == "zh-CN" else SAD
    realtime.turn(spoken)
    expect(page.locator(".entry.agent .note")).to_be_visible()
    realtime.hear(HAPPY)
    realtime.speak(realtime.think(HAPPY), HAPPY, ends=False)
    expect(page.locator("#stop")).to_be_visible()
    gallery.take("speaking")
    for view in ("turn", "mood", "memory", "settings"):
        page.click(f"#views [data-view={view}]")
        if view == "mood":
            page.locator("#weeks-table summary").click()
        if view == "memory":
            expect(page.locator(".facts")).to_be_visible()
        gallery.take(view)
    page.click("#views [data-view=memory]")
    page.click("#forget-all")
    gallery.take("sure")


@pytest.mark.parametrize(("size", "scheme", "locale"), LOOKS)
def test_every_state_of_the_kiosk_is_usable_by_all(
    request: pytest.FixtureRequest,
    visit: Visit,
    site: Site,
    realtime: Realtime,
    artefacts: Path,
    size: dict[str, int],
    scheme: str,
    locale: str,
) -> None:
    site.realtime = realtime = Realtime(user=False)
    page = visit("/kiosk", **_settings(size, scheme, locale))
    gallery = Gallery(page, artefacts, f"kiosk-{request.node.callspec.id}", scheme)
    expect(page.locator("#asleep")).to_be_visible()
    gallery.take("asleep")
    expect(page.locator("#answer")).not_to_be_empty(timeout=25_000)  # its microphone speaks
    gallery.take("asking")
    page.click("#no")
    page.click("#wake")
    expect(page.locator("#ask")).to_be_visible()
    gallery.take("ask")
    page.click("#no")
    gallery.take("bye")
    page.click("#wake")
    page.click("#yes")
    expect(page.locator("#captions")).to_be_visible()
    spoken = CHINESE if locale == "zh-CN" else SAD
    realtime.hear(spoken)
    expect(page.locator("body[data-state=thinking]")).to_be_attached()
    gallery.take("thinking")
    realtime.speak(realtime.think(spoken), spoken)
    expect(page.locator("body[data-state=speaking]")).to_be_attached()
    gallery.take("speaking")
