"""Balances: dry matter, ethanol, mass and pieces, with their arithmetic; the samples hold, tampering does not."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from suyuan.api.producer import Directory
from suyuan.trace.alcohol import liquor_kg_per_l
from suyuan.trace.balance import Balance, Part, Side, lot_balance, process_balance, shown, transfer_balance
from suyuan.trace.template import Stage, load_templates

TEMPLATES = load_templates()
SAMPLES = Path(__file__).resolve().parents[2] / "sample_batches"


def part(side: Side, quantity: str, uom: str = "KGM", **known: Any) -> Part:
    decimals = {key: Decimal(value) if key != "reason" else value for key, value in known.items()}
    return Part(side, side, Decimal(quantity), uom, **decimals)


def verdicts(*parts: Part, **how: Any) -> list[str]:
    return [balance.verdict for balance in process_balance(parts, **how)]


# ---------------------------------------------------------------- dry matter


def test_drying_shows_dry_matter_and_the_ratio_beside_the_theoretical_one() -> None:
    (balance, _) = process_balance(
        [
            part("in", "37248", moisture_percent="77"),
            part("out", "9600", moisture_percent="13"),
            part("loss", "27433", reason="water"),
            part("loss", "215", reason="seeds"),
        ]
    )
    assert (balance.basis, balance.verdict) == ("dry_matter", "balanced")
    assert balance.total("in") == Decimal("8567.04") and balance.total("out") == 8352
    zh, en = balance.sentence()
    assert "投入产出比 3.88 : 1，理论 3.78 : 1" in zh and "ratio 3.88 : 1, in theory 3.78 : 1" in en
    assert balance.rows[0].arithmetic == "37248 kg × (1 − 77 %) = 8,567.04 kg"


def test_a_ratio_below_theory_means_that_something_was_added() -> None:
    assert verdicts(part("in", "37248", moisture_percent="77"), part("out", "10400", moisture_percent="13")) == [
        "gained"
    ]


def test_dry_matter_that_is_missing_without_a_declared_loss_is_told() -> None:
    assert verdicts(part("in", "100", moisture_percent="77"), part("out", "24", moisture_percent="6")) == ["missing"]


def test_a_loss_beyond_what_the_step_can_lose_is_told_though_it_was_declared() -> None:
    step = [
        part("in", "1000", moisture_percent="77"),
        part("out", "220", moisture_percent="6"),
        part("loss", "24.5", reason="fines"),
    ]
    assert verdicts(*step) == ["balanced"]
    assert verdicts(*step, loss_bound_percent=Decimal(6)) == ["loss_beyond"]


def test_a_declared_water_loss_must_close_the_masses_too() -> None:
    step = [part("in", "100", moisture_percent="75"), part("out", "92", moisture_percent="72.83")]
    assert verdicts(*step) == ["balanced"]
    assert verdicts(*step, part("loss", "8", reason="water")) == ["balanced", "balanced"]
    assert verdicts(*step, part("loss", "18", reason="water")) == ["balanced", "gained"]
    assert verdicts(*step, part("loss", "3", reason="water")) == ["balanced", "missing"]


def test_leaf_that_takes_up_moisture_again_is_honest() -> None:
    assert verdicts(part("in", "100", moisture_percent="10"), part("out", "104.05", moisture_percent="13.5")) == [
        "balanced"
    ]


def test_where_moisture_is_not_known_plain_mass_is_held_against_mass() -> None:
    assert verdicts(part("in", "100", moisture_percent="5.8"), part("out", "97"), part("loss", "3")) == ["balanced"]
    assert verdicts(part("in", "100", moisture_percent="5.8"), part("out", "103")) == ["gained"]


def test_without_the_figures_nothing_is_claimed() -> None:
    assert verdicts(part("in", "10"), part("out", "500", "H87")) == ["unknown"]
    assert verdicts(part("in", "10")) == []


def test_a_process_that_goes_on_may_still_bring_forth_the_rest() -> None:
    assert verdicts(part("in", "100"), part("out", "40"), open_ended=True) == ["open"]
    assert verdicts(part("in", "100"), part("out", "140"), open_ended=True) == ["gained"]


# ---------------------------------------------------------------- liquor and pieces


def test_added_alcohol_shows_in_the_ethanol_and_not_in_the_kilograms() -> None:
    honest = [part("in", "20000", abv_percent="53"), part("out", "19960", abv_percent="53"), part("loss", "40")]
    assert verdicts(*honest) == ["balanced", "balanced"]
    stronger = [part("in", "20000", abv_percent="53"), part("out", "20000", abv_percent="55")]
    assert verdicts(*stronger)[0] == "gained"


def test_water_that_was_declared_is_no_gain_and_undeclared_water_is() -> None:
    parts = [part("in", "1000", abv_percent="55"), part("out", "1035.5", abv_percent="53.35")]
    assert verdicts(*parts) == ["balanced", "gained"]
    water = part("in", "35.5", abv_percent="0", moisture_percent="100")
    assert verdicts(*parts, water) == ["balanced", "balanced"]


def test_ageing_may_lose_strength_as_its_years_allow() -> None:
    parts = [
        part("in", "1000", abv_percent="55"),
        part("out", "900", abv_percent="52"),
        part("loss", "100", reason="evaporation"),
    ]
    assert verdicts(*parts)[0] == "missing"
    assert verdicts(*parts, missing_allowance_percent=Decimal(6))[0] == "balanced"


def test_litres_of_known_strength_weigh_in() -> None:
    assert (
        verdicts(part("in", "1000", "LTR", abv_percent="53"), part("out", "924.12", abv_percent="53"))[0] == "balanced"
    )


def test_pieces_are_exact() -> None:
    assert verdicts(part("in", "42000", "H87"), part("out", "41999", "H87")) == ["missing"]
    assert verdicts(part("in", "42000", "H87"), part("out", "42001", "H87")) == ["gained"]
    broken = part("loss", "1", "H87", reason="broken")
    assert verdicts(part("in", "42000", "H87"), part("out", "41999", "H87"), broken) == ["balanced"]


def test_bottles_count_as_their_content_and_must_weigh_what_was_weighed() -> None:
    content = str(liquor_kg_per_l(Decimal(53)) / 2)
    filled = part("out", "42000", "H87", abv_percent="53", net_mass_kg="19406.5", content_kg=content)
    assert verdicts(part("in", "19406.5", abv_percent="53"), filled) == ["balanced", "balanced", "balanced"]
    more = part("out", "45000", "H87", abv_percent="53", net_mass_kg="19406.5", content_kg=content)
    assert verdicts(part("in", "19406.5", abv_percent="53"), more) == ["gained", "gained", "gained"]


# ---------------------------------------------------------------- lots and hand-overs


def test_a_lot_is_made_used_sold_and_held_to_the_last_gram() -> None:
    parts = [part("in", "61.6"), part("out", "60.6"), part("out", "0.5"), part("rest", "0.5")]
    assert lot_balance(parts).verdict == "balanced"
    assert lot_balance(parts[:-1]).verdict == "missing"


def test_what_did_not_arrive_is_on_the_road_until_the_receipt_says_so() -> None:
    sent = part("in", "800", "H87")
    assert transfer_balance(sent, [part("out", "790", "H87")], finished=False).verdict == "open"
    assert transfer_balance(sent, [part("out", "790", "H87")], finished=True).verdict == "missing"
    told = [part("out", "790", "H87"), part("loss", "10", "H87", reason="short")]
    assert transfer_balance(sent, told, finished=True).verdict == "balanced"


def test_a_balance_tells_its_arithmetic_as_plain_values() -> None:
    (balance,) = process_balance([part("in", "100"), part("out", "98")])
    told = balance.as_json()
    assert (told["difference"], told["difference_percent"], told["verdict"]) == (2, 2, "missing")
    assert told["text"]["zh"].startswith("质量（千克）：投入 100，产出 98，差 2，2.00 %，容差 1：短少")
    assert shown(Decimal("1234.50")) == "1,234.5"


# ---------------------------------------------------------------- properties

AMOUNTS = st.decimals("1", "50000", places=1)


@st.composite
def honest_steps(draw: st.DrawFn) -> list[Part]:
    """Lots of known moisture dried together: what is lost is declared, weights are read to 0.1 kg."""
    inputs = [
        part("in", str(draw(AMOUNTS)), moisture_percent=str(draw(st.decimals("60", "85", places=1))))
        for _ in range(draw(st.integers(1, 5)))
    ]
    dry = sum((one.quantity * (100 - (one.moisture_percent or 0)) / 100 for one in inputs), Decimal(0))
    loss = dry * draw(st.decimals("0", "5", places=2)) / 100
    moisture = draw(st.decimals("4", "50", places=1))
    made = (dry - loss) / (100 - moisture) * 100
    lost = loss / (100 - moisture) * 100
    return [
        *inputs,
        part("out", str(made.quantize(Decimal("0.001"))), moisture_percent=str(moisture)),
        part("loss", str(lost.quantize(Decimal("0.001"))), reason="fines"),
    ]


@given(honest_steps())
def test_an_honest_step_always_balances(step: list[Part]) -> None:
    assert all(balance.balanced for balance in process_balance(step, loss_bound_percent=Decimal(6)))


@given(honest_steps(), st.data())
def test_any_quantity_tampered_beyond_the_tolerance_is_seen(step: list[Part], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(step) - 1))
    changed = step[index].quantity * data.draw(st.decimals("0", "3", places=2))
    tampered = [*step[:index], Part(**{**vars_of(step[index]), "quantity": changed}), *step[index + 1 :]]
    (honest, *_), (after, *_) = process_balance(step), process_balance(tampered)
    assume(abs(after.difference - honest.difference) > 2 * max(after.tolerance, honest.tolerance))
    assert not after.balanced


def vars_of(one: Part) -> dict[str, Any]:
    return {name: getattr(one, name) for name in Part.__dataclass_fields__}


# ---------------------------------------------------------------- the samples


def _known(row: dict[str, Any], name: str) -> Decimal | None:
    return None if row.get(name) is None else Decimal(str(row[name]))


def _steps(family: str) -> list[tuple[Stage, list[Part]]]:
    """Every transformation of a sample with both sides, moisture and strength carried over from lot to lot."""
    known: dict[str, dict[str, Decimal | None]] = {}
    steps = []
    sides: dict[Side, str] = {"in": "inputs", "out": "outputs", "loss": "losses"}
    for record in Directory.read(SAMPLES / family).records:
        stage = TEMPLATES.stages[record["stage"]]
        parts = [_part(row, side, record["kde"], known) for side, name in sides.items() for row in record.get(name, ())]
        if stage.kind == "transform":
            steps.append((stage, parts))
    return steps


def _part(row: dict[str, Any], side: Side, kde: dict[str, Any], known: dict[str, dict[str, Decimal | None]]) -> Part:
    lot = row.get("lot", "")
    measured = {name: _known(row, name) for name in ("moisture_percent", "abv_percent")}
    if side == "in":
        measured = {
            name: value if value is not None else known.get(lot, {}).get(name) for name, value in measured.items()
        }
    elif side == "out":
        known[lot] = measured
    content = None
    if row["uom"] == "H87" and "net_content_g" in kde:
        content = Decimal(str(kde["net_content_g"])) / 1000
    elif row["uom"] == "H87" and "net_content_ml" in kde:
        content = Decimal(str(kde["net_content_ml"])) / 1000 * liquor_kg_per_l(Decimal(str(kde["label_abv"])))
    net = _known(row, "net_mass_kg")
    quantity = Decimal(str(row["quantity"]))
    reason = row.get("reason")
    return Part(lot, side, quantity, row["uom"], **measured, net_mass_kg=net, content_kg=content, reason=reason)


@pytest.mark.parametrize("family", ["tea", "chili", "baijiu"])
def test_every_step_of_the_samples_balances(family: str) -> None:
    found: list[Balance] = []
    for stage, parts in _steps(family):
        if stage.id.startswith(("baijiu.round", "baijiu.spent", "chili.seedling")):
            continue
        found += process_balance(parts, loss_bound_percent=Decimal(6) if stage.id.endswith(".dried") else None)
    assert len(found) > 10
    assert [balance.sentence()[0] for balance in found if not balance.balanced] == []
