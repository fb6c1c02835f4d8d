"""What a rule sees of the ledger: deeds, lots, processes, plots and credentials as of one entry.

Lots and plots are named by their subject strings (`lot/<actor>/<id>`, `01/<gtin>/10/<lot>`, `plot/<actor>/<id>`).
Amounts are `Decimal` in kilograms (KGM), litres (LTR) or pieces (H87); times are aware. Superseded deeds do not appear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal, Protocol

from ..record import Record
from ..template import Stage


@dataclass(frozen=True)
class Part:
    """A lot on one side of an event."""

    lot: str
    quantity: Decimal | None
    """None where none was recorded."""
    uom: str | None
    measures: Mapping[str, Any]
    """`moisture_percent`, `abv_percent`, `net_mass_kg`, `rejected`, ... as the stage has them."""

    def measure(self, name: str) -> Decimal | None:
        """A measured number, or None."""
        value = self.measures.get(name)
        return None if value is None or isinstance(value, (str, bool)) else Decimal(value)


@dataclass(frozen=True)
class DeclaredLoss:
    """A loss that an event declares."""

    reason: str
    quantity: Decimal
    uom: str


@dataclass(frozen=True, eq=False)
class Deed:
    """One event on the ledger with its record, opened as far as its private fields are still kept."""

    entry: int
    """Index in the log."""
    event_id: str
    stage: Stage
    actor: str
    """Whose doing it is."""
    signer: str | None
    """Who signed it, where that was another under a delegation."""
    record: Record
    """The normalised record (`trace/record.py`); `kde` below is its part that most rules want."""
    occurred: datetime
    """Event time, with the offset as stated."""
    signed: datetime
    logged: datetime
    backfilled: bool
    process: int | None
    """The transformation it belongs to; ask `facts.process_of(deed)`."""
    inputs: tuple[Part, ...] = ()
    outputs: tuple[Part, ...] = ()
    lots: tuple[Part, ...] = ()
    """Lots that it moves, observes or takes from."""
    plots: tuple[str, ...] = ()
    losses: tuple[DeclaredLoss, ...] = ()
    corrects: int | None = None
    """Entry of the deed it supersedes."""

    @property
    def kde(self) -> Mapping[str, Any]:
        """Key data elements by name, Chinese enum values as recorded; dates are ISO texts."""
        kde: Mapping[str, Any] = self.record["kde"]
        return kde

    @property
    def kind(self) -> str:
        """grow, create, transform, observe, withdraw, pack, ship, receive, sell or retail."""
        return self.stage.kind

    @property
    def family(self) -> str:
        """tea, chili, baijiu, common, ..."""
        return self.stage.family

    @property
    def day(self) -> date:
        """The local date of the event: limits are those of this day."""
        return self.occurred.date()

    @property
    def county(self) -> str:
        """Six-digit division code of the place."""
        return str(self.record.get("place") or "")[:6]

    @property
    def sender(self) -> str | None:
        """From whom a receipt comes."""
        return self.record.get("sender")

    @property
    def receiver(self) -> str | None:
        """To whom a shipment or sale goes."""
        return self.record.get("receiver")

    @property
    def attachments(self) -> tuple[str, ...]:
        """Hashes of its photos and documents."""
        return tuple(one["hash"] for one in self.record.get("attachments", ()))

    @cached_property
    def named(self) -> tuple[str, ...]:
        """Every lot it names."""
        return tuple(dict.fromkeys(part.lot for part in (*self.inputs, *self.outputs, *self.lots)))

    @cached_property
    def made_or_named(self) -> tuple[str, ...]:
        """The lots it makes; where it makes none, those it names."""
        return tuple(part.lot for part in self.outputs) or self.named

    def part(self, lot: str) -> Part | None:
        """The lot's row in this event."""
        return next((part for part in (*self.outputs, *self.inputs, *self.lots) if part.lot == lot), None)


@dataclass(frozen=True)
class Lot:
    """A lot: the deeds that made it and all that name it, in log order."""

    subject: str
    making: tuple[Deed, ...]
    """Deeds that have it as output: none while it was only received, its origin pending."""
    deeds: tuple[Deed, ...]

    @property
    def gtin(self) -> str | None:
        """The product's GTIN, for lots under one."""
        return self.subject[3:17] if self.subject.startswith("01/") else None

    @property
    def maker(self) -> str | None:
        """Who made it."""
        return self.making[-1].actor if self.making else None

    @property
    def made(self) -> Part | None:
        """How much was made, with its measures."""
        return self.making[-1].part(self.subject) if self.making else None

    @property
    def quantity(self) -> Decimal | None:
        """How much was made, over all makings."""
        parts = [part for deed in self.making for part in deed.outputs if part.lot == self.subject]
        known = [part.quantity for part in parts if part.quantity is not None]
        return sum(known, Decimal(0)) if parts and len(known) == len(parts) else None

    @property
    def uom(self) -> str | None:
        """Its unit of measure."""
        for deed in (*self.making, *self.deeds):
            part = deed.part(self.subject)
            if part is not None and part.uom is not None:
                return part.uom
        return None

    def of_kind(self, *kinds: str) -> tuple[Deed, ...]:
        """Its deeds of these kinds (`ship`, `receive`, `observe`, ...)."""
        return tuple(deed for deed in self.deeds if deed.kind in kinds)


