"""A schematic map of the places of a story: right directions, rings of 10, 100 and 1,000 km around where it begins."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import combinations

from ...trace.divisions import point
from ...trace.story import Step, Story
from ..scans.judging import city_of
from . import formatting
from .texts import Texts

WIDTH, HEIGHT = 320.0, 250.0
_RADIUS, _DISC = 104.0, 10.0
_NEAR_KM = 4.0
"""Distances grow as a logarithm from here on: a township and a shop a thousand kilometres away fit together."""
_RINGS_KM = (10, 100, 1000)
_KM_PER_DEGREE = 111.2
_LEAVING = (".shipped", "sold")
"""How the names of stages end in which goods leave for another place."""

Position = tuple[float, float]


@dataclass(frozen=True)
class Stop:
    """A place of the story: its number on the drawing, its name, what was done there and when."""

    number: int
    name: str
    done: str
    when: str
    x: str
    y: str
    drawn: bool
    """Whether we know roughly where it lies; `x` and `y` count only then."""


@dataclass(frozen=True)
class Ring:
    """A circle around the start: its radius in the box, in kilometres, and where that is written."""

    radius: str
    km: int
    x: str
    y: str


@dataclass(frozen=True)
class PlaceMap:
    """What the drawing consists of, in a box of `WIDTH` by `HEIGHT`."""

    stops: tuple[Stop, ...]
    ways: str
    """One path of all ways that goods went from place to place, bent to the right so that there and back differ."""
    rings: tuple[Ring, ...]


def draw(story: Story, t: Texts) -> PlaceMap | None:
    """The places in the order in which the story comes to them; None when it stays in one."""
    told = [step for step in story.steps if step.division and step.at is not None and step.corrected_by is None]
    by_place: dict[str, list[Step]] = {}
    for step in told:
        by_place.setdefault(step.division, []).append(step)
    points = {code: found for code in by_place if (found := _point(code)) is not None}
    if len(points) < 2:
        return None
    centre = points[_start(story, points)]
    furthest = max(_polar(each, centre)[1] for each in points.values())
    scale = _scale(furthest)
    placed = _apart({code: _place(each, centre, scale) for code, each in points.items()})
    stops = tuple(_stop(number, code, steps, placed.get(code), t) for number, (code, steps) in _numbered(by_place))
    ways = "".join(_way(placed[a], placed[b]) for a, b in _moves(told) if a in placed and b in placed)
    radii = {km: scale(km) for km in _RINGS_KM if km <= furthest * 1.3}
    toward = _clearest(placed.values(), radii.values())
    rings = tuple(Ring(_figure(radius), km, *map(_figure, _around(radius, toward))) for km, radius in radii.items())
    return PlaceMap(stops, ways, rings)


def _point(code: str) -> Position | None:
    known = point(code)
    city = None if known else city_of(code)
    return (city.north, city.east) if city else known


def _start(story: Story, points: Mapping[str, Position]) -> str:
    """Where the goods were taken from the land, else where the story begins."""
    harvested = [step.division for step in story.steps if step.stage.endswith(".harvested") and step.division in points]
    return (harvested or list(points))[0]


def _numbered(by_place: Mapping[str, list[Step]]) -> enumerate[tuple[str, list[Step]]]:
    return enumerate(by_place.items(), 1)


def _stop(number: int, code: str, steps: Sequence[Step], position: Position | None, t: Texts) -> Stop:
    phases = dict.fromkeys(step.phase for step in steps)
    days: list[date] = [step.time.date() for step in steps]
    assert steps[0].at is not None  # only such steps are placed
    x, y = position or (0.0, 0.0)
    done = t("list.separator").join(t(f"phase.{phase}") for phase in phases)
    when = formatting.days(min(days), max(days), t)
    return Stop(number, t.pick(steps[0].at), done, when, _figure(x), _figure(y), position is not None)


def _moves(steps: Sequence[Step]) -> list[tuple[str, str]]:
    """From where to where goods went, each way once: for every arrival the departure that names the same goods."""
    found: dict[tuple[str, str], None] = {}
    for number, arrival in enumerate(steps):
        if not arrival.stage.endswith("received"):
            continue
        departures = [
            step for step in steps[:number] if step.stage.endswith(_LEAVING) and step.division != arrival.division
        ]
        matched = [(_alike(step, arrival), order) for order, step in enumerate(departures)]
        best = max((each for each in matched if each[0]), default=None)
        if best is not None:
            found[departures[best[1]].division, arrival.division] = None
    return list(found)


def _alike(departure: Step, arrival: Step) -> int:
    """0: other goods. 1: the same lot. 2: as much of it. 3: the same pallet or case."""
    units = {lot.uri for lot in departure.lots if lot.part in ("unit", "parent")}
    if any(lot.uri in units for lot in arrival.lots):
        return 3
    sent = {lot.uri: lot.quantity for lot in departure.lots if lot.part == "lot"}
    same = [lot for lot in arrival.lots if lot.uri in sent]
    return 0 if not same else 2 if any(lot.quantity and lot.quantity == sent[lot.uri] for lot in same) else 1


# ------------------------------------------------------------ geometry


def _polar(there: Position, centre: Position) -> tuple[float, float]:
    """Bearing (radians from north, clockwise) and distance in kilometres, on a plane: that does for a drawing."""
    north = (there[0] - centre[0]) * _KM_PER_DEGREE
    east = (there[1] - centre[1]) * _KM_PER_DEGREE * math.cos(math.radians((there[0] + centre[0]) / 2))
    return math.atan2(east, north), math.hypot(east, north)


def _scale(furthest: float) -> Callable[[float], float]:
    whole = math.log1p(max(furthest, 10.0) / _NEAR_KM)
    return lambda km: _RADIUS * math.log1p(km / _NEAR_KM) / whole


def _place(there: Position, centre: Position, scale: Callable[[float], float]) -> Position:
    bearing, km = _polar(there, centre)
    return WIDTH / 2 + math.sin(bearing) * scale(km), HEIGHT / 2 - math.cos(bearing) * scale(km)


def _apart(placed: Mapping[str, Position]) -> dict[str, Position]:
    """The same places pushed apart until no disc hides another, and kept inside the box."""
    now, least = dict(placed), 2.6 * _DISC
    for _ in range(300):
        near = [pair for pair in combinations(now, 2) if math.dist(now[pair[0]], now[pair[1]]) < least - 0.5]
        if not near and now == {code: _inside(each) for code, each in now.items()}:
            break
        for turn, (a, b) in enumerate(near):
            gap = math.dist(now[a], now[b])
            # Two at the very same spot go apart in some direction, each pair in another.
            angle = math.atan2(now[b][1] - now[a][1], now[b][0] - now[a][0]) if gap > 0.1 else 2.4 * turn
            push = max(0.0, least - gap) / 2
            dx, dy = math.cos(angle) * push, math.sin(angle) * push
            now[a], now[b] = (now[a][0] - dx, now[a][1] - dy), (now[b][0] + dx, now[b][1] + dy)
        now = {code: _inside(each) for code, each in now.items()}
    return now


def _inside(position: Position) -> Position:
    edge = _DISC + 4
    return min(max(position[0], edge), WIDTH - edge), min(max(position[1], edge), HEIGHT - edge)


def _around(radius: float, toward: float) -> Position:
    return WIDTH / 2 + math.sin(toward) * radius, HEIGHT / 2 - math.cos(toward) * radius


def _clearest(discs: Collection[Position], radii: Collection[float]) -> float:
    """The bearing in which the figures of all rings keep furthest from any disc."""

    def room(toward: float) -> float:
        return min((math.dist(_around(radius, toward), disc) for radius in radii for disc in discs), default=0.0)

    return max((math.radians(degrees) for degrees in range(0, 360, 15)), key=room)


def _way(start: Position, end: Position) -> str:
    """A bent line between two discs with a head where it arrives."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = math.hypot(dx, dy) or 1.0
    bend = (start[0] + end[0]) / 2 - dy * 0.16, (start[1] + end[1]) / 2 + dx * 0.16
    angle = math.atan2(end[1] - bend[1], end[0] - bend[0])
    tip = end[0] - math.cos(angle) * (_DISC + 2), end[1] - math.sin(angle) * (_DISC + 2)
    away = min(_DISC, length / 2) / length
    at = start[0] + dx * away, start[1] + dy * away
    wings = [(tip[0] - math.cos(angle + side) * 6, tip[1] - math.sin(angle + side) * 6) for side in (0.5, -0.5)]
    return f"M{_pair(at)}Q{_pair(bend)} {_pair(tip)}M{_pair(wings[0])}L{_pair(tip)} {_pair(wings[1])}"


def _pair(position: Position) -> str:
    return f"{_figure(position[0])} {_figure(position[1])}"


def _figure(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
