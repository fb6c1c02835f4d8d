"""The story of one lot as a shopper or an inspector reads it: plain values, gathered by `history.py`, drawn by pages.

Every text for people is a `Text` in Chinese and English; quantities are `None` where the reader may not see them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Literal

from .unit_contents import UnitContents


@dataclass(frozen=True)
class Text:
    """One text in Chinese and English."""

    zh: str
    en: str


Grade = Literal["self-declared", "sensor", "confirmed", "laboratory", "inspected"]
"""How well a fact is founded, from the weakest to the strongest (`evidence.py`)."""


@dataclass(frozen=True)
class Evidence:
    """One ground for what a step says, and how it was derived from the ledger."""

    grade: Grade
    how: Text
    entries: tuple[int, ...]
    """Ledger indexes of the statements that it rests on."""


@dataclass(frozen=True)
class Party:
    """An actor as named on the ledger. `key_custody` says how the key that signed is kept."""

    id: str
    name: Text
    roles: tuple[str, ...]
    county: str | None = None


@dataclass(frozen=True)
class Quantity:
    """An amount in a UN/CEFACT Rec 20 unit: KGM kilogram, LTR litre, H87 piece, HAR hectare."""

    value: Decimal
    uom: str


@dataclass(frozen=True)
class LotMention:
    """A lot, plot or logistic unit that a step names. `part`: input, output, lot, plot, unit, parent."""

    uri: str
    part: str
    name: str
    """GTIN lots: lot number; plots: registered name; others: the maker's label where visible, else a short id."""
    quantity: Quantity | None
    measures: tuple[Fact, ...] = ()


@dataclass(frozen=True)
class Fact:
    """One labelled value. `hidden` means that it was recorded, but this reader may not see it."""

    name: str
    label: Text
    value: Text | Decimal | int | bool | date | datetime | tuple[tuple[Fact, ...], ...] | None
    """Text for texts and enums (en falls back to zh), or a typed value, or rows of facts for a list."""
    unit: str | None = None
    hidden: bool = False
    highlight: bool = False
    grade: Grade = "self-declared"


@dataclass(frozen=True)
class Attachment:
    """A photo or document, known by its hash (`ni:///sha-256;...`); `path` serves it, None when it is not kept here."""

    hash: str
    media_type: str
    bytes: int
    path: str | None


@dataclass(frozen=True)
class LedgerPlace:
    """Where and when a statement stands on the ledger."""

    index: int
    statement_sha256: str
    logged_at: datetime
    signed_at: datetime
    kid: str
    key_custody: Literal["device", "service"]
    key_endorsed: bool


@dataclass(frozen=True)
class Loss:
    """A declared loss of a step."""

    reason: Text
    quantity: Quantity


@dataclass(frozen=True)
class LaboratoryResult:
    """One item of a laboratory report: what was measured, against which limit, and the laboratory's judgement."""

    item: Text
    value: str
    unit: str
    limit: str
    passed: bool | None


@dataclass(frozen=True)
class LaboratoryReport:
    """A laboratory's report on a lot."""

    lot: str
    laboratory: Party
    number: str
    issued_on: date | None
    standard: str
    passed: bool | None
    results: tuple[LaboratoryResult, ...]
    accreditation: str | None
    """Number of the laboratory's accreditation valid on that day, as registered on the ledger."""
    place: LedgerPlace


@dataclass(frozen=True)
class Step:
    """One event of the story."""

    event_id: str
    stage: str
    label: Text
    about: Text
    phase: Literal["origin", "making", "testing", "packing", "moving", "selling"]
    time: datetime
    """When it happened, as the recorder says, with the place's offset."""
    lag: timedelta
    """From happening to signing."""
    backfilled: bool
    """Declared as recorded later, from earlier records."""
    recorded_by: Party
    on_behalf_of: str | None
    at: Text | None
    """The place, by the name of its administrative division."""
    lots: tuple[LotMention, ...]
    losses: tuple[Loss, ...]
    facts: tuple[Fact, ...]
    hidden_facts: int
    """How many recorded fields this reader may not see."""
    attachments: tuple[Attachment, ...]
    corrects: str | None
    corrected_by: str | None
    depth: int
    """0 for events of the lot itself, 1 for its direct parents, and so on."""
    ledger: LedgerPlace
    erased_at: datetime | None = None
    """Log time of the newest erasure of fields of this event: that something was erased is told, not what."""
    evidence: tuple[Evidence, ...] = ()
    """Every ground there is for what the step says, the strongest first."""
    division: str = ""
    """Code of the administrative division that `at` names."""

    @property
    def grade(self) -> Grade:
        """The grade of its strongest ground."""
        return self.evidence[0].grade if self.evidence else "self-declared"


@dataclass(frozen=True)
class Plot:
    """A registered plot."""

    uri: str
    name: Text
    holder: Party
    division: Text | None
    area_mu: Decimal | None
    altitude_m: Decimal | None
    cultivar: str | None
    polygon: tuple[tuple[Decimal, Decimal], ...]
    """Longitude, latitude in degrees (CGCS2000/WGS-84), closed or not; fictitious in the samples."""
    share: Decimal | None
    """Share of the lot's mass that came from here, 0 to 1; None where it cannot be computed."""
    credential_index: int


