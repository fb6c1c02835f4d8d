"""What an audit must remember of a log from entry to entry, and what it can say only in order.

The tree, time, chains, lot indexes. Kept in one SQLite file, together with what statements add up to
(`audit_statements`), and changed in one transaction between two `save`s, so an audit that was killed goes on from its
last save.
"""

from __future__ import annotations

import importlib
import json
import sqlite3
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from .audit_range import KeyMaterial, RangeFacts
from .audit_statements import STATEMENT_SCHEMA, STATEMENT_TABLES, StatementOrder
from .encoding import base64_text
from .head_map import HeadMap, bits_for
from .keys import Registrar
from .merkle import HASH_SIZE
from .merkle import root as merkle_root
from .tiles import TILE_WIDTH, Edge
from .verify import INDEX_LAG_MS

_SCHEMA = (
    STATEMENT_SCHEMA
    + """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bucket (number INTEGER PRIMARY KEY, heads BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS recent (
    entry INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, leaf BLOB NOT NULL, subjects BLOB NOT NULL, seqs TEXT NOT NULL
) STRICT;
"""
)


class NewestIndex(NamedTuple):
    """The newest lot-index entry: where it stands, its time, and how many entries it covers."""

    entry: int
    time_ms: int
    size: int


_Recent: TypeAlias = "tuple[int, int, bytes, bytes, tuple[int, ...]]"
"""An entry that no index covers yet: its place, time, leaf hash, subjects, and the seq of each."""


