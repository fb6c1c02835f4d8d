"""Product pages as they are kept: the story of a lot is gathered once, and drawn once for each way of reading it.

The page of an item is that of its lot with a few places left open, which are filled in for each look: its serial, its
addresses, and when and where its code was checked before.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import secrets
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar
from urllib.parse import quote

from markupsafe import escape

from ..ledger.item_code import sequence_of
from ..trace.grounds import Grounds
from ..trace.history import History
from ..trace.naming import Names
from ..trace.story import Story
from ..trace.viewer import Viewer
from .complaints import Complaints, PublicComplaints
from .freshness import Freshness, Standing
from .json_answers import json_bytes
from .kept import Kept, Rests
from .pages.render import PageUrls, render_product
from .pages.scan_state import ScanState, scan_state
from .pages.texts import texts
from .problems import Language
from .scans.judging import Verdict

T = TypeVar("T")
_ANYBODY = Viewer(None)
_COMPRESSION = 6
_OF_STORY, _OF_PART = 20_000, 10_000
"""Bytes that a story takes, and each step, report, node of its ancestry: more than any we measured."""


@dataclass(frozen=True)
class Body:
    """A page or document for everybody, and the tag by which whoever has it already asks."""

    content: bytes

    @cached_property
    def compressed(self) -> bytes:
        """By gzip, for clients that take it; the same bytes each time."""
        return gzip.compress(self.content, _COMPRESSION, mtime=0)

    @cached_property
    def tag(self) -> str:
        """An entity tag. A weak one: it stands for both encodings."""
        return f'W/"{hashlib.sha256(self.content).hexdigest()[:24]}"'


@dataclass(frozen=True)
class Mould:
    """An item's page with places left open."""

    pieces: tuple[str, ...]
    """Text, name of a place, text, name of a place, text ..."""

    def filled(self, values: dict[str, str]) -> bytes:
        """The page with `values` in its places."""
        around, places = self.pieces[::2], self.pieces[1::2]
        escaped = {name: str(escape(value)) for name, value in values.items()}
        filled = "".join(text + escaped[name] for text, name in zip(around, places, strict=False))
        return (filled + around[-1]).encode("utf-8")


@dataclass
class _Places:
    """Marks that stand for what is filled in later; nobody outside this process can know them."""

    mark: str = field(default_factory=lambda: f"q{secrets.token_hex(8)}")

    def __getitem__(self, name: str) -> str:
        return f"{self.mark}{name}z"

    def mould(self, page: str) -> Mould:
        """A page with marks in it, taken apart."""
        return Mould(tuple(re.split(f"{self.mark}([a-y0-9]+)z", page)))


