"""A backup as something to audit: entries, statements and private fields laid out as a mirror in a temporary folder.

What a backup leaves out because it follows from the entries (the tiles) is made here, so what an audit of a backup says
of tiles is that the entries give the root of the checkpoint the backup was made with.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import tables
from .audit_source import DirectorySource
from .backup import MANIFEST, Manifest, check_files, read_rows
from .errors import ProofError
from .merkle import HASH_SIZE, leaf_hash
from .tile_source import SourceUnavailable
from .tiles import ENTRIES, TILE_WIDTH, Edge, bundle, tile_path

__all__ = ["MANIFEST", "BackupSource"]


class BackupSource(DirectorySource):
    """The backup in `folder` (`ledger.backup`). Raises SourceUnavailable when it is not whole; closed, it is gone."""

    def __init__(self, folder: Path) -> None:
        self._laid_out = tempfile.TemporaryDirectory(prefix="suyuan-audit-")
        mirror = Path(self._laid_out.name)
        try:
            manifest = Manifest.read(folder)
            check_files(folder, manifest)
            _lay_out(_Backup(folder, manifest), mirror)
        except ProofError as error:
            self._laid_out.cleanup()
            raise SourceUnavailable(str(error)) from error
        super().__init__(mirror)

    def close(self) -> None:
        """See `AuditSource`."""
        super().close()
        self._laid_out.cleanup()


class _Backup:
    """Rows of one log of a backup, in order of their entries."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.manifest = manifest
        self._folder = folder

    def rows(self, table: Any) -> Iterator[dict[str, Any]]:
        names = [column.name for column in table.columns]
        for note in self.manifest.files:
            if note.table == table.name:
                for values in read_rows(self._folder / note.path, table):
                    row = dict(zip(names, values, strict=True))
                    if row["log_id"] == self.manifest.log_id:
                        yield row


def _lay_out(backup: _Backup, mirror: Path) -> None:
    _write(mirror / "checkpoint", backup.manifest.checkpoint.encode())
    edge, partial = Edge(), dict[tuple[int, int], bytes]()
    waiting: list[bytes] = []
    count = 0

    def put() -> None:
        _write(mirror / tile_path(ENTRIES, (count - 1) // TILE_WIDTH, len(waiting)), bundle(waiting))
        for tile in edge.append([leaf_hash(one) for one in waiting]):
            partial[tile.level, tile.index] = tile.hashes
        for place in [place for place, hashes in partial.items() if len(hashes) == TILE_WIDTH * HASH_SIZE]:
            _write(mirror / tile_path(*place), partial.pop(place))
        waiting.clear()

    for row in backup.rows(tables.entry):
        if row["index"] != count:
            raise ProofError(f"entry {count} is not there", where="entry")
        waiting.append(row["bytes"])
        count += 1
        if len(waiting) == TILE_WIDTH:
            put()
    if waiting:
        put()
    for (level, index), hashes in partial.items():
        _write(mirror / tile_path(level, index, len(hashes) // HASH_SIZE), hashes)
    with (mirror / "statements.ndjson").open("wb") as file:
        for line in _statements(backup):
            file.write(json.dumps(line).encode() + b"\n")


def _statements(backup: _Backup) -> Iterator[dict[str, Any]]:
    """Statements with their private fields: both tables run along side by side, in order of their entries."""
    fields = backup.rows(tables.disclosure)
    field = next(fields, None)
    for row in backup.rows(tables.statement):
        kept: list[dict[str, str]] = []
        while field is not None and field["index"] <= row["index"]:
            if field["index"] == row["index"]:
                kept.append({"disclosure": field["text"], "visibility": field["visibility"]})
            field = next(fields, None)
        yield {"index": row["index"], "statement": row["raw"].decode("ascii", "replace"), "disclosures": kept}


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
