"""QR symbols of links: as SVG for pages and labels, as PNG, and as text for a terminal.

Error correction M (15 % of the codewords) and a quiet zone of four modules on every side, as ISO/IEC 18004 and the
GS1 General Specifications (section 5.12, symbol specification tables) ask for.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

import qrcode
from PIL import Image

from .errors import SymbolError, shown

QUIET_ZONE = 4
"""Light modules on every side."""

MAX_CHARACTERS = 2331
"""What version 40 with error correction M holds in byte mode."""

Matrix = tuple[tuple[bool, ...], ...]

_BLACK_ON_WHITE = "\x1b[38;5;16;48;5;231m"  # from the fixed part of the 256 colours, which themes leave alone
_RESET = "\x1b[0m"
# Upper and lower module of one character cell -> the character, where True is ink (the foreground colour).
_HALF_BLOCKS = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}


@dataclass(frozen=True)
class Symbol:
    """One QR symbol. `matrix` holds rows of modules from the top, True is dark, without the quiet zone."""

    text: str
    version: int
    matrix: Matrix

    @property
    def modules(self) -> int:
        """Modules along one side, without the quiet zone: 17 + 4 * version."""
        return len(self.matrix)

    @property
    def side(self) -> int:
        """Modules along one side with the quiet zone: times the module size, what a label must leave free."""
        return self.modules + 2 * QUIET_ZONE

    def rows(self) -> Iterator[tuple[bool, ...]]:
        """All rows with the quiet zone, `side` rows of `side` modules."""
        empty = (False,) * self.side
        margin = (False,) * QUIET_ZONE
        yield from [empty] * QUIET_ZONE
        for row in self.matrix:
            yield margin + row + margin
        yield from [empty] * QUIET_ZONE

    def svg(self, *, module_mm: Decimal | float | str = "0.495", title: str = "", description: str = "") -> str:
        """An SVG element: white square, one black path along the outlines of the dark areas (so no hairlines between
        modules in print), title and description for screen readers.

        module_mm: size of a module in millimetres; GS1 asks for 0.396 to 0.990, best 0.495, on retail goods
        (General Specifications, symbol specification table 1). title and description
        default to what the symbol is and the text it carries.
        """
        size = Decimal(str(module_mm))
        if not size.is_finite() or size <= 0:
            raise ValueError("module_mm must be a positive number of millimetres")
        side_mm = f"{(size * self.side).normalize():f}"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{side_mm}mm" height="{side_mm}mm"'
            f' viewBox="0 0 {self.side} {self.side}" role="img" shape-rendering="crispEdges">'
            f"<title>{_xml(title or 'QR code')}</title><desc>{_xml(description or self.text)}</desc>"
            f'<rect width="{self.side}" height="{self.side}" fill="#fff"/>'
            f'<path fill="#000" fill-rule="evenodd" d="{_outlines(self.matrix)}"/></svg>'
        )

    def png(self, scale: int = 8) -> bytes:
        """A PNG of one bit a pixel, `scale` pixels a module, quiet zone included."""
        if not 1 <= scale <= 64:
            raise ValueError("scale must be 1 to 64 pixels a module")
        image = Image.new("1", (self.side, self.side))
        image.putdata([0 if dark else 255 for row in self.rows() for dark in row])
        stream = io.BytesIO()
        image.resize((self.side * scale, self.side * scale), Image.Resampling.NEAREST).save(
            stream, format="PNG", optimize=True
        )
        return stream.getvalue()

    def terminal(self, *, colour: bool = True, dark_background: bool = True) -> str:
        """Lines of half-block characters, one column and half a line a module, quiet zone included.

        colour: set black on white by ANSI sequences, which is right on any terminal. Without colour the characters
        are drawn in the terminal's own foreground, so it matters whether its background is dark.
        """
        ink_is_light = dark_background and not colour
        rows = list(self.rows())
        if len(rows) % 2:
            rows.append((False,) * self.side)
        lines = (
            "".join(_HALF_BLOCKS[high != ink_is_light, low != ink_is_light] for high, low in zip(*pair, strict=True))
            for pair in zip(rows[::2], rows[1::2], strict=True)
        )
        return "\n".join(f"{_BLACK_ON_WHITE}{line}{_RESET}" if colour else line for line in lines) + "\n"


def encode(text: str) -> Symbol:
    """The smallest QR symbol of `text` at error correction M.

    `text` is 1 to 2,331 characters of printable ASCII, as every URI is: beyond ASCII, readers guess the encoding and
    not all guess alike. Raises SymbolError.
    """
    check_text(text)
    code = qrcode.QRCode(error_correction=qrcode.constants.ERROR_CORRECT_M, border=0)
    code.add_data(text)
    code.make(fit=True)
    return Symbol(text, code.version, tuple(tuple(map(bool, row)) for row in code.modules))


def check_text(text: str) -> None:
    """Raises SymbolError unless `text` is 1 to 2,331 characters of printable ASCII."""
    if not text:
        raise SymbolError("symbol-empty", "text", "二维码内容不能为空", "a QR symbol needs some text")
    strange = next((character for character in text if not " " <= character <= "~"), None)
    if strange is not None:
        raise SymbolError(
            "symbol-characters",
            "text",
            f"二维码内容只能用可打印的 ASCII 字符，“{shown(strange)}”应先做百分号编码",
            f"a QR symbol carries printable ASCII only; percent-encode {shown(strange)!r} first",
        )
    if len(text) > MAX_CHARACTERS:
        raise SymbolError(
            "symbol-too-long",
            "text",
            f"内容有 {len(text)} 个字符，二维码最多容纳 {MAX_CHARACTERS} 个",
            f"the text has {len(text)} characters; a QR symbol at error correction M holds {MAX_CHARACTERS}",
            str(MAX_CHARACTERS),
        )


def svg(text: str, *, module_mm: Decimal | float | str = "0.495", title: str = "", description: str = "") -> str:
    """`encode(text).svg(...)`."""
    return encode(text).svg(module_mm=module_mm, title=title, description=description)


def png(text: str, scale: int = 8) -> bytes:
    """`encode(text).png(scale)`."""
    return encode(text).png(scale)


def terminal(text: str, *, colour: bool = True, dark_background: bool = True) -> str:
    """`encode(text).terminal(...)`."""
    return encode(text).terminal(colour=colour, dark_background=dark_background)


def _xml(text: str) -> str:
    """Escaped for element content; characters that XML forbids are dropped."""
    legal = "".join(c for c in text if c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff")
    return legal.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _outlines(matrix: Matrix) -> str:
    """SVG path of the outlines of all dark areas, shifted by the quiet zone. Holes are outlines, too, so the path is
    filled by the even-odd rule.

    Invariant: every corner point has as many edges coming in as going out, with the dark module on the right hand, so
    each walk along the edges ends where it began.
    """
    onward: dict[tuple[int, int], list[tuple[int, int]]] = {}

    def dark(column: int, row: int) -> bool:
        return 0 <= row < len(matrix) and 0 <= column < len(matrix) and matrix[row][column]

    for row in range(len(matrix)):
        for column in range(len(matrix)):
            if not matrix[row][column]:
                continue
            corners = ((column, row), (column + 1, row), (column + 1, row + 1), (column, row + 1))
            beside = ((column, row - 1), (column + 1, row), (column, row + 1), (column - 1, row))
            for side, neighbour in enumerate(beside):
                if not dark(*neighbour):
                    onward.setdefault(corners[side], []).append(corners[(side + 1) % 4])

    path: list[str] = []
    while onward:
        start = point = next(iter(onward))
        steps: list[tuple[int, int]] = []
        while point in onward:
            ahead = onward[point].pop()
            if not onward[point]:
                del onward[point]
            step = (ahead[0] - point[0], ahead[1] - point[1])
            if steps and (step[0] == 0) == (steps[-1][0] == 0):
                steps[-1] = (steps[-1][0] + step[0], steps[-1][1] + step[1])
            else:
                steps.append(step)
            point = ahead
            if point == start:
                break
        # The last stretch runs back to the start, which "z" draws.
        drawn = "".join(f"h{dx}" if dy == 0 else f"v{dy}" for dx, dy in steps[:-1])
        path.append(f"M{start[0] + QUIET_ZONE} {start[1] + QUIET_ZONE}{drawn}z")
    return "".join(path)
