"""Every page of a furnished demo, as axe-core, a keyboard, a screen reader and a very narrow phone meet it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pyotp
import pytest

from running_demo import Demo
from shop_window import ShopWindow

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("shop window")]

WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
MODES = ["lang=zh", "lang=en", "lang=zh&large=1", "lang=en&large=1"]
PALLET = "/00/195200010000000017"
NOT_THERE = "/01/09520001000010/10/NOT-THERE"
OPEN_ALL = "document.querySelectorAll('details').forEach(each => each.open = true)"
AXE = """tags => axe.run(document, {runOnly: {type: 'tag', values: tags}, resultTypes: ['violations']})
  .then(found => found.violations.map(one => `${one.id}: ${one.nodes.map(node => node.target).join(' | ')}`))"""
# What is pressed or filled in, unless it stands in a sentence or its label is the larger target.
TARGETS = """() => [...document.querySelectorAll('a:not(.skip), summary, button, select, input, textarea')]
  .filter(e => e.getClientRects().length && !e.closest('.away') && !['hidden', 'checkbox', 'radio'].includes(e.type))
  .map(e => [Math.min(e.getBoundingClientRect().width, e.getBoundingClientRect().height), e.outerHTML.slice(0, 90)])"""
TEXTS = """() => [...document.querySelectorAll('body *')].filter(e => e.getClientRects().length)
  .filter(e => !e.closest('svg, .away, .skip') && [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()))
  .map(e => [parseFloat(getComputedStyle(e).fontSize), e.outerHTML.slice(0, 90)])"""
FOCUSED = """() => { const e = document.activeElement; return e === document.body ? null
  : [[...document.querySelectorAll('*')].indexOf(e), getComputedStyle(e).outlineStyle, e.outerHTML.slice(0, 90)] }"""
MOVING = """() => [document.getAnimations().length, getComputedStyle(document.documentElement).scrollBehavior,
  [...document.querySelectorAll('*')].filter(e => parseFloat(getComputedStyle(e).transitionDuration)).length]"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShopWindow]:
    with Demo.served(tmp_path_factory.mktemp("shop") / "data") as demo:
        window = ShopWindow(demo.told)
        window.furnish()
        yield window


@pytest.fixture(scope="module")
def context(browser: Any, shop: ShopWindow) -> Iterator[Any]:
    """A phone whose owner is signed in at the regulator's desk."""
    opened = browser.new_context(viewport={"width": 390, "height": 844}, base_url=shop.told["base_url"])
    _sign_in(opened.new_page(), shop.told["logins"][0])
    yield opened
    opened.close()


@pytest.fixture
def tab(context: Any) -> Iterator[Any]:
    page = context.new_page()
    yield page
    page.close()


@pytest.fixture(scope="module")
def pages(shop: ShopWindow, context: Any) -> dict[str, str]:
    """What a page shows -> its path: what a shopper meets, the desk's rooms, and what is missing."""
    page = context.new_page()
    page.goto("/regulator/")
    rooms = page.locator("nav.rooms a").evaluate_all("all => all.map(each => each.pathname)")
    alerts = page.locator("a[href*='/regulator/alerts/']").evaluate_all("all => all.map(each => each.pathname)")
    assert len(rooms) >= 6 and alerts
    page.goto(shop.pages["lot"])
    others = {
        kind: page.locator(f"a[href^='/{kind}/']").first.get_attribute("href").partition("?")[0]
        for kind in ("plot", "lot")
    }
    page.goto(shop.pages["held and corrected"])
    sheet = page.locator("a[href^='/certificate/']").first.get_attribute("href").partition("?")[0]
    page.close()
    return {
        **shop.pages, "pallet": PALLET, "certificate": sheet,
        "plot": others["plot"], "raw lot": others["lot"], "home": "/", "reference": "/docs",
        "verifier": "/verify", "not there": NOT_THERE, "no such path": "/nowhere", "thanks": "/complaints/received",
        "sign-in": "/regulator/sign-in", "enrolment": "/regulator/enrol", "alert": alerts[0],
        **{f"desk {path}": path for path in rooms},
    }  # fmt: skip


