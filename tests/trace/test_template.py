"""Templates: faults in the YAML are named, and what a template says is what its schema enforces."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from record_strategies import MAKER, elements, normal, records
from suyuan.trace.record import REFUSED, validate
from suyuan.trace.template import KeyDataElement, Stage, load_templates, read_family
from trace_world import NAMES, TEMPLATES

STAGES = list(TEMPLATES.stages.values())
MINIMAL = """
family: demo
label: {zh: 演示, en: Demo}
stages:
  demo.made:
    label: {zh: 制成, en: Made}
    about: {zh: 制成, en: Made}
    kind: create
    biz_step: commissioning
    roles: [factory]
    phase: making
    outputs: {min: 1, max: 1}
    kde:
      grade: {label: {zh: 等级, en: Grade}, type: enum, values: {一级: Grade 1}}
"""


def test_every_stage_file_loads() -> None:
    assert set(load_templates().families) == {"tea", "chili", "baijiu", "eggs", "common"}


def test_a_minimal_family_is_read() -> None:
    stage = read_family(MINIMAL).stages["demo.made"]
    assert (stage.id, stage.family, stage.event_type, stage.action) == ("demo.made", "demo", "ObjectEvent", "ADD")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("stages", "demo.made", "roles"), ["wizard"], "wizard"),
        (("stages", "demo.made", "roles"), [], "no roles"),
        (("stages", "demo.made", "kind"), "conjure", "kind"),
        (("stages", "demo.made", "label"), {"zh": "制成"}, "en"),
        (("stages", "demo.made", "colour"), "red", "colour"),
        (("stages", "demo.made", "outputs"), {"min": 0, "max": 0}, "outputs"),
        (("stages", "demo.made", "outputs"), {"min": 1, "max": 1, "quantity": "optional"}, "how much"),
        (("stages", "demo.made", "outputs"), {"min": 1, "max": 1, "uom": ["LBR"]}, "uom"),
        (("stages", "demo.made", "inputs"), {"min": 1, "max": 1}, "inputs"),
        (("stages", "demo.made", "lots"), {"min": 1, "max": 1}, "lots"),
        (("stages", "demo.made", "plots"), {"min": -1, "max": 1}, "plots"),
        (("stages", "demo.made", "document"), {"label": {"zh": "单", "en": "No"}}, "document number"),
        (("stages", "demo.made", "kde", "grade", "values"), {}, "values"),
        (("stages", "demo.made", "kde", "grade", "type"), "text", "enum"),
        (("stages", "demo.made", "kde", "grade", "visibility"), "secret", "visibility"),
        (("stages", "demo.made", "kde", "lots"), {"label": {"zh": "a", "en": "a"}, "type": "text"}, "reserved"),
    ],
)
def test_a_fault_in_a_template_is_named(path: tuple[str, ...], value: Any, said: str) -> None:
    raw = yaml.safe_load(MINIMAL)
    place = raw
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(ValueError) as error:
        read_family(yaml.safe_dump(raw, allow_unicode=True))
    assert said in str(error.value)


def test_a_stage_of_another_family_is_named() -> None:
    with pytest.raises(ValueError, match=r"tea\.made does not belong to the family demo"):
        read_family(MINIMAL.replace("demo.made", "tea.made"))


# ---------------------------------------------------------------- the template and its schema agree


def test_a_transformation_takes_or_makes_something() -> None:
    # EPCIS 2.0 knows no TransformationEvent without inputs and outputs.
    stage = TEMPLATES.stages["chili.seedling"]
    raw = {
        "stage": stage.id, "time": "2026-03-18T08:00:00+08:00", "place": "520328101", "process": "2026",
        "kde": {"step": "播种", "variety": "遵辣系列", "seed_lot": "X-1", "sown_on": "2026-02-20"},
    }  # fmt: skip
    assert _faults(raw, stage) == _faults({**raw, "inputs": []}, stage) == [("mandatory-element", "/outputs")]


def test_pieces_are_whole() -> None:
    stage = TEMPLATES.stages["common.introduced"]
    raw = {
        "stage": stage.id, "time": "2026-03-18T08:00:00+08:00", "place": "520328101",
        "lot": f"/lot/{MAKER}/0000000000000001", "quantity": Decimal("1.5"), "uom": "件",
        "kde": {"goods": "穴盘", "source_kind": "外购", "origin": "遵义"},
    }  # fmt: skip
    assert _faults(raw, stage) == [("quantity-whole", "/outputs/0/quantity")]


def _faults(raw: dict[str, Any], stage: Stage) -> list[tuple[str, str]]:
    return [(fault.rule, fault.field) for fault in validate(normal(raw, stage), stage, NAMES)]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.id)
@settings(max_examples=40)
@given(data=st.data())
def test_a_record_right_by_its_template_is_valid(stage: Stage, data: st.DataObject) -> None:
    assert _faults(data.draw(records(stage)), stage) == []


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.id)
@settings(max_examples=40)
@given(data=st.data())
def test_any_one_violation_is_refused_naming_field_and_rule(stage: Stage, data: st.DataObject) -> None:
    raw = data.draw(records(stage))
    broken, rule, field = data.draw(violations(raw, stage))
    assert (rule, field) in _faults(broken, stage)


@st.composite
def violations(draw: st.DrawFn, raw: dict[str, Any], stage: Stage) -> tuple[dict[str, Any], str, str]:
    """The record with one thing wrong, and the rule and field that must be named."""
    broken = copy.deepcopy(raw)
    kinds = ["element", "unknown", "missing", "unit", "quantity", "time", "place"]
    kind = draw(st.sampled_from(kinds))
    sides = [name for name in ("inputs", "outputs", "lots") if broken.get(name)]
    if kind in ("unit", "quantity"):
        sides = [name for name in sides if getattr(stage, name).quantity != "none"]
        assume(sides)
        side = draw(st.sampled_from(sides))
        if kind == "unit":
            broken[side][0]["uom"] = "LBR"
            return broken, "unit-unknown", f"/{side}/0/uom"
        broken[side][0]["quantity"] = draw(st.sampled_from([0, -1, Decimal("-0.5"), 2_000_000_000]))
        for measure in REFUSED:  # nothing may be taken in where something is refused
            broken[side][0].pop(measure, None)
        return broken, "value-range", f"/{side}/0/quantity"
    if kind == "unknown":
        place, where = draw(st.sampled_from([(broken, ""), (broken["kde"], "/kde")]))
        place["no_such_field"] = 1
        return broken, "unknown-element", f"{where}/no_such_field"
    if kind == "missing":
        gone = draw(
            st.sampled_from(
                [("time",), ("place",), *(("kde", n) for n, e in stage.kde.items() if e.mandatory)]
                + [(name,) for name in sides if getattr(stage, name).minimum]
            )
        )
        holder = broken if len(gone) == 1 else broken["kde"]
        del holder[gone[-1]]
        return broken, "mandatory-element", "/" + "/".join(gone)
    if kind == "time":
        broken["time"] = draw(
            st.sampled_from(
                [
                    "2026-02-30T08:00:00+08:00", "2026-03-01T08:00:00", "2026-03-01T25:00:00+08:00",
                    "2026-03-01T00:00:00Z", "2026-03-01T08:00:60+08:00", "2026-03-01T08:00:00+15:00",
                    "1776-07-04T08:00:00+08:00",
                ]
            )
        )  # fmt: skip
        return broken, "value-format", "/time"
    if kind == "place":
        broken["place"] = draw(st.sampled_from(["5203", "52032810", "湄潭", "5203281011"]))
        return broken, "value-format", "/place"
    broken["kde"], rule, field = draw(_broken_element(broken["kde"], dict(stage.kde)))
    return broken, rule, "/kde" + field


@st.composite
def _broken_element(
    draw: st.DrawFn, given_values: dict[str, Any], of: dict[str, KeyDataElement]
) -> tuple[dict[str, Any], str, str]:
    assume(of)
    name = draw(st.sampled_from(list(of)))
    element = of[name]
    rule = "value-type"
    value: Any = {"an": "object"}
    match element.type:
        case "integer" | "decimal" if element.maximum is not None and draw(st.booleans()):
            rule = "value-range"
            value = int(element.maximum) + 1 if element.type == "integer" else _beyond(element.maximum, 1)
        case "integer" | "decimal" if element.minimum is not None and draw(st.booleans()):
            rule = "value-range"
            value = int(element.minimum) - 1 if element.type == "integer" else _beyond(element.minimum, -1)
        case "enum":
            value, rule = draw(st.sampled_from(["没有这一项", "", "Grade 1"])), "value-enum"
            assume(value not in element.values)
        case "text":
            value, rule = draw(
                st.sampled_from([("", "value-length"), ("x" * (element.max_length + 1), "value-length"),
                                 ("a\x07b", "value-format"), (5, "value-type")])
            )  # fmt: skip
        case "date":
            value, rule = draw(st.sampled_from(["2026-02-30", "2026-1-1", "昨天"])), "value-format"
        case "datetime":
            value, rule = draw(st.sampled_from(["2026-02-30T08:00:00+08:00", "2026-03-01"])), "value-format"
        case "list":
            if draw(st.booleans()):
                row, rule, field = draw(_broken_element(draw(elements(dict(element.of))), dict(element.of)))
                return {**given_values, name: [row]}, rule, f"/{name}/0{field}"
            value, rule = draw(st.sampled_from([([], "value-length"), (["row"], "value-type"), ("row", "value-type")]))
            if value == ["row"]:
                return {**given_values, name: value}, rule, f"/{name}/0"
        case _:
            pass
    return {**given_values, name: value}, rule, f"/{name}"


def _beyond(bound: float, sign: int) -> Decimal:
    return Decimal(str(bound)) + sign * Decimal("0.001")


def test_what_a_bound_says_is_within() -> None:
    stage = TEMPLATES.stages["tea.harvested"]
    measure = stage.measures["moisture_percent"]
    assert (measure.minimum, measure.maximum) == (0, 100)
    for moisture in (0, 100, Decimal("99.999")):
        raw = {
            "stage": stage.id, "time": "2026-03-18T08:00:00+08:00", "place": "520328101",
            "plots": [NAMES.plot(MAKER, "P1")],
            "lot": f"/lot/{MAKER}/0000000000000001", "quantity": 1, "uom": "KGM", "moisture_percent": moisture,
            "kde": {"tea_product": "湄潭翠芽", "cultivar": "黔湄601", "pick_standard": "独芽"},
        }  # fmt: skip
        assert _faults(raw, stage) == []
