"""How far the storing half of the ledger is from its limits, measured side by side in one run (`suyuan bench ledger`).

Every row sets ours beside a bare loop that does only what cannot be avoided: hashing, verifying one signature an entry,
writing as many rows. Absolute figures drift with the machine; the ratio of one run is what counts.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nacl.signing import SigningKey

from .database import Database, sqlite_module
from .log import Draft, Log, StoredDisclosure
from .merkle import leaf_hash
from .note import NoteSigner
from .tiles import Edge

BATCH = 500
STATEMENT_BYTES = 1_000
_SIGNER = NoteSigner("bench.example/ledger", Ed25519PrivateKey.from_private_bytes(bytes(32)))


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison: `ours` and `limit` in `unit`; `ratio` is ours / limit, None where nothing bounds it.

    `at_least` and `at_most` say what is aimed at: of the ratio where there is one, else of `ours`.
    """

    name: str
    ours: float
    limit: float | None
    ratio: float | None
    unit: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether what is aimed at was reached; None where nothing is aimed at."""
        if self.at_least is None and self.at_most is None:
            return None
        measured = self.ours if self.ratio is None else self.ratio
        return (self.at_least is None or measured >= self.at_least) and (
            self.at_most is None or measured <= self.at_most
        )


def run(quick: bool, progress: Callable[[str], None]) -> list[Row]:
    """All comparisons; `quick` does a small part of the work, to see that they run. `progress` hears what is next."""
    with tempfile.TemporaryDirectory(prefix="suyuan-bench-") as folder:
        rows: list[Row] = []
        for title, measure in (
            ("tree and tiles", _tree),
            ("append transactions", _append),
        ):
            progress(title)
            rows += measure(quick, Path(folder))
        return rows


def _row(name: str, ours: float, limit: float, unit: str, at_least: float | None = None) -> Row:
    return Row(name, ours, limit, ours / limit, unit, at_least)


def best(rounds: int, work: Callable[[], object]) -> float:
    """Seconds of the fastest of several runs: what the work costs when nothing else is in the way."""
    times = []
    for _ in range(rounds):
        gc.collect()
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


@contextmanager
def no_collection() -> Iterator[None]:
    """What a comparison needs beside the work makes every garbage collection slow, which is nobody's merit."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _tree(quick: bool, folder: Path) -> list[Row]:
    """Leaf hashes, tiles and root of batches of 500, against a bare hashlib loop over as many leaves and nodes."""
    count = 10_000 if quick else 100_000
    entries = [b"suyuan/entry/v1 %08d " % number + bytes(230) for number in range(count)]
    pairs = [bytes(64)] * count

    def bare() -> None:
        for entry in entries:
            sha256(b"\x00" + entry).digest()
        for pair in pairs:
            sha256(b"\x01" + pair).digest()

    def ours() -> None:
        edge = Edge()
        for first in range(0, count, BATCH):
            edge.append([leaf_hash(entry) for entry in entries[first : first + BATCH]])
            _ = edge.root

    rounds = 1 if quick else 3
    fastest = count / best(rounds, bare)
    name = "leaves into tree and tiles, 500 a batch, hashing included (limit: bare hashlib)"
    return [_row(name, count / best(rounds, ours), fastest, "1/s", at_least=0.5)]


