"""Records that are right by their template, drawn by hypothesis."""

from __future__ import annotations

import string
from datetime import date
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from suyuan.trace.record import References, normalise
from suyuan.trace.template import PACKING, KeyDataElement, LotSide, Stage
from trace_world import NAMES, actor_id

MAKER, OTHER = actor_id(1), actor_id(2)
_HAN = "茶椒酒遵义湄潭 " + string.ascii_letters


def _numbers(element: KeyDataElement) -> st.SearchStrategy[Any]:
    low = int(element.minimum) + 1 if element.minimum is not None else -1000
    high = int(element.maximum) - 1 if element.maximum is not None else low + 2000
    if high < low:
        low = high = int(element.minimum or 0)
    whole = st.integers(low, high)
    if element.type == "integer":
        return whole
    return whole | whole.map(lambda n: Decimal(n) if n in (low, high) else Decimal(n) - Decimal("0.25"))


def _dates() -> st.SearchStrategy[str]:
    return st.dates(min_value=date(1950, 1, 1)).map(str)


def values(element: KeyDataElement) -> st.SearchStrategy[Any]:
    match element.type:
        case "text":
            return st.text(_HAN, min_size=1, max_size=min(element.max_length, 12))
        case "integer" | "decimal":
            return _numbers(element)
        case "enum":
            return st.sampled_from(list(element.values))
        case "boolean":
            return st.booleans()
        case "date":
            return _dates()
        case "datetime":
            return _dates().map(lambda day: f"{day}T08:30:00+08:00")
        case _:
            return st.lists(elements(dict(element.of)), min_size=1, max_size=2)


@st.composite
def elements(draw: st.DrawFn, of: dict[str, KeyDataElement]) -> dict[str, Any]:
    chosen = [name for name, element in of.items() if element.mandatory or draw(st.booleans())]
    return {name: draw(values(of[name])) for name in chosen}


@st.composite
def lot_rows(draw: st.DrawFn, side: LotSide, stage: Stage, maker: str, first: int) -> list[dict[str, Any]]:
    count = draw(st.integers(max(side.minimum, 1), max(side.minimum, min(side.maximum, 2))))
    rows = []
    for number in range(first, first + count):
        lot = f"/01/09520001000010/10/L{number}" if side.under_gtin is True else f"/lot/{maker}/{number:016d}"
        row = {"lot": lot, **draw(elements(dict(stage.measures)))}
        if side.quantity != "none":
            uom = draw(st.sampled_from(side.uom))
            amount = st.integers(1, 10_000) if uom == "H87" else st.decimals(Decimal("0.001"), 10_000, places=3)
            row |= {"quantity": draw(amount), "uom": uom}
        rows.append(row)
    return rows


@st.composite
def records(draw: st.DrawFn, stage: Stage) -> dict[str, Any]:
    """A record as people write it, right by the template of `stage`."""
    raw: dict[str, Any] = {
        "stage": stage.id,
        "time": f"{draw(_dates())}T{draw(st.integers(0, 23)):02d}:15:00+08:00",
        "place": draw(st.sampled_from(["520328", "520328101"])),
        "kde": draw(elements(dict(stage.kde))),
    }
    for number, name in enumerate(("inputs", "outputs", "lots")):
        side: LotSide = getattr(stage, name)
        if side.maximum and (side.minimum or draw(st.booleans())):
            raw[name] = draw(lot_rows(side, stage, MAKER, 10 * number))
    if stage.kind == "transform" and not (raw.get("inputs") or raw.get("outputs")):
        raw["outputs"] = draw(lot_rows(stage.outputs, stage, MAKER, 10))
    if stage.plots.maximum and (stage.plots.minimum or draw(st.booleans())):
        raw["plots"] = [f"https://trace.example.cn/plot/{MAKER}/P{n}" for n in range(max(1, stage.plots.minimum))]
    if stage.kind in PACKING:
        raw["parent"] = "095200010000000010"
    unpacked = stage.kind in PACKING and "lots" not in raw
    if stage.logistic_units.minimum or unpacked or (stage.logistic_units.maximum and draw(st.booleans())):
        raw["logistic_units"] = ["095200010000000027"]
    if stage.process == "mandatory":
        raw["process"] = "pit-year-2020"
    for name, party in (("sender", stage.sender), ("receiver", stage.receiver)):
        if party is not None:
            raw[name] = OTHER
    if stage.document is not None:
        raw["document"] = "D-1"
    if stage.losses is not None and draw(st.booleans()):
        raw["losses"] = [{"reason": draw(st.sampled_from(list(stage.losses.reasons))), "quantity": 1, "uom": "KGM"}]
    return raw


def normal(raw: dict[str, Any], stage: Stage) -> dict[str, Any]:
    refer = References(lot=lambda label: None, plot=lambda plot: plot, new_lot=lambda: "", event_id=lambda: "urn:x:123")
    return normalise(raw, stage, MAKER, NAMES, refer)
