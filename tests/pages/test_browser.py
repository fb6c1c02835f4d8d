"""The pages in a real browser, served with the strict policy: nothing overflows, everything can be read and reached."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

PATHS = ["/tea", "/baijiu", "/chili", "/", "/gone"]
MODES = ["?lang=zh", "?lang=en", "?lang=zh&large=1", "?lang=en&large=1"]

# Contrast of every text with what is painted behind it, as WCAG 2.2 computes it.
CONTRAST = """() => {
  const channel = v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4
  const light = c => .2126 * channel(c[0]) + .7152 * channel(c[1]) + .0722 * channel(c[2])
  const parse = s => s.match(/[\\d.]+/g).map(Number)
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor)
      if (c.length < 4 || c[3] == 1) return c
    }
    return [255, 255, 255]
  }
  const found = []
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  for (let node; node = walker.nextNode();) {
    const e = node.parentElement
    if (!node.data.trim() || e.closest('svg') || !e.getClientRects().length) continue
    const a = light(parse(getComputedStyle(e).color)), b = light(behind(e))
    found.push([(Math.max(a, b) + .05) / (Math.min(a, b) + .05), node.data.slice(0, 40)])
  }
  return found
}"""

# Size in px and line height in sizes of every element that holds text of its own.
TEXTS = """() => [...document.querySelectorAll('body *')]
  .filter(e => !e.closest('svg, .away, .skip') && [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()))
  .map(e => [getComputedStyle(e), e.outerHTML.slice(0, 80)])
  .map(([style, html]) => [parseFloat(style.fontSize), parseFloat(style.lineHeight) / parseFloat(style.fontSize), html])
"""
MAP_TEXTS = """() => [...document.querySelectorAll('.map text')]
  .map(e => e.getScreenCTM().a * parseFloat(getComputedStyle(e).fontSize))"""
TARGETS = """() => [...document.querySelectorAll('a:not(.skip), summary')].filter(e => e.getClientRects().length)
  .map(e => [e.getBoundingClientRect().width, e.getBoundingClientRect().height, e.outerHTML.slice(0, 80)])"""
FOCUSED = """() => { const e = document.activeElement; return e === document.body ? null
  : [[...document.querySelectorAll('*')].indexOf(e), getComputedStyle(e).outlineStyle, e.textContent] }"""
# Room left and right of the bars, and how much the drawing is taller than its row.
FLOW = """() => [...document.querySelectorAll('.flow > li')].map(row => {
  const [s, b] = ['svg', '.bars'].map(each => row.querySelector(each).getBoundingClientRect())
  return [b.left - s.left, s.right - b.right, s.height - row.getBoundingClientRect().height] })"""


@pytest.fixture
def tab(browser: Any, site: str) -> Iterator[Any]:
    """A tab of a narrow phone that fails the test on any console message of its pages."""
    context = browser.new_context(viewport={"width": 360, "height": 740}, base_url=site)
    page = context.new_page()
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    yield page
    context.close()
    assert messages == []


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_wider_than_a_narrow_phone(tab: Any, path: str) -> None:
    for mode in MODES:
        tab.goto(path + mode)
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360, mode
        tab.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360, mode


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PATHS)
def test_every_text_stands_out_from_what_is_behind_it(tab: Any, path: str, scheme: str) -> None:
    tab.emulate_media(color_scheme=scheme)
    tab.goto(path)
    tab.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    found = tab.evaluate(CONTRAST)
    assert len(found) > 5
    assert min(found)[0] >= 4.5, min(found)


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("path", PATHS)
def test_large_mode_has_large_text_wide_lines_and_large_targets(tab: Any, path: str, lang: str) -> None:
    tab.goto(f"{path}?lang={lang}&large=1")
    assert [text for text in tab.evaluate(TEXTS) if text[0] < 18 or text[1] < 1.49] == []
    assert [target for target in tab.evaluate(TARGETS) if min(target[:2]) < 59.9] == []
    assert all(size >= 17 for size in tab.evaluate(MAP_TEXTS))


def test_targets_are_no_smaller_than_44_px_in_the_normal_page(tab: Any) -> None:
    tab.goto("/tea")
    assert min(min(target[:2]) for target in tab.evaluate(TARGETS)) >= 43.9


def test_the_keyboard_goes_from_the_skip_link_down_the_page_in_reading_order(tab: Any) -> None:
    tab.goto("/tea?lang=zh")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "跳到正文"
    assert tab.evaluate("document.activeElement.getBoundingClientRect().width") > 40
    seen = []
    for _ in range(60):
        tab.keyboard.press("Tab")
        here = tab.evaluate(FOCUSED)
        if here is None:
            break
        seen.append(here)
    positions = [position for position, _, _ in seen]
    assert positions == sorted(positions) and len(positions) > 30
    assert {outline for _, outline, _ in seen} == {"solid"}
    assert [text for _, _, text in seen[:3]] == ["溯源", "English", "大字版"]


def test_details_open_with_the_keyboard_and_the_skip_link_moves_on(tab: Any) -> None:
    tab.goto("/tea?lang=zh")
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.id") == "main"
    tab.locator("summary").first.focus()
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.querySelector('details').open") is True


def test_the_language_and_size_links_keep_the_other_choice(tab: Any) -> None:
    tab.goto("/tea?large=1")
    tab.get_by_role("link", name="English").click()
    assert tab.evaluate("document.documentElement.lang + document.documentElement.className") == "entea large"
    tab.get_by_role("link", name="Normal text").click()
    assert tab.evaluate("document.documentElement.lang + document.documentElement.className") == "entea"
    tab.get_by_role("link", name="中文").click()
    assert tab.evaluate("document.documentElement.lang") == "zh-Hans"


def test_a_screen_reader_finds_landmarks_and_named_sections(tab: Any) -> None:
    tab.goto("/tea?lang=en")
    for role in ("banner", "main", "contentinfo"):
        assert tab.get_by_role(role).count() == 1
    assert tab.get_by_role("navigation").count() == 2
    for name in ("Origin", "From field to shop", "Laboratory", "Ancestry", "Credentials", "Evidence"):
        assert tab.get_by_role("region", name=name, exact=True).count() == 1
    assert tab.get_by_role("rowheader", name="Lead (Pb)").count() == 1
    assert tab.get_by_role("img", name="Schematic of the position and shape of 3 plots").count() == 1


def test_printing_shows_what_is_folded_and_drops_what_only_a_screen_needs(tab: Any) -> None:
    tab.goto("/tea?lang=zh")
    hidden = tab.locator(".each li").first
    assert not hidden.is_visible()
    tab.emulate_media(media="print")
    assert hidden.is_visible()
    assert not tab.locator(".toc").is_visible()


def test_the_drawn_flow_stays_inside_its_column_with_thirty_parents(tab: Any) -> None:
    tab.goto("/baijiu")
    boxes = tab.evaluate(FLOW)
    assert len(boxes) == 8
    for left, right, height in boxes:
        assert left >= -1 and right >= -1 and abs(height) < 1
