"""Sauce-aroma baijiu from the jar to the bottle: age that is claimed, what jars lose, how long they rested, where from.

B-AGE, B-LEDGER, B-ORDER of a bottle, and B-ORIGIN (domain section 1C).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from ..alcohol import litres
from .baijiu import FEEDS, ROUND, kilograms
from .facts import Deed, Facts, Lot, Process
from .field import certain
from .limits import Limits
from .origin import claimed_areas, inside
from .rule import Finding, rule

JARRED, BLENDED, BOTTLED, INTRODUCED = "baijiu.base_jarred", "baijiu.blended", "baijiu.bottled", "common.introduced"
KEPT = ("baijiu.merged", "baijiu.aged", "baijiu.blended", "baijiu.rested")
DAYS_A_YEAR = Decimal("365.25")
_HUNDREDTH = Decimal("0.01")


def years_between(first: date, last: date) -> Decimal:
    """Years, to two places."""
    return (Decimal((last - first).days) / DAYS_A_YEAR).quantize(_HUNDREDTH)


@dataclass(frozen=True)
class Youngest:
    """The day from which a liquor's age counts, by its youngest part, and the deed that says so."""

    since: date
    deed: Deed


def youngest(lot: str, facts: Facts) -> Youngest | None:
    """The youngest liquor in a lot by the records of its jars, never by what a merged lot's own record states.

    A jar counts from the day it was filled, and never from before its liquor was distilled; stock brought in, from the
    day its papers state. None where no jar and no papers are known.
    """
    return _youngest(lot, facts, {})


def _youngest(lot: str, facts: Facts, known: dict[str, Youngest | None]) -> Youngest | None:
    if lot in known:
        return known[lot]
    known[lot] = None
    found: list[Youngest] = []
    making = facts.lot(lot).making
    deed = making[-1] if making else None
    if deed is not None and deed.stage.id == INTRODUCED:
        stated = deed.kde.get("made_on")
        if stated and any(part.measure("abv_percent") is not None for part in deed.outputs if part.lot == lot):
            found.append(Youngest(date.fromisoformat(stated), deed))
    elif deed is not None and deed.stage.id == JARRED:
        found.append(_jarred(deed, facts))
    elif deed is not None:
        below = (_youngest(part.lot, facts, known) for process in facts.makings(lot) for part in process.inputs)
        found = [one for one in below if one is not None]
    known[lot] = max(found, key=lambda one: (one.since, one.deed.entry)) if found else None
    return known[lot]


def _jarred(deed: Deed, facts: Facts) -> Youngest:
    """A jar's age counts from the stated day, or from when its youngest liquor was distilled where that is later."""
    latest = Youngest(date.fromisoformat(str(deed.kde["stored_since"])), deed)
    for part in deed.inputs:
        for making in facts.lot(part.lot).making:
            if making.stage.id == ROUND and making.day > latest.since:
                latest = Youngest(making.day, making)
    return latest


def claimed_years(product: Mapping[str, Any]) -> Decimal | None:
    """The age in years that a product claims: `claimed_age_years` of its registration, or 十五年, 15 年 in its name."""
    stated = product.get("claimed_age_years")
    if stated is not None:
        return Decimal(str(stated))
    name = str(product["name"]["zh"])
    found = [int(one) for one in re.findall(r"(?<!\d)(\d{1,2})\s*年", name)]
    found += [_number(one) for one in re.findall(r"([一二三四五六七八九十]{1,3})\s*年", name)]
    return Decimal(max(found)) if found else None


def _number(text: str) -> int:
    """A Chinese numeral below one hundred: 十五 is 15."""
    tens, ten, ones = text.rpartition("十")
    digit = {character: value for value, character in enumerate("零一二三四五六七八九")}
    return (digit.get(tens, 1) * 10 if ten else 0) + digit.get(ones[-1:], 0)


# ---------------------------------------------------------------- B-AGE


