"""What the command line does with NFC chips: fetches the keys for whoever writes them, sends which is on which item."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .client import ClientError, Refused
from .code_printing import chosen_set
from .data_directory import write_private
from .loading import Producers

_PORTION = 5_000


def fetch_keys(
    producers: Producers, actor: str, lot: str, out: Path, diversifier: str, given: Path | None
) -> dict[str, Any]:
    """Write the keys of the chips of a lot's newest set to a new file of mode 0600, settled if they are not; the keys.

    given: a JSON file with keys of one's own. Raises ClientError, OSError, FileExistsError.
    """
    root = chosen_set(producers, actor, lot)["root"]
    wanted: dict[str, Any] = {"root": root, **({"diversifier": diversifier} if diversifier else {})}
    if given is not None:
        own = _object(given.read_text(encoding="utf-8"), given)
        wanted |= {name: own[name] for name in ("sdm_meta_read_key", "sdm_file_read_key", "diversifier") if name in own}
    service, api_key = producers.service, producers.api_key(actor)
    found = None if len(wanted) > 1 else service.chip_keys(api_key, root)
    keys = found or service.set_up_chips(api_key, wanted)
    write_private(out, json.dumps(keys, indent=1) + "\n")
    return keys


def bind_chips(producers: Producers, actor: str, lot: str, source: Path) -> tuple[int, int]:
    """Send a list of chips and items, `uid` with `serial` or `uri`, CSV or NDJSON; how many are new, and were known.

    Cut off anywhere, it is repeated as it is. Raises ClientError that names the line, OSError.
    """
    root = chosen_set(producers, actor, lot)["root"]
    with source.open(encoding="utf-8-sig", newline="") as file:
        rows = list(_rows_of_ndjson(file, source) if source.suffix == ".ndjson" else _rows_of_csv(file))
    advance = producers.progress.task("绑定芯片 chips bound", len(rows))
    new = known = 0
    for start in range(0, len(rows), _PORTION):
        some = rows[start : start + _PORTION]
        try:
            answer = producers.service.bind_chips(producers.api_key(actor), root, some)
        except Refused as refused:
            field = str(refused.problem.get("field", "")).strip("/")
            if not field.isdigit():
                raise
            place = f"{source.name}, {start + int(field)}"
            raise Refused(refused.status, {**refused.problem, "field": place}, refused.what) from refused
        new, known = new + answer["bound"], known + answer["known"]
        advance(len(some))
    return new, known


def _rows_of_csv(lines: Iterator[str]) -> Iterator[Mapping[str, Any]]:
    for row in csv.DictReader(lines):
        yield {name: value for name, value in row.items() if name in ("uid", "serial", "uri")}


def _rows_of_ndjson(lines: Iterator[str], source: Path) -> Iterator[Mapping[str, Any]]:
    for line in lines:
        if line.strip():
            yield _object(line, source)


def _object(text: str, source: Path) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ClientError(f"{source} 的内容不是 JSON 对象", f"{source} does not hold JSON objects")
    return value
