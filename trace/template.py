"""Stage templates: what each stage of a product's life must and may say, read from `stages/*.yaml`.

A template is data. From it follow the JSON Schema of a record (`Stage.record_schema`), its validation
(`record.py`), the visibility of every field, the form that a person fills in and the labels on the page.
Adding a product family is adding a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.resources import files
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

Visibility = Literal["public", "partner", "regulator"]
VISIBILITY_RANK: Mapping[str, int] = {"public": 0, "partner": 1, "regulator": 2}

Kind = Literal[
    "grow",
    "create",
    "transform",
    "observe",
    "withdraw",
    "pack",
    "ship",
    "receive",
    "sell",
    "retail",
    "recover",
    "reclaim",
    "unpack",
]
Phase = Literal["origin", "making", "testing", "packing", "moving", "selling"]
ROLES = (
    "grower", "cooperative", "nursery", "grain_firm", "factory", "distillery", "laboratory", "carrier", "warehouse",
    "trader", "dealer", "retailer", "authority", "accreditor", "certifier", "auditor",
)  # fmt: skip
UNITS_OF_MEASURE = ("KGM", "LTR", "H87", "HAR")  # UN/CEFACT Rec 20: kilogram, litre, piece, hectare
EVENT_TYPES: Mapping[str, tuple[str, str | None]] = {
    "grow": ("ObjectEvent", "OBSERVE"),
    "create": ("ObjectEvent", "ADD"),
    "transform": ("TransformationEvent", None),
    "observe": ("ObjectEvent", "OBSERVE"),
    "withdraw": ("ObjectEvent", "DELETE"),
    "pack": ("AggregationEvent", "ADD"),
    "unpack": ("AggregationEvent", "DELETE"),
    "ship": ("ObjectEvent", "OBSERVE"),
    "receive": ("ObjectEvent", "OBSERVE"),
    "sell": ("TransactionEvent", "ADD"),
    "retail": ("ObjectEvent", "OBSERVE"),
    "recover": ("ObjectEvent", "OBSERVE"),
    "reclaim": ("ObjectEvent", "OBSERVE"),
}
PACKING = ("pack", "unpack")
"""Kinds by which goods and cases go into a logistic unit, and come out of it."""
TAKING_LOTS = (*PACKING, "observe", "withdraw", "ship", "receive", "sell", "retail", "recover", "reclaim")
"""Kinds that name lots as they are: neither made nor used up."""
RESERVED_KDE = frozenset({"lots", "losses", "entered"})

_NAME = r"^[a-z][a-z0-9_]{0,47}$"
# The offset as EPCIS 2.0 has it in eventTimeZoneOffset.
_TIME = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,3})?[+-]((0\d|1[0-3]):[0-5]\d|14:00)$"
_DATE = r"^\d{4}-\d{2}-\d{2}$"
_PLACE = r"^\d{6}(\d{3})?$"
_TEXT = r"^[^\u0000-\u0008\u000b-\u001f\u007f]*$"
_URI = r"^[A-Za-z][A-Za-z0-9+.-]*:[!-~]+$"
NI_HASH = r"^ni:///sha-256;[A-Za-z0-9_-]{43}$"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Label(_Part):
    """A text for people, in Chinese and English."""

    zh: Annotated[str, Field(min_length=1)]
    en: Annotated[str, Field(min_length=1)]


class KeyDataElement(_Part):
    """One key data element of a stage.

    `minimum` and `maximum` are true bounds in `unit`; `typical` is shown in forms and never enforced.
    """

    label: Label
    type: Literal["text", "integer", "decimal", "enum", "boolean", "date", "datetime", "list"]
    unit: str | None = None
    minimum: Annotated[float | int | None, Field(alias="min")] = None
    maximum: Annotated[float | int | None, Field(alias="max")] = None
    typical: str | None = None
    values: Mapping[str, str] = {}
    """For `enum`: the recorded Chinese value -> its English reading."""
    mandatory: bool = False
    visibility: Visibility = "public"
    highlight: bool = False
    max_length: int = 400
    of: Mapping[str, KeyDataElement] = {}
    """For `list`: the members of each row."""
    max_items: int = 60
    personal: bool = False
    """Names a natural person or how to reach one: may be erased at once, whatever term food law sets for the rest."""
    evidence: Literal["sensor"] | None = None
    """`sensor`: read from an instrument; counts as measured where the record names the stage's `device`."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.type == "enum") != bool(self.values):
            raise ValueError("an enum needs values, and only an enum has them")
        if (self.type == "list") != bool(self.of):
            raise ValueError("a list needs `of`, and only a list has it")
        return self

    def value_schema(self) -> dict[str, Any]:
        """The JSON Schema of one value of this element."""
        schema: dict[str, Any] = {"title": self.label.zh, "description": self.label.en}
        match self.type:
            case "text":
                schema |= {"type": "string", "minLength": 1, "maxLength": self.max_length, "pattern": _TEXT}
            case "integer" | "decimal":
                schema |= {"type": "integer" if self.type == "integer" else "number"}
                if self.minimum is not None:
                    schema["minimum"] = self.minimum
                if self.maximum is not None:
                    schema["maximum"] = self.maximum
                if self.unit is not None:
                    schema["x-unit"] = self.unit
                if self.typical is not None:
                    schema["x-typical"] = self.typical
            case "enum":
                schema |= {"type": "string", "enum": list(self.values), "x-enum-en": list(self.values.values())}
            case "boolean":
                schema |= {"type": "boolean"}
            case "date":
                schema |= {"type": "string", "pattern": _DATE, "format": "date"}
            case "datetime":
                schema |= {"type": "string", "pattern": _TIME, "format": "date-time"}
            case "list":
                schema |= {"type": "array", "minItems": 1, "maxItems": self.max_items, "items": _object(self.of)}
        schema["x-visibility"] = self.visibility
        return schema


