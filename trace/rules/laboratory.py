"""What was measured against what is allowed: laboratory reports, moisture, and standards in force.

Written once for all families; parameters say which family they hold for and under which name (`by_family.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from .facts import Deed, Facts
from .field import certain
from .limits import Limits, Row
from .rule import Finding
from .substances import converted, measured, substances_in

TESTED = "common.tested"
FAILED = "不合格"


def family_of(lot: str, facts: Facts) -> str | None:
    """The family of a lot: of the stage that made it, or (for one brought in) of the first that used it."""
    found = facts.lot(lot)
    for deed in (*found.making, *(deed for use in facts.uses(lot) for deed in use.deeds), *found.deeds):
        if deed.family != "common":
            return deed.family
    return None


# ---------------------------------------------------------------- laboratory reports


@dataclass(frozen=True)
class _Item:
    """One result of a report held against its limit."""

    zh: str
    en: str
    value: str
    unit: str
    row: Row | None
    beyond: bool
    known: bool
    """Whether there is a limit and the result can be compared with it."""

    @property
    def bound(self) -> str:
        """The limit as people write it."""
        if self.row is None:
            return "—"
        sign, bound = ("≤", self.row["most"]) if "most" in self.row.values else ("≥", self.row["least"])
        return f"{sign}{bound} {self.row['unit']}" if bound else "不得检出 not detected"


def limits_kept(deed: Deed, facts: Facts, limits: Limits, family: str) -> Iterator[Finding]:
    """Results of a report within the limits of its day, for what the lot is made of (T-MRL, C-MRL, `limit`); a lot
    beyond one is quarantined with its descendants, whatever the laboratory concludes."""
    if deed.stage.id != TESTED:
        return
    by_matrix: dict[str, tuple[Row | None, list[str]]] = {}
    for part in deed.lots:
        found = family_of(part.lot, facts)
        if found != family:
            continue
        making = facts.lot(part.lot).making
        stage = making[-1].stage.id if making else ""
        if stage.startswith("common.") and found is not None:
            stage = f"{found}."
        row = limits.row("matrix", on=deed.day, stage=stage)
        by_matrix.setdefault("" if row is None else row["matrix"], (row, []))[1].append(part.lot)
    for matrix, lots in by_matrix.values():
        items = [_compared(result, matrix, lots[0], deed, facts, limits) for result in _results(deed)]
        yield from _failing(deed, lots, matrix, items)
        yield from _unknown(deed, lots, matrix, items)


def _results(deed: Deed) -> tuple[Mapping[str, Any], ...]:
    return tuple(deed.kde.get("results") or ())


def _compared(
    result: Mapping[str, Any], matrix: Row | None, lot: str, deed: Deed, facts: Facts, limits: Limits
) -> _Item:
    name, name_en = str(result.get("item", "")), str(result.get("item_en", ""))
    value, unit = str(result.get("value", "")), str(result.get("unit") or "")
    named = substances_in(f"{name} | {name_en}", limits)
    rows = [
        row
        for substance in named
        if matrix is not None
        and (row := limits.row("limit", on=deed.day, matrix=matrix["matrix"], substance=substance)) is not None
    ]
    number = measured(value)
    if not rows or number is None:
        told = number is not None and number == (Decimal(0), False)  # not detected is within any limit
        told = told or ("moisture" in named and bool(limits.rows("moisture_bound", family=family_of(lot, facts))))
        return _Item(name, name_en, value, unit, rows[0] if rows else None, False, told)
    row = rows[0]
    amount = converted(number[0], unit or row["unit"], row["unit"])
    if amount is None:
        return _Item(name, name_en, value, unit, row, False, number[0] == 0)
    if row.get("at_pure_alcohol") and "100" not in name + name_en:
        made = facts.lot(lot).made
        strength = None if made is None else made.measure("abv_percent")
        amount = amount * 100 / strength if strength else amount
    if number[1]:  # only an upper bound: it tells something when it lies within the limit
        most = row.get("most")
        return _Item(name, name_en, value, unit, row, False, most is not None and (not most or amount <= most))
    beyond = ("most" in row.values and amount > row["most"]) or ("least" in row.values and amount < row["least"])
    return _Item(name, name_en, value, unit, row, beyond, True)


def _failing(deed: Deed, lots: list[str], matrix: Row | None, items: list[_Item]) -> Iterator[Finding]:
    beyond = [item for item in items if item.beyond]
    judged = [str(one["item"]) for one in _results(deed) if one.get("judgement") == FAILED]
    failed = deed.kde.get("conclusion") == FAILED
    if not beyond and (failed or not judged):
        return  # a report that concludes "fail" holds the lot by G9
    number = deed.kde.get("report_no", "")
    zh = [f"{item.zh} {item.value} {item.unit}（{item.bound}）" for item in beyond]
    en = [f"{item.en} {item.value} {item.unit} ({item.bound})" for item in beyond]
    zh_tail = "；".join(zh) + ("。" if zh else "")
    en_tail = "; ".join(en) + ("." if en else "")
    if judged or failed:
        zh_tail += "检验机构判定不合格" + (f"：{'、'.join(judged)}。" if judged else "。")
        en_tail += " The laboratory judged it failing."
    elif beyond:
        zh_tail += "检验机构判为合格，但超出当日限量。"
        en_tail += " The laboratory judged it passing, though it is beyond the limit of that day."
    sure = bool(judged or failed) or any(item.row is not None and item.row.certainty != "L" for item in beyond)
    yield Finding(
        "flag" if sure else "info",
        causes=[deed],
        lots=lots,
        quarantines=sure,
        key=f"failed {deed.entry} {matrix['matrix'] if matrix is not None else ''}",
        figures={
            "report_no": str(number),
            "beyond": [
                {"item": item.en, "value": item.value, "unit": item.unit, "limit": item.bound,
                 "standard": str(item.row.get("standard", "")) if item.row else ""}
                for item in beyond
            ],
            "judged_failing": judged,
        },
        zh=f"检验报告 {number}：{zh_tail}",
        en=f"Report {number}: {en_tail}",
        clears_zh="报告有误的，由检验机构更正；复检合格后由监管部门决定解除；否则不得上市。",
        clears_en="A correction by the laboratory; or a decision after a second test that passes.",
    )  # fmt: skip


def _unknown(deed: Deed, lots: list[str], matrix: Row | None, items: list[_Item]) -> Iterator[Finding]:
    unknown = [item for item in items if not item.known]
    if not unknown or matrix is None:
        return
    yield Finding(
        "info",
        causes=[deed],
        lots=lots,
        key=f"unknown {deed.entry} {matrix['matrix']}",
        figures={"items": [item.en for item in unknown], "matrix": matrix["matrix"]},
        zh=f"检验报告 {deed.kde.get('report_no', '')} 有 {len(unknown)} 项没有可对照的限量"
        f"（{matrix['zh']}）：{'、'.join(item.zh for item in unknown)}。",
        en=f"Report {deed.kde.get('report_no', '')}: no limit is known here for {len(unknown)} items "
        f"({matrix['matrix']}): {', '.join(item.en for item in unknown)}.",
        clears_zh="在参数表补上有出处的限量。",
        clears_en="A limit with its source in the parameters.",
    )


# ---------------------------------------------------------------- moisture


def moisture(deed: Deed, facts: Facts, limits: Limits, family: str) -> Iterator[Finding]:
    """Moisture within the bound of the stage, or of the standard that is declared (T-MOIST, C-MOIST)."""
    standard = str(deed.kde.get("declared_standard") or "")
    for lot, percent in _moistures(deed, facts, family, limits):
        row = limits.row("moisture_bound", on=deed.day, family=family, stage=deed.stage.id, standard=standard)
        if row is None:
            if standard and all("standard" in one.values for one in limits.rows("moisture_bound", family=family)):
                yield Finding(
                    "info",
                    causes=[deed],
                    lots=[lot],
                    key=f"unknown {deed.entry} {lot}",
                    figures={"moisture_percent": percent, "declared_standard": standard},
                    zh=f"水分 {percent} %，所声明的标准 {standard} 没有已知的水分上限。",
                    en=f"Moisture {percent} %: no bound is known for the declared standard {standard}.",
                    clears_zh="在参数表补上该标准的水分上限，或更正执行标准。",
                    clears_en="The bound of that standard in the parameters, or a correction of the standard.",
                )
            continue
        if percent <= row["most_percent"]:
            continue
        basis = f"（{standard}）" if standard and "standard" in row.values else ""
        yield Finding(
            certain(row, "flag"),
            causes=[deed],
            lots=[lot],
            key=f"{deed.entry} {lot}",
            figures={"moisture_percent": percent, "bound_percent": row["most_percent"], "source": row.source},
            zh=f"水分 {percent} %，上限 {row['most_percent']} %{basis}。",
            en=f"Moisture {percent} %, bound {row['most_percent']} %{f' ({standard})' if basis else ''}.",
            clears_zh="更正错填的水分或执行标准；或复烘后另立批次。",
            clears_en="A correction of moisture or standard; or drying again, as a lot of its own.",
        )


def _moistures(deed: Deed, facts: Facts, family: str, limits: Limits) -> Iterator[tuple[str, Decimal]]:
    """The lots that a deed makes or tests, with their moisture in percent."""
    if deed.stage.id == TESTED:
        for result in _results(deed):
            if "moisture" in substances_in(f"{result.get('item')} | {result.get('item_en')}", limits):
                number = measured(str(result.get("value", "")))
                if number is not None and str(result.get("unit") or "%").strip() == "%":
                    yield from ((part.lot, number[0]) for part in deed.lots if family_of(part.lot, facts) == family)
        return
    if deed.family != family:
        return
    known = [value for part in deed.inputs if (value := _known(part.lot, facts)) is not None]
    for part in deed.outputs:
        percent = part.measure("moisture_percent")
        if percent is None and deed.kde.get("declared_standard") and known:
            percent = max(known)  # packing dries nothing
        if percent is not None:
            yield part.lot, percent


def _known(lot: str, facts: Facts) -> Decimal | None:
    made = facts.lot(lot).made
    return None if made is None else made.measure("moisture_percent")


# ---------------------------------------------------------------- standards


def standard_in_force(deed: Deed, facts: Facts, limits: Limits, family: str) -> Iterator[Finding]:
    """The declared product standard is in force on the day of production (standards register, `standard`)."""
    declared = str(deed.kde.get("declared_standard") or "")
    if not declared or deed.family != family or not deed.outputs:
        return
    day = date.fromisoformat(str(deed.kde.get("production_date") or deed.kde.get("packed_on") or deed.day))
    rows = [row for row in limits.rows("standard", family=family) if _names(declared, row["standard"])]
    if any(row.holds_on(day) for row in rows):
        return
    if not rows:
        yield Finding(
            "info",
            causes=[deed],
            lots=deed.made_or_named,
            figures={"declared_standard": declared},
            zh=f"执行标准 {declared} 不在参数表内，无法判断是否有效。",
            en=f"The declared standard {declared} is not in the parameters: whether it is in force is not known.",
            clears_zh="在参数表补上该标准的施行与废止日期。",
            clears_en="The dates of that standard in the parameters.",
        )
        return
    row = rows[-1]
    ended = row.valid_to is not None and day > row.valid_to
    yield Finding(
        certain(row, "flag"),
        causes=[deed],
        lots=deed.made_or_named,
        figures={
            "declared_standard": declared, "production_date": day.isoformat(),
            "valid_from": row.valid_from.isoformat(), "valid_to": row.valid_to.isoformat() if row.valid_to else None,
        },
        zh=f"生产日期 {day} 的产品声明执行 {row['standard']}，该标准"
        + (f"已于 {row.valid_to} 后停止适用。" if ended else f"自 {row.valid_from} 起才施行。"),
        en=f"Made on {day} to {row['standard']}, which "
        + (f"held until {row.valid_to}." if ended else f"holds from {row.valid_from} only."),
        clears_zh="更正错填的标准或日期；标签有误的，由监管部门按标签问题处理。",
        clears_en="A correction of standard or date; a wrong label is for the authority.",
    )  # fmt: skip


def _names(declared: str, standard: str) -> bool:
    """Whether a text names a standard: its number, and its year where one is given."""
    number, _, year = standard.rpartition("-")
    text = declared.replace(" ", "").upper()
    found = re.search(re.escape(number.replace(" ", "").upper()) + r"(?!\d)(?:-(\d{4}))?", text)
    return found is not None and found[1] in (None, year)
