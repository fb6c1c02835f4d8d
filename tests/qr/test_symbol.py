"""Every symbol we make is read back by an independent decoder, zxing-cpp, from SVG, PNG and terminal text."""

import io
import random
import re
import string
import xml.etree.ElementTree as ElementTree

import pytest
import zxingcpp
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from suyuan.qr import symbol
from suyuan.qr.digital_link import build
from suyuan.qr.errors import SymbolError
from suyuan.qr.symbol import QUIET_ZONE, Symbol, encode

LOT = "https://trace.example.cn/01/09520001000010/10/MTCY20260331A"
ITEM = LOT + "/21/00000001ABCDEFGHJKMN"
SVG = "{http://www.w3.org/2000/svg}"

Rows = list[list[bool]]

lots = st.text(string.ascii_letters + string.digits + "!\"%&'()*+,-./:;<=>?_", min_size=1, max_size=20)
uris = st.builds(
    build,
    st.sampled_from(["a.example", "trace.example.cn", "xn--fiqs8s.example:8443"]),
    st.sampled_from(["09520001000010", "09520001000027", "6901234567892"]),
    st.none() | lots.filter(lambda lot: lot not in (".", "..")),
    st.none() | st.text("0123456789ABCDEFGHJKMNPQRSTVWXYZ", min_size=20, max_size=20),
)


def picture(rows: Rows, scale: int = 4) -> Image.Image:
    """Rows of dark (True) and light modules as a grey picture."""
    image = Image.new("L", (len(rows[0]), len(rows)), 255)
    for y, row in enumerate(rows):
        for x, dark in enumerate(row):
            if dark:
                image.putpixel((x, y), 0)
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def read(image: Image.Image) -> zxingcpp.Barcode:
    """The one dark-on-light QR symbol in `image`; reversed ones do not count."""
    found = zxingcpp.read_barcodes(image, formats=zxingcpp.BarcodeFormat.QRCode, try_invert=False)
    assert len(found) == 1
    return found[0]


def modules_of_svg(text: str) -> Rows:
    """The drawing as modules: every vertical stretch of the path toggles all cells on its right (even-odd rule)."""
    root = ElementTree.fromstring(text)
    _, _, width, height = map(int, root.attrib["viewBox"].split())
    paths = root.findall(f"{SVG}path")
    assert len(paths) == 1 and paths[0].attrib["fill-rule"] == "evenodd" and paths[0].attrib["fill"] == "#000"
    ground = root.find(f"{SVG}rect")
    assert ground is not None and ground.attrib == {"width": str(width), "height": str(height), "fill": "#fff"}
    assert list(root).index(ground) < list(root).index(paths[0])
    rows = [[False] * width for _ in range(height)]

    def wall(x: int, y: int, other_y: int) -> None:
        for row in rows[min(y, other_y) : max(y, other_y)]:
            row[x:] = [not cell for cell in row[x:]]

    drawing = paths[0].attrib["d"]
    assert re.fullmatch(r"(M\d+ \d+([hv]-?\d+)+z)+", drawing)
    for outline in drawing.rstrip("z").split("z"):
        start = re.match(r"M(\d+) (\d+)", outline)
        assert start is not None
        x, y = first = int(start[1]), int(start[2])
        for direction, length in re.findall(r"([hv])(-?\d+)", outline):
            if direction == "h":
                x += int(length)
            else:
                wall(x, y, y + int(length))
                y += int(length)
        assert x == first[0] or y == first[1]  # the closing stretch is straight
        if x == first[0]:
            wall(x, y, first[1])
    return rows


def modules_of_terminal(text: str, *, ink_is_dark: bool) -> Rows:
    """Half-block characters as modules, given whether the foreground is the darker of the two colours."""
    ink = {" ": (False, False), "▀": (True, False), "▄": (False, True), "█": (True, True)}
    rows: Rows = []
    for line in text.splitlines():
        cells = [ink[character] for character in line]
        rows += [[cell[half] == ink_is_dark for cell in cells] for half in (0, 1)]
    return rows


def quiet_zone(rows: Rows) -> tuple[int, int, int, int]:
    """Light modules at the left, top, right and bottom."""
    dark = [(x, y) for y, row in enumerate(rows) for x, cell in enumerate(row) if cell]
    columns, lines = [x for x, _ in dark], [y for _, y in dark]
    return min(columns), min(lines), len(rows[0]) - 1 - max(columns), len(rows) - 1 - max(lines)


@given(uris)
@example(ITEM)
@example("https://a.example/01/09520001000010/10/%25%2F%3F/21/" + "9" * 20)
@settings(max_examples=60)
def test_every_rendering_of_a_link_decodes_to_the_link(uri: str) -> None:
    code = encode(uri)
    with Image.open(io.BytesIO(code.png())) as image:
        assert image.mode == "1"
        decoded = read(image.convert("L"))
    assert (decoded.text, decoded.ec_level) == (uri, "M")
    assert read(picture(modules_of_svg(code.svg()))).text == uri
    plain = code.terminal(colour=False)
    assert read(picture(modules_of_terminal(plain, ink_is_dark=False))).text == uri


@given(st.text(string.printable[:95], min_size=1, max_size=120))
@example("0" * 40 + "a" + "A" * 40 + "$%*+-./:" * 4)
@example(" ")
@settings(max_examples=60)
def test_any_printable_text_decodes_to_itself(text: str) -> None:
    rows = [list(row) for row in encode(text).rows()]
    assert read(picture(rows)).text == text


