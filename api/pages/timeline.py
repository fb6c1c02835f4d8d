"""The story as chapters: what happened day after day is gathered, what is the same each time is said once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from ...trace.evidence import LABELS
from ...trace.story import Attachment, Fact, Grade, LotMention, Quantity, Step, Story
from . import formatting
from .texts import Texts

PHASES = ("origin", "making", "testing", "packing", "moving", "selling")
PARTS = ("plot", "input", "output", "lot", "parent", "unit")
OPAQUE = "#"
"""How the name of a lot begins that is only the end of its random id."""
MOST_NAMES = 8
"""A step that names more lots gives their number; the ancestry names each."""
MOST_AMOUNTS = 4
"""Of one lot seen several times that many amounts are listed; of more their range is given."""
LATE = timedelta(hours=72)
"""Recorded later than this, a step says so with a mark (waiting offline is allowed up to here, formats §7)."""

Value = str | tuple[str, ...]


@dataclass(frozen=True)
class File:
    """A photo or document beside a step."""

    url: str | None
    short_hash: str
    hash: str
    size: str
    kind: str
    image: bool
    alt: str


@dataclass(frozen=True)
class Occurrence:
    """One step of several of a kind: when, and what is not the same in all of them."""

    index: int
    when: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """One line of the timeline: a step, or several of the same kind by the same recorder."""

    indexes: tuple[int, ...]
    label: str
    about: str
    count: int
    when: str
    iso: str
    clock: str
    """Time of day, for a single step."""
    recorder: str
    on_behalf_of: str
    at: str
    """The place, when it is not that of the entry before."""
    amount: str
    """投入 280 kg → 产出 257.6 kg"""
    losses: str
    recorded: str
    """How long after the fact it was recorded, or that it was recorded later from earlier records."""
    mark: str
    """"" | backfilled | late: how `recorded` is set off."""
    highlights: tuple[tuple[str, Value], ...]
    facts: tuple[tuple[str, Value], ...]
    each: tuple[Occurrence, ...]
    """The steps one by one, where there are several."""
    hidden: int
    photos: tuple[File, ...]
    documents: tuple[File, ...]
    corrects: int | None
    """Ledger index of the step that this one corrects; -1 when it is not part of the story."""
    corrected_by: int | None
    reported: bool
    """A laboratory's report shown in full elsewhere on the page."""
    erased: str
    """When fields were last erased; "" when none were."""
    custody: str
    """device | service | mixed: how the keys that signed are kept."""
    grade: Grade
    """How well the step is founded, and the word for it."""
    grade_word: str
    grounds: tuple[tuple[str, tuple[int, ...]], ...]
    """How that was derived, each with the ledger entries it rests on."""
    measured: frozenset[str]
    """Labels of the facts that an instrument measured."""


@dataclass(frozen=True)
class Chapter:
    """One phase of the story."""

    phase: str
    span: str
    backfilled: bool
    """All of it was recorded later, which is said in full once; each entry still has the short word for it."""
    entries: tuple[Entry, ...]


def chapters(story: Story, t: Texts) -> tuple[Chapter, ...]:
    """The steps by phase, and within a phase by first occurrence; steps of one kind by one recorder in one entry."""
    places = {step.event_id: step.ledger.index for step in story.steps}
    reported = {report.place.index for report in story.reports}
    made: list[Chapter] = []
    for phase in PHASES:
        steps = [step for step in story.steps if step.phase == phase]
        if not steps:
            continue
        groups: dict[tuple[object, ...], list[Step]] = {}
        for step in steps:
            groups.setdefault(_kind(step, reported), []).append(step)
        entries = [_entry(group, places, reported, t) for group in groups.values()]
        days = [step.time.date() for step in steps]
        later = len(entries) > 1 and all(entry.mark == "backfilled" for entry in entries)
        if later:
            entries = [replace(entry, recorded=t("lag.backfilled_short"), mark="") for entry in entries]
        made.append(Chapter(phase, formatting.days(min(days), max(days), t), later, tuple(_said_once(entries))))
    return tuple(made)


def _said_once(entries: Sequence[Entry]) -> list[Entry]:
    """The entries without a place or an explanation that was given just before in the same chapter."""
    explained: set[str] = set()
    place = ""
    shown: list[Entry] = []
    for entry in entries:
        shown.append(
            replace(
                entry, at="" if entry.at == place else entry.at, about="" if entry.about in explained else entry.about
            )
        )
        explained.add(entry.about)
        place = entry.at
    return shown


