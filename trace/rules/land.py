"""Rules on plots: where they lie, and how much can grow on them (G6, G7)."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from ..balance import shown
from .facts import Deed, Facts, PlotSeason
from .limits import Limits, Row
from .rule import Finding, Severity, rule


@rule(
    "G6",
    scope="deed",
    stages=("*.harvested",),
    zh="采收地点与登记地块不符",
    en="Harvested outside the registered plot",
    parameters=("coarse_box",),
    credentials=("plot",),
)
def harvested_elsewhere(deed: Deed, facts: Facts, limits: Limits) -> Iterator[Finding]:
    """The place of the harvest is in the county of its plots, and the plots lie in the region (domain G6)."""
    box = limits.row("coarse_box", on=deed.day, stage=deed.stage.id)
    for subject in deed.plots:
        plot = facts.plot(subject)
        if plot is None:
            continue
        if deed.county and plot.division[:6] != deed.county:
            yield _elsewhere(
                deed, subject, {"place": deed.county, "plot_division": plot.division},
                f"采收地点在 {deed.county}，地块登记在 {plot.division[:6]}。",
                f"Harvested in {deed.county}, while the plot is registered in {plot.division[:6]}.",
                "county",
            )  # fmt: skip
        outside = [] if box is None else [corner for corner in plot.polygon if not _within(box, *corner)]
        if outside:
            x, y = outside[0]
            yield _elsewhere(
                deed, subject, {"longitude": x, "latitude": y, "corners_outside": len(outside)},
                f"地块有 {len(outside)} 个角点在产区范围之外（如 {x}°E，{y}°N）。",
                f"{len(outside)} corners of the plot are outside the region ({x}° E, {y}° N).",
                "box",
            )  # fmt: skip


def _within(box: Row, longitude: Decimal, latitude: Decimal) -> bool:
    west, east, south, north = (Decimal(box[name]) for name in ("west", "east", "south", "north"))
    return west <= longitude <= east and south <= latitude <= north


def _elsewhere(deed: Deed, plot: str, figures: dict[str, Decimal | int | str], zh: str, en: str, kind: str) -> Finding:
    return Finding(
        "flag",
        causes=[deed],
        lots=deed.made_or_named,
        plots=[plot],
        figures=dict(figures),
        zh=zh,
        en=en,
        clears_zh="更正采收地点或地块；主管部门更正地块登记，或核实后销号。",
        clears_en="A correction of place or plot; the plot's registration corrected, or a decision of the authority.",
        key=f"{kind} {plot}",
    )


@rule(
    "G7",
    scope="plot-season",
    stages=("*.harvested",),
    zh="采收量超过地块产能",
    en="More harvested than the plot can give",
    parameters=("season", "harvest_bound", "harvest_share"),
    credentials=("plot",),
)
def beyond_the_plot(season: PlotSeason, facts: Facts, limits: Limits) -> Iterator[Finding]:
    """The harvests of a season against area times bound (domain G7); one of several plots counts by their areas."""
    plot = facts.plot(season.plot)
    if plot is None:
        return
    name = season.season.partition("-")[2]
    bounds = limits.rows("harvest_bound", on=season.last, family=season.family, season=name)
    for bound in bounds:
        fitting = [(deed, _here(deed, season, facts)) for deed in season.harvests if _fits(bound, deed)]
        harvested = [one for one in fitting if one[1]]
        total = sum((kilograms for _, kilograms in harvested), Decimal(0))
        most = plot.area_mu * Decimal(bound["kg_per_mu"])
        share = total / most
        severity = _severity(share, bound, limits, season)
        if severity is None:
            continue
        causes: list[Deed] = []
        reached = Decimal(0)
        for deed, kilograms in sorted(harvested, key=lambda one: (-one[1], one[0].entry)):
            causes.append(deed)
            reached += kilograms
            if _severity(reached / most, bound, limits, season) == severity:
                break
        picks = bound.get("pick_standard")
        what = ("、".join(picks), f" ({', '.join(picks)})") if picks else ("", "")
        mu, percent = plot.area_mu, (100 * share).quantize(Decimal("0.1"))
        yield Finding(
            severity,
            causes=causes,
            lots=[lot for deed, _ in harvested for lot in deed.made_or_named],
            plots=[season.plot],
            figures={
                "harvested_kg": total,
                "area_mu": mu,
                "bound_kg_per_mu": bound["kg_per_mu"],
                "bound_kg": most,
                "harvested_kg_per_mu": (total / mu).quantize(Decimal("0.01")),
                "percent": percent,
                "season": season.season,
                "source": bound.source,
                "certainty": bound.certainty,
            },
            zh=f"{season.season} 季{what[0]}采收 {shown(total)} 千克，地块 {mu} 亩 × {bound['kg_per_mu']} 千克/亩 = "
            f"{shown(most)} 千克，已达 {percent} %。",
            en=f"{season.season}{what[1]}: {shown(total)} kg harvested, {mu} mu × {bound['kg_per_mu']} kg/mu = "
            f"{shown(most)} kg, {percent} % of it.",
            clears_zh="更正采收量或面积登记；或主管部门现场核实后销号。",
            clears_en="A correction of harvests or of the registered area; or a decision after an inspection.",
            key=f"{name} {picks} {severity}",
        )


def _fits(bound: Row, deed: Deed) -> bool:
    picks = bound.get("pick_standard")
    return picks is None or deed.kde.get("pick_standard") in picks


def _here(deed: Deed, season: PlotSeason, facts: Facts) -> Decimal:
    """Kilograms of a harvest that count for this plot: by its share of the area of all its plots."""
    amount = sum((part.quantity or Decimal(0) for part in deed.outputs if part.uom == "KGM"), Decimal(0))
    if len(deed.plots) == 1:
        return amount
    areas = {plot: found.area_mu for plot in deed.plots if (found := facts.plot(plot)) is not None}
    total = sum(areas.values(), Decimal(0))
    return amount * areas.get(season.plot, Decimal(0)) / total if total else Decimal(0)


def _severity(share: Decimal, bound: Row, limits: Limits, season: PlotSeason) -> Severity | None:
    row = limits.row("harvest_share", on=season.last, family=season.family)
    if row is None or share * 100 < row["info_percent"]:
        return None
    if bound.certainty == "L" or share * 100 <= row["flag_percent"]:
        return "info"
    return "block" if share * 100 > row["block_percent"] else "flag"


RULES = (harvested_elsewhere, beyond_the_plot)
