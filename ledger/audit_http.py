"""A service as something to audit: its log and its audit routes over HTTP, asked again while it is busy or silent."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import httpx

from .audit_source import MAX_LINE, MAX_NOTE, NoStatements, SourceAddress, StatementLine, projection_of, statement_lines
from .http_tiles import HttpTileSource
from .tile_source import SourceUnavailable, TileMissing

Result = TypeVar("Result")

ATTEMPTS = 7
"""How often in a row a service is asked before it is said not to answer; the waits between add up to a minute."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 30.0


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
        return self._patiently(lambda: self._get(f"{self._log}/checkpoint", MAX_NOTE))

    def cosigned_checkpoint(self) -> bytes | None:
        """See `AuditSource`."""
        try:
            return self._patiently(lambda: self._get(f"{self._log}/checkpoint.cosigned", MAX_NOTE))
        except NoStatements:
            return None

    def tile(self, level: int, index: int, width: int) -> bytes:
        """See `AuditSource`."""
        return self._patiently(lambda: self._tiles.tile(level, index, width))

    def statements(self, first: int, last: int) -> Iterator[StatementLine]:
        """See `AuditSource`."""
        lines = self._patiently(lambda: self._lines(f"/api/v1/audit/statements?from={first}&to={last}", last - first))
        return iter(list(statement_lines(lines)))

    def projection(self) -> Mapping[str, Any] | None:
        """See `AuditSource`."""
        try:
            content = self._patiently(lambda: self._get("/api/v1/audit/projection", MAX_NOTE))
        except NoStatements:
            return None
        return projection_of(content)

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
                if len(content) > most * MAX_LINE:
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
