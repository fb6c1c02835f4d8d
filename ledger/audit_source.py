"""Where an audit reads a log from: a directory that mirrors one; a service (`audit_http`), a backup (`audit_backup`).

A mirror holds files by the names of C2SP tlog-tiles: `checkpoint`, `tile/<L>/<N>[.p/<W>]`, `tile/entries/...`; beside
them, where it is given apart, `checkpoint.cosigned`; and for auditors `statements.ndjson` and `projection.json`, the
answers of the service's audit routes. Nothing that comes from here is believed: the audit checks it against the signed
checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import orjson

from .errors import ProofError
from .tile_source import SourceUnavailable, TileMissing, cut
from .tiles import TILE_WIDTH, tile_path

MAX_NOTE = 1_000_000
MAX_LINE = 2_500_000
"""Bytes that a checkpoint note, and a line of statements, may have."""
_BLOCK = 1_000_000


class NoStatements(SourceUnavailable):
    """The source does not give statements: a public mirror, or credentials without the right to them."""


class StatementLine(NamedTuple):
    """One line of `statements.ndjson`: the statement of entry `at`, and its private fields with their classes."""

    at: int
    statement: bytes
    disclosures: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class SourceAddress:
    """What it takes to open a source again, in another process; `api_key` for a service's audit routes."""

    where: str
    api_key: str | None = None

    def __repr__(self) -> str:
        return f"SourceAddress({self.where!r})"


class AuditSource(Protocol):
    """One log to audit. Everything raises SourceUnavailable when it cannot be had; TileMissing says it is not there."""

    @property
    def address(self) -> SourceAddress | None:
        """How to open it in another process; None when that is not possible."""
        ...

    def checkpoint(self) -> bytes:
        """The newest checkpoint note."""
        ...

    def cosigned_checkpoint(self) -> bytes | None:
        """The newest checkpoint note that a quorum of witnesses has cosigned, None when there is none."""
        ...

    def tile(self, level: int, index: int, width: int) -> bytes:
        """As `TileSource.tile`."""
        ...

    def statements(self, first: int, last: int) -> Iterator[StatementLine]:
        """Statements of the entries `first` to `last` (exclusive), by index. NoStatements; ProofError for bad lines."""
        ...

    def projection(self) -> Mapping[str, Any] | None:
        """What the service says its derived tables are (`GET /api/v1/audit/projection`); None when it does not."""
        ...

    def close(self) -> None:
        """Let go of connections and files."""
        ...


def open_source(address: SourceAddress) -> AuditSource:
    """The source at an address: a service (`http://`, `https://`), or a directory that is a backup or a mirror."""
    if address.where.startswith(("http://", "https://")):
        from .audit_http import HttpSource  # brings an HTTP client along, which mirrors need not

        return HttpSource(address.where, api_key=address.api_key)
    folder = Path(address.where)
    if (folder / "manifest.json").exists() and not (folder / "checkpoint").exists():
        from .audit_backup import BackupSource  # brings the database along, which mirrors need not

        return BackupSource(folder)
    return DirectorySource(folder)


