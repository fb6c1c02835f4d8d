"""The products on the landing page: the newest lot of each, looked up now and then and not for every visitor."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from ..trace.history import History
from ..trace.viewer import Viewer
from .pages.render import HomeProduct

MOST_PRODUCTS = 12
KEPT_SECONDS = 30.0


class Showcase:
    """What the landing page lists. The list is at most `KEPT_SECONDS` old."""

    def __init__(self, history: History, clock: Callable[[], float] = time.monotonic) -> None:
        self._history = history
        self._clock = clock
        self._lock = threading.Lock()
        self._products: tuple[HomeProduct, ...] = ()
        self._until = float("-inf")

    def products(self) -> tuple[HomeProduct, ...]:
        """The products, newest first."""
        with self._lock:
            if self._clock() >= self._until:
                self._products = tuple(self._look())
                self._until = self._clock() + KEPT_SECONDS
            return self._products

    def _look(self) -> list[HomeProduct]:
        newest: dict[str, str] = {}
        for gtin, uri in self._history.products():
            newest.setdefault(gtin, uri)
        found = []
        for uri in list(newest.values())[:MOST_PRODUCTS]:
            story = self._history.story(uri, Viewer(None))
            if story is None or story.product is None:
                continue
            found.append(
                HomeProduct(
                    url=urlsplit(uri).path,
                    family=story.product.family,
                    name=story.product.name,
                    brand=story.product.brand,
                    origin=story.origin,
                    lot=story.name,
                    line=story.product.description,
                )
            )
        return found
