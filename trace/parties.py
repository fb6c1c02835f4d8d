"""Who is who: what actor and credential statements must say, and which role may sign which (formats section 1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from functools import cache
from typing import Any, Protocol

import jsonschema_rs

from ..ledger.errors import Refusal
from ..ledger.subjects import check_subject
from .naming import Names, is_actor_id
from .projection import credential_subject
from .schema import both_languages, strict_validator
from .template import ROLES

ISSUER_ROLES: Mapping[str, frozenset[str] | None] = {
    "plot": frozenset({"authority"}),
    "licence": frozenset({"authority"}),
    "area_quota": frozenset({"authority"}),
    "backfill": frozenset({"authority"}),
    "lab_accreditation": frozenset({"accreditor"}),
    "production_area": frozenset({"certifier"}),
    "delegation": frozenset({"authority"}),  # or the principal itself
    "product": None,  # the producer itself
}
"""Credential type -> roles that may issue it; None: the holder, when it is a producer."""
PRODUCERS = frozenset({"cooperative", "grower", "factory", "distillery", "trader"})

_TEXT = {"type": "string", "minLength": 1, "maxLength": 300}
_LABEL = both_languages(300)
_DATE = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$", "format": "date"}
_POINT = {
    "type": "array", "minItems": 2, "maxItems": 2,
    "prefixItems": [
        {"type": "number", "minimum": -180, "maximum": 180}, {"type": "number", "minimum": -90, "maximum": 90},
    ],
}  # fmt: skip
_DETAILS: Mapping[str, dict[str, Any]] = {
    "plot": {
        "required": ["name", "division", "area_mu", "polygon"],
        "properties": {
            "name": _LABEL, "division": {"type": "string", "pattern": r"^\d{6}(\d{3})?$"},
            "area_mu": {"type": "number", "exclusiveMinimum": 0, "maximum": 1_000_000},
            "altitude_m": {"type": "number", "minimum": -500, "maximum": 6000},
            "polygon": {"type": "array", "minItems": 3, "maxItems": 500, "items": _POINT},
        },
    },
    "licence": {"required": ["number", "kind"], "properties": {"number": _TEXT, "kind": _TEXT}},
    "lab_accreditation": {"required": ["number"], "properties": {"number": _TEXT}},
    "production_area": {"required": ["number", "name"], "properties": {"number": _TEXT, "name": _LABEL}},
    "area_quota": {"required": ["season"], "properties": {"season": _TEXT}},
    "product": {
        "required": ["name", "family"],
        "properties": {
            "name": _LABEL, "family": _TEXT, "brand": _LABEL, "description": _LABEL, "storage": _LABEL,
            "warning": _LABEL, "claimed_age_years": {"type": "number", "minimum": 0, "maximum": 200},
            "net_content": {
                "type": "object", "required": ["quantity", "uom"],
                "properties": {
                    "quantity": {"type": "number", "exclusiveMinimum": 0}, "uom": {"enum": ["KGM", "LTR", "H87"]},
                },
            },
        },
    },
    "backfill": {"required": ["from", "until"], "properties": {"from": _DATE, "until": _DATE}},
    "delegation": {
        "required": ["principal"],
        "properties": {
            "principal": _TEXT,
            "stages": {"type": "array", "minItems": 1, "maxItems": 200, "uniqueItems": True, "items": _TEXT},
        },
    },
}  # fmt: skip


class KnownParties(Protocol):
    """What the checks on parties need to know of the present state."""

    def product_holder(self, gtin: str) -> str | None: ...
    def plot_holder(self, subject: str) -> str | None: ...


@cache
def _validator(name: str) -> jsonschema_rs.Draft202012Validator:
    if name == "actor":
        return strict_validator(
            {
                "type": "object",
                "required": ["id", "name", "roles"],
                "additionalProperties": False,
                "properties": {
                    "id": _TEXT,
                    "name": _LABEL,
                    "kind": {"enum": ["organisation", "person", "authority"]},
                    "roles": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": 10,
                        "uniqueItems": True,
                        "items": {"enum": list(ROLES)},
                    },
                    "county": {"type": "string", "pattern": r"^\d{6}$"},
                    "place": _LABEL,
                },
            }
        )  # fmt: skip
    return strict_validator(
        {
            "type": "object",
            "required": ["id", "type", "actor", "valid_from", "status", "details"],
            "additionalProperties": False,
            "properties": {
                "id": {"type": "string", "pattern": r"^[0-9A-Za-z][0-9A-Za-z._-]{0,79}$"},
                "type": {"enum": list(ISSUER_ROLES)},
                "actor": _TEXT,
                "plot": _TEXT,
                "product": {"type": "string", "pattern": r"^\d{14}$"},
                "valid_from": _DATE,
                "valid_until": {"anyOf": [_DATE, {"type": "null"}]},
                "status": {"enum": ["active", "revoked"]},
                "details": {"type": "object", **_DETAILS[name]},
            },
        }
    )


def _check_schema(name: str, body: Any, claim: str) -> None:
    for error in _validator(name).iter_errors(body):
        field = "/" + "/".join([claim, *(str(part) for part in error.instance_path)])
        raise _fault(f"{claim}-form", field, f"{field} 不符合要求：{error.message}", f"{field}: {error.message}")


def _fault(rule: str, field: str, zh: str, en: str, expected: str = "") -> Refusal:
    return Refusal(rule, field=field, zh=zh, en=en, expected=expected, status_hint="unprocessable")


def _not_allowed(rule: str, field: str, zh: str, en: str, expected: str = "") -> Refusal:
    return Refusal(rule, field=field, zh=zh, en=en, expected=expected, status_hint="forbidden")


def check_actor(actor: Mapping[str, Any]) -> None:
    """Holds an actor's body against its form. Raises Refusal `actor-form` or `actor-id`."""
    _check_schema("actor", actor, "actor")
    if not is_actor_id(actor["id"]):
        raise _fault(
            "actor-id", "/actor/id", f"{actor['id']} 不是有效的主体编码", f"{actor['id']} is not a valid actor id",
            "a unified social credit code with its right check character, or P + 16 Crockford characters",
        )  # fmt: skip


