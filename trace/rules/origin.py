"""Claims of origin against the plots that a lot was grown on, by share of mass (T-ORIGIN, C-ORIGIN).

A market is no field: what was bought there keeps the plots of its parents, and what came in from outside has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from .facts import Deed, Facts, Process
from .field import certain, harvested_kg
from .limits import Limits, Row
from .rule import Finding

INTRODUCED = "common.introduced"


@dataclass(frozen=True)
class Source:
    """Where a part of a lot comes from: a plot, or a lot without one (brought in, or its origin pending)."""

    plot: str | None
    lot: str
    deed: Deed | None
    """The harvest, or the record that brought it in."""


def sources_of(lot: str, facts: Facts, words: tuple[str, ...] = ()) -> Mapping[Source, Fraction]:
    """The sources of a lot with their shares of its mass, which add up to 1.

    Goods brought in that are no such crop (`words` of their name: oil, salt, bags) are left out.
    """
    return _sources(lot, facts, words, {})


def _sources(
    lot: str, facts: Facts, words: tuple[str, ...], known: dict[str, dict[Source, Fraction]]
) -> dict[Source, Fraction]:
    if lot in known:
        return known[lot]
    known[lot] = {}  # a lot is never its own ancestor; were it, it would end here
    making = facts.makings(lot)
    if making:
        found = _of_process(making[-1], facts, words, known)
    else:
        deeds = facts.lot(lot).making
        introduced = deeds[-1] if deeds else None
        goods = "" if introduced is None else str(introduced.kde.get("goods") or "")
        other = introduced is not None and words and not any(word in goods for word in words)
        found = {} if other else {Source(None, lot, introduced): Fraction(1)}
    known[lot] = found
    return found


def _of_process(
    process: Process, facts: Facts, words: tuple[str, ...], known: dict[str, dict[Source, Fraction]]
) -> dict[Source, Fraction]:
    weighted: list[tuple[Fraction, Mapping[Source, Fraction]]] = []
    for deed in process.deeds:
        for plot in deed.plots:
            source = Source(plot, deed.outputs[0].lot if deed.outputs else "", deed)
            weighted.append((Fraction(harvested_kg(deed, plot, facts)), {source: Fraction(1)}))
    units = {part.uom for part in process.inputs}
    for part in process.inputs:
        quantity = part.quantity if len(units) == 1 else part.measure("net_mass_kg") or part.quantity
        weighted.append((Fraction(quantity or 0), _sources(part.lot, facts, words, known)))
    weighted = [(amount, sources) for amount, sources in weighted if sources and amount]
    total = sum((amount for amount, _ in weighted), Fraction(0))
    found: dict[Source, Fraction] = {}
    for amount, sources in weighted:
        for source, share in sources.items():
            found[source] = found.get(source, Fraction(0)) + share * amount / total
    return found


# ---------------------------------------------------------------- the rule


def claimed_areas(deed: Deed, lot: str, family: str, facts: Facts, limits: Limits, of: str | None = None) -> list[Row]:
    """The areas that a deed or the product's name claims for a lot; the most exact claim counts."""
    texts = [str(deed.kde.get(name) or "") for name in ("tea_product", "product_claim", "claimed_origin")]
    if lot.startswith("01/"):
        product = facts.product(lot[3:17], deed.actor)
        if product is not None:
            texts.append(str(product.details["name"]["zh"]))
    text = " ".join(texts)
    rows = [
        row
        for row in limits.rows("origin_area", on=deed.day, family=family)
        if row.get("of") == of and any(claim in text for claim in row["claim"])
    ]
    exact = [row for row in rows if not any(_wider(row, other) for other in rows)]
    return exact or rows


def _wider(row: Row, other: Row) -> bool:
    """Whether another row's claim contains this one's words: 遵义朝天椒 is a claim of its own beside 遵义."""
    return other is not row and any(one != two and one in two for one in row["claim"] for two in other["claim"])


def inside(division: str, row: Row) -> bool:
    """Whether a division lies in the area of a row."""
    return any(division.startswith(prefix) for prefix in row["divisions"])


def origin(lot_deed: Deed, lot: str, facts: Facts, limits: Limits, family: str) -> Iterator[Finding]:
    """Of what is sold under the name of an area, the share that is claimed (all, where none is) grew on plots in it."""
    rows = claimed_areas(lot_deed, lot, family, facts, limits)
    if not rows:
        return
    crop = limits.row("crop", on=lot_deed.day, family=family)
    words = tuple(crop.get("words", ())) if crop is not None else ()
    sources = sources_of(lot, facts, words)
    wanted = Fraction(Decimal(lot_deed.kde.get("claimed_share_percent") or 100)) / 100
    for row in rows:
        proven, paper, foreign = Fraction(0), Fraction(0), Fraction(0)
        causes: list[Deed] = []
        for source, share in sources.items():
            plot = facts.plot(source.plot) if source.plot is not None else None
            if plot is not None and inside(plot.division, row):
                proven += share
                continue
            if plot is None and _on_paper(source, row):
                paper += share
            else:
                foreign += share
            if source.deed is not None:
                causes.append(source.deed)
        if proven >= wanted:
            continue
        told = sorted({deed.entry: deed for deed in (*causes, lot_deed)}.values(), key=lambda one: one.entry)
        only_paper = proven + paper >= wanted
        shares = [_percent(one) for one in (proven, paper, foreign, wanted)]
        yield Finding(
            "info" if only_paper else certain(row, "flag"),
            causes=told,
            lots=[lot],
            key=f"{lot} {row['claim'][0]}",
            figures={
                "claim": row["claim"][0], "proven_percent": shares[0], "on_paper_percent": shares[1],
                "from_elsewhere_percent": shares[2], "claimed_percent": shares[3], "source": row.source,
            },
            zh=f"声称产自{row['zh']}（{row['claim'][0]}）{shares[3]} %，可由地块证明的只有 {shares[0]} %"
            f"，仅凭凭证 {shares[1]} %，外来或来历不明 {shares[2]} %。",
            en=f"{shares[3]} % is claimed to be from {row['en']} ({row['claim'][0]}); plots prove {shares[0]} %, "
            f"papers alone {shares[1]} %, from elsewhere or unknown {shares[2]} %.",
            clears_zh="补全原料的地块记录，更正声称的产地或占比；或主管部门核实后决定。",
            clears_en="Records of the plots, a correction of the claim or its share; or a decision of the authority.",
        )  # fmt: skip


def _on_paper(source: Source, row: Row) -> bool:
    """Whether papers name the area for goods brought in from outside."""
    if source.deed is None or source.deed.stage.id != INTRODUCED:
        return False
    return any(place in str(source.deed.kde.get("origin") or "") for place in row.get("places", ()))


def _percent(share: Fraction) -> Decimal:
    return (Decimal(share.numerator) * 100 / Decimal(share.denominator)).quantize(Decimal("0.1"))
