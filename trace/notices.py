"""Notices: what an authority writes beside the record: decisions, inspections, remarks, answers (formats section 1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from functools import cache
from typing import Any

import jsonschema_rs

from ..ledger.errors import Refusal
from ..ledger.rows import Row
from .naming import Names
from .schema import both_languages, strict_validator
from .viewer import area_of

TYPES = ("decision", "inspection", "annotation", "complaint-answer")
DECISIONS = ("dismiss", "confirm", "clear")
MAX_LOTS = 500

_TEXT = {"type": "string", "minLength": 1, "maxLength": 2000}
_LABEL = both_languages(2000)
_DATE = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$", "format": "date"}
_URI = {"type": "string", "minLength": 10, "maxLength": 400}
_OWN: Mapping[str, tuple[tuple[str, ...], Mapping[str, Any]]] = {
    "decision": (
        ("finding", "decision", "reason"),
        {"finding": {"type": "string", "pattern": r"^[0-9a-f]{16}$"}, "decision": {"enum": list(DECISIONS)},
         "reason": _LABEL},
    ),
    "inspection": (
        ("text", "inspected_on", "result"),
        {"text": _LABEL, "inspected_on": _DATE, "result": {"enum": ["pass", "fail", "rectify"]}, "rectify_by": _DATE,
         "events": {"type": "array", "minItems": 1, "maxItems": 200, "uniqueItems": True, "items": _TEXT}},
    ),
    "annotation": (("text",), {"text": _LABEL}),
    "complaint-answer": (("complaint", "answer"), {"complaint": _TEXT, "answer": _LABEL}),
}  # fmt: skip
"""Type of notice -> members it must have, and all that it may have beside `type` and `lots`."""


@cache
def _validator(kind: str) -> jsonschema_rs.Draft202012Validator:
    required, members = _OWN[kind]
    return strict_validator(
        {
            "type": "object",
            "required": ["type", "lots", *required],
            "additionalProperties": False,
            "properties": {
                "type": {"const": kind},
                "lots": {"type": "array", "minItems": 1, "maxItems": MAX_LOTS, "uniqueItems": True, "items": _URI},
                **members,
            },
        }
    )


def check_notice(
    body: Mapping[str, Any],
    issuer: Row,
    names: Names,
    nodes: Callable[[str], Row | None],
    holders: Callable[[int], Iterable[str]],
    county: Callable[[str], str | None],
) -> None:
    """Holds a notice against its form and its issuer's competence.

    `nodes` gives the node of a lot's subject, `holders` who holds or held it, `county` the county of an actor. An
    office writes about lots that somebody in its area made or held. Raises Refusal: `notice-form`, `notice-role`,
    `lot-unknown`, `notice-county`.
    """
    kind = body.get("type")
    if not isinstance(kind, str) or kind not in _OWN:
        raise _fault("/notice/type", "没有这种通知", "there is no such type of notice", ", ".join(TYPES))
    for error in _validator(kind).iter_errors(body):
        field = "/" + "/".join(["notice", *(str(part) for part in error.instance_path)])
        raise _fault(field, f"{field} 不符合要求：{error.message}", f"{field}: {error.message}")
    if "rectify_by" in body and date.fromisoformat(body["rectify_by"]) < date.fromisoformat(body["inspected_on"]):
        raise _fault("/notice/rectify_by", "整改期限早于检查日期", "it is to be put right before it was inspected")
    if "authority" not in issuer["roles"].split():
        raise Refusal(
            "notice-role", field="/iss", zh="通知只能由主管部门发布", en="a notice is an authority's",
            expected="authority", status_hint="forbidden",
        )  # fmt: skip
    area = area_of(issuer["county"])
    for position, uri in enumerate(body["lots"]):
        field = f"/notice/lots/{position}"
        node = nodes(names.subject(uri, field))
        if node is None:
            raise Refusal(
                "lot-unknown", field=field, zh="没有这个批次", en="there is no such lot", status_hint="unprocessable"
            )
        places = [county(actor) for actor in (node["maker"], *holders(node["id"])) if actor is not None]
        if places and not any(place is None or place.startswith(area) for place in places):
            raise Refusal(
                "notice-county", field=field, zh=f"{uri} 的生产者和持有者都不在您的辖区 {issuer['county']}",
                en=f"neither maker nor holder of {uri} is in your area {issuer['county']}",
                expected=f"lots made or held in {area}…", status_hint="forbidden",
            )  # fmt: skip


def _fault(field: str, zh: str, en: str, expected: str = "") -> Refusal:
    return Refusal("notice-form", field=field, zh=zh, en=en, expected=expected, status_hint="unprocessable")