def check_credential(
    credential: Mapping[str, Any], issuer: str, roles: frozenset[str], names: Names, known: KnownParties
) -> None:
    """Holds a credential against its form, its issuer's roles, and who already holds the plot or product.

    Raises Refusal `credential-form`, `credential-issuer`, `credential-about`, `plot-held`, `product-held`.
    """
    kind = credential.get("type")
    if not isinstance(kind, str) or kind not in ISSUER_ROLES:
        raise _fault(
            "credential-form", "/credential/type", "没有这种证照", "there is no such type of credential",
            ", ".join(ISSUER_ROLES),
        )  # fmt: skip
    _check_schema(kind, credential, "credential")
    _check_dates(credential)
    allowed = ISSUER_ROLES[kind]
    if allowed is None:
        if credential["actor"] != issuer or not roles & PRODUCERS:
            raise _not_allowed(
                "credential-issuer",
                "/credential/actor",
                "商品由生产者自己登记",
                "a product is registered by its own producer",
            )
    elif kind == "delegation" and credential["details"]["principal"] == issuer:
        pass  # who may do something may let another do it
    elif not roles & allowed:
        names_of_roles = ", ".join(sorted(allowed))
        raise _not_allowed(
            "credential-issuer", "/credential/type", f"签发 {kind} 需要角色 {names_of_roles}",
            f"issuing a {kind} credential needs the role {names_of_roles}", names_of_roles,
        )  # fmt: skip
    wanted = {"plot": "plot", "product": "product"}.get(kind)
    for member in ("plot", "product"):
        if (member in credential) != (member == wanted):
            zh, en = ("缺少", "needs") if member == wanted else ("不应有", "has no")
            raise _fault(
                "credential-about",
                f"/credential/{member}",
                f"{kind} 证照{zh} {member}",
                f"a {kind} credential {en} {member}",
            )
    about = credential_subject(credential, names)
    if kind == "product":
        _check_gtin(about)
    if kind == "plot":
        match = re.fullmatch(r"plot/([^/]+)/[^/]+", about or "")
        if match is None or match.group(1) != credential["actor"]:
            raise _fault(
                "credential-about", "/credential/plot", "地块编号应含持有人编码",
                "the plot's identifier names its holder", names.plot(credential["actor"], "<id>"),
            )  # fmt: skip
    if kind == "product" and known.product_holder(credential["product"]) not in (None, issuer):
        raise Refusal(
            "product-held", field="/credential/product", zh="此商品条码已由别的主体登记",
            en="another actor has registered this GTIN", status_hint="conflict",
        )  # fmt: skip


def _check_gtin(about: str | None) -> None:
    try:
        check_subject(about or "")
    except Refusal as refusal:
        refusal.field = "/credential/product"
        raise


def _check_dates(credential: Mapping[str, Any]) -> None:
    details = credential["details"]
    for start, end, field in (
        (credential["valid_from"], credential.get("valid_until"), "/credential/valid_until"),
        (details.get("from"), details.get("until"), "/credential/details/until"),
    ):
        try:
            first = date.fromisoformat(start) if start else None
            last = date.fromisoformat(end) if end else None
        except (ValueError, TypeError) as error:
            raise _fault("credential-form", field, "日期不存在", "there is no such date", "YYYY-MM-DD") from error
        if first and last and last < first:
            raise _fault("credential-form", field, "截止日期早于起始日期", "it ends before it begins")
