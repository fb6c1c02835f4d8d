"""The drawn genealogy: readable with three hundred parents, whole as a file, in both languages."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from suyuan.api.pages.flow_drawing import draw
from suyuan.api.pages.texts import LANGUAGES, Lang, texts
from suyuan.trace.story import Text
from suyuan.trace.tracing import Traced, TracedFlow, TracedNode

SVG = "{http://www.w3.org/2000/svg}"


def three_hundred(name: str = "ZYCT20251118F") -> Traced:
    """A blend of three hundred lots, the first of them a tenth of it."""
    shares = [Decimal("0.1"), *[Decimal("0.9") / 299] * 299]
    stage = Text("鲜椒采收", "Fresh chili picked")

    def node(uri: str, called: str, level: int, share: Decimal) -> TracedNode:
        made = "2025-09-01T08:00:00+08:00"
        return TracedNode(uri, called, "lot", "chili.harvested", stage, made, "A", level, Decimal(10), "KGM", share)

    parents = [node(f"https://x.example/{n}", f"#L{n:03d}", 1, share) for n, share in enumerate(shares)]
    flows = tuple(TracedFlow(each.uri, ("https://x.example/blend",), Decimal(10), "KGM", 1) for each in parents)
    return Traced("up", True, (node("https://x.example/blend", name, 0, Decimal(1)), *parents), flows, ())


@pytest.mark.parametrize("lang", LANGUAGES)
def test_three_hundred_parents_are_named_by_the_largest_and_the_rest_together(lang: Lang) -> None:
    drawn = draw([three_hundred()], "ZYCT20251118F", texts(lang))
    root = ElementTree.fromstring(drawn)
    words = [each.text or "" for each in root.iter(f"{SVG}text")]
    assert len(words) < 20 and len(drawn) < 20_000
    assert any(word.startswith("#L000") and "10%" in word for word in words)
    assert any("297" in word and "89.4%" in word for word in words), words
    described = root.findtext(f"{SVG}desc") or ""
    assert "300" in described and "297" in described, "who cannot see the drawing is told the same"
    assert root.get("width") == "100%" and root.get("role") == "img"


def test_names_cannot_break_out_of_the_drawing() -> None:
    evil = '"><script>alert(1)</script>'
    drawn = draw([three_hundred(evil)], evil, texts("en"))
    assert "<script" not in drawn
    ElementTree.fromstring(drawn)


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_words_of_the_drawing_neither_overlap_nor_leave_the_screen(browser: Any, tmp_path: Path, width: int) -> None:
    file = tmp_path / "flow.svg"
    file.write_text(draw([three_hundred()], "ZYCT20251118F", texts("zh")), encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 900})
    try:
        page.goto(file.as_uri())
        boxes = page.evaluate(
            "[...document.querySelectorAll('text')].map(t => t.getBoundingClientRect())"
            ".map(b => [b.left, b.top, b.right, b.bottom])"
        )
    finally:
        page.close()
    assert boxes and all(left >= 0 and right <= width for left, _, right, _ in boxes)
    for number, (left, top, right, bottom) in enumerate(boxes):
        for other in boxes[number + 1 :]:
            apart = other[0] >= right or other[2] <= left or other[1] >= bottom - 1 or other[3] <= top + 1
            assert apart, (boxes[number], other)
