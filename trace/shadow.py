"""Derived tables held against a replay beside them: row by row, without a lock, at whatever pace the caller drives it.

The ledger is replayed into a database of its own, a temporary file. For each table the replay is first brought up to
the very snapshot in which the table is then read, so appends go on meanwhile and are never mistaken for damage.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import Connection, Table, Text, select
from sqlalchemy.exc import SQLAlchemyError

from ..ledger.damage import Damage, Step, damage
from ..ledger.database import Database, DatabaseUnavailable
from ..ledger.errors import ProofError, Refusal
from ..ledger.keys import KeyRing, Registrar
from ..ledger.reader import LogReader
from .naming import Names
from .replay import DERIVED, Replay, of_log
from .template import Templates

ROWS_OF_AN_ENTRY = 10
"""What replaying an entry costs, in rows read."""
_PAGE = 250
_MOST_NAMED = 100
_UNREADABLE = (LookupError, ValueError, TypeError, AttributeError, OverflowError, AssertionError)
"""What reading rows that hold anything at all may end in."""


class Shadow:
    """A replay of `log` in a temporary database below `folder`. A context manager: closed, it leaves nothing behind."""

    def __init__(
        self,
        log: LogReader,
        templates: Templates,
        names: Names,
        registrars: Sequence[Registrar],
        folder: Path | None = None,
    ) -> None:
        self._log = log
        self._templates = templates
        self._names = names
        self._registrars = registrars
        self._folder = tempfile.TemporaryDirectory(prefix="suyuan-replay-", dir=folder)
        self._replayed = Database(f"sqlite:///{Path(self._folder.name) / 'replay.db'}", pool_size=1)
        self._replayed.create_all()
        self._ring: KeyRing | None = None
        self._size = 0

    def __enter__(self) -> Shadow:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._replayed.close()
        self._folder.cleanup()

    def steps(self) -> Iterator[Step]:
        """Replays what is new since the last call, a page a step; then compares the tables, one a step.

        Raises DatabaseUnavailable. A ledger that cannot be replayed is damage too: its own rows are named elsewhere.
        """
        try:
            size = self._log.state().size  # what comes later is caught up with where a table is compared
            while (entries := self._page(size)) is not None:
                yield Step(entries * ROWS_OF_AN_ENTRY, ())
            for table in DERIVED:
                yield self._compare(table)
        except DatabaseUnavailable:
            raise
        except (SQLAlchemyError, Refusal, ProofError, *_UNREADABLE) as error:
            place = f"entries {self._size} to {self._size + _PAGE}"
            yield Step(1, (damage("statement", "a ledger that can be replayed", f"{place}: {error!r}"[:300]),))

    def _page(self, size: int) -> int | None:
        """Replay one page in a snapshot of its own; how many entries, None when there are none left below `size`."""
        with self._log.database.read() as source:
            return self._advance(source, size)

    def _advance(self, source: Connection, size: int) -> int | None:
        first, last = self._size, min(self._size + _PAGE, size)
        if first >= last:
            return None
        if self._ring is None:
            self._ring = KeyRing(self._registrars, self._log.state(source).origin)
        with self._replayed.write() as target:
            entries = self._log.statements(range(first, last), source)
            replay = Replay(target, source, self._log, self._templates, self._names, self._ring)
            replay.apply([entries[index] for index in range(first, last)])
        self._size = last
        return last - first

    def _compare(self, table: Table) -> Step:
        with self._log.database.read() as source:
            size = self._log.state(source).size
            while self._advance(source, size) is not None:
                pass
            with self._replayed.read() as replayed:
                return side_by_side(table, self._log.log_id, source, replayed)


def side_by_side(table: Table, log_id: int, source: Connection, expected: Connection) -> Step:
    """One table of a log as it is stored in `source` and as it must be, row by row, until enough is found."""
    found: list[Damage] = []
    with closing(rows_of(table, log_id, source)) as stored, closing(rows_of(table, log_id, expected)) as wanted:
        return Step(_merge(table, stored, wanted, found), tuple(found))


def _merge(
    table: Table, stored: Iterator[dict[str, Any]], expected: Iterator[dict[str, Any]], found: list[Damage]
) -> int:
    """Both tables in the order of their primary key; how many rows there are."""
    key = [column.name for column in table.primary_key.columns]
    rows = 0
    left, right = next(stored, None), next(expected, None)
    while left is not None or right is not None:
        rows += 1
        here = None if left is None else _ordered(left, key)
        there = None if right is None else _ordered(right, key)
        if there is None or (here is not None and here < there):
            assert left is not None
            found.append(_damage(table, key, left, "no row", "a row"))
            left = next(stored, None)
        elif here is None or there < here:
            assert right is not None
            found.append(_damage(table, key, right, "a row", "none"))
            right = next(expected, None)
        else:
            assert left is not None and right is not None
            differing = {name: value for name, value in right.items() if not _same(value, left[name])}
            if differing:
                stated = {name: left[name] for name in differing}
                found.append(_damage(table, key, right, str(differing)[:200], str(stated)[:200]))
            left, right = next(stored, None), next(expected, None)
        if len(found) >= _MOST_NAMED:
            break
    return rows


def rows_of(table: Table, log_id: int, connection: Connection) -> Generator[dict[str, Any], None, None]:
    """The rows of one log in a table by primary key, text in order of its UTF-8 bytes; to be closed when left early."""
    columns = table.primary_key.columns
    # By bytes, as SQLite orders text anyway: a server's language must not decide.
    collated = connection.dialect.name == "postgresql"
    order = [c.collate("C") if collated and isinstance(c.type, Text) else c for c in columns]
    query = select(table).where(of_log(connection, table, log_id)).order_by(*order)
    with connection.execute(query.execution_options(yield_per=500)) as result:
        for row in result.mappings():
            yield dict(row)


def _ordered(row: dict[str, Any], key: Sequence[str]) -> tuple[tuple[bool, Any], ...]:
    """A primary key to compare: text by its bytes; a number never equals a text, whatever a damaged row holds."""
    values = [row[name] for name in key]
    return tuple((not isinstance(value, int), value.encode() if isinstance(value, str) else value) for value in values)


def _same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other


def _damage(table: Table, key: Sequence[str], row: dict[str, Any], expected: str, found: str) -> Damage:
    return Damage(table.name, tuple((name, row[name]) for name in key), expected, found)
