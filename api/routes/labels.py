"""Label sheets over HTTP: items of a code set, cases and pallets, conformity certificates; as PDF for sheet or roll."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from ...ledger.errors import Refusal
from ...qr.sscc import is_sscc
from ...trace.certificates import TITLE, ConformityCertificate, conformity_certificate
from ..answers import media, problems
from ..dependencies import CallerDep, ServicesDep
from ..label_layouts import CertificateLabel, UnitLabel
from ..labels import Label, Printable, item_label, labels_pdf, quiet_mm, stock_of
from ..pdf import MEDIA_TYPE
from ..problems import HttpRefusal, not_found
from ..security import Caller
from ..services import Services

router = APIRouter(prefix="/api/v1", tags=["标签 labels"])

MOST_LABELS = 2_000
"""Labels of one answer; more come in parts."""
_PDF = {
    200: media("标签 / the labels", {MEDIA_TYPE: {"type": "string"}}),
    **problems(400, 401, 404, 409, 422, 429, 503),
}
_ABOUT = (
    "Every symbol is decoded back first. `Suyuan-Module-Mm` and `Suyuan-Quiet-Zone-Mm` of the answer say how large "
    "they are: print at 100 %. Refused (`label-too-small`) where the stock leaves no room for 0.396 mm."
)
StockName = Annotated[str, Query(description="标签纸 / stock", max_length=20)]
Count = Annotated[int, Query(ge=1, le=MOST_LABELS, description="至多几张 / at most so many")]


@router.get(
    "/labels/items",
    summary="单件标签 / Labels of items",
    description=f"Of the code set `root`, from the code after the first `skip`. {_ABOUT}",
    response_class=Response,
    responses=_PDF,
)
def item_labels(
    services: ServicesDep,
    caller: CallerDep,
    root: Annotated[str, Query(description="码段的根 / root of the set (base64)", max_length=44)],
    name: Annotated[str, Query(description="品名 / the product's name", min_length=1, max_length=80)],
    stock: StockName = "a4-21",
    skip: Annotated[int, Query(ge=0)] = 0,
    limit: Count = 1_000,
) -> Response:
    drawn = services.item_codes.set_of(caller.actor, root)
    if drawn is None:
        raise not_found("没有这段码", "there is no such code set")
    if drawn.entry is None:
        raise HttpRefusal(
            409, "codes-not-committed", zh="这段码还没有上账，不能付印",
            en="this set is not on the ledger yet; it must not be printed", expected="POST /api/v1/statements",
        )  # fmt: skip
    lot = services.names.uri(f"01/{drawn.codes.gtin}/10/{drawn.codes.lot}")

    def labels() -> Iterator[Label]:
        for _, serial, _ in drawn.codes.codes(skip, skip + limit):
            yield item_label(f"{lot}/21/{serial}", name, serial)

    return _printed(services, labels(), stock, f"{name} {drawn.codes.lot}")


@router.get(
    "/labels/units",
    summary="箱托标签 / Labels of cases and pallets",
    description="For the SSCCs in `sscc` (repeated), drawn by you: QR symbol of the Digital Link, GS1-128 where the "
    f"stock has room for it. {_ABOUT}",
    response_class=Response,
    responses=_PDF,
)
def unit_labels(
    services: ServicesDep,
    caller: CallerDep,
    sscc: Annotated[list[str], Query(description="SSCC", max_length=MOST_LABELS)],
    name: Annotated[str, Query(description="品名等 / the goods", max_length=80)] = "",
    stock: StockName = "roll-100x150",
) -> Response:
    drawn = {(run.prefix, run.extension): run for run in services.logistic_units.runs(caller.actor)}
    for one in sscc:
        known = is_sscc(one) and any(one[1:].startswith(prefix) for prefix, _ in drawn)
        if not known:
            raise Refusal(
                "sscc-form", field="sscc", zh=f"不是您取得的 SSCC：{one[:20]}", en=f"no SSCC of yours: {one[:20]!r}",
                expected="18 digits from POST /api/v1/sscc", status_hint="unprocessable",
            )  # fmt: skip
    lines = (name,) if name else ()
    labels = (UnitLabel(one, services.names.logistic_unit(one), lines) for one in sscc)
    return _printed(services, labels, stock, name or "SSCC")


@router.get(
    "/labels/certificate",
    summary="承诺达标合格证标签 / Labels of a conformity certificate",
    description="Of the certificate that `event` records: promises and basis as ticked boxes, product, quantity, "
    f"origin, producer, contact, days, signature, QR symbol with the words 承诺达标合格证. {_ABOUT}",
    response_class=Response,
    responses=_PDF,
)
def certificate_labels(
    services: ServicesDep,
    caller: CallerDep,
    event: Annotated[str, Query(description="eventID", max_length=200)],
    copies: Count = 1,
    stock: StockName = "roll-80x60",
) -> Response:
    found = _certificate(services, caller, event)
    label = CertificateLabel(found, services.names.absolute(f"/certificate/{event}"))
    return _printed(services, (label for _ in range(copies)), stock, f"{TITLE.zh} {found.number}")


def _certificate(services: Services, caller: Caller, event: str) -> ConformityCertificate:
    viewer = services.viewer(caller)
    with services.heavy(), services.database.read() as connection:
        found = conformity_certificate(connection, services.log, services.templates, services.names, event, viewer)
    if found is None:
        raise not_found("没有这张合格证", "there is no such certificate")
    return found


def _printed(services: Services, labels: Iterator[Printable], stock: str, title: str) -> Response:
    chosen = stock_of(stock)
    with services.heavy():
        content, module = labels_pdf(labels, chosen, title=title)
    headers = {
        "Cache-Control": "private, no-store",
        "Content-Disposition": 'attachment; filename="labels.pdf"',
        "Suyuan-Module-Mm": f"{module:.3f}",
        "Suyuan-Quiet-Zone-Mm": f"{quiet_mm(module):.2f}",
    }
    return Response(content, 200, headers, MEDIA_TYPE)