def _sign_in(page: Any, login: dict[str, str]) -> None:
    """A one-time code counts once: the one used at enrolment is waited out."""
    for _ in range(4):
        page.goto("/regulator/sign-in?lang=zh")
        page.locator("[name=username]").fill(login["username"])
        page.locator("[name=password]").fill(login["password"])
        page.locator("[name=one_time]").fill(pyotp.TOTP(login["totp_secret"]).now())
        page.locator("main button").click()
        if not page.url.partition("?")[0].endswith("/sign-in"):
            page.close()
            return
        time.sleep(30 - time.time() % 30 + 0.5)
    raise AssertionError("could not sign in")


def _goto(tab: Any, path: str, mode: str) -> None:
    tab.goto(f"{path}?{mode}")
    tab.evaluate(OPEN_ALL)


@pytest.mark.parametrize(
    ("mode", "scheme"), [*((mode, "light") for mode in MODES), (MODES[0], "dark"), (MODES[3], "dark")]
)
def test_no_page_breaks_a_rule_of_wcag_2_2_aa(
    tab: Any, pages: dict[str, str], axe_source: str, mode: str, scheme: str
) -> None:
    tab.emulate_media(color_scheme=scheme)
    broken: dict[str, list[str]] = {}
    for name, path in pages.items():
        _goto(tab, path, mode)
        tab.evaluate(axe_source)
        if found := tab.evaluate(AXE, WCAG):
            broken[name] = found
    assert broken == {}


@pytest.mark.parametrize("mode", MODES)
def test_no_page_scrolls_sideways_at_a_width_of_320_px(tab: Any, pages: dict[str, str], mode: str) -> None:
    """Which is also 1280 px at 400 %, and 640 px at 200 % (WCAG 1.4.10)."""
    tab.set_viewport_size({"width": 320, "height": 640})
    wide = {}
    for name, path in pages.items():
        _goto(tab, path, mode)
        width = tab.evaluate("document.documentElement.scrollWidth")
        if width > 320:
            wide[name] = width
    assert wide == {}


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_targets_are_large_and_in_elder_mode_larger(tab: Any, pages: dict[str, str], lang: str) -> None:
    small: dict[str, list[Any]] = {}
    for name, path in pages.items():
        for mode, least in (("", 24), ("&large=1", 60)):
            _goto(tab, path, f"lang={lang}{mode}")
            if found := [each for each in tab.evaluate(TARGETS) if each[0] < least - 0.1]:
                small[name + mode] = found
    assert small == {}


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_no_text_is_smaller_than_18_px_in_elder_mode(tab: Any, pages: dict[str, str], lang: str) -> None:
    small: dict[str, list[Any]] = {}
    for name, path in pages.items():
        _goto(tab, path, f"lang={lang}&large=1")
        if found := [each for each in tab.evaluate(TEXTS) if each[0] < 18]:
            small[name] = found
    assert small == {}


def test_the_keyboard_finds_the_skip_link_first_and_shows_where_it_is(tab: Any, pages: dict[str, str]) -> None:
    lost: dict[str, Any] = {}
    for name, path in pages.items():
        tab.goto(f"{path}?lang=zh")
        tab.keyboard.press("Tab")
        first = tab.evaluate("document.activeElement.getAttribute('href')")
        seen = []
        for _ in range(25):
            tab.keyboard.press("Tab")
            here = tab.evaluate(FOCUSED)
            if here is None or 'class="skip"' in here[2]:  # around once
                break
            seen.append(here)
        backwards = [after for before, after in pairwise(seen) if after[0] < before[0]]
        unseen = [each for each in seen if each[1] == "none"]
        if first != "#main" or backwards or unseen:
            lost[name] = first, backwards, unseen
    assert lost == {}


def test_each_page_has_its_landmarks_and_one_first_heading(tab: Any, pages: dict[str, str]) -> None:
    lacking = {}
    for name, path in pages.items():
        tab.goto(f"{path}?lang=en")
        counts = [tab.get_by_role(role).count() for role in ("banner", "main", "contentinfo")]
        headings = tab.get_by_role("heading", level=1).count()
        if counts != [1, 1, 1] or headings != 1 or not tab.title():
            lacking[name] = counts, headings
    assert lacking == {}


