"""The stage templates as data: every stage of the trades is there, says what it must, in both languages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import jsonschema_rs
import pytest

from suyuan.trace.divisions import division
from suyuan.trace.template import KeyDataElement, Label, Stage, load_templates

TEMPLATES = load_templates()
STAGES = list(TEMPLATES.stages.values())
# The business steps of CBV 2.0, section 7.1; `other` where it has no word (field work).
BIZ_STEPS = """
    accepting arriving assembling collecting commissioning consigning creating_class_instance cycle_counting
    decommissioning departing destroying disassembling dispensing encoding entering_exiting holding inspecting
    installing killing loading other packing picking receiving removing repackaging repairing replacing reserving
    retail_selling sampling sensor_reporting shipping staging_outbound stock_taking stocking storing transporting
    unloading unpacking void_shipping
"""
EXPECTED = {
    "tea": "farm_operation harvested leaf_sold received spread withered fixed rolled oxidised shaped dried refined "
    "blended packed_coded",
    "chili": "seedling transplanted farm_operation harvested sold graded dried destemmed cleaned traded processed "
    "packed",
    "common": "introduced conformity_certificate sampled tested stored aggregated cased unpacked items_activated "
    "items_voided shipped transported received returned reclaimed recovered disposed retailed",
}
PRIVATE = "unit_price supplier input_source operator sampler signatory recipe_no vehicle dose carrier contract_no"
MANDATORY = {
    "tea.harvested": {"tea_product", "cultivar", "pick_standard"},
    "tea.refined": {"tea_product", "grade"},
    "tea.packed_coded": {"tea_product", "grade", "net_content_g", "licence_no", "declared_standard"},
    "chili.seedling": {"variety", "seed_lot"},
    "chili.transplanted": {"variety", "transplant_date"},
    "chili.harvested": {"variety", "pick_no"},
    "chili.dried": {"fuel"},
    "common.stored": {"temp_mean_c", "rh_mean_percent"},
    "common.tested": {"report_no", "sampled_on", "issued_on", "standard", "conclusion", "results"},
    "common.conformity_certificate": {
        "product", "origin", "issued_on", "no_banned_substances", "residues_within_limits", "promise_basis",
    },
}  # fmt: skip


def _elements(elements: dict[str, KeyDataElement]) -> Iterator[tuple[str, KeyDataElement]]:
    for name, element in elements.items():
        yield name, element
        yield from _elements(dict(element.of))


def _all_elements(stage: Stage) -> Iterator[tuple[str, KeyDataElement]]:
    return chain(_elements(dict(stage.kde)), _elements(dict(stage.measures)))


def _ours() -> list[Stage]:
    return [stage for stage in STAGES if stage.family in EXPECTED]


@pytest.mark.parametrize("family", EXPECTED)
def test_every_stage_of_the_trade_is_there(family: str) -> None:
    expected = [f"{family}.{name}" for name in EXPECTED[family].split()]
    assert [stage.id for stage in STAGES if stage.family == family] == expected


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.id)
def test_every_schema_is_a_schema(stage: Stage) -> None:
    schema = json.loads(json.dumps(stage.record_schema))
    assert jsonschema_rs.meta.is_valid(schema)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.id)
def test_every_stage_speaks_chinese_and_english(stage: Stage) -> None:
    labels: list[Label] = [stage.label, stage.about, *(element.label for _, element in _all_elements(stage))]
    labels += list(stage.losses.reasons.values()) if stage.losses else []
    labels += [stage.document.label] if stage.document else []
    for label in labels:
        assert re.search(r"[\u4e00-\u9fff]", label.zh), label
        assert re.search(r"[A-Za-z]", label.en) and not re.search(r"[\u4e00-\u9fff]", label.en), label
    for _, element in _all_elements(stage):
        assert all(english for english in element.values.values())


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.id)
def test_business_steps_are_words_of_the_vocabulary(stage: Stage) -> None:
    assert stage.biz_step in BIZ_STEPS.split()


@pytest.mark.parametrize(("stage_id", "names"), MANDATORY.items())
def test_mandatory_elements_of_the_trade_are_mandatory(stage_id: str, names: set[str]) -> None:
    kde = TEMPLATES.stages[stage_id].kde
    assert names <= {name for name, element in kde.items() if element.mandatory}


def test_dried_goods_state_their_moisture() -> None:
    for stage_id in ("tea.dried", "chili.dried"):
        assert TEMPLATES.stages[stage_id].measures["moisture_percent"].mandatory


def test_prices_partners_and_persons_are_never_public() -> None:
    for stage in _ours():
        for name, element in stage.kde.items():
            if name in PRIVATE.split():
                assert element.visibility != "public", f"{stage.id} {name}"
        for party in (stage.sender, stage.receiver):
            assert party is None or party.visibility != "public"


def test_what_protects_the_shopper_is_public() -> None:
    for stage_id in ("tea.farm_operation", "chili.farm_operation"):
        kde = TEMPLATES.stages[stage_id].kde
        for name in ("input_name", "active", "phi_days", "use_no", "max_uses"):
            assert kde[name].visibility == "public"
    assert TEMPLATES.stages["common.tested"].kde["results"].visibility == "public"


def test_bounds_are_wide_enough_for_an_honest_failure() -> None:
    # A lot that fails a limit must be recorded, not refused: moisture beyond the standard, a hot store, damp air.
    for stage in _ours():
        for name, element in _all_elements(stage):
            if name.startswith(("moisture", "rh_")):
                assert (element.minimum, element.maximum) == (0, 100), f"{stage.id} {name}"
            if name.startswith("temp_") and element.maximum is not None:
                assert element.maximum >= 80, f"{stage.id} {name}"
    assert TEMPLATES.stages["common.tested"].kde["conclusion"].values == {"合格": "Pass", "不合格": "Fail"}


def test_every_place_of_the_samples_has_a_name_in_both_languages() -> None:
    samples = Path(__file__).resolve().parents[2] / "sample_batches"
    codes = {
        code
        for path in samples.glob("*/*.yaml")
        for code in re.findall(r'(?:place|county|division): "(\d{6}(?:\d{3})?)"', path.read_text(encoding="utf-8"))
    }
    assert codes
    for code in codes:
        assert division(code).zh != code and division(code).en != code, code


def test_a_township_is_named_after_its_county() -> None:
    assert division("520328101").zh == "遵义市湄潭县永兴镇"
    assert division("520302109").en == "Xiazi Town, Honghuagang District, Zunyi"
    assert division("999999").zh == "999999"
