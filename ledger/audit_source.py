"""Where an audit reads a log from: a service over HTTP, or a directory that mirrors one.

A mirror holds files by the names of C2SP tlog-tiles: `checkpoint`, `tile/<L>/<N>[.p/<W>]`, `tile/entries/...`; beside
them, where it is given apart, `checkpoint.cosigned`; and for auditors `statements.ndjson` and `projection.json`, the
answers of the service's audit routes. Nothing that comes from
here is believed: the audit checks it against the signed checkpoint.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, TypeVar

import httpx
import orjson

from .errors import ProofError
from .merkle import HASH_SIZE
from .tile_source import HttpTileSource, SourceUnavailable, TileMissing
from .tiles import ENTRIES, TILE_WIDTH, bundle, parse_bundle, tile_path

Result = TypeVar("Result")

ATTEMPTS = 7
"""How often in a row a service is asked before it is said not to answer; the waits between add up to a minute."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 30.0
_MAX_NOTE = 1_000_000
_MAX_LINE = 2_500_000


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
        return HttpSource(address.where, api_key=address.api_key)
    folder = Path(address.where)
    if (folder / "manifest.json").exists() and not (folder / "checkpoint").exists():
        from .audit_backup import BackupSource  # brings the database along, which mirrors need not

        return BackupSource(folder)
    return DirectorySource(folder)


