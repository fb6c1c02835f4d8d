"""A table seen from within one transaction: rows read through once, changed in memory, written back in bulk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Table

from .bulk import fetch, insert_rows, select_rows, update_rows

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
        self._key_of = _tuple_of(key)
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
        if not wanted:
            return
        self._rows.update(dict.fromkeys(wanted))
        columns = _columns(self._table)[0]
        for values in select_rows(self._connection, self._table, columns, self._key, wanted, self._fixed):
            row = dict(zip(columns, values, strict=True))
            self._rows[self._key_of(row)] = row

    def known_absent(self, *key: Any) -> None:
        """Notes that there is no row under `key` unless it was put here, so nobody needs to look."""
        self._rows.setdefault(key)

    def put(self, row: Mapping[str, Any]) -> Row:
        """Adds a row, or replaces the one under the same key."""
        stored = {**self._fixed, **row}
        key = self._key_of(stored)
        if key not in self._rows:
            self.prefetch([key])
        if self._rows[key] is None:
            self._new[key] = None
        elif key not in self._new:
            self._changed[key] = None
        self._rows[key] = stored
        return stored

    def add(self, row: Mapping[str, Any]) -> Row:
        """`put` for a row that cannot be in the table yet: nothing is read."""
        self._rows.setdefault(self._key_of(row))
        return self.put(row)

    def next_id(self) -> int:
        """A fresh `id`: one more than the highest in the table and than any given out before."""
        if self._next_id is None:
            ((highest,),) = fetch(self._connection, f"SELECT max(id) FROM {self._table.name}", ())
            self._next_id = (highest or 0) + 1
        fresh = self._next_id
        self._next_id += 1
        return fresh

    def flush(self) -> None:
        """Writes what was put since the last flush."""
        columns, primary, others = _columns(self._table)
        if self._new:
            insert_rows(self._connection, self._table, columns, self._values(self._new, columns))
        if self._changed and others:
            update_rows(
                self._connection, self._table, primary, others, self._values(self._changed, [*primary, *others])
            )
        self._new.clear()
        self._changed.clear()

    def _values(self, keys: Iterable[Key], columns: Sequence[str]) -> list[tuple[Any, ...]]:
        values = _tuple_of(tuple(columns))
        return [values(row) for key in keys if (row := self._rows[key]) is not None]


@lru_cache(maxsize=512)
def _tuple_of(names: tuple[str, ...]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """What takes the members called `names` out of a row."""
    if len(names) > 1:
        return itemgetter(*names)
    only = names[0]
    return lambda row: (row[only],)


@lru_cache(maxsize=256)
def _columns(table: Table) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The names of all columns, of those of the primary key, and of the others."""
    names = tuple(column.name for column in table.columns)
    primary = tuple(column.name for column in table.primary_key)
    return names, primary, tuple(name for name in names if name not in primary)