class Loss(_Part):
    """Which losses a stage may declare, and who may see the amounts."""

    reasons: Mapping[str, Label]
    visibility: Visibility = "public"


class LotSide(_Part):
    """How many lots stand on one side of an event, in which units, and who may see how much."""

    minimum: Annotated[int, Field(alias="min", ge=0)] = 0
    maximum: Annotated[int, Field(alias="max", ge=0, le=400)] = 0
    uom: tuple[Literal["KGM", "LTR", "H87", "HAR"], ...] = ("KGM",)
    visibility: Visibility = "public"
    under_gtin: bool | Literal["either"] = "either"
    quantity: Literal["mandatory", "optional", "none"] = "mandatory"

    @model_validator(mode="after")
    def _private_means_mandatory(self) -> Self:
        # A hidden quantity is opened at submission; null would not be an EPCIS quantity.
        if self.visibility != "public" and self.quantity == "optional":
            raise ValueError("a quantity that is not public must be mandatory or none")
        return self


class PlotSide(_Part):
    """How many plots an event names."""

    minimum: Annotated[int, Field(alias="min", ge=0)] = 0
    maximum: Annotated[int, Field(alias="max", ge=0, le=400)] = 0


class Party(_Part):
    """The other party of a movement or sale."""

    visibility: Visibility = "partner"
    mandatory: bool = True

    @model_validator(mode="after")
    def _private_means_mandatory(self) -> Self:
        if self.visibility != "public" and not self.mandatory:
            raise ValueError("a party that is not public must be mandatory")
        return self


class Document(_Part):
    """The trade document (order, delivery note) that an event belongs to."""

    label: Label
    visibility: Visibility = "partner"
    mandatory: bool = False

    @model_validator(mode="after")
    def _private_means_mandatory(self) -> Self:
        if self.visibility != "public" and not self.mandatory:
            raise ValueError("a document number that is not public must be mandatory")
        return self


class Attachments(_Part):
    """How many photos and documents an event may carry."""

    maximum: Annotated[int, Field(alias="max", ge=0, le=20)] = 6