@dataclass(frozen=True)
class Process:
    """One transformation: an event, or several that share a transformationID (a pit-year)."""

    id: int
    deeds: tuple[Deed, ...]
    """In log order."""

    @property
    def inputs(self) -> tuple[Part, ...]:
        """Everything put in, a lot once for each event that puts it in."""
        return tuple(part for deed in self.deeds for part in deed.inputs)

    @property
    def outputs(self) -> tuple[Part, ...]:
        """Everything taken out."""
        return tuple(part for deed in self.deeds for part in deed.outputs)

    @property
    def losses(self) -> tuple[DeclaredLoss, ...]:
        """Everything declared lost."""
        return tuple(loss for deed in self.deeds for loss in deed.losses)

    @property
    def plots(self) -> tuple[str, ...]:
        """Plots harvested from, where it is a harvest."""
        return tuple(dict.fromkeys(plot for deed in self.deeds for plot in deed.plots))

    @property
    def family(self) -> str:
        """The family of its first deed."""
        return self.deeds[0].family


@dataclass(frozen=True, eq=False)
class Credential:
    """A credential statement."""

    entry: int
    issuer: str
    id: str
    type: str
    """plot, licence, lab_accreditation, production_area, area_quota, product, backfill, delegation."""
    actor: str
    about: str | None
    """Subject string of the plot or product."""
    valid_from: date
    valid_until: date | None
    status: Literal["active", "revoked"]
    details: Mapping[str, Any]
    logged: datetime

    def holds_on(self, day: date) -> bool:
        """Whether it is valid on that day and not revoked."""
        return (
            self.status == "active" and self.valid_from <= day and (self.valid_until is None or day <= self.valid_until)
        )


@dataclass(frozen=True)
class Plot:
    """A plot as its newest plot credential describes it."""

    subject: str
    holder: str
    credential: Credential

    @property
    def area_mu(self) -> Decimal:
        """Registered area, 1 mu = 666.67 m²."""
        return Decimal(self.credential.details["area_mu"])

    @property
    def division(self) -> str:
        """Six- or nine-digit division code."""
        return str(self.credential.details["division"])

    @property
    def polygon(self) -> tuple[tuple[Decimal, Decimal], ...]:
        """Longitude, latitude of its corners."""
        return tuple((Decimal(str(x)), Decimal(str(y))) for x, y in self.credential.details["polygon"])

    @property
    def name(self) -> Mapping[str, str]:
        """zh and en."""
        name: Mapping[str, str] = self.credential.details["name"]
        return name


@dataclass(frozen=True)
class PlotSeason:
    """A plot in one season of one family (parameter `season`; a calendar year where there is none)."""

    plot: str
    family: str
    season: str
    """`2026` or `2026-spring`."""
    first: date
    last: date
    deeds: tuple[Deed, ...]
    """Works and harvests on the plot from `first` to `last`, in order of time; ask `facts.works_on` for others."""

    @property
    def harvests(self) -> tuple[Deed, ...]:
        """The deeds that took a lot from the plot."""
        return tuple(deed for deed in self.deeds if deed.kind == "create")


@dataclass(frozen=True)
class ActorYear:
    """What one actor did in one calendar year, of the stages that the rule looks at."""

    actor: str
    year: int
    deeds: tuple[Deed, ...]
    """In order of time."""


@dataclass(frozen=True)
class Hold:
    """Why a lot may not be shipped: a finding that quarantines it or a lot it was made from."""

    finding: str
    """Its id."""
    entry: int
    """Since which entry the lot is held back."""
    opened: datetime
    """Log time at which the finding was first made."""


class Facts(Protocol):
    """What a rule may ask. All answers are as of the entry that is being judged."""

    entry: int
    """Index of the entry that is being judged."""
    now: datetime
    """Its log time."""

    def lot(self, subject: str) -> Lot:
        """A lot with its deeds; empty ones where nothing is known of it."""

    def original(self, deed: Deed) -> Deed:
        """The first version of a deed that corrects another; the deed itself where it corrects none."""

    def process_of(self, deed: Deed) -> Process | None:
        """The transformation a deed belongs to. A harvest from plots is one too."""

    def makings(self, lot: str) -> Sequence[Process]:
        """The processes that made a lot (usually one)."""

    def uses(self, lot: str) -> Sequence[Process]:
        """The processes that took it in."""

    def parents(self, lot: str) -> Sequence[str]:
        """The lots that went into it directly."""

    def ancestors(self, lot: str) -> Sequence[str]:
        """All lots it was made from, nearest first, without itself."""

    def descendants(self, lot: str) -> Sequence[str]:
        """All lots made from it, nearest first, without itself."""

    def plots_under(self, lot: str) -> Sequence[str]:
        """All plots that it, or an ancestor, was harvested from."""

    def works_on(self, plot: str) -> Sequence[Deed]:
        """Every deed that names a plot, in order of time."""

    def plot(self, subject: str) -> Plot | None:
        """The plot's registration, or None."""

    def credentials(self, actor: str, type: str, on: date | None = None) -> Sequence[Credential]:
        """Credentials of an actor in their newest state, in log order; with `on` those that hold on that day."""

    def product(self, gtin: str, maker: str) -> Credential | None:
        """The registration of a product by its maker."""

    def roles(self, actor: str) -> frozenset[str]:
        """The roles an actor has."""

    def reports(self, lot: str) -> Sequence[Deed]:
        """Laboratory reports (`common.tested`) that name exactly this lot, in log order."""

    def deeds_with(self, attachment: str) -> Sequence[Deed]:
        """Every deed that names an attachment by this hash, in log order."""

    def holds(self, lot: str) -> Sequence[Hold]:
        """The quarantines on a lot (for rules with `after_quarantine`)."""

    def published(self) -> int | None:
        """Index of the last lot-index entry before the judged one: entries below it were published then."""
