"""Genealogies as files: CSV without formulas, XLSX with numbers, and what the API chooses."""

from __future__ import annotations

import csv
import io
import zipfile
from dataclasses import replace
from decimal import Decimal
from xml.etree import ElementTree

import pytest

from suyuan.api.genealogy_table import csv_table, xlsx_table
from suyuan.trace.story import Text
from suyuan.trace.tracing import Traced, TracedNode

NODE = TracedNode(
    "https://trace.example.cn/lot/A/1", "毛茶", "lot", "tea.dried", Text("干燥", "Dried"), "2026-03-28T10:00:00+08:00",
    "A", 1, Decimal("61.8"), "KGM", Decimal("0.386503"), plots=("一号地", "二号地"),
)  # fmt: skip


def traced(*nodes: TracedNode) -> Traced:
    return Traced("up", True, nodes, (), ())


def test_csv_begins_with_the_mark_that_excel_asks_for_and_has_a_lot_a_row() -> None:
    raw = csv_table([traced(NODE)], "zh")
    assert raw.startswith(b"\xef\xbb\xbf")
    heading, row = csv.reader(io.StringIO(raw.decode("utf-8-sig")))
    told = dict(zip(heading, row, strict=True))
    assert (told["代"], told["名称"], told["环节"], told["数量"]) == ("1", "毛茶", "干燥", "61.8")
    assert told["份额（0–1）"] == "0.386503" and told["地块"] == "一号地、二号地" and told["本批流入的数量"] == ""


@pytest.mark.parametrize("name", ["=1+1", "+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x","y")'])
def test_no_cell_of_the_csv_is_a_formula(name: str) -> None:
    raw = csv_table([traced(replace(NODE, name=name, plots=(name,)))], "en").decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(raw, newline="")))
    assert rows[1][3] == f"'{name}"
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for cell in row)


def test_xlsx_has_amounts_as_numbers_and_texts_as_texts() -> None:
    raw = xlsx_table([traced(replace(NODE, name="=1+1"))], "en")
    with zipfile.ZipFile(io.BytesIO(raw)) as book:
        sheet = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))
        texts = book.read("xl/sharedStrings.xml").decode()
    space = {"m": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}
    cells = {cell.get("r"): cell for cell in sheet.iterfind(".//m:c", space)}
    assert cells["G2"].get("t") is None and cells["G2"].findtext("m:v", namespaces=space) == "61.8"
    assert cells["D2"].get("t") == "s" and "<t>=1+1</t>" in texts
    assert not sheet.findall(".//m:f", space)


def test_of_very_many_plots_fifty_are_named() -> None:
    plots = tuple(f"p{number}" for number in range(80))
    row = csv_table([traced(replace(NODE, plots=plots))], "en").decode("utf-8-sig").splitlines()[1]
    assert row.endswith("and 30 more")