@rule(
    "B-AGE",
    scope="lot",
    zh="酒龄声称",
    en="Claimed age",
    stages=("baijiu.*",),
    credentials=("product",),
    follows=True,
)
def age(lot: Lot, facts: Facts, limits: Limits) -> Iterator[Finding]:
    """The age on the label is at most that of the youngest part on the day it was blended; and no lot is stated to be
    older than its jars."""
    deed = lot.making[-1] if lot.making else None
    if deed is None or deed.kind != "transform":
        return
    if deed.stage.id in KEPT:
        yield from _stated_too_old(lot, deed, facts)
    if deed.stage.id != BOTTLED or lot.gtin is None:
        return
    product = facts.product(lot.gtin, deed.actor)
    claimed = None if product is None else claimed_years(product.details)
    if claimed is None:
        return
    part = youngest(lot.subject, facts)
    blend = _blend_of(lot.subject, facts)
    day = (blend or deed).day
    real = None if part is None else years_between(part.since, day)
    if real is not None and claimed <= real:
        return
    shown = "无从证明" if real is None else f"{real} 年"
    yield Finding(
        "flag",
        causes=_in_order([deed, *([part.deed] if part is not None else []), *([blend] if blend is not None else [])]),
        lots=[lot.subject],
        key=f"claim {lot.subject}",
        figures={
            "claimed_years": claimed, "minimum_years": real,
            "youngest_since": None if part is None else part.since.isoformat(), "blended_on": day.isoformat(),
        },
        zh=f"标签声称 {claimed} 年，最年轻的基酒只有 {shown}（勾调日 {day}）。",
        en=f"The label claims {claimed} years; the youngest part "
        + ("has no record of its age." if real is None else f"had {real} years when it was blended on {day}."),
        clears_zh="更正产品登记的酒龄，或补全基酒入坛记录。",
        clears_en="A correction of the product's claim, or the missing records of the jars.",
    )  # fmt: skip


def _stated_too_old(lot: Lot, deed: Deed, facts: Facts) -> Iterator[Finding]:
    stated = [str(deed.kde["stored_since"])] if deed.kde.get("stored_since") else []
    stated += [str(one["stored_since"]) for one in deed.kde.get("components") or () if one.get("stored_since")]
    part = youngest(lot.subject, facts)
    if not stated or part is None:
        return
    book = max(date.fromisoformat(one) for one in stated)
    if book >= part.since:
        return
    yield Finding(
        "flag",
        causes=_in_order([part.deed, deed]),
        lots=[lot.subject],
        key=f"book {lot.subject}",
        figures={"stated_since": book.isoformat(), "youngest_since": part.since.isoformat()},
        zh=f"记录称最晚入坛于 {book}，而其中最年轻的一坛入坛于 {part.since}。",
        en=f"Its record says the youngest was stored since {book}; its youngest jar was filled on {part.since}.",
        clears_zh="更正入坛日期。",
        clears_en="A correction of the date.",
    )


def _blend_of(lot: str, facts: Facts) -> Deed | None:
    """The last blending behind a lot."""
    for one in (lot, *facts.ancestors(lot)):
        for deed in facts.lot(one).making:
            if deed.stage.id == BLENDED:
                return deed
    return None


def _in_order(deeds: Iterable[Deed]) -> list[Deed]:
    return [deed for _, deed in sorted({deed.entry: deed for deed in deeds}.items())]


# ---------------------------------------------------------------- B-LEDGER


