"""Signing what a producer wrote: an EPCIS event, a short record, or the body of another statement, from a JSON file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..ledger.errors import Refusal
from ..ledger.keys import PrivateKey
from ..ledger.statement import issue
from ..ledger.strict_json import strict_json
from ..trace.naming import Names, crockford_id, uuid7
from ..trace.record import References, compose, normalise, read_event, tighten, validate
from ..trace.template import Stage, Templates, load_templates
from .producer import ACTOR, CREDENTIAL, EVENT, KEY, Line, private_members

_TYPES = {"event": EVENT, "actor": ACTOR, "key": KEY, "credential": CREDENTIAL}
_SUBJECT_LISTS = ("epcList", "inputEPCList", "outputEPCList", "childEPCs")
_QUANTITY_LISTS = ("quantityList", "inputQuantityList", "outputQuantityList", "childQuantityList")


def read_bodies(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file: one, or a list of them. Raises Refusal, OSError."""
    content = strict_json(path.read_bytes())
    bodies = content if isinstance(content, list) else [content]
    if not bodies or not all(isinstance(body, dict) for body in bodies):
        raise Refusal(
            "sign-form",
            field=str(path),
            zh="应是一个 JSON 对象或对象的列表",
            en="a JSON object, or a list of them",
            expected="{...}",
        )
    return bodies


def sign(
    body: Mapping[str, Any],
    kind: str,
    key: PrivateKey,
    actor: str,
    *,
    origin: str | None,
    public_host: str | None,
    templates: Templates | None = None,
) -> Line:
    """The statement of `actor` with this body, its private fields hidden as the template says.

    An event is what EPCIS calls one, or a record in the short form of `POST /api/v1/records` (without `type`).
    `public_host` is needed for short records; an event names its host itself. Raises Refusal.
    """
    if origin is None:
        raise Refusal(
            "origin-missing",
            field="aud",
            zh="需要账本名：--url 或 --origin",
            en="the log's origin is needed: --url or --origin",
        )
    private: Mapping[str, str] = {}
    what = kind
    if kind == "event":
        body, private = _event(body, actor, public_host, templates or load_templates())
        what = f"{body['suyuan:stage']} {body['eventID']}"
    elif kind == "actor":
        private = private_members(body)
    signed = issue(_TYPES[kind], body, key=key, iss=actor, aud=origin, iat=int(time.time()), private=private)
    return Line(actor, signed, what)


def _event(
    given: Mapping[str, Any], actor: str, public_host: str | None, templates: Templates
) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    """The event to sign and its private fields."""
    host = public_host or _host_of(given)
    if host is None:
        raise Refusal(
            "host-missing",
            zh="需要标识域：--url 或 --public-host",
            en="the identity host is needed: --url or --public-host",
        )
    names = Names(host)
    if "type" in given:
        event = {"eventID": uuid7(), **given}
        stage = _stage(event.get("suyuan:stage"), "suyuan:stage", templates)
        composed = compose(read_event(event, stage, actor, names), stage, actor, names)
        return event, composed.private
    stage = _stage(given.get("stage"), "stage", templates)
    refer = References(
        lot=lambda label: None,
        plot=lambda plot: plot if plot.startswith("https://") else names.plot(actor, plot),
        new_lot=lambda: names.lot(actor, crockford_id()),
        event_id=uuid7,
    )
    record = normalise(given, stage, actor, names, refer)
    if faults := validate(record, stage, names):
        faults[0].others = faults[1:]
        raise faults[0]
    composed = compose(record, stage, actor, names)
    return composed.event, tighten(composed.private, given.get("visibility") or {})


def _stage(name: Any, field: str, templates: Templates) -> Stage:
    stage = templates.get(name) if isinstance(name, str) else None
    if stage is None:
        raise Refusal("stage-unknown", field=field, zh=f"没有这个环节：{name}", en=f"there is no stage {name}")
    return stage


def _host_of(event: Mapping[str, Any]) -> str | None:
    """The host of the first URI that the event names."""
    uris = [uri for name in _SUBJECT_LISTS for uri in event.get(name) or ()]
    uris += [row.get("epcClass") for name in _QUANTITY_LISTS for row in event.get(name) or () if isinstance(row, dict)]
    return next((urlsplit(uri).netloc for uri in uris if isinstance(uri, str) and uri.startswith("https://")), None)
