"""Ancestry and descendants of one lot as plain values: what programs get as JSON, people as a table or a drawing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import chain
from typing import Any

from sqlalchemy import Connection, RowMapping, select

from ..ledger.reader import LogReader, portions
from . import tables
from .ages import BLENDING, liquor_ages, may_state_a_day, stated_day
from .custody import from_micro
from .genealogy import Direction, Flow, FlowRow, Walk, making_flows, node_rows, rows_of, taken_rows, walk
from .naming import Names
from .origin import Origin, PlotOrigin, origin, plots_behind
from .projection import Logged
from .shares import Passed, Shares, decimal_share, shares_down, shares_up
from .story import Text
from .superseded import Superseded, superseded
from .template import VISIBILITY_RANK, Templates
from .viewer import Sight, Viewer


@dataclass(frozen=True)
class TracedNode:
    """One lot or plot. `share`: upwards of the starting lot's mass what came through this node, downwards of this
    node's mass what came through the starting lot. Amounts and shares are None where they are unknown or hidden.
    """

    uri: str
    name: str
    kind: str
    stage: str | None
    stage_label: Text | None
    made: str | None
    """Event time as stated, with offset."""
    maker: str | None
    level: int
    quantity: Decimal | None
    uom: str | None
    share: Decimal | None
    passed_share: Decimal | None = None
    """Downwards: of the starting lot, the share that went into this node."""
    passed_quantity: Decimal | None = None
    """Downwards: how much of the starting lot went into this node, in its unit."""
    plots: tuple[str, ...] = ()
    """Upwards: names of the plots this node goes back to."""


@dataclass(frozen=True)
class TracedFlow:
    """What one lot or plot gave to a process, and the lots of the answer that the process made."""

    source: str
    targets: tuple[str, ...]
    quantity: Decimal | None
    uom: str | None
    entry: int


@dataclass(frozen=True)
class Traced:
    """One direction of a lot's genealogy."""

    direction: Direction
    complete: bool
    """False when the depth or size limit cut it short: shares then count only the ways that were found."""
    nodes: tuple[TracedNode, ...]
    flows: tuple[TracedFlow, ...]
    superseded: tuple[Superseded, ...]
    """Steps that were corrected, as they were stated first."""
    passed_uom: str | None = None
    origin: Origin | None = None
    """Upwards only."""
    age: tuple[Decimal, Decimal] | None = None
    """Liquor, upwards: minimum and mass-weighted mean age in years on the day of blending."""

    def json(self) -> dict[str, Any]:
        """As the API answers it."""
        up = self.direction == "up"
        nodes = [
            {
                "uri": node.uri,
                "name": node.name,
                "kind": node.kind,
                "stage": node.stage,
                "made": node.made,
                "maker": node.maker,
                "level": node.level,
                "quantity": node.quantity,
                "uom": node.uom,
                "share": node.share,
                **(
                    {}
                    if up
                    else {
                        "passed_share": node.passed_share,
                        "passed_quantity": node.passed_quantity,
                        "passed_uom": self.passed_uom,
                    }
                ),
            }
            for node in self.nodes
        ]
        flows = [
            {
                "from": flow.source,
                "to": list(flow.targets),
                "quantity": flow.quantity,
                "uom": flow.uom,
                "entry": flow.entry,
            }
            for flow in self.flows
        ]
        told: dict[str, Any] = {"complete": self.complete, "nodes": nodes, "flows": flows}
        told["superseded"] = [step.json() for step in self.superseded]
        if self.origin is not None:
            told["origin"] = self.origin.json()
            told["age"] = None if self.age is None else {"minimum_years": self.age[0], "mean_years": self.age[1]}
        return told