class AuditState:
    """The state of one audit in the file `path`, which is made, or thrown away when it is of another audit.

    `purpose` says which audit: origin, policy and what else must be equal to go on. `size` is the size of the log.
    """

    def __init__(
        self,
        path: Path,
        purpose: str,
        size: int,
        *,
        origin: str,
        registrars: Sequence[Registrar],
        keys: KeyMaterial,
    ) -> None:
        self._pending: dict[bytes, tuple[int, bytes]] = {}
        self._recent: deque[_Recent] = deque()
        self.position = 0
        self.time_ms = 0
        self.indexes = 0
        self.newest_index: NewestIndex | None = None
        self.uncovered: tuple[int, int] | None = None
        """The first entry with chain lines that no index covers, and its time."""
        self.tiles = Edge()
        """Edge of the tree over the full level-0 tiles: its level 0 is level 1 of the log."""
        self._partial: dict[int, bytes] = {}
        self._database = _connect(path)
        self.statements = StatementOrder(self._database, path, origin, registrars, keys)
        self._open(purpose, size)

    # ------------------------------------------------------------ the file

    def _open(self, purpose: str, size: int) -> None:
        execute = self._database.execute
        execute("PRAGMA journal_mode=WAL")
        execute("PRAGMA synchronous=NORMAL")
        execute("PRAGMA cache_size=-65536")
        self._database.executescript(_SCHEMA)
        execute("BEGIN IMMEDIATE")
        row = execute("SELECT value FROM meta WHERE name = 'purpose'").fetchone()
        if row is not None and row[0].decode() == purpose:
            self._load()
            return
        for table in ("meta", "bucket", "recent", *STATEMENT_TABLES):
            execute(f"DELETE FROM {table}")
        self.heads = HeadMap(bits_for(size))
        self.statements.start()
        self._put("purpose", purpose.encode())

    def _load(self) -> None:
        execute = self._database.execute
        saved = json.loads(execute("SELECT value FROM meta WHERE name = 'progress'").fetchone()[0])
        self.position, self.time_ms, self.indexes = saved["position"], saved["time_ms"], saved["indexes"]
        self.newest_index = NewestIndex(*saved["newest_index"]) if saved["newest_index"] else None
        self.uncovered = tuple(saved["uncovered"]) if saved["uncovered"] else None
        self._partial = {int(level): bytes.fromhex(hashes) for level, hashes in saved["partial"].items()}
        self.tiles = Edge.load(self.position // TILE_WIDTH, lambda level, index: self._partial[level])
        self.heads = HeadMap(saved["bits"])
        for number, bucket in execute("SELECT number, heads FROM bucket"):
            self.heads.load(number, bucket)
        for entry, time_ms, leaf, subjects, seqs in execute("SELECT * FROM recent ORDER BY entry"):
            self._remember((entry, time_ms, leaf, subjects, tuple(json.loads(seqs))))
        self.statements.load(saved["statements"])

    def save(self, findings: Mapping[str, Any]) -> None:
        """Make what was taken in so far what a later run goes on from, with the findings up to here."""
        execute, many = self._database.execute, self._database.executemany
        progress = {
            "position": self.position,
            "time_ms": self.time_ms,
            "indexes": self.indexes,
            "statements": self.statements.save(),
            "newest_index": self.newest_index,
            "uncovered": self.uncovered,
            "partial": {level: hashes.hex() for level, hashes in self._partial.items()},
            "bits": self.heads.bits,
        }
        self._put("progress", json.dumps(progress).encode())
        self._put("findings", json.dumps(findings, ensure_ascii=False).encode())
        many("INSERT OR REPLACE INTO bucket VALUES (?, ?)", self.heads.changed())
        execute("DELETE FROM recent")
        many("INSERT INTO recent VALUES (?, ?, ?, ?, ?)", [(*one[:4], json.dumps(one[4])) for one in self._recent])
        execute("COMMIT")
        execute("BEGIN IMMEDIATE")

    def findings(self) -> Mapping[str, Any]:
        """What `save` was given last."""
        row = self._database.execute("SELECT value FROM meta WHERE name = 'findings'").fetchone()
        found: Mapping[str, Any] = {} if row is None else json.loads(row[0])
        return found

    def close(self) -> None:
        """Let go of the file; what was not saved is lost."""
        self.statements.close()
        self._database.execute("ROLLBACK")
        self._database.close()

    def _put(self, name: str, value: bytes) -> None:
        self._database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def figures(self) -> Mapping[str, Any]:
        """What was looked at, by the names of `AuditReport`."""
        fresh = sum(self.heads.get(subject) is None for subject in self._pending)
        return {
            "entries": self.position,
            "subjects": self.heads.subjects + fresh,
            "indexes": self.indexes,
            "statements": self.statements.statements,
            "signatures": self.statements.signatures,
            "newest_index": None if self.newest_index is None else tuple(self.newest_index),
        }

    # ------------------------------------------------------------ taking in

    def take(self, facts: RangeFacts) -> list[tuple[int, int, bytes]]:
        """Take a range in; what does not hold is added to its findings.

        Returns the tiles above the leaves that are full now, as (level, index, hashes). Raises ValueError for a range
        that is not the next.
        """
        if facts.first != self.position:
            raise ValueError(f"entries from {facts.first}, not from {self.position}")
        full = self._grow(facts.roots)
        self._entries(facts)
        self.statements.take(facts)
        self.position = facts.last
        return full

    def _grow(self, roots: Sequence[bytes]) -> list[tuple[int, int, bytes]]:
        full = []
        for tile in self.tiles.append(roots):
            width = len(tile.hashes) // HASH_SIZE
            if width == TILE_WIDTH:
                full.append((tile.level + 1, tile.index, tile.hashes))
                self._partial[tile.level] = b""
            else:
                self._partial[tile.level] = tile.hashes
        return full

    def partial_tiles(self) -> list[tuple[int, int, bytes]]:
        """The partial tiles above the leaves at the end of the log, as (level, index, hashes)."""
        return [(at.level + 1, at.index, self._partial[at.level]) for at in self.tiles.partial_tiles]

    def root(self, rest: bytes) -> bytes:
        """Root of the whole tree; `rest` are the leaf hashes behind the last full tile, fewer than 256."""
        return tree_root(self.tiles, rest)

    def _entries(self, facts: RangeFacts) -> None:
        """Times and chains, an entry after the other; and what lot-index entries say, where they stand."""
        pending, head_of, recent = self._pending, self.heads.get, self._recent
        leaves, all_subjects, all_previous = facts.leaves, facts.subjects, facts.previous
        at = back = 0  # how far the subjects and the links to earlier entries are read
        for index, entry in enumerate(facts.entries, facts.first):
            if entry is None:
                continue
            time_ms, seqs = entry
            if time_ms < self.time_ms:
                facts.fail("log-time", index, "日志时间倒退", "the log's time falls")
            self.time_ms = time_ms
            if index in facts.indexes:
                self._index(facts, index, time_ms, *facts.indexes[index])
            begin, offset = at, (index - facts.first) * HASH_SIZE
            leaf = leaves[offset : offset + HASH_SIZE]
            for seq in seqs:
                subject = all_subjects[at : at + HASH_SIZE]
                at += HASH_SIZE
                head = pending.get(subject) or head_of(subject)
                if seq:
                    before = all_previous[back : back + HASH_SIZE]
                    back += HASH_SIZE
                    if head is None or seq != head[0] + 1 or before != head[1]:
                        _chain_fault(facts, index, subject, seq, head)
                elif head is not None:
                    _chain_fault(facts, index, subject, seq, head)
                pending[subject] = (seq, leaf)
            recent.append((index, time_ms, leaf, all_subjects[begin:at], seqs))
            if seqs and self.uncovered is None:
                self.uncovered = (index, time_ms)
            while recent[0][1] < time_ms - 2 * INDEX_LAG_MS:
                self._merge(recent.popleft())  # no index may leave it out any more

    def _remember(self, one: _Recent) -> None:
        self._recent.append(one)
        _, _, leaf, subjects, seqs = one
        for number, seq in enumerate(seqs):
            self._pending[subjects[32 * number : 32 * number + 32]] = (seq, leaf)

    def _merge(self, one: _Recent) -> None:
        """Put an entry's links into the map that lot indexes cover."""
        _, _, leaf, subjects, seqs = one
        for number, seq in enumerate(seqs):
            subject = subjects[32 * number : 32 * number + 32]
            self.heads.put(subject, seq, leaf)
            if self._pending.get(subject) == (seq, leaf):
                del self._pending[subject]

    def _index(self, facts: RangeFacts, index: int, time_ms: int, size: int, root: bytes) -> None:
        """A lot-index entry: its size, its age, and its root (formats section 5)."""
        self.indexes += 1
        before = self.newest_index
        if size > index or (before is not None and size < before.size):
            zh, en = f"索引所涵盖的条数 {size} 不成立", f"an index of {size} entries cannot stand here"
            facts.fail("index-size", index, zh, en)
            return
        self.newest_index = NewestIndex(index, time_ms, size)
        recent = self._recent
        everything = not recent or recent[-1][0] < size
        left = [] if everything else [one for one in recent if one[0] >= size]
        if self.uncovered is not None and self.uncovered[0] < size:
            self.uncovered = next(((at, then) for at, then, _, subjects, _ in left if subjects), None)
        first = recent[0][0] if recent else index
        if size < first or (left and left[0][1] < time_ms - INDEX_LAG_MS):
            zh, en = (
                f"索引遗漏了早于它 60 秒以上的条目 {size}",
                f"the index leaves out entry {size}, which is more than 60 s older than itself",
            )
            facts.fail("index-lag", index, zh, en)
        if size < first:
            return  # the map of that time is gone
        if everything:
            for subject, head in self._pending.items():
                self.heads.put(subject, *head)
            self._pending.clear()
            recent.clear()
        while recent and recent[0][0] < size:
            self._merge(recent.popleft())
        if self.heads.root != root:
            zh, en = "索引根与条目算出的不符", "the index root is not that of the entries it covers"
            facts.fail("index-root", index, zh, en)


def _connect(path: Path) -> Any:
    """By `pysqlite3` where it is installed: older SQLite has no STRICT tables."""
    try:
        module: Any = importlib.import_module("pysqlite3.dbapi2")
    except ImportError:
        module = sqlite3
    return module.connect(path, isolation_level=None)


def tree_root(full: Edge, rest: bytes) -> bytes:
    """Root of a tree by the edge of the tree over its full level-0 tiles and the leaf hashes behind them.

    RFC 6962 cuts trees at powers of two, so 256 leaves and more of them are cut between full tiles, and what is left is
    one subtree: as if it were one more tile.
    """
    if not rest:
        return full.root
    edge = full.copy()
    edge.append([merkle_root([rest[at : at + HASH_SIZE] for at in range(0, len(rest), HASH_SIZE)])])
    return edge.root


def _chain_fault(facts: RangeFacts, index: int, subject: bytes, seq: int, head: tuple[int, bytes] | None) -> None:
    expected = 0 if head is None else head[0] + 1
    name = base64_text(subject)
    if seq < expected:
        zh, en = (
            f"对象 {name} 的链条分叉（第 {seq} 条已有）",
            f"the chain of {name} forks: it has a number {seq} already",
        )
    elif seq > expected:
        zh, en = f"对象 {name} 的链条缺第 {expected} 条", f"the chain of {name} skips number {expected}"
    else:
        zh, en = (
            f"对象 {name} 的第 {seq} 条没有接上前一条",
            f"number {seq} of the chain of {name} does not name the entry before it",
        )
    facts.fail("chain", index, zh, en)