def _kind(step: Step, reported: set[int]) -> tuple[object, ...]:
    """What steps must share to be told in one entry. Corrections and laboratory reports stand alone."""
    alone = step.corrects or step.corrected_by or step.ledger.index in reported
    return (step.event_id,) if alone else (
        step.stage, step.recorded_by.id, step.on_behalf_of, step.backfilled, step.grade,
    )  # fmt: skip


def _entry(steps: Sequence[Step], places: Mapping[str, int], reported: set[int], t: Texts) -> Entry:
    first = steps[0]
    days = [step.time.date() for step in steps]
    is_report = any(step.ledger.index in reported for step in steps)
    values = [_values(step, t, skip_lists=is_report, alone=len(steps) == 1) for step in steps]
    ordered = list(dict.fromkeys(key for each in values for key in each))
    common = {key: values[0][key] for key in ordered if all(each.get(key) == values[0].get(key) for each in values)}
    varying = [key for key in ordered if key not in common]
    strong = {t.pick(each.label) for each in _facts(first) if each.highlight}
    lag = max(step.lag for step in steps)
    places_named = {t.pick(step.at) for step in steps if step.at}
    files = [(each, step) for step in steps for each in step.attachments]
    custody = {step.ledger.key_custody for step in steps}
    erased = [step.erased_at for step in steps if step.erased_at is not None]
    return Entry(
        indexes=tuple(step.ledger.index for step in steps),
        label=t.pick(first.label),
        about=t.pick(first.about),
        count=len(steps),
        when=formatting.days(min(days), max(days), t),
        iso=formatting.iso_day(first.time if len(steps) == 1 else min(days)),
        clock=formatting.clock(first.time) if len(steps) == 1 else "",
        recorder=t.pick(first.recorded_by.name),
        on_behalf_of=first.on_behalf_of or "",
        at=t("list.separator").join(sorted(places_named)) if len(places_named) < 3 else "",
        amount=_amount(steps, t),
        losses=_losses(steps, t),
        recorded=_recorded(steps, lag, t),
        mark="backfilled" if first.backfilled else "late" if lag > LATE else "",
        highlights=tuple((key, common[key]) for key in common if key in strong),
        facts=tuple((key, common[key]) for key in common if key not in strong),
        each=_each(steps, values, varying, t) if len(steps) > 1 else (),
        hidden=sum(step.hidden_facts for step in steps),
        photos=tuple(_file(each, step, t) for each, step in files if each.media_type.startswith("image/")),
        documents=tuple(_file(each, step, t) for each, step in files if not each.media_type.startswith("image/")),
        corrects=places.get(first.corrects, -1) if first.corrects else None,
        corrected_by=places.get(first.corrected_by, -1) if first.corrected_by else None,
        reported=is_report,
        erased=formatting.day(max(erased).date(), t) if erased else "",
        custody=custody.pop() if len(custody) == 1 else "mixed",
        grade=first.grade,
        grade_word=t.pick(LABELS[first.grade]),
        grounds=_grounds(steps, t),
        measured=frozenset(t.pick(each.label) for step in steps for each in step.facts if each.grade == "sensor"),
    )


def _grounds(steps: Sequence[Step], t: Texts) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """What each ground says once, with the entries beside the steps' own that it rests on; the strongest first."""
    own = {step.ledger.index for step in steps}
    found: dict[str, set[int]] = {}
    for step in steps:
        for ground in step.evidence:
            if ground.grade == "self-declared":
                continue  # its word says it
            found.setdefault(t.pick(ground.how), set()).update(set(ground.entries) - own)
    return tuple((how, tuple(sorted(entries))) for how, entries in found.items())


def _facts(step: Step) -> list[Fact]:
    """The step's facts, then what was measured on its lots. Hidden ones are only counted."""
    measured = [each for lot in step.lots for each in lot.measures]
    return [each for each in (*step.facts, *measured) if not each.hidden]


def _values(step: Step, t: Texts, *, skip_lists: bool, alone: bool) -> dict[str, Value]:
    """Label -> words, for everything the step says beyond its amounts.

    `skip_lists`: a report's results stand elsewhere on the page. `alone`: name every lot; of a group the ancestry names
    the lots used and those without a name of their own.
    """
    values: dict[str, Value] = {}
    for part in PARTS:
        named = list(dict.fromkeys(lot.name for lot in step.lots if lot.part == part))
        if not alone:
            named = [] if part == "input" else [name for name in named if not name.startswith(OPAQUE)]
        if named:
            many = len(named) > MOST_NAMES
            values[t(f"part.{part}")] = t("part.count", n=len(named)) if many else t("list.separator").join(named)
    for each in step.facts:
        if not each.hidden and each.value is not None and not (skip_lists and isinstance(each.value, tuple)):
            values[t.pick(each.label)] = formatting.fact(each, t)
    values.update(_measures(step.lots, t))
    return values


