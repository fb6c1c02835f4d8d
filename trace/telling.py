"""From gathered statements to a story: steps, laboratory reports, plots, certificates, the drawn ancestry."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from .ages import liquor_ages, stated_day
from .custody import from_micro
from .divisions import division
from .evidence import Grader, measured_facts
from .gathering import Gathered, Seen
from .genealogy import Flow, amounts
from .item_ranges import CASED, RANGES
from .naming import Names
from .recall_notices import recall_notices
from .record import Record, decompose, quantity_list
from .schema import parse_time
from .shares import decimal_share, shares_up
from .story import (
    Ancestry,
    AncestryEdge,
    AncestryNode,
    Attachment,
    Certificate,
    Evidence,
    Fact,
    Grade,
    LaboratoryReport,
    LaboratoryResult,
    LedgerPlace,
    Loss,
    LotMention,
    Party,
    Plot,
    Product,
    Quantity,
    Step,
    Story,
    Text,
)
from .template import KeyDataElement, Stage, Templates

CERTIFICATES: Mapping[str, Text] = {
    "licence": Text("生产许可", "Licence"),
    "lab_accreditation": Text("检测资质", "Laboratory accreditation"),
    "production_area": Text("产区证明", "Production-area certificate"),
}
_MOST_RANGES = 12
_PARTS = {"inputs": "input", "outputs": "output", "lots": "lot"}
_SEASON_DAYS = 400  # farm work this long before a harvest belongs to its story


class Teller:
    """Tells the story of what was gathered."""

    def __init__(self, gathered: Gathered, templates: Templates, names: Names) -> None:
        self._gathered = gathered
        self._templates = templates
        self._names = names
        self._ids = {row["subject"]: row["id"] for row in gathered.nodes.values()}
        self._plots = {seen.body["plot"]: seen for seen in gathered.credentials() if seen.body["type"] == "plot"}
        self._erased_at = {
            b64decode(seen.body["statement"]): datetime.fromtimestamp(seen.stored.time_ms / 1000, UTC)
            for seen in gathered.statements.values()
            if seen.claim == "erasure"
        }
        self._shares = shares_up(gathered.walk, gathered.may_see)
        self._grader = Grader(gathered, templates, names)

    def story(self) -> Story:
        """The whole story, but for the proof state."""
        node = self._gathered.node
        steps = tuple(sorted(self._steps(), key=lambda step: (step.time, step.ledger.index)))
        plots = tuple(self._told_plots())
        harvests = [step.time.date() for step in steps if step.stage.endswith(".harvested") and not step.corrected_by]
        made_on = parse_time(node["made_time"]).date() if node["made_time"] else None  # type: ignore[union-attr]
        return Story(
            uri=self._names.uri(node["subject"]),
            kind=node["kind"],
            name=self._name(node["id"]),
            product=self._product(),
            maker=self._party(node["maker"] or self._gathered.node["subject"].split("/")[1]),
            made=self._quantity_of(node["id"]),
            made_on=made_on,
            origin=self._origin(plots),
            harvested=(min(harvests), max(harvests)) if harvests else None,
            minimum_age=liquor_ages(self._gathered.walk, self._gathered.nodes, self._stored_since()),
            highlights=tuple(self._highlights(steps)),
            steps=steps,
            reports=tuple(self._reports()),
            plots=plots,
            certificates=tuple(self._certificates()),
            recalls=tuple(recall_notices(self._gathered, self._names, self._party, self._place, self._name_of)),
            held=self._gathered.held,
            ancestry=self._ancestry(),
            proven_ancestry_ends=tuple(
                self._name(row["id"]) for row in self._gathered.nodes.values() if row["stage"] == "common.introduced"
            ),
        )

    # ------------------------------------------------------------ steps

    def _steps(self) -> Iterable[Step]:
        for seen in self._gathered.events():
            stage = self._templates.stages[seen.body["suyuan:stage"]]
            record = decompose(seen.body, stage, self._names)
            if self._belongs(record, stage):
                yield self._step(seen, stage, record)

    def _belongs(self, record: Record, stage: Stage) -> bool:
        """Whether an event on one of the chains is part of this lot's story; a plot also has other years and crops."""
        lots = {row["lot"] for side in _PARTS for row in record.get(side, ())}
        if lots:
            return any(self._names.subject(lot, "") in self._ids for lot in lots)
        if stage.kind != "grow":
            return True
        time = parse_time(record["time"])
        harvests = [
            parse_time(seen.body["eventTime"])
            for seen in self._gathered.events()
            if seen.body["suyuan:stage"].endswith(".harvested")
        ]
        return not harvests or any(
            time is not None and harvest is not None and 0 <= (harvest - time).days <= _SEASON_DAYS
            for harvest in harvests
        )

    def _step(self, seen: Seen, stage: Stage, record: Record) -> Step:
        time = parse_time(record["time"])
        assert time is not None  # it was judged when it was captured
        signed = datetime.fromtimestamp(seen.statement.iat, UTC)
        levels = [
            self._gathered.walk.level[self._ids[subject]]
            for mention in self._mentions(seen, stage, record)
            if (subject := self._names.subject(mention.uri, "")) in self._ids
        ]
        evidence = self._grader.evidence(seen, stage)
        return Step(
            event_id=record["event_id"],
            stage=stage.id,
            label=Text(stage.label.zh, stage.label.en),
            about=Text(stage.about.zh, stage.about.en),
            phase=stage.phase,
            time=time,
            lag=signed - time,
            backfilled=bool(record.get("backfilled")),
            recorded_by=self._party(seen.statement.iss),
            on_behalf_of=record.get("on_behalf_of"),
            at=division(record["place"]) if record.get("place") else None,
            lots=tuple(self._mentions(seen, stage, record)),
            losses=tuple(self._losses(stage, record)),
            facts=self._graded(tuple(_facts(record["kde"], stage.kde, seen.hidden)), seen, stage, evidence),
            hidden_facts=len(seen.hidden),
            attachments=tuple(
                Attachment(item["hash"], item["mediaType"], item["bytes"], attachment_path(item["hash"]))
                for item in record.get("attachments", ())
            ),
            corrects=record.get("corrects"),
            corrected_by=self._gathered.corrections.get(record["event_id"]),
            depth=min(levels, default=0),
            ledger=self._place(seen),
            erased_at=self._erased_at.get(seen.statement.hash),
            evidence=evidence,
            division=record.get("place") or "",
        )

    def _graded(
        self, facts: tuple[Fact, ...], seen: Seen, stage: Stage, evidence: tuple[Evidence, ...]
    ) -> tuple[Fact, ...]:
        """The facts with their own grades: what a laboratory or authority itself says, what an instrument measured."""
        measured = measured_facts(seen.body["suyuan:kde"], stage, seen.hidden)
        third: Grade | None = next(
            (each.grade for each in evidence if each.grade in ("inspected", "laboratory") and len(each.entries) == 1),
            None,
        )
        if not measured and third is None:
            return facts
        return tuple(
            replace(fact, grade="sensor" if fact.name in measured else third or "self-declared") for fact in facts
        )

    def _mentions(self, seen: Seen, stage: Stage, record: Record) -> Iterable[LotMention]:
        for side, part in _PARTS.items():
            for number, row in enumerate(record.get(side, ())):
                amount = row.get("quantity")
                measures = {name: row[name] for name in stage.measures if name in row}
                hidden = f"/{quantity_list(side, stage)}/{number}/quantity" in seen.hidden
                yield LotMention(
                    uri=row["lot"],
                    part=part,
                    name=self._name_of(row["lot"]),
                    quantity=None if amount is None or hidden else Quantity(Decimal(amount), row["uom"]),
                    measures=tuple(_facts(measures, stage.measures, ())),
                )
        for part, uris in (
            ("plot", record.get("plots", ())),
            ("unit", record.get("logistic_units", ())),
            ("parent", [record["parent"]] if record.get("parent") else ()),
        ):
            for uri in uris:
                yield LotMention(uri, part, self._name_of(uri), None)

    def _losses(self, stage: Stage, record: Record) -> Iterable[Loss]:
        for loss in record.get("losses") or ():
            reason = stage.losses.reasons.get(loss["reason"]) if stage.losses is not None else None
            text = Text(reason.zh, reason.en) if reason is not None else Text(loss["reason"], loss["reason"])
            yield Loss(text, Quantity(Decimal(loss["quantity"]), loss["uom"]))

    def _place(self, seen: Seen) -> LedgerPlace:
        key = self._gathered.keys.get(seen.statement.kid)
        return LedgerPlace(
            index=seen.index,
            statement_sha256=seen.statement.hash.hex(),
            logged_at=datetime.fromtimestamp(seen.stored.time_ms / 1000, UTC),
            signed_at=datetime.fromtimestamp(seen.statement.iat, UTC),
            kid=seen.statement.kid,
            key_custody="device" if key is None else key["custody"],
            key_endorsed=key is not None and key["endorsed_by"] is not None,
        )

    def _highlights(self, steps: Iterable[Step]) -> Iterable[Fact]:
        seen: set[str] = set()
        for step in steps:
            for fact in step.facts:
                if fact.highlight and fact.name not in seen and not isinstance(fact.value, tuple | bool | None):
                    seen.add(fact.name)
                    yield fact

    # ------------------------------------------------------------ reports, plots, certificates, product

    def _reports(self) -> Iterable[LaboratoryReport]:
        for seen in self._gathered.events():
            event = seen.body
            if event["suyuan:stage"] != "common.tested" or event["eventID"] in self._gathered.corrections:
                continue
            kde = event["suyuan:kde"]
            issued = date.fromisoformat(kde["issued_on"])
            for row in event.get("quantityList", ()):
                yield LaboratoryReport(
                    lot=row["epcClass"],
                    laboratory=self._party(seen.statement.iss),
                    number=kde["report_no"],
                    issued_on=issued,
                    standard=kde["standard"],
                    passed={"合格": True, "不合格": False}.get(kde["conclusion"]),
                    results=tuple(_result(result) for result in kde["results"]),
                    accreditation=self._accreditation(seen.statement.iss, issued, seen.index),
                    place=self._place(seen),
                )

    def _accreditation(self, laboratory: str, day: date, entry: int) -> str | None:
        """What was valid on that day and not revoked when the report was recorded."""
        for seen in self._gathered.credentials(entry):
            credential = seen.body
            if credential["type"] != "lab_accreditation" or credential["actor"] != laboratory:
                continue
            if _valid(credential, day):
                number: str = credential["details"]["number"]
                return number
        return None

    def _told_plots(self) -> Iterable[Plot]:
        for row in self._gathered.nodes.values():
            seen = self._plots.get(self._names.uri(row["subject"])) if row["kind"] == "plot" else None
            if seen is None:
                continue
            details = seen.body["details"]
            yield Plot(
                uri=seen.body["plot"],
                name=Text(details["name"]["zh"], details["name"]["en"]),
                holder=self._party(seen.body["actor"]),
                division=division(details["division"]),
                area_mu=_decimal(details.get("area_mu")),
                altitude_m=_decimal(details.get("altitude_m")),
                cultivar=details.get("cultivar") or details.get("variety"),
                polygon=tuple((Decimal(point[0]), Decimal(point[1])) for point in details["polygon"]),
                share=decimal_share(self._shares.get(row["id"]), 4),
                credential_index=seen.index,
            )

    def _certificates(self) -> Iterable[Certificate]:
        for seen in self._gathered.newest_credentials():
            credential = seen.body
            label = CERTIFICATES.get(credential["type"])
            if label is None:
                continue
            details = credential["details"]
            name = details.get("name")
            until = credential.get("valid_until")
            yield Certificate(
                type=credential["type"],
                label=label,
                number=details.get("number"),
                name=Text(name["zh"], name["en"]) if isinstance(name, dict) else None,
                holder=self._party(credential["actor"]),
                issuer=self._party(seen.statement.iss),
                valid_from=date.fromisoformat(credential["valid_from"]),
                valid_until=date.fromisoformat(until) if until else None,
                index=seen.index,
                revoked_at=datetime.fromtimestamp(seen.stored.time_ms / 1000, UTC)
                if credential["status"] == "revoked"
                else None,
            )

    def _product(self) -> Product | None:
        gtin = self._gathered.node["gtin"]
        for seen in self._gathered.credentials():
            credential = seen.body
            if credential["type"] != "product" or credential["product"] != gtin:
                continue
            details = credential["details"]
            family = self._templates.families.get(details["family"])
            net = details.get("net_content")
            return Product(
                gtin=gtin,
                name=Text(details["name"]["zh"], details["name"]["en"]),
                brand=_text(details.get("brand")),
                family=details["family"],
                family_label=Text(family.label.zh, family.label.en) if family else Text("", ""),
                net_content=Quantity(Decimal(net["quantity"]), net["uom"]) if net else None,
                net_content_text=details.get("net_content_text"),
                grade=details.get("grade"),
                standard=details.get("standard"),
                description=_text(details.get("description")),
                storage=_text(details.get("storage")),
                warning=_text(details.get("warning")),
            )
        return None

    def _origin(self, plots: Iterable[Plot]) -> Text | None:
        weights: dict[Text, Decimal] = {}
        for plot in plots:
            if plot.division is not None:
                weights[plot.division] = weights.get(plot.division, Decimal(0)) + (plot.area_mu or 0)
        if not weights:
            return None
        ordered = sorted(weights, key=lambda place: -weights[place])
        return Text("、".join(place.zh for place in ordered), "; ".join(place.en for place in ordered))

    def _stored_since(self) -> dict[int, date]:
        """Node -> the day a liquor lot counts its age from, where the record of its making says so."""
        found: dict[int, date] = {}
        for seen in self._gathered.events():
            day = stated_day(seen.body)
            if day is None:
                continue
            made = seen.body.get("outputQuantityList") or (
                seen.body.get("quantityList", ()) if seen.body.get("action") == "ADD" else ()
            )
            subjects = (self._names.subject(row["epcClass"], "") for row in made)
            found.update({self._ids[subject]: day for subject in subjects if subject in self._ids})
        return found

    # ------------------------------------------------------------ ancestry

    def _ancestry(self) -> Ancestry:
        walk, nodes = self._gathered.walk, self._gathered.nodes
        told = tuple(
            AncestryNode(
                uri=self._names.uri(row["subject"]),
                kind=row["kind"],
                name=self._name(node),
                stage=self._stage_label(row["stage"]),
                level=level,
                quantity=self._quantity_of(node),
                share=decimal_share(self._shares.get(node), 4),
                made_on=parse_time(row["made_time"]).date() if row["made_time"] else None,  # type: ignore[union-attr]
            )
            for node, level in walk.level.items()
            for row in (nodes[node],)
        )
        edges: dict[tuple[int, int], Quantity | None] = {}
        for process, outputs in walk.outputs.items():
            known = [flow for flow in walk.inputs[process] if self._gathered.may_see(flow)]
            totals, unit = amounts(known), {flow.node: flow.uom for flow in known}
            for flow in walk.inputs[process]:
                amount = totals.get(flow.node)
                for output in outputs:
                    if output.node in walk.level:
                        edges[flow.node, output.node] = _quantity(amount, unit.get(flow.node))
        return Ancestry(
            told,
            tuple(
                AncestryEdge(self._names.uri(nodes[a]["subject"]), self._names.uri(nodes[b]["subject"]), quantity)
                for (a, b), quantity in edges.items()
            ),
        )

    def _stage_label(self, stage_id: str | None) -> Text | None:
        stage = self._templates.get(stage_id) if stage_id else None
        return Text(stage.label.zh, stage.label.en) if stage is not None else None

    def _quantity_of(self, node: int) -> Quantity | None:
        row = self._gathered.nodes[node]
        for made in self._gathered.walk.made.get(node, ()):
            flow = Flow._make(made)
            return _quantity(flow.amount, flow.uom) if self._gathered.may_see(flow) else None
        seen = self._gathered.statements.get(row["made_entry"]) if row["made_entry"] is not None else None
        if seen is None or any("quantity" in pointer for pointer in seen.hidden):
            return None
        return _quantity(row["quantity_micro"], row["uom"])

    # ------------------------------------------------------------ names

    def _party(self, actor: str) -> Party:
        row = self._gathered.actors.get(actor)
        if row is None:
            return Party(actor, Text(actor, actor), ())
        return Party(actor, Text(row["name_zh"], row["name_en"]), tuple(row["roles"].split()), row["county"])

    def _name(self, node: int) -> str:
        return self._gathered.labels.get(node) or self._name_of(self._names.uri(self._gathered.nodes[node]["subject"]))

    def _name_of(self, uri: str) -> str:
        subject = self._names.subject(uri, "")
        node = self._ids.get(subject)
        if node is not None and node in self._gathered.labels:
            return self._gathered.labels[node]
        if uri in self._plots:
            name: str = self._plots[uri].body["details"]["name"]["zh"]
            return name
        last = subject.rsplit("/", 1)[1]
        return f"#{last[-4:]}" if subject.startswith("lot/") else last


