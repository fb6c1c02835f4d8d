"""A record and the EPCIS 2.0 event it becomes, there and back (formats section 7).

A record is what people write: a stage, lots, quantities, key data elements. `normalise` gives it URIs and standard
units, `validate` holds it against its stage's JSON Schema, `compose` makes the event, `decompose` reads an event
that somebody composed elsewhere. `compose(decompose(event)) == event` is how a stranger's event is checked whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast

import jsonschema_rs

from ..ledger.errors import Refusal
from .naming import Names, is_actor_id
from .schema import fault, strict_validator
from .template import PACKING, VISIBILITY_RANK, LotSide, Stage, Visibility

CONTEXT: tuple[Any, ...] = (
    "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld",
    {"suyuan": "https://suyuan.example/voc/"},
)
SIDES = ("inputs", "outputs", "lots")
REFUSED = ("rejected", "damaged", "short", "rejected_kg")
"""Measures by which a receiver says what did not enter its stock."""
_LIST_OF_SIDE = {"inputs": "inputQuantityList", "outputs": "outputQuantityList"}
_ENTERED_UNITS: Mapping[str, tuple[Decimal, str]] = {
    "kg": (Decimal(1), "KGM"), "千克": (Decimal(1), "KGM"), "公斤": (Decimal(1), "KGM"),
    "斤": (Decimal("0.5"), "KGM"), "jin": (Decimal("0.5"), "KGM"), "g": (Decimal("0.001"), "KGM"),
    "t": (Decimal(1000), "KGM"), "吨": (Decimal(1000), "KGM"),
    "L": (Decimal(1), "LTR"), "升": (Decimal(1), "LTR"),
    "件": (Decimal(1), "H87"), "瓶": (Decimal(1), "H87"), "袋": (Decimal(1), "H87"), "pcs": (Decimal(1), "H87"),
}  # fmt: skip

Record = dict[str, Any]
Private = dict[str, Visibility]
"""JSON pointer of a private member of the event -> its visibility class."""


@dataclass(frozen=True)
class Composed:
    """An event ready to be signed, and which of its members are to be hidden."""

    event: dict[str, Any]
    private: Private


def _malformed(rule: str, field: str, zh: str, en: str, expected: str = "") -> Refusal:
    return Refusal(rule, field=field, zh=zh, en=en, expected=expected, status_hint="unprocessable")


# ---------------------------------------------------------------- from what people write


@dataclass(frozen=True)
class References:
    """How a record's short references become URIs: known labels of lots and plots, fresh ids for new lots."""

    lot: Callable[[str], str | None]
    plot: Callable[[str], str]
    new_lot: Callable[[], str]
    event_id: Callable[[], str]


def normalise(raw: Mapping[str, Any], stage: Stage, actor: str, names: Names, refer: References) -> Record:
    """The record with URIs for references and UN/CEFACT units for quantities; what was typed is kept in `entered`.

    Raises Refusal for a label that names no lot, a new lot whose label is taken, or a unit nobody knows.
    """
    shorthand = ("lot", "quantity", "uom") if "lot" in raw else ()
    record: Record = {key: value for key, value in raw.items() if key != "visibility" and key not in shorthand}
    _spread_shorthand(record, raw, stage)
    record.setdefault("event_id", refer.event_id())
    record.setdefault("kde", {})
    labels: list[dict[str, str]] = []
    entered: list[dict[str, Any]] = []
    for side in SIDES:
        rows = record.get(side)
        if not isinstance(rows, list):
            continue
        makes = side == "outputs"
        record[side] = [
            _normalised_row(row, f"/{side}/{number}", makes, names, refer, labels, entered)
            for number, row in enumerate(rows)
        ]
    if isinstance(record.get("plots"), list):
        record["plots"] = [refer.plot(plot) if isinstance(plot, str) else plot for plot in record["plots"]]
    if isinstance(record.get("logistic_units"), list):
        record["logistic_units"] = [_unit_uri(unit, names) for unit in record["logistic_units"]]
    if "parent" in record:
        record["parent"] = _unit_uri(record["parent"], names)
    if isinstance(record.get("process"), str):
        record["process"] = names.process(actor, record["process"])
    if isinstance(record.get("losses"), list):
        record["losses"] = [_standard_units(loss, f"/losses/{i}", entered) for i, loss in enumerate(record["losses"])]
    if labels:
        record["labels"] = [*(record["labels"] if isinstance(record.get("labels"), list) else ()), *labels]
    if entered:
        record["entered"] = entered
    return record


