"""The map of a story's places: directions hold, nothing hides anything, and only goods that moved draw a way."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suyuan.api.pages import place_map
from suyuan.api.pages.texts import texts
from suyuan.trace import divisions
from suyuan.trace.story import Step, Story, Text

MEITAN, GUIYANG, CHONGQING, ZHENGZHOU, UNKNOWN = "520328101", "520103", "500103", "410105", "999999"
DISC = 20.0


@pytest.fixture
def moved(stories: dict[str, Story]) -> Story:
    """The tea's story with a division's code wherever its steps name a place."""
    codes = {"永兴": MEITAN, "贵阳": GUIYANG, "重庆": CHONGQING}
    return replace(stories["tea"], steps=tuple(coded(stories["tea"].steps, codes)))


def coded(steps: tuple[Step, ...], codes: dict[str, str]) -> Iterator[Step]:
    for step in steps:
        name = step.at.zh if step.at else ""
        yield replace(step, division=next((code for part, code in codes.items() if part in name), ""))


def drawn(story: Story) -> place_map.PlaceMap:
    found = place_map.draw(story, texts("en"))
    assert found is not None
    return found


def test_places_lie_in_their_directions_from_where_the_tea_was_picked(moved: Story) -> None:
    meitan, *others = drawn(moved).stops
    assert (float(meitan.x), float(meitan.y)) == (place_map.WIDTH / 2, place_map.HEIGHT / 2)
    at = {stop.name: (float(stop.x), float(stop.y)) for stop in others}
    assert len(at) == 2
    for name, (x, y) in at.items():
        south = "Guiyang" in name
        assert (y > float(meitan.y)) is south and x < float(meitan.x), name


def test_a_way_is_drawn_for_each_place_that_goods_were_sent_to(moved: Story) -> None:
    assert drawn(moved).ways.count("Q") == 2
    silent = tuple(step for step in moved.steps if not step.stage.endswith("received"))
    assert drawn(replace(moved, steps=silent)).ways == ""


def test_a_story_that_stays_in_one_place_has_no_map(stories: dict[str, Story], moved: Story) -> None:
    assert place_map.draw(stories["tea"], texts("zh")) is None
    stayed = tuple(replace(step, division=MEITAN if step.division else "") for step in moved.steps)
    assert place_map.draw(replace(moved, steps=stayed), texts("zh")) is None


def test_a_place_that_nobody_knows_is_listed_and_not_drawn(moved: Story) -> None:
    last = replace(moved.steps[-1], division=UNKNOWN, at=Text("某地", "Somewhere"))
    stops = drawn(replace(moved, steps=(*moved.steps, last))).stops
    assert [stop.drawn for stop in stops] == [True, True, True, False]
    assert stops[-1].name == "Somewhere"


@given(st.lists(st.sampled_from(sorted(divisions._divisions())), min_size=2, max_size=7, unique=True))
def test_no_disc_hides_another_or_leaves_the_box(codes: list[str]) -> None:
    points = {code: found for code in codes if (found := divisions.point(code)) is not None}
    centre = points[codes[0]]
    scale = place_map._scale(max(place_map._polar(each, centre)[1] for each in points.values()))
    placed = place_map._apart({code: place_map._place(each, centre, scale) for code, each in points.items()})
    for x, y in placed.values():
        assert DISC / 2 <= x <= place_map.WIDTH - DISC / 2 and DISC / 2 <= y <= place_map.HEIGHT - DISC / 2
    for one, other in combinations(placed.values(), 2):
        assert math.dist(one, other) >= DISC, placed


def test_every_township_lies_near_its_county() -> None:
    for code in divisions._divisions():
        here, county = divisions.point(code), divisions.point(code[:6])
        assert here is not None and county is not None
        assert place_map._polar(here, county)[1] < 60, code
    assert divisions.point("520328999") == divisions.point("520328")
    assert divisions.point(UNKNOWN) is None