def attachment_path(ni_hash: str) -> str:
    """Where an attachment is served: `ni:///sha-256;<base64url>` -> `/attachments/<base64url>`."""
    return "/attachments/" + ni_hash.rpartition(";")[2]


def _facts(values: Mapping[str, Any], elements: Mapping[str, KeyDataElement], hidden: Iterable[str]) -> Iterable[Fact]:
    secret = set(hidden)
    for name, element in elements.items():
        if name not in values or values[name] is None:
            if f"/suyuan:kde/{name}" in secret:
                yield Fact(name, Text(element.label.zh, element.label.en), None, element.unit, hidden=True)
            continue
        yield Fact(
            name,
            Text(element.label.zh, element.label.en),
            _of_items(name, values[name]) or _value(values[name], element),
            element.unit,
            highlight=element.highlight,
        )


def _of_items(name: str, rows: Any) -> Text | None:
    """Ranges of single items in a line: there may be hundreds, the statement has all. None for anything else."""
    if name not in (RANGES, CASED):
        return None
    total = sum(row["last"] - row["first"] + 1 for row in rows)
    if name == CASED:
        cases = len({row["unit"] for row in rows})
        return Text(f"{cases} 箱，共 {total} 件", f"{cases} cases, {total} items")
    some = "、".join(f"{row['first']}–{row['last']}" for row in rows[:_MOST_RANGES])
    more = "…" if len(rows) > _MOST_RANGES else ""
    return Text(f"{some}{more}，共 {total} 件", f"{some.replace('、', ', ')}{more}, {total} items")


