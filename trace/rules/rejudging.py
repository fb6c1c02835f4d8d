"""Findings held against a judging beside them: row by row, as the scrub asks, without a lock."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection

from ...ledger.damage import Step
from ...ledger.database import Database
from ...ledger.entry import Entry
from ...ledger.rehash_fields import ERASURE
from ..shadow import side_by_side
from . import tables
from .engine import Engine
from .judging import PAGE, Judging

ROWS_OF_AN_ENTRY = 6
"""What judging an entry again counts as, for a bounded rate."""


class Rejudging:
    """Judges a log again, with the rules of `judging`, and compares; scratch files below `folder`."""

    def __init__(self, judging: Judging, folder: Path | None = None) -> None:
        self._judging = judging
        self._folder = folder

    def steps(self) -> Iterator[Step]:
        """Judges from entry 0, a page a step; then compares the tables, one a step. Raises DatabaseUnavailable.

        What is going to be judged again anyway is not compared: by other rules, or because private fields were erased.
        """
        log, judging = self._judging.log, self._judging
        engine = judging.engine(whole=True)
        with log.database.read() as connection:
            size = judging.judged(connection)
        if size is None:
            return
        first = 0
        while first < size:
            with log.database.read() as connection:
                last = self._judge(engine, connection, first, size)
            yield Step((last - first) * ROWS_OF_AN_ENTRY, ())
            first = last
        with log.database.read() as connection:
            newest = judging.judged(connection)
            if newest is None or newest < first or self._erased(connection, first):
                return
            while first < newest:
                first = self._judge(engine, connection, first, newest)
            yield from self._compare(engine, connection)

    def _judge(self, engine: Engine, connection: Connection, first: int, size: int) -> int:
        last = min(first + PAGE, size)
        engine.judge(connection, self._judging.page(connection, first, last))
        return last

    def _erased(self, connection: Connection, first: int) -> bool:
        """Whether private fields were erased since entry `first`: some were read that are gone now."""
        log = self._judging.log
        for start in range(first, log.state(connection).size, PAGE):
            page = self._judging.page(connection, start, min(start + PAGE, log.state(connection).size))
            if any(Entry.parse(one.entry).typ == ERASURE for one in page):
                return True
        return False

    def _compare(self, engine: Engine, connection: Connection) -> Iterator[Step]:
        log_id = self._judging.log.log_id
        with tempfile.TemporaryDirectory(prefix="suyuan-judged-", dir=self._folder) as folder:
            scratch = Database(f"sqlite:///{Path(folder) / 'judged.db'}", pool_size=1)
            try:
                scratch.create_all()
                with scratch.write() as target:
                    engine.docket.flush(target)
                with scratch.read() as expected:
                    for table in tables.JUDGED:
                        yield side_by_side(table, log_id, connection, expected)
            finally:
                scratch.close()
