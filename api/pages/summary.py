"""What a shopper wants to know in five seconds: where from, when, tested how, how old, and whether the record holds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...trace.story import LaboratoryReport, LaboratoryResult, Story, Text
from . import formatting
from .texts import Texts

Sign = Literal["", "good", "bad", "open"]

FAMILIES = frozenset(
    file.stem.removeprefix("land_") for file in (Path(__file__).parent / "templates").glob("land_*.svg")
) - {"other"}
"""Families with a landscape of their own, `templates/land_*.svg`; anything else is drawn in ink."""
DATED_BY = {"baijiu": "baijiu.round_distilled"}
"""The stage whose days are asked for first, where it is not the harvest."""
MOST_HIGHLIGHTS = 4
"""Of the highlighted facts this many stand at the top; all of them stand with their steps."""
TOLD_ABOVE = ("issued", "void")
"""States of an item that what is said of its code has said already."""


@dataclass(frozen=True)
class Point:
    """One line at the top of the page. `sign` puts a mark and a word before the value."""

    label: str
    value: str
    note: str = ""
    sign: Sign = ""
    anchor: str = ""


@dataclass(frozen=True)
class Badge:
    """The state of the proof in one line and a half."""

    sign: Sign
    line: str
    note: str


def family(story: Story) -> str:
    """`tea`, `chili`, `baijiu`, or `other` for everything without a product."""
    return story.product.family if story.product and story.product.family in FAMILIES else "other"


def title(story: Story) -> Text:
    """The product's name, figures kept with their units; else the lot's own."""
    if story.product is None:
        return Text(story.name, story.name)
    return Text(*(re.sub(r"(?<=\d) (?=\w)", "\u00a0", name) for name in (story.product.name.zh, story.product.name.en)))


def below(story: Story, t: Texts) -> tuple[str, ...]:
    """What stands below the name, without what the name itself says: grade, net content, lot, item and its state."""
    product, said = story.product, t.pick(title(story)).replace("\u00a0", " ").casefold()
    found: list[str] = []
    if product is not None:
        amount = formatting.net_content(product.net_content, t) if product.net_content else ""
        net = amount if amount and t.lang == "en" else product.net_content_text or amount
        told = (formatting.word(product.grade or "", t), net)
        found += [each for each in told if each and each.replace("\u00a0", " ").casefold() not in said]
    if product is not None or story.kind != "lot":
        found.append(t(f"top.{story.kind}", lot=story.name))
    if story.serial:
        found.append(t("top.serial", serial=story.serial))
        if story.item_state not in (None, *TOLD_ABOVE):
            found.append(t(f"top.item_{story.item_state}"))
    return tuple(found)


def points(story: Story, t: Texts) -> tuple[Point, ...]:
    """The lines at the top, most asked for first."""
    found: list[Point] = []
    kind = family(story)
    if story.origin:
        found.append(Point(t("top.origin"), t.pick(story.origin), anchor="plots" if story.plots else ""))
    dated = [step.time.date() for step in story.steps if step.stage == DATED_BY.get(kind) and not step.corrected_by]
    if dated:
        found.append(Point(t(f"top.dated.{kind}"), formatting.days(min(dated), max(dated), t)))
    elif story.harvested:
        found.append(Point(t(f"top.harvested.{kind}"), formatting.days(*story.harvested, t)))
    if story.kind == "lot":
        found.append(_tested(story, t))
    if story.minimum_age:
        least, mean = (formatting.number(age) for age in story.minimum_age)
        found.append(Point(t("top.age"), t("top.age_least", years=least), t("top.age_mean", years=mean)))
    if story.made_on:
        amount = formatting.quantity(story.made, t) if story.made else ""
        found.append(Point(t(f"top.made.{kind}"), formatting.day(story.made_on, t), amount))
    found.append(Point(t("top.maker"), t.pick(story.maker.name)))
    return (*found, *_highlights(story, {t.pick(title(story)), *(point.value for point in found)}, t))


def _highlights(story: Story, said: set[str], t: Texts) -> list[Point]:
    """What is highlighted, the lot's own before its ancestors', and nothing that is `said` already."""
    depth: dict[str, int] = {}
    for step in story.steps:
        for each in step.facts:
            depth[each.name] = min(step.depth, depth.get(each.name, step.depth))
    shown = [each for each in story.highlights if not each.hidden and each.value is not None]
    points = [
        Point(t.pick(each.label), formatting.flat(formatting.fact(each, t)))
        for each in sorted(shown, key=lambda each: depth.get(each.name, 0))
    ]
    new = [point for point in points if not any(point.value.casefold() in one.casefold() for one in said)]
    return new[:MOST_HIGHLIGHTS]


def _tested(story: Story, t: Texts) -> Point:
    """The newest report on this very lot, else the newest on a lot it was made from, which is then said."""
    if not story.reports:
        return Point(t("top.tested"), t("top.untested"), sign="open")
    own = [report for report in story.reports if report.lot == story.uri]
    report = max(own or story.reports, key=lambda each: each.place.logged_at)
    note = [t.pick(report.laboratory.name)]
    if report.issued_on:
        note.append(formatting.day(report.issued_on, t))
    if not own:
        note.append(t("top.tested_parent"))
    return Point(t("top.tested"), verdict(report.passed, t), " · ".join(note), sign(report), "lab")


def sign(report: LaboratoryReport | LaboratoryResult) -> Sign:
    """The mark of a judgement, of a report or of one of its items."""
    return "open" if report.passed is None else "good" if report.passed else "bad"


def verdict(passed: bool | None, t: Texts) -> str:
    """A judgement in words."""
    return t("lab.unjudged") if passed is None else t("lab.passed" if passed else "lab.failed")


def badge(story: Story, t: Texts) -> Badge:
    """Recorded since when, by how many, and whether this service found it unaltered. Never that it is true."""
    proof = story.proof
    if proof is None:
        return Badge("open", t("badge.none"), "")
    if not proof.verified:
        return Badge("bad", t("badge.failed"), t("badge.failed_note"))
    counts = f"{t('badge.records', n=proof.statements)} · {t('badge.signers', n=proof.signers)}"
    if not story.steps:
        return Badge("good", t("badge.unaltered"), counts)
    since = min(step.ledger.logged_at for step in story.steps).astimezone(formatting.CHINA).date()
    return Badge("good", t("badge.since", day=formatting.day(since, t)), counts)
