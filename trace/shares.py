"""How much of a lot came through each ancestor, and how much of it went into each descendant: shares of a walk.

A share is an integer of `WHOLE` parts. Exact fractions would grow: behind a blend of three hundred blends stand
denominators of thousands of digits. What a process divides is divided without remainder instead (each part ends where
the next one begins), so shares of all roots add up to exactly WHOLE, and each differs from the exact fraction by less
than one part for every flow between it and the lot. None where an amount on the way is unknown or hidden from the
reader: a hidden recipe must not follow from its shares.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate, chain, repeat
from operator import itemgetter, sub

from .genealogy import Columns, Flow, FlowRow, Sees, Taken, Walk, taken_rows

WHOLE = 10**24
"""All of a lot."""
Shares = dict[int, "int | None"]
_of_process, _of_node = itemgetter(0), itemgetter(1)


def decimal_share(share: int | None, places: int = 6) -> Decimal | None:
    """A share as a decimal from 0 to 1, rounded half up to `places` places; None stays None."""
    if share is None:
        return None
    unit = 10 ** (24 - places)
    return Decimal((share + unit // 2) // unit).scaleb(-places)


def shares_up(found: Walk, may_see: Sees) -> Shares:
    """Of the starting lot's mass, the share that came through each node of an upward walk.

    Inputs of a process count by mass; one input alone counts whole. What a process took in of the starting lot itself
    (a circle) is left out; behind any other circle shares are None.
    """
    start, taken = found.start, found.taken
    shares = {start: WHOLE}
    had = shares.get
    unknown: set[int] = set()
    blocks = {id(side[0]): side[0] for side in taken.values()}
    waiting = dict(Counter(chain.from_iterable(columns.nodes for columns in blocks.values())))
    process_of = {node: rows[0][0] for node, rows in found.made.items()}
    missing = dict(Counter(process_of.values()))
    if waiting.pop(start, None):
        taken = {process: _without(start, process, side) for process, side in taken.items()}
    several: dict[int, list[int]] = {process: [] for process, lots in missing.items() if lots > 1}
    ready = [start]
    while ready:
        node = ready.pop()
        process = process_of.get(node)
        if process is None:
            continue
        share, known = shares[node], node not in unknown
        if process in several:
            several[process].append(node)
            if len(several[process]) < missing[process]:
                continue
            share, known = sum(map(shares.__getitem__, several[process])), unknown.isdisjoint(several[process])
        columns, first, after = side = taken[process]
        if after - first == 1 and known:
            parent = columns.nodes[first]
            shares[parent] = had(parent, 0) + share
            left = waiting[parent] = waiting[parent] - 1
            if not left:
                ready.append(parent)
            continue
        parents = columns.nodes[first:after]
        parts = _parted(side, process, share, may_see) if known else None
        if parts is None:
            unknown.update(parents)
            parts = repeat(0)
        for parent, part in zip(parents, parts, strict=False):
            shares[parent] = had(parent, 0) + part
            left = waiting[parent] - 1
            waiting[parent] = left
            if not left:
                ready.append(parent)
    if len(shares) < len(found.level) or any(waiting.values()):
        unknown.update(node for node in found.level if node not in shares or waiting.get(node))
    return {**shares, **dict.fromkeys(unknown)} if unknown else {**shares}


def _parted(side: Taken, process: int, share: int, may_see: Sees) -> Iterable[int] | None:
    """A share divided over the inputs of a process by mass; the whole of it to the only one, named more than once."""
    columns, first, after = side
    running = columns.running
    if running is not None:
        begin, total = running[first], running[after] - running[first]
        if total and after - first == 2:  # as most are
            part = share * (running[first + 1] - begin) // total
            return part, share - part
    else:
        rows = taken_rows(process, side)
        begin, total = 0, _total(rows, may_see) or 0
        running = list(accumulate((row[3] or 0 for row in rows), initial=0))
        first, after = 0, len(rows)
    if total:
        upto = [share * (done - begin) // total for done in running[first : after + 1]]
        return map(sub, upto[1:], upto)
    nodes = side[0].nodes[side[1] : side[2]]
    return (share, *repeat(0, len(nodes) - 1)) if len(set(nodes)) == 1 else None


def _without(node: int, process: int, side: Taken) -> Taken:
    """What a process took besides `node`."""
    rows = [row[1:] for row in taken_rows(process, side) if row[1] != node]
    if len(rows) == side[2] - side[1]:
        return side
    return Columns(*map(list, zip(*rows, strict=True))) if rows else Columns([], [], [], [], []), 0, len(rows)


def _total(rows: Sequence[FlowRow], may_see: Sees) -> int | None:
    """The amounts of all rows together; None where one is unknown or hidden, or they are in different units."""
    if not rows:
        return None
    total, unit = 0, rows[0][4]
    for row in rows:
        _, _, _, amount, uom, visibility = row
        if amount is None or uom != unit or (visibility != "public" and not may_see(Flow._make(row))):
            return None
        total += amount
    return total


@dataclass(frozen=True)
class Passed:
    """What of the starting lot is in its descendants, by node.

    `content`: of the descendant's mass, the share that came through the starting lot. `share`: of the starting lot, the
    share that went into the descendant. `start_micro`, `uom`: how much the starting lot was (of a plot: what was
    harvested from it alone); None where that is hidden or unknown.
    """

    content: Shares
    share: Shares
    start_micro: int | None
    uom: str | None

    def quantity_micro(self, node: int) -> int | None:
        """How much of the starting lot went into `node`, in millionths of `uom`; None where unknown or hidden."""
        share = self.share.get(node)
        if share is None or self.start_micro is None:
            return None
        return (share * self.start_micro + WHOLE // 2) // WHOLE


def shares_down(found: Walk, may_see: Sees, start: Flow | None) -> Passed:
    """What of the starting lot is in each node of a downward walk; `start` is the flow that made it, None for a plot.

    A process mixes its inputs by mass and gives each output its part of them by mass; what was lost in it is spread
    over the outputs. What flows back into the starting lot is left out; behind any other circle shares are None.
    """
    rooted = _start_rows(found, may_see, start)
    used = {**found.used, found.start: rooted.rows}
    flow = _Downward(found, may_see)
    content, share, made = flow.content, flow.share, flow.made
    content[found.start] = share[found.start] = WHOLE
    made[found.start] = rooted.whole
    coming = dict(Counter(map(_of_process, chain.from_iterable(used.values()))))
    missing = dict(coming)
    mixed: dict[int, int] = {}
    passing: dict[int, int] = {}
    no_mixture: set[int] = set()
    no_passing: set[int] = set()
    while flow.ready:
        node = flow.ready.pop()
        rows = used.get(node)
        if rows is None:
            continue
        of, part = content[node], share[node]
        whole, unit = made[node] or (0, None)
        for process, _, entry, amount, uom, visibility in rows:
            seen = amount is not None and (
                visibility == "public" or may_see(Flow(process, node, entry, amount, uom, visibility))
            )
            if seen and of is not None:
                mixed[process] = mixed.get(process, 0) + of * amount  # type: ignore[operator]  # it was seen
            else:
                no_mixture.add(process)
            if seen and part is not None and whole and unit == uom:
                passing[process] = passing.get(process, 0) + part * amount // whole  # type: ignore[operator]
            else:
                no_passing.add(process)
            left = missing[process] = missing[process] - 1
            if left:
                continue
            flows, total = found.totals[process]
            if flows == coming[process] and (flows == 1 or flows == sum(each[0] == process for each in rows)):
                mixture = of  # it took nothing else
            else:
                side = found.taken.get(process)
                total = total if side is None else _total(taken_rows(process, side), may_see)
                mixture = mixed[process] // total if total and process not in no_mixture else None
            flow.pour(process, mixture, None if process in no_passing else passing[process])
    lost = [node for node in found.level if node not in content or (flow.waiting.get(node) and node != found.start)]
    content.update(dict.fromkeys(lost))
    share.update(dict.fromkeys(lost))
    return Passed(content, share, *(rooted.whole or (None, None)))


class _Downward:
    """What is known of each lot on the way down, and which lots have got all that comes to them."""

    def __init__(self, found: Walk, may_see: Sees) -> None:
        self._found = found
        self._may_see = may_see
        self.content: Shares = {}
        self.share: Shares = {}
        self.made: dict[int, tuple[int, str | None] | None] = {}
        """How much each lot was, with its unit; None where that is hidden."""
        self.waiting = dict(Counter(map(_of_node, chain.from_iterable(found.given.values()))))
        self.ready = [found.start]

    def pour(self, process: int, mixture: int | None, passing: int | None) -> None:
        """Divides what a process took of the starting lot over what it gave."""
        outputs = self._found.given[process]
        if len(outputs) == 1:
            self._give(outputs[0], mixture, passing)
            return
        total = _total(outputs, self._may_see) if passing is not None else None
        alone = passing is not None and len(set(map(_of_node, outputs))) == 1
        done = poured = 0
        for number, row in enumerate(outputs):
            part: int | None = None
            if total:
                done += row[3] or 0
                upto = (passing or 0) * done // total
                part, poured = upto - poured, upto
            elif alone:
                part = 0 if number else passing
            self._give(row, mixture, part)

    def _give(self, row: FlowRow, mixture: int | None, part: int | None) -> None:
        _, node, _, amount, uom, visibility = row
        if node == self._found.start:
            return
        had, before = self.share.get(node, 0), self.made.get(node, (0, uom))
        self.content[node] = mixture
        self.share[node] = None if part is None or had is None else had + part
        known = amount is not None and (visibility == "public" or self._may_see(Flow._make(row)))
        self.made[node] = (before[0] + amount, uom) if known and before is not None else None  # type: ignore[operator]
        left = self.waiting[node] = self.waiting[node] - 1
        if not left:
            self.ready.append(node)


@dataclass(frozen=True)
class _Start:
    """The starting lot's uses, and how much it was."""

    rows: list[FlowRow]
    whole: tuple[int, str | None] | None


def _start_rows(found: Walk, may_see: Sees, start: Flow | None) -> _Start:
    """Of a plot no amount is recorded: what was harvested from it alone stands for it."""
    rows = found.used.get(found.start, [])
    if start is not None:
        known = start.amount is not None and (start.visibility == "public" or may_see(start))
        return _Start(rows, (start.amount or 0, start.uom) if known else None)
    harvests = [_harvest(found, row, may_see) for row in rows]
    units = {row[4] for row in harvests}
    if len(units) != 1 or any(row[3] is None for row in harvests):
        return _Start(rows, None)
    return _Start(harvests, (sum(row[3] or 0 for row in harvests), units.pop()))


def _harvest(found: Walk, row: FlowRow, may_see: Sees) -> FlowRow:
    process, node, entry, amount, _, visibility = row
    if amount is not None or found.totals[process][0] > 1:
        return row
    outputs: Iterable[FlowRow] = found.given[process]
    gathered = _total(list(outputs), may_see)
    unit = next((each[4] for each in outputs), None)
    return (process, node, entry, gathered, unit, "public" if gathered is not None else visibility)
