"""`GET /api/v1/balances`: a lot's balance, what a plot gave in a season, and what an actor made in a year."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from ...ledger.errors import Refusal
from ..answers import problems
from ..dependencies import CallerDep, ReaderDep, ServicesDep
from ..json_answers import json_response
from ..problems import not_found

router = APIRouter(prefix="/api/v1", tags=["批次 lots"])


@router.get(
    "/balances",
    summary="平衡核算 / Balances, with their arithmetic",
    description="Either `uri` of a lot; or `plot` and a day of the `season`; or `actor` and `year`. "
    "Figures that are not yours to see are left out, and the sums with them.",
    response_model=dict[str, Any],
    responses=problems(400, 401, 404, 422, 429, 503),
)
def get_balances(
    services: ServicesDep,
    caller: CallerDep,
    reader: ReaderDep,
    uri: Annotated[str, Query(max_length=500, description="批次的 URI / URI of a lot")] = "",
    plot: Annotated[str, Query(max_length=500, description="地块的 URI / URI of a plot")] = "",
    season: Annotated[date | None, Query(description="产季中的一天 / a day of the season: 2026-03-20")] = None,
    actor: Annotated[str, Query(max_length=40, description="主体编码 / id of an actor")] = "",
    year: Annotated[int | None, Query(ge=1900, le=2999)] = None,
) -> Response:
    if (
        sum(map(bool, (uri, plot, actor))) != 1
        or bool(plot) != (season is not None)
        or bool(actor) != (year is not None)
    ):
        raise Refusal(
            "query", field="uri", zh="请给出批次，或地块与产季中的一天，或主体与年份",
            en="name a lot, or a plot and a day of the season, or an actor and a year",
            expected="?uri= or ?plot=&season=2026-03-20 or ?actor=&year=2025", status_hint="unprocessable",
        )  # fmt: skip
    absolute = services.names.absolute
    with services.heavy():
        found: Any
        if uri:
            found = services.balances.lot(absolute(uri) if uri.startswith("/") else uri, reader)
        elif plot and season is not None:
            seasons = services.balances.plot(absolute(plot) if plot.startswith("/") else plot, season, reader)
            found = None if seasons is None else {"seasons": seasons}
        else:
            found = services.balances.actor_year(actor, year or 0, reader)
    if found is None:
        raise not_found("没有可供查看的平衡", "there is nothing here that you may see")
    return json_response(found)
