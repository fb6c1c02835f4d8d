"""The baijiu sample tells the whole story, and its figures add up: mass, ethanol, pieces, dates, ages, check digits."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from suyuan.trace.naming import Names, crockford_id, is_actor_id, uuid7
from suyuan.trace.parties import check_actor, check_credential
from suyuan.trace.record import References, normalise, validate
from suyuan.trace.template import Templates, load_templates

SAMPLE = Path(__file__).parents[2] / "sample_batches" / "baijiu"
BATCH = "/01/09520001000034/10/CSG20251120K"
DISTILLERY = "91520382MAXXJU010N"
COOPERATIVE = "93520382MAXXJU029D"
LABORATORY = "91520102MAXXAB01XQ"
D = Decimal
NAMES = Names("trace.example.cn")

# OIML R 22 (1975), density of ethanol and water at 20 °C in kg/m3 as a polynomial of the mass fraction of ethanol.
_DENSITY = (
    9.982012300e2, -1.929769495e2, 3.891238958e2, -1.668103923e3, 1.352215441e4, -8.829278388e4,
    3.062874042e5, -6.138381234e5, 7.470172998e5, -5.478461354e5, 2.234460334e5, -3.903285426e4,
)  # fmt: skip


class _Exact(yaml.SafeLoader):
    """YAML with decimals instead of floats."""


_Exact.add_constructor("tag:yaml.org,2002:float", lambda _, node: Decimal(node.value))


@cache
def _read(name: str) -> Any:
    return yaml.load((SAMPLE / f"{name}.yaml").read_text(encoding="utf-8"), _Exact)


@cache
def _templates() -> Templates:
    return load_templates()


def _records(stage: str) -> list[dict[str, Any]]:
    return [record for record in _read("records") if record["stage"] == stage]


def _record(stage: str) -> dict[str, Any]:
    (record,) = _records(stage)
    return record


def _total(rows: list[dict[str, Any]]) -> Decimal:
    return sum((D(row["quantity"]) for row in rows), D(0))


def _details(kind: str) -> list[dict[str, Any]]:
    return [row["details"] for row in _read("credentials") if row["type"] == kind]


def _density(fraction: float) -> float:
    return sum(coefficient * fraction**power for power, coefficient in enumerate(_DENSITY)) / 1000


def _strength(fraction: float) -> float:
    return 100 * fraction * _density(fraction) / _density(1.0)


def _ethanol_fraction(abv: float | Decimal) -> float:
    low, high = 0.0, 1.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (middle, high) if _strength(middle) < float(abv) else (low, middle)
    return low


def _ethanol(rows: list[dict[str, Any]]) -> float:
    return sum(float(row["quantity"]) * _ethanol_fraction(row["abv_percent"]) for row in rows)


def _years(since: str, until: str) -> float:
    return (date.fromisoformat(until) - date.fromisoformat(since)).days / 365.25


# ---------------------------------------------------------------- the form


def test_every_record_fits_its_template() -> None:
    lots: dict[str, str] = {}
    for record in _read("records"):
        actor = record["by"]
        stage = _templates().get(record["stage"])
        assert stage is not None, record["stage"]
        raw = {key: value for key, value in record.items() if key not in ("by", "attachments")} | {"backfilled": True}

        def plot(name: str, actor: str = actor) -> str:
            return NAMES.plot(actor, name)

        def new_lot(actor: str = actor) -> str:
            return NAMES.lot(actor, crockford_id())

        normal = normalise(raw, stage, actor, NAMES, References(lots.get, plot, new_lot, uuid7))
        assert validate(normal, stage, NAMES) == [], record
        assert len(record.get("attachments", ())) <= stage.attachments.maximum
        for named in normal.get("labels", ()):
            assert named["label"] not in lots, "a label names one lot of the batch"
            lots[named["label"]] = named["lot"]


def test_every_actor_and_credential_is_in_order_and_fictitious() -> None:
    class Nobody:
        def product_holder(self, gtin: str) -> None: ...
        def plot_holder(self, subject: str) -> None: ...

    roles = {}
    for actor in _read("actors"):
        check_actor(actor)
        assert is_actor_id(actor["id"])
        assert actor["name"]["zh"].endswith("(虚构)") and actor["name"]["en"].endswith("(fictitious)")
        roles[actor["id"]] = frozenset(actor["roles"])
    names = Counter((row["issuer"], row["id"]) for row in _read("credentials"))
    assert set(names.values()) == {1}, "a later credential of the same name would replace the earlier"
    for row in _read("credentials"):
        body = {key: value for key, value in row.items() if key != "issuer"} | {"status": "active"}
        if "plot" in body:
            body["plot"] = NAMES.plot(row["actor"], row["plot"])
        check_credential(body, row["issuer"], roles[row["issuer"]], NAMES, Nobody())


def test_whoever_records_has_the_role_and_the_permission_to_record_later() -> None:
    roles = {actor["id"]: set(actor["roles"]) for actor in _read("actors")}
    periods = {row["actor"]: row["details"] for row in _read("credentials") if row["type"] == "backfill"}
    assert _read("batch")["backfilled"] is True
    for record in _read("records"):
        stage = _templates().get(record["stage"])
        assert stage is not None and roles[record["by"]] & set(stage.roles), record
        assert periods[record["by"]]["from"] <= record["time"][:10] <= periods[record["by"]]["until"], record


def test_records_stand_in_the_order_of_happening() -> None:
    times = [datetime.fromisoformat(record["time"]) for record in _read("records")]
    assert times == sorted(times)
    assert times[-1] < datetime.fromisoformat("2026-11-23T00:00:00+08:00")


def test_lots_exist_before_they_are_used_and_only_holders_use_what_they_have() -> None:
    held: dict[tuple[str, str], Decimal] = defaultdict(D)
    road: dict[tuple[str, str, str], Decimal] = defaultdict(D)
    plots = {(row["actor"], row["plot"]) for row in _read("credentials") if row["type"] == "plot"}
    for record in _read("records"):
        by = record["by"]
        stage = _templates().get(record["stage"])
        assert stage is not None
        assert {(by, plot) for plot in record.get("plots", ())} <= plots
        for row in record.get("inputs", ()):
            held[row["lot"], by] -= row["quantity"]
            assert held[row["lot"], by] >= 0, (record["time"], row)
        for row in record.get("outputs", ()):
            assert (row["lot"], by) not in held
            held[row["lot"], by] += row["quantity"]
        for row in record.get("lots", ()):
            if stage.kind == "receive":
                road[row["lot"], record["sender"], by] -= row["quantity"]
                assert road[row["lot"], record["sender"], by] == 0, "all that was sent arrived"
                held[row["lot"], by] += row["quantity"]
            elif stage.kind in ("ship", "withdraw", "retail"):
                held[row["lot"], by] -= row["quantity"]
                assert held[row["lot"], by] >= 0, (record["time"], row)
                if stage.kind == "ship":
                    road[row["lot"], by, record["receiver"]] += row["quantity"]
            elif by not in (LABORATORY, "91520302MAXXJU045D"):
                assert held[row["lot"], by] >= row.get("quantity", 0) and held[row["lot"], by] > 0
    assert not any(road.values())
    left = {lot: amount for (lot, _), amount in held.items() if amount and lot != BATCH}
    assert left == {"老熟2020": 5320, "回罐20251120": D("149.3")}, "nothing else is unaccounted for"
    assert sum(amount for (lot, _), amount in held.items() if lot == BATCH) == 42_000 - 24 - 1 - 36 - 30


def test_every_place_has_a_name() -> None:
    divisions = yaml.safe_load((SAMPLE.parents[1] / "trace" / "divisions.yaml").read_text(encoding="utf-8"))
    places = {record["place"] for record in _read("records")} | {actor["county"] for actor in _read("actors")}
    assert places <= set(divisions)


def test_attachments_are_small_and_what_they_say_they_are() -> None:
    named = {name for record in _read("records") for name in record.get("attachments", ())}
    assert named == {f"files/{path.name}" for path in (SAMPLE / "files").iterdir()}
    for name in named:
        content = (SAMPLE / name).read_bytes()
        magic, limit = (b"%PDF-", 60_000) if name.endswith(".pdf") else (b"\xff\xd8\xff", 40_000)
        assert content.startswith(magic) and len(content) <= limit, name


def test_check_digits_of_product_pallets_and_licence_are_right() -> None:
    def gs1_sum(digits: str) -> int:
        return sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(reversed(digits)))

    units = [record["parent"] for record in _records("baijiu.palletised")]
    assert len(units) == len(set(units)) == 56
    for number in [*units, _read("batch")["product"].split("/")[2]]:
        assert gs1_sum(number) % 10 == 0, number
    (numbers,) = {row["number"] for row in _details("licence")}
    assert numbers == "SC11552038299019" and numbers.startswith("SC115"), "category 115 is liquor"
    product = 10
    for digit in numbers[2:-1]:  # GB/T 17710 (ISO/IEC 7064) MOD 11,10
        product = ((product + int(digit)) % 10 or 10) * 2 % 11
    assert (product + int(numbers[-1])) % 10 == 1
    assert _record("baijiu.bottled")["kde"]["sc_no"] == numbers


# ---------------------------------------------------------------- grain and qu


def test_the_sorghum_is_218_6_kg_a_mu_from_280_mu_in_changgang() -> None:
    plots = _details("plot")
    assert sum(D(plot["area_mu"]) for plot in plots) == 280
    assert {plot["division"] for plot in plots} == {"520382102"}
    harvest = _records("baijiu.harvested")
    kilograms = sum(_total(record["outputs"]) for record in harvest)
    assert kilograms == 61_200
    assert round(kilograms / 280, 1) == D("218.6")
    assert (harvest[0]["time"][:10], harvest[-1]["time"][:10]) == ("2020-08-28", "2020-09-10")
    assert {record["kde"]["sorghum_variety"] for record in harvest} == {"红缨子"}
    (quota,) = _details("area_quota")
    assert quota["mu"] == 280 and kilograms <= quota["kg"]


@pytest.mark.parametrize("plot", ["G1", "G2", "G3"])
def test_the_outline_of_a_plot_has_the_area_registered(plot: str) -> None:
    (details,) = [row["details"] for row in _read("credentials") if row.get("plot") == plot]
    assert details["fictitious"] is True
    points = [(float(longitude), float(latitude)) for longitude, latitude in details["polygon"]]
    assert points[0] == points[-1]
    east = 111_320 * math.cos(math.radians(points[0][1]))
    metres = [((x - points[0][0]) * east, (y - points[0][1]) * 110_860) for x, y in points]
    pairs = list(pairwise(metres))
    area = abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in pairs)) / 2
    assert area / (10_000 / 15) == pytest.approx(float(details["area_mu"]), rel=0.01)
    assert all(105.5 < x < 108.3 and 27.1 < y < 29.3 for x, y in points), "within Zunyi's coarse box"


def test_the_grain_is_checked_and_cleaned_to_60_000_kg() -> None:
    received = _record("baijiu.grain_received")
    assert _total(received["lots"]) == 61_200
    assert {row["moisture_percent"] for row in received["lots"]} == {D("13.2")}
    assert (received["kde"]["starch_percent"], received["kde"]["amylopectin_percent"]) == (D("63.5"), 90)
    cleaned = _record("baijiu.grain_cleaned")
    assert [_total(cleaned[side]) for side in ("inputs", "outputs", "losses")] == [61_200, 60_000, 1_200]


def test_65_000_kg_of_wheat_become_54_000_kg_of_qu() -> None:
    made = _records("baijiu.qu_made")
    wheat = sum(_total(record["inputs"]) for record in made)
    qu = sum(_total(record["outputs"]) for record in made)
    assert (wheat, qu) == (65_000, 54_000)
    assert round(wheat / qu, 3) == D("1.204")
    assert all(D("1.15") < _total(record["inputs"]) / _total(record["outputs"]) < D("1.25") for record in made)
    kde = [record["kde"] for record in made]
    assert (min(k["made_from"] for k in kde), max(k["made_until"] for k in kde)) == ("2019-06-10", "2019-09-20")
    assert max(k["out_of_room_on"] for k in kde) == "2019-10-30"
    assert max(k["peak_temp_c"] for k in kde) == 63


# ---------------------------------------------------------------- the pit-year


def _pit_year() -> list[dict[str, Any]]:
    return [record for record in _read("records") if "process" in record]


def test_the_pit_year_is_one_process_of_two_feeds_eight_additions_and_seven_rounds() -> None:
    assert {record["process"] for record in _pit_year()} == {"2020窖年-K07-K12"}
    steps = [record["stage"].removeprefix("baijiu.") for record in _pit_year()]
    assert steps == ["feed_1", "feed_2", *["round_distilled", "qu_added"] * 6, "round_distilled", "spent_grain_out"]
    assert [r["kde"]["cook_no"] for r in _pit_year() if "cook_no" in r["kde"]] == list(range(1, 10))
    assert [r["kde"]["add_no"] for r in _pit_year() if "add_no" in r["kde"]] == list(range(1, 9))
    assert [r["kde"]["round_no"] for r in _pit_year() if "round_no" in r["kde"]] == list(range(1, 8))


def test_feeds_are_half_and_half_and_all_the_qu_goes_in() -> None:
    feeds = [_record("baijiu.feed_1"), _record("baijiu.feed_2")]
    assert [feed["time"][:10] for feed in feeds] == ["2020-10-25", "2020-11-25"]
    assert [_total([row for row in feed["inputs"] if row["lot"] == "净粮2020"]) for feed in feeds] == [30_000, 30_000]
    inputs = [row for record in _pit_year() for row in record.get("inputs", ())]
    qu = _total([row for row in inputs if row["lot"].startswith("曲2019")])
    assert qu == 54_000
    assert D("0.85") <= qu / 60_000 <= D("1.15")
    assert feeds[0]["kde"]["process_type"] == "大曲坤沙"
    assert feeds[1]["kde"]["distillate_returned"] is True


def test_the_youngest_qu_has_rested_361_days_at_first_use() -> None:
    out = date.fromisoformat(_record("baijiu.feed_1")["kde"]["qu_out_of_room_on"])
    assert out == max(date.fromisoformat(r["kde"]["out_of_room_on"]) for r in _records("baijiu.qu_made"))
    assert (date(2020, 10, 25) - out).days == 361


def test_pits_are_sealed_and_opened_in_turn_for_eight_fermentations() -> None:
    sealed: dict[str, date] = {}
    days: dict[str, list[int]] = defaultdict(list)
    for record in _pit_year():
        for pit in record["kde"].get("pits", ()):
            if "open_at" in pit:
                opened = date.fromisoformat(pit["open_at"])
                days[pit["pit_id"]].append((opened - sealed.pop(pit["pit_id"])).days)
            if "seal_at" in pit:
                assert pit["pit_id"] not in sealed
                sealed[pit["pit_id"]] = date.fromisoformat(pit["seal_at"])
    assert sorted(days) == ["K07", "K08", "K09", "K10", "K11", "K12"] and not sealed
    for terms in days.values():
        assert len(terms) == 8
        assert all(25 <= term <= 35 for term in terms[:6]) and all(term <= 50 for term in terms)


def test_heaps_and_pits_reach_the_temperatures_of_the_story() -> None:
    kde = [record["kde"] for record in _pit_year()]
    assert min(k["heap_temp_min_c"] for k in kde if "heap_temp_min_c" in k) == 47
    assert max(k["heap_temp_max_c"] for k in kde if "heap_temp_max_c" in k) == 50
    assert max(pit.get("pit_temp_max_c", 0) for k in kde for pit in k.get("pits", ())) == 41


ROUNDS = [
    ("2020-12-28", 2000, "57.2", "57.0"),
    ("2021-02-01", 3250, "54.8", "54.5"),
    ("2021-03-08", 4750, "53.8", "53.5"),
    ("2021-04-12", 5000, "53.0", "52.5"),
    ("2021-05-17", 4750, "52.8", "52.5"),
    ("2021-06-28", 3500, "52.4", "52.0"),
    ("2021-08-16", 1750, "52.1", "52.0"),
]


@pytest.mark.parametrize(("number", "day", "kilograms", "abv", "least"), [(n, *r) for n, r in enumerate(ROUNDS, 1)])
def test_a_round_gives_what_the_story_says(number: int, day: str, kilograms: int, abv: str, least: str) -> None:
    (record,) = [record for record in _records("baijiu.round_distilled") if record["kde"]["round_no"] == number]
    (lot,) = record["outputs"]
    assert (record["time"][:10], lot["quantity"], lot["abv_percent"]) == (day, kilograms, D(abv))
    assert lot["abv_percent"] >= D(least)


def test_mass_volume_and_ethanol_of_the_seven_rounds_agree_with_oiml_r_22() -> None:
    assert [round(_density(_ethanol_fraction(abv)), 5) for abv in (52, 53, 54, 57, 65)] == [
        0.92616, 0.92412, 0.92206, 0.91570, 0.89765,
    ]  # fmt: skip
    assert round(_ethanol_fraction(53), 5) == 0.45264
    lots = [row for record in _records("baijiu.round_distilled") for row in record["outputs"]]
    ethanol = _ethanol(lots)
    litres = sum(float(row["quantity"]) / _density(_ethanol_fraction(row["abv_percent"])) for row in lots)
    assert _total(lots) == 25_000
    assert round(litres) == 27_086 and round(ethanol, 1) == 11_445.7
    assert round(_strength(ethanol / 25_000), 2) == 53.54
    assert round(ethanol / _density(1.0) / 0.65) == 22_311
    assert D(60_000) / 25_000 == D("2.40") and D(60_000 + 65_000) / 25_000 == D("5.00")


def test_spent_grain_holds_less_dry_matter_than_went_in() -> None:
    (lot,) = _record("baijiu.spent_grain_out")["outputs"]
    dry = lot["quantity"] * (1 - D(lot["moisture_percent"]) / 100)
    assert dry < 60_000 * (1 - D("0.132")) + 54_000 * (1 - D("0.128")) - 2 * 11_446, (
        "sugar gives ethanol and as much gas"
    )


# ---------------------------------------------------------------- base liquor, blend, bottles


def test_28_jars_hold_the_seven_rounds_and_none_more_than_1_200_litres() -> None:
    jars = _records("baijiu.base_jarred")
    assert len(jars) == len({jar["kde"]["jar_id"] for jar in jars}) == 28
    assert [Counter(jar["kde"]["round_no"] for jar in jars)[n] for n in range(1, 8)] == [2, 4, 5, 6, 5, 4, 2]
    litres = []
    for jar in jars:
        (drawn,), (filled,) = jar["inputs"], jar["outputs"]
        assert drawn["lot"] == f"酒2020-R{jar['kde']['round_no']}", "like with like"
        assert (drawn["quantity"], drawn["abv_percent"]) == (filled["quantity"], filled["abv_percent"])
        assert jar["kde"]["stored_since"] == jar["time"][:10]
        litres.append(float(filled["quantity"]) / _density(_ethanol_fraction(filled["abv_percent"])))
    assert max(litres) <= 1_200 and round(sum(litres) / 28) == 967
    for number, (_, kilograms, _, _) in enumerate(ROUNDS, 1):
        assert _total([row for jar in jars for row in jar["outputs"] if jar["kde"]["round_no"] == number]) == kilograms
    assert max(jar["kde"]["stored_since"] for jar in jars) == "2021-08-20"


def test_merging_and_ageing_lose_what_the_story_says() -> None:
    merged, aged = _record("baijiu.merged"), _record("baijiu.aged")
    assert {row["lot"] for row in merged["inputs"]} == {
        row["lot"] for jar in _records("baijiu.base_jarred") for row in jar["outputs"]
    }
    assert merged["time"][:10] == "2022-09-05"
    assert [_total(merged[side]) for side in ("inputs", "outputs", "losses")] == [25_000, 24_500, 500]
    assert (aged["time"][:10], aged["outputs"][0]["abv_percent"]) == ("2024-10-15", D("53.1"))
    assert [_total(aged[side]) for side in ("inputs", "outputs", "losses")] == [24_500, 23_520, 980]
    for record, since in ((merged, "2021-08-20"), (aged, "2022-09-05")):
        yearly = float(_total(record["losses"]) / _total(record["inputs"])) / _years(since, record["time"][:10])
        assert 0 < yearly < 0.04


def test_the_blend_is_20_000_kg_of_three_lots_at_53_08() -> None:
    blend = _record("baijiu.blended")
    assert blend["time"][:10] == "2024-10-15"
    assert [(row["quantity"], row["abv_percent"]) for row in blend["inputs"]] == [
        (18_200, D("53.1")), (1_200, D("53.0")), (600, D("52.6")),
    ]  # fmt: skip
    assert round(_strength(_ethanol(blend["inputs"]) / 20_000), 2) == 53.08
    assert blend["kde"]["abv_20c"] == D("53.08") and _total(blend["outputs"]) == 19_960
    assert [blend["kde"][name] for name in ("edible_alcohol_added", "flavouring_added", "water_added_kg")] == [
        False, False, 0,
    ]  # fmt: skip
    for row, part in zip(blend["inputs"], blend["kde"]["components"], strict=True):
        assert (row["lot"], row["quantity"], row["abv_percent"]) == (part["lot"], part["kg"], part["abv_percent"])
    old = {
        row["lot"]: record["kde"]["made_on"] for record in _records("common.introduced") for row in record["outputs"]
    }
    assert (old["老酒2018"], old["老酒2014"]) == ("2018-08-20", "2014-08-20")


def test_ages_follow_from_the_components_and_nobody_types_them() -> None:
    parts = _record("baijiu.blended")["kde"]["components"]
    ages = [_years(part["stored_since"], "2024-10-15") for part in parts]
    mean = sum(float(part["kg"]) * age for part, age in zip(parts, ages, strict=True)) / 20_000
    assert (round(min(ages), 2), round(mean, 2)) == (3.15, 3.54)
    for stage in _templates().families["baijiu"].stages.values():
        assert not {name for name in stage.kde if name.endswith("_age")}


def test_resting_and_filtering_lose_what_the_story_says() -> None:
    rested, filtered = _record("baijiu.rested"), _record("baijiu.filtered")
    assert rested["time"][:10] == rested["kde"]["rested_until"] == "2025-11-10"
    assert [_total(rested[side]) for side in ("inputs", "outputs")] == [19_960, 19_760]
    assert [_total(filtered[side]) for side in ("inputs", "outputs")] == [19_760, D("19661.2")]
    assert _total(filtered["outputs"]) == 19_760 * D("0.995")
    (drawn,) = [loss for loss in filtered["losses"] if loss["reason"] == "sample"]
    assert drawn["quantity"] == _record("baijiu.sampled")["kde"]["sample_kg"], "the samples are in the declared loss"


def test_the_report_of_14_november_passes_with_the_results_of_the_story() -> None:
    report = _record("common.tested")
    assert report["by"] == LABORATORY and report["lots"] == [{"lot": "待装202511"}]
    assert (report["kde"]["issued_on"], report["kde"]["conclusion"]) == ("2025-11-14", "合格")
    assert report["kde"]["declared_standard"] == "GB/T 10781.4-2024"
    found = {
        row["item"].partition("（")[0]: (row["value"], row.get("unit"), row.get("limit"))
        for row in report["kde"]["results"]
    }
    dbp, dehp = (row for row in report["kde"]["results"] if "邻苯" in row["item"])
    assert found["酒精度"] == ("52.9", "% vol", "53.0±1.0（标签）")
    assert found["总酸"][:2] == ("1.92", "g/L") and found["总酯"][:2] == ("3.35", "g/L")
    assert found["固形物"][:2] == ("0.12", "g/L")
    assert found["甲醇"] == ("0.11", "g/L", "≤0.6") and found["氰化物"] == ("0.6", "mg/L", "≤8.0")
    assert (dbp["value"], dbp["limit"], dehp["value"], dehp["limit"]) == ("<0.1", "≤1", "<0.1", "≤5")
    assert found["甜味剂"][0] == "未检出"
    filtered, sampled = _record("baijiu.filtered"), _record("baijiu.sampled")
    assert filtered["time"] < sampled["time"] < report["time"] < _record("baijiu.released")["time"]
    assert report["kde"]["sample_no"] == sampled["kde"]["sample_no"]
    (accreditation,) = [row for row in _read("credentials") if row["type"] == "lab_accreditation"]
    assert accreditation["valid_from"] <= "2025-11-14" <= accreditation["valid_until"]


def test_every_drop_is_bottled_rejected_sampled_or_returned() -> None:
    bottled = _record("baijiu.bottled")
    good, returned = bottled["outputs"]
    reject, sample = bottled["losses"]
    assert bottled["time"][:10] == bottled["kde"]["production_date"] == "2025-11-20"
    assert (good["lot"], good["quantity"], good["uom"], good["net_mass_kg"]) == (BATCH, 42_000, "H87", D("19406.5"))
    assert (reject["quantity"], sample["quantity"], returned["quantity"]) == (D("83.2"), D("22.2"), D("149.3"))
    assert good["net_mass_kg"] + reject["quantity"] + sample["quantity"] + returned["quantity"] == D("19661.2")
    assert _total(bottled["inputs"]) == D("19661.2")
    kde = bottled["kde"]
    assert (kde["reject_bottles"], kde["sample_bottles"], kde["code_pairs_void"]) == (180, 48, 228)
    bottle = _density(_ethanol_fraction(53)) * 0.5
    for count, mass in ((42_000, good["net_mass_kg"]), (180, reject["quantity"]), (48, sample["quantity"])):
        assert round(count * bottle, 1) == float(mass)
    assert _read("batch")["items"] == {"first": 1, "count": 42_000 + 228}
    assert abs(kde["label_abv"] - good["abv_percent"]) <= 1


def test_mass_is_kept_wherever_liquor_or_grain_only_changes_its_vessel() -> None:
    steps = 0
    for record in _read("records"):
        if record["stage"] in ("baijiu.grain_cleaned", "baijiu.qu_made") or record["stage"] in (
            "baijiu.base_jarred", "baijiu.merged", "baijiu.aged", "baijiu.blended", "baijiu.rested", "baijiu.filtered",
        ):  # fmt: skip
            steps += 1
            assert _total(record["inputs"]) == _total(record["outputs"]) + _total(record.get("losses", [])), record
    assert steps == 1 + 3 + 28 + 5


def test_ethanol_is_kept_within_one_percent_beyond_declared_losses() -> None:
    for stage in ("base_jarred", "merged", "aged", "blended", "rested", "filtered"):
        for record in _records(f"baijiu.{stage}"):
            before, after = _ethanol(record["inputs"]), _ethanol(record["outputs"])
            lost = float(_total(record.get("losses", [])))
            assert -0.01 * before <= before - after <= lost + 0.01 * before, stage
            assert before - after < 0.7 * lost + 1, f"what is lost in {stage} is liquor, not pure alcohol"


def test_cases_and_pallets_hold_every_bottle_once() -> None:
    cased = _record("baijiu.cased")
    assert (cased["kde"]["cases"], cased["kde"]["bottles_per_case"]) == (7_000, 6)
    pallets = _records("baijiu.palletised")
    assert sum(pallet["kde"]["cases"] for pallet in pallets) == 7_000
    assert sum(_total(pallet["lots"]) for pallet in pallets) == 42_000
    codes = [
        code
        for pallet in pallets
        for code in range(int(pallet["kde"]["first_case_no"]), int(pallet["kde"]["last_case_no"]) + 1)
    ]
    assert codes == list(range(int(cased["kde"]["first_case_no"]), int(cased["kde"]["last_case_no"]) + 1))


def test_pallets_go_to_guangzhou_zhengzhou_and_the_own_store_and_are_sold() -> None:
    shipped = [record for record in _records("common.shipped") if record["lots"][0]["lot"] == BATCH]
    cases = {record["kde"]["destination"]: _total(record["lots"]) / 6 for record in shipped}
    assert cases == {"广东省广州市": 4_000, "河南省郑州市": 2_000, "贵州省遵义市": 1_000}
    inside = {pallet["parent"]: _total(pallet["lots"]) for pallet in _records("baijiu.palletised")}
    arrived = {record["by"]: record for record in _records("common.received")}
    for record in shipped:
        units = record["logistic_units"]
        assert sum(inside.pop(unit) for unit in units) == _total(record["lots"])
        assert arrived[record["receiver"]]["logistic_units"] == units
        assert record["time"] < arrived[record["receiver"]]["time"]
    assert not inside
    sellers = [record["by"] for record in _records("common.retailed")]
    assert sorted(sellers) == sorted(record["receiver"] for record in shipped)
    assert [record["kde"]["first_sale"] for record in _records("common.retailed")] == [True, False, False]


def test_the_licence_covers_every_day_of_production() -> None:
    periods = [(row["valid_from"], row["valid_until"]) for row in _read("credentials") if row["type"] == "licence"]
    for record in _read("records"):
        if record["by"] == DISTILLERY:
            assert any(first <= record["time"][:10] <= last for first, last in periods), record["time"]