@rule(
    "B-LEDGER",
    scope="process",
    zh="坛账：挥发与存量",
    en="The jar ledger: evaporation and what is left",
    stages=(JARRED, *KEPT),
    parameters=("evaporation",),
)
def jar_ledger(process: Process, facts: Facts, limits: Limits) -> Iterator[Finding]:
    """What was jarred − evaporation = what is taken out: ≤ 4 % a year evaporates, never nothing in years; a jar
    holds no more than its volume. (That no more is taken than a lot holds is G2, and refused.)"""
    last = process.deeds[-1]
    for deed in process.deeds:
        if deed.stage.id == JARRED:
            yield from _overfull(deed)
    row = limits.row("evaporation", on=last.day)
    taken = kilograms(process.inputs)
    if row is None or last.stage.id == JARRED or not taken:
        return
    waited, since = Decimal(0), []
    for part in process.inputs:
        making = facts.lot(part.lot).making
        if not making or making[-1].stage.id == INTRODUCED:
            return  # stock entered at the weight of a stock-take: how long that was ago is not known
        waited += kilograms([part]) * max(Decimal((last.day - making[-1].day).days), Decimal(0))
        since.append(making[-1])
    years = waited / taken / DAYS_A_YEAR
    lost = taken - kilograms(process.outputs)
    moved = sum((loss.quantity for loss in process.losses if loss.reason in ("transfer", "sample")), Decimal(0))
    evaporated = 100 * (lost - moved) / taken
    a_year = evaporated / years if years else None
    figures = {
        "jarred_kg": taken, "left_kg": kilograms(process.outputs),
        "evaporated_percent": evaporated.quantize(_HUNDREDTH),
        "years": years.quantize(_HUNDREDTH), "percent_a_year": None if a_year is None else a_year.quantize(_HUNDREDTH),
        "most_percent_a_year": row["most_percent_a_year"], "source": row.source,
    }  # fmt: skip
    lots = [part.lot for part in process.outputs]
    oldest = min(since, key=lambda one: (one.day, one.entry))
    most = Decimal(row["most_percent_a_year"])
    if years >= row["some_after_years"] and evaporated <= 0:
        yield Finding(
            certain(row, "flag"),
            causes=_in_order([oldest, *process.deeds]),
            lots=lots,
            key="none",
            figures=figures,
            zh=f"贮存 {years:.1f} 年，{taken:f} 千克一两未少。陶坛贮存必有挥发，账面不合常理。",
            en=f"Not a gram of {taken:f} kg was lost in {years:.1f} years: liquor in pottery evaporates.",
            clears_zh="按盘点实数更正；或监管部门盘点后决定。",
            clears_en="A correction by a stock-take; or a decision after an inspection.",
        )
    elif evaporated > most * max(years, Decimal(1) / 4) + 1:
        yield Finding(
            certain(row, "flag"),
            causes=_in_order([oldest, *process.deeds]),
            lots=lots,
            key="much",
            figures=figures,
            zh=f"贮存 {years:.1f} 年少了 {evaporated:.1f} %，超过每年 {most} %：疑似未入账的转出。",
            en=f"{evaporated:.1f} % was lost in {years:.1f} years, more than {most} % a year: liquor may have left "
            "off the books.",
            clears_zh="补录转出，或按盘点实数更正；或监管部门盘点后决定。",
            clears_en="The missing records, a correction by a stock-take; or a decision after an inspection.",
        )


def _overfull(deed: Deed) -> Iterator[Finding]:
    volume = deed.kde.get("jar_capacity_l")
    for part in deed.outputs:
        abv = part.measure("abv_percent")
        if volume is None or abv is None or part.quantity is None:
            continue
        filled = litres(part.quantity, abv)
        if filled > Decimal(volume):
            yield Finding(
                "flag",
                causes=[deed],
                lots=[part.lot],
                key=f"full {deed.entry}",
                figures={"filled_l": filled.quantize(Decimal("0.1")), "jar_capacity_l": Decimal(volume)},
                zh=f"坛 {deed.kde.get('jar_id')} 容积 {volume} 升，记录装入 {filled:.0f} 升。",
                en=f"Jar {deed.kde.get('jar_id')} holds {volume} L; {filled:.0f} L are recorded in it.",
                clears_zh="更正错填的质量、酒度或容积。",
                clears_en="A correction of mass, strength or volume.",
            )


# ---------------------------------------------------------------- B-ORDER of a bottle


@rule(
    "B-ORDER",
    scope="lot",
    zh="贮存年限与投粮到装瓶的时间",
    en="Years in the jar, and from feed to bottle",
    stages=(BLENDED, BOTTLED),
    parameters=("liquor_time",),
    follows=True,
)
def bottle_order(lot: Lot, facts: Facts, limits: Limits) -> Iterator[Finding]:
    """Whole-grain liquor rests three years in the jar before it is blended, and no bottle comes before the fourth year
    after its feed. Other processes are quicker, and are not held to it."""
    deed = lot.making[-1] if lot.making else None
    if deed is None or deed.stage.id not in (BLENDED, BOTTLED):
        return
    feeds = [
        one for name in facts.ancestors(lot.subject) for made in facts.makings(name) for one in made.deeds
        if one.stage.id in FEEDS
    ]  # fmt: skip
    kinds = {str(one.kde["process_type"]) for one in feeds if one.kde.get("process_type")}
    process_type = kinds.pop() if len(kinds) == 1 else ""
    if deed.stage.id == BLENDED:
        row = limits.row("liquor_time", on=deed.day, what="jar_years", process_type=process_type)
        part = youngest(lot.subject, facts)
        if row is not None and part is not None and (years := years_between(part.since, deed.day)) < row["least"]:
            yield _too_soon(lot, [part.deed, deed], years, row["least"], "jar", certain(row, "flag"))
        return
    row = limits.row("liquor_time", on=deed.day, what="feed_to_bottle_years", process_type=process_type)
    if row is not None and feeds:
        latest = max(feeds, key=lambda one: (one.day, one.entry))
        if (years := years_between(latest.day, deed.day)) < row["least"]:
            yield _too_soon(lot, [latest, deed], years, row["least"], "bottle", certain(row, "flag"))