def _spread_shorthand(record: Record, raw: Mapping[str, Any], stage: Stage) -> None:
    if "lot" not in raw:
        return
    side = "outputs" if stage.kind in ("create", "transform") else "lots"
    row = {key: raw[key] for key in ("lot", "quantity", "uom") if key in raw}
    for measure in stage.measures:
        if measure in record:
            row[measure] = record.pop(measure)
    if side in record:
        raise _malformed(
            "lot-twice", "/lot", f"“lot”与“{side}”只能写其一", f"give either `lot` or `{side}`, not both", side
        )
    record[side] = [row]


def _normalised_row(
    row: Any,
    where: str,
    makes: bool,
    names: Names,
    refer: References,
    labels: list[dict[str, str]],
    entered: list[dict[str, Any]],
) -> Any:
    if not isinstance(row, dict) or not isinstance(row.get("lot"), str):
        return row
    reference = row["lot"]
    if reference.startswith("https://"):
        uri = reference
    elif reference.startswith("/"):
        uri = names.absolute(reference)
    else:
        known = refer.lot(reference)
        if makes and (known is not None or any(label["label"] == reference for label in labels)):
            raise Refusal(
                "lot-label-taken",
                field=f"{where}/lot",
                zh=f"批次名“{reference}”已经用过，新批次请换一个名字",
                en=f"the label {reference!r} already names a lot of yours; give the new lot another one",
                status_hint="conflict",
            )
        if not makes and known is None:
            raise _malformed(
                "lot-unknown",
                f"{where}/lot",
                f"没有名为“{reference}”的批次",
                f"no lot of yours is labelled {reference!r}",
                "a lot you made or hold, by its URI or your own label",
            )
        uri = known if known is not None else refer.new_lot()
        if makes:
            labels.append({"lot": uri, "label": reference})
    return _standard_units({**row, "lot": uri}, where, entered)


def _standard_units(row: Any, where: str, entered: list[dict[str, Any]]) -> Any:
    if not isinstance(row, dict) or not isinstance(row.get("uom"), str) or row["uom"] not in _ENTERED_UNITS:
        return row
    factor, unit = _ENTERED_UNITS[row["uom"]]
    quantity = row.get("quantity")
    if isinstance(quantity, bool) or not isinstance(quantity, int | Decimal):
        return {**row, "uom": unit}
    entered.append({"where": where, "quantity": quantity, "uom": row["uom"]})
    return {**row, "quantity": plain(Decimal(quantity) * factor), "uom": unit}


def plain(value: Decimal) -> Decimal | int:
    """`value` without trailing zeros: an int when it is whole."""
    return int(value) if value == value.to_integral_value() else value.normalize()


def _unit_uri(unit: Any, names: Names) -> Any:
    if not isinstance(unit, str) or unit.startswith("https://"):
        return unit
    return names.absolute(unit) if unit.startswith("/") else names.logistic_unit(unit)


# ---------------------------------------------------------------- holding it against the template


def validate(record: Record, stage: Stage, names: Names) -> list[Refusal]:
    """Everything that is wrong with a normalised record, each fault naming field and rule; empty when it is right."""
    faults = [fault(error, record) for error in _validator(stage).iter_errors(record)]
    if faults:
        return faults
    return list(_beyond_schema(record, stage, names))


def refuse_faults(faults: Sequence[Refusal]) -> None:
    """Raises the first of the faults, if there is any; `others` of it lists the rest."""
    if faults:
        faults[0].others = list(faults[1:])
        raise faults[0]


_VALIDATORS: dict[int, tuple[Stage, jsonschema_rs.Draft202012Validator]] = {}


def _validator(stage: Stage) -> jsonschema_rs.Draft202012Validator:
    cached = _VALIDATORS.get(id(stage))
    if cached is None or cached[0] is not stage:
        cached = _VALIDATORS[id(stage)] = (stage, strict_validator(stage.record_schema))
    return cached[1]


