"""A table seen from within one transaction: rows read through once, changed in memory, written back in bulk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, bindparam, func, insert, or_, select, tuple_, update

_CHUNK = 200

Row = dict[str, Any]


class Rows:
    """The rows of one table that a batch touches, under `key`, a unique set of columns.

    Writes happen in `flush`, inserts in the order of `put`, so a replay of the same ledger writes the same rows.
    """

    def __init__(self, connection: Connection, table: Table, key: tuple[str, ...], **fixed: Any) -> None:
        self._connection = connection
        self._table = table
        self._key = key
        self._fixed = fixed
        self._rows: dict[tuple[Any, ...], Row | None] = {}
        self._new: dict[tuple[Any, ...], None] = {}
        self._changed: dict[tuple[Any, ...], None] = {}

    def get(self, *key: Any) -> Row | None:
        """The row under `key`, or None."""
        if key not in self._rows:
            self.prefetch([key])
        return self._rows[key]

    def prefetch(self, keys: Iterable[tuple[Any, ...]]) -> None:
        """Reads many rows in few statements."""
        wanted = [key for key in dict.fromkeys(keys) if key not in self._rows]
        columns = [self._table.c[name] for name in self._key]
        for start in range(0, len(wanted), _CHUNK):
            chunk = wanted[start : start + _CHUNK]
            if len(columns) == 1:
                condition: ColumnElement[bool] = columns[0].in_([key[0] for key in chunk])
            elif self._connection.dialect.name == "sqlite":
                condition = or_(*(and_(*(c == v for c, v in zip(columns, key, strict=True))) for key in chunk))
            else:
                condition = tuple_(*columns).in_(chunk)
            query = select(self._table).where(condition, *(self._table.c[n] == v for n, v in self._fixed.items()))
            self._rows.update(dict.fromkeys(chunk))
            for row in self._connection.execute(query).mappings():
                self._rows[tuple(row[name] for name in self._key)] = dict(row)

    def put(self, row: Mapping[str, Any]) -> Row:
        """Adds a row, or replaces the one under the same key."""
        stored = {**self._fixed, **row}
        key = tuple(stored[name] for name in self._key)
        if self.get(*key) is None:
            self._new[key] = None
        elif key not in self._new:
            self._changed[key] = None
        self._rows[key] = stored
        return stored

    def next_id(self) -> int:
        """One more than the highest `id` in the table and in memory."""
        highest = self._connection.execute(select(func.max(self._table.c.id))).scalar_one_or_none() or 0
        return int(max([highest, *(row["id"] for row in self._rows.values() if row is not None)])) + 1

    def flush(self) -> None:
        """Writes what was put since the last flush."""
        if self._new:
            self._connection.execute(insert(self._table), self._values(self._new))
        if self._changed:
            primary = [column.name for column in self._table.primary_key]
            values = [c.name for c in self._table.columns if c.name not in primary]
            statement = (
                update(self._table)
                .where(*(self._table.c[name] == bindparam("key_" + name) for name in primary))
                .values({name: bindparam("new_" + name) for name in values})
            )
            self._connection.execute(
                statement,
                [
                    {"key_" + n: row[n] for n in primary} | {"new_" + n: row[n] for n in values}
                    for row in self._values(self._changed)
                ],
            )
        self._new.clear()
        self._changed.clear()

    def _values(self, keys: Iterable[tuple[Any, ...]]) -> list[Row]:
        return [row for key in keys if (row := self._rows[key]) is not None]
