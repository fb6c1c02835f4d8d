"""What a phone sees of a worn label at the smallest module we print is read by an independent decoder, zxing-cpp.

The photo has four pixels a module, 0.396 mm on paper: a picture of 1,280 pixels taken from about a foot away. Damage
stays within what error correction M can bear: a round blot on 7 % of the symbol, outside the finder patterns, touches
nearly the 15 % of the codewords that can be restored.
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pytest
import zxingcpp
from PIL import Image, ImageDraw, ImageFilter

from suyuan.qr import print_run, symbol
from suyuan.qr.symbol import QUIET_ZONE, Symbol

LOT = "https://trace.example.cn/01/09520001000010/10/MTCY20260331A"
ITEM = LOT + "/21/00000001ABCDEFGHJKMN"
PRINT = 12
"""Pixels a module of the print, before it is photographed."""
PHOTO = 4
"""Pixels a module of the photo."""


@dataclass(frozen=True)
class Wear:
    """What happened to a label, and how it was photographed."""

    blot_percent: float = 0
    ink: Literal["dark", "light", "grey"] = "dark"
    spread: int = 0
    """Dark modules grown (positive) or shrunk by so many twelfths of a module on each side."""
    turned_degrees: float = 0
    leaning: float = 0
    """How much shorter the far edge looks than the near one, as a share."""
    blur_px: float = 0
    darkest: int = 0
    lightest: int = 255
    shadow: float = 0
    """How much of the light is missing at one side."""
    noise: int = 0
    jpeg_quality: int = 90


def photo(code: Symbol, wear: Wear, seed: int) -> Image.Image:
    """The label as the phone has it."""
    dice = random.Random(seed)
    side = code.side * PRINT
    image = Image.new("L", (side, side), 255)
    draw = ImageDraw.Draw(image)
    for y, row in enumerate(code.rows()):
        for x, dark in enumerate(row):
            if dark:
                grown = wear.spread if wear.spread > 0 else 0
                corners = [one * PRINT - grown for one in (x, y)] + [(one + 1) * PRINT - 1 + grown for one in (x, y)]
                draw.rectangle(corners, 0)
    if wear.spread < 0:
        image = image.filter(ImageFilter.MaxFilter(1 - 2 * wear.spread))
    _blot(image, code, wear, dice)
    image = _seen_askew(image, wear)
    size = round(image.width * PHOTO / PRINT)
    image = image.resize((size, size), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(wear.blur_px))
    return _developed(image, wear, dice)


def _blot(image: Image.Image, code: Symbol, wear: Wear, dice: random.Random) -> None:
    """A round blot on the data of the symbol: not on the finder patterns, without which no reader looks for one."""
    if not wear.blot_percent:
        return
    radius = math.sqrt(code.modules**2 * wear.blot_percent / 100 / math.pi)
    inside = (QUIET_ZONE + 8 + radius, QUIET_ZONE + code.modules - radius)
    x, y = dice.uniform(*inside), dice.uniform(QUIET_ZONE + 8 + radius, QUIET_ZONE + code.modules - 8 - radius)
    x, y = (x, y) if dice.random() < 0.5 else (y, x)
    box = tuple(PRINT * one for one in (x - radius, y - radius, x + radius, y + radius))
    ImageDraw.Draw(image).ellipse(box, {"dark": 0, "light": 255, "grey": 120}[wear.ink])


def _seen_askew(image: Image.Image, wear: Wear) -> Image.Image:
    """On a table that is not quite white, turned, and seen from one side."""
    margin = image.width // 4
    table = Image.new("L", (image.width + 2 * margin,) * 2, 225)
    table.paste(image, (margin, margin))
    table = table.rotate(wear.turned_degrees, Image.Resampling.BICUBIC, fillcolor=225)
    height, centre, near = table.height, table.width / 2, 1 - wear.leaning
    steep = wear.leaning / (near * height)
    seen = (1 / near, centre * steep, -centre * wear.leaning / near, 0, 1 / near, 0, 0, steep)
    return table.transform(table.size, Image.Transform.PERSPECTIVE, seen, Image.Resampling.BICUBIC, fillcolor=225)


def _developed(image: Image.Image, wear: Wear, dice: random.Random) -> Image.Image:
    """In that light, by that sensor, as that JPEG."""

    def seen(place: int, value: int) -> int:
        light = 1 - wear.shadow * (place % image.width) / image.width
        level = (wear.darkest + value * (wear.lightest - wear.darkest) / 255) * light
        return max(0, min(255, round(level) + (dice.randint(-wear.noise, wear.noise) if wear.noise else 0)))

    levels = bytes(seen(place, value) for place, value in enumerate(image.tobytes()))
    file = io.BytesIO()
    Image.frombytes("L", image.size, levels).save(file, "JPEG", quality=wear.jpeg_quality)
    return Image.open(file)


def read(image: Image.Image) -> list[str]:
    found = zxingcpp.read_barcodes(image, formats=zxingcpp.BarcodeFormat.QRCode, try_invert=False)
    return [one.text for one in found]


WORN = {
    "as printed": Wear(),
    "dark blot": Wear(blot_percent=7),
    "torn off": Wear(blot_percent=7, ink="light"),
    "faded spot": Wear(blot_percent=7, ink="grey"),
    "bled ink": Wear(spread=3),
    "starved ink": Wear(spread=-2),
    "turned": Wear(turned_degrees=37),
    "upside down": Wear(turned_degrees=183),
    "seen from the side": Wear(leaning=0.3),
    "out of focus": Wear(blur_px=1.6),
    "pale": Wear(darkest=120, lightest=180),
    "in shadow": Wear(shadow=0.7),
    "in the dark": Wear(darkest=10, lightest=60, noise=8),
    "noisy": Wear(noise=60),
    "squeezed by a messenger": Wear(jpeg_quality=12),
    "all of it": Wear(
        blot_percent=4, spread=1, turned_degrees=21, leaning=0.15, blur_px=1.2, darkest=70, lightest=200, shadow=0.3,
        noise=12, jpeg_quality=40,
    ),
}  # fmt: skip


@pytest.mark.parametrize("made", [symbol.encode, print_run.encode])
@pytest.mark.parametrize("text", [LOT, ITEM])
@pytest.mark.parametrize("name", WORN)
def test_a_worn_label_at_the_smallest_module_still_reads(name: str, text: str, made: Callable[[str], Symbol]) -> None:
    for seed in range(3 if WORN[name].blot_percent else 1):
        assert read(photo(made(text), WORN[name], seed)) == [text], seed
