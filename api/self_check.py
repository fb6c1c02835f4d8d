"""The self-check of a data directory: everything stored is worked out again from the entries and compared.

Edge of the log, entries, tiles, chains, statements with their signatures and private fields, root and checkpoint; then
the derived tables against a replay. It finds what a disk, a hand or a bug changed; what was never stored it cannot see.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

from sqlalchemy import and_, func, select

from ..ledger import tables
from ..ledger.entry import Entry
from ..ledger.errors import LogHalted
from ..ledger.findings import Findings, does_not_hold
from ..ledger.latch import release
from ..ledger.log import StoredEntry
from ..ledger.merkle import leaf_hash
from ..ledger.rehash import Rehash
from ..ledger.replay import Logged, Replay
from ..ledger.report import Finding
from ..ledger.statement import open_disclosures, parse_statement
from ..ledger.tiles import TILE_WIDTH, Edge, TileCoordinate
from ..trace.rules.rejudging import Rejudging
from ..trace.shadow import ROWS_OF_AN_ENTRY, Shadow
from .console import Bars
from .services import Services, open_services
from .settings import Settings

_MOST_TOLD = 50


@dataclass(frozen=True)
class CheckReport:
    """What the self-check found: `entries` of the log were looked at; `ok` when nothing is wrong."""

    origin: str
    entries: int
    failures: tuple[Finding, ...]
    lifted: bool = False
    """Whether a halt that the scrub had left behind was lifted, since nothing is wrong any more."""

    @property
    def ok(self) -> bool:
        return not self.failures

    def lines(self, lang: Literal["zh", "en"]) -> list[str]:
        """The report for people."""
        zh = lang == "zh"
        lines = [f"{self.origin}：{self.entries} 条" if zh else f"{self.origin}: {self.entries} entries"]
        lines += [f"{'不符' if zh else 'WRONG'} {failure.line(lang)}" for failure in self.failures[:_MOST_TOLD]]
        if len(self.failures) > _MOST_TOLD:
            more = len(self.failures) - _MOST_TOLD
            lines.append(f"另有 {more} 项" if zh else f"and {more} more")
        if self.ok:
            lines.append("全部相符" if zh else "everything agrees")
            if self.lifted:
                lines.append("已解除暂停，可以签署" if zh else "the halt is lifted; the log signs again")
        elif all(failure.rule == "derived-table" for failure in self.failures):
            lines.append("`suyuan rebuild` 可由账本重建" if zh else "`suyuan rebuild` makes them anew from the ledger")
        return lines


@contextmanager
def opened(settings: Settings) -> Iterator[Services]:
    """The services of a data directory, for a command that works on it without serving."""
    services = open_services(settings)
    try:
        yield services
    finally:
        asyncio.run(services.close())


def self_check(services: Services, bars: Bars) -> CheckReport:
    """Check everything that is stored. Raises DatabaseUnavailable."""
    log, findings = services.log, Findings()
    try:
        log.check_state(heed_kept_halt=False)
    except LogHalted as halt:
        findings.fail(halt.reason, "log", f"账本边缘不符：{halt}", str(halt))
    state = log.state()
    walk = _Walk(services, findings)
    advance = bars.task("条目 entries", state.size)
    try:
        page: list[StoredEntry] = []
        for stored in log.replay(0, state.size, page=TILE_WIDTH):
            page.append(stored)
            if len(page) == TILE_WIDTH:
                walk.page(page)
                advance(len(page))
                page = []
        walk.page(page)
        advance(len(page))
        walk.end(state.root, state.size, state.subjects)
    except LogHalted as halt:
        findings.fail(halt.reason, "entry", f"条目缺失：{halt}", str(halt))
    _rows_named(services, findings, bars)
    lifted = not findings.failures and release(services.database, log.log_id)
    return CheckReport(log.origin, state.size, tuple(findings.failures), lifted)


def _rows_named(services: Services, findings: Findings, bars: Bars) -> None:
    """What the scrub looks at, at full speed: each row of the ledger, then the derived tables beside a replay."""
    log = services.log
    witnesses = [witness.key for witness in services.policy.witnesses]
    for step in Rehash(log, log.signer.verifier, witnesses).steps():
        for one in step.damaged:
            findings.fail("damaged-row", one.row, f"应为 {one.expected}，实为 {one.found}", str(one))
    if findings.failures:
        return  # a replay of entries that are wrong says nothing
    told = bars.task("派生表 derived tables", log.state().size * ROWS_OF_AN_ENTRY)
    registrars, folder = services.policy.registrars, services.settings.data_dir
    with Shadow(log, services.templates, services.names, registrars, folder) as shadow:
        for step in shadow.steps():
            told(step.rows)
            for one in step.damaged:
                zh = f"与账本重放的结果不符：应为 {one.expected}，实为 {one.found}"
                findings.fail("derived-table", one.row, zh, f"is not what a replay of the ledger gives: {one}")
    if findings.failures:
        return  # rules that see damaged rows find something else
    for step in Rejudging(services.judging, folder).steps():
        for one in step.damaged:
            zh = f"与重新判定的结果不符：应为 {one.expected}，实为 {one.found}"
            findings.fail("derived-table", one.row, zh, f"is not what judging gives: {one}")


class _Walk:
    """One walk along the log, a tile's width of entries at a time."""

    def __init__(self, services: Services, findings: Findings) -> None:
        self._log = services.log
        self._own = services.log.log_id
        self._database = services.database
        self._findings = findings
        self._replay = Replay(services.policy.registrars, services.log.origin)
        self._edge = Edge()
        self._partial: dict[tuple[int, int], bytes] = {}
        self._tiles = 0
        self._time_ms = 0
        self._heads: dict[bytes, tuple[int, int, bytes]] = {}

    def page(self, page: list[StoredEntry]) -> None:
        """Check entries, in order; all pages but the last are as wide as a tile."""
        leaves = [leaf_hash(stored.entry) for stored in page]
        links: dict[tuple[bytes, int], int] = {}
        for stored, leaf in zip(page, leaves, strict=True):
            with self._findings.noting("entry", f"entry {stored.index}", stored.index):
                self._entry(stored, leaf, links)
        if page:
            self._compare_links(links, page[0].index, page[-1].index)
            self._compare_statements(page)
        for tile in self._edge.append(leaves):
            self._tiles += tile.created
            self._partial[tile.level, tile.index] = tile.hashes
        for place in [place for place, hashes in self._partial.items() if len(hashes) == TILE_WIDTH * 32]:
            self._compare_tile(*place, self._partial.pop(place))

    def end(self, root: bytes, size: int, subjects: int) -> None:
        """Check what all entries add up to."""
        for (level, index), hashes in self._partial.items():
            self._compare_tile(level, index, hashes)
        if (self._edge.root, self._edge.size) != (root, size):
            self._wrong("root", "log_state", "与条目算出的树根不符", "is not the root of the entries")
        with self._database.read() as connection:
            tile_count = connection.execute(
                select(func.count()).select_from(tables.tile).where(tables.tile.c.log_id == self._own)
            ).scalar_one()
            column = tables.subject.c
            query = select(column.hash, column.seq, column.index, column.leaf).where(column.log_id == self._own)
            heads: dict[bytes, tuple[int, int, bytes]] = {
                bytes(row[0]): (row[1], row[2], bytes(row[3])) for row in connection.execute(query)
            }
        if tile_count != self._tiles:
            self._wrong("tile", "tile", f"应有 {self._tiles} 块", f"there should be {self._tiles} tiles")
        if heads != self._heads or subjects != len(heads):
            differ = sum(heads.get(subject) != head for subject, head in self._heads.items())
            self._wrong("chain-heads", "subject", f"链头不符（{differ}）", f"chain heads differ ({differ})")

    def _entry(self, stored: StoredEntry, leaf: bytes, links: dict[tuple[bytes, int], int]) -> None:
        entry = Entry.parse(stored.entry)
        if entry.time_ms != stored.time_ms or entry.time_ms < self._time_ms:
            raise does_not_hold("time", "条目时间不符或倒退", "its time differs from its row, or falls")
        self._time_ms = entry.time_ms
        for link in entry.chain:
            before = self._heads.get(link.subject)
            seq = 0 if before is None else before[0] + 1
            if (link.seq, link.previous) != (seq, None if before is None else before[2]):
                self._wrong("chain", f"entry {stored.index}", "链行与前一条不符", "a chain link is broken")
            self._heads[link.subject] = (link.seq, stored.index, leaf)
            links[link.subject, link.seq] = stored.index
        if entry.statement is None:
            if stored.statement is not None:
                raise does_not_hold("statement", "索引条目不应有声明", "an index entry has no statement")
            return
        if stored.statement is None or sha256(stored.statement).digest() != entry.statement:
            raise does_not_hold("statement", "声明与条目的散列不符", "the statement is not the one of the entry")
        statement = parse_statement(stored.statement)
        if (statement.typ, statement.aud) != (entry.typ, self._log.origin):
            rule = "statement-type" if statement.typ != entry.typ else "statement-audience"
            raise does_not_hold(rule, "声明的类型或账本与条目不符", "the statement has another type or log")
        logged = Logged(stored.index, self._log.origin, stored.index, entry, statement)
        self._replay.in_order(logged)
        self._replay.signature(logged)
        subjects = self._replay.subjects(logged)
        logged = Logged(stored.index, self._log.origin, stored.index, entry, statement, subjects)
        self._replay.take_in(logged, sound=True)
        opened = open_disclosures(statement, [one.text for one in stored.disclosures], complete=False)
        found = Counter((one.text, one.pointer) for one in opened.disclosures)
        if found != Counter((one.text, one.pointer) for one in stored.disclosures):
            raise does_not_hold("disclosure", "私有字段的位置不符", "a private field belongs elsewhere")

    def _compare_links(self, links: dict[tuple[bytes, int], int], first: int, last: int) -> None:
        link, subject = tables.chain_link.c, tables.subject.c
        same = and_(subject.log_id == link.log_id, subject.id == link.subject_id)
        query = (
            select(subject.hash, link.seq, link.index)
            .select_from(tables.chain_link.join(tables.subject, same))
            .where(link.log_id == self._own, link.index >= first, link.index <= last)
        )
        with self._database.read() as connection:
            stored = {(bytes(row[0]), row[1]): row[2] for row in connection.execute(query)}
        if stored != links:
            wrong = {place[1] for place in set(stored.items()) ^ set(links.items())}
            self._wrong("chain-link", f"entries {sorted(wrong)}", "链行表不符", "rows of chain links differ")

    def _compare_statements(self, page: list[StoredEntry]) -> None:
        row = tables.statement.c
        query = select(row.index, row.hash, row.signing_hash, row.raw).where(
            row.log_id == self._own, row.index >= page[0].index, row.index <= page[-1].index
        )
        with self._database.read() as connection:
            rows: list[Any] = list(connection.execute(query))
        for index, stated, signing_hash, raw in rows:
            signing_input = bytes(raw).rpartition(b".")[0]
            if (bytes(stated), bytes(signing_hash)) != (sha256(raw).digest(), sha256(signing_input).digest()):
                self._wrong("statement-hash", f"entry {index}", "声明表的散列不符", "hashes in its row are wrong")

    def _compare_tile(self, level: int, index: int, hashes: bytes) -> None:
        place = TileCoordinate(level, index, len(hashes) // 32)
        if self._log.tile(place) != hashes:
            self._wrong("tile", place.path, "与条目算出的散列不符", "is not what the entries hash to")

    def _wrong(self, rule: str, where: str, zh: str, en: str) -> None:
        self._findings.fail(rule, where, zh, en)
