"""Logs to test with: a fixed key, a clock to turn by hand, statements by number, and a check of everything stored.

`check_log` shares no code with the append: it reads every row and works the tree, tiles and chains out anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select

from suyuan.ledger import tables
from suyuan.ledger.checkpoint import open_checkpoint
from suyuan.ledger.database import Database
from suyuan.ledger.entry import Entry
from suyuan.ledger.log import Draft, Log, StoredDisclosure
from suyuan.ledger.note import NoteSigner

ORIGIN = "trace.example.cn/520300"
SIGNER = NoteSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(sha256(b"log key for tests").digest()))
NOON = 1_774_324_800_000


class HandClock:
    """A clock that stands still until it is turned."""

    def __init__(self, now_ms: int = NOON) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


@dataclass(frozen=True)
class Paper:
    """A statement as far as the log cares: bytes with two hashes, and the subjects it names."""

    number: int
    writer: str = "w"
    subjects: tuple[str, ...] = ()
    disclosures: tuple[StoredDisclosure, ...] = ()

    @property
    def raw(self) -> bytes:
        return b"statement %s %d" % (self.writer.encode(), self.number)

    @property
    def hash(self) -> bytes:
        return sha256(self.raw).digest()

    @property
    def signing_hash(self) -> bytes:
        return sha256(b"signing input of " + self.raw).digest()

    @property
    def draft(self) -> Draft:
        return Draft("trace-event+sd-jwt", self.hash, self.subjects or self.usual_subjects)

    @property
    def usual_subjects(self) -> tuple[str, ...]:
        """A lot that a few papers share, one that is consumed, and a plot that many share."""
        number = self.number
        return (f"lot/A/{number // 3}", f"lot/A/{number // 3 + 1}#used", f"plot/A/{number % 7}")


def papers(count: int, first: int = 0, writer: str = "w") -> list[Paper]:
    return [Paper(number, writer) for number in range(first, first + count)]


class Opener:
    """Opens databases and logs, and closes all of them when the test is over."""

    def __init__(self) -> None:
        self._opened: list[Database] = []

    def database(self, url: str, **options: int) -> Database:
        """A database with its tables, made when they are not there yet."""
        database = Database(url, **options)
        self._opened.append(database)
        database.create_all()
        return database

    def log(self, url: str, clock: Callable[[], int] | None = None, **options: Any) -> Log:
        """The log of a new connection to `url`, made when it is not there yet."""
        log = Log(self.database(url), SIGNER, clock or HandClock(), **options)
        log.create()
        return log

    def close(self) -> None:
        for database in self._opened:
            database.close()


def submit(log: Log, submitted: Sequence[Paper]) -> list[int]:
    """Append what is not there yet, as one transaction; the index of each, old or new. As capture does it."""

    def work() -> list[int]:
        with log.append() as batch:
            known = log.by_signing_hash([paper.signing_hash for paper in submitted], batch.connection)
            batch.prefetch(subject for paper in submitted for subject in paper.draft.subjects)
            for paper in submitted:
                if paper.signing_hash not in known:
                    known[paper.signing_hash] = batch.add(paper.draft).index
                    batch.store_statement(known[paper.signing_hash], paper, paper.disclosures)
        return [known[paper.signing_hash] for paper in submitted]

    return log.database.retrying(work)


def check_log(log: Log, *, expected_size: int | None = None) -> list[Entry]:
    """Work out the whole log anew from its entries and compare every stored row with it; returns the entries.

    AssertionError names what differs. Statements, where stored, must be those of their entries.
    """
    own = log.log_id
    with log.database.read() as connection:
        rows = {
            table.name: connection.execute(select(table).where(table.c.log_id == own)).all()
            for table in tables.metadata.sorted_tables
            if table.name in ("log_state", "entry", "tile", "subject", "chain_link", "statement", "disclosure")
        }
    (state,) = rows["log_state"]
    stored = sorted(rows["entry"], key=lambda row: row.index)
    assert [row.index for row in stored] == list(range(state.size)), "entries are numbered without gaps up to size"
    if expected_size is not None:
        assert state.size == expected_size

    leaves = [sha256(b"\x00" + row.bytes).digest() for row in stored]
    entries = [Entry.parse(row.bytes) for row in stored]
    assert [entry.time_ms for entry in entries] == [row.time_ms for row in stored]
    assert all(before.time_ms <= after.time_ms for before, after in pairwise(entries))
    assert state.time_ms == (entries[-1].time_ms if entries else 0)
    assert state.root == _root(leaves), "the root is that of the entries"
    signed = open_checkpoint(state.checkpoint, SIGNER.verifier)
    assert (signed.origin, signed.size, signed.root) == (state.origin, state.size, state.root)

    tiles = {(row.level, row.index): row.hashes for row in rows["tile"]}
    expected_tiles = {}
    level, hashes = 0, leaves
    while hashes:
        for start in range(0, len(hashes), 256):
            expected_tiles[level, start // 256] = b"".join(hashes[start : start + 256])
        hashes = [_root(hashes[start : start + 256]) for start in range(0, len(hashes) - 255, 256)]
        level += 1
    assert tiles == expected_tiles

    chains: dict[bytes, list[int]] = {}
    for index, entry in enumerate(entries):
        for link in entry.chain:
            chain = chains.setdefault(link.subject, [])
            assert link.seq == len(chain), f"entry {index} continues its chains"
            assert link.previous == (leaves[chain[-1]] if chain else None), f"entry {index} points to the one before"
            chain.append(index)
    heads = {row.hash: (row.seq, row.index, row.leaf) for row in rows["subject"]}
    assert heads == {subject: (len(c) - 1, c[-1], leaves[c[-1]]) for subject, c in chains.items()}
    assert sorted(row.id for row in rows["subject"]) == list(range(state.subjects))
    numbers = {row.id: row.hash for row in rows["subject"]}
    links = {(numbers[row.subject_id], row.seq): row.index for row in rows["chain_link"]}
    assert links == {(subject, seq): index for subject, chain in chains.items() for seq, index in enumerate(chain)}

    statements = {row.index: row for row in rows["statement"]}
    for index, row in statements.items():
        assert entries[index].statement == row.hash == sha256(row.raw).digest(), f"statement {index} is its entry's"
    assert {row.index for row in rows["disclosure"]} <= set(statements)
    return entries


def stored_numbers(entries: Iterable[Entry], of: Sequence[Paper]) -> list[int]:
    """Which of `of` these entries are, in log order."""
    by_hash = {paper.hash: paper.number for paper in of}
    return [by_hash[entry.statement] for entry in entries if entry.statement in by_hash]


def _root(leaves: Sequence[bytes]) -> bytes:
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << ((len(leaves) - 1).bit_length() - 1)
    return sha256(b"\x01" + _root(leaves[:half]) + _root(leaves[half:])).digest()
