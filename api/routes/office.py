"""What authorities ask by program: alerts, statistics, the thirteen questions, dossiers, and who looked at what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from ...trace.alerts import SEVERITIES, STANDING, STATUSES, Alerts, Filter
from ...trace.sheet import Sheet
from ...trace.statistics import Statistics
from ..answers import problems
from ..dependencies import Officer, OfficerDep, PersonDep, ServicesDep
from ..exports import MEDIA_TYPE, signed_csv
from ..json_answers import json_response
from ..problems import HttpRefusal, not_found
from ..questions import ask, inspection, require_reason, views_for, views_sheet
from ..services import Services

router = APIRouter(prefix="/api/v1", tags=["监管 oversight"])

Format = Annotated[Literal["json", "csv"], Query(description="json，或签名的 csv / or a signed CSV file")]
Reason = Annotated[str, Query(max_length=300, description="查看理由（市级、省级部门必填）/ why you look")]
_NO_STORE = {"Cache-Control": "no-store"}


def alerts_of(services: Services) -> Alerts:
    """The findings of the rules, as a work list."""
    return Alerts(services.database, services.log.log_id, services.templates, services.names)


def statistics_of(services: Services, officer: Officer) -> list[Sheet]:
    """All figures of the officer's area."""
    statistics = Statistics(services.database, services.log, services.templates, services.names)
    now = services.clock()
    counts = alerts_of(services).counts(officer.viewer, now)
    with services.heavy():
        return statistics.sheets(officer.viewer, now, counts)


def csv_response(services: Services, sheets: Sequence[Sheet], asked: str, name: str) -> Response:
    """Sheets as a signed CSV file to keep."""
    content = signed_csv(sheets, services.log.signer, time_ms=services.clock(), asked=asked)
    headers = {**_NO_STORE, "Content-Disposition": f'attachment; filename="{name}.csv"'}
    return Response(content, 200, headers, MEDIA_TYPE)


@router.get(
    "/alerts",
    summary="警报清单 / The work list",
    description="Findings of the rules in your counties, the severest first, among them the oldest.",
    response_model=dict[str, Any],
    responses=problems(400, 401, 403, 429, 503),
)
def list_alerts(
    services: ServicesDep,
    officer: OfficerDep,
    severity: Annotated[list[str] | None, Query(description=", ".join(SEVERITIES))] = None,
    status: Annotated[list[str] | None, Query(description=", ".join(STATUSES))] = None,
    firm: Annotated[str, Query(max_length=40, description="主体编号 / actor id")] = "",
    county: Annotated[str, Query(pattern=r"^\d{0,6}$", description="行政区划代码 / division code")] = "",
    rule: Annotated[str, Query(max_length=40)] = "",
    min_age_days: Annotated[int, Query(ge=0, le=36_500)] = 0,
    lot: Annotated[str, Query(max_length=500, description="批次或地块的 URI / URI of a lot or plot")] = "",
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
    reason: Reason = "",
) -> Response:
    wanted = filter_of(services, severity, status, firm, county, rule, min_age_days, lot)
    if wanted.firm or wanted.lot:
        require_reason(officer.viewer)
    now = services.clock()
    total, found = alerts_of(services).listed(officer.viewer, wanted, now, page)
    documents = [alert.document(now) for alert in found]
    if officer.viewer.owes_reason:
        documents = [{name: one[name] for name in _AGGREGATE} for one in documents]
    return json_response({"total": total, "page": page, "alerts": documents})


_AGGREGATE = ("id", "rule", "severity", "status", "county", "opened", "age_days")
"""What the authority of a city or province sees of an alert without a reason."""


def filter_of(
    services: Services,
    severity: Sequence[str] | None,
    status: Sequence[str] | None,
    firm: str,
    county: str,
    rule: str,
    min_age_days: int,
    lot: str,
) -> Filter:
    """The filter that a query asks for. Raises HttpRefusal 400 for words that no alert has."""
    for given, known, name in ((severity, SEVERITIES, "severity"), (status, STATUSES, "status")):
        if set(given or ()) - set(known):
            raise HttpRefusal(
                400, "parameter", field=name, zh="没有这个取值", en="there is no such value", expected=", ".join(known)
            )
    subject = services.names.subject(services.names.absolute(lot) if lot.startswith("/") else lot, "lot") if lot else ""
    return Filter(tuple(severity or ()), tuple(status or STANDING), firm, county, rule, min_age_days, subject)


