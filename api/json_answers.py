"""Answers as JSON: decimals as plain numbers, compact UTF-8."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import orjson
from starlette.responses import Response


def json_bytes(value: Any) -> bytes:
    """`value` as JSON. A Decimal of up to 15 digits, as everything on the ledger has, keeps its digits."""
    return orjson.dumps(value, default=_number)


def json_response(
    value: Any, status: int = 200, *, cache: str = "no-store", headers: Mapping[str, str] | None = None
) -> Response:
    """An `application/json` answer; `cache` is its Cache-Control."""
    return Response(json_bytes(value), status, {"Cache-Control": cache, **(headers or {})}, "application/json")


def _number(value: Any) -> int | float:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
