"""The inner code on a phone without scripts: found, typed, answered, in both languages and in large letters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from running_service import COOPERATIVE, GENEROUS, GTIN, HOST, House, RunningService, introduced, make_settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MODES = ["lang=zh", "lang=en", "lang=zh&large=1", "lang=en&large=1"]
FIRST = {
    "zh": "此内码与该件一致，这是第一次查询。",
    "en": "The inner code fits this item, and this is its first check.",
}
PHONE = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/126 Mobile MicroMessenger/8.0"
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
AXE = """tags => axe.run(document, {runOnly: {type: 'tag', values: tags}, resultTypes: ['violations']})
  .then(found => found.violations.map(one => `${one.id}: ${one.nodes.map(node => node.target).join(' | ')}`))"""
TARGETS = """() => [...document.querySelectorAll('main a, main summary, main button, main input')]
  .filter(e => e.getClientRects().length)
  .map(e => [Math.min(e.getBoundingClientRect().width, e.getBoundingClientRect().height), e.outerHTML.slice(0, 90)])"""


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of a service, and activated items of a lot on sale as the printer has them."""
    service = RunningService(make_settings(tmp_path_factory.mktemp("inner") / "data", **GENEROUS))
    service.start()
    try:
        maker = service.register(COOPERATIVE, ["cooperative", "grower"])
        service.give_service_key(maker)
        service.register_product(maker, GTIN)
        house, uri = House(service, maker), f"https://{HOST}/01/{GTIN}/10/CAPPED"
        assert house.record(introduced(uri)).status_code == 201
        asked = {"lot": uri, "count": 10, "sign": True}
        drawn = house.http.post("/api/v1/codes", json=asked, headers=maker.headers).text.splitlines()
        place = {"place": "520328101", "lots": [{"lot": uri, "quantity": 1, "uom": "KGM"}]}
        day = "2026-03-2{}T08:00:00+08:00"
        ranges = {"item_ranges": [{"first": 0, "last": 9}]}
        for record in (
            {"stage": "common.items_activated", "time": day.format(1), **place, "kde": ranges},
            {
                "stage": "common.retailed",
                "time": day.format(2),
                **place,
                "kde": {"channel": "专卖店", "city": "遵义市"},
            },
        ):
            answer = house.record(record)
            assert answer.status_code == 201, answer.text
        query = {"root": json.loads(drawn[-1])["codes"]["root"], "format": "ndjson"}
        exported = house.http.get("/api/v1/codes/export", params=query, headers=maker.headers)
        yield service.url, [json.loads(line) for line in exported.text.splitlines()]
    finally:
        service.stop()


@pytest.mark.parametrize(("number", "mode"), list(enumerate(MODES)))
def test_the_code_is_found_typed_and_answered_without_a_script(
    browser: Any, items: tuple[str, list[dict[str, Any]]], number: int, mode: str
) -> None:
    url, codes = items
    lang, large, code = mode[5:7], "large" in mode, codes[number]["inner_code"]
    context = browser.new_context(
        viewport={"width": 390, "height": 844},
        base_url=url,
        java_script_enabled=False,
        user_agent=PHONE,
        locale="en-GB",
    )
    tab = context.new_page()
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(f"{urlsplit(codes[number]['uri']).path}?{mode}")
    tab.locator("#inner summary").click()
    tab.locator("#inner-code").fill(f"{code[:4].lower()} {code[4:8]}-{code[8:]}")
    _is_roomy(tab, large)
    tab.locator("#inner button").click()
    tab.locator("h2", has_text=FIRST[lang]).wait_for()
    _is_roomy(tab, large)
    assert tab.locator("html").get_attribute("lang") == ("zh-Hans" if lang == "zh" else "en")
    assert not any(code in one for one in asked)
    tab.locator("main a").first.click()
    tab.locator("#inner summary").wait_for()
    assert f"lang={lang}" in tab.url and ("large=1" in tab.url) == large
    context.close()


def _is_roomy(tab: Any, large: bool) -> None:
    """Nothing overflows, and what is pressed is large enough. The page itself runs no script; the debugger does."""
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    small = [one for one in tab.evaluate(TARGETS) if one[0] < (60 if large else 44) - 0.5]
    assert not small, small


@pytest.mark.parametrize("mode", MODES)
def test_a_wrong_code_can_be_tried_again_by_keyboard_alone_and_no_answer_breaks_a_rule_of_wcag(
    browser: Any, items: tuple[str, list[dict[str, Any]]], axe_source: str, mode: str
) -> None:
    url, codes = items
    context = browser.new_context(viewport={"width": 390, "height": 844}, base_url=url, user_agent=PHONE)
    tab = context.new_page()
    tab.goto(f"{urlsplit(codes[9]['uri']).path}?{mode}")
    tab.locator("#inner summary").focus()
    tab.keyboard.press("Enter")
    tab.keyboard.press("Tab")
    tab.keyboard.type("000000000000")
    tab.keyboard.press("Enter")
    tab.locator(".scan.bad h2").wait_for()
    tab.evaluate(axe_source)
    assert tab.evaluate(AXE, WCAG) == []
    tab.locator("#inner-code").focus()
    tab.keyboard.type(codes[9]["inner_code"])
    tab.keyboard.press("Enter")
    tab.locator(".scan:not(.bad) h2").wait_for()
    tab.evaluate(axe_source)
    assert tab.evaluate(AXE, WCAG) == []
    context.close()
