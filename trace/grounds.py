"""What a story rests on, and what new entries touch: by this a kept copy of a story is known to be still right.

A story is read from chains, from the flows of processes and from what actors are called. Each of these has a name
here, and every entry that changes one of them names it: a statement stands on the chains of what it is about
(formats section 2), and an event that only takes inputs, on no chain of what was made, belongs to its process.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from sqlalchemy import Connection

from ..ledger.bulk import fetch
from ..ledger.entry import Entry
from ..ledger.errors import ProofError
from ..ledger.subjects import USED, subject_hash
from .gathering import Gathered

Grounds = frozenset[int]
"""Names of subjects and processes: the names of what an entry touches are among these, or it changes nothing."""

_SUBJECT_BYTES = 8  # of a hash: two subjects with one name would cost a page drawn once too often
_ENTRIES = 'SELECT "index", bytes FROM entry WHERE log_id = ? AND "index" >= ? AND "index" < ? ORDER BY "index"'
_PROCESSES = (
    "SELECT entry, process_id FROM event WHERE log_id = ? AND entry >= ? AND entry < ? AND process_id IS NOT NULL"
)


def of_subject(subject: str) -> int:
    """The name of a subject, given as subject string, `#used` included."""
    return _of_hash(subject_hash(subject))


def _of_hash(hash: bytes) -> int:
    return int.from_bytes(hash[:_SUBJECT_BYTES], "big")


def _of_process(process: int) -> int:
    return -process - 1  # below all names of subjects


def grounds_of(gathered: Gathered) -> Grounds:
    """All that the story of what was gathered follows from.

    That a lot is used stands for it too: an event that only takes inputs is corrected and erased on those chains, and
    a lot of a closed log comes back to life when it is used on the next one.
    """
    goods = [row["subject"] for row in gathered.nodes.values()]
    walk = gathered.walk
    return frozenset(
        {
            *map(of_subject, gathered.chains),
            *map(of_subject, goods),
            *(of_subject(subject + USED) for subject in goods),
            *(of_subject(f"actor/{actor}") for actor in gathered.people),
            *map(_of_process, {*walk.taken, *walk.given, *(flow[0] for rows in walk.made.values() for flow in rows)}),
        }
    )


def touched(connection: Connection, log_id: int, start: int, end: int) -> Iterator[tuple[int, Collection[int] | None]]:
    """Of each entry from `start` to before `end` its index and the names it touches; None where it cannot be read."""
    place = (log_id, start, end)
    processes = {entry: _of_process(process) for entry, process in fetch(connection, _PROCESSES, place)}
    for index, encoded in fetch(connection, _ENTRIES, place):
        try:
            names = {_of_hash(link.subject) for link in Entry.parse(bytes(encoded)).chain}
        except ProofError:
            yield index, None
            continue
        yield index, names | {processes[index]} if index in processes else names