@given(uris, st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_the_outlines_cover_exactly_the_dark_modules(uri: str, dice: random.Random) -> None:
    code = encode(uri)
    assert modules_of_svg(code.svg()) == [list(row) for row in code.rows()]
    # Also for patterns that no symbol has: lone corners touching, holes in holes.
    noise = tuple(tuple(dice.random() < 0.5 for _ in range(21)) for _ in range(21))
    assert modules_of_svg(Symbol("x", 1, noise).svg()) == [list(row) for row in Symbol("x", 1, noise).rows()]


@pytest.mark.parametrize("length", [1, 14, 15, 62, 63, 504, 505, 1000, 2331])
def test_version_and_size_follow_the_standard_and_the_largest_symbol_decodes(length: int) -> None:
    text = ("https://a.example/" + "a" * 2400)[:length]
    code = encode(text)
    assert code.modules == 17 + 4 * code.version == len(code.matrix[0])
    assert code.side == code.modules + 8
    # ISO/IEC 18004 table 7, byte mode, level M.
    assert code.version == {1: 1, 14: 1, 15: 2, 62: 4, 63: 5, 504: 17, 505: 18, 1000: 26, 2331: 40}[length]
    assert read(picture([list(row) for row in code.rows()])).text == text


def test_the_quiet_zone_is_four_modules_on_every_side() -> None:
    code = encode(ITEM)
    assert quiet_zone(modules_of_svg(code.svg())) == (4, 4, 4, 4)
    with Image.open(io.BytesIO(code.png(scale=3))) as image:
        assert image.size == (code.side * 3, code.side * 3)
        pixels = [[image.getpixel((x, y)) == 0 for x in range(image.width)] for y in range(image.height)]
    assert quiet_zone(pixels) == (12, 12, 12, 12)
    left, top, right, bottom = quiet_zone(modules_of_terminal(code.terminal(colour=False), ink_is_dark=False))
    assert (left, top, right) == (4, 4, 4) and bottom >= QUIET_ZONE


@pytest.mark.parametrize("damaged_percent", [5, 10, 20])
@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_print_still_decodes(damaged_percent: int, seed: int) -> None:
    """A stain: neighbouring modules of the data area, up to a fifth of it, turned over. (Scattered single modules
    spoil a codeword each, so far fewer of them can be borne.)"""
    code = encode(ITEM)
    rows = [list(row) for row in code.rows()]
    dice = random.Random(seed)
    data_side = code.modules - 18  # between the finder patterns
    height = width = round((data_side**2 * damaged_percent / 100) ** 0.5)
    top = QUIET_ZONE + dice.randint(9, code.modules - 9 - height)
    left = QUIET_ZONE + dice.randint(9, code.modules - 9 - width)
    for y in range(top, top + height):
        for x in range(left, left + width):
            rows[y][x] = not rows[y][x]
    assert read(picture(rows)).text == ITEM


@pytest.mark.parametrize("seed", range(10))
def test_scattered_specks_still_decode(seed: int) -> None:
    """Twelve single modules of the data area turned over at random: as many codewords as one block of this symbol
    (5-M, ISO/IEC 18004 table 9) can correct, even if all of them fall into it."""
    code = encode(ITEM)
    rows = [list(row) for row in code.rows()]
    inside = range(QUIET_ZONE + 9, QUIET_ZONE + code.modules - 9)
    for x, y in random.Random(seed).sample([(x, y) for x in inside for y in inside], 12):
        rows[y][x] = not rows[y][x]
    assert read(picture(rows)).text == ITEM


def test_an_svg_names_itself_for_screen_readers_and_is_measured_in_millimetres() -> None:
    root = ElementTree.fromstring(
        symbol.svg(ITEM, module_mm="0.4", title="湄潭翠芽 <特级> & \x00", description="扫码溯源")
    )
    assert root.attrib["role"] == "img"
    assert root.attrib["width"] == root.attrib["height"] == "18mm"  # (37 + 8) * 0.4
    assert root.findtext(f"{SVG}title") == "湄潭翠芽 <特级> & "
    assert root.findtext(f"{SVG}desc") == "扫码溯源"
    plain = ElementTree.fromstring(symbol.svg(ITEM))
    assert plain.findtext(f"{SVG}desc") == ITEM
    assert len(symbol.svg(ITEM)) < 4000


def test_a_terminal_symbol_sets_its_own_colours_or_fits_the_background() -> None:
    coloured = symbol.terminal(ITEM)
    lines = coloured.splitlines()
    assert all(line.startswith("\x1b[38;5;16;48;5;231m") and line.endswith("\x1b[0m") for line in lines)
    bare = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert read(picture(modules_of_terminal(bare, ink_is_dark=True))).text == ITEM
    light = symbol.terminal(ITEM, colour=False, dark_background=False)
    assert light == bare
    assert read(picture(modules_of_terminal(light, ink_is_dark=True))).text == ITEM


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "symbol-empty"),
        ("a" * 2332, "symbol-too-long"),
        ("1" * 2332, "symbol-too-long"),
        ("https://a.example/批号", "symbol-characters"),
        ("A\nB", "symbol-characters"),
        ("A\x00", "symbol-characters"),
        ("A\u202eB", "symbol-characters"),
    ],
)
def test_what_a_symbol_cannot_carry_safely_is_refused(text: str, rule: str) -> None:
    with pytest.raises(SymbolError) as caught:
        encode(text)
    assert caught.value.rule == rule
    assert (caught.value.zh + caught.value.en).isprintable()


def test_impossible_sizes_are_refused() -> None:
    for size in ("0", "-1", "NaN", "Infinity"):
        with pytest.raises(ValueError):
            symbol.svg(ITEM, module_mm=size)
    for scale in (0, 65):
        with pytest.raises(ValueError):
            symbol.png(ITEM, scale=scale)
