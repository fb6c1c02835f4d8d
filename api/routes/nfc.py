"""NFC chips over HTTP: the keys of a code set's chips, and the list of which chip is on which item (formats 8)."""

from __future__ import annotations

import csv
import io
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ...ledger.errors import Refusal
from ...ledger.strict_json import strict_json
from ...qr.nfc import TagKeys
from ..answers import body_of, problems
from ..body import read_body, require_media_type
from ..dependencies import CallerDep, ServicesDep
from ..json_answers import json_response
from ..nfc_tags import MOST_BINDINGS, Binding, keys_document
from ..problems import not_found
from .parties import read_object

router = APIRouter(prefix="/api/v1/codes/nfc", tags=["单件码 item codes"])

NDJSON, CSV = "application/x-ndjson", "text/csv"
QUERY = "picc_data=" + "0" * 32 + "&cmac=" + "0" * 16
"""What is written into a chip after the item's URI; the chip puts its own text in place of the zeros at each tap."""
_MAX_BODY = 2_048
_MAX_LIST = 2_000_000
_PRIVATE = {"Cache-Control": "private, no-store"}
_KEY = {"type": "string", "pattern": "^[0-9A-Fa-f]{32}$"}
_SETUP: dict[str, Any] = {
    "type": "object", "required": ["root"],
    "properties": {
        "root": {"type": "string", "description": "码段的根 / root of the set (base64)"},
        "diversifier": {
            "type": "string", "pattern": "^[0-9A-Fa-f]{18,48}$",
            "description": "UID 之后的分散参数 / what follows the UID in AN10922, so that each chip has its own key",
        },
        "sdm_meta_read_key": _KEY, "sdm_file_read_key": _KEY,
    },
}  # fmt: skip
_KEYS = ("sdm_meta_read_key", "sdm_file_read_key")
Root = Annotated[str, Query(description="码段的根 / root of the set (base64)", max_length=44)]


@router.post(
    "",
    summary="为一段码设定芯片密钥 / Settle the keys of a set's NFC chips",
    description="NTAG 424 DNA. Without keys in the body they are derived from the set's own. Settled once; asked again "
    "for the same, the same is answered. Keep the answer as you would keep money: whoever has it can make chips.",
    response_model=dict[str, Any],
    responses=problems(400, 401, 404, 409, 413, 415, 422, 429, 503),
    openapi_extra=body_of({"application/json": _SETUP}, "码段与密钥 / set and keys"),
)
async def set_up(request: Request, services: ServicesDep, caller: CallerDep) -> Response:
    members = {"root", "diversifier", *_KEYS}
    body = await read_object(request, _MAX_BODY, services.settings.body_timeout, members)
    meta, file, diversifier = (_hexadecimal(body[name], name) for name in (*_KEYS, "diversifier"))
    if bool(meta) != bool(file):
        raise _malformed("/" + _KEYS[0])
    given = (meta, file) if meta else None
    keys = await run_in_threadpool(services.nfc_tags.set_up, caller.actor, body["root"], given, diversifier)
    return _told(body["root"], keys)


@router.get(
    "",
    summary="一段码的芯片密钥 / The keys of a set's NFC chips",
    description="For the maker only, for whoever writes its chips.",
    response_model=dict[str, Any],
    responses=problems(400, 401, 404, 409, 429, 503),
)
def get_keys(services: ServicesDep, caller: CallerDep, root: Root) -> Response:
    keys = services.nfc_tags.keys_of(caller.actor, root)
    if keys is None:
        raise not_found("这段码没有芯片密钥", "the chips of this set have no keys")
    return _told(root, keys)


@router.post(
    "/tags",
    summary="绑定芯片与单件 / Bind chips to items",
    description=f"A list with `uid` and `serial` (or `uri`) a line, as CSV with a header or as NDJSON, at most "
    f"{MOST_BINDINGS:,}: all of it counts, or nothing. One chip, one item, for good; what is bound already stays.",
    response_model=dict[str, int],
    responses=problems(400, 401, 404, 409, 413, 415, 422, 429, 503),
    openapi_extra=body_of({CSV: {"type": "string"}, NDJSON: {"type": "string"}}, "名单 / the list"),
)
async def bind(request: Request, services: ServicesDep, caller: CallerDep, root: Root) -> Response:
    kind = require_media_type(request, (CSV, NDJSON))
    async with services.large_bodies:
        content = await read_body(request, _MAX_LIST, services.settings.body_timeout)
        bindings = await run_in_threadpool(_from_csv if kind == CSV else _from_ndjson, content)
        new = await run_in_threadpool(services.nfc_tags.bind, caller.actor, root, bindings)
    return json_response({"bound": new, "known": len(bindings) - new})


def _told(root: str, keys: TagKeys) -> Response:
    return json_response({"root": root, **keys_document(keys), "query": QUERY}, headers=_PRIVATE)


def _from_csv(content: bytes) -> list[Binding]:
    try:
        rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        return [_binding(rows.line_num, row) for row in rows]
    except (csv.Error, UnicodeDecodeError) as error:
        raise _no_list(0) from error


def _from_ndjson(content: bytes) -> list[Binding]:
    return [_binding(number, strict_json(line)) for number, line in enumerate(content.splitlines(), 1) if line.strip()]


def _binding(line: int, row: Any) -> Binding:
    if not isinstance(row, dict):
        raise _no_list(line)
    uid, item = row.get("uid"), row.get("serial") or row.get("uri")
    if not isinstance(uid, str) or not isinstance(item, str):
        raise _no_list(line)
    return Binding(line, uid.strip().replace(":", ""), item.strip())


def _hexadecimal(text: str, field: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise _malformed("/" + field) from None


def _malformed(field: str) -> Refusal:
    return Refusal(
        "nfc-keys", field=field, zh="密钥应为 32 位十六进制，两个一起给出；分散参数为 18 至 48 位十六进制",
        en="keys have 32 hexadecimal digits and are given both; a diversifier has 18 to 48",
        status_hint="unprocessable",
    )  # fmt: skip


def _no_list(line: int) -> Refusal:
    return Refusal(
        "nfc-binding", field=f"/{line}", zh="名单每行应有 uid 和 serial（或 uri）",
        en="each line of the list has uid and serial (or uri)", expected="uid,serial", status_hint="unprocessable",
    )  # fmt: skip
