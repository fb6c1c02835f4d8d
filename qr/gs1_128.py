"""GS1-128 symbols of SSCCs: encoded by zxing-cpp, and every one decoded back before it is released.

Source: ISO/IEC 15417; GS1 General Specifications section 5.4: FNC1 first, AI (00), quiet zones of ten modules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import zxingcpp

from .errors import SymbolError, shown
from .sscc import is_sscc

QUIET_ZONE = 10
"""Light modules at either end."""
_FORMATS = zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.Code128)
_ROWS = 40


@dataclass(frozen=True)
class LinearSymbol:
    """One linear symbol: `modules` from the left, True is a bar, without the quiet zones."""

    text: str
    modules: tuple[bool, ...]

    @property
    def width(self) -> int:
        """Modules with both quiet zones."""
        return len(self.modules) + 2 * QUIET_ZONE


def encode(sscc: str) -> LinearSymbol:
    """The GS1-128 of a logistic unit, decoded back. Raises SymbolError `sscc`, `symbol-unreadable`."""
    if not is_sscc(sscc):
        raise SymbolError("sscc", "text", f"不是 SSCC：{shown(sscc)}", f"not an SSCC: {shown(sscc)}", "18 digits")
    made = zxingcpp.create_barcode(f"(00){sscc}", zxingcpp.BarcodeFormat.Code128, gs1=True)
    picture = memoryview(cast(Any, made.to_image(scale=1, add_quiet_zones=False)))
    width = len(picture.tobytes()) // len(picture)
    symbol = LinearSymbol(f"(00){sscc}", tuple(pixel == 0 for pixel in picture.tobytes()[:width]))
    _check(symbol)
    return symbol


def _check(symbol: LinearSymbol) -> None:
    row = b"\xff" * QUIET_ZONE + bytes(0 if bar else 255 for bar in symbol.modules) + b"\xff" * QUIET_ZONE
    doubled = b"".join(bytes((pixel, pixel)) for pixel in row)
    picture = memoryview(doubled * _ROWS).cast("B", (_ROWS, len(doubled)))
    read = zxingcpp.read_barcode(picture, formats=_FORMATS, text_mode=zxingcpp.TextMode.HRI)
    if read is None or not read.valid or read.symbology_identifier != "]C1" or read.text != symbol.text:
        raise SymbolError(
            "symbol-unreadable", "text", "条码读回的内容与原文不同，不予放行",
            "the symbol does not read back as what it was made from; it is not released",
        )  # fmt: skip
