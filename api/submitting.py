"""Submitting files of signed statements: each receipt is kept beside its file, as a C2SP tlog-proof of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from ..ledger.errors import Refusal
from ..ledger.keys import PrivateKey
from ..ledger.statement import Signed, parse_statement, split_sd_jwt
from ..ledger.strict_json import strict_json
from ..ledger.verify import verify_receipt
from .client import Recorded
from .loading import Producers
from .producer import Line
from .producer_home import write_atomically

PATIENCE_MS = 10_000
"""How long to wait for the witnesses, who take a second or two."""


def read_statements(path: Path) -> list[Line]:
    """The statements of a file: an SD-JWT, or NDJSON as `suyuan sign` writes it. Raises Refusal naming the line."""
    text = path.read_text(encoding="utf-8").strip()
    rows = [text] if text.startswith("{") and _is_one_object(text) else text.split("\n")
    lines = []
    for number, row in enumerate((row.strip() for row in rows), start=1):
        if not row:
            continue
        try:
            signed = _read(row)
            issuer = parse_statement(signed.statement.encode("utf-8")).iss
        except Refusal as refusal:
            refusal.field = f"{path}:{number} {refusal.field}".rstrip()
            raise
        lines.append(Line(issuer, signed, f"{path.name}:{number}"))
    return lines


def receipt_path(path: Path, number: int, count: int) -> Path:
    """Where the receipt of statement `number` (from 1) of a file with `count` statements is kept."""
    return path.with_name(f"{path.name}.receipt" if count == 1 else f"{path.name}.{number}.receipt")


def submit_files(
    producers: Producers, files: Sequence[Path], key: PrivateKey | None
) -> Iterator[tuple[Path, Recorded]]:
    """Send the statements of the files that have no valid receipt yet; yields each receipt's file and place.

    At the end receipts without cosignatures are asked for again, if the policy has witnesses. Where these take longer
    the log's own signature stays, until the files are submitted once more. `key` gets its actor an API key where none
    is kept. Raises Refusal, ClientError.
    """
    first: list[tuple[Line, Path, Recorded]] = []
    for path in files:
        lines = read_statements(path)
        places = [receipt_path(path, number, len(lines)) for number in range(1, len(lines) + 1)]
        advance = producers.progress.task(path.name, len(lines))
        waiting: list[tuple[Line, Path]] = []
        for line, place in zip(lines, places, strict=True):
            kept = _kept(producers, line, place)
            if kept is None:
                waiting.append((line, place))
            else:
                advance(1)
                first.append((line, place, kept))
                yield place, kept
        for issuer, run in groupby(waiting, key=lambda pair: pair[0].issuer):
            if key is not None:
                producers.lend(issuer, key)
            some = list(run)
            recorded = producers.submit(issuer, [line for line, _ in some])
            for (line, place), one in zip(some, recorded, strict=True):
                write_atomically(place, one.receipt, mode=0o644)
                advance(1)
                first.append((line, place, one))
                yield place, one
    _with_cosignatures(producers, first)


def _with_cosignatures(producers: Producers, receipts: Sequence[tuple[Line, Path, Recorded]]) -> None:
    """Replace receipts that lack the quorum by ones that have it, as far as they can be had within moments."""
    service = producers.service
    if service.policy.quorum is None:
        return
    until_ms = service.now_ms() + PATIENCE_MS
    for line, place, one in receipts:
        if verify_receipt(one.receipt, None, service.policy, require_quorum=True).ok:
            continue

        def ask(api_key: str, one: Recorded = one) -> str | None:
            return service.cosigned_receipt(one.receipt, api_key, until_ms)

        cosigned = producers.with_api_key(line.issuer, ask)
        if cosigned is None:
            return
        write_atomically(place, cosigned, mode=0o644)


def _kept(producers: Producers, line: Line, place: Path) -> Recorded | None:
    """The receipt of an earlier run, if it is there and holds for this statement."""
    if not place.exists():
        return None
    text = place.read_text(encoding="utf-8")
    report = verify_receipt(text, line.signed.statement.encode("ascii"), producers.service.policy)
    return Recorded(line.hash, report.index, text, True) if report.ok and report.index is not None else None


def _is_one_object(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _read(row: str) -> Signed:
    value: Any = strict_json(row.encode("utf-8")) if row.startswith(("{", '"')) else row
    if isinstance(value, str):
        # Without a visibility class of its own, a private field has that of its template.
        jws, disclosures = split_sd_jwt(value)
        return Signed(jws, tuple((text, "") for text in disclosures))
    try:
        opened = [(str(one["disclosure"]), str(one.get("visibility", ""))) for one in value.get("disclosures", ())]
        return Signed(str(value["statement"]), tuple(opened))
    except (KeyError, TypeError, AttributeError):
        raise Refusal(
            "line-form",
            zh="不是签名声明",
            en="not a signed statement",
            expected='"jws~..." or {"statement", "disclosures"}',
        ) from None
