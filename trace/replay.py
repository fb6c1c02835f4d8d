"""Rebuilding: every table that follows from the ledger is emptied and filled again by replaying it from entry 0."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, delete, select

from ..ledger import tables as ledger_tables
from ..ledger.keys import KeyRing, Registrar
from ..ledger.reader import LogReader, StoredEntry
from ..ledger.rows import Rows
from ..ledger.statement import KINDS
from . import tables
from .key_rows import key_row
from .naming import Names
from .projection import Coming, Logged, Projection
from .record import decompose
from .template import Templates

DERIVED: Sequence[Table] = (ledger_tables.key, *tables.PROJECTIONS)
"""Everything that a replay rebuilds."""
_AT_ONCE = 500


def rebuild(
    log: LogReader,
    templates: Templates,
    names: Names,
    registrars: Sequence[Registrar],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Empties the derived tables and replays the ledger into them, in one transaction; returns the number of entries.

    Statements are not judged again: what stands on the ledger was accepted. `progress(done, total)` is called now and
    then. Appends wait meanwhile.
    """
    with log.database.write() as connection:
        return _refill(connection, log, templates, names, registrars, progress)


def differing(
    log: LogReader,
    templates: Templates,
    names: Names,
    registrars: Sequence[Registrar],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:
    """Names of the derived tables that are not what a replay of the ledger gives; changes nothing.

    The replay happens in a transaction that is taken back. Appends wait meanwhile.
    """
    with log.database.write() as connection:
        stored = dict(dump(connection, log.log_id))
        with connection.begin_nested() as tried:
            _refill(connection, log, templates, names, registrars, progress)
            replayed = dict(dump(connection, log.log_id))
            tried.rollback()
    return [name for name, digest in stored.items() if replayed[name] != digest]


def _refill(
    connection: Connection,
    log: LogReader,
    templates: Templates,
    names: Names,
    registrars: Sequence[Registrar],
    progress: Callable[[int, int], None],
) -> int:
    """Empties the derived tables and replays the ledger into them; returns the number of entries."""
    state = log.state(connection)
    for table in reversed(DERIVED):
        connection.execute(delete(table).where(of_log(connection, table, log.log_id)))
    ring = KeyRing(registrars, state.origin)
    for first in range(0, state.size, _AT_ONCE):
        last = min(first + _AT_ONCE, state.size)
        entries = log.statements(range(first, last), connection)
        replay = Replay(connection, connection, log, templates, names, ring)
        replay.apply([entries[index] for index in range(first, last)])
        progress(last, state.size)
    return state.size


def of_log(connection: Connection, table: Table, log_id: int) -> Any:
    """The condition that a row of a derived table belongs to a log."""
    if "log_id" in table.c:
        return table.c.log_id == log_id
    nodes = select(tables.node.c.id).where(tables.node.c.log_id == log_id)
    return table.c.node_id.in_(nodes)


class Replay:
    """Applies a page of stored entries in order to keys and projections; only the key ring outlives a page.

    `connection` is where the tables are written, `source` where the ledger is read: the same, or two databases.
    """

    def __init__(
        self,
        connection: Connection,
        source: Connection,
        log: LogReader,
        templates: Templates,
        names: Names,
        ring: KeyRing,
    ) -> None:
        self._log = log
        self._source = source
        self._templates = templates
        self._names = names
        self._ring = ring
        self._keys = Rows(connection, ledger_tables.key, ("kid",), log_id=log.log_id)
        self._projection = Projection(connection, log.log_id, templates, names, self._load)

    def _load(self, index: int) -> Logged:
        return Logged.of(self._log.statements([index], self._source)[index])

    def apply(
        self,
        page: Sequence[StoredEntry],
        before: Callable[[Logged, int, Projection], None] = lambda entry, time_ms, projection: None,
    ) -> None:
        """Applies the entries; a lot-index entry changes nothing here.

        `before` is called for each with its log time, and with the tables as the entries before it left them.
        """
        entries = [(Logged.of(stored), stored.time_ms) for stored in page if stored.statement is not None]
        self._projection.prefetch([self._coming(entry) for entry, _ in entries])
        for entry, time_ms in entries:
            before(entry, time_ms, self._projection)
            if entry.typ == "key+jwt":
                self._keys.put(key_row(self._ring.apply(entry.body, entry.index, time_ms=time_ms)))
            self._projection.apply(entry)
        self._keys.flush()
        self._projection.flush()

    def _coming(self, entry: Logged) -> Coming:
        stage = self._templates.get(entry.body.get("suyuan:stage", ""))
        record = None if stage is None else decompose(entry.body, stage, self._names)
        return Coming(entry.issuer, KINDS[entry.typ], entry.body, record)


def dump(connection: Connection, log_id: int) -> Iterator[tuple[str, bytes]]:
    """Every derived table of a log as (name, SHA-256 of its rows in primary-key order): equal means byte-identical."""
    for table in DERIVED:
        digest = hashlib.sha256()
        query = select(table).where(of_log(connection, table, log_id)).order_by(*table.primary_key.columns)
        for row in connection.execute(query).mappings():
            digest.update(_row_bytes(dict(row)))
        yield table.name, digest.digest()


def _row_bytes(row: Mapping[str, Any]) -> bytes:
    return repr(sorted((name, value) for name, value in row.items())).encode() + b"\n"
