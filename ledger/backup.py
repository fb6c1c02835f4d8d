"""Backups: one snapshot of all authoritative tables as portable files, and their way back into any database.

A backup is a directory: `manifest.json`, written last, and below `tables/` gzipped NDJSON, one JSON array a row, bytes
as base64. It does not say from which database engine it came. What follows from the ledger (tiles, chain heads and
links, the lot index, keys, projections) is not in it: a restore makes that anew from the entries and compares the root
with the signed checkpoint, so a backup proves itself.

A backup must never bring an older history back to life. The state file (`state_file`) is not part of it.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, LargeBinary, Table, delete, func, select

from . import tables
from .bulk import insert_rows, update_rows
from .checkpoint import open_checkpoint
from .database import Database
from .encoding import base64_bytes, base64_text
from .entry import Entry
from .errors import LogHalted, ProofError
from .note import VerifierKey
from .reader import LogReader
from .tiles import Edge

FORMAT = "suyuan/backup/v1"
MANIFEST = "manifest.json"
DERIVED: tuple[Table, ...] = (
    tables.tile,
    tables.subject,
    tables.chain_link,
    tables.index_state,
    tables.index_page,
    tables.key,
    tables.scrub,
)
"""Tables of the ledger that a backup leaves out: made anew from the entries, or, like the scrub's, of one machine."""
_ROWS_A_FILE = 50_000
_AT_ONCE = 1_000

Progress = Callable[[int], None]


@dataclass(frozen=True)
class FileNote:
    """One file of a backup: path below its directory, SHA-256 (hex) and length of its bytes, table and rows if any."""

    path: str
    sha256: str
    bytes: int
    table: str = ""
    rows: int = 0