def _value(value: Any, element: KeyDataElement) -> Any:
    match element.type:
        case "enum":
            return Text(value, element.values.get(value, value))
        case "text":
            return Text(value, value)
        case "date":
            return date.fromisoformat(value)
        case "datetime":
            return parse_time(value)
        case "list":
            return tuple(tuple(_facts(row, element.of, ())) for row in value)
        case _:
            return value


def _result(result: Mapping[str, Any]) -> LaboratoryResult:
    return LaboratoryResult(
        item=Text(result["item"], result["item_en"]),
        value=str(result["value"]),
        unit=result.get("unit", ""),
        limit=result.get("limit", ""),
        passed={"合格": True, "不合格": False}.get(result["judgement"]),
    )


def _valid(credential: Mapping[str, Any], day: date) -> bool:
    until = credential.get("valid_until")
    return date.fromisoformat(credential["valid_from"]) <= day and (until is None or day <= date.fromisoformat(until))


def _text(label: Any) -> Text | None:
    return Text(label["zh"], label["en"]) if isinstance(label, dict) else None


def _decimal(value: Any) -> Decimal | None:
    return None if value is None else Decimal(value)


def _quantity(micro: int | None, uom: str | None) -> Quantity | None:
    return None if micro is None or uom is None else Quantity(from_micro(micro), uom)
