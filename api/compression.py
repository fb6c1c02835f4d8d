"""Compressed answers where it pays: pages, styles, bundles and entry bundles; not streams, hashes or pictures."""

from __future__ import annotations

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

_AS_IT_IS = ("/api/", "/attachments/", "/log/tile/")
_ENTRY_BUNDLES = "/log/tile/entries/"
_SMALLEST = 600  # bytes: below, a packet carries the answer anyway


class Compression:
    """Gzip for clients that take it. Secrets never share an answer with what a stranger can put into it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._compressed = GZipMiddleware(app, minimum_size=_SMALLEST, compresslevel=6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        plain = path.startswith(_AS_IT_IS) and not path.startswith(_ENTRY_BUNDLES)
        await (self._app if plain else self._compressed)(scope, receive, send)
