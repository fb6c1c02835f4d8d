"""The balances of the samples, and who may see which of their figures."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from suyuan.trace.balances import Balances
from suyuan.trace.viewer import Viewer
from trace_world import NAMES, TEMPLATES, Samples

OFFICE = Viewer("11520382MAXXJU088Y", ("authority",))
COOPERATIVE = "93520328MAXXTE011D"
DISTILLERY = "91520382MAXXJU010N"


@pytest.fixture(scope="session")
def balances(samples: Samples) -> Balances:
    return Balances(samples.world.database, samples.world.log, TEMPLATES, NAMES)


@pytest.mark.parametrize("family", ["tea", "chili", "baijiu"])
def test_the_lot_on_sale_balances_to_the_last_piece(balances: Balances, samples: Samples, family: str) -> None:
    found = balances.lot(samples.product(family), OFFICE)
    assert found is not None and found["hidden_rows"] == 0
    assert found["balance"]["verdict"] == "balanced" and found["balance"]["difference"] == 0
    assert {one["verdict"] for step in found["steps"] for one in step["balances"]} == {"balanced"}


def test_figures_that_are_not_public_are_left_out_and_the_sums_with_them(balances: Balances, samples: Samples) -> None:
    found = balances.lot(samples.product("tea"), Viewer(None))
    assert found is not None
    assert found["balance"] is None and found["hidden_rows"] > 0 and found["steps"] == []
    assert {row["side"] for row in found["rows"]} == {"in"}, "how much was made is public, who holds what is not"


def test_a_recipe_is_for_its_maker_and_for_offices(balances: Balances, samples: Samples) -> None:
    with samples.world.database.read() as connection:
        subject = connection.exec_driver_sql("SELECT subject FROM node WHERE stage = 'baijiu.blended'").scalar_one()
    uri = NAMES.uri(subject)
    for viewer, steps in ((Viewer(DISTILLERY), 2), (Viewer("91440106MAXXJU0539", ("dealer",)), 0), (OFFICE, 2)):
        found = balances.lot(uri, viewer)
        assert found is not None and len(found["steps"]) == steps


def test_a_plot_is_held_against_its_bounds(balances: Balances) -> None:
    plot = NAMES.plot(COOPERATIVE, "P1")
    found = balances.plot(plot, date(2026, 3, 20), Viewer(COOPERATIVE))
    assert found is not None
    spring = next(one for one in found if one["season"].endswith("spring"))
    assert spring["area_mu"] == Decimal("14.2") and spring["bounds"][0]["kg_per_mu"] == 30
    assert spring["kg"] == sum(one["kg"] for one in spring["harvests"]) > 0
    assert balances.plot(plot, date(2026, 3, 20), Viewer(DISTILLERY)) is None


def test_a_distillery_s_year_is_told_in_litres_at_65_percent(balances: Balances) -> None:
    found: Any = balances.actor_year(DISTILLERY, 2021, Viewer(DISTILLERY))
    rounds = next(one for one in found["stages"] if one["stage"] == "baijiu.round_distilled")
    assert rounds["out"] == {"KGM": 23000} and 20_000 < rounds["litres_at_65"] < 21_000
    assert balances.actor_year(DISTILLERY, 2021, Viewer(COOPERATIVE)) is None


def test_what_is_unknown_has_no_balance(balances: Balances) -> None:
    assert balances.lot(NAMES.absolute("/01/09520001000010/10/NOSUCHLOT"), OFFICE) is None
    assert balances.plot(NAMES.plot(COOPERATIVE, "P99"), date(2026, 3, 20), OFFICE) is None