@router.get(
    "/alerts/{alert}",
    summary="一条警报 / An alert",
    description="With the smallest set of events that causes it, its arithmetic, and the lots it holds back.",
    response_model=dict[str, Any],
    responses=problems(401, 403, 404, 429, 503),
)
def get_alert(
    services: ServicesDep,
    officer: OfficerDep,
    alert: Annotated[str, Path(max_length=40)],
    reason: Reason = "",
) -> Response:
    require_reason(officer.viewer)
    found = alerts_of(services).one(officer.viewer, alert)
    if found is None:
        raise not_found("没有这条警报", "there is no such alert")
    one, causes, held = found
    events = [
        {"entry": cause.entry, "stage": {"zh": cause.stage.zh, "en": cause.stage.en}, "actor": cause.actor,
         "time": cause.time_ms, "corrected": cause.corrected}
        for cause in causes
    ]  # fmt: skip
    return json_response({**one.document(services.clock()), "events": events, "held": held})


@router.get(
    "/statistics",
    summary="分县分月统计 / Figures by county and month",
    response_model=dict[str, Any],
    responses=problems(401, 403, 429, 503),
)
def get_statistics(services: ServicesDep, officer: OfficerDep, format: Format = "json") -> Response:
    sheets = statistics_of(services, officer)
    if format == "csv":
        return csv_response(services, sheets, "statistics", "statistics")
    return json_response({"sheets": [sheet.document() for sheet in sheets]})


@router.get(
    "/questions/{number}",
    summary="监管十三问 / The thirteen questions",
    description="Each takes what it needs: `uri`, or `active`, `from` and `until`, or `recall`.",
    response_model=dict[str, Any],
    responses=problems(400, 401, 403, 404, 422, 429, 503),
)
def get_answer(
    request: Request,
    services: ServicesDep,
    officer: OfficerDep,
    number: Annotated[int, Path(ge=1, le=13)],
    uri: Annotated[str, Query(max_length=500, description="批次或地块的 URI / URI of a lot or plot")] = "",
    active: Annotated[str, Query(max_length=100, description="有效成分 / substance")] = "",
    recall: Annotated[str, Query(max_length=100, description="召回编号 / id of a recall")] = "",
    reason: Reason = "",
    format: Format = "json",
) -> Response:
    question, sheets = ask(services, officer, number, request.query_params)
    if format == "csv":
        asked = " ".join(filter(None, (f"question {number}", uri, active, recall)))
        return csv_response(services, sheets, asked, f"question-{number}")
    words = {"zh": question.words.zh, "en": question.words.en}
    return json_response({"number": number, "question": words, "sheets": [sheet.document() for sheet in sheets]})


@router.get(
    "/dossier",
    summary="批次档案 / The dossier of a lot",
    description="Everything that you may see of a lot, in sheets; the proof is at `GET /proof`.",
    response_model=dict[str, Any],
    responses=problems(400, 401, 403, 404, 422, 429, 503),
)
def get_dossier(
    services: ServicesDep,
    officer: OfficerDep,
    uri: Annotated[str, Query(max_length=500, description="批次的 URI / URI of the lot")],
    reason: Reason = "",
    format: Format = "json",
) -> Response:
    require_reason(officer.viewer)
    whole = services.names.absolute(uri) if uri.startswith("/") else uri
    with services.heavy():
        found = inspection(services).dossier(whole, officer.viewer, services.attachments.intact)
    if found is None:
        raise not_found("没有这个批次", "there is no such lot")
    story, sheets = found
    if format == "csv":
        return csv_response(services, sheets, f"dossier {story.uri}", "dossier")
    subject = services.names.subject(whole, "uri")
    alerts = alerts_of(services)
    return json_response(
        {
            "uri": story.uri, "name": story.name, "maker": story.maker.id, "held": alerts.held(subject),
            "alerts": [one.document(services.clock()) for one in alerts.about(officer.viewer, subject)],
            "sheets": [sheet.document() for sheet in sheets],
        }
    )  # fmt: skip


@router.get(
    "/views",
    summary="谁查看或导出过 / Who looked at what",
    description=(
        "Auditors see all rows, authorities their own and those about a lot of their area (`uri`), producers those "
        "about their own lots. Rows are chained: `size` and `head` of an earlier answer are found again in later ones."
    ),
    response_model=dict[str, Any],
    responses=problems(400, 401, 404, 422, 429, 503),
)
def get_views(
    services: ServicesDep,
    person: PersonDep,
    uri: Annotated[str, Query(max_length=500, description="批次或地块的 URI / URI of a lot or plot")] = "",
    before: Annotated[int | None, Query(ge=0, le=2**53, description="较旧的 / rows older than this number")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    reason: Reason = "",
    format: Format = "json",
) -> Response:
    whole = services.names.absolute(uri) if uri.startswith("/") else uri
    views = views_for(services, person, whole, before, limit)
    if format == "csv":
        return csv_response(services, [views_sheet(views)], "views", "views")
    document: dict[str, Any] = {"views": [view.document() for view in views]}
    if "auditor" in person.roles and before is None and not uri:
        chain = services.viewings.chain()
        document |= {"size": chain.size, "head": chain.head.hex(), "broken": chain.broken}
    return json_response(document)