class HttpSource:
    """A service, by its base URL or by its log's URL (`.../log`): asks again while it is busy or silent.

    `api_key` opens the audit routes. `transport` and `sleep` are for whoever tests it.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        given = url.rstrip("/")
        base = given.removesuffix("/log")
        self._log = f"{base}/log"
        self._sleep = sleep
        self.address = None if transport is not None else SourceAddress(url, api_key)
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._tiles = HttpTileSource(self._log, transport=transport, headers=headers)
        self._http = httpx.Client(
            base_url=base,
            headers=headers,
            timeout=httpx.Timeout(120, connect=5),
            transport=transport,
            follow_redirects=False,
            trust_env=False,
        )

    def checkpoint(self) -> bytes:
        """See `AuditSource`."""
        return self._patiently(lambda: self._get(f"{self._log}/checkpoint", _MAX_NOTE))

    def cosigned_checkpoint(self) -> bytes | None:
        """See `AuditSource`."""
        try:
            return self._patiently(lambda: self._get(f"{self._log}/checkpoint.cosigned", _MAX_NOTE))
        except NoStatements:
            return None

    def tile(self, level: int, index: int, width: int) -> bytes:
        """See `AuditSource`."""
        return self._patiently(lambda: self._tiles.tile(level, index, width))

    def statements(self, first: int, last: int) -> Iterator[StatementLine]:
        """See `AuditSource`."""
        lines = self._patiently(lambda: self._lines(f"/api/v1/audit/statements?from={first}&to={last}", last - first))
        return iter([_statement_line(line) for line in lines])

    def projection(self) -> Mapping[str, Any] | None:
        """See `AuditSource`."""
        try:
            content = self._patiently(lambda: self._get("/api/v1/audit/projection", _MAX_NOTE))
        except NoStatements:
            return None
        return _projection(content)

    def close(self) -> None:
        """See `AuditSource`."""
        self._tiles.close()
        self._http.close()

    def _lines(self, path: str, most: int) -> list[bytes]:
        with self._http.stream("GET", path) as answer:
            _check_answer(answer, path)
            content = bytearray()
            for chunk in answer.iter_bytes():
                content += chunk
                if len(content) > most * _MAX_LINE:
                    raise SourceUnavailable(f"{path}: too large an answer")
        if content and not content.endswith(b"\n"):
            raise SourceUnavailable(f"{path}: the answer was cut short")
        return bytes(content).splitlines()

    def _get(self, path: str, limit: int) -> bytes:
        with self._http.stream("GET", path) as answer:
            _check_answer(answer, path)
            content = bytearray()
            for chunk in answer.iter_bytes():
                content += chunk
                if len(content) > limit:
                    raise SourceUnavailable(f"{path}: more than {limit} bytes")
        return bytes(content)

    def _patiently(self, ask: Callable[[], Result]) -> Result:
        wait = _FIRST_WAIT_S
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return ask()
            except (TileMissing, NoStatements):
                raise
            except (SourceUnavailable, httpx.HTTPError) as error:
                if attempt == ATTEMPTS:
                    raise SourceUnavailable(str(error) or type(error).__name__) from error
                self._sleep(max(wait, getattr(error, "retry_after_s", 0.0)) * random.uniform(1.0, 1.3))
                wait = min(2 * wait, _LONGEST_WAIT_S)
        raise AssertionError("unreachable")


class _Busy(SourceUnavailable):
    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


def _check_answer(answer: httpx.Response, path: str) -> None:
    if answer.status_code in (401, 403):
        raise NoStatements(f"{path}: the credentials do not open it ({answer.status_code})")
    if answer.status_code == 404:
        raise NoStatements(f"{path}: there is no such thing (404)")
    if answer.status_code != 200:
        asked = answer.headers.get("retry-after", "")
        wait = min(float(asked), 2 * _LONGEST_WAIT_S) if asked.isascii() and asked.isdigit() else 0.0
        raise _Busy(f"{path}: the service answers {answer.status_code}", wait)


class DirectorySource:
    """A directory with a log's files; the log may also lie in its subdirectory `log`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder if (folder / "checkpoint").exists() else folder / "log"
        self.address = SourceAddress(str(folder))
        self._statements: _StatementsFile | None = None

    def checkpoint(self) -> bytes:
        """See `AuditSource`."""
        return _read(self._log / "checkpoint", _MAX_NOTE)

    def cosigned_checkpoint(self) -> bytes | None:
        """See `AuditSource`."""
        try:
            return _read(self._log / "checkpoint.cosigned", _MAX_NOTE)
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
            return content if path == paths[0] else _cut(content, level, width)
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
            return _projection(_read(self._folder / "projection.json", _MAX_NOTE))
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
        low, high = 0, self._size
        while (
            low < high
        ):  # a line that starts before `low` is before the range; one at or after `high` is in it or past
            middle = (low + high) // 2
            start, line = self._line_after(middle)
            if not line or start >= high or _index_of(line) >= first:
                high = middle
            else:
                low = start + len(line)
        self._file.seek(low)
        for line in self._file:
            if not line.endswith(b"\n"):
                raise ProofError("statements.ndjson is cut short", where="statements.ndjson")
            parsed = _statement_line(line)
            if parsed.at >= last:
                return
            if parsed.at >= first:
                yield parsed

    def _line_after(self, offset: int) -> tuple[int, bytes]:
        """The first line that starts at or after `offset`, with its start."""
        self._file.seek(max(offset - 1, 0))
        if offset:
            self._file.readline(_MAX_LINE)
        return self._file.tell(), self._file.readline(_MAX_LINE)


def _index_of(line: bytes) -> int:
    return _statement_line(line).at


def _statement_line(line: bytes) -> StatementLine:
    """Read a line leniently: the statement is checked by its hash, disclosures by their digests."""
    try:
        item = orjson.loads(line)
        index, statement, given = item["index"], item["statement"].encode("ascii"), item.get("disclosures")
        disclosures = tuple([(one["disclosure"], one["visibility"]) for one in given]) if given else ()
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ProofError("a line of statements is not index, statement and disclosures", where="statements") from error
    if type(index) is not int or (
        disclosures and not all(isinstance(one, str) for pair in disclosures for one in pair)
    ):
        raise ProofError("a line of statements is not index, statement and disclosures", where="statements")
    return StatementLine(index, statement, disclosures)


def _projection(content: bytes) -> Mapping[str, Any]:
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


def _cut(content: bytes, level: int, width: int) -> bytes:
    if level != ENTRIES:
        return content[: width * HASH_SIZE]
    try:
        return bundle(parse_bundle(content)[:width])
    except ProofError:
        return content  # malformed: told by whoever reads it
