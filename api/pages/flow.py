"""The ancestry as a drawn flow: a row a generation, a bar a lot, ribbons as wide as what went from one to the next."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from ...trace.story import Ancestry, AncestryEdge, AncestryNode
from . import formatting
from .texts import Texts

WIDTH = 100.0
DEPTH = 60.0
"""A row's drawing is WIDTH by DEPTH units, stretched to the room that its words need."""
GAP = 1.2
CROSSING = 1.5
"""With more ribbons between two rows than this times the lots of the fuller one, they go from group to group."""
FEW_RIBBONS = 12
MOST_BARS = 16
"""Of more lots in a group the smallest are drawn as one bar; in words they are all there."""


@dataclass(frozen=True)
class Lot:
    """A lot or plot named in a row."""

    name: str
    url: str | None
    amount: str
    share: str
    ends: bool
    part: Decimal | None = None
    """The share as a number, 0 to 1."""


@dataclass(frozen=True)
class Group:
    """The lots of a row that were made by the same stage."""

    kind: str
    """lot | plot"""
    label: str
    count: int
    amount: str
    share: str
    when: str
    lots: tuple[Lot, ...]
    ends: bool
    """Proven ancestry ends here for some of them."""


@dataclass(frozen=True)
class Row:
    """One generation: its words, its bars, and the ribbons that lead to the next row."""

    groups: tuple[Group, ...]
    bars: str
    ending_bars: str
    ribbons: str


@dataclass
class _Slot:
    """Where a node (or an edge on its way through a row) stands: from `left` to `left + width`."""

    key: str
    node: AncestryNode | None
    weight: float
    left: float = 0.0
    width: float = 0.0


def rows(ancestry: Ancestry, ends: Iterable[str], t: Texts) -> tuple[Row, ...]:
    """The generations, roots first and the lot itself last. Empty when the lot has no ancestors.

    `ends`: URIs or names of the lots where proven ancestry ends.
    """
    nodes = {node.uri: node for node in ancestry.nodes}
    drawable = (edge for edge in ancestry.edges if edge.parent in nodes and edge.child in nodes)
    edges = _merged(edge for edge in drawable if nodes[edge.parent].level > nodes[edge.child].level)
    if not edges:
        return ()
    named = frozenset(ends)
    ending = frozenset(node.uri for node in nodes.values() if node.uri in named or node.name in named)
    levels = sorted({node.level for node in nodes.values()}, reverse=True)
    groups: dict[tuple[int, str], list[AncestryNode]] = defaultdict(list)
    for node in nodes.values():
        groups[node.level, _group_key(node)].append(node)
    nodes, edges = _folded(groups, edges, ending)
    slots, hops = _layered(nodes, edges, levels)
    _order_and_place(slots, hops, levels)
    drawn: list[Row] = []
    for position, level in enumerate(levels):
        here = slots[level]
        below = slots[levels[position + 1]] if position + 1 < len(levels) else []
        real = [slot for slot in here if slot.node is not None]
        drawn.append(
            Row(
                groups=tuple(
                    _group(groups[level, _group_key(drawn_as[0])], ending, t)
                    for drawn_as in _grouped(slot.node for slot in here)
                ),
                bars=_bars(slot for slot in real if slot.key not in ending),
                ending_bars=_bars(slot for slot in real if slot.key in ending),
                ribbons=_ribbons(here, below, hops),
            )
        )
    return tuple(drawn)


def _folded(
    groups: dict[tuple[int, str], list[AncestryNode]], edges: Sequence[AncestryEdge], ending: frozenset[str]
) -> tuple[dict[str, AncestryNode], list[AncestryEdge]]:
    """The same flow with the smallest lots of large groups as one; where proven ancestry ends stays apart."""
    nodes: dict[str, AncestryNode] = {}
    stands_for: dict[str, str] = {}
    for (level, key), group in groups.items():
        ordered = sorted(group, key=lambda node: (-(node.share or 0), node.name))
        small = [node for node in ordered[MOST_BARS - 1 :] if node.uri not in ending]
        if len(group) <= MOST_BARS or len(small) < 2:
            nodes |= {node.uri: node for node in group}
            continue
        shares = [node.share for node in small]
        rest = replace(
            small[0],
            uri=f"\0rest {level} {key}",
            quantity=None,
            share=None if None in shares else sum((share for share in shares if share is not None), Decimal(0)),
        )
        folded = {node.uri for node in small}
        nodes |= {node.uri: node for node in group if node.uri not in folded} | {rest.uri: rest}
        stands_for |= dict.fromkeys(folded, rest.uri)
    return nodes, _merged(
        replace(edge, parent=stands_for.get(edge.parent, edge.parent), child=stands_for.get(edge.child, edge.child))
        for edge in edges
    )