class ProductPages:
    """The stories and pages of one service's lots, for anybody."""

    def __init__(
        self,
        history: History,
        complaints: Complaints,
        names: Names,
        freshness: Freshness,
        kept: Kept,
        heavy: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """heavy: takes room for gathering a story, or raises Busy."""
        self._history = history
        self._complaints = complaints
        self._names = names
        self._heavy = heavy
        self._turns = _Turns()
        self._places = _Places()
        self.freshness = freshness
        self.kept = kept

    # ------------------------------------------------------------ for anybody

    def story(self, uri: str) -> Story | None:
        """The story of the lot `uri` with the state of its proof; None when there is no such lot. Raises Busy."""
        told = self._told(uri)
        return None if told is None else told[0]

    def lot(self, uri: str) -> Body | None:
        """The lot `uri` as JSON; None when there is no such lot. Raises Busy."""
        subject = self._names.subject(uri, "uri")

        def make(before: Standing) -> Body | None:
            with self._heavy():
                told = self._history.lot_told(uri, _ANYBODY)
            if told is None:
                return None
            body = Body(json_bytes(told[0]))
            rests = Rests(told[1], proven=False)
            self.kept.put(("json", subject), body, 2 * len(body.content), subject, rests, before)
            return body

        return self._kept(("json", subject), subject, make)

    def page(self, path: str, language: Language, *, large: bool) -> Body | None:
        """The page at `path` (canonical, of a lot, plot or logistic unit); None when there is no such thing.

        Raises Busy.
        """
        uri = self._names.absolute(path)
        subject = self._names.subject(uri, "uri")

        def make(before: Standing) -> Body | None:
            told = self._told(uri, before)
            if told is None:
                return None
            story, grounds = told
            page = render_product(
                story, lang=language, large=large, urls=self._urls(path), complaints=self._public(story)
            )
            body = Body(page.encode("utf-8"))
            self.kept.put(key, body, 2 * len(body.content), subject, _rests(story, grounds), before)
            return body

        key = page_key(path, language, large)
        return self._kept(key, subject, make)

    def item(
        self, path: str, serial: str, state: str, language: Language, look: Callable[[Story], Verdict], *, large: bool
    ) -> bytes | None:
        """The page of the item at `path`, whose life stands at `state`; None when there is no such lot.

        look: what is said of this look at it. Raises Busy.
        """
        lot = path.partition("/21/")[0]
        uri = self._names.absolute(lot)
        subject = self._names.subject(uri, "uri")
        now = self.freshness.read([subject])
        told = self._told(uri, now)
        if told is None:
            return None
        number = sequence_of(serial)
        story_now = told[0].of_item(number)
        scan = scan_state(look(story_now), texts(language))
        left = self._left_open(scan)
        key = ("item", lot, language, large, state, tuple(one.outside for one in story_now.recalls), left)

        def make(before: Standing) -> Mould | None:
            told = self._told(uri, before)
            if told is None:
                return None
            story, grounds = told
            page = self._open_page(story.of_item(number), state, left, language, large)
            mould = self._places.mould(page)
            self.kept.put(key, mould, 4 * len(page), subject, _rests(story, grounds), before)
            return mould

        mould = self._kept(key, subject, make, now)
        if mould is None:
            return None
        urls = self._urls(path)
        values = {"serial": serial, "page": urls.page[1:], "proof": (urls.proof or "")[1:], "line": scan.line}
        return mould.filled(values | {f"reason{number}": text for number, text in enumerate(scan.reasons)})

    def _left_open(self, scan: ScanState) -> ScanState:
        """The same for many looks: with places where each has words of its own."""
        reasons = tuple(self._places[f"reason{number}"] for number in range(len(scan.reasons)))
        return replace(scan, line=self._places["line"] if scan.line else "", reasons=reasons)

    def _open_page(self, story: Story, state: str, left: ScanState, language: Language, large: bool) -> str:
        places = self._places
        return render_product(
            replace(story, serial=places["serial"], item_state=state),
            lang=language,
            large=large,
            urls=PageUrls(page=f"/{places['page']}", proof=f"/{places['proof']}"),
            complaints=self._public(story),
            scan=left,
        )

    def _urls(self, path: str) -> PageUrls:
        return PageUrls(page=path, proof=f"/proof?uri={quote(self._names.absolute(path), safe='')}")

    def _public(self, story: Story) -> PublicComplaints | None:
        return self._complaints.public(story.uri) if story.kind == "lot" else None

    # ------------------------------------------------------------ keeping

    def _told(self, uri: str, now: Standing | None = None) -> tuple[Story, Grounds] | None:
        """The story, kept or told anew; with `now` only if it holds then. Raises Busy."""
        subject = self._names.subject(uri, "uri")

        def make(before: Standing) -> tuple[Story, Grounds] | None:
            with self._heavy():
                told = self._history.told(uri, _ANYBODY)
            if told is not None:
                story, grounds = told
                parts = len(story.steps) + len(story.reports) + len(story.ancestry.nodes) + len(story.plots)
                size = _OF_STORY + _OF_PART * parts
                self.kept.put(("story", subject), told, size, subject, _rests(story, grounds), before)
            return told

        return self._kept(("story", subject), subject, make, now)

    def _kept(
        self, key: Hashable, subject: str, make: Callable[[Standing], T | None], now: Standing | None = None
    ) -> T | None:
        """What is kept under `key` if it holds at a moment after this call; else what `make` makes, once for all."""
        now = now or self.freshness.read([subject])
        found: T | None = self.kept.get(key, now)
        if found is not None:
            return found
        with self._turns.of(key) as waited:
            if waited:
                now = self.freshness.read([subject])
                found = self.kept.get(key, now)
            return make(now) if found is None else found


def _rests(story: Story, grounds: Grounds) -> Rests:
    proof = story.proof
    return Rests(grounds, proof.size if proof is not None and proof.witnesses else None)


def page_key(path: str, language: Language, large: bool) -> Hashable:
    """The key under which the page at `path` is kept."""
    return ("page", path, language, large)


class _Turns:
    """One at a time for each key."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, tuple[threading.Lock, int]] = {}
        self._guard = threading.Lock()

    @contextmanager
    def of(self, key: Hashable) -> Iterator[bool]:
        """Take the turn of `key`; whether somebody else had it before."""
        with self._guard:
            lock, users = self._locks.get(key, (threading.Lock(), 0))
            self._locks[key] = (lock, users + 1)
        try:
            with lock:
                yield users > 0
        finally:
            with self._guard:
                lock, users = self._locks.pop(key)
                if users > 1:
                    self._locks[key] = (lock, users - 1)
