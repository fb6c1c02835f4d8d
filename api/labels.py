"""Label sheets as PDF: a QR symbol a label, identifiers for people beside it, Chinese in an embedded subset of a font.

A4 sheets of common sizes, and rolls with one label a page. Modules are a whole number of dots at 600 dpi, at least
0.396 mm (GS1 General Specifications, symbol specification table 1), the quiet zone is four modules; a label that is too
small for that is refused. Symbols are drawn as bitmaps of one pixel a module: exact, and some 200 bytes a label.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

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
_PAD_MM = Decimal("1.0")
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


def _sheet(width: str, height: str, columns: int, rows: int, gap: str = "0") -> Stock:
    page, label, space = (Decimal(210), Decimal(297)), (Decimal(width), Decimal(height)), Decimal(gap)
    pitch = (label[0] + space, label[1])
    left = (page[0] - columns * pitch[0] + space) / 2
    return Stock(page, label, columns, rows, (left, (page[1] - rows * pitch[1]) / 2), pitch)


def _roll(width: str, height: str) -> Stock:
    size = (Decimal(width), Decimal(height))
    return Stock(size, size, 1, 1, pitch=size)


STOCKS: Mapping[str, Stock] = {
    "a4-21": _sheet("63.5", "38.1", 3, 7, "2.5"),
    "a4-24": _sheet("70", "37", 3, 8),
    "a4-40": _sheet("52.5", "29.7", 4, 10),
    "a4-65": _sheet("38.1", "21.2", 5, 13, "2.5"),
    "roll-40x30": _roll("40", "30"),
    "roll-60x40": _roll("60", "40"),
    "roll-70x50": _roll("70", "50"),
    "roll-100x70": _roll("100", "70"),
}
"""Name -> stock: A4 by labels a sheet, rolls by width and height in mm."""


@dataclass(frozen=True)
class Label:
    """What one label carries: the link of its symbol, and lines for people, the first of them larger."""

    link: str
    lines: Sequence[str]


def item_label(uri: str, name: str, serial: str) -> Label:
    """The label of one item: the product's name, then lot and serial by their application identifiers."""
    gtin, _, lot = uri.partition("/01/")[2].partition("/21/")[0].partition("/10/")
    return Label(uri, (name, f"批次 {lot}", f"(01) {gtin}", f"(21) {serial[:10]}", f"     {serial[10:]}"))


def module_mm(stock: Stock, side: int) -> Decimal:
    """The module for a symbol of `side` modules with its quiet zone on this stock. Raises Refusal `label-too-small`."""
    room = min(stock.label) - 2 * _PAD_MM
    dots = int(min(room / side, BEST_MODULE_MM + DOT_MM) / DOT_MM)
    while dots and (dots * DOT_MM) * side > room:
        dots -= 1
    module = dots * DOT_MM
    if module < MODULE_MM:
        least = (MODULE_MM * side + 2 * _PAD_MM).quantize(Decimal("0.1"))
        raise Refusal(
            "label-too-small", field="stock", zh=f"标签太小：二维码连静区至少要 {least} 毫米见方",
            en=f"the label is too small: the symbol with its quiet zone takes {least} mm square at least",
            expected=f"module >= {MODULE_MM} mm", status_hint="unprocessable",
        )  # fmt: skip
    return module


def labels_pdf(labels: Iterable[Label], stock: Stock, *, title: str) -> tuple[bytes, Decimal]:
    """The labels in their order, as PDF, and the smallest module used in mm; every symbol was decoded back.

    The same input gives the same bytes. Raises Refusal `label-too-small`, SymbolError.
    """
    font, rare = pdf.fonts()
    file = io.BytesIO()
    canvas = Canvas(file, (float(stock.page[0]) * mm, float(stock.page[1]) * mm), pageCompression=1, invariant=1)
    canvas.setTitle(title)
    canvas.setAuthor("溯源 Suyuan")
    drawer = _Drawer(canvas, stock, font, rare)
    number = 0
    for number, label in enumerate(labels):
        place = number % stock.per_page
        if number and not place:
            canvas.showPage()
        row, column = divmod(place, stock.columns)
        left = stock.origin[0] + column * stock.pitch[0]
        top = stock.page[1] - stock.origin[1] - row * stock.pitch[1]
        drawer.draw(label, float(left) * mm, float(top) * mm)
    canvas.save()
    return file.getvalue(), drawer.smallest