def _layered(
    nodes: dict[str, AncestryNode], edges: Sequence[AncestryEdge], levels: Sequence[int]
) -> tuple[dict[int, list[_Slot]], list[tuple[str, str, float]]]:
    """Slots by level, hops between neighbouring levels; an edge over several levels has a slot in each it crosses."""
    shares = {node.uri: _share(node, nodes.values()) for node in nodes.values()}
    slots: dict[int, list[_Slot]] = {level: [] for level in levels}
    for node in nodes.values():
        slots[node.level].append(_Slot(node.uri, node, shares[node.uri]))
    given: dict[str, Decimal] = defaultdict(Decimal)
    for edge in edges:
        given[edge.parent] += _amount(edge)
    hops: list[tuple[str, str, float]] = []
    for number, edge in enumerate(edges):
        parent, child = nodes[edge.parent], nodes[edge.child]
        weight = float(_amount(edge) / given[edge.parent]) * shares[edge.parent]
        previous = edge.parent
        for level in levels[levels.index(parent.level) + 1 : levels.index(child.level)]:
            passing = f"\0{number}.{level}"
            slots[level].append(_Slot(passing, None, weight))
            hops.append((previous, passing, weight))
            previous = passing
        hops.append((previous, edge.child, weight))
    return slots, hops


def _share(node: AncestryNode, nodes: Iterable[AncestryNode]) -> float:
    """The node's share of the lot; where it is not known, an equal part of what its generation leaves."""
    if node.share:
        return float(node.share)
    peers = [each for each in nodes if each.level == node.level]
    known = sum((each.share for each in peers if each.share), Decimal(0))
    return max(0.02, float(1 - known) / sum(not each.share for each in peers))


def _merged(edges: Iterable[AncestryEdge]) -> list[AncestryEdge]:
    """One edge for each pair, what went in at different times added up."""
    merged: dict[tuple[str, str], AncestryEdge] = {}
    for edge in edges:
        before = merged.get((edge.parent, edge.child))
        if before is None or before.quantity is None or edge.quantity is None:
            merged[edge.parent, edge.child] = before or edge
        else:
            amount = replace(edge.quantity, value=before.quantity.value + edge.quantity.value)
            merged[edge.parent, edge.child] = replace(edge, quantity=amount)
    return list(merged.values())


def _amount(edge: AncestryEdge) -> Decimal:
    return edge.quantity.value if edge.quantity is not None and edge.quantity.value > 0 else Decimal(1)


def _order_and_place(
    slots: dict[int, list[_Slot]], hops: Sequence[tuple[str, str, float]], levels: Sequence[int]
) -> None:
    """Each row in the order of what it flows into, groups kept together, as wide as its share of the lot."""
    children: dict[str, list[str]] = defaultdict(list)
    for parent, child, _ in hops:
        children[parent].append(child)
    centre: dict[str, float] = {}
    for level in reversed(levels):
        row = slots[level]
        pull = {
            slot.key: sum(centre[child] for child in children[slot.key]) / len(children[slot.key])
            if children[slot.key]
            else WIDTH / 2
            for slot in row
        }
        together: dict[str, list[float]] = defaultdict(list)
        for slot in row:
            together[_group_key(slot.node)].append(pull[slot.key])
        row.sort(
            key=lambda slot: (
                sum(together[_group_key(slot.node)]) / len(together[_group_key(slot.node)]),
                _group_key(slot.node),
                pull[slot.key],
                slot.node.name if slot.node else slot.key,
            )
        )
        gap = min(GAP, WIDTH / 3 / max(1, len(row)))
        weight = sum(slot.weight for slot in row) or 1.0
        # A row that carries half of the lot is drawn half as wide, below or above what it belongs to.
        free = (WIDTH - gap * (len(row) - 1)) * max(0.08, min(1.0, weight))
        least = min(1.0, free / len(row) / 2)
        widths = [max(least, free * slot.weight / weight) for slot in row]
        extent = free + gap * (len(row) - 1)
        middle = sum(pull[slot.key] * slot.weight for slot in row) / weight
        left = max(0.0, min(WIDTH - extent, middle - extent / 2))
        for slot, width in zip(row, widths, strict=True):
            slot.left, slot.width = left, width * free / sum(widths)
            left += slot.width + gap
            centre[slot.key] = slot.left + slot.width / 2


def _group_key(node: AncestryNode | None) -> str:
    if node is None:
        return "~"
    return f"{node.kind} {node.stage.en if node.stage else ''}"


