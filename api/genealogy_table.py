"""Ancestry and descendants as a table, a lot or plot a row: CSV that spreadsheets open safely, and XLSX."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from decimal import Decimal
from typing import TypeAlias

import xlsxwriter

from ..trace.tracing import Traced, TracedNode
from .problems import Language

CSV = "text/csv; charset=utf-8"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
Cell: TypeAlias = str | int | Decimal | None

MOST_PLOTS = 50
"""Plots named in one cell; of more, how many are left out."""
_HEADINGS: dict[Language, tuple[str, ...]] = {
    "zh": (
        "方向", "代", "URI", "名称", "种类", "环节", "数量", "单位", "份额（0–1）", "本批流入的份额（0–1）",
        "本批流入的数量", "本批单位", "完成时间", "主体", "地块",
    ),
    "en": (
        "direction", "level", "uri", "name", "kind", "stage", "quantity", "uom", "share (0-1)", "passed share (0-1)",
        "passed quantity", "passed uom", "made", "maker", "plots",
    ),
}  # fmt: skip
_WORDS: dict[Language, dict[str, str]] = {
    "zh": {"up": "来源", "down": "去向", "lot": "批次", "plot": "地块", "unit": "物流单元", "more": "另有 {n} 块"},
    "en": {"up": "up", "down": "down", "lot": "lot", "plot": "plot", "unit": "unit", "more": "and {n} more"},
}
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""A text that begins so is worked out by a spreadsheet (CWE-1236)."""


def csv_table(traced: Sequence[Traced], lang: Language) -> bytes:
    """UTF-8 with the byte order mark that Excel asks for, RFC 4180 lines; texts that look like formulas are quoted."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(_HEADINGS[lang])
    for row in _rows(traced, lang):
        writer.writerow([_safe(cell) for cell in row])
    return b"\xef\xbb\xbf" + out.getvalue().encode()


def xlsx_table(traced: Sequence[Traced], lang: Language) -> bytes:
    """One worksheet, amounts as numbers, every text as text whatever it looks like."""
    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False})
    sheet = book.add_worksheet("批次" if lang == "zh" else "lots")
    heading = book.add_format({"bold": True})
    for place, title in enumerate(_HEADINGS[lang]):
        sheet.write_string(0, place, title, heading)
    sheet.freeze_panes(1, 0)
    sheet.set_column(2, 2, 48)
    sheet.set_column(12, 14, 24)
    for number, row in enumerate(_rows(traced, lang), 1):
        for place, cell in enumerate(row):
            if isinstance(cell, str):
                sheet.write_string(number, place, cell)
            elif cell is not None:
                sheet.write_number(number, place, cell)
    book.close()
    return out.getvalue()


def _rows(traced: Sequence[Traced], lang: Language) -> list[tuple[Cell, ...]]:
    words = _WORDS[lang]
    return [_row(one, node, words, lang) for one in traced for node in one.nodes]


def _row(traced: Traced, node: TracedNode, words: dict[str, str], lang: Language) -> tuple[Cell, ...]:
    label = node.stage_label
    stage = node.stage if label is None else (label.zh if lang == "zh" else label.en)
    plots = ("、" if lang == "zh" else "; ").join(node.plots[:MOST_PLOTS])
    if len(node.plots) > MOST_PLOTS:
        plots += " " + words["more"].format(n=len(node.plots) - MOST_PLOTS)
    return (
        words[traced.direction], node.level, node.uri, node.name, words[node.kind], stage, node.quantity, node.uom,
        node.share, node.passed_share, node.passed_quantity, traced.passed_uom, node.made, node.maker, plots,
    )  # fmt: skip


def _safe(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, Decimal):
        return format(cell, "f")
    text = str(cell)
    return f"'{text}" if isinstance(cell, str) and text.startswith(_FORMULA) else text