class _Drawer:
    """Draws labels of one stock; what all of them share is worked out once."""

    def __init__(self, canvas: Canvas, stock: Stock, font: str, rare: str) -> None:
        self._canvas = canvas
        self._stock = stock
        self._fonts = (font, rare)
        self._known = pdfmetrics.getFont(font).face.charToGlyph
        self.smallest = BEST_MODULE_MM
        """The smallest module so far, in mm."""
        self._fitted: dict[tuple[str, float, float], list[str]] = {}

    def draw(self, label: Label, left: float, top: float) -> None:
        """One label, by its upper left corner in points."""
        symbol = print_run.encode(label.link)
        chosen = module_mm(self._stock, symbol.side)
        self.smallest = min(self.smallest, chosen)
        module = float(chosen) * mm
        width, height = (float(one) * mm for one in self._stock.label)
        pad, side = float(_PAD_MM) * mm, symbol.side * module
        self._symbol(symbol, left + pad, top - pad - side, module)
        room = width - side - 2 * pad
        if room < float(_TEXT_MM) * mm:
            return
        size = min(9.0, height / 11)
        lines = [(line, size * 1.15) for line in self._broken(label.lines[0], size * 1.15, room)[:2]]
        for line in label.lines[1:]:
            lines += [(part, size) for part in self._broken(line, size, room)]
        at = top - pad - QUIET_ZONE * module - size
        for line, points in lines:
            if at < top - height + pad:
                break
            self._text(line, left + pad + side, at, points)
            at -= points * 1.3

    def _symbol(self, symbol: Symbol, left: float, bottom: float, module: float) -> None:
        """The modules as a stencil of one bit each (ISO 32000-1 section 8.9.6.2); 0 is ink."""
        count = symbol.modules
        padding = "1" * (-count % 8)
        digits = (count + len(padding)) // 4
        rows = [
            f"{int(''.join('0' if dark else '1' for dark in row) + padding, 2):0{digits}x}" for row in symbol.matrix
        ]
        start, size = QUIET_ZONE * module, count * module
        self._canvas.addLiteral(
            f"q 0 g {size:.3f} 0 0 {size:.3f} {left + start:.3f} {bottom + start:.3f} cm "
            f"BI /W {count} /H {count} /IM true /BPC 1 /F /AHx ID {''.join(rows)}> EI Q"
        )

    def _text(self, text: str, left: float, bottom: float, points: float) -> None:
        font, rare = self._fonts
        if all(ord(one) in self._known for one in text):
            self._canvas.setFont(font, points)
            self._canvas.drawString(left, bottom, text)
            return
        for one in text:
            name = font if ord(one) in self._known else rare
            self._canvas.setFont(name, points)
            self._canvas.drawString(left, bottom, one)
            left += pdfmetrics.stringWidth(one, name, points)

    def _broken(self, text: str, points: float, room: float) -> list[str]:
        """The text in lines no wider than `room` points; control characters become spaces."""
        key = (text, points, room)
        if key in self._fitted:
            return self._fitted[key]
        text = "".join(one if one.isprintable() else " " for one in text)
        lines, line = [], ""
        for one in text:
            if line and pdfmetrics.stringWidth(line + one, self._fonts[0], points) > room:
                lines.append(line)
                line = ""
            line += one
        found = [*lines, line]
        if len(self._fitted) < 1_000:
            self._fitted[key] = found
        return found