def _beyond_schema(record: Record, stage: Stage, names: Names) -> Iterator[Refusal]:
    if stage.kind == "transform" and not (record.get("inputs") or record.get("outputs")):
        yield _malformed("mandatory-element", "/outputs", "缺少投入或产出", "it neither takes nor makes a lot", "lots")
    if stage.kind in PACKING and not (record.get("lots") or record.get("logistic_units")):
        yield _malformed(
            "mandatory-element", "/lots", "没有写装拆了什么", "it does not say what is packed", "lots, units"
        )
    if stage.kind == "receive":
        for number, row in enumerate(record.get("lots", ())):
            if not row["quantity"] and not any(row.get(name) for name in REFUSED):
                yield _malformed(
                    "value-range", f"/lots/{number}/quantity", "既没有收下，也没有拒收、破损或短少的数量",
                    "nothing was taken in, and nothing rejected, damaged or missing", "an amount above 0",
                )  # fmt: skip
    seen: dict[str, str] = {}
    for side in SIDES:
        rule: LotSide = getattr(stage, side)
        for number, row in enumerate(record.get(side, ())):
            field = f"/{side}/{number}/lot"
            fault = _named(row["lot"], field, names, ("01/", "lot/"))
            if fault is not None:
                yield fault
                continue
            if row["lot"] in seen:
                yield _malformed(
                    "lot-twice", field, f"批次在本记录里出现两次（另见 {seen[row['lot']]}）",
                    f"the lot stands twice in this record (also at {seen[row['lot']]})",
                )  # fmt: skip
            seen[row["lot"]] = field
            if row.get("uom") == "H87" and row["quantity"] != int(row["quantity"]):
                yield _malformed(
                    "quantity-whole", f"/{side}/{number}/quantity", "件数应为整数", "pieces are whole", "a whole number"
                )
            under_gtin = names.tail(row["lot"], "01") is not None
            if rule.under_gtin != "either" and rule.under_gtin != under_gtin:
                wanted = "/01/<gtin>/10/<lot>" if rule.under_gtin else "/lot/<actor>/<id>"
                yield _malformed(
                    "lot-kind", field, f"此处的批次应为 {wanted}", f"the lot must be {wanted} here", wanted
                )
    for name, kinds in (("plots", ("plot/",)), ("logistic_units", ("00/",))):
        for number, uri in enumerate(record.get(name, ())):
            if (fault := _named(uri, f"/{name}/{number}", names, kinds)) is not None:
                yield fault
    if "parent" in record and (fault := _named(record["parent"], "/parent", names, ("00/",))) is not None:
        yield fault
    for name in ("sender", "receiver", "on_behalf_of"):
        if name in record and not is_actor_id(record[name]):
            yield _malformed(
                "actor-id", f"/{name}", f"{record[name]} 不是有效的主体编码", f"{record[name]} is not a valid actor id",
                "a unified social credit code with its right check character, or P + 16 characters",
            )  # fmt: skip
    made = {row["lot"] for row in record.get("outputs", ())}
    for number, label in enumerate(record.get("labels", ())):
        if label["lot"] not in made:
            yield _malformed(
                "label-of-other",
                f"/labels/{number}",
                "只能给本记录产生的批次命名",
                "only lots made here can be labelled",
            )


def _named(uri: str, field: str, names: Names, kinds: tuple[str, ...]) -> Refusal | None:
    try:
        subject = names.subject(uri, field)
    except Refusal as refusal:
        return refusal
    if not subject.startswith(kinds) or (subject.startswith("01/") and names.uri(subject) != uri):
        wanted = " / ".join(kinds)
        return _malformed(
            "uri-kind", field, f"{uri} 不是所需的标识（{wanted}）", f"{uri} is not a {wanted} URI", wanted
        )
    return None


# ---------------------------------------------------------------- to the event


def compose(record: Record, stage: Stage, actor: str, names: Names) -> Composed:
    """The EPCIS event of a normalised, validated record, with the members that its template hides."""
    event: dict[str, Any] = {
        "@context": list(CONTEXT),
        "type": stage.event_type,
        "eventID": record["event_id"],
        "eventTime": record["time"],
        "eventTimeZoneOffset": record["time"][-6:],
    }
    if stage.action is not None:
        event["action"] = stage.action
    event["bizStep"] = stage.biz_step
    if stage.disposition is not None:
        event["disposition"] = stage.disposition
    event["bizLocation"] = {"id": names.place(record["place"])}
    private: Private = {}
    _compose_subjects(event, private, record, stage)
    for name, member, kind, party in (
        ("sender", "sourceList", "source", stage.sender),
        ("receiver", "destinationList", "destination", stage.receiver),
    ):
        if name in record and party is not None:
            event[member] = [{"type": "possessing_party", kind: names.party(record[name])}]
            if party.visibility != "public":
                private[f"/{member}"] = party.visibility
    if "document" in record and stage.document is not None:
        event["bizTransactionList"] = [{"bizTransaction": names.document(actor, record["document"])}]
        if stage.document.visibility != "public":
            private["/bizTransactionList"] = stage.document.visibility
    event["suyuan:stage"] = stage.id
    event["suyuan:kde"] = _compose_kde(private, record, stage)
    if stage.kind in ("create", "transform"):
        event["suyuan:labels"] = record.get("labels")
        private["/suyuan:labels"] = "partner"
    for name, member in (
        ("attachments", "suyuan:attachments"),
        ("corrects", "suyuan:corrects"),
        ("backfilled", "suyuan:backfilled"),
        ("on_behalf_of", "suyuan:onBehalfOf"),
    ):
        if record.get(name):
            event[member] = record[name]
    if "on_behalf_of" in record:
        private["/suyuan:onBehalfOf"] = "partner"
    return Composed(event, private)