class Stage(_Part):
    """One stage (critical tracking event) of a product family."""

    id: str
    family: str
    label: Label
    about: Label
    kind: Kind
    biz_step: str
    disposition: str | None = None
    roles: tuple[str, ...]
    phase: Phase
    plots: PlotSide = PlotSide()
    inputs: LotSide = LotSide()
    outputs: LotSide = LotSide()
    lots: LotSide = LotSide()
    process: Literal["optional", "mandatory", "none"] = "none"
    measures: Mapping[str, KeyDataElement] = {}
    measures_visibility: Visibility = "public"
    losses: Loss | None = None
    sender: Party | None = None
    receiver: Party | None = None
    document: Document | None = None
    logistic_units: PlotSide = PlotSide()
    attachments: Attachments = Attachments()
    kde: Mapping[str, KeyDataElement] = {}
    device: str | None = None
    """The key data element that names the instrument from which the elements with `evidence: sensor` are read."""
    retention_years: Annotated[int, Field(ge=0, le=100)] = 2
    """How long food law has the records of this stage kept; by default that of its family."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        unknown = [role for role in self.roles if role not in ROLES]
        if unknown or not self.roles:
            raise ValueError(f"unknown or no roles {unknown}")
        if (self.device is None) == any(element.evidence == "sensor" for element in self.kde.values()):
            raise ValueError("what a sensor measures needs a device that the record names, and the other way round")
        if self.device is not None and self.device not in self.kde:
            raise ValueError(f"the device {self.device} is no key data element")
        if reserved := RESERVED_KDE & set(self.kde):
            raise ValueError(f"reserved key data elements {sorted(reserved)}")
        if (self.kind in TAKING_LOTS) != bool(self.lots.maximum):
            raise ValueError(f"a stage of kind {self.kind} {'needs' if self.kind in TAKING_LOTS else 'has no'} lots")
        if (self.kind == "transform") < bool(self.inputs.maximum or self.process != "none"):
            raise ValueError("only a transformation has inputs or a process")
        if (self.kind in ("create", "transform")) < bool(self.outputs.maximum):
            raise ValueError(f"a stage of kind {self.kind} has no outputs")
        if self.kind == "create" and not self.outputs.maximum:
            raise ValueError("a creating stage needs outputs")
        if self.kind == "grow" and not self.plots.minimum:
            raise ValueError("a growing stage names plots")
        if self.plots.maximum and self.kind not in ("grow", "create", "observe"):
            raise ValueError("only growing, creating and observing stages name plots")
        if self.logistic_units.maximum and self.kind not in ("ship", "receive", "observe", "retail", *PACKING):
            raise ValueError("only movements, observations and packing name logistic units")
        if self.kind == "sell" and (self.document is None or self.document.visibility != "public"):
            raise ValueError("a sale is a TransactionEvent: it needs a public document number")
        if self.kind in ("sell", "ship") and self.receiver is None:
            raise ValueError("a movement to somebody names its receiver")
        if self.kind in ("receive", "reclaim") and self.sender is None:
            raise ValueError("a receipt names its sender")
        moved = (self.inputs, self.outputs, *([self.lots] if self.kind not in ("observe", *PACKING) else ()))
        if any(side.maximum and side.quantity != "mandatory" for side in moved):
            raise ValueError("what changes a stock states how much")
        return self

    @property
    def event_type(self) -> str:
        """The EPCIS event type a record of this stage becomes."""
        return EVENT_TYPES[self.kind][0]

    @property
    def action(self) -> str | None:
        """The EPCIS action, absent for transformations."""
        return EVENT_TYPES[self.kind][1]

    @cached_property
    def record_schema(self) -> dict[str, Any]:
        """The JSON Schema (2020-12) of a normalised record of this stage: what `record.normalise` returns.

        Lots and plots are URIs there, times carry their offset, quantities are in UN/CEFACT Rec 20 units.
        """
        properties: dict[str, Any] = {
            "stage": {"const": self.id},
            "event_id": {"type": "string", "minLength": 8, "maxLength": 200, "pattern": _URI},
            "time": {"type": "string", "pattern": _TIME, "format": "date-time"},
            "place": {"type": "string", "pattern": _PLACE},
            "kde": _object(self.kde),
            "labels": {
                "type": "array",
                "maxItems": 400,
                "items": {
                    "type": "object",
                    "required": ["lot", "label"],
                    "additionalProperties": False,
                    "properties": {
                        "lot": {"type": "string", "maxLength": 300},
                        "label": {"type": "string", "minLength": 1, "maxLength": 60, "pattern": _TEXT},
                    },
                },
            },
            "entered": {"type": "array", "maxItems": 400, "items": {"type": "object"}},
            "corrects": {"type": "string", "minLength": 8, "maxLength": 200},
            "backfilled": {"const": True},
            "on_behalf_of": {"type": "string", "minLength": 1, "maxLength": 40},
        }
        required = ["stage", "event_id", "time", "place", "kde"]
        if self.attachments.maximum:
            properties["attachments"] = {
                "type": "array",
                "maxItems": self.attachments.maximum,
                "items": {
                    "type": "object",
                    "required": ["hash", "mediaType", "bytes"],
                    "additionalProperties": False,
                    "properties": {
                        "hash": {"type": "string", "pattern": NI_HASH},
                        "mediaType": {"enum": ["image/jpeg", "image/png", "image/webp", "application/pdf"]},
                        "bytes": {"type": "integer", "minimum": 1, "maximum": 20_000_000},
                    },
                },
            }
        for side in ("inputs", "outputs", "lots"):
            rule: LotSide = getattr(self, side)
            if rule.maximum:
                properties[side] = self._lots_schema(rule)
                required += [side] if rule.minimum else []
        for name, count in (("plots", self.plots), ("logistic_units", self.logistic_units)):
            if count.maximum:
                properties[name] = {
                    "type": "array",
                    "minItems": count.minimum,
                    "maxItems": count.maximum,
                    "uniqueItems": True,
                    "items": {"type": "string", "maxLength": 300},
                }
                required += [name] if count.minimum else []
        if self.losses is not None:
            properties["losses"] = {
                "type": "array",
                "maxItems": 20,
                "items": {
                    "type": "object",
                    "required": ["reason", "quantity", "uom"],
                    "additionalProperties": False,
                    "properties": {
                        "reason": {"type": "string", "enum": list(self.losses.reasons)},
                        "quantity": {"type": "number", "minimum": 0},
                        "uom": {"type": "string", "enum": list(UNITS_OF_MEASURE)},
                    },
                },
            }
        party = {"type": "string", "pattern": r"^[0-9A-Z]{17,18}$"}
        for name, who in (("sender", self.sender), ("receiver", self.receiver)):
            if who is not None:
                properties[name] = party
                required += [name] if who.mandatory else []
        if self.document is not None:
            properties["document"] = {"type": "string", "pattern": r"^[0-9A-Za-z][0-9A-Za-z._-]{0,59}$"}
            required += ["document"] if self.document.mandatory else []
        if self.kind in PACKING:
            properties["parent"] = {"type": "string", "maxLength": 300}
            required.append("parent")
        if self.process != "none":
            properties["process"] = {"type": "string", "pattern": r"^urn:uuid:[0-9a-f-]{36}$"}
            required += ["process"] if self.process == "mandatory" else []
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": f"{self.label.zh} {self.label.en}",
            "type": "object",
            "required": required,
            "additionalProperties": False,
            "properties": properties,
        }

    def _lots_schema(self, side: LotSide) -> dict[str, Any]:
        item = _object(self.measures)
        item["properties"]["lot"] = {"type": "string", "maxLength": 300}
        item["required"].append("lot")
        if side.quantity != "none":
            # A receiver may reject all of it.
            least = "minimum" if self.kind == "receive" else "exclusiveMinimum"
            item["properties"]["quantity"] = {"type": "number", least: 0, "maximum": 1_000_000_000}
            item["properties"]["uom"] = {"type": "string", "enum": list(side.uom)}
            if side.quantity == "mandatory":
                item["required"] += ["quantity", "uom"]
            else:
                item["dependentRequired"] = {"quantity": ["uom"], "uom": ["quantity"]}
        return {"type": "array", "minItems": side.minimum, "maxItems": side.maximum, "items": item}

    def private_kde(self) -> Iterator[tuple[str, Visibility]]:
        """The key data elements that are not public, each with its visibility."""
        for name, element in self.kde.items():
            if element.visibility != "public":
                yield name, element.visibility


def _object(elements: Mapping[str, KeyDataElement]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [name for name, element in elements.items() if element.mandatory],
        "additionalProperties": False,
        "properties": {name: element.value_schema() for name, element in elements.items()},
    }


class Family(_Part):
    """A product family: its name and its stages in the order of the product's life."""

    family: Annotated[str, Field(pattern=_NAME)]
    label: Label
    standards: tuple[str, ...] = ()
    retention_years: Annotated[int, Field(ge=0, le=100)] = 2
    """How long food law has this family's records kept (domain section 2); a stage may say otherwise."""
    stages: Mapping[str, Stage]