def _too_soon(
    lot: Lot, causes: Sequence[Deed], years: Decimal, least: Decimal | int, what: str, severity: Any
) -> Finding:
    zh = "最年轻的基酒入坛" if what == "jar" else "最后一次投粮"
    en = "its youngest jar was filled" if what == "jar" else "the last feed"
    then_zh, then_en = ("勾调", "blended") if what == "jar" else ("装瓶", "bottled")
    return Finding(
        severity,
        causes=_in_order(causes),
        lots=[lot.subject],
        key=f"{what} {lot.subject}",
        figures={"years": years, "least_years": least},
        zh=f"{zh}后 {years} 年即{then_zh}，大曲坤沙工艺至少 {least} 年。",
        en=f"It was {then_en} {years} years after {en}; whole-grain liquor takes at least {least}.",
        clears_zh="更正错填的日期或工艺。",
        clears_en="A correction of dates or process.",
    )


# ---------------------------------------------------------------- B-ORIGIN


@rule(
    "B-ORIGIN",
    scope="lot",
    zh="产区声称",
    en="Claimed production area",
    stages=(BOTTLED,),
    parameters=("origin_area",),
    credentials=("product", "production_area", "plot"),
    follows=True,
)
def liquor_origin(lot: Lot, facts: Facts, limits: Limits) -> Iterator[Finding]:
    """Who claims a production area, by the product's name or an area certificate, has sorghum from its plots and stills
    in it; stock brought in rests on papers, which is told."""
    deed = lot.making[-1] if lot.making else None
    if deed is None or deed.stage.id != BOTTLED or lot.gtin is None:
        return
    certificates = facts.credentials(deed.actor, "production_area", on=deed.day)
    said = " ".join(str(one.details["name"]["zh"]) for one in certificates)
    behind = (lot.subject, *facts.ancestors(lot.subject))
    for of in ("sorghum", "distilling"):
        rows = claimed_areas(deed, lot.subject, "baijiu", facts, limits, of)
        rows += [
            row
            for row in limits.rows("origin_area", on=deed.day, family="baijiu")
            if row.get("of") == of and row not in rows and any(claim in said for claim in row["claim"])
        ]
        for row in rows:
            if of == "sorghum":
                plots = [facts.plot(one) for one in facts.plots_under(lot.subject)]
                outside = [one.subject for one in plots if one is not None and not inside(one.division, row)]
                wrong = [one for name in behind for one in facts.lot(name).making if set(one.plots) & set(outside)]
            else:
                wrong = [
                    one for name in behind for one in facts.lot(name).making
                    if one.stage.id == ROUND and not inside(str(one.record.get("place") or ""), row)
                ]  # fmt: skip
            if not wrong:
                continue
            what_zh, what_en = ("高粱", "sorghum") if of == "sorghum" else ("基酒", "base liquor")
            yield Finding(
                certain(row, "flag"),
                causes=_in_order([*wrong, deed]),
                lots=[lot.subject],
                key=f"{of} {row['claim'][0]}",
                figures={"claim": row["claim"][0], "outside": len(wrong), "area": row["zh"], "source": row.source},
                zh=f"声称{row['claim'][0]}产区，而有 {len(wrong)} 条{what_zh}记录在{row['zh']}之外。",
                en=f"The area {row['claim'][0]} is claimed; {len(wrong)} records of {what_en} are outside {row['en']}.",
                clears_zh="更正地块或产地记录，或不再声称该产区。",
                clears_en="A correction of plots or places, or no such claim.",
            )


RULES = (age, jar_ledger, bottle_order, liquor_origin)
