"""A schematic map of suspicious scans: cities as discs, impossible journeys as lines; no base map, no borders."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..scans.clusters import Cluster
from ..scans.judging import City, city_of
from .texts import Texts

WIDTH, HEIGHT, MARGIN = 640.0, 420.0, 40.0
_LEAST_DEGREES = 6.0
"""Cities nearer together than this do not fill the drawing."""
_MOST_NAMED = 14
_MOST_LINES = 40


@dataclass(frozen=True)
class Dot:
    """A city on the drawing: its name (none where there are very many), how many clusters, where."""

    name: str
    title: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class ScanMap:
    """What the drawing consists of, in a box of `WIDTH` by `HEIGHT`."""

    dots: tuple[Dot, ...]
    lines: tuple[tuple[float, float, float, float], ...]
    width: float = WIDTH
    height: float = HEIGHT


def draw(clusters: Sequence[Cluster], t: Texts) -> ScanMap | None:
    """The drawing of all cities that occur; None when there are none."""
    counts: dict[City, int] = {}
    journeys: dict[tuple[City, City], int] = {}
    for cluster in clusters:
        places = [city for code in cluster.cities if (city := city_of(code)) is not None]
        for city in dict.fromkeys(places):
            counts[city] = counts.get(city, 0) + 1
        if cluster.reason == "travel":
            for pair in pairwise(places):
                journeys[pair] = journeys.get(pair, 0) + 1
    if not counts:
        return None
    place = _projection(list(counts))
    named = sorted(counts, key=lambda city: -counts[city])[:_MOST_NAMED]
    dots = [
        Dot(
            t.pick(city.name) if city in named else "", t("desk.scans_city", city=t.pick(city.name), n=count),
            *place(city), round(8 + 3 * math.log2(count), 1),
        )
        for city, count in counts.items()
    ]  # fmt: skip
    most = sorted(journeys, key=lambda pair: -journeys[pair])[:_MOST_LINES]
    return ScanMap(tuple(dots), tuple((*place(one), *place(other)) for one, other in most))


def _projection(cities: Sequence[City]) -> Callable[[City], tuple[float, float]]:
    """Degrees to places in the box: equal scale in both directions around the middle of the cities."""
    north, south = max(city.north for city in cities), min(city.north for city in cities)
    east, west = max(city.east for city in cities), min(city.east for city in cities)
    stretch = math.cos(math.radians((north + south) / 2))
    span_x, span_y = max((east - west) * stretch, _LEAST_DEGREES), max(north - south, _LEAST_DEGREES)
    scale = min((WIDTH - 6 * MARGIN) / span_x, (HEIGHT - 2 * MARGIN) / span_y)
    middle_x, middle_y = (east + west) / 2, (north + south) / 2

    def place(city: City) -> tuple[float, float]:
        x = WIDTH / 2 - MARGIN + (city.east - middle_x) * stretch * scale
        return round(x, 1), round(HEIGHT / 2 - (city.north - middle_y) * scale, 1)

    return place