def _grouped(nodes: Iterable[AncestryNode | None]) -> list[list[AncestryNode]]:
    groups: dict[str, list[AncestryNode]] = {}
    for node in nodes:
        if node is not None:
            groups.setdefault(_group_key(node), []).append(node)
    return list(groups.values())


def _group(nodes: Sequence[AncestryNode], ending: frozenset[str], t: Texts) -> Group:
    shares = [node.share for node in nodes]
    known = [share for share in shares if share is not None]
    together = sum(known, Decimal(0))
    made = [node.made_on for node in nodes if node.made_on]
    first = nodes[0]
    return Group(
        kind=first.kind,
        label=t.pick(first.stage) if first.stage else t(f"flow.{first.kind}"),
        count=len(nodes),
        amount=formatting.total((node.quantity for node in nodes), t),
        share=formatting.percent(together) if len(known) == len(nodes) and together < Decimal("0.9995") else "",
        when=formatting.days(min(made), max(made), t) if made else "",
        lots=tuple(
            Lot(
                name=node.name,
                url=formatting.path_of(node.uri),
                amount=formatting.quantity(node.quantity, t) if node.quantity else "",
                share=formatting.percent(node.share) if node.share is not None and node.share < 1 else "",
                ends=node.uri in ending,
                part=node.share,
            )
            for node in sorted(nodes, key=lambda node: node.name)
        ),
        ends=any(node.uri in ending for node in nodes),
    )


def _bars(slots: Iterable[_Slot]) -> str:
    return "".join(f"M{_figure(slot.left)} 0h{_figure(max(0.3, slot.width))}" for slot in slots)


def _ribbons(here: Sequence[_Slot], below: Sequence[_Slot], hops: Sequence[tuple[str, str, float]]) -> str:
    """One path of all ribbons from this row to the next; each end as wide as its part of the bar it touches."""
    upper, lower = {slot.key: slot for slot in here}, {slot.key: slot for slot in below}
    between = [hop for hop in hops if hop[0] in upper and hop[1] in lower]
    fuller = max(len({hop[0] for hop in between}), len({hop[1] for hop in between}), 1)
    if len(between) > max(FEW_RIBBONS, CROSSING * fuller):
        between, upper, lower = _joined(between, upper, lower)
    out_total: dict[str, float] = defaultdict(float)
    in_total: dict[str, float] = defaultdict(float)
    for parent, child, weight in between:
        out_total[parent] += weight
        in_total[child] += weight
    starts: dict[tuple[str, str], tuple[float, float]] = {}
    used: dict[str, float] = defaultdict(float)
    for parent, child, weight in sorted(between, key=lambda hop: (hop[0], lower[hop[1]].left)):
        width = upper[parent].width * weight / (out_total[parent] or 1.0)
        starts[parent, child] = (upper[parent].left + used[parent], width)
        used[parent] += width
    path: list[str] = []
    taken: dict[str, float] = defaultdict(float)
    half = _figure(DEPTH / 2)
    for parent, child, weight in sorted(between, key=lambda hop: (hop[1], upper[hop[0]].left)):
        left, width = starts[parent, child]
        end_width = lower[child].width * weight / (in_total[child] or 1.0)
        end = lower[child].left + taken[child]
        taken[child] += end_width
        a, b, c, d = (_figure(x) for x in (left, left + width, end, end + end_width))
        bottom = _figure(DEPTH)
        path.append(f"M{a} 0C{a} {half} {c} {half} {c} {bottom}H{d}C{d} {half} {b} {half} {b} 0Z")
    return "".join(path)


def _joined(
    between: Sequence[tuple[str, str, float]], upper: dict[str, _Slot], lower: dict[str, _Slot]
) -> tuple[list[tuple[str, str, float]], dict[str, _Slot], dict[str, _Slot]]:
    """The same flow between groups of lots, each group one slot from its first lot's left to its last lot's right."""
    weights: dict[tuple[str, str], float] = defaultdict(float)
    for parent, child, weight in between:
        weights[_group_key(upper[parent].node), _group_key(lower[child].node)] += weight
    return [(a, b, weight) for (a, b), weight in weights.items()], _spans(upper), _spans(lower)


def _spans(slots: dict[str, _Slot]) -> dict[str, _Slot]:
    spans: dict[str, _Slot] = {}
    for slot in slots.values():
        key = _group_key(slot.node)
        span = spans.setdefault(key, replace(slot, key=key))
        left, right = min(span.left, slot.left), max(span.left + span.width, slot.left + slot.width)
        span.left, span.width = left, right - left
    return spans


def _figure(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