@dataclass(frozen=True)
class Certificate:
    """A credential that speaks for the product or its makers (licence, production area, accreditation)."""

    type: str
    label: Text
    number: str | None
    name: Text | None
    holder: Party
    issuer: Party
    valid_from: date | None
    valid_until: date | None
    index: int
    revoked_at: datetime | None = None
    """Log time of its revocation: from that entry on it counts no more."""


@dataclass(frozen=True)
class RecallNotice:
    """A recall in force of this lot or of something it was made from. Exercises are not told."""

    id: str
    level: str
    """I, II or III."""
    reason: Text
    measures: Text
    """What to do."""
    contact: Text | None
    issuer: Party
    issued: datetime
    own: bool
    """Whether the lot itself is named, and not only what it was made from."""
    through: tuple[str, ...]
    """Names of the lots it was made from that are named."""
    items: tuple[tuple[int, int], ...]
    """Where only some items of this lot are meant: first and last sequence number of each range."""
    place: LedgerPlace
    outside: bool = False
    """Whether the story is of one item, and that is not among those meant."""

    def of_item(self, number: int) -> RecallNotice:
        """The same, as told of the item with this sequence number."""
        meant = not self.own or not self.items or any(first <= number <= last for first, last in self.items)
        return replace(self, outside=not meant)


@dataclass(frozen=True)
class AncestryNode:
    """A lot or plot in the drawn ancestry. `level` 0 is the lot itself; roots have the highest levels."""

    uri: str
    kind: Literal["lot", "plot"]
    name: str
    stage: Text | None
    """The stage that made it."""
    level: int
    quantity: Quantity | None
    share: Decimal | None
    """Share of the lot's mass that came through this node, 0 to 1."""
    made_on: date | None


@dataclass(frozen=True)
class AncestryEdge:
    """`parent` went into `child`."""

    parent: str
    child: str
    quantity: Quantity | None


@dataclass(frozen=True)
class Ancestry:
    """The lots and plots this lot was made from."""

    nodes: tuple[AncestryNode, ...]
    edges: tuple[AncestryEdge, ...]


@dataclass(frozen=True)
class Completeness:
    """These are all records of the lot among the first `size` entries, as of `time`; who audited that, if anybody."""

    records: int
    size: int
    time: datetime
    audited_by: str | None
    newer: int
    """Records shown that are newer than the proof."""


@dataclass(frozen=True)
class ProofState:
    """What the service itself checked before it showed the page, and what is not proven."""

    origin: str
    size: int
    root: str
    """Base64 of the checkpoint's root."""
    checkpoint_time: datetime
    """Log time of the newest entry the checkpoint covers."""
    statements: int
    signers: int
    verified: bool
    failures: tuple[str, ...]
    witnesses: tuple[tuple[str, datetime], ...] = ()
    waiting: int = 0
    """Events shown that the checkpoint does not cover yet: seconds old, or recorded while witnesses were away."""
    completeness: Completeness | None = None
    """None: nobody has proven yet that nothing is left out."""


@dataclass(frozen=True)
class Product:
    """A product as its maker registered it."""

    gtin: str
    name: Text
    brand: Text | None
    family: str
    family_label: Text
    net_content: Quantity | None
    net_content_text: str | None
    grade: str | None
    standard: str | None
    description: Text | None
    storage: Text | None
    warning: Text | None


@dataclass(frozen=True)
class Story:
    """Everything a product page says about one lot."""

    uri: str
    kind: Literal["lot", "plot", "unit"]
    name: str
    product: Product | None
    maker: Party
    made: Quantity | None
    made_on: date | None
    origin: Text | None
    """Where it comes from: the divisions of its plots, largest share first."""
    harvested: tuple[date, date] | None
    """First and last day of the harvest."""
    minimum_age: tuple[Decimal, Decimal] | None = None
    """Liquor only: minimum and mass-weighted mean age in years on the bottling date, derived from the ledger."""
    highlights: tuple[Fact, ...] = ()
    steps: tuple[Step, ...] = ()
    """Oldest first."""
    reports: tuple[LaboratoryReport, ...] = ()
    plots: tuple[Plot, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    ancestry: Ancestry = field(default_factory=lambda: Ancestry((), ()))
    proven_ancestry_ends: tuple[str, ...] = ()
    """Lots that entered from outside the system, where proven ancestry ends."""
    proof: ProofState | None = None
    recalls: tuple[RecallNotice, ...] = ()
    serial: str | None = None
    item_state: str | None = None
    """What became of the one item: issued, activated, packed, shipped, sold, returned or void."""
    contents: UnitContents | None = None
    """What a logistic unit holds now."""
    held: bool = False
    """Whether a finding of the rules holds the lot back until it is settled."""

    def of_item(self, number: int) -> Story:
        """The story as told of the item with this sequence number: which recalls mean it, and which do not."""
        return replace(self, recalls=tuple(one.of_item(number) for one in self.recalls)) if self.recalls else self

    @property
    def recalled(self) -> bool:
        """Whether a recall in force means what the story is of."""
        return any(not one.outside for one in self.recalls)
