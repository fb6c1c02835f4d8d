"""How long item codes, symbols and labels take, and how much memory: `suyuan bench qr`.

Issuing is the whole of it: keys, tree, sealed keys and tiles in the database, and the rows of the code set's
projection, in SQLite. Memory is that of this process and its workers together, less what stood there
before.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ..ledger.bench import Row
from ..ledger.code_set import CodeSet, ItemKeys
from ..ledger.database import Database
from ..ledger.encoding import base64_bytes
from ..ledger.item_code import verify_item
from ..qr import print_run, symbol
from ..trace import tables
from ..trace.naming import Names
from .item_codes import Drawn, ItemCodes
from .labels import STOCKS, item_label, labels_pdf
from .vault import Seal

_GTIN, _LOT, _ACTOR = "09520001000010", "MTCY20260331A", "93520328MAXXTE011D"
_NAMES = Names("trace.example.cn")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def run(quick: bool, progress: Callable[[str], None]) -> list[Row]:
    """All rows; `quick` does a small part of the work, to see that it runs."""
    codes, symbols, labels = (300_000, 50, 20) if quick else (10_000_000, 10_000, 1_000)
    with tempfile.TemporaryDirectory(prefix="suyuan-bench-") as folder:
        rows = _issue(Path(folder), codes, progress)
    return [*rows, *_symbols(symbols, progress), *_labels(labels, progress)]


def _issue(folder: Path, count: int, progress: Callable[[str], None]) -> list[Row]:
    database = Database(f"sqlite:///{folder / 'codes.db'}")
    database.create_all()
    try:
        keeper = ItemCodes(database, Seal(bytes(32)), _NAMES, lambda: 0, 1)
        progress(f"{count:,} serials")
        with _Memory() as memory:
            started = time.perf_counter()
            drawn = None
            for step in keeper.draw(_ACTOR, CodeSet(_GTIN, _LOT, 0, count, ItemKeys.new())):
                drawn = step if isinstance(step, Drawn) else drawn
            assert drawn is not None  # the last step
            _commit(database, drawn)
            took = time.perf_counter() - started
        raw = _hmac_seconds(count)
        progress("one serial proven")
        proving = _prove(keeper, drawn, count)
    finally:
        database.close()
    return [
        Row(f"{count:,} serials issued and committed, beside two bare HMACs each on one core", took, raw, None, "s",
            at_most=60),
        Row("memory of that, workers included", memory.peak / 1e6, None, None, "MB", at_most=300),
        Row("one serial proven issued", proving * 1e3, None, None, "ms", at_most=10),
    ]  # fmt: skip


def _commit(database: Database, drawn: Drawn) -> None:
    """What the projection writes of the maker's statement."""
    with database.write() as connection:
        connection.execute(
            tables.node.insert().values(
                id=1, log_id=1, subject=f"01/{_GTIN}/10/{_LOT}", kind="lot", gtin=_GTIN, maker=_ACTOR
            )
        )
        connection.execute(
            tables.code_set.insert().values(
                log_id=1, entry=1, node_id=1, issuer=_ACTOR, first=0, count=drawn.codes.count, root=drawn.root
            )
        )


def _prove(keeper: ItemCodes, drawn: Drawn, count: int) -> float:
    """Seconds for one proof from the database, found by its path; the median of many."""
    times = []
    for place in range(0, count, max(1, count // 50)):
        serial = drawn.codes.serial(place)
        path = urlsplit(_NAMES.absolute(f"/01/{_GTIN}/10/{_LOT}/21/{serial}")).path
        started = time.perf_counter()
        proven = keeper.proven(path)
        times.append(time.perf_counter() - started)
        assert proven is not None and len(base64_bytes(drawn.root)) == 32
        verify_item(drawn.body, serial, proven.salt, proven.path)
    return sorted(times)[len(times) // 2]


def _hmac_seconds(count: int) -> float:
    """What two HMACs a serial take alone, by the standard library, on one core."""
    import hmac

    key, sample = bytes(32), min(count, 200_000)
    started = time.perf_counter()
    for number in range(sample):
        hmac.digest(key, b"%d" % number, "sha256")
        hmac.digest(key, b"00000000000000000000", "sha256")
    return (time.perf_counter() - started) * count / sample


def _links(count: int) -> list[tuple[str, str]]:
    codes = CodeSet(_GTIN, _LOT, 0, count, ItemKeys.new())
    return [(_NAMES.absolute(f"/01/{_GTIN}/10/{_LOT}/21/{serial}"), serial) for _, serial, _ in codes.codes()]


def _symbols(count: int, progress: Callable[[str], None]) -> list[Row]:
    progress(f"{count:,} symbols")
    links = [link for link, _ in _links(count)]
    started = time.perf_counter()
    for link in links:
        print_run.encode(link)
    took = time.perf_counter() - started
    started = time.perf_counter()
    for link in links[: max(10, count // 100)]:
        symbol.encode(link)
    peer = (time.perf_counter() - started) / max(10, count // 100) * count
    name = f"{count:,} symbols encoded and decoded back, beside `qrcode`, encoding only"
    return [Row(name, took, peer, None, "s", at_most=15)]


def _labels(count: int, progress: Callable[[str], None]) -> list[Row]:
    progress(f"{count:,} labels")
    made = [item_label(link, "湄潭翠芽 特级 50 克", serial) for link, serial in _links(count)]
    started = time.perf_counter()
    content, _ = labels_pdf(made, STOCKS["a4-21"], title="湄潭翠芽")
    took = time.perf_counter() - started
    return [
        Row(f"{count:,} labels with Chinese text as PDF", took, None, None, "s", at_most=2),
        Row("size of that", len(content) / 1e3, None, None, "KB", at_most=500),
    ]


@dataclass
class _Memory:
    """The most that this process and its children took meanwhile, beyond what this one had before (bytes)."""

    peak: int = 0

    def __enter__(self) -> _Memory:
        self._before = _resident()
        self._done = threading.Event()
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._watching.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._watching.join()

    def _watch(self) -> None:
        while not self._done.wait(0.2):
            self.peak = max(self.peak, _resident() - self._before)


def _resident() -> int:
    """Resident bytes of this process and of those it started; 0 where there is no /proc."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() or folder.name == str(os.getpid()):
                total += int((folder / "statm").read_text().split()[1]) * _PAGE_BYTES
        except (OSError, ValueError):
            continue  # it ended meanwhile
    return total
