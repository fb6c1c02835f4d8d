"""A log of a million entries: what proofs, lot index and appending cost there, and how much memory they take.

The log is made once for all rows, by the append transaction in large batches, in a process of its own that tells how
much memory that took. Its subjects are about a million: each entry makes a lot that two share, uses another, and
concerns one of a thousand plots.
"""

from __future__ import annotations

import gc
import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select

from . import tables
from .bench import BATCH, Paper, Row, append_papers, best, lot
from .bulk import insert_rows
from .database import Database
from .index_pages import IndexPages, Page, decode_page, encode_page, page_hash
from .indexer import Indexer, IndexReader
from .log import Log
from .lot_index import Head
from .merkle import verify_inclusion
from .note import NoteSigner
from .proof_tiles import ProofTiles
from .reader import portions

LARGE_BATCH, CHANGED_LOTS = 5_000, 1_000
_PROOFS, _ROUNDS = 500, 3


@dataclass(frozen=True)
class Place:
    """Where the log is made: the database's URL, the log's origin, and the secret of its Ed25519 key."""

    url: str
    origin: str
    secret: bytes

    @contextmanager
    def opened(self) -> Iterator[Log]:
        """The log, made if it is not there."""
        signer = NoteSigner(self.origin, Ed25519PrivateKey.from_private_bytes(self.secret))
        with Database(self.url) as database:
            database.create_all()
            log = Log(database, signer, lambda: time.time_ns() // 1_000_000)
            log.create()
            yield log


def run(quick: bool, progress: Callable[[str], None], place: Place) -> list[Row]:
    """The rows of a large log, which is made at `place`; `quick` makes a small one, to see that they run."""
    size = 4_000 if quick else 1_000_000
    progress(f"a log of {size:,} entries")
    grown_mb, seconds = _in_a_process(_grow, place, size)
    rows = [Row(f"{size:,} entries appended, {LARGE_BATCH:,} a transaction", size / seconds, None, None, "1/s")]
    with place.opened() as log:
        progress("a lot index over all of it")
        index_everything(log)
        progress("proofs")
        rows += _proofs(log, size)
        progress("lot index")
        rows += _lot_index(log, size)
    progress("memory")
    (appending_mb,) = _in_a_process(_append_more, place, size, 2 if quick else 40)
    name = f"resident memory, at most, appending and proving at {size:,} entries"
    return [*rows, Row(name, max(grown_mb, appending_mb), None, None, "MB", at_most=300)]


# ---------------------------------------------------------------- what the log is filled with


def fill(log: Log, numbers: range) -> None:
    """Append the entries with these numbers, in large transactions."""
    for first in range(numbers.start, numbers.stop, LARGE_BATCH):
        append_papers(log, [Paper(number) for number in range(first, min(first + LARGE_BATCH, numbers.stop))])


def index_everything(log: Log) -> int:
    """Publish a first lot index over a log that has none, subject by subject; the index of its entry.

    The service's own way (`Indexer`) takes entries in their order, as they come; for a million at once it would load
    and write every page many times.
    """
    subject, pages, root_page = tables.subject.c, dict[bytes, bytes](), Page()
    with log.append() as append:
        for first in range(256):
            query = select(subject.hash, subject.seq, subject.leaf).where(
                subject.log_id == log.log_id,
                subject.hash >= bytes([first]),
                subject.hash < (bytes([first + 1]) if first < 255 else b"\xff" * 33),
            )
            some = IndexPages(lambda prefixes: {})
            some.update([Head(bytes(row[0]), row[1], bytes(row[2])) for row in append.connection.execute(query)])
            changed = some.changed()
            root_page |= decode_page(changed.pop(b""))
            pages |= changed
        pages[b""] = encode_page(root_page)
        size, root = append.size, page_hash(root_page)
        entry = append.add_index(size, root).index
        rows = [(log.log_id, prefix, slots) for prefix, slots in pages.items()]
        for part in portions(rows):
            insert_rows(append.connection, tables.index_page, ("log_id", "prefix", "slots"), part)
        state = [(log.log_id, entry, size, root)]
        insert_rows(append.connection, tables.index_state, ("log_id", "entry", "size", "root"), state)
    return entry


# ---------------------------------------------------------------- proofs


def _proofs(log: Log, size: int) -> list[Row]:
    """From the database, alone and together, at places not asked for before; and with all tiles in memory."""
    numbers = random.Random(1)
    count = min(_PROOFS, size // (4 * _ROUNDS))
    tree = log.state()

    def rate(ask: Callable[[list[int]], object]) -> float:
        return max(count / best(1, lambda: ask(numbers.sample(range(size), count))) for _ in range(_ROUNDS))

    with log.database.read() as connection:
        tile = tables.tile.c
        rows = connection.execute(select(tile.level, tile.index, tile.hashes).where(tile.log_id == log.log_id))
        stored = {(row[0], row[1]): bytes(row[2]) for row in rows}
    _bring_into_memory(log.database)
    alone = rate(lambda places: [log.proof(index) for index in places])
    receipts = rate(lambda places: [log.receipt(index) for index in places])
    together = rate(log.receipts)
    in_memory, reads = ProofTiles(), [0]

    def read(level: int, number: int) -> bytes:
        reads[0] += 1
        return stored[level, number]

    in_memory.paths(range(0, size, 256), tree.size, read, tree.root)

    def from_memory(places: list[int]) -> None:
        for index in places:
            in_memory.paths([index], tree.size, read, tree.root)

    memory = rate(from_memory)
    most = 0
    for index in numbers.sample(range(tree.size), count):
        reads[0] = 0
        path = ProofTiles().paths([index], tree.size, read, tree.root)[index]
        most = max(most, reads[0])
        leaf = stored[0, index // 256][index % 256 * 32 :][:32]
        verify_inclusion(leaf, index, tree.size, path, tree.root)
    return [
        Row(f"inclusion proofs from the database, one at a time, {size:,} entries", alone, None, None, "1/s", 5_000),
        Row("receipts from the database, one at a time", receipts, None, None, "1/s", 5_000),
        Row(f"receipts from the database, {count} at a time", together, None, None, "1/s", 5_000),
        Row("inclusion proofs, tiles in memory, one at a time", memory, None, None, "1/s", 20_000),
        Row("tiles read for a proof when nothing is kept, most", most, None, None, "tiles", at_most=5),
    ]


def _bring_into_memory(database: Database) -> None:
    """Read the database's file through, so that rates are those of the work and not of a disk that is shared."""
    if database.path is not None:
        with database.path.open("rb") as file:
            while file.read(1 << 20):
                pass


# ---------------------------------------------------------------- the lot index


def _lot_index(log: Log, size: int) -> list[Row]:
    """An index entry after 1,000 lots have changed; and what proves that the records of one lot are all there are."""
    numbers, indexer, reader = random.Random(2), Indexer(log), IndexReader(log)
    _bring_into_memory(log.database)
    changed = min(CHANGED_LOTS, size // 8)
    slowest, number = 0.0, size
    for _ in range(_ROUNDS):
        for some in portions(numbers.sample(range(0, size, 2), changed)):
            append_papers(log, [Paper(number := number + 1, (lot(one),)) for one in some])
        gc.collect()
        started = time.perf_counter()
        indexer.publish()
        slowest = max(slowest, time.perf_counter() - started)
    taken_ms: list[float] = []
    for one in numbers.sample(range(size), min(_PROOFS, size // 4)):
        started = time.perf_counter()
        with log.database.read() as connection:
            index, _ = reader.proofs(connection, [lot(one)])
            log.proof(index.entry, connection=connection)
            log.chain(lot(one), connection)
        taken_ms.append((time.perf_counter() - started) * 1000)
    taken_ms.sort()
    subjects = log.state().subjects
    proof = "completeness proof of a lot: path in the map, inclusion of its index entry, chain"
    name = f"lot index entry after {changed:,} of {subjects:,} subjects changed, slowest of {_ROUNDS}"
    return [
        Row(name, slowest, None, None, "s", at_most=1),
        Row(f"{proof}, median of {len(taken_ms)}", taken_ms[len(taken_ms) // 2], None, None, "ms", at_most=5),
        Row("the same, 99 of 100 take at most", taken_ms[len(taken_ms) * 99 // 100], None, None, "ms", at_most=5),
    ]


# ---------------------------------------------------------------- memory


def _in_a_process(work: Callable[..., None], *arguments: Any) -> tuple[float, ...]:
    """What `work` tells through the pipe it is given last, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(*arguments, theirs))
    process.start()
    theirs.close()
    try:
        told: tuple[float, ...] = ours.recv()
        return told
    finally:
        ours.close()
        process.join()


def _grow(place: Place, size: int, pipe: Pipe) -> None:
    """Appends up to `size`, asks for a little of everything, and tells memory and seconds."""
    started = time.perf_counter()
    with place.opened() as log:
        fill(log, range(size))
        seconds = time.perf_counter() - started
        for index in range(0, size, size // 50):
            log.receipt(index)
        log.chain(lot(7))
        pipe.send((peak_mb(), seconds))
    pipe.close()


def _append_more(place: Place, size: int, batches: int, pipe: Pipe) -> None:
    """Appends to the large log as the service does, publishes the index, proves; tells memory."""
    with place.opened() as log:
        indexer, first = Indexer(log), 2 * size
        for start in range(first, first + batches * BATCH, BATCH):
            log.receipts(append_papers(log, [Paper(number) for number in range(start, start + BATCH)]))
        indexer.publish()
        log.receipts(range(0, size, max(1, size // 5_000)))
        with log.database.read() as connection:
            indexer.proofs(connection, [lot(one) for one in range(0, size, max(1, size // 500))])
        pipe.send((peak_mb(),))
    pipe.close()


def peak_mb() -> float:
    """The most memory that this process ever had resident."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1000
    except (FileNotFoundError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