class Paper:
    """A statement of usual size, with one private field, about a lot, a used lot and a plot, or about `subjects`."""

    __slots__ = ("hash", "raw", "signing_hash", "subjects")
    disclosures = (StoredDisclosure("W" * 90, "partner", "/suyuan:kde/price"),)

    def __init__(self, number: int, subjects: tuple[str, ...] = ()) -> None:
        self.raw = (b"%012d" % number) * (STATEMENT_BYTES // 12)
        self.hash = sha256(self.raw).digest()
        self.signing_hash = sha256(self.raw + b"s").digest()
        self.subjects = subjects or (lot(number), f"{lot(number + 2)}#used", f"plot/A/{number % 1_000}")


def lot(number: int) -> str:
    """The lot that a paper is about."""
    return f"lot/A/{number // 2}"


def append_papers(log: Log, papers: Sequence[Paper]) -> list[int]:
    """Append these in one transaction, as capture does: look for what is there, fetch heads, add, store, commit."""
    places = []
    with log.append() as batch:
        log.by_signing_hash((paper.signing_hash for paper in papers), batch.connection)
        batch.prefetch(subject for paper in papers for subject in paper.subjects)
        for paper in papers:
            appended = batch.add(Draft("trace-event+sd-jwt", paper.hash, paper.subjects))
            batch.store_statement(appended.index, paper, paper.disclosures)
            places.append(appended.index)
    return places


def _open(url: str) -> Log:
    database = Database(url)
    database.create_all()
    log = Log(database, _SIGNER, lambda: time.time_ns() // 1_000_000)
    log.create()
    return log


def _append(quick: bool, folder: Path) -> list[Row]:
    """Entries a second in durable transactions of 500, against verifying their signatures and against bare SQLite.

    The three take turns, so that a busy moment of the machine hits all of them.
    """
    turns, batches = (2, 1) if quick else (4, 10)
    log = _open(f"sqlite:///{folder / 'append.db'}")
    bare = _bare_rows(folder / "bare.db", turns * batches)
    key = SigningKey(bytes(32))
    message = bytes(STATEMENT_BYTES)
    signature = key.sign(message).signature
    seconds = {"ours": 0.0, "bare": 0.0, "verify": 0.0}
    for turn in range(turns):
        started = time.perf_counter()
        for first in range(turn * batches * BATCH, (turn + 1) * batches * BATCH, BATCH):
            append_papers(log, [Paper(number) for number in range(first, first + BATCH)])
        seconds["ours"] += time.perf_counter() - started
        seconds["bare"] += sum(next(bare) for _ in range(batches))
        started = time.perf_counter()
        for _ in range(batches * BATCH):
            key.verify_key.verify(message, signature)
        seconds["verify"] += time.perf_counter() - started
    bare.close()
    log.database.close()
    rates = {name: turns * batches * BATCH / taken for name, taken in seconds.items()}
    name = "entries appended, 500 a transaction, fsync"
    return [
        _row(f"{name} (limit: verifying their Ed25519 signatures)", rates["ours"], rates["verify"], "1/s"),
        _row(f"{name} (limit: bare sqlite3 executemany, same rows)", rates["ours"], rates["bare"], "1/s"),
    ]


def _bare_rows(path: Path, batches: int) -> Generator[float, None, None]:
    """Seconds for each batch of 500 when rows of these sizes are written with executemany, committed, and no more."""
    module = sqlite_module()
    connection = module.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA cache_size=-16384")
    connection.execute("PRAGMA wal_autocheckpoint=4096")
    connection.execute("CREATE TABLE entry (i INTEGER PRIMARY KEY, bytes BLOB) STRICT")
    connection.execute("CREATE TABLE statement (i INTEGER PRIMARY KEY, a BLOB UNIQUE, b BLOB, raw BLOB) STRICT")
    connection.execute("CREATE INDEX b ON statement (b)")
    connection.execute("CREATE TABLE disclosure (i INTEGER PRIMARY KEY, text TEXT) STRICT")
    connection.execute("CREATE TABLE subject (i INTEGER PRIMARY KEY, hash BLOB UNIQUE, leaf BLOB) STRICT")
    connection.execute("CREATE TABLE link (s INTEGER, q INTEGER, i INTEGER, PRIMARY KEY (s, q)) STRICT, WITHOUT ROWID")

    def digest(number: int) -> bytes:
        return sha256(b"%d" % number).digest()

    try:
        for start in range(0, batches * BATCH, BATCH):
            numbers = range(start, start + BATCH)
            entries = [(n, bytes(400)) for n in numbers]
            statements = [(n, digest(n), digest(-n - 1), bytes(STATEMENT_BYTES)) for n in numbers]
            disclosures = [(n, "W" * 90) for n in numbers]
            subjects = [(n, digest(n), bytes(32)) for n in range(start * 2 // 3, (start + BATCH) * 2 // 3)]
            links = [(n % (batches * BATCH), n, n) for n in range(3 * start, 3 * (start + BATCH))]
            started = time.perf_counter()
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO entry VALUES (?, ?)", entries)
            connection.executemany("INSERT INTO statement VALUES (?, ?, ?, ?)", statements)
            connection.executemany("INSERT INTO disclosure VALUES (?, ?)", disclosures)
            connection.executemany("INSERT INTO subject VALUES (?, ?, ?)", subjects)
            connection.executemany("INSERT INTO link VALUES (?, ?, ?)", links)
            connection.execute("COMMIT")
            yield time.perf_counter() - started
    finally:
        connection.close()
