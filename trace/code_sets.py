"""Code sets: what `codes` statements must say, for which lot, and which numbers of a lot they commit (formats 8)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import jsonschema_rs
from sqlalchemy import Connection, func, select

from ..ledger.code_set import MOST_CODES, SEQUENCE_LIMIT
from ..ledger.encoding import base64_bytes
from ..ledger.errors import Refusal
from ..ledger.merkle import HASH_SIZE
from ..ledger.rows import Row
from . import tables
from .schema import strict_validator


@cache
def _validator() -> jsonschema_rs.Draft202012Validator:
    number = {"type": "integer", "minimum": 0, "maximum": SEQUENCE_LIMIT - 1}
    text = {"type": "string"}
    return strict_validator(
        {
            "type": "object", "required": ["gtin", "lot", "first", "count", "root"], "additionalProperties": False,
            "properties": {
                "gtin": text, "lot": text, "first": number,
                "count": {"type": "integer", "minimum": 1, "maximum": MOST_CODES}, "root": text,
            },
        }
    )  # fmt: skip


def subject_of_codes(body: Mapping[str, Any]) -> str:
    """The subject string of the lot whose codes a well-formed `codes` body commits."""
    return f"01/{body['gtin']}/10/{body['lot']}"


class CodeSets:
    """The code sets of a log within one transaction."""

    def __init__(self, connection: Connection, log_id: int) -> None:
        self._connection = connection
        self._log_id = log_id

    def check(self, body: Mapping[str, Any], issuer: str, node: Row | None, holder: str | None) -> None:
        """Holds a `codes` body against its form, the lot it is for, and the sets that the lot has.

        `node` is the lot's, `holder` whoever holds its product. Raises Refusal: `codes-form`, `product-not-held`,
        `codes-lot`, `codes-overlap`, `codes-too-many`.
        """
        check_form(body)
        if holder != issuer:
            raise _refuse(
                "product-not-held", "/codes/gtin", f"商品 {body['gtin']} 没有登记在您名下",
                f"the product {body['gtin']} is not registered to you", "a product credential of yours for this GTIN",
            )  # fmt: skip
        if node is None or node["made_entry"] is None or node["maker"] != issuer:
            raise _refuse(
                "codes-lot", "/codes/lot", "没有您制成的这个批次；请先记录批次，再为它赋码",
                "there is no such lot made by you; record the lot first, then issue its codes", "a lot you made",
            )  # fmt: skip
        if self.within(node["id"], body["first"], body["first"] + body["count"] - 1):
            raise Refusal(
                "codes-overlap", field="/codes/first", zh="该批次的码段与已有的重叠",
                en="the range overlaps one that this lot has already", expected=f"first >= {self.next(node['id'])}",
                status_hint="conflict",
            )  # fmt: skip
        table = tables.code_set.c
        query = select(func.coalesce(func.sum(table.count), 0)).where(table.node_id == node["id"])
        total = int(self._connection.execute(query).scalar_one())
        if total + body["count"] > MOST_CODES:
            raise _refuse(
                "codes-too-many", "/codes/count", f"一个批次至多 {MOST_CODES} 个码，已有 {total} 个",
                f"a lot has at most {MOST_CODES} codes; this one has {total}", f"at most {MOST_CODES - total}",
            )  # fmt: skip

    def within(self, node: int, first: int, last: int) -> int:
        """How many of the numbers `first` to `last` are committed for a lot."""
        table = tables.code_set.c
        query = select(table.first, table.count).where(
            table.node_id == node, table.first <= last, table.first + table.count > first
        )
        rows = self._connection.execute(query).mappings()
        return sum(min(last + 1, row["first"] + row["count"]) - max(first, row["first"]) for row in rows)

    def next(self, node: int) -> int:
        """The first number after all that are committed for a lot."""
        table = tables.code_set.c
        query = select(func.max(table.first + table.count)).where(table.node_id == node)
        return int(self._connection.execute(query).scalar_one() or 0)


def check_form(body: Mapping[str, Any]) -> None:
    """Raises Refusal `codes-form` unless `body` has the form of a code set."""
    for error in _validator().iter_errors(body):
        field = "/" + "/".join(["codes", *(str(part) for part in error.instance_path)])
        raise _refuse("codes-form", field, f"{field} 不符合要求：{error.message}", f"{field}: {error.message}")
    try:
        base64_bytes(body["root"], HASH_SIZE)
    except ValueError as error:
        raise _refuse("codes-form", "/codes/root", "根哈希不是 32 字节的 base64", f"root: {error}") from error
    if body["first"] + body["count"] > SEQUENCE_LIMIT:
        raise _refuse("codes-form", "/codes/count", "序号超出 40 位", "the numbers exceed 40 bits", "< 2^40")


def _refuse(rule: str, field: str, zh: str, en: str, expected: str = "") -> Refusal:
    return Refusal(rule, field=field, zh=zh, en=en, expected=expected, status_hint="unprocessable")
