"""What the command line does on a packing line: draws SSCCs, and sends who-lies-where lists to be recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from ..ledger.errors import Refusal
from ..ledger.keys import PrivateKey
from ..ledger.statement import issue
from ..trace.naming import Names
from ..trace.packing_list import Options, Packed, PackingList, event_id, rows_of
from ..trace.record import References, compose, normalise, refuse_faults, validate
from ..trace.schema import CHINA
from ..trace.template import Templates, load_templates
from .client import ClientError, Refused
from .loading import Producers
from .producer import Line

EVENT = "trace-event+sd-jwt"
_PART = 1 << 16
_AT_ONCE = 200


def draw_units(
    producers: Producers, actor: str, prefix: str, extension: int, count: int, out: Path | None
) -> list[str]:
    """Draw SSCCs; with `out` they are written as CSV: `uri,sscc`. Raises ClientError."""
    service = producers.service

    def draw(api_key: str) -> list[str]:
        return service.draw_sscc(api_key, prefix, extension, count)

    units: list[str] = producers.with_api_key(actor, draw)
    if out is not None:
        lines = ["uri,sscc", *(f"https://{service.public_host}/00/{unit},{unit}" for unit in units)]
        out.write_text("".join(f"{line}\r\n" for line in lines), encoding="ascii", newline="")
    return units


def options_of(file: Path, time: str | None, place: str, lot: str | None, pallets: str, cases: str | None) -> Options:
    """The options of a list; packed when its file was last written, unless said, so that it is the same again."""
    written = datetime.fromtimestamp(int(file.stat().st_mtime), CHINA).isoformat()
    return Options(time or written, place, lot, pallets, cases)


def send_list(
    producers: Producers, actor: str, file: Path, options: Options, key: PrivateKey | None, *, dry_run: bool, skip: bool
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Have a list of what lies where (`.csv` or `.ndjson`) recorded: the totals, and what was wrong, line by line.

    The service checks every serial. Signed by the service without a `key`; with one by it, on this machine, from the
    same list read here. Repeated after an interruption, what is there is not recorded again. Raises ClientError.
    """
    if key is not None:
        producers.lend(actor, key)
    totals, faults = _sent(producers, actor, file, options, dry_run=dry_run or key is not None, skip=skip)
    if key is None or dry_run or (totals["faults"] and not skip):
        return totals, faults
    wrong = {one["line"] for one in faults}
    return {**totals, **_signed_here(producers, actor, file, options, key, wrong), "dryRun": False}, faults


def _sent(
    producers: Producers, actor: str, file: Path, options: Options, *, dry_run: bool, skip: bool
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    sending = producers.progress.task("送出 sent (kB)", file.stat().st_size // 1000)
    recording: Any = None
    done, faults, told = 0, [], {}
    query = {"time": options.time, "place": options.place, "pallets": options.pallets}
    given = {"lot": options.lot, "cases": options.cases, "dry_run": "1" if dry_run else "", "skip": "1" if skip else ""}
    query |= {name: value for name, value in given.items() if value}

    def content() -> Iterator[bytes]:
        sent = 0
        with file.open("rb") as source:
            while part := source.read(_PART):
                yield part
                sending((sent + len(part)) // 1000 - sent // 1000)
                sent += len(part)

    media_type = "application/x-ndjson" if _form(file) == "ndjson" else "text/csv"
    for told in producers.service.aggregate(producers.api_key(actor), content(), media_type, query):
        if "line" in told:
            faults.append(told)
        elif "done" in told:
            recording = recording or producers.progress.task("单件 items", told["of"])
            recording(told["done"] - done)
            done = told["done"]
    if "faults" not in told:
        raise ClientError("应答中断，请再送一次", "the answer was cut off; send the list again")
    return told, faults


def _form(file: Path) -> str:
    return "ndjson" if file.suffix == ".ndjson" else "csv"


def _signed_here(
    producers: Producers, actor: str, file: Path, options: Options, key: PrivateKey, wrong: set[int]
) -> dict[str, int]:
    names, templates = Names(producers.service.public_host), load_templates()
    packing = PackingList(options, templates, names)
    with file.open(encoding="utf-8", newline="") as lines:
        for number, row in rows_of(lines, _form(file)):
            if number not in wrong and not isinstance(row, Refusal):
                packing.add(number, row)
    advance = producers.progress.task("单件 items", packing.items)
    records, told = packing.records(), {"events": 0, "already": 0, "refused": 0, "items": 0}
    while batch := list(islice(records, _AT_ONCE)):
        waiting = [(packed, _line(producers, packed, actor, key, names, templates)) for packed in batch]
        while waiting:
            waiting = _submitted(producers, actor, waiting, told)
        advance(sum(packed.items for packed in batch))
    return told


def _submitted(
    producers: Producers, actor: str, waiting: list[tuple[Packed, Line]], told: dict[str, int]
) -> list[tuple[Packed, Line]]:
    """Sends lines in order up to one that is there already; those after it. Raises ClientError for one refused."""
    arrived = 0
    try:
        for _ in producers.submit(actor, [line for _, line in waiting]):
            told["items"] += waiting[arrived][0].items
            arrived += 1
    except Refused as refused:
        if refused.rule != "event-exists":
            raise
        told["already"] += 1
        return waiting[arrived + 1 :]
    finally:
        told["events"] += arrived
    return []


def _line(
    producers: Producers, packed: Packed, actor: str, key: PrivateKey, names: Names, templates: Templates
) -> Line:
    raw: Mapping[str, Any] = {**packed.record, "event_id": event_id(actor, packed.record)}
    stage = templates.stages[raw["stage"]]
    refer = References(lot=lambda label: None, plot=lambda plot: plot, new_lot=str, event_id=str)
    record = normalise(raw, stage, actor, names, refer)
    refuse_faults(validate(record, stage, names))
    composed = compose(record, stage, actor, names)
    service = producers.service
    iat = service.now_ms() // 1000
    signed = issue(EVENT, composed.event, key=key, iss=actor, aud=service.origin, iat=iat, private=composed.private)
    first, last = packed.lines
    return Line(actor, signed, f"{first}–{last}", str(raw["event_id"]))
