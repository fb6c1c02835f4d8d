"""Label sheets as PDF: a QR symbol a label, identifiers for people beside it, Chinese in an embedded subset of a font.

A4 sheets of common sizes, and rolls with one label a page. Modules are a whole number of dots at 600 dpi, at least
0.396 mm (GS1 General Specifications, symbol specification table 1), the quiet zone is four modules; a label that is too
small for that is refused. Symbols are drawn as bitmaps of one pixel a module: exact, and some 200 bytes a label.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfgen.canvas import Canvas

from ..ledger.errors import Refusal
from ..qr import print_run
from ..qr.symbol import QUIET_ZONE, Symbol
from . import pdf

MODULE_MM, BEST_MODULE_MM = Decimal("0.396"), Decimal("0.495")
"""Smallest module on retail goods, and the size that is aimed at."""
DOT_MM = Decimal("25.4") / 600
PAD_MM = Decimal("1.0")
"""Around everything on a label."""
_TEXT_MM = Decimal("16")
"""Width that is left for text, at least; a narrower label has its text below the symbol, or none."""


@dataclass(frozen=True)
class Stock:
    """Labels as they are sold: page and label in mm, and where on the page they are."""

    page: tuple[Decimal, Decimal]
    label: tuple[Decimal, Decimal]
    columns: int
    rows: int
    origin: tuple[Decimal, Decimal] = (Decimal(0), Decimal(0))
    """Left and upper margin of the page."""
    pitch: tuple[Decimal, Decimal] = (Decimal(0), Decimal(0))
    """From one label to the next."""

    @property
    def per_page(self) -> int:
        """Labels on a page."""
        return self.columns * self.rows


_WORDS = re.compile(r"[!-~]+|[（《“]*[^!-~（《“][）》”。，；：、]*|.")
"""What stays on one line: words in Latin letters and figures; opening and closing marks with what they belong to."""


def _sheet(width: str, height: str, columns: int, rows: int, gap: str = "0") -> Stock:
    page, label, space = (Decimal(210), Decimal(297)), (Decimal(width), Decimal(height)), Decimal(gap)
    pitch = (label[0] + space, label[1])
    left = (page[0] - columns * pitch[0] + space) / 2
    return Stock(page, label, columns, rows, (left, (page[1] - rows * pitch[1]) / 2), pitch)


def _roll(width: str, height: str) -> Stock:
    size = (Decimal(width), Decimal(height))
    return Stock(size, size, 1, 1, pitch=size)


STOCKS: Mapping[str, Stock] = {
    "a4-8": _sheet("99.1", "67.7", 2, 4, "2.5"),
    "a4-21": _sheet("63.5", "38.1", 3, 7, "2.5"),
    "a4-24": _sheet("70", "37", 3, 8),
    "a4-40": _sheet("52.5", "29.7", 4, 10),
    "a4-65": _sheet("38.1", "21.2", 5, 13, "2.5"),
    "roll-40x30": _roll("40", "30"),
    "roll-60x40": _roll("60", "40"),
    "roll-70x50": _roll("70", "50"),
    "roll-80x60": _roll("80", "60"),
    "roll-100x70": _roll("100", "70"),
    "roll-100x150": _roll("100", "150"),
}
"""Name -> stock: A4 by labels a sheet, rolls by width and height in mm."""


class Printable(Protocol):
    """Something that can be drawn on a label."""

    def draw(self, pen: Pen, left: float, top: float) -> None:
        """Draws it with its upper left corner there, in points. Raises Refusal `label-too-small`, SymbolError."""


@dataclass(frozen=True)
class Label:
    """What one label carries: the link of its symbol, and lines for people, the first of them larger."""

    link: str
    lines: Sequence[str]

    def draw(self, pen: Pen, left: float, top: float) -> None:
        """The symbol on the left, as large as the label allows; the lines beside it where there is room."""
        pad = pen.pad
        side = pen.qr(self.link, left + pad, top - pad, min(pen.stock.label) - 2 * PAD_MM)
        room = pen.width - side - 2 * pad
        if room < float(_TEXT_MM) * mm:
            return
        size = min(9.0, pen.height / 11)
        lines = [(line, size * 1.15) for line in pen.broken(self.lines[0], size * 1.15, room)[:2]]
        for line in self.lines[1:]:
            lines += [(part, size) for part in pen.broken(line, size, room)]
        at = top - pad - pen.quiet - size
        for line, points in lines:
            if at < top - pen.height + pad:
                break
            pen.text(line, left + pad + side, at, points)
            at -= points * 1.3


def item_label(uri: str, name: str, serial: str) -> Label:
    """The label of one item: the product's name, then lot and serial by their application identifiers."""
    gtin, _, lot = uri.partition("/01/")[2].partition("/21/")[0].partition("/10/")
    return Label(uri, (name, f"批次 {lot}", f"(01) {gtin}", f"(21) {serial[:10]}", f"     {serial[10:]}"))


def module_mm(stock: Stock, side: int) -> Decimal:
    """The module for a symbol of `side` modules with its quiet zone on this stock. Raises Refusal `label-too-small`."""
    return module_within(min(stock.label) - 2 * PAD_MM, side)


def module_within(room: Decimal, side: int) -> Decimal:
    """The module for a symbol of `side` modules in a square of `room` mm: whole dots, at most what is aimed at.

    Raises Refusal `label-too-small`.
    """
    dots = int(min(room / side, BEST_MODULE_MM + DOT_MM) / DOT_MM)
    while dots and (dots * DOT_MM) * side > room:
        dots -= 1
    module = dots * DOT_MM
    if module < MODULE_MM:
        least = (MODULE_MM * side + 2 * PAD_MM).quantize(Decimal("0.1"))
        raise too_small(
            f"二维码连静区至少要 {least} 毫米见方", f"the symbol with its quiet zone takes {least} mm square at least",
            f"module >= {MODULE_MM} mm",
        )  # fmt: skip
    return module


