"""How far things have moved: what kept pages are held against, read once for everybody who asks at the same time.

Nothing is told by whoever changes something, so nothing can forget to tell: everything here is read from what pages
are made of, in one snapshot that begins after the question. Any process, on any host, sees what any other committed.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import Connection

from ..ledger.bulk import fetch
from ..ledger.database import Database
from ..trace.grounds import Grounds, touched

MOST_NAMES = 200_000
"""Names whose newest entry is remembered; 30 MB. What was kept before they were forgotten counts as stale."""
MOST_ENTRIES = 5_000
"""New entries that are looked at one by one; where more came, everything counts as touched."""
_CHECKPOINTS = 20

Beside: TypeAlias = tuple[int, ...]
"""What stands beside the ledger about a lot: complaints, answers, the newest actor statement of those who answered;
whether a finding holds it back."""
_STATE = "SELECT s.size, i.entry FROM log_state s LEFT JOIN index_state i ON i.log_id = s.log_id WHERE s.log_id = ?"
_COSIGNED = (
    "SELECT size, count(*), sum(time_s) FROM cosignature WHERE log_id = ? AND size > ?"
    f" GROUP BY size ORDER BY size LIMIT {_CHECKPOINTS}"
)
_COMPLAINTS = (
    "SELECT c.subject, count(DISTINCT c.id), count(a.number), max(x.entry) FROM complaint c"
    " LEFT JOIN complaint_answer a ON a.complaint = c.id LEFT JOIN actor x ON x.log_id = ? AND x.id = a.actor"
    " WHERE c.subject IN ({}) GROUP BY c.subject"
)
_HELD = "SELECT DISTINCT subject FROM quarantine WHERE log_id = ? AND subject IN ({})"


class Touched:
    """For each name the newest entry that touched it, as far back as entry `since`."""

    def __init__(self, since: int) -> None:
        self.since = since
        self._newest: dict[int, int] = {}

    def note(self, index: int, names: Collection[int]) -> bool:
        """Remember what the entry at `index` touches; False where there is no room for that."""
        if len(self._newest) + len(names) > MOST_NAMES:
            return False
        self._newest.update(dict.fromkeys(names, index))
        return True

    def any(self, grounds: Grounds, start: int) -> bool:
        """Whether an entry from `start` on touched any of these, or may have."""
        if start < self.since:
            return True
        newest = self._newest
        return any(newest.get(name, -1) >= start for name in grounds)


@dataclass(frozen=True)
class Standing:
    """How far everything had moved at one moment.

    cosigned: of each checkpoint above `index`, the entry that completeness is proven from, its size, how many witnesses
    have cosigned it, and the sum of their times. beside: of the lots that were asked about.
    """

    size: int
    index: int
    cosigned: tuple[tuple[int, int, int], ...]
    beside: Mapping[str, Beside]
    touched: Touched

    def proof(self, checkpoint: int | None) -> tuple[int, ...]:
        """What a proof against the cosigned checkpoint of that size depends on; None: against the log's newest."""
        if checkpoint is None or len(self.cosigned) == _CHECKPOINTS:
            return self.index, self.size, *(figure for row in self.cosigned for figure in row)
        return self.index, -1, *(figure for row in self.cosigned if row[0] <= checkpoint for figure in row)


class Freshness:
    """Reads the standing of one log and of what stands beside it."""

    def __init__(self, database: Database, log_id: int) -> None:
        self._database = database
        self._log_id = log_id
        self._lock = threading.Lock()
        self._touched = Touched(0)
        self._read_to = -1
        self._threads = ThreadPoolExecutor(1, "freshness")
        self._waiting: list[tuple[str, asyncio.Future[Standing]]] = []
        self._reading = False

    def close(self) -> None:
        """Let go of the thread that reads."""
        self._threads.shutdown()

    def read(self, subjects: Sequence[str] = ()) -> Standing:
        """How things stand now, with what stands beside the ledger about these lots. Raises DatabaseUnavailable."""
        with self._lock, self._database.read() as connection:
            ((size, entry),) = fetch(connection, _STATE, [self._log_id])
            index = -1 if entry is None else entry
            cosigned = tuple(map(_figures, fetch(connection, _COSIGNED, (self._log_id, index))))
            self._follow(connection, size)
            return Standing(size, index, cosigned, self._beside(connection, subjects), self._touched)

    def _beside(self, connection: Connection, subjects: Sequence[str]) -> dict[str, Beside]:
        if not subjects:
            return {}
        places, asked = ", ".join("?" * len(subjects)), (self._log_id, *subjects)
        rows = fetch(connection, _COMPLAINTS.format(places), asked)
        complaints = {subject: (filed, answers, newest or 0) for subject, filed, answers, newest in rows}
        held = {subject for (subject,) in fetch(connection, _HELD.format(places), asked)}
        return {subject: (*complaints.get(subject, (0, 0, 0)), int(subject in held)) for subject in subjects}

    def _follow(self, connection: Connection, size: int) -> None:
        """Take in what was appended since the last look; begin anew where too much was, or the log is another one."""
        start = self._read_to
        if start == size:
            return
        if not 0 <= size - start <= MOST_ENTRIES or start < 0:
            self._touched = Touched(size)
        else:
            for index, names in touched(connection, self._log_id, start, size):
                if names is None or not self._touched.note(index, names):
                    self._touched = Touched(index + 1)  # another one: whoever holds the old one is not misled
        self._read_to = size

    async def now(self, subject: str) -> Standing:
        """How things stand at a moment after this call; everybody who waits is answered by one look.

        Raises DatabaseUnavailable.
        """
        loop = asyncio.get_running_loop()
        mine: asyncio.Future[Standing] = loop.create_future()
        self._waiting.append((subject, mine))
        if not self._reading:
            self._reading = True
            self._look(loop)
        return await mine

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        batch, self._waiting = self._waiting, []
        subjects = list({subject for subject, _ in batch})
        looking = loop.run_in_executor(self._threads, self.read, subjects)

        def tell(done: asyncio.Future[Standing]) -> None:
            error = done.exception()
            for _, one in batch:
                if one.done():  # whoever asked is gone
                    continue
                if error is None:
                    one.set_result(done.result())
                else:
                    one.set_exception(error)
            if self._waiting:
                self._look(loop)
            else:
                self._reading = False

        looking.add_done_callback(tell)


def _figures(row: Sequence[Any]) -> tuple[int, int, int]:
    size, witnesses, times = row
    return int(size), int(witnesses), int(times)  # PostgreSQL sums to Decimal
