"""A table seen from within one transaction: rows read through once, changed in memory, written back in bulk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, func, or_, select, tuple_

from .bulk import insert_rows, update_rows

_CHUNK = 200

Row = dict[str, Any]
Key = tuple[Any, ...]


class Rows:
    """The rows of one table that a batch touches, under `key`, a unique set of columns.

    Writes happen in `flush`, inserts in the order of `put`, so a replay of the same ledger writes the same rows.
    """

    def __init__(self, connection: Connection, table: Table, key: tuple[str, ...], **fixed: Any) -> None:
        self._connection = connection
        self._table = table
        self._key = key
        self._fixed = fixed
        self._rows: dict[Key, Row | None] = {}
        self._new: dict[Key, None] = {}
        self._changed: dict[Key, None] = {}
        self._next_id: int | None = None

    def get(self, *key: Any) -> Row | None:
        """The row under `key`, or None."""
        if key not in self._rows:
            self.prefetch([key])
        return self._rows[key]

    def prefetch(self, keys: Iterable[Key]) -> None:
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

    def known_absent(self, *key: Any) -> None:
        """Notes that there is no row under `key` unless it was put here, so nobody needs to look."""
        self._rows.setdefault(key)

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

    def add(self, row: Mapping[str, Any]) -> Row:
        """`put` for a row that cannot be in the table yet: nothing is read."""
        self.known_absent(*(row[name] for name in self._key))
        return self.put(row)

    def next_id(self) -> int:
        """A fresh `id`: one more than the highest in the table and than any given out before."""
        if self._next_id is None:
            highest = self._connection.execute(select(func.max(self._table.c.id))).scalar_one_or_none()
            self._next_id = (highest or 0) + 1
        fresh = self._next_id
        self._next_id += 1
        return fresh

    def flush(self) -> None:
        """Writes what was put since the last flush."""
        columns = [column.name for column in self._table.columns]
        primary = [column.name for column in self._table.primary_key]
        others = [name for name in columns if name not in primary]
        insert_rows(self._connection, self._table, columns, self._values(self._new, columns))
        if others:
            update_rows(
                self._connection, self._table, primary, others, self._values(self._changed, [*primary, *others])
            )
        self._new.clear()
        self._changed.clear()

    def _values(self, keys: Iterable[Key], columns: list[str]) -> list[tuple[Any, ...]]:
        return [tuple(row[name] for name in columns) for key in keys if (row := self._rows[key]) is not None]
