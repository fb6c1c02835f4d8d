"""Erasing private fields of a statement: who may, which ones, and from when on (formats section 1; PIPL article 47).

An `erasure` names the statement by its hash and the fields by their digests, so it repeats nothing of what is erased,
not even what kind of thing it was:

    {"statement": "<base64 SHA-256>", "subjects": [<those of its entry>], "fields": ["<digest>", ...],
     "reason": {"zh": ..., "en": ...}}

The statement's issuer may erase, and an authority, to whom a person turns whose name stands in a statement of others.
Three kinds of fields are told apart:

* what names a person or how to reach one (`personal` in the template, names of persons): at once;
* what custody and mass balance rest on (quantities, units, parties of a movement, the principal of a delegation):
  never, since nobody could replay the ledger without it; none of it names a natural person in clear;
* everything else is a record that food law wants kept: after the term of its template (`retention_years`), counted
  from the log time of the entry.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import jsonschema_rs

from ..ledger.disclosures import Disclosure, disclosure_digest
from ..ledger.errors import Refusal
from ..ledger.reader import StoredEntry
from ..ledger.statement import Statement, open_disclosures, parse_statement
from ..ledger.subjects import chain_order
from .schema import strict_validator
from .template import Stage, Templates

YEAR_MS = 366 * 86_400_000
_CUSTODY = re.compile(r"/(?:[A-Za-z]*[qQ]uantityList/\d+/(?:quantity|uom)|sourceList|destinationList)")
_KDE = "/suyuan:kde/"
_ON_BEHALF_OF = "/suyuan:onBehalfOf"
LABELS = "/suyuan:labels"


@dataclass(frozen=True)
class Erased:
    """What an erasure takes away: these disclosure texts of the statement at `index`, which `issuer` issued."""

    index: int
    issuer: str
    texts: tuple[str, ...]
    pointers: tuple[str, ...]


@cache
def _validator() -> jsonschema_rs.Draft202012Validator:
    text = {"type": "string", "minLength": 1, "maxLength": 300}
    return strict_validator(
        {
            "type": "object",
            "required": ["statement", "subjects", "fields", "reason"],
            "additionalProperties": False,
            "properties": {
                "statement": {"type": "string", "pattern": r"^[A-Za-z0-9+/]{43}=$"},
                "subjects": {"type": "array", "minItems": 1, "maxItems": 500, "items": {"type": "string"}},
                "fields": {
                    "type": "array", "minItems": 1, "maxItems": 5000, "uniqueItems": True,
                    "items": {"type": "string", "pattern": r"^[A-Za-z0-9_-]{43}$"},
                },
                "reason": {
                    "type": "object", "required": ["zh", "en"], "additionalProperties": False,
                    "properties": {"zh": text, "en": text},
                },
            },
        }
    )  # fmt: skip


def check_form(body: Mapping[str, Any]) -> bytes:
    """The SHA-256 of the statement that the erasure `body` is about. Raises Refusal `erasure-form`."""
    for error in _validator().iter_errors(body):
        field = "/" + "/".join(["erasure", *(str(part) for part in error.instance_path)])
        raise _refuse("erasure-form", field, f"{field} 不符合要求：{error.message}", f"{field}: {error.message}")
    return base64.b64decode(body["statement"])


def check_erasure(
    body: Mapping[str, Any],
    issuer: str,
    roles: frozenset[str],
    *,
    target: StoredEntry | None,
    subjects: Sequence[str],
    delegated: bool,
    templates: Templates,
    time_ms: int,
) -> Erased:
    """What the well-formed erasure `body` of `issuer` erases of `target`, whose entry stands on `subjects`.

    `delegated` says that the target was recorded under a delegation; `time_ms` is the log time of the erasure. Raises
    Refusal: `erasure-unknown`, `erasure-role`, `erasure-subjects`, `erasure-field`, `erasure-nested`,
    `erasure-custody`, `erasure-retained`.
    """
    if target is None or target.statement is None:
        raise _refuse(
            "erasure-unknown", "/erasure/statement", "账本上没有这个声明", "no such statement is on the ledger",
            "base64 SHA-256 of a statement that has a receipt",
        )  # fmt: skip
    statement = parse_statement(target.statement)
    if issuer != statement.iss and "authority" not in roles:
        raise Refusal(
            "erasure-role", field="/iss", zh="只有声明的签发者或主管部门可以删除其中的字段",
            en="only the statement's issuer or an authority erases fields of it", status_hint="forbidden",
        )  # fmt: skip
    if tuple(body["subjects"]) != tuple(subjects):
        raise _refuse(
            "erasure-subjects", "/erasure/subjects", "subjects 须恰为被删声明所在的链条，按散列排序",
            "subjects are exactly those of the statement's entry, in its order", ", ".join(subjects)[:300],
        )  # fmt: skip
    opened = open_disclosures(statement, [item.text for item in target.disclosures], complete=False)
    kept = {item.digest: item for item in opened.disclosures}
    stage = templates.get(str(opened.body.get("suyuan:stage")))
    for position, digest in enumerate(body["fields"]):
        field = f"/erasure/fields/{position}"
        item = kept.get(digest)
        if item is None:
            raise _refuse(
                "erasure-field", field, "该声明没有这个非公开字段，或已删除",
                "the statement has no such private field, or it is erased already",
            )  # fmt: skip
        _check_field(item, field, statement, stage, delegated=delegated, logged_ms=target.time_ms, time_ms=time_ms)
    erased = [kept[digest] for digest in body["fields"]]
    chosen = {item.pointer for item in erased}
    inside = [item.pointer for item in opened.disclosures if item.pointer not in chosen]
    if any(pointer.startswith(f"{outer}/") for outer in chosen for pointer in inside):
        raise _refuse(
            "erasure-nested", "/erasure/fields", "该字段内部还有非公开字段，须一并删除",
            "a field is erased together with the private fields inside it",
        )  # fmt: skip
    return Erased(
        target.index, statement.iss, tuple(item.text for item in erased), tuple(item.pointer for item in erased)
    )


def erasure_body(
    statement: bytes,
    disclosures: Sequence[str],
    pointers: Sequence[str],
    subjects: Sequence[str],
    reason: Mapping[str, str],
) -> dict[str, Any]:
    """The body of an erasure of the fields at `pointers`, for whoever holds the statement and its disclosures.

    `subjects` are those of the statement's entry (`subjects_of`). Raises Refusal `erasure-field` for a pointer that
    names no private field.
    """
    parsed = parse_statement(statement)
    opened = {item.pointer: item for item in open_disclosures(parsed, disclosures, complete=False).disclosures}
    for pointer in pointers:
        if pointer not in opened:
            raise _refuse(
                "erasure-field",
                pointer,
                f"{pointer} 不是已披露的非公开字段",
                f"{pointer} is no disclosed private field",
            )
    return {
        "statement": base64.b64encode(parsed.hash).decode("ascii"),
        "subjects": list(chain_order(subjects)),
        "fields": sorted(disclosure_digest(opened[pointer].text) for pointer in pointers),
        "reason": dict(reason),
    }


def _check_field(
    item: Disclosure,
    field: str,
    statement: Statement,
    stage: Stage | None,
    *,
    delegated: bool,
    logged_ms: int,
    time_ms: int,
) -> None:
    if statement.claim == "event" and (
        _CUSTODY.fullmatch(item.pointer) or (delegated and item.pointer == _ON_BEHALF_OF)
    ):
        raise _refuse(
            "erasure-custody", field, "数量与交接双方不能删除：批次的归属与余量由此推算",
            "quantities and the parties of a movement stay: who holds how much follows from them",
        )  # fmt: skip
    if is_personal(item.pointer, statement, stage):
        return
    years = stage.retention_years if stage is not None else 2
    until_ms = logged_ms + years * YEAR_MS
    if time_ms < until_ms:
        day = datetime.fromtimestamp(until_ms / 1000, UTC).date().isoformat()
        raise Refusal(
            "erasure-retained", field=field, zh=f"食品安全法规要求此记录保存至 {day}，届时方可删除",
            en=f"food law has this record kept until {day}", expected=f">= {day}", status_hint="conflict",
        )  # fmt: skip


def is_personal(pointer: str, statement: Statement, stage: Stage | None) -> bool:
    """Whether the private field at `pointer` names a person, or how to reach one."""
    if statement.claim == "actor":
        return True
    if stage is None or not pointer.startswith(_KDE):
        return pointer == _ON_BEHALF_OF
    element = stage.kde.get(pointer.removeprefix(_KDE))
    return element is not None and element.personal


def _refuse(rule: str, field: str, zh: str, en: str, expected: str = "") -> Refusal:
    return Refusal(rule, field=field, zh=zh, en=en, expected=expected, status_hint="unprocessable")