class Templates:
    """All stages, by id."""

    def __init__(self, families: Mapping[str, Family]) -> None:
        self.families = families
        self.stages: Mapping[str, Stage] = {
            stage.id: stage for family in families.values() for stage in family.stages.values()
        }

    def get(self, stage_id: str) -> Stage | None:
        """The stage called `stage_id`, or None."""
        return self.stages.get(stage_id)


def read_family(text: str) -> Family:
    """Reads one `stages/*.yaml`. Raises `pydantic.ValidationError` or `yaml.YAMLError` with the place of the fault."""
    raw = yaml.safe_load(text)
    for stage_id, stage in raw["stages"].items():
        if not stage_id.startswith(raw["family"] + "."):
            raise ValueError(f"stage {stage_id} does not belong to the family {raw['family']}")
        term = {"retention_years": raw["retention_years"]} if "retention_years" in raw else {}
        raw["stages"][stage_id] = {**term, **stage, "id": stage_id, "family": raw["family"]}
    return Family.model_validate(raw)


def load_templates() -> Templates:
    """The templates that come with the package, each file checked whole."""
    families: dict[str, Family] = {}
    for path in sorted(files(__package__).joinpath("stages").iterdir(), key=lambda p: p.name):
        if path.name.endswith(".yaml"):
            family = read_family(path.read_text(encoding="utf-8"))
            families[family.family] = family
    return Templates(families)