class Tracer:
    """Traces lots for one connection and viewer."""

    def __init__(
        self, log: LogReader, templates: Templates, names: Names, connection: Connection, viewer: Viewer
    ) -> None:
        self._log = log
        self._templates = templates
        self._names = names
        self._connection = connection
        self._viewer = viewer
        self._ranks: dict[int, int] = {}

    def trace(self, start: RowMapping, way: Direction, depth: int) -> Traced:
        """Everything up or down from the node `start`, at most `depth` generations."""
        found = walk(self._connection, start["id"], way, depth=depth)
        rows = node_rows(self._connection, found.level)
        made = making_flows(self._connection, found.level.keys())
        self._see(found, made)
        earlier = superseded(self._connection, self._log.log_id, self._names, found, self._rank_of)
        shares: Shares
        passed: Passed | None = None
        if way == "up":
            shares = shares_up(found, self._may_see)
        else:
            passed = shares_down(found, self._may_see, made.get(start["id"]))
            shares = passed.content
        plots = self._plots(found, rows, shares) if way == "up" else {}
        behind = plots_behind(found, plots) if way == "up" else {}
        names = self._name_nodes(rows, plots)
        nodes = tuple(
            self._node(rows[node], names[node], level, made.get(node), shares.get(node), passed, behind.get(node, ()))
            for node, level in found.level.items()
        )
        return Traced(
            way,
            found.complete,
            nodes,
            tuple(self._flows(found, rows)),
            earlier,
            passed_uom=passed.uom if passed is not None else None,
            origin=origin(found, rows, plots) if way == "up" else None,
            age=self._age(found, rows, made) if way == "up" else None,
        )

    # ------------------------------------------------------------ what the viewer may see

    def _see(self, found: Walk, made: Mapping[int, Flow]) -> None:
        """How much the viewer may see of every event of the walk.

        As in a story, holding an output makes a partner, having supplied an input does not.
        """
        if self._viewer.actor is None and not self._viewer.roles:
            return
        sight = Sight(self._connection, self._viewer)
        sight.look_at(found.start)
        nodes: dict[int, set[int]] = {flow.entry: set() for flows in found.inputs.values() for flow in flows}
        nodes |= {row[2]: set() for process, side in found.taken.items() for row in taken_rows(process, side)}
        for flow in [*chain.from_iterable(found.outputs.values()), *made.values()]:
            nodes.setdefault(flow.entry, set()).add(flow.node)
        recorders = self._recorders(nodes)
        self._ranks = {entry: sight.rank(recorders.get(entry, ()), outputs) for entry, outputs in nodes.items()}
        self._sight = sight

    def _rank_of(self, outputs: Mapping[int, set[int]]) -> Mapping[int, int]:
        """The viewer's ranks for other entries, by the lots that each made."""
        if self._viewer.actor is None and not self._viewer.roles:
            return dict.fromkeys(outputs, 0)
        recorders = self._recorders(outputs)
        return {entry: self._sight.rank(recorders.get(entry, ()), nodes) for entry, nodes in outputs.items()}

    def _recorders(self, entries: Iterable[int]) -> dict[int, tuple[str | None, ...]]:
        query = (
            "SELECT e.entry, e.actor, e.signer FROM {ids} CROSS JOIN event e "
            f"WHERE e.log_id = {self._log.log_id:d} AND e.entry = ids.id"
        )
        return {row[0]: row[1:] for row in rows_of(self._connection, query, sorted(entries))}

    def _may_see(self, flow: Flow) -> bool:
        return VISIBILITY_RANK[flow.visibility] <= self._ranks.get(flow.entry, 0)

    # ------------------------------------------------------------ nodes and flows

    def _node(
        self,
        row: RowMapping,
        name: str,
        level: int,
        made: Flow | None,
        share: int | None,
        passed: Passed | None,
        plots: tuple[str, ...],
    ) -> TracedNode:
        node = row["id"]
        return TracedNode(
            uri=self._names.uri(row["subject"]),
            name=name,
            kind=row["kind"],
            stage=row["stage"],
            stage_label=self._stage_label(row["stage"]),
            made=row["made_time"],
            maker=row["maker"],
            level=level,
            quantity=self._quantity(made) if made is not None else None,
            uom=row["uom"],
            share=decimal_share(share),
            passed_share=None if passed is None else decimal_share(passed.share.get(node)),
            passed_quantity=None if passed is None else _decimal(passed.quantity_micro(node)),
            plots=plots,
        )

    def _stage_label(self, stage_id: str | None) -> Text | None:
        stage = self._templates.get(stage_id) if stage_id else None
        return None if stage is None else Text(stage.label.zh, stage.label.en)

    def _quantity(self, flow: FlowRow) -> Decimal | None:
        shown = flow[5] == "public" or self._may_see(Flow._make(flow))
        return _decimal(flow[3]) if shown else None

    def _flows(self, found: Walk, rows: Mapping[int, RowMapping]) -> Iterable[TracedFlow]:
        uris = {node: self._names.uri(row["subject"]) for node, row in rows.items()}
        for process, taken in found.inputs.items():
            made = dict.fromkeys(uris[flow.node] for flow in found.outputs[process] if flow.node in uris)
            targets = tuple(made)
            for flow in taken:
                yield TracedFlow(uris[flow.node], targets, self._quantity(flow), flow.uom, flow.entry)

    def _name_nodes(self, rows: Mapping[int, RowMapping], plots: Mapping[int, PlotOrigin]) -> dict[int, str]:
        """The maker's own label where the viewer may see it; else a plot's name, or the end of the lot's number."""
        query = (
            "SELECT l.node_id, l.entry, l.label FROM {ids} CROSS JOIN lot_label l "
            f"WHERE l.log_id = {self._log.log_id:d} AND l.node_id = ids.id"
        )
        labels: dict[int, str] = {}
        if any(rank >= VISIBILITY_RANK["partner"] for rank in self._ranks.values()):
            for node, entry, label in sorted(rows_of(self._connection, query, sorted(rows))):
                if self._ranks.get(entry, 0) >= VISIBILITY_RANK["partner"]:
                    labels[node] = label
        named: dict[int, str] = {}
        for node, row in rows.items():
            last = row["subject"].rpartition("/")[2]
            fallback = f"#{last[-4:]}" if row["subject"].startswith("lot/") else last
            plot = plots.get(node)
            named[node] = labels.get(node) or (plot.name.zh if plot is not None and plot.name is not None else fallback)
        return named

    # ------------------------------------------------------------ origin and age

    def _plots(self, found: Walk, rows: Mapping[int, RowMapping], shares: Shares) -> dict[int, PlotOrigin]:
        """The plots of an upward walk with whose they are and where, as their credentials say."""
        wanted = {row["subject"]: node for node, row in rows.items() if row["kind"] == "plot"}
        registered: dict[str, tuple[str, Any]] = {}
        about, paper = tables.registration.c, tables.credential.c
        for some in portions(sorted(wanted)):
            query = select(about.about, about.actor, paper.details).where(
                about.log_id == self._log.log_id,
                about.about.in_(some),
                paper.log_id == about.log_id,
                paper.issuer == about.issuer,
                paper.credential_id == about.credential_id,
            )
            for subject, actor, details in self._connection.execute(query):
                registered[subject] = (actor, json.loads(details))
        plots: dict[int, PlotOrigin] = {}
        for subject, node in wanted.items():
            known = registered.get(subject)
            paper_says: Mapping[str, Any] = {} if known is None else known[1]
            name = paper_says.get("name")
            plots[node] = PlotOrigin(
                uri=self._names.uri(subject),
                name=Text(name["zh"], name["en"]) if isinstance(name, dict) else None,
                holder=None if known is None else known[0],
                county=str(paper_says["division"])[:6] if paper_says.get("division") else None,
                share=decimal_share(shares.get(node)),
            )
        return plots

    def _age(
        self, found: Walk, rows: Mapping[int, RowMapping], made: Mapping[int, Flow]
    ) -> tuple[Decimal, Decimal] | None:
        if not any(row["stage"] == BLENDING for row in rows.values()):
            return None
        entries: dict[int, set[int]] = {}
        for node, flow in made.items():
            if may_state_a_day(self._templates.get(rows[node]["stage"] or "")):
                entries.setdefault(flow.entry, set()).add(node)
        days: dict[int, date] = {}
        for index, stored in self._log.statements(entries, self._connection).items():
            day = stated_day(Logged.of(stored).body)
            if day is not None:
                days.update(dict.fromkeys(entries[index], day))
        return liquor_ages(found, rows, days)


def _decimal(micro: int | None) -> Decimal | None:
    """Millionths as a plain decimal without trailing zeros."""
    return None if micro is None else from_micro(micro)


def made_on(node: TracedNode) -> date | None:
    """The day a lot was made, on the recorder's own calendar."""
    return datetime.fromisoformat(node.made).date() if node.made else None