@dataclass(frozen=True)
class Manifest:
    """What a backup holds: the log at `size` entries, when it was made (ms since 1970-01-01 UTC), and its files."""

    created_ms: int
    origin: str
    log_id: int
    size: int
    checkpoint: str
    files: tuple[FileNote, ...]

    def text(self) -> str:
        """The manifest as JSON, with a hash over everything else in it."""
        document = {
            "format": FORMAT,
            "created_ms": self.created_ms,
            "origin": self.origin,
            "log_id": self.log_id,
            "size": self.size,
            "checkpoint": self.checkpoint,
            "files": [vars(note) for note in self.files],
        }
        document["sha256"] = _digest(document)
        return json.dumps(document, ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of the backup in `folder`. Raises ProofError when there is none or it is not whole."""
        path = folder / MANIFEST
        try:
            document = json.loads(path.read_bytes())
            stated = document.pop("sha256")
            if document["format"] != FORMAT or stated != _digest(document):
                raise ProofError("not a manifest of this format, or changed", where=str(path))
            files = tuple(FileNote(**note) for note in document["files"])
            members = {name: document[name] for name in ("created_ms", "origin", "log_id", "size", "checkpoint")}
        except FileNotFoundError:
            raise ProofError("no backup: it has no manifest, or was cut off before the end", where=str(path)) from None
        except (ValueError, KeyError, TypeError) as error:
            raise ProofError(f"the manifest cannot be read: {error}", where=str(path)) from error
        return cls(**members, files=files)


def authoritative(leave_out: Iterable[Table] = ()) -> list[Table]:
    """The tables a backup holds: all that are declared, but for those of the ledger that follow and `leave_out`."""
    left_out = {table.name for table in (*DERIVED, *leave_out)}
    return [table for table in tables.metadata.sorted_tables if table.name not in left_out]


def write_tables(
    reader: LogReader, folder: Path, chosen: Sequence[Table], progress: Progress = lambda rows: None
) -> tuple[list[FileNote], int, str]:
    """Write the rows of `chosen` tables below `folder` from one snapshot; appends go on meanwhile.

    Returns the files, the size of the log in that snapshot and its checkpoint. Raises LogHalted when the entries do not
    give the root: damage is not backed up in silence. OSError, DatabaseUnavailable.
    """
    (folder / "tables").mkdir(mode=0o700)
    notes: list[FileNote] = []
    edge = Edge()
    with reader.database.read() as connection:
        state = reader.state(connection)
        for table in chosen:
            with closing(_rows(connection, table)) as stored:
                rows = _hashed(stored, edge, reader.log_id) if table is tables.entry else stored
                for number, some in enumerate(_portions(rows, _ROWS_A_FILE)):
                    path = f"tables/{table.name}.{number:05d}.ndjson.gz"
                    count = _write_rows(folder / path, table, some, progress)
                    notes.append(note_of(folder, path, table.name, count))
    if (edge.size, edge.root) != (state.size, state.root):
        raise LogHalted("state-disagrees", {"row": "entry or log_state", "entries": edge.size, "size": state.size})
    return notes, state.size, state.checkpoint


def note_of(folder: Path, path: str, table: str = "", rows: int = 0) -> FileNote:
    """The manifest's line for a file that has just been written."""
    digest, length = file_digest(folder / path)
    return FileNote(path, digest, length, table, rows)


def file_digest(path: Path) -> tuple[str, int]:
    """SHA-256 (hex) and length of a file."""
    digest, length = sha256(), 0
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
            length += len(part)
    return digest.hexdigest(), length


def finish(folder: Path, manifest: Manifest) -> None:
    """Write the manifest: from now on the directory is a backup."""
    path = folder / MANIFEST
    with path.open("w", encoding="utf-8") as file:
        os.chmod(file.fileno(), 0o600)
        file.write(manifest.text())
        file.flush()
        os.fsync(file.fileno())


def check_files(folder: Path, manifest: Manifest, progress: Progress = lambda files: None) -> None:
    """Every file is there with the bytes it had. Raises ProofError naming the first that is not."""
    for note in manifest.files:
        path = folder / note.path
        if ".." in Path(note.path).parts or Path(note.path).is_absolute():
            raise ProofError("a file outside the backup", where=note.path)
        try:
            found = file_digest(path)
        except OSError as error:
            raise ProofError(f"cannot be read: {error.strerror}", where=note.path) from error
        if found != (note.sha256, note.bytes):
            raise ProofError("is not what was backed up", where=note.path)
        progress(1)


def read_tables(database: Database, folder: Path, manifest: Manifest, progress: Progress = lambda rows: None) -> None:
    """Fill the tables of an empty database from a backup whose files were checked. Raises ProofError."""
    declared = {table.name: table for table in tables.metadata.sorted_tables}
    for note in manifest.files:
        if not note.table:
            continue
        table = declared.get(note.table)
        if table is None:
            raise ProofError("a table that this version does not know", where=note.path)
        count = 0
        for some in _portions(read_rows(folder / note.path, table), _AT_ONCE):
            with database.write() as connection:
                columns = [column.name for column in table.columns]
                rows = list(some)
                insert_rows(connection, table, columns, rows)
            count += len(rows)
            progress(len(rows))
        if count != note.rows:
            raise ProofError(f"{count} rows instead of {note.rows}", where=note.path)


def rebuild_ledger(
    reader: LogReader, log_key: VerifierKey, progress: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Make tiles, chain heads and links anew from the entries, and hold them against the signed checkpoint.

    Keeps the heads of all subjects in memory. Raises ProofError when anything disagrees.
    """
    with reader.database.read() as connection:
        state = reader.state(connection)
    signed = open_checkpoint(state.checkpoint, log_key)
    if (signed.size, signed.root) != (state.size, state.root):
        raise ProofError("the state row is not what its checkpoint says", where="log_state")
    with reader.database.write() as connection:
        for table in (tables.tile, tables.subject, tables.chain_link):
            connection.execute(delete(table).where(table.c.log_id == reader.log_id))
    edge, chains = Edge(), _Chains(reader.log_id)
    for first in range(0, state.size, _AT_ONCE):
        last = min(first + _AT_ONCE, state.size)
        with reader.database.write() as connection:
            entries = _entries(reader, connection, first, last)
            leaves = [entry.leaf for entry in entries]
            _put_tiles(connection, reader.log_id, edge, leaves)
            chains.take_in(connection, first, entries)
        progress(last, state.size)
    if edge.root != state.root:
        raise ProofError("the entries do not give the root that the checkpoint signs", where="entry")
    with reader.database.write() as connection:
        chains.write_heads(connection)
    if len(chains.heads) != state.subjects:
        raise ProofError(f"{len(chains.heads)} subjects instead of {state.subjects}", where="log_state")


def is_empty(database: Database) -> bool:
    """Whether a database holds no log yet."""
    with database.read() as connection:
        return not connection.execute(select(func.count()).select_from(tables.log_state)).scalar_one()


class _Chains:
    """Chains as the entries give them, subjects numbered in the order in which they came."""

    def __init__(self, log_id: int) -> None:
        self._log_id = log_id
        self.heads: dict[bytes, tuple[int, int, int, bytes]] = {}

    def take_in(self, connection: Connection, first: int, entries: Sequence[Entry]) -> None:
        """Entries in order, the first at index `first`. Raises ProofError for a chain line that does not fit."""
        links = []
        for index, entry in enumerate(entries, first):
            leaf = entry.leaf
            for line in entry.chain:
                number, seq, _, previous = self.heads.get(line.subject, (len(self.heads), -1, -1, None))
                if (line.seq, line.previous) != (seq + 1, previous):
                    raise ProofError("a chain line does not follow from the one before", where=f"entry {index}")
                self.heads[line.subject] = (number, line.seq, index, leaf)
                links.append((self._log_id, number, line.seq, index))
        insert_rows(connection, tables.chain_link, ("log_id", "subject_id", "seq", "index"), links)

    def write_heads(self, connection: Connection) -> None:
        """The newest entry of each subject."""
        heads = self.heads.items()
        rows = [(self._log_id, number, name, seq, index, leaf) for name, (number, seq, index, leaf) in heads]
        for some in _portions(iter(rows), _AT_ONCE):
            insert_rows(connection, tables.subject, ("log_id", "id", "hash", "seq", "index", "leaf"), list(some))


def _put_tiles(connection: Connection, log_id: int, edge: Edge, leaves: Sequence[bytes]) -> None:
    new: list[tuple[int, int, int, bytes]] = []
    grown: list[tuple[int, int, int, bytes]] = []
    for tile in edge.append(leaves):
        (new if tile.created else grown).append((log_id, tile.level, tile.index, tile.hashes))
    insert_rows(connection, tables.tile, ("log_id", "level", "index", "hashes"), new)
    update_rows(connection, tables.tile, ("log_id", "level", "index"), ("hashes",), grown)


def _entries(reader: LogReader, connection: Connection, first: int, last: int) -> list[Entry]:
    try:
        stored = reader.entries(range(first, last), connection)
    except LookupError as error:
        raise ProofError(str(error), where="entry") from error
    return [Entry.parse(stored[index]) for index in range(first, last)]


def _hashed(rows: Iterator[Sequence[Any]], edge: Edge, log_id: int) -> Iterator[Sequence[Any]]:
    """Passes entry rows on and lets their leaves grow a tree."""
    names = [column.name for column in tables.entry.columns]
    log, index, encoded = names.index("log_id"), names.index("index"), names.index("bytes")
    for row in rows:
        if row[log] == log_id:
            if row[index] != edge.size:
                raise LogHalted("state-disagrees", {"row": f"entry {edge.size}", "found": "none"})
            edge.append([Entry.parse(bytes(row[encoded])).leaf])
        yield row


def _rows(connection: Connection, table: Table) -> Generator[Sequence[Any], None, None]:
    query = select(table).order_by(*table.primary_key.columns).execution_options(yield_per=_AT_ONCE)
    with connection.execute(query) as result:
        yield from result


def _portions(rows: Iterator[Any], most: int) -> Iterator[Iterator[Any]]:
    """Consecutive parts of at most `most` rows; each must be used up before the next is asked for."""
    for first in rows:
        left = most - 1

        def part(first: Any = first) -> Iterator[Any]:
            nonlocal left
            yield first
            while left:
                left -= 1
                try:
                    yield next(rows)
                except StopIteration:
                    return

        yield part()


def _write_rows(path: Path, table: Table, rows: Iterator[Sequence[Any]], progress: Progress) -> int:
    names = [column.name for column in table.columns]
    binary = [isinstance(column.type, LargeBinary) for column in table.columns]
    count = 0
    with path.open("xb") as raw:
        os.chmod(raw.fileno(), 0o600)
        # No name and no time inside: the same rows give the same bytes.
        with gzip.GzipFile("", "wb", compresslevel=5, fileobj=raw, mtime=0) as file:
            file.write(json.dumps({"table": table.name, "columns": names}).encode() + b"\n")
            for row in rows:
                values = [
                    base64_text(bytes(value)) if is_binary and value is not None else value
                    for value, is_binary in zip(row, binary, strict=True)
                ]
                file.write(json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
                count += 1
                if count % _AT_ONCE == 0:
                    progress(_AT_ONCE)
        raw.flush()
        os.fsync(raw.fileno())
    progress(count % _AT_ONCE)
    return count


def read_rows(path: Path, table: Table) -> Iterator[tuple[Any, ...]]:
    """The rows of one file of a backup, in the order of the table's columns. Raises ProofError."""
    binary = {column.name for column in table.columns if isinstance(column.type, LargeBinary)}
    wanted = [column.name for column in table.columns]
    try:
        with gzip.open(path, "rb") as file:
            head = json.loads(file.readline())
            given: list[str] = head["columns"]
            if head["table"] != table.name or not set(given) <= set(wanted):
                raise ProofError("another table, or columns that this version does not know", where=path.name)
            for line in file:
                row = dict(zip(given, json.loads(line), strict=True))
                yield tuple(
                    base64_bytes(value) if name in binary and (value := row.get(name)) is not None else row.get(name)
                    for name in wanted
                )
    except (ValueError, KeyError, TypeError, EOFError, OSError) as error:
        raise ProofError(f"rows cannot be read: {error}", where=path.name) from error


def _digest(document: object) -> str:
    return sha256(json.dumps(document, ensure_ascii=False, sort_keys=True).encode()).hexdigest()
