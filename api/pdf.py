"""Sheets and labelled texts as PDF in Chinese and English, with an embedded subset of an open font, the same each time.

The font is Noto Sans SC (SIL Open Font License 1.1) as TrueType, cut to GB 2312 and Latin (`pages/fonts/`); only the
characters used are embedded. A rarer character is drawn with the reader's own STSong-Light, which is not embedded.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from reportlab.graphics.barcode.qr import QrCodeWidget
from reportlab.graphics.shapes import Drawing
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import LongTable, Paragraph, SimpleDocTemplate, Spacer, Table

from ..trace.sheet import Cell, Reference, Sheet
from ..trace.story import Text

MEDIA_TYPE = "application/pdf"
MOST_ROWS = 400
"""Rows of one sheet that a PDF shows; the CSV has all."""
_FONT, _RARE = "NotoSansSC", "STSong-Light"


def sheets_pdf(title: Text, lines: Sequence[Text], sheets: Sequence[Sheet], *, subject: str) -> bytes:
    """A report: a title, lines of text and the sheets as tables, on A4 across. The same input gives the same bytes."""
    story: list[Any] = [_paragraph(f"{title.zh} {title.en}", 16), Spacer(1, 3 * mm)]
    story += [_paragraph(f"{line.zh} {line.en}", 9) for line in lines]
    for sheet in sheets:
        story += [Spacer(1, 5 * mm), _paragraph(f"{sheet.title.zh} {sheet.title.en}", 12), Spacer(1, 1 * mm)]
        story += [_table(sheet), *(_paragraph(f"{one.zh} {one.en}", 8) for one in sheet.remarks)]
        if len(sheet.rows) > MOST_ROWS:
            zh, en = f"此处列出前 {MOST_ROWS} 行，全部 {len(sheet.rows)} 行见 CSV。", "The CSV has all rows."
            story.append(_paragraph(f"{zh} {en}", 8))
    return _built(story, f"{title.zh} {title.en}", subject, landscape(A4))


def labelled_pdf(title: Text, rows: Sequence[tuple[Text, str]], link: str, note: Text, *, subject: str) -> bytes:
    """One page: a title, labelled values, a QR symbol of `link`, a note. The same input gives the same bytes."""
    cells = [[_paragraph(f"{label.zh} {label.en}", 9), _paragraph(value, 11)] for label, value in rows]
    table = Table(cells, colWidths=[55 * mm, 115 * mm], style=_GRID)
    symbol = QrCodeWidget(link, barLevel="M", barWidth=38 * mm, barHeight=38 * mm)
    drawing = Drawing(38 * mm, 38 * mm)
    drawing.add(symbol)
    story = [
        _paragraph(f"{title.zh}", 22), _paragraph(title.en, 11), Spacer(1, 4 * mm), table, Spacer(1, 5 * mm), drawing,
        _paragraph(title.zh, 9), _paragraph(link, 8), Spacer(1, 2 * mm), _paragraph(f"{note.zh} {note.en}", 8),
    ]  # fmt: skip
    return _built(story, f"{title.zh} {title.en}", subject, A4)


_GRID = [
    ("GRID", (0, 0), (-1, -1), 0.4, colors.HexColor("#999999")),
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ("LEFTPADDING", (0, 0), (-1, -1), 3),
    ("RIGHTPADDING", (0, 0), (-1, -1), 3),
    ("TOPPADDING", (0, 0), (-1, -1), 2),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
]


def _table(sheet: Sheet) -> LongTable:
    head = [_paragraph(f"{c.label.zh} {c.label.en}" + (f" ({c.unit})" if c.unit else ""), 7) for c in sheet.columns]
    rows = [[_short(_words(cell)) for cell in row] for row in sheet.rows[:MOST_ROWS]]
    style = [
        *_GRID,
        ("BACKGROUND", (0, 0), (-1, 0), colors.HexColor("#eeeeee")),
        ("FONT", (0, 0), (-1, -1), _fonts().fontName, 7, 7 * 1.35),
    ]
    return LongTable([head, *rows], colWidths=_widths(sheet), repeatRows=1, style=style)


def _short(words: str) -> Any:
    """Figures and single words stand as they are, which is much faster to lay out."""
    return words if len(words) <= 9 and words.isascii() and words.isprintable() else _paragraph(words, 7)


def _widths(sheet: Sheet) -> list[float]:
    """Room for each column by the longest of its first cells."""
    width = landscape(A4)[0] - 24 * mm
    longest = [
        min(60, max([6, *(len(_words(row[number])) for row in sheet.rows[:200])]))
        for number in range(len(sheet.columns))
    ]
    return [width * one / sum(longest) for one in longest]


def _words(cell: Cell) -> str:
    if cell is None:
        return "—"
    if isinstance(cell, bool):
        return "是 yes" if cell else "否 no"
    if isinstance(cell, datetime):
        return cell.isoformat(sep=" ", timespec="seconds")
    if isinstance(cell, int | Decimal | date):
        return str(cell)
    if isinstance(cell, Text):
        return cell.zh if cell.zh == cell.en else f"{cell.zh} {cell.en}"
    if isinstance(cell, Reference):
        return cell.id if cell.name is None else f"{cell.name.zh} {cell.id}"
    return cell


def _paragraph(text: str, size: int) -> Paragraph:
    return Paragraph(_marked(text), _style(size))


@cache
def _style(size: int) -> ParagraphStyle:
    name = _fonts().fontName
    return ParagraphStyle(f"s{size}", fontName=name, fontSize=size, leading=size * 1.35, wordWrap="CJK")


def _marked(text: str) -> str:
    """The text as markup: characters that our font lacks in the other one, control characters as spaces."""
    known = _fonts().face.charToGlyph
    parts: list[str] = []
    for one in text:
        if not one.isprintable():
            parts.append(" ")
        elif ord(one) in known or one == " ":
            parts.append(escape(one))
        else:
            parts.append(f'<font name="{_RARE}">{escape(one)}</font>')
    return "".join(parts)


def fonts() -> tuple[str, str]:
    """The names of our font and of the one for characters that it lacks, both ready for a canvas."""
    return _fonts().fontName, _RARE


@cache
def _fonts() -> TTFont:
    font = TTFont(_FONT, str(Path(__file__).parent / "pages" / "fonts" / "NotoSansSC-GB2312.ttf"))
    pdfmetrics.registerFont(font)
    pdfmetrics.registerFont(UnicodeCIDFont(_RARE))
    return font


def _built(story: list[Any], title: str, subject: str, size: tuple[float, float]) -> bytes:
    file = io.BytesIO()
    margins = dict.fromkeys(("leftMargin", "rightMargin", "topMargin", "bottomMargin"), 12 * mm)
    document = SimpleDocTemplate(
        file, pagesize=size, title=title, author="溯源 Suyuan", subject=subject, lang="zh-CN", invariant=1, **margins
    )
    # Without a time of making and with ids that follow from the content, equal reports are equal files.
    document.build(story, onFirstPage=_page, onLaterPages=_page)
    return file.getvalue()


def _page(canvas: Canvas, document: SimpleDocTemplate) -> None:
    canvas.setFont(_FONT, 7)
    canvas.drawRightString(document.pagesize[0] - 12 * mm, 6 * mm, str(canvas.getPageNumber()))