def _measures(lots: Sequence[LotMention], t: Texts) -> dict[str, Value]:
    """Measures by label: one value, or 77.5% → 75.5% from what went in to what came out, else a value a lot."""
    found: dict[str, list[tuple[LotMention, str]]] = {}
    for lot in lots:
        for each in lot.measures:
            if not each.hidden and each.value is not None:
                said = formatting.flat(formatting.fact(each, t))
                found.setdefault(t.pick(each.label), []).append((lot, said))
    return {label: _measured(values) for label, values in found.items()}


def _measured(values: Sequence[tuple[LotMention, str]]) -> Value:
    went_in, came_out = ({said for lot, said in values if lot.part == part} for part in ("input", "output"))
    if len({said for _, said in values}) == 1:
        return values[0][1]
    if len(went_in) == len(came_out) == 1 and len(values) == sum(lot.part in ("input", "output") for lot, _ in values):
        return f"{went_in.pop()} → {came_out.pop()}"
    return tuple(f"{lot.name} {said}" for lot, said in values)


def _quantities(steps: Sequence[Step], part: str) -> list[Quantity | None]:
    return [lot.quantity for step in steps for lot in step.lots if lot.part == part]


def _amount(steps: Sequence[Step], t: Texts) -> str:
    """投入 280 kg → 产出 257.6 kg; for lots seen or moved their amount alone."""
    sides = [
        t(f"amount.{part}", amount=amount)
        for part in ("input", "output")
        if (amount := formatting.total(_quantities(steps, part), t))
    ]
    return " → ".join(sides) if sides else _seen(steps, t)


def _seen(steps: Sequence[Step], t: Texts) -> str:
    """What was seen or moved. Different lots add up; the same lot seen again does not, so its amounts stay apart."""
    seen = [(lot.uri, lot.quantity) for step in steps for lot in step.lots if lot.part == "lot" and lot.quantity]
    if len({uri for uri, _ in seen}) == len(seen):
        return formatting.total((amount for _, amount in seen), t)
    amounts = list(dict.fromkeys(amount for _, amount in seen))
    if len(amounts) <= MOST_AMOUNTS:
        return t("list.separator").join(formatting.quantity(amount, t) for amount in amounts)
    least, most = min(amounts, key=lambda each: each.value), max(amounts, key=lambda each: each.value)
    return f"{formatting.quantity(least, t)}–{formatting.quantity(most, t)}"


def _losses(steps: Sequence[Step], t: Texts) -> str:
    by_reason: dict[str, list[Quantity]] = {}
    for step in steps:
        for loss in step.losses:
            by_reason.setdefault(t.pick(loss.reason), []).append(loss.quantity)
    return t("list.separator").join(f"{reason} {formatting.total(amounts, t)}" for reason, amounts in by_reason.items())


def _recorded(steps: Sequence[Step], lag: timedelta, t: Texts) -> str:
    if steps[0].backfilled:
        return t("lag.backfilled")
    delay = formatting.delay(lag, t)
    if len(steps) > 1:
        delay = t("lag.all" if lag <= timedelta(hours=1) else "lag.latest", delay=delay)
    return t("lag.recorded", delay=delay)


def _each(
    steps: Sequence[Step], values: Sequence[Mapping[str, Value]], varying: Sequence[str], t: Texts
) -> tuple[Occurrence, ...]:
    """The steps of a group one by one: when, where if that differs, how much, and whatever is not the same in all."""
    years = len({step.time.year for step in steps}) > 1
    places = {t.pick(step.at) for step in steps}
    told: list[Occurrence] = []
    for step, each in zip(steps, values, strict=True):
        words = [t.pick(step.at) if len(places) > 2 else "", _amount([step], t), _losses([step], t)]
        words += [f"{label} {formatting.flat(each[label])}" for label in varying if label in each]
        when = f"{formatting.day(step.time.date(), t, year=years)} {formatting.clock(step.time)}"
        told.append(Occurrence(step.ledger.index, when, tuple(word for word in words if word)))
    return tuple(told)


def _file(attachment: Attachment, step: Step, t: Texts) -> File:
    image = attachment.media_type.startswith("image/")
    kind = attachment.media_type.rpartition("/")[2].upper()
    label = t.pick(step.label)
    return File(
        url=formatting.link(attachment.path),
        short_hash=formatting.short_hash(attachment.hash),
        hash=attachment.hash,
        size=formatting.size(attachment.bytes, t),
        kind="JPEG" if kind == "JPG" else kind,
        image=image,
        alt=t("photo.alt", step=label, day=formatting.day(step.time.date(), t)),
    )