def _compose_subjects(event: dict[str, Any], private: Private, record: Record, stage: Stage) -> None:
    if "process" in record:
        event["transformationID"] = record["process"]
    if stage.kind in PACKING:
        event["parentID"] = record["parent"]
    things = [*record.get("plots", ()), *record.get("logistic_units", ())]
    if things:
        event[_things(stage)] = things
    for side in SIDES:
        if side not in record:
            continue
        member = quantity_list(side, stage)
        event[member] = [
            {"epcClass": row["lot"], **{key: row[key] for key in ("quantity", "uom") if key in row}}
            for row in record[side]
        ]
        visibility = getattr(stage, side).visibility
        if visibility != "public":
            for number, row in enumerate(record[side]):
                private |= {f"/{member}/{number}/{key}": visibility for key in ("quantity", "uom") if key in row}


def _things(stage: Stage) -> str:
    """The member of the event that holds what it names by an identifier of its own."""
    return "childEPCs" if stage.kind in PACKING else "epcList"


def quantity_list(side: str, stage: Stage) -> str:
    """The member of the event that holds a side of the record."""
    if stage.kind == "transform":
        return _LIST_OF_SIDE[side]
    return "childQuantityList" if stage.kind in PACKING else "quantityList"


def _compose_kde(private: Private, record: Record, stage: Stage) -> dict[str, Any]:
    kde = dict(record["kde"])
    for name, visibility in stage.private_kde():
        kde.setdefault(name, None)
        private[f"/suyuan:kde/{name}"] = visibility
    measured = [
        {"lot": row["lot"], **{name: row[name] for name in stage.measures if name in row}}
        for side in SIDES
        for row in record.get(side, ())
        if any(name in row for name in stage.measures)
    ]
    if stage.measures_visibility != "public":
        kde["lots"] = measured or None
        private["/suyuan:kde/lots"] = stage.measures_visibility
    elif measured:
        kde["lots"] = measured
    if stage.losses is not None and stage.losses.visibility != "public":
        kde["losses"] = record.get("losses") or None
        private["/suyuan:kde/losses"] = stage.losses.visibility
    elif record.get("losses"):
        kde["losses"] = record["losses"]
    if record.get("entered"):
        kde["entered"] = record["entered"]
        private["/suyuan:kde/entered"] = "partner"
    return kde


_TIGHTENABLE = re.compile(
    r"/(suyuan:kde/[^/]+|suyuan:labels|suyuan:onBehalfOf|sourceList|destinationList|bizTransactionList"
    r"|(inputQuantityList|outputQuantityList|quantityList|childQuantityList)/\d+/(quantity|uom))"
)


def tighten(private: Private, wanted: Any) -> Private:
    """`private` with the classes that a request asks for, by pointer or `kde/<name>`.

    Raises Refusal `visibility` when one would loosen, or is none.
    """
    if not isinstance(wanted, Mapping):
        raise _malformed("visibility", "/visibility", "可见范围应为对象", "visibility is an object of field: class")
    tightened = dict(private)
    for name, visibility in wanted.items():
        pointer = name if name.startswith("/") else "/suyuan:" + name
        if not isinstance(visibility, str) or visibility not in VISIBILITY_RANK or not _TIGHTENABLE.fullmatch(pointer):
            raise _malformed(
                "visibility",
                f"/visibility/{name}",
                "此字段不能这样设置可见范围",
                "this field cannot be given that visibility",
                "partner or regulator, for a key data element, a quantity or a party",
            )
        if VISIBILITY_RANK[visibility] < VISIBILITY_RANK[private.get(pointer, "public")]:
            raise _malformed(
                "visibility", f"/visibility/{name}", "可见范围只能收紧，不能放宽", "visibility can only be tightened",
                private.get(pointer, "public"),
            )  # fmt: skip
        if visibility != "public":
            tightened[pointer] = cast("Visibility", visibility)
    return tightened


