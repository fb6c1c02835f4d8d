"""Sauce-aroma baijiu until it is in the jar: what grain gives, in which order, and what can be made in a year.

B-ALC, B-ORDER of a pit-year, and B-CAP (domain section 1C). The cellar's rules are in `cellar.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from itertools import pairwise

from ..alcohol import ethanol_kg, litres_at_65
from .facts import ActorYear, Deed, Facts, Part, Process
from .field import certain
from .limits import Limits
from .rule import Finding, rule

FEEDS = ("baijiu.feed_1", "baijiu.feed_2")
ROUND = "baijiu.round_distilled"
QU_USES = (*FEEDS, "baijiu.qu_added")
PIT_YEAR = (*QU_USES, ROUND, "baijiu.spent_grain_out")
LIQUOR = (
    "baijiu.base_jarred", "baijiu.merged", "baijiu.aged", "baijiu.blended", "baijiu.rested", "baijiu.filtered",
    "baijiu.bottled",
)  # fmt: skip
_TENTH = Decimal("0.1")
_HUNDREDTH = Decimal("0.01")


def kilograms(parts: Iterable[Part]) -> Decimal:
    """The sum of what is measured in kilograms."""
    return sum((part.quantity for part in parts if part.quantity is not None and part.uom == "KGM"), Decimal(0))


def is_qu(lot: str, facts: Facts) -> bool:
    """Whether a lot is qu: pressed here, or brought in under that name."""
    making = facts.lot(lot).making
    return any(deed.stage.id == "baijiu.qu_made" or "曲" in str(deed.kde.get("goods") or "") for deed in making)


def fed(process: Process, facts: Facts) -> tuple[Decimal, Decimal, list[Deed]]:
    """Sorghum and qu that a pit-year took, in kg, and the deeds that fed it."""
    sorghum, qu, deeds = Decimal(0), Decimal(0), []
    for deed in process.deeds:
        for part in deed.inputs:
            amount = kilograms([part])
            if is_qu(part.lot, facts):
                qu += amount
            else:
                sorghum += amount
                deeds.append(deed)
    return sorghum, qu, list(dict.fromkeys(deeds))


def distilled(process: Process) -> list[Deed]:
    """The rounds of a pit-year, by time."""
    return sorted((deed for deed in process.deeds if deed.stage.id == ROUND), key=lambda one: (one.occurred, one.entry))


# ---------------------------------------------------------------- B-ALC


@rule(
    "B-ALC",
    scope="process",
    zh="出酒与酒精平衡",
    en="What grain gives, and alcohol that was added",
    stages=(*PIT_YEAR, *LIQUOR),
    parameters=("distilling_yield", "round_strength", "label_strength"),
)
def alcohol(process: Process, facts: Facts, limits: Limits) -> Iterator[Finding]:
    """No more liquor than the grain can give, no round below its strength, the label's strength as measured, and no
    alcohol added to what is called sauce-aroma. (That ethanol in = out at each step of the cellar is G1.)"""
    rounds = distilled(process)
    if rounds:
        yield from _yield(process, rounds, facts, limits)
        for deed in rounds:
            yield from _round_strength(deed, limits)
    for deed in process.deeds:
        yield from _label_strength(deed, limits)
        yield from _added(deed)


def _yield(process: Process, rounds: Sequence[Deed], facts: Facts, limits: Limits) -> Iterator[Finding]:
    sorghum, qu, feeds = fed(process, facts)
    liquor = kilograms(part for deed in rounds for part in deed.outputs)
    row = limits.row("distilling_yield", on=rounds[-1].day, of="sorghum")
    if not liquor or row is None:
        return
    ratio = (sorghum / liquor).quantize(_HUNDREDTH)
    flag_below = Decimal(row["flag_below"])
    causes = [*feeds, *_smallest(rounds, sorghum / flag_below)]
    figures = {
        "sorghum_kg": sorghum, "qu_kg": qu, "liquor_kg": liquor, "sorghum_per_liquor": ratio,
        "least": row["least"], "most": row["most"], "flag_below": flag_below,
        "litres_at_65": _litres_at_65(rounds), "source": row.source,
    }  # fmt: skip
    lots = [part.lot for deed in rounds for part in deed.outputs]
    finished = any(deed.stage.id == "baijiu.spent_grain_out" or deed.kde.get("round_no") == 7 for deed in process.deeds)
    if ratio < flag_below:
        yield Finding(
            certain(row, "flag"),
            causes=causes,
            lots=lots,
            key="yield",
            figures=figures,
            zh=f"高粱 {sorghum:f} 千克出酒 {liquor:f} 千克，粮酒比 {ratio} : 1，低于 {flag_below} : 1："
            "疑似外加酒精或少报用粮。",
            en=f"{liquor:f} kg of liquor from {sorghum:f} kg of sorghum: {ratio} : 1, below {flag_below} : 1. "
            "Alcohol was added, or grain is hidden.",
            clears_zh="更正错填的投粮或产酒数量；或监管部门核查后决定。",
            clears_en="A correction of the grain fed or the liquor made; or a decision after an inspection.",
        )
    elif ratio < row["least"] or (finished and ratio > row["most"]):
        yield _unusual(causes, lots, "sorghum", ratio, row["least"], row["most"], figures)
    if finished and sorghum:
        yield from _other_ratios(process, sorghum, qu, liquor, lots, causes, facts, limits)


def _other_ratios(
    process: Process, sorghum: Decimal, qu: Decimal, liquor: Decimal, lots: Sequence[str], causes: Sequence[Deed],
    facts: Facts, limits: Limits,
) -> Iterator[Finding]:  # fmt: skip
    """Qu to sorghum, and all grain (with the wheat behind the qu) to liquor: info, a maker may have reasons."""
    wheat = sum((_wheat_behind(part, facts) for part in process.inputs if is_qu(part.lot, facts)), Decimal(0))
    ratios = {"qu": qu / sorghum, "grain": (sorghum + wheat) / liquor if wheat else None}
    for name, value in ratios.items():
        row = limits.row("distilling_yield", on=causes[-1].day, of=name)
        if row is None or value is None or row["least"] <= (ratio := value.quantize(_HUNDREDTH)) <= row["most"]:
            continue
        figures = {"sorghum_kg": sorghum, "qu_kg": qu, "wheat_kg": wheat.quantize(_TENTH), "liquor_kg": liquor}
        yield _unusual(causes, lots, name, ratio, row["least"], row["most"], figures)


def _unusual(
    causes: Sequence[Deed], lots: Sequence[str], of: str, ratio: Decimal, least: Decimal, most: Decimal,
    figures: Mapping[str, Decimal | str | int],
) -> Finding:  # fmt: skip
    zh = {"sorghum": "粮酒比", "qu": "曲粮比", "grain": "总粮（含制曲小麦）与酒之比"}[of]
    return Finding(
        "info",
        causes=causes,
        lots=lots,
        key=f"ratio {of}",
        figures={**figures, "ratio": ratio, "least": least, "most": most},
        zh=f"{zh} {ratio} : 1，不在 {least}–{most} 之间。",
        en=f"Ratio of {of}: {ratio} : 1, not between {least} and {most}.",
        clears_zh="更正错填的数量；确属工艺差异的无需处理。",
        clears_en="A correction of quantities; nothing, where it is the maker's way.",
    )


def _wheat_behind(part: Part, facts: Facts) -> Decimal:
    """The wheat that went into a portion of qu, kg."""
    for process in facts.makings(part.lot):
        made = kilograms(process.outputs)
        if made:
            return kilograms([part]) * kilograms(process.inputs) / made
    return Decimal(0)


def _smallest(rounds: Sequence[Deed], allowed: Decimal) -> list[Deed]:
    """The fewest rounds that together give more than is possible."""
    found: list[Deed] = []
    for deed in sorted(rounds, key=lambda one: (-kilograms(one.outputs), one.entry)):
        found.append(deed)
        if kilograms(part for one in found for part in one.outputs) > allowed:
            break
    return sorted(found, key=lambda one: one.entry)


def _litres_at_65(rounds: Iterable[Deed]) -> Decimal:
    known = [(part.quantity, part.measure("abv_percent")) for deed in rounds for part in deed.outputs]
    return sum((litres_at_65(kg, abv) for kg, abv in known if kg and abv), Decimal(0)).quantize(_TENTH)


def _round_strength(deed: Deed, limits: Limits) -> Iterator[Finding]:
    row = limits.row("round_strength", on=deed.day, round_no=deed.kde.get("round_no"))
    known = [(part, abv) for part in deed.outputs if (abv := part.measure("abv_percent")) is not None]
    mass = kilograms(part for part, _ in known)
    if row is None or "round_no" not in row.values or not mass:
        return
    mean = (sum((kilograms([part]) * abv for part, abv in known), Decimal(0)) / mass).quantize(_HUNDREDTH)
    if mean >= row["least_abv"]:
        return
    yield Finding(
        certain(row, "flag"),
        causes=[deed],
        lots=[part.lot for part, _ in known],
        key=f"strength {deed.entry}",
        figures={"round_no": deed.kde["round_no"], "abv_percent": mean, "least_abv": row["least_abv"]},
        zh=f"第 {deed.kde['round_no']} 轮次酒 {mean} %vol，低于该轮次最低 {row['least_abv']} %vol。",
        en=f"Round {deed.kde['round_no']} has {mean} % vol, below the least for that round, {row['least_abv']} % vol.",
        clears_zh="更正错填的酒度或轮次。",
        clears_en="A correction of strength or round.",
    )


def _label_strength(deed: Deed, limits: Limits) -> Iterator[Finding]:
    label = deed.kde.get("label_abv")
    row = limits.row("label_strength", on=deed.day)
    if label is None or row is None:
        return
    for part in deed.outputs:
        abv = part.measure("abv_percent")
        if part.uom == "H87" and abv is not None and abs(abv - Decimal(label)) > row["most_abv"]:
            yield Finding(
                certain(row, "flag"),
                causes=[deed],
                lots=[part.lot],
                key=f"label {part.lot}",
                figures={"abv_percent": abv, "label_abv": Decimal(label), "allowed_abv": row["most_abv"]},
                zh=f"实测 {abv} %vol，标签 {label} %vol，相差超过 ±{row['most_abv']}。",
                en=f"Measured {abv} % vol, on the label {label}: more than ±{row['most_abv']} apart.",
                clears_zh="更正错填的酒度；标签有误的按标签问题处理。",
                clears_en="A correction of the strength; a wrong label is for the authority.",
            )


def _added(deed: Deed) -> Iterator[Finding]:
    """Edible alcohol or flavouring in a blend, or chuansha: no sauce-aroma baijiu (GB/T 10781.4, GB/T 15109)."""
    told = [
        zh
        for name, zh in (("edible_alcohol_added", "食用酒精"), ("flavouring_added", "呈香呈味物质"))
        if deed.kde.get(name) is True
    ]
    if deed.kde.get("process_type") == "串沙":
        told.append("串沙工艺")
    if told:
        yield Finding(
            "flag",
            causes=[deed],
            lots=deed.made_or_named,
            key=f"added {deed.entry}",
            figures={"declared": told},
            zh=f"记录申明：{'、'.join(told)}，其产品不得称酱香型白酒。",
            en="Edible alcohol, flavouring or chuansha is declared: what is made of it is no sauce-aroma baijiu.",
            clears_zh="更正错填的申明；否则产品须改按相应标准标示。",
            clears_en="A correction of what was declared; else the product is labelled as what it is.",
        )


# ---------------------------------------------------------------- B-ORDER of a pit-year


@rule(
    "B-ORDER",
    scope="process",
    zh="曲龄、投料与轮次的先后",
    en="Age of the qu, and the order of feeds and rounds",
    stages=PIT_YEAR,
    parameters=("liquor_time",),
)
def pit_order(process: Process, facts: Facts, limits: Limits) -> Iterator[Finding]:
    """Qu rests 180 days before use; feeds come before rounds; in each pit rounds follow one another, each once."""
    for deed in process.deeds:
        if deed.stage.id in QU_USES:
            yield from _young_qu(deed, facts, limits)
    rounds = distilled(process)
    if not rounds:
        return
    feeds = [deed for deed in process.deeds if deed.stage.id in FEEDS]
    first = rounds[0]
    late = [deed for deed in feeds if deed.occurred > first.occurred]
    if not feeds or late:
        yield Finding(
            "flag",
            causes=[*late, first],
            lots=[part.lot for part in first.outputs],
            key="feeds",
            figures={"first_round_on": first.day.isoformat(), "feeds_before": len(feeds) - len(late)},
            zh=f"{first.day} 取酒时" + ("还没有投粮记录。" if not feeds else f"尚有投粮在其后（{late[0].day}）。"),
            en=f"Distilled on {first.day} "
            + ("though nothing was fed." if not feeds else f"though a feed came only on {late[0].day}."),
            clears_zh="补录或更正投粮记录。",
            clears_en="The missing record of the feed, or a correction of its date.",
        )
    yield from _rounds_in_order(rounds)


def _young_qu(deed: Deed, facts: Facts, limits: Limits) -> Iterator[Finding]:
    row = limits.row("liquor_time", on=deed.day, what="qu_days")
    if row is None:
        return
    for part in deed.inputs:
        making = [one for one in facts.lot(part.lot).making if one.stage.id == "baijiu.qu_made"]
        if not making:
            continue
        out = date.fromisoformat(str(making[-1].kde["out_of_room_on"]))
        days = (deed.day - max(out, making[-1].day)).days
        if days < row["least"]:
            yield Finding(
                certain(row, "flag"),
                causes=[making[-1], deed],
                lots=[part.lot],
                key=f"qu {deed.entry} {part.lot}",
                figures={"days": days, "least_days": row["least"], "used_on": deed.day.isoformat()},
                zh=f"{deed.day} 使用的大曲出房后只贮存了 {days} 天，要求至少 {row['least']} 天。",
                en=f"The qu used on {deed.day} had rested {days} days; at least {row['least']} are required.",
                clears_zh="更正错填的出房或用曲日期。",
                clears_en="A correction of the dates.",
            )


def _rounds_in_order(rounds: Sequence[Deed]) -> Iterator[Finding]:
    """In each pit, by the day it was opened, rounds strictly increase."""
    by_pit: dict[str, list[tuple[str, int, Deed]]] = {}
    for deed in rounds:
        for pit in deed.kde.get("pits") or ():
            opened = str(pit.get("open_at") or deed.day)
            by_pit.setdefault(str(pit["pit_id"]), []).append((opened, int(deed.kde["round_no"]), deed))
    wrong: dict[tuple[int, int], tuple[Deed, Deed, list[str]]] = {}
    for pit, opened_rounds in by_pit.items():
        ordered = sorted(opened_rounds, key=lambda one: (one[0], one[2].entry))
        for (_, before, earlier), (_, after, later) in pairwise(ordered):
            if after <= before:
                wrong.setdefault((earlier.entry, later.entry), (earlier, later, []))[2].append(pit)
    for earlier, later, pits in wrong.values():
        first, second = earlier.kde["round_no"], later.kde["round_no"]
        yield Finding(
            "flag",
            causes=[earlier, later],
            lots=[part.lot for part in later.outputs],
            key=f"rounds {earlier.entry} {later.entry}",
            figures={"round_before": first, "round_after": second, "pits": pits},
            zh=f"窖池 {'、'.join(pits)} 在第 {first} 轮次之后又取第 {second} 轮次酒，轮次必须逐次递增。",
            en=f"Pits {', '.join(pits)} gave round {second} after round {first}: rounds must follow one another.",
            clears_zh="更正错填的轮次、窖号或开窖日期。",
            clears_en="A correction of round, pit or date.",
        )


# ---------------------------------------------------------------- B-CAP


@rule(
    "B-CAP",
    scope="actor-year",
    zh="酒厂年产能",
    en="What a distillery can make in a year",
    stages=(ROUND,),
    parameters=("distilling_yield", "pit_capacity"),
)
def capacity(year: ActorYear, facts: Facts, limits: Limits) -> Iterator[Finding]:
    """A year's liquor ≤ sorghum of its pit-years / 2.2, and ≤ pits × capacity × rounds."""
    if not year.deeds:
        return
    processes = {found.id: found for deed in year.deeds if (found := facts.process_of(deed)) is not None}
    sorghum = sum((fed(process, facts)[0] for process in processes.values()), Decimal(0))
    liquor = kilograms(part for deed in year.deeds for part in deed.outputs)
    ethanol = sum(
        (ethanol_kg(part.quantity, abv) for deed in year.deeds for part in deed.outputs
         if part.quantity is not None and (abv := part.measure("abv_percent")) is not None),
        Decimal(0),
    ).quantize(_TENTH)  # fmt: skip
    row = limits.row("distilling_yield", on=year.deeds[-1].day, of="sorghum")
    figures = {
        "liquor_kg": liquor,
        "ethanol_kg": ethanol,
        "litres_at_65": _litres_at_65(year.deeds),
        "sorghum_kg": sorghum,
    }
    lots = [part.lot for deed in year.deeds for part in deed.outputs]
    if row is not None and liquor > sorghum / Decimal(row["least"]):
        yield Finding(
            certain(row, "flag"),
            causes=_smallest(year.deeds, sorghum / Decimal(row["least"])),
            lots=lots,
            key="sorghum",
            figures={**figures, "most_kg": (sorghum / Decimal(row["least"])).quantize(_TENTH)},
            zh=f"{year.year} 年产酒 {liquor:f} 千克，各窖年投高粱 {sorghum:f} 千克最多出酒 "
            f"{sorghum / Decimal(row['least']):.0f} 千克。",
            en=f"{liquor:f} kg of liquor in {year.year}; the {sorghum:f} kg of sorghum of its pit-years give at most "
            f"{sorghum / Decimal(row['least']):.0f} kg.",
            clears_zh="补录或更正投粮、产酒数量；或监管部门核查后决定。",
            clears_en="The missing feeds, a correction of quantities; or a decision after an inspection.",
        )
    room = limits.row("pit_capacity", on=year.deeds[-1].day)
    pits = {(str(pit["pit_id"]), deed.kde["round_no"]) for deed in year.deeds for pit in deed.kde.get("pits") or ()}
    if room is not None and pits and liquor > len(pits) * Decimal(room["kg_a_round"]):
        yield Finding(
            certain(room, "flag"),
            causes=_smallest(year.deeds, len(pits) * Decimal(room["kg_a_round"])),
            lots=lots,
            key="pits",
            figures={**figures, "pit_rounds": len(pits), "kg_a_pit_round": room["kg_a_round"], "source": room.source},
            zh=f"{year.year} 年 {len(pits)} 个窖次产酒 {liquor:f} 千克，超过每窖次 {room['kg_a_round']} 千克。",
            en=f"{liquor:f} kg of liquor from {len(pits)} pit-rounds in {year.year}: "
            f"more than {room['kg_a_round']} kg each.",
            clears_zh="更正错填的数量或窖号。",
            clears_en="A correction of quantities or pits.",
        )


RULES = (alcohol, pit_order, capacity)
