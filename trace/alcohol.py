"""Ethanol and water at 20 °C: density, mass and volume of a liquor of known strength (OIML R 22, general formula).

Strength is in % vol at 20 °C, as it stands on labels and in records; 1 kg is never taken for 1 L.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache

# OIML R 22:1975, table of A_k, kg/m³: the density at 20 °C as a polynomial of the mass fraction of ethanol. At 20 °C
# the terms with B and C, which carry the temperature, are zero.
_DENSITY_AT_20_C = tuple(
    map(
        Decimal,
        (
            "998.20123", "-192.9769495", "389.1238958", "-1668.103923", "13522.15441", "-88292.78388", "306287.4042",
            "-613838.1234", "747017.2998", "-547846.1354", "223446.0334", "-39032.85426",
        ),
    )
)  # fmt: skip
ETHANOL_KG_PER_L = Decimal("0.78924")
"""Density of pure ethanol at 20 °C (OIML R 22)."""
_STEPS = 50
_EXACT = Decimal("1e-12")
_SHOWN = Decimal("1e-9")
REFERENCE_ABV = Decimal(65)
"""Official output statistics count litres as if at 65 % vol (千升，折65度)."""


def density_kg_per_l(mass_fraction: Decimal) -> Decimal:
    """Density at 20 °C of a mixture with `mass_fraction` (0 to 1) ethanol, kg/L."""
    density = Decimal(0)
    for coefficient in reversed(_DENSITY_AT_20_C):
        density = density * mass_fraction + coefficient
    return density / 1000


@lru_cache(maxsize=4096)
def ethanol_mass_fraction(abv_percent: Decimal) -> Decimal:
    """Mass of ethanol in 1 kg of a liquor of `abv_percent` % vol at 20 °C, kg, to nine places.

    Raises ValueError outside 0 to 100 % vol.
    """
    if not 0 <= abv_percent <= 100:
        raise ValueError(f"{abv_percent} % vol is no strength")
    volume_fraction = abv_percent / 100
    low, high, fraction = Decimal(0), Decimal(1), volume_fraction
    for _ in range(_STEPS):
        error = fraction * density_kg_per_l(fraction) - volume_fraction * ETHANOL_KG_PER_L
        if error > 0:
            high = fraction
        else:
            low = fraction
        if high - low < _EXACT or abs(error) < _EXACT:
            break
        fraction = (low + high) / 2
    return fraction.quantize(_SHOWN, ROUND_HALF_UP)


@lru_cache(maxsize=4096)
def liquor_kg_per_l(abv_percent: Decimal) -> Decimal:
    """Density at 20 °C of a liquor of `abv_percent` % vol, kg/L, to nine places."""
    return density_kg_per_l(ethanol_mass_fraction(abv_percent)).quantize(_SHOWN, ROUND_HALF_UP)


def ethanol_kg(liquor_kg: Decimal, abv_percent: Decimal) -> Decimal:
    """Mass of the ethanol in `liquor_kg` of a liquor of `abv_percent` % vol."""
    return liquor_kg * ethanol_mass_fraction(abv_percent)


def ethanol_kg_of_litres(litres: Decimal, abv_percent: Decimal) -> Decimal:
    """Mass of the ethanol in `litres` (at 20 °C) of a liquor of `abv_percent` % vol."""
    return litres * abv_percent / 100 * ETHANOL_KG_PER_L


def litres(liquor_kg: Decimal, abv_percent: Decimal) -> Decimal:
    """Volume at 20 °C of `liquor_kg` of a liquor of `abv_percent` % vol."""
    return liquor_kg / liquor_kg_per_l(abv_percent)


def litres_at_65(liquor_kg: Decimal, abv_percent: Decimal) -> Decimal:
    """Volume at 20 °C that the same ethanol would fill as liquor of 65 % vol: what output statistics count."""
    return ethanol_kg(liquor_kg, abv_percent) / (REFERENCE_ABV / 100 * ETHANOL_KG_PER_L)


def strength(ethanol: Decimal, liquor_kg: Decimal) -> Decimal:
    """Strength in % vol of `liquor_kg` that holds `ethanol` kg of ethanol, to two places."""
    fraction = ethanol / liquor_kg
    return (100 * fraction * density_kg_per_l(fraction) / ETHANOL_KG_PER_L).quantize(Decimal("0.01"), ROUND_HALF_UP)
