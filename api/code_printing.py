"""What the command line does with item codes: has them drawn and signed, exports them to a file, makes label sheets."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from ..ledger.keys import PrivateKey
from ..ledger.statement import issue
from ..qr.sscc import is_sscc
from .client import ClientError
from .label_layouts import UnitLabel
from .labels import Label, item_label, labels_pdf, quiet_mm, stock_of
from .loading import Producers
from .producer import Line

CODES = "codes+jwt"


def issue_codes(producers: Producers, actor: str, lot: str, count: int, key: PrivateKey | None) -> dict[str, Any]:
    """Draw `count` codes for a lot and record the set: signed with `key`, or by the service without one; its body.

    Cut off anywhere, it is repeated as it is: a set that waits is given again. Raises ClientError.
    """
    if key is not None:
        producers.lend(actor, key)
    advance, done, told = producers.progress.task(f"取码 codes {lot.rpartition('/')[2]}", count), 0, {}
    for told in producers.service.draw_codes(producers.api_key(actor), lot, count, sign=key is None):
        if "done" in told:
            advance(told["done"] - done)
            done = told["done"]
    advance(count - done)
    codes: dict[str, Any] = told["codes"]
    if key is not None:
        service = producers.service
        iat = service.now_ms() // 1000
        signed = issue(CODES, codes, key=key, iss=actor, aud=service.origin, iat=iat)
        line = Line(actor, signed, f"{lot} codes", f"codes {codes['root']}")
        for _ in producers.submit(actor, [line]):
            pass
    return codes


def chosen_set(producers: Producers, actor: str, lot: str) -> dict[str, Any]:
    """The newest recorded code set of the lot. Raises ClientError when there is none."""
    sets = producers.with_api_key(actor, producers.service.code_sets)
    for one in reversed(sets):
        uri = f"https://{producers.service.public_host}/01/{one['gtin']}/10/{one['lot']}"
        if one["entry"] is not None and lot in (uri, one["lot"]):
            found: dict[str, Any] = one
            return found
    raise ClientError(f"{lot} 没有已上账的码段", f"no code set of {lot} is recorded; see `suyuan codes issue`")


def export_codes(producers: Producers, actor: str, lot: str, out: Path, form: str, skip: int, limit: int | None) -> int:
    """Write the codes of a lot's newest set to a file of mode 0600, whole or not at all; how many."""
    codes = chosen_set(producers, actor, lot)
    total: int = max(0, min(codes["count"] - skip, limit or codes["count"]))
    advance = producers.progress.task("导出 exported", total)
    temporary = out.with_name(f".{out.name}.part")
    lines = producers.service.export_codes(producers.api_key(actor), codes["root"], form, skip, limit)
    written = -1 if form == "csv" else 0
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii", newline="") as file:
            for line in lines:
                file.write(line + ("\r\n" if form == "csv" else "\n"))
                written += 1
                if written and not written % 1000:
                    advance(1000)
        if written != total:
            raise ClientError(f"导出不完整：{written} / {total}", f"the export was cut off: {written} of {total}")
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
    advance(total % 1000)
    return total


@dataclass(frozen=True)
class PrintRun:
    """A PDF of labels that was written: how many, and how large the modules of the smallest QR symbol are."""

    labels: int
    module_mm: Decimal
    bars: bool = False
    """Whether each has a GS1-128, too."""

    @property
    def size(self) -> str:
        """For whoever prints."""
        quiet = f"静区 quiet zone {quiet_mm(self.module_mm):.2f} mm"
        return f"模块 module {self.module_mm:.3f} mm，{quiet}" + ("，GS1-128" if self.bars else "")


def print_labels(
    producers: Producers, actor: str, lot: str, out: Path, stock: str, name: str, skip: int, limit: int
) -> PrintRun:
    """Make a PDF of labels for the codes of a lot's newest set.

    Raises Refusal `label-too-small`, `label-stock`, ClientError.
    """
    chosen = stock_of(stock)
    codes = chosen_set(producers, actor, lot)
    total = max(0, min(codes["count"] - skip, limit))
    advance = producers.progress.task("标签 labels", total)
    lines = producers.service.export_codes(producers.api_key(actor), codes["root"], "ndjson", skip, limit)

    def labels() -> Iterator[Label]:
        for line in lines:
            one = json.loads(line)
            yield item_label(one["uri"], name, one["serial"])
            advance(1)

    content, module = labels_pdf(labels(), chosen, title=f"{name} {codes['lot']}")
    out.write_bytes(content)
    return PrintRun(total, module)


def print_unit_labels(producers: Producers, units: Path, out: Path, stock: str, name: str) -> PrintRun:
    """Make a PDF of labels for the SSCCs of a file from `suyuan codes sscc`. Raises Refusal, ClientError."""
    chosen = stock_of(stock)
    with units.open(encoding="utf-8-sig", newline="") as file:
        numbers = [(row.get("sscc") or "").strip() for row in csv.DictReader(file)]
    if not numbers or not all(map(is_sscc, numbers)):
        raise ClientError(f"{units} 不是 SSCC 清单", f"{units} is no list of SSCCs: it has a column sscc")
    advance = producers.progress.task("标签 labels", len(numbers))

    def labels() -> Iterator[UnitLabel]:
        for number in numbers:
            link = f"https://{producers.service.public_host}/00/{number}"
            yield UnitLabel(number, link, (name,) if name else ())
            advance(1)

    content, module = labels_pdf(labels(), chosen, title=name or "SSCC")
    out.write_bytes(content)
    return PrintRun(len(numbers), module, UnitLabel.has_bars(*chosen.label))


def print_certificate(producers: Producers, actor: str, event: str, copies: int, out: Path, stock: str) -> PrintRun:
    """Have the service make labels of a conformity certificate, with what its issuer may see. Raises ClientError."""

    def ask(api_key: str) -> Any:
        query = {"event": event, "copies": str(copies), "stock": stock}
        return producers.service.get("/api/v1/labels/certificate", api_key=api_key, **query)

    answer = producers.with_api_key(actor, ask)
    out.write_bytes(answer.content)
    return PrintRun(copies, Decimal(answer.headers["Suyuan-Module-Mm"]))
