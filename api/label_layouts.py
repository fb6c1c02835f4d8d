"""Labels with a layout of their own: cases and pallets with GS1-128, and conformity certificates (承诺达标合格证)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from reportlab.lib.units import mm

from ..qr import gs1_128
from ..trace.certificates import TITLE, ConformityCertificate
from .labels import DOT_MM, PAD_MM, Pen, too_small

BAR_MM = DOT_MM * 12
"""Module of a GS1-128 on a logistic label: 0.495 mm at least (GS1 General Specifications, table 5), in whole dots."""
BARS_HIGH_MM = Decimal("31.75")
"""Height of its bars, as the same table wants it."""
_UNIT_QR_MM, _CERTIFICATE_QR_MM = Decimal("25"), Decimal("26")
LEAST_POINTS = 5.2
"""Smallest type of a certificate: Chinese characters 1.8 mm high, as food labels must have (GB 7718)."""
_MOST_POINTS = 9.0


@dataclass(frozen=True)
class UnitLabel:
    """A case or pallet: its Digital Link as QR, its SSCC as GS1-128 where there is room, lines for people."""

    sscc: str
    link: str
    lines: Sequence[str] = ()

    @staticmethod
    def has_bars(width_mm: Decimal, height_mm: Decimal) -> bool:
        """Whether a label of this size has room for the GS1-128 at full height beside the QR symbol."""
        wide = 2 * PAD_MM + BAR_MM * (156 + 2 * gs1_128.QUIET_ZONE)
        return width_mm >= wide and height_mm >= BARS_HIGH_MM + _UNIT_QR_MM + 8

    def draw(self, pen: Pen, left: float, top: float) -> None:
        """QR and lines above, bars and their digits below."""
        bars = self.has_bars(*pen.stock.label)
        room = min(*(one - 2 * PAD_MM for one in pen.stock.label), *([_UNIT_QR_MM] if bars else []))
        side = pen.qr(self.link, left + pen.pad, top - pen.pad, room)
        size = 9.0 if bars else min(9.0, pen.height / 9)
        beside = left + pen.pad + side
        at = top - pen.pad - pen.quiet - size
        digits = f"(00) {self.sscc}"
        for line in ("SSCC 物流单元", *([] if bars else [digits]), *self.lines):
            for part in pen.broken(line, size, left + pen.width - beside - pen.pad):
                if at > top - (side if bars else pen.height) + pen.pad:
                    pen.text(part, beside, at, size)
                at -= size * 1.3
        if bars:
            self._bars(pen, left, top - pen.height + pen.pad, digits)

    def _bars(self, pen: Pen, left: float, bottom: float, digits: str) -> None:
        symbol, module = gs1_128.encode(self.sscc), float(BAR_MM) * mm
        start = left + (pen.width - len(symbol.modules) * module) / 2
        points = 11.0
        high = float(BARS_HIGH_MM) * mm
        at, run = 0, 0
        for at, bar in enumerate((*symbol.modules, False)):
            if bar:
                run += 1
            elif run:
                x, wide = start + (at - run) * module, run * module
                pen.canvas.rect(x, bottom + points * 1.2, wide, high, stroke=0, fill=1)
                run = 0
        pen.text(digits, left + (pen.width - pen.wide(digits, points)) / 2, bottom, points)


@dataclass(frozen=True)
class CertificateLabel:
    """A conformity certificate with what the order in force wants on it: promises and basis as ticked boxes."""

    certificate: ConformityCertificate
    link: str

    def draw(self, pen: Pen, left: float, top: float) -> None:
        """Title above; boxes and particulars on the left; the symbol, its words and the signature on the right."""
        pad, title = pen.pad, min(14.0, pen.height / 9)
        at = top - pad - title
        pen.text(TITLE.zh, left + (pen.width - pen.wide(TITLE.zh, title)) / 2, at, title)
        below = at - title * 0.35
        room = min(_CERTIFICATE_QR_MM, min(pen.stock.label) * Decimal("0.55"))
        column = left + pen.width - pad - float(room) * mm
        side = pen.qr(self.link, column, below, room)
        points, lines = self._fitting(pen, column - left - 1.5 * pad, below - (top - pen.height) - pad)
        at = below - points
        for text, ticked in lines:
            start = left + pad
            if ticked is not None:
                _box(pen, start, at, points, ticked=ticked)
                start += points * 1.15
            pen.text(text, start, at, points)
            at -= points * 1.28
        at = below - side - points * 0.6
        for line in (TITLE.zh, "扫码查验", *self._signature()):
            for part in pen.broken(line, points, float(room) * mm):
                if at >= top - pen.height + pad * 0.5:
                    pen.text(part, column, at, points)
                at -= points * 1.25

    def _fitting(self, pen: Pen, wide: float, high: float) -> tuple[float, list[tuple[str, bool | None]]]:
        """The largest type in which everything stands, and the lines. Raises Refusal `label-too-small`."""
        points = _MOST_POINTS
        while points >= LEAST_POINTS:
            lines = [
                (part, ticked if not number else None)
                for text, ticked in self._texts()
                for number, part in enumerate(
                    pen.broken(text, points, wide - (points * 1.15 if ticked is not None else 0))
                )
            ]
            if len(lines) * points * 1.28 <= high:
                return points, lines
            points -= 0.1
        zh = f"合格证内容用 {LEAST_POINTS} 磅字也写不下"
        raise too_small(zh, f"the certificate does not fit in type of {LEAST_POINTS} points", "a4-8, roll-70x50")

    def _texts(self) -> list[tuple[str, bool | None]]:
        """Each line, and whether it is a box and ticked."""
        one = self.certificate
        made = "、".join(day.isoformat() for day in one.produced)
        quantity = "；".join(f"{lot.quantity}（{lot.name}）" for lot in one.lots)
        contact = "—" if one.contact is None else one.contact.zh
        return [
            ("我承诺对生产销售的食用农产品：", None),
            *((text.zh, kept) for text, kept in one.promise_boxes),
            ("承诺依据：", None),
            *one.basis_boxes,
            (f"产品名称：{one.product}", None),
            (f"数量（重量）：{quantity}", None),
            (f"产地：{one.origin}", None),
            (f"生产者：{one.issuer.zh}", None),
            (f"主体编号：{one.issuer_id}", None),
            (f"联系方式：{contact}", None),
            *([(f"生产日期：{made}", None)] if made else []),
            (f"开具日期：{one.issued_on.isoformat()}", None),
            (f"编号：{one.number}", None),
        ]

    def _signature(self) -> tuple[str, ...]:
        one = self.certificate
        again = ("（混装或分装后重开）",) if one.reissued else ()
        return (f"电子签名：{one.issuer.zh}", f"账本 #{one.index} {one.statement_sha256[:12]}", *again)


def _box(pen: Pen, left: float, bottom: float, points: float, *, ticked: bool) -> None:
    side = points * 0.8
    pen.canvas.setLineWidth(points * 0.07)
    pen.canvas.rect(left, bottom - points * 0.06, side, side, stroke=1, fill=0)
    if ticked:
        pen.canvas.setLineWidth(points * 0.13)
        path = pen.canvas.beginPath()
        path.moveTo(left + side * 0.18, bottom + side * 0.40)
        path.lineTo(left + side * 0.42, bottom + side * 0.12)
        path.lineTo(left + side * 0.85, bottom + side * 0.78)
        pen.canvas.drawPath(path, stroke=1, fill=0)
