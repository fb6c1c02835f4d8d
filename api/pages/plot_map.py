"""A schematic map of plots, drawn from their registered corners: shapes, numbers, a scale and north; no base map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...trace.story import Plot

WIDTH, HEIGHT, MARGIN = 320.0, 190.0, 26.0
METRES_PER_DEGREE = 111_320.0
"""Of latitude; of longitude times the cosine of the latitude. A sphere does for a drawing."""
SMALLEST = 9.0
"""A plot smaller than this on the drawing is shown as a disc, so that distant plots do not vanish."""


@dataclass(frozen=True)
class Shape:
    """One plot on the drawing: a path, or a disc where the path would be too small to see."""

    number: int
    path: str
    disc: bool
    x: str
    y: str


@dataclass(frozen=True)
class PlotMap:
    """What the drawing consists of, in units of a box of `WIDTH` by `HEIGHT`."""

    shapes: tuple[Shape, ...]
    bar: str
    """Length of the scale bar in the box's units."""
    bar_end: str
    bar_metres: int


def draw(plots: Sequence[Plot]) -> PlotMap | None:
    """The drawing of all plots that have a polygon, numbered by their place in `plots`; None when none has."""
    outlines = [(number, _outline(plot)) for number, plot in enumerate(plots, 1)]
    outlines = [(number, outline) for number, outline in outlines if len(outline) >= 3]
    if not outlines:
        return None
    stretch = math.cos(math.radians(sum(y for _, outline in outlines for _, y in outline) / _count(outlines)))
    metres = [
        (number, [(x * stretch * METRES_PER_DEGREE, y * METRES_PER_DEGREE) for x, y in outline])
        for number, outline in outlines
    ]
    xs = [x for _, outline in metres for x, _ in outline]
    ys = [y for _, outline in metres for _, y in outline]
    span_x, span_y = max(xs) - min(xs), max(ys) - min(ys)
    scale = min((WIDTH - 2 * MARGIN) / max(span_x, 1.0), (HEIGHT - 2 * MARGIN) / max(span_y, 1.0))
    left = (WIDTH - span_x * scale) / 2 - min(xs) * scale
    top = (HEIGHT - span_y * scale) / 2 + max(ys) * scale
    shapes = [_shape(number, [(left + x * scale, top - y * scale) for x, y in outline]) for number, outline in metres]
    bar_metres = _round_length(WIDTH / 4 / scale)
    bar = bar_metres * scale
    return PlotMap(tuple(shapes), _figure(bar), _figure(WIDTH - 14), bar_metres)


def _outline(plot: Plot) -> list[tuple[float, float]]:
    corners = [(float(x), float(y)) for x, y in plot.polygon]
    if len(corners) > 1 and corners[0] == corners[-1]:
        corners.pop()
    return corners if all(math.isfinite(x) and math.isfinite(y) and abs(y) < 90 for x, y in corners) else []


def _count(outlines: Sequence[tuple[int, Sequence[tuple[float, float]]]]) -> int:
    return sum(len(outline) for _, outline in outlines)


def _shape(number: int, corners: Sequence[tuple[float, float]]) -> Shape:
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    disc = max(xs) - min(xs) < SMALLEST and max(ys) - min(ys) < SMALLEST
    middle = (sum(xs) / len(xs), sum(ys) / len(ys))
    path = "M" + "L".join(f"{_figure(x)} {_figure(y)}" for x, y in corners) + "Z"
    return Shape(number, "" if disc else path, disc, _figure(middle[0]), _figure(middle[1]))


def _round_length(metres: float) -> int:
    """The largest of 1, 2, 5 times a power of ten that does not exceed `metres`; at least one metre."""
    power = 10 ** max(0, math.floor(math.log10(max(metres, 1.0))))
    return next((step * power for step in (5, 2, 1) if step * power <= metres), 1)


def _figure(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
