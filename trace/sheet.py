"""A sheet: an answer as rows under named columns, the same for a page, a program and a spreadsheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from .story import Text

Kind: TypeAlias = Literal["lot", "plot", "actor", "entry", "alert", "recall"]


@dataclass(frozen=True)
class Reference:
    """Something that has a page or a place of its own: a lot by its URI, an actor by its id, an entry by its index."""

    kind: Kind
    id: str
    name: Text | None = None


Cell: TypeAlias = str | int | Decimal | bool | Text | Reference | date | datetime | None


@dataclass(frozen=True)
class Column:
    """One column. `unit` is shown with the label; amounts of several units have a column that says which."""

    key: str
    label: Text
    unit: str = ""


@dataclass(frozen=True)
class Sheet:
    """Rows under columns, with a title and remarks for people."""

    key: str
    title: Text
    columns: tuple[Column, ...]
    rows: Sequence[tuple[Cell, ...]]
    remarks: tuple[Text, ...] = field(default=())

    def document(self) -> dict[str, Any]:
        """As JSON values: rows are objects by column key."""
        return {
            "key": self.key,
            "title": _words(self.title),
            "columns": [{"key": one.key, **_words(one.label), "unit": one.unit} for one in self.columns],
            "rows": [
                {column.key: _value(cell) for column, cell in zip(self.columns, row, strict=True)} for row in self.rows
            ],
            "remarks": [_words(remark) for remark in self.remarks],
        }


def column(key: str, zh: str, en: str, unit: str = "") -> Column:
    """A column labelled in Chinese and English."""
    return Column(key, Text(zh, en), unit)


def _words(text: Text) -> dict[str, str]:
    return {"zh": text.zh, "en": text.en}


def _value(cell: Cell) -> Any:
    if isinstance(cell, Reference):
        return {"id": cell.id, **(_words(cell.name) if cell.name is not None else {})}
    if isinstance(cell, Text):
        return _words(cell)
    if isinstance(cell, date):
        return cell.isoformat()
    return cell
