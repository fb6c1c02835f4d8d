"""OIML R 22 at 20 °C: densities and mass fractions of the tables, and the liquor of the sample batch."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suyuan.trace.alcohol import (
    density_kg_per_l,
    ethanol_kg,
    ethanol_kg_of_litres,
    ethanol_mass_fraction,
    liquor_kg_per_l,
    litres,
    litres_at_65,
    strength,
)

# Densities at 20 °C of the International Alcoholometric Tables (OIML R 22), kg/L.
TABLE = {"52": "0.92616", "53": "0.92412", "54": "0.92206", "57": "0.91570", "65": "0.89765"}
ROUNDS = [
    (2000, "57.2"), (3250, "54.8"), (4750, "53.8"), (5000, "53.0"), (4750, "52.8"), (3500, "52.4"), (1750, "52.1"),
]  # fmt: skip


@pytest.mark.parametrize(("abv", "density"), TABLE.items())
def test_densities_are_those_of_the_tables(abv: str, density: str) -> None:
    assert round(liquor_kg_per_l(Decimal(abv)), 5) == Decimal(density)


def test_pure_water_and_pure_ethanol_end_the_scale() -> None:
    assert round(liquor_kg_per_l(Decimal(0)), 5) == Decimal("0.99820")
    assert round(liquor_kg_per_l(Decimal(100)), 5) == Decimal("0.78924")
    assert ethanol_mass_fraction(Decimal(0)) == 0
    assert round(ethanol_mass_fraction(Decimal(100)), 6) == 1


def test_half_a_litre_at_53_percent_weighs_0_46206_kg_and_is_45_264_percent_ethanol_by_mass() -> None:
    assert round(ethanol_mass_fraction(Decimal(53)), 5) == Decimal("0.45264")
    assert round(liquor_kg_per_l(Decimal(53)) / 2, 5) == Decimal("0.46206")


def test_seven_rounds_are_27086_litres_with_11445_7_kg_of_ethanol() -> None:
    ethanol = sum(ethanol_kg(Decimal(kg), Decimal(abv)) for kg, abv in ROUNDS)
    volume = sum(litres(Decimal(kg), Decimal(abv)) for kg, abv in ROUNDS)
    assert round(ethanol, 1) == Decimal("11445.7")
    assert round(volume) == 27_086
    assert strength(Decimal(ethanol), Decimal(25_000)) == Decimal("53.54")
    assert round(sum(litres_at_65(Decimal(kg), Decimal(abv)) for kg, abv in ROUNDS)) == 22_311


def test_a_strength_beyond_100_percent_is_no_strength() -> None:
    with pytest.raises(ValueError, match="no strength"):
        ethanol_mass_fraction(Decimal("100.1"))


@given(st.decimals("0", "100", places=2))
def test_strength_and_mass_fraction_undo_each_other(abv: Decimal) -> None:
    fraction = ethanol_mass_fraction(abv)
    assert abs(100 * fraction * density_kg_per_l(fraction) / Decimal("0.78924") - abv) < Decimal(
        "2e-4"
    )  # the formula itself ends at 0.789239
    assert abs(ethanol_kg(liquor_kg_per_l(abv), abv) - ethanol_kg_of_litres(Decimal(1), abv)) < Decimal("1e-6")
