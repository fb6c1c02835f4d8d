"""A genealogy as one SVG file: the flow of `flow.py` with its words beside it, from a phone's width to a desktop's.

Bars and ribbons are drawn in a box that stretches with the width; words keep their size and are broken for the
narrowest. No script, no style sheet: it stays whole when it is saved, printed or put into a report.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from html import escape

from ...trace.story import Ancestry, AncestryEdge, AncestryNode, Quantity
from ...trace.tracing import Traced, TracedNode, made_on
from . import flow, formatting
from .texts import Texts

INTRODUCED = "common.introduced"
"""Lots that came from outside, where proven ancestry ends."""
_EM, _LINE = 13, 19
_NARROWEST = 390 * 0.55  # what the words have on a phone, in pixels
_NAMED = 3
"""So many of a group's lots are named, the largest first."""
_INK, _SOFT, _TONE, _END = "#1d2a21", "#56655b", "#2f6b45", "#b4561f"


def draw(traced: Sequence[Traced], name: str, t: Texts) -> str:
    """The SVG of one or both directions of the lot called `name`."""
    parts: list[str] = []
    said: list[str] = []
    top = 12.0
    for one in traced:
        heading = t(f"flow.{one.direction}", name=name)
        parts.append(_text(12, top + 16, heading, _INK, bold=True, size=16))
        said.append(heading)
        top += 34
        drawn = flow.rows(ancestry_of(one), (node.uri for node in one.nodes if node.stage == INTRODUCED), t)
        for row in drawn:
            lines = [line for group in row.groups for line in _lines(group, t)]
            said.append(" ".join(text for text, _, _ in lines))
            height = max(74.0, len(lines) * _LINE + 22)
            parts.append(_picture(row, top, height))
            for number, (text, colour, bold) in enumerate(lines):
                parts.append(_text("44%", top + 6 + number * _LINE, text, colour, bold=bold))
            top += height
        if not drawn:
            parts.append(_text(12, top + 6, t("flow.nothing"), _SOFT))
            said.append(t("flow.nothing"))
            top += 24
        elif any((node.share if one.direction == "up" else node.passed_share) is None for node in one.nodes):
            equal = _broken(t("flow.equal"), 366.0)
            parts += [_text(12, top + 6 + number * _LINE, line, _SOFT) for number, line in enumerate(equal)]
            said += equal
            top += 8 + len(equal) * _LINE
        if not one.complete:
            parts.append(_text(12, top + 6, t("flow.cut"), _END))
            said.append(t("flow.cut"))
            top += 24
        top += 12
    described = "\n".join(said)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="100%" height="{top:.0f}" role="img" '
        f'aria-labelledby="title desc" lang="{t.lang}" font-family="system-ui, sans-serif">'
        f'<title id="title">{escape(said[0])}</title><desc id="desc">{escape(described)}</desc>'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>'
    )


def ancestry_of(traced: Traced) -> Ancestry:
    """As the page's drawing takes it. Downwards the lot is the root, and each bar is as wide as what went there."""
    down = traced.direction == "down"
    deepest = max((node.level for node in traced.nodes), default=0)
    nodes = tuple(
        AncestryNode(
            uri=node.uri,
            kind="plot" if node.kind == "plot" else "lot",
            name=node.name,
            stage=node.stage_label,
            level=deepest - node.level if down else node.level,
            quantity=_quantity(node),
            share=node.passed_share if down else node.share,
            made_on=made_on(node),
        )
        for node in traced.nodes
    )
    edges = tuple(
        AncestryEdge(
            each.source, target, Quantity(each.quantity, each.uom) if each.quantity is not None and each.uom else None
        )
        for each in traced.flows
        for target in each.targets
    )
    return Ancestry(nodes, edges)


def _quantity(node: TracedNode) -> Quantity | None:
    return Quantity(node.quantity, node.uom) if node.quantity is not None and node.uom else None


def _picture(row: flow.Row, top: float, height: float) -> str:
    """Bars and ribbons of one row, stretched over the left of the drawing."""
    paths = f'<path d="{row.ribbons}" fill="{_TONE}" fill-opacity=".22"/>' if row.ribbons else ""
    for bars, colour in ((row.bars, _TONE), (row.ending_bars, _END)):
        if bars:
            paths += f'<path d="{bars}" stroke="{colour}" stroke-width="8" vector-effect="non-scaling-stroke"/>'
    return (
        f'<svg x="12" y="{top:.0f}" width="39%" height="{height:.0f}" '
        f'viewBox="0 0 {flow.WIDTH:.0f} {flow.DEPTH:.0f}" preserveAspectRatio="none" overflow="visible">{paths}</svg>'
    )


def _lines(group: flow.Group, t: Texts) -> list[tuple[str, str, bool]]:
    """The words of one group, broken to fit a phone: text, colour, bold."""
    title = group.label
    if group.count > 1:
        title += " " + t(f"flow.{group.kind}s", n=group.count)
    lines = [(text, _INK, True) for text in _broken(title)]
    about = [group.amount, t("flow.share", share=group.share) if group.share else "", group.when]
    lines += [(text, _SOFT, False) for each in about if each for text in _broken(each)]
    largest = sorted(group.lots, key=lambda lot: (-(lot.part or 0), lot.name))
    named = largest if len(largest) <= _NAMED + 1 else largest[:_NAMED]
    for lot in named:
        lines += [(text, _INK, False) for text in _broken(" ".join(filter(None, (lot.name, lot.share))))]
    rest = largest[len(named) :]
    if rest:
        parts = [lot.part for lot in rest]
        together = sum((part for part in parts if part is not None), Decimal(0))
        key = "flow.more" if None in parts else "flow.more_share"
        lines += [(text, _INK, False) for text in _broken(t(key, n=len(rest), share=formatting.percent(together)))]
    if group.ends:
        lines += [(text, _END, False) for text in _broken(t("flow.ends"))]
    return lines


def _broken(text: str, room: float = _NARROWEST) -> list[str]:
    """A text in lines that are no wider than a phone has room for: at spaces, or anywhere in Chinese."""
    lines, line, wide = [], "", 0.0
    for word in _words(text):
        width = sum(_EM if ord(one) > 0x2E7F else _EM * 0.58 for one in word)
        if line and wide + width > room:
            lines.append(line.strip())
            line, wide = "", 0.0
        line, wide = line + word, wide + width
    return [*lines, line.strip()] if line.strip() else lines


def _words(text: str) -> list[str]:
    """Pieces that stay together: words of letters with the space after them, single Chinese characters."""
    words: list[str] = []
    for one in text[:200]:
        if (
            words
            and ord(one) <= 0x2E7F
            and ord(words[-1][-1]) <= 0x2E7F
            and words[-1][-1] != " "
            and len(words[-1]) < 24
        ):
            words[-1] += one
        else:
            words.append(one)
    return words


def _text(x: float | str, y: float, text: str, colour: str, *, bold: bool = False, size: int = _EM) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x}" y="{y:.0f}" font-size="{size}" fill="{colour}"{weight}>{escape(text)}</text>'
