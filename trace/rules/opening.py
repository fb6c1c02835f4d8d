"""Stored statements opened for the rules: events as deeds, credentials as credentials."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from ...ledger.errors import Refusal
from ..naming import Names
from ..projection import Logged, credential_subject
from ..record import decompose
from ..schema import parse_time
from ..template import Templates
from .facts import Credential, DeclaredLoss, Deed, Part

_ROW = frozenset({"lot", "quantity", "uom"})


def open_deed(
    logged: Logged,
    templates: Templates,
    names: Names,
    *,
    actor: str,
    process: int | None,
    corrects: int | None,
) -> Deed:
    """The deed of an event statement; who did it, its process and what it corrects as the projection says."""
    stage = templates.stages[logged.body["suyuan:stage"]]
    record = decompose(logged.body, stage, names)
    occurred = parse_time(record["time"])
    assert occurred is not None  # it was validated when it was accepted

    def parts(side: str) -> tuple[Part, ...]:
        return tuple(_part(row, side, names) for row in record.get(side, ()))

    return Deed(
        entry=logged.index,
        event_id=record["event_id"],
        stage=stage,
        actor=actor,
        signer=None if actor == logged.issuer else logged.issuer,
        record=record,
        occurred=occurred,
        signed=datetime.fromtimestamp(logged.signed_at, UTC),
        logged=moment(logged.time_ms),
        backfilled=bool(record.get("backfilled")),
        process=process,
        inputs=parts("inputs"),
        outputs=parts("outputs"),
        lots=parts("lots"),
        plots=tuple(names.subject(uri, "/plots") for uri in record.get("plots", ())),
        losses=tuple(
            DeclaredLoss(loss["reason"], Decimal(loss["quantity"]), loss["uom"]) for loss in record.get("losses") or ()
        ),
        corrects=corrects,
    )


def _part(row: Mapping[str, Any], side: str, names: Names) -> Part:
    quantity = row.get("quantity")
    measures = {name: value for name, value in row.items() if name not in _ROW}
    return Part(
        names.subject(row["lot"], f"/{side}"), None if quantity is None else Decimal(quantity), row.get("uom"), measures
    )


def open_credential(logged: Logged, names: Names) -> Credential:
    """The credential of a credential statement."""
    body = logged.body
    try:
        about = credential_subject(body, names)
    except Refusal:
        about = None
    return Credential(
        entry=logged.index,
        issuer=logged.issuer,
        id=body["id"],
        type=body["type"],
        actor=body["actor"],
        about=about,
        valid_from=date.fromisoformat(body["valid_from"]),
        valid_until=None if body.get("valid_until") is None else date.fromisoformat(body["valid_until"]),
        status=body["status"],
        details=body["details"],
        logged=moment(logged.time_ms),
    )


def moment(time_ms: int) -> datetime:
    """A log time as an aware time."""
    return datetime.fromtimestamp(time_ms / 1000, UTC)
