"""Where a lot comes from, computed from its ancestry: its plots with their shares, and whether it is of one origin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import RowMapping

from .genealogy import Walk
from .story import Text


@dataclass(frozen=True)
class PlotOrigin:
    """A plot behind a lot: whose it is and where, as its credential says, and what share of the lot came from it."""

    uri: str
    name: Text | None
    holder: str | None
    county: str | None
    """The first six digits of its division (GB/T 2260)."""
    share: Decimal | None


@dataclass(frozen=True)
class Origin:
    """`proven`: every way up ends at a plot, and the walk was not cut short.

    `single_*`: True where that is proven, False where two are known, None where proven ancestry ends too early to tell.
    """

    plots: tuple[PlotOrigin, ...]
    proven: bool
    single_plot: bool | None
    single_actor: bool | None
    single_county: bool | None

    def json(self) -> dict[str, Any]:
        """As the API answers it."""
        return {
            "proven": self.proven,
            "single_plot": self.single_plot,
            "single_actor": self.single_actor,
            "single_county": self.single_county,
            "plots": [
                {
                    "uri": plot.uri,
                    "name": None if plot.name is None else {"zh": plot.name.zh, "en": plot.name.en},
                    "holder": plot.holder,
                    "county": plot.county,
                    "share": plot.share,
                }
                for plot in self.plots
            ],
        }


def origin(found: Walk, rows: Mapping[int, RowMapping], plots: Mapping[int, PlotOrigin]) -> Origin:
    """The origin of the lot that an upward walk started from; `plots` by node."""
    roots = [node for node in found.level if not found.made.get(node)]
    proven = found.complete and all(rows[node]["kind"] == "plot" for node in roots)
    ordered = sorted(plots.values(), key=lambda plot: (-(plot.share or 0), plot.uri))
    return Origin(
        plots=tuple(ordered),
        proven=proven,
        single_plot=_single((plot.uri for plot in ordered), proven),
        single_actor=_single((plot.holder for plot in ordered), proven),
        single_county=_single((plot.county for plot in ordered), proven),
    )


def _single(values: Iterable[str | None], proven: bool) -> bool | None:
    kinds = set(values)
    if len(kinds - {None}) > 1:
        return False
    return True if proven and kinds and None not in kinds else None


def plots_behind(found: Walk, plots: Mapping[int, PlotOrigin]) -> dict[int, tuple[str, ...]]:
    """For each node of an upward walk the names of the plots it goes back to, in the order of `plots`."""
    order = list(plots)
    sets = {node: 1 << place for place, node in enumerate(order)}
    parents = {node: found.parents(node) for node in found.made}
    changed = bool(order)
    while changed:  # once or twice: levels nearly are an order in which parents come first
        changed = False
        for node in reversed(found.level):
            gathered = sets.get(node, 0)
            for parent in parents.get(node, ()):
                gathered |= sets.get(parent, 0)
            if gathered != sets.get(node, 0):
                sets[node], changed = gathered, True
    names = [plot.name.zh if plot.name is not None else plot.uri.rpartition("/")[2] for plot in plots.values()]
    told: dict[int, tuple[str, ...]] = {}
    known: dict[int, tuple[str, ...]] = {}
    for node, places in sets.items():
        if places not in known:
            known[places] = tuple(name for place, name in enumerate(names) if places >> place & 1)
        told[node] = known[places]
    return told
