"""Tiles and entry bundles of somebody's log, fetched over HTTP in bounded answers (C2SP tlog-tiles)."""

from __future__ import annotations

import time
from collections.abc import Mapping

import httpx

from .merkle import HASH_SIZE
from .tile_source import SourceUnavailable, TileMissing, cut
from .tiles import ENTRIES, TILE_WIDTH, tile_path

_MAX_TILE = TILE_WIDTH * HASH_SIZE
_MAX_BUNDLE = TILE_WIDTH * (2 + 0xFFFF)


class HttpTileSource:
    """The tiles under a log's URL prefix, such as `https://trace.example.cn/log`.

    Redirects are not followed and compressed answers not taken, so that a log can neither send its readers elsewhere
    nor make them unpack more than they asked for. `timeout_s` bounds one answer as a whole.
    """

    def __init__(
        self,
        prefix: str,
        *,
        timeout_s: float = 20,
        transport: httpx.BaseTransport | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._prefix = prefix.rstrip("/")
        self._timeout_s = timeout_s
        self._client = httpx.Client(
            timeout=httpx.Timeout(timeout_s, connect=5),
            headers={"Accept-Encoding": "identity", **(headers or {})},
            follow_redirects=False,
            trust_env=False,
            transport=transport,
        )

    def tile(self, level: int, index: int, width: int) -> bytes:
        """See `TileSource`. A partial tile that is gone is cut from the full one (tlog-tiles, "Partial Tiles")."""
        limit = _MAX_BUNDLE if level == ENTRIES else _MAX_TILE
        content = self._get(tile_path(level, index, width), limit)
        if content is None and width < TILE_WIDTH:
            content = self._get(tile_path(level, index), limit)
            if content is not None:
                content = cut(content, level, width)
        if content is None:
            raise TileMissing(f"the log does not have {tile_path(level, index, width)}")
        return content

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _get(self, path: str, limit: int) -> bytes | None:
        """The body, None for 404."""
        deadline = time.monotonic() + self._timeout_s
        content = bytearray()
        try:
            with self._client.stream("GET", f"{self._prefix}/{path}") as answer:
                if answer.status_code == 404:
                    return None
                if answer.status_code != 200 or "content-encoding" in answer.headers:
                    raise SourceUnavailable(f"{path}: the log answers {answer.status_code}")
                for chunk in answer.iter_bytes():
                    content += chunk
                    if len(content) > limit:
                        raise SourceUnavailable(f"{path}: more than {limit} bytes")
                    if time.monotonic() > deadline:
                        raise SourceUnavailable(f"{path}: not within {self._timeout_s:g} s")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise SourceUnavailable(f"{path}: {type(error).__name__}") from error
        return bytes(content)