def quiet_mm(module: Decimal) -> Decimal:
    """The light margin around a symbol of this module."""
    return module * QUIET_ZONE


def too_small(zh: str, en: str, expected: str) -> Refusal:
    """The refusal of a label on which something has no room."""
    return Refusal(
        "label-too-small", field="stock", zh=f"标签太小：{zh}", en=f"the label is too small: {en}",
        expected=expected, status_hint="unprocessable",
    )  # fmt: skip


def stock_of(name: str) -> Stock:
    """The stock of this name. Raises Refusal `label-stock`."""
    if name not in STOCKS:
        raise Refusal(
            "label-stock", field="stock", zh=f"没有这种标签纸：{name}", en=f"there is no such stock: {name}",
            expected=", ".join(STOCKS), status_hint="unprocessable",
        )  # fmt: skip
    return STOCKS[name]


def labels_pdf(labels: Iterable[Printable], stock: Stock, *, title: str) -> tuple[bytes, Decimal]:
    """The labels in their order, as PDF, and the smallest module used in mm; every symbol was decoded back.

    The same input gives the same bytes. Raises Refusal `label-too-small`, SymbolError.
    """
    font, rare = pdf.fonts()
    file = io.BytesIO()
    canvas = Canvas(file, (float(stock.page[0]) * mm, float(stock.page[1]) * mm), pageCompression=1, invariant=1)
    canvas.setTitle(title)
    canvas.setAuthor("溯源 Suyuan")
    pen = Pen(canvas, stock, font, rare)
    number = 0
    for number, label in enumerate(labels):
        place = number % stock.per_page
        if number and not place:
            canvas.showPage()
        row, column = divmod(place, stock.columns)
        left = stock.origin[0] + column * stock.pitch[0]
        top = stock.page[1] - stock.origin[1] - row * stock.pitch[1]
        label.draw(pen, float(left) * mm, float(top) * mm)
    canvas.save()
    return file.getvalue(), min(pen.modules, default=BEST_MODULE_MM)


class Pen:
    """Draws on labels of one stock, in points; what all of them share is worked out once."""

    def __init__(self, canvas: Canvas, stock: Stock, font: str, rare: str) -> None:
        self.canvas = canvas
        self.stock = stock
        self.width, self.height = (float(one) * mm for one in stock.label)
        self.pad = float(PAD_MM) * mm
        self.modules: set[Decimal] = set()
        """The modules of the QR symbols so far, in mm."""
        self.quiet = 0.0
        """Quiet zone of the last symbol."""
        self._fonts = (font, rare)
        self._known = pdfmetrics.getFont(font).face.charToGlyph
        self._fitted: dict[tuple[str, float, float], list[str]] = {}

    def qr(self, link: str, left: float, top: float, room: Decimal) -> float:
        """A QR symbol by its upper left corner, quiet zone included, in a square of `room` mm; its side in points.

        It was decoded back. Raises Refusal `label-too-small`, SymbolError.
        """
        symbol = print_run.encode(link)
        chosen = module_within(room, symbol.side)
        self.modules.add(chosen)
        module = float(chosen) * mm
        side: float = symbol.side * module
        self.quiet = QUIET_ZONE * module
        self._symbol(symbol, left, top - side, module)
        return side

    def _symbol(self, symbol: Symbol, left: float, bottom: float, module: float) -> None:
        """The modules as a stencil of one bit each (ISO 32000-1 section 8.9.6.2); 0 is ink."""
        count = symbol.modules
        padding = "1" * (-count % 8)
        digits = (count + len(padding)) // 4
        rows = [
            f"{int(''.join('0' if dark else '1' for dark in row) + padding, 2):0{digits}x}" for row in symbol.matrix
        ]
        start, size = QUIET_ZONE * module, count * module
        self.canvas.addLiteral(
            f"q 0 g {size:.3f} 0 0 {size:.3f} {left + start:.3f} {bottom + start:.3f} cm "
            f"BI /W {count} /H {count} /IM true /BPC 1 /F /AHx ID {''.join(rows)}> EI Q"
        )

    def text(self, text: str, left: float, bottom: float, points: float) -> None:
        """One line of text."""
        font, rare = self._fonts
        if all(ord(one) in self._known for one in text):
            self.canvas.setFont(font, points)
            self.canvas.drawString(left, bottom, text)
            return
        for one in text:
            name = font if ord(one) in self._known else rare
            self.canvas.setFont(name, points)
            self.canvas.drawString(left, bottom, one)
            left += pdfmetrics.stringWidth(one, name, points)

    def wide(self, text: str, points: float) -> float:
        """How wide a line of text is, in points."""
        return float(pdfmetrics.stringWidth(text, self._fonts[0], points))

    def broken(self, text: str, points: float, room: float) -> list[str]:
        """The text in lines no wider than `room` points; control characters become spaces."""
        key = (text, points, room)
        if key in self._fitted:
            return self._fitted[key]
        text = "".join(one if one.isprintable() else " " for one in text)
        lines, line = [], ""
        for word in _WORDS.findall(text):
            pieces = [word] if pdfmetrics.stringWidth(word, self._fonts[0], points) <= room else list(word)
            for piece in pieces:
                if line and pdfmetrics.stringWidth(line + piece, self._fonts[0], points) > room:
                    lines.append(line)
                    line = ""
                line += piece
        found = [*lines, line]
        if len(self._fitted) < 1_000:
            self._fitted[key] = found
        return found