# ---------------------------------------------------------------- from the event


def decompose(event: Mapping[str, Any], stage: Stage, names: Names) -> Record:
    """The normalised record inside a fully disclosed event. What does not fit is left out, so recomposing shows it."""
    record: Record = {"stage": stage.id, "event_id": event.get("eventID"), "time": event.get("eventTime")}
    location = event.get("bizLocation")
    if isinstance(location, dict) and isinstance(location.get("id"), str):
        record["place"] = names.tail(location["id"], "place")
    kde = event.get("suyuan:kde")
    kde = dict(kde) if isinstance(kde, dict) else {}
    rows = kde.pop("lots", None)
    measured = {
        row["lot"]: row
        for row in (rows if isinstance(rows, list) else ())
        if isinstance(row, dict) and isinstance(row.get("lot"), str)
    }
    for name in ("losses", "entered"):
        if (value := kde.pop(name, None)) is not None:
            record[name] = value
    private = {name for name, _ in stage.private_kde()}
    record["kde"] = {name: value for name, value in kde.items() if value is not None or name not in private}
    for side in SIDES:
        rows = event.get(quantity_list(side, stage)) if getattr(stage, side).maximum else None
        if isinstance(rows, list):
            record[side] = [_row(row, measured) for row in rows]
    _decompose_things(record, event, stage, names)
    for name, member, kind in (("sender", "sourceList", "source"), ("receiver", "destinationList", "destination")):
        if (uri := _only(event.get(member), kind)) is not None:
            record[name] = names.tail(uri, "actor")
    if (uri := _only(event.get("bizTransactionList"), "bizTransaction")) is not None:
        record["document"] = (names.tail(uri, "document") or "").partition("/")[2]
    for name, member in (
        ("process", "transformationID"), ("parent", "parentID"), ("labels", "suyuan:labels"),
        ("attachments", "suyuan:attachments"), ("corrects", "suyuan:corrects"),
        ("backfilled", "suyuan:backfilled"), ("on_behalf_of", "suyuan:onBehalfOf"),
    ):  # fmt: skip
        if event.get(member) is not None:
            record[name] = event[member]
    return record


def _row(row: Any, measured: Mapping[str, dict[str, Any]]) -> Any:
    if not isinstance(row, dict) or not isinstance(row.get("epcClass"), str):
        return row
    lot = row["epcClass"]
    measures = {key: value for key, value in measured.get(lot, {}).items() if key not in ("lot", "quantity", "uom")}
    return {"lot": lot, **{key: row[key] for key in ("quantity", "uom") if key in row}, **measures}


def _decompose_things(record: Record, event: Mapping[str, Any], stage: Stage, names: Names) -> None:
    things = event.get(_things(stage))
    if not isinstance(things, list):
        return
    plots = [uri for uri in things if isinstance(uri, str) and names.tail(uri, "plot") is not None]
    units = [uri for uri in things if uri not in plots]
    if plots:
        record["plots"] = plots
    if units:
        record["logistic_units"] = units


def _only(rows: Any, member: str) -> str | None:
    if isinstance(rows, list) and len(rows) == 1 and isinstance(rows[0], dict) and isinstance(rows[0].get(member), str):
        value: str = rows[0][member]
        return value
    return None


def read_event(event: Mapping[str, Any], stage: Stage, actor: str, names: Names) -> Record:
    """The record of a fully disclosed event, valid against its template and telling all that the event tells.

    Raises Refusal: a fault of the template first, then `event-form` naming the first member that no record of this
    stage would have made.
    """
    return read_composed(event, stage, actor, names)[0]


def read_composed(event: Mapping[str, Any], stage: Stage, actor: str, names: Names) -> tuple[Record, Private]:
    """`read_event`, and which members of the event its template hides."""
    record = decompose(event, stage, names)
    refuse_faults(validate(record, stage, names))
    composed = compose(record, stage, actor, names)
    expected = composed.event
    if expected != event:
        member = next(
            (name for name in [*event, *expected] if event.get(name, expected) != expected.get(name, event)), ""
        )
        raise _malformed(
            "event-form",
            f"/{member}",
            f"事件的 {member} 与阶段 {stage.id} 的模板不符",
            f"{member} of the event is not what stage {stage.id} makes of it",
            "the event that a dry run of the same record shows",
        )
    return record, composed.private
