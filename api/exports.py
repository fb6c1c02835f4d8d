"""Sheets as a file that a spreadsheet opens without harm and that says where it comes from: CSV, signed as a note.

    # suyuan/export/v1 <origin> <time> <what was asked>
    <title>
    <column>,<column>, ...
    ...

    — <origin> <signature>

The text is CSV (RFC 4180, with LF); the last lines sign all of it with the log's key (C2SP signed-note v1). Its first
line is no origin, so that it can never be taken for a checkpoint. Cells that a spreadsheet would take for a formula
begin with an apostrophe.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal

from ..ledger.note import NoteSigner
from ..trace.sheet import Cell, Reference, Sheet
from ..trace.story import Text
from .signed_files import BOM, EXPORT_FORMAT

MEDIA_TYPE = "text/csv; charset=utf-8"
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "|", "%")


def signed_csv(sheets: Sequence[Sheet], signer: NoteSigner, *, time_ms: int, asked: str) -> bytes:
    """All sheets as one signed CSV file, labels in Chinese and English. `asked`: what it answers."""
    moment = datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds")
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    file.write(f"{BOM}{EXPORT_FORMAT} {signer.name} {moment} {_line(asked)}\n")
    for sheet in sheets:
        file.write("\n")
        writer.writerow([_text(f"{sheet.title.zh} {sheet.title.en}")])
        writer.writerow(
            [_text(f"{one.label.zh} {one.label.en}" + (f" ({one.unit})" if one.unit else "")) for one in sheet.columns]
        )
        writer.writerows([_cell(cell) for cell in row] for row in sheet.rows)
        writer.writerows([_text(f"{remark.zh} {remark.en}")] for remark in sheet.remarks)
    text = file.getvalue()
    return (text + "\n" + signer.sign(text)).encode("utf-8")


def _cell(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "1" if cell else "0"
    if isinstance(cell, int | Decimal):
        return str(cell)
    if isinstance(cell, datetime):
        return cell.isoformat(timespec="seconds")
    if isinstance(cell, date):
        return cell.isoformat()
    if isinstance(cell, Text):
        return _text(cell.zh if cell.zh == cell.en else f"{cell.zh} {cell.en}")
    if isinstance(cell, Reference):
        return _text(cell.id if cell.name is None or cell.name.zh == cell.id else f"{cell.name.zh} <{cell.id}>")
    return _text(cell)


def _text(text: str) -> str:
    """On one line, and nothing that a spreadsheet would work out."""
    line = _line(text)
    return "'" + line if line.startswith(_FORMULA) else line


def _line(text: str) -> str:
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())
