"""Suspicious scans for brands and authorities: as JSON, as a signed CSV file, and on a schematic map of the desk."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ..answers import problems
from ..dependencies import PersonDep, ServicesDep
from ..json_answers import json_response
from ..pages.desk import render_sheets
from ..pages.scan_map import draw
from ..pages.texts import texts
from ..questions import require_reason
from .desk_answers import PersonOnPage, ask_reason, html_answer, office_page, to_sign_in
from .office import Format, Reason, csv_response

router = APIRouter(tags=["监管 oversight"])

_DAYS = 7
Days = Annotated[int, Query(ge=1, le=90, description="最近几天 / of the last days")]


@router.get(
    "/api/v1/scans/clusters",
    summary="可疑扫码聚集 / Suspicious code clusters",
    description=(
        "A brand sees those of lots it made, an authority those of makers in its area. By item: two places too far "
        "apart, too many cities or devices, before shipping, after the inner code, void or sleeping codes; by lot: "
        "serials guessed, and cities outside the dealers' regions, which is a lead only. No persons, no addresses."
    ),
    response_model=dict[str, Any],
    responses=problems(400, 401, 403, 429, 503),
)
def get_clusters(
    services: ServicesDep, person: PersonDep, days: Days = _DAYS, reason: Reason = "", format: Format = "json"
) -> Response:
    require_reason(person.viewer)
    if format == "csv":
        sheet = services.clusters.sheet(person.viewer, days)
        return csv_response(services, [sheet], f"scans of {days} days", "scan-clusters")
    return json_response(services.clusters.document(person.viewer, days))


@router.get("/regulator/scans", include_in_schema=False)
def clusters_page(request: Request, services: ServicesDep, person: PersonOnPage) -> Response:
    if person is None:
        return to_sign_in(request)
    page = office_page(request, person)
    if person.viewer.owes_reason:
        return ask_reason(page)
    t = texts(page.lang)
    asked = page.query.get("days", "")
    days = min(90, max(1, int(asked))) if asked.isascii() and asked.isdigit() and len(asked) < 4 else _DAYS
    sheets = [source.sheet(person.viewer, days) for source in (services.clusters, services.inner_overview)]
    drawn = draw(services.clusters.found(person.viewer, days)[0], t)
    query = {"days": str(days), "format": "csv", **({"reason": page.query["reason"]} if "reason" in page.query else {})}
    html = render_sheets(
        page, t("desk.scans"), sheets, csv="/api/v1/scans/clusters?" + urlencode(query), chain=None,
        lead=t("desk.scans_lead", n=days), drawing=drawn,
    )  # fmt: skip
    return html_answer(html, page)
