"""A log of 70,000 entries in a real service's data directory, with the checkpoint of every size it stopped at."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path

import httpx

from ledgers import papers
from running_service import RunningService, make_settings
from suyuan.api.services import open_services
from suyuan.ledger.checkpoint import open_checkpoint
from suyuan.ledger.indexer import Indexer
from suyuan.ledger.log import Log
from suyuan.ledger.note import VerifierKey

SIZE = 70_000
STOPS = (1, 2, 255, 256, 257, 511, 512, 998, 1000, 65_535, 65_536, 65_537, 69_999, SIZE)
"""Sizes at which a checkpoint is kept: around every border of a tile, and the example of tlog-tiles."""
_UNLIMITED = {"client_rate": 1e6, "client_burst": 10**8}
_AT_ONCE = 1000


@dataclass
class GrownLog:
    """`checkpoints`: note by size; `digests`: by size, SHA-256 of all entries, each behind its length (u16be)."""

    service: RunningService
    checkpoints: dict[int, str] = field(default_factory=dict)
    digests: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.file = cache(self.file)  # type: ignore[method-assign]

    @classmethod
    def grow(cls, folder: Path) -> GrownLog:
        """Make the data directory, append to its log while no service runs on it, then start the service."""
        service = RunningService(make_settings(folder / "data", **_UNLIMITED))
        grown = cls(service)
        services = open_services(service.settings)
        try:
            grown._append(services.log)
        finally:
            asyncio.run(services.close())
        service.start()
        return grown

    def _append(self, log: Log) -> None:
        everything = sha256()
        self.checkpoints[0], self.digests[0] = log.checkpoint(), everything.hexdigest()
        size = 0
        for stop in STOPS:
            while size < stop:
                if size == 998:
                    index = Indexer(log).publish()
                    assert index == size
                    added = [log.entry(size)]
                else:
                    added = self._batch(log, size, min(_AT_ONCE, stop - size))
                for entry in added:
                    everything.update(len(entry).to_bytes(2, "big") + entry)
                size += len(added)
            self.checkpoints[stop], self.digests[stop] = log.checkpoint(), everything.hexdigest()

    @staticmethod
    def _batch(log: Log, first: int, count: int) -> list[bytes]:
        with log.append() as batch:
            drafts = [paper.draft for paper in papers(count, first)]
            batch.prefetch(subject for draft in drafts for subject in draft.subjects)
            return [batch.add(draft).entry for draft in drafts]

    @property
    def log(self) -> Log:
        return self.service.services.log

    @property
    def http(self) -> httpx.Client:
        return self.service.http

    @property
    def url(self) -> str:
        return self.service.url + "/log"

    @property
    def key(self) -> VerifierKey:
        return self.log.signer.verifier

    @cached_property
    def vkey(self) -> str:
        """As the service tells it."""
        return self.http.get("/log/key").text.strip()

    @property
    def newest(self) -> str:
        return self.checkpoints[SIZE]

    def root(self, size: int) -> bytes:
        return open_checkpoint(self.checkpoints[size], self.key).root

    def file(self, path: str) -> bytes:
        """What the service serves under `/log/`; kept, since none of it may change."""
        answer = self.http.get(f"/log/{path}")
        assert answer.status_code == 200, path
        return answer.content

    def entries(self, indices: Sequence[int]) -> dict[int, bytes]:
        return self.log.entries(indices)