class DirectorySource:
    """A directory with a log's files; the log may also lie in its subdirectory `log`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder if (folder / "checkpoint").exists() else folder / "log"
        self.address = SourceAddress(str(folder))
        self._statements: _StatementsFile | None = None

    def checkpoint(self) -> bytes:
        """See `AuditSource`."""
        return _read(self._log / "checkpoint", MAX_NOTE)

    def cosigned_checkpoint(self) -> bytes | None:
        """See `AuditSource`."""
        try:
            return _read(self._log / "checkpoint.cosigned", MAX_NOTE)
        except FileNotFoundError:
            return None

    def tile(self, level: int, index: int, width: int) -> bytes:
        """See `AuditSource`. A partial tile that is gone is cut from the full one."""
        paths = [tile_path(level, index, width)]
        if width < TILE_WIDTH:
            paths.append(tile_path(level, index))
        for path in paths:
            try:
                content = _read(self._log / path, TILE_WIDTH * (2 + 0xFFFF))
            except FileNotFoundError:
                continue
            return content if path == paths[0] else cut(content, level, width)
        raise TileMissing(f"{self._log} does not have {paths[0]}")

    def statements(self, first: int, last: int) -> Iterator[StatementLine]:
        """See `AuditSource`."""
        if self._statements is None:
            path = self._folder / "statements.ndjson"
            try:
                self._statements = _StatementsFile(path)
            except FileNotFoundError as error:
                raise NoStatements(f"there is no {path}") from error
        return self._statements.between(first, last)

    def projection(self) -> Mapping[str, Any] | None:
        """See `AuditSource`."""
        try:
            return projection_of(_read(self._folder / "projection.json", MAX_NOTE))
        except FileNotFoundError:
            return None

    def close(self) -> None:
        """See `AuditSource`."""
        if self._statements is not None:
            self._statements.close()
            self._statements = None


class _StatementsFile(AbstractContextManager["_StatementsFile"]):
    """`statements.ndjson`, whose lines are in order of index: any range is found by bisection, without a walk."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("rb")
        self._size = path.stat().st_size

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def between(self, first: int, last: int) -> Iterator[StatementLine]:
        begin = self._start_of(first, 0)
        for one in statement_lines(chain.from_iterable(self._blocks(begin, self._start_of(last, begin)))):
            if one.at >= last:
                return
            if one.at >= first:
                yield one

    def _start_of(self, index: int, low: int) -> int:
        """Where the first line of an entry from `index` on begins, at or after `low`, itself the start of a line."""
        high = self._size
        while low < high:  # a line that starts before `low` is of an earlier entry; one at or after `high` is not
            middle = (low + high) // 2
            start, line = self._line_after(middle)
            if not line or start >= high or _statement_line(line).at >= index:
                high = middle
            else:
                low = start + len(line)
        return low

    def _line_after(self, offset: int) -> tuple[int, bytes]:
        """The first line that starts at or after `offset`, with its start."""
        self._file.seek(max(offset - 1, 0))
        if offset:
            self._file.readline(MAX_LINE)
        return self._file.tell(), self._file.readline(MAX_LINE)

    def _blocks(self, begin: int, end: int) -> Iterator[list[bytes]]:
        """The lines from `begin` to `end`, many at a time."""
        self._file.seek(begin)
        rest = b""
        while begin < end:
            block = self._file.read(min(_BLOCK, end - begin))
            begin += len(block)
            *lines, rest = (rest + block).split(b"\n")
            if not block or len(rest) > MAX_LINE:
                break
            yield lines
        if rest:
            raise ProofError("statements.ndjson is cut short", where="statements.ndjson")


def _statement_line(line: bytes) -> StatementLine:
    return next(statement_lines([line]))


def statement_lines(lines: Iterable[bytes]) -> Iterator[StatementLine]:
    """Read lines leniently: the statement is checked by its hash, disclosures by their digests."""
    try:
        for line in lines:
            item = orjson.loads(line)
            index, given = item["index"], item.get("disclosures")
            disclosures = tuple([(one["disclosure"], one["visibility"]) for one in given]) if given else ()
            if type(index) is not int or (
                disclosures and not all(isinstance(one, str) for pair in disclosures for one in pair)
            ):
                raise TypeError
            yield StatementLine(index, item["statement"].encode("ascii"), disclosures)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ProofError("a line of statements is not index, statement and disclosures", where="statements") from error


def projection_of(content: bytes) -> Mapping[str, Any]:
    """Reads a description of derived tables, whatever it says. Raises SourceUnavailable when it is none."""
    try:
        found = json.loads(content)
    except ValueError as error:
        raise SourceUnavailable("the description of derived tables is not JSON") from error
    if not isinstance(found, dict):
        raise SourceUnavailable("the description of derived tables is not an object")
    return found


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise SourceUnavailable(f"{path} is too large")
    return content