def test_a_screen_reader_hears_state_product_and_facts_in_this_order(tab: Any, shop: ShopWindow) -> None:
    tab.goto(f"{shop.pages['recalled']}?lang=en")
    heard = tab.locator("body").aria_snapshot()
    wanted = [
        'link "Skip to content"', "banner", 'navigation "Display"', "main", 'region "Recall: do not eat', "What to do",
        'heading "Suiyang pod-up chili flakes', "[level=1]", "unaltered", 'heading "At a glance"', "Origin",
        "Harvested", "Laboratory", 'navigation "On this page"', 'region "Product"', 'region "Origin"',
        'img "Schematic of the position and shape of 9 plots', 'region "Places on its way"', 'img "Direction and',
        'region "From field to shop"', 'region "Laboratory"', 'rowheader "', 'region "Ancestry"',
        'region "Credentials"', 'region "Evidence"', 'region "Take this page with you"', "contentinfo",
    ]  # fmt: skip
    at = 0
    for words in wanted:
        found = heard.find(words, at)
        assert found >= 0, f"{words} is not heard after {heard[max(0, at - 200) : at]}"
        at = found


def test_whoever_wants_less_motion_gets_none(browser: Any, shop: ShopWindow) -> None:
    still = browser.new_context(reduced_motion="reduce", base_url=shop.told["base_url"])
    page = still.new_page()
    page.goto(shop.pages["lot"])
    assert page.evaluate(MOVING) == [0, "auto", 0]
    still.close()


def test_a_lot_says_its_state_with_and_without_a_script(browser: Any, shop: ShopWindow) -> None:
    for script in (True, False):
        phone = browser.new_context(java_script_enabled=script, base_url=shop.told["base_url"])
        page = phone.new_page()
        page.goto(f"{shop.pages['held and corrected']}?lang=en")
        assert page.get_by_role("region", name=re.compile("held back")).is_visible()
        assert page.get_by_text("1 record was corrected later").is_visible()
        page.get_by_text("What the five grades mean").click()
        assert page.get_by_text("nobody else bears it out").is_visible()
        for name in ("Share", "Print", "Verify now"):
            assert page.get_by_role("button", name=name).is_visible() is script
        with page.expect_download() as download:
            page.get_by_role("link", name="Save the proof bundle").click()
        assert download.value.suggested_filename == "MTCY20260331A.proof.json"
        phone.close()


@pytest.mark.parametrize("mode", MODES)
def test_a_whole_product_page_weighs_less_than_30_kb_before_its_photos(
    browser: Any, shop: ShopWindow, mode: str
) -> None:
    """As it comes over the line, with everything that a first visit asks for: 40 to 75 steps in the samples."""
    for name in ("lot", "recalled", "held and corrected", "item"):
        phone = browser.new_context(base_url=shop.told["base_url"])
        page = phone.new_page()
        came: list[Any] = []
        page.on("requestfinished", lambda request, came=came: came.append(request))
        page.goto(f"{shop.pages[name]}?{mode}", wait_until="networkidle")
        weights = {each.url: each.sizes()["responseBodySize"] for each in came if "/attachments/" not in each.url}
        assert len(weights) >= 2 and sum(weights.values()) < 30_000, (name, weights)
        assert all(url.startswith(shop.told["base_url"]) for url in weights)
        phone.close()


def test_pictures_of_what_a_shopper_meets_are_kept(
    browser: Any, shop: ShopWindow, keep_picture: Callable[[Any, str], None]
) -> None:
    for scheme, modes in (("light", MODES), ("dark", MODES[:1])):
        phone = browser.new_context(
            viewport={"width": 390, "height": 844}, color_scheme=scheme, base_url=shop.told["base_url"]
        )
        page = phone.new_page()
        for name, path in shop.pages.items() if scheme == "light" else [("lot", shop.pages["lot"])]:
            for mode in modes:
                page.goto(f"{path}?{mode}")
                assert page.locator("h1").is_visible()
                keep_picture(page, f"{name} {mode} {scheme}")
        phone.close()
