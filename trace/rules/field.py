"""What was done on a plot and what was taken from it: pre-harvest intervals, banned pesticides, yields.

Written once for all families; parameters say which family they hold for and under which name (`by_family.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from .facts import Deed, Facts, PlotSeason
from .limits import Limits, Row
from .rule import Finding, Severity
from .substances import in_chinese, substances_in
from .working_set import season_windows

YEAR_DAYS = 365
_NAMING = ("active", "active_en", "pesticide_name", "input_name", "product")
_TREATING = frozenset({"用药", "封园", "施药", "除草剂"})


def certain(row: Row, severity: Severity) -> Severity:
    """The severity of a finding that rests on a row: never more than info where the row is of certainty L."""
    return "info" if row.certainty == "L" else severity


def crop_of(family: str, deed: Deed, limits: Limits) -> str:
    """What a family grows, as bans and labels name it."""
    row = limits.row("crop", on=deed.day, family=family)
    return family if row is None else str(row["crop"])


def named_in(deed: Deed, limits: Limits) -> tuple[str, ...]:
    """The substances that a work on the field names."""
    return substances_in(" | ".join(str(deed.kde[name]) for name in _NAMING if deed.kde.get(name)), limits)


def is_treatment(deed: Deed) -> bool:
    """Whether a pesticide was used: the record says so, or names an active ingredient or an interval."""
    kde = deed.kde
    told = any(kde.get(name) for name in ("active", "active_en", "pesticide_name", "phi_days"))
    return deed.kind == "grow" and (told or kde.get("operation") in _TREATING)


def is_season_of(season: PlotSeason, deed: Deed, limits: Limits) -> bool:
    """Whether this is the season that tells of a deed: the shortest it lies in, so that nothing is told twice."""
    windows = season_windows(limits, season.family, deed.day)
    shortest = min(windows, key=lambda one: (one[2] - one[1], one[0]), default=None)
    return shortest is None or shortest[0] == season.season


def name_of(season: PlotSeason) -> str:
    """`spring` of `2026-spring`."""
    return season.season.partition("-")[2] or "year"


def harvested_kg(deed: Deed, plot: str, facts: Facts) -> Decimal:
    """What a harvest took from one of its plots: by area, where it names several."""
    total = sum((part.quantity for part in deed.outputs if part.quantity and part.uom == "KGM"), Decimal(0))
    if len(deed.plots) == 1:
        return total
    areas = {one: (found.area_mu if (found := facts.plot(one)) else Decimal(0)) for one in deed.plots}
    everything = sum(areas.values(), Decimal(0))
    return total * areas[plot] / everything if everything else total / len(deed.plots)


# ---------------------------------------------------------------- pre-harvest interval


@dataclass
class _Treatment:
    """One treatment with one substance, and the harvests that came too early after it."""

    deed: Deed
    substance: str
    interval: int | None
    early: list[Deed] = field(default_factory=list)
    unknown: list[Deed] = field(default_factory=list)


def preharvest(season: PlotSeason, facts: Facts, limits: Limits) -> Iterator[Finding]:
    """Harvest − last treatment ≥ interval on the label, and no more uses a season than it allows (T-PHI).

    The record states the label; where the parameter `label_use` asks for more, that counts. Lots harvested too early
    are quarantined with their descendants.
    """
    harvests = [deed for deed in season.harvests if is_season_of(season, deed, limits)]
    if not harvests:
        return
    treated = [deed for deed in facts.works_on(season.plot) if is_treatment(deed)]
    found: dict[tuple[int, str], _Treatment] = {}
    for harvest in harvests:
        for deed in treated:
            if deed.occurred > harvest.occurred:
                continue
            days = (harvest.day - deed.day).days
            for substance in named_in(deed, limits) or ("",):
                interval = _interval(deed, substance, season.family, limits)
                one = found.setdefault((deed.entry, substance), _Treatment(deed, substance, interval))
                if interval is None and days <= _longest(deed, limits):
                    one.unknown.append(harvest)
                elif interval is not None and days < interval:
                    one.early.append(harvest)
    for one in found.values():
        if one.early:
            yield _too_early(one, season, limits)
        if one.unknown:
            yield _interval_unknown(one, season, limits)
    yield from _too_often(season, treated, harvests, limits)


def _interval(deed: Deed, substance: str, family: str, limits: Limits) -> int | None:
    row = limits.row("label_use", on=deed.day, crop=crop_of(family, deed, limits), substance=substance)
    known = [] if row is None or "phi_days" not in row.values else [int(row["phi_days"])]
    if deed.kde.get("phi_days") is not None:
        known.append(int(deed.kde["phi_days"]))
    return max(known) if known else None


def _longest(deed: Deed, limits: Limits) -> int:
    row = limits.row("longest_interval", on=deed.day)
    return YEAR_DAYS if row is None else int(row["days"])


def _too_early(one: _Treatment, season: PlotSeason, limits: Limits) -> Finding:
    days = min((harvest.day - one.deed.day).days for harvest in one.early)
    zh_name = in_chinese(one.substance, limits) or "农药"
    first = min(harvest.day for harvest in one.early)
    return Finding(
        "flag",
        causes=[one.deed, *one.early],
        lots=_lots(one.early),
        plots=[season.plot],
        quarantines=True,
        key=f"{season.plot} {one.deed.entry} {one.substance}",
        figures={
            "substance": one.substance, "treated_on": one.deed.day.isoformat(), "harvested_on": first.isoformat(),
            "interval_days": days, "required_days": one.interval, "harvests": len(one.early),
        },
        zh=f"{one.deed.day} 施用{zh_name}，{first} 即采收，间隔 {days} 天，少于安全间隔期 {one.interval} 天。",
        en=f"Treated with {one.substance or 'a pesticide'} on {one.deed.day}, harvested on {first}: {days} days, "
        f"less than the interval of {one.interval}.",
        clears_zh="更正错填的日期或药剂；或监管部门抽检合格后决定解除；否则该批及其下游批次不得上市。",
        clears_en="A correction, where date or product was wrong; or a decision after an official test that passes.",
    )  # fmt: skip


def _interval_unknown(one: _Treatment, season: PlotSeason, limits: Limits) -> Finding:
    zh_name = in_chinese(one.substance, limits) or str(one.deed.kde.get("input_name") or "未写明的药剂")
    en_name = one.substance or str(one.deed.kde.get("active_en") or "a product that is not named")
    return Finding(
        "info",
        causes=[one.deed, one.unknown[0]],
        lots=_lots(one.unknown),
        plots=[season.plot],
        key=f"unknown {season.plot} {one.deed.entry} {one.substance}",
        figures={"substance": one.substance, "days": (one.unknown[0].day - one.deed.day).days},
        zh=f"{one.deed.day} 施用{zh_name}，记录没有写明安全间隔期，参数表也没有，无法判断。",
        en=f"{en_name} was used on {one.deed.day}; neither the record nor the parameters give its interval.",
        clears_zh="补记标签上的安全间隔期（更正该条农事记录）。",
        clears_en="The interval on the label, by a correction of the record.",
    )


def _too_often(season: PlotSeason, treated: Iterable[Deed], harvests: list[Deed], limits: Limits) -> Iterator[Finding]:
    uses: dict[str, list[Deed]] = {}
    for deed in treated:
        if season.first <= deed.day <= season.last and is_season_of(season, deed, limits):
            for substance in named_in(deed, limits):
                uses.setdefault(substance, []).append(deed)
    for substance, deeds in uses.items():
        crop = crop_of(season.family, deeds[-1], limits)
        row = limits.row("label_use", on=deeds[-1].day, crop=crop, substance=substance)
        allowed = [int(row["max_uses"])] if row is not None and "max_uses" in row.values else []
        allowed += [int(deed.kde["max_uses"]) for deed in deeds if deed.kde.get("max_uses") is not None]
        after = [harvest for harvest in harvests if harvest.occurred >= deeds[-1].occurred]
        if not allowed or len(deeds) <= min(allowed):
            continue
        most = min(allowed)
        yield Finding(
            "flag",
            causes=deeds,
            lots=_lots(after),
            plots=[season.plot],
            quarantines=True,
            key=f"uses {season.plot} {season.season} {substance}",
            figures={"substance": substance, "uses": len(deeds), "allowed_uses": most},
            zh=f"本季施用{in_chinese(substance, limits)} {len(deeds)} 次，标签最多 {most} 次。",
            en=f"{substance} was used {len(deeds)} times this season; the label allows {most}.",
            clears_zh="更正重复或错填的记录；或监管部门抽检合格后决定解除。",
            clears_en="A correction of what was entered twice; or a decision after an official test that passes.",
        )


def _lots(harvests: Iterable[Deed]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.lot for deed in harvests for part in deed.outputs))


# ---------------------------------------------------------------- banned


def banned(season: PlotSeason, facts: Facts, limits: Limits) -> Iterator[Finding]:
    """Nothing that is banned for the crop on the day it was used (T-BAN, C-BAN). What was harvested within a year after
    it is quarantined."""
    for deed in season.deeds:
        if deed.kind != "grow" or not is_season_of(season, deed, limits):
            continue
        crop = crop_of(season.family, deed, limits)
        for substance in named_in(deed, limits):
            row = limits.row("banned", on=deed.day, crop=crop, substance=substance)
            if row is None:
                continue
            after = [
                one
                for one in facts.works_on(season.plot)
                if one.kind == "create" and one.occurred >= deed.occurred and (one.day - deed.day).days <= YEAR_DAYS
            ]
            yield Finding(
                certain(row, "flag"),
                causes=[deed],
                lots=_lots(after),
                plots=[season.plot],
                quarantines=row.certainty != "L",
                key=f"{season.plot} {deed.entry} {substance}",
                figures={
                    "substance": substance, "used_on": deed.day.isoformat(), "banned_since": row.valid_from.isoformat(),
                    "crop": crop, "source": row.source, "certainty": row.certainty,
                },
                zh=f"{deed.day} 使用了禁用农药{in_chinese(substance, limits)}"
                f"（{row.valid_from} 起禁用），涉及其后采收的 {len(_lots(after))} 个批次。",
                en=f"{substance} was used on {deed.day}; it is banned since {row.valid_from}. "
                f"{len(_lots(after))} lots were harvested after it.",
                clears_zh="更正错填的药剂；否则由监管部门调查处理，涉及批次不得上市。",
                clears_en="A correction, where the product was wrong; else the authority investigates.",
            )  # fmt: skip


# ---------------------------------------------------------------- yields


def yields(season: PlotSeason, facts: Facts, limits: Limits) -> Iterator[Finding]:
    """What a mu gave against what a mu can give (T-YIELD, C-YIELD): fresh by season and plucking standard
    (`harvest_bound`), and the product made from it by year (`made_bound`)."""
    plot = facts.plot(season.plot)
    if plot is None or plot.area_mu <= 0 or not season.harvests:
        return
    for row in limits.rows("harvest_bound", on=season.first, family=season.family, season=name_of(season)):
        picks = row.get("pick_standard")
        harvests = [deed for deed in season.harvests if picks is None or deed.kde.get("pick_standard") in picks]
        bound = Decimal(row["kg_per_mu"]) * plot.area_mu
        taken = {deed.entry: harvested_kg(deed, season.plot, facts) for deed in harvests}
        if (total := sum(taken.values(), Decimal(0))) <= bound:
            continue
        causes: list[Deed] = []
        for deed in sorted(harvests, key=lambda one: (-taken[one.entry], one.entry)):
            causes.append(deed)
            if sum((taken[one.entry] for one in causes), Decimal(0)) > bound:
                break
        yield _beyond_yield(season, plot.area_mu, total, row, causes, "".join(picks or ()))
    if (season.last - season.first).days < YEAR_DAYS - 5:
        return
    for row in limits.rows("made_bound", on=season.first, family=season.family):
        made = sum((_made_from(deed, season.plot, row, facts) for deed in season.harvests), Decimal(0))
        if made > Decimal(row["kg_per_mu"]) * plot.area_mu:
            causes = sorted(season.harvests, key=lambda one: one.entry)
            yield _beyond_yield(season, plot.area_mu, made, row, causes, "made")


def _made_from(harvest: Deed, plot: str, row: Row, facts: Facts) -> Decimal:
    """Kilograms made at the stage of `row` out of what a harvest took from a plot, by share of mass."""
    total = sum((part.quantity or Decimal(0) for part in harvest.outputs), Decimal(0))
    if not total:
        return Decimal(0)
    share = harvested_kg(harvest, plot, facts) / total
    shares = {part.lot: share for part in harvest.outputs}
    made, seen = Decimal(0), set()
    while shares:
        lot, part_of_plot = next(iter(shares.items()))
        del shares[lot]
        for process in facts.uses(lot):
            if (lot, process.id) in seen:
                continue
            seen.add((lot, process.id))
            inputs = sum((part.quantity or Decimal(0) for part in process.inputs), Decimal(0))
            mine = sum((part.quantity or Decimal(0) for part in process.inputs if part.lot == lot), Decimal(0))
            came = part_of_plot * mine / inputs if inputs else Decimal(0)
            if any(row.fit({"stage": deed.stage.id}) is not None for deed in process.deeds):
                made += came * sum((part.quantity or Decimal(0) for part in process.outputs), Decimal(0))
                continue
            for part in process.outputs:
                shares[part.lot] = shares.get(part.lot, Decimal(0)) + came
    return made


def _beyond_yield(season: PlotSeason, area: Decimal, kg: Decimal, row: Row, causes: list[Deed], kind: str) -> Finding:
    per_mu = (kg / area).quantize(Decimal("0.1"))
    what_zh, what_en = ("成品", "of product") if kind == "made" else ("鲜品", "fresh")
    return Finding(
        certain(row, "flag"),
        causes=causes,
        lots=_lots(causes),
        plots=[season.plot],
        key=f"{season.plot} {season.season} {kind}",
        figures={
            "kg": kg.quantize(Decimal("0.001")), "area_mu": area, "kg_per_mu": per_mu,
            "bound_kg_per_mu": row["kg_per_mu"], "source": row.source,
        },
        zh=f"{season.season} 亩产{what_zh} {per_mu} 千克（{kg.normalize():f} ÷ {area} 亩），"
        f"上限 {row['kg_per_mu']} 千克。",
        en=f"{season.season}: {per_mu} kg {what_en} a mu ({kg.normalize():f} ÷ {area} mu), "
        f"bound {row['kg_per_mu']} kg.",
        clears_zh="更正错填的重量或地块（常见：把斤当作千克）；或主管部门现场核实后销号。",
        clears_en="A correction of weight or plot (often jin entered as kg); or a decision after a visit.",
    )  # fmt: skip
