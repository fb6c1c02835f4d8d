"""The lot index kept in pages: one page for each 8 bits of key, so that a million lots cost a few pages an update.

The map of `lot_index` (formats section 5), laid out for storage. A page stands for the subtree under a prefix of whole
bytes and holds what lies at its 256 places eight bits further down: nothing, the head of a single key, or the hash of
a subtree of two or more keys, whose page is stored under the longer prefix. Only the root page may hold fewer than two
keys. Pure: pages come from and go to the caller.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

from .errors import ProofError
from .lot_index import EMPTY, KEY_SIZE, Head, IndexProof, node_hash, node_hashes

_LEVELS = 8
_PLACES = 1 << _LEVELS
_USUAL_DEPTH = 4
"""So many pages stand above each other at most where a million subjects are few to a page: they are read at once."""
_HEAD, _SUBTREE = 1, 2
_HEAD_AT, _SUBTREE_AT = ([bytes((place, kind)) for place in range(_PLACES)] for kind in (_HEAD, _SUBTREE))
_EVERY_PLACE, _ALL_SUBTREES = bytes(range(_PLACES)), bytes([_SUBTREE]) * _PLACES

Slot: TypeAlias = "Head | bytes"
Page: TypeAlias = dict[int, Slot]
ReadPages: TypeAlias = Callable[[Sequence[bytes]], Mapping[bytes, bytes]]
"""Stored pages by prefix; a prefix without a page is left out of the answer."""


def encode_page(page: Page) -> bytes:
    """The bytes of a page: place, kind and content of each place that is taken, by place."""
    parts: list[bytes] = []
    for place in sorted(page):
        slot = page[place]
        if isinstance(slot, Head):
            parts += (_HEAD_AT[place], slot.subject, slot.seq.to_bytes(8, "big"), slot.leaf)
        else:
            parts += (_SUBTREE_AT[place], slot)
    return b"".join(parts)


def decode_page(data: bytes) -> Page:
    """Reads what `encode_page` wrote. Raises ProofError when it is something else."""
    if len(data) == 34 * _PLACES and data[::34] == _EVERY_PLACE and data[1::34] == _ALL_SUBTREES:
        return {place: data[34 * place + 2 : 34 * place + 34] for place in range(_PLACES)}
    page: Page = {}
    at, last = 0, -1
    while at < len(data):
        place, kind = data[at], data[at + 1] if at + 1 < len(data) else 0
        length = {_HEAD: 72, _SUBTREE: 32}.get(kind, 0)
        content = data[at + 2 : at + 2 + length]
        if not length or len(content) != length or place <= last:
            raise ProofError("an index page is malformed", where="lot index")
        if kind == _HEAD:
            page[place] = Head(content[:32], int.from_bytes(content[32:40], "big"), content[40:])
        else:
            page[place] = content
        at, last = at + 2 + length, place
    return page


def page_hash(page: Page) -> bytes:
    """The hash of the subtree that a page stands for."""
    rows = _full_rows(page)
    if rows is not None:
        return rows[-1]
    level = _level_of(page)
    for _ in range(_LEVELS):
        level = _above(level)
    return level[0][0] if level else EMPTY


_Level: TypeAlias = dict[int, tuple[bytes, Head | None]]
"""Nodes of one level of a page by place: hash, and the head when the subtree holds a single key."""


def _level_of(page: Page) -> _Level:
    return {place: (slot.hash, slot) if isinstance(slot, Head) else (slot, None) for place, slot in page.items()}


def _above(level: _Level) -> _Level:
    above: _Level = {}
    for place, (own, single) in level.items():
        parent = place >> 1
        if parent in above:
            continue
        sibling = level.get(place ^ 1)
        if sibling is None and single is not None:
            above[parent] = (own, single)
        else:
            other = EMPTY if sibling is None else sibling[0]
            above[parent] = (node_hash(other, own) if place & 1 else node_hash(own, other), None)
    return above


def _full_rows(page: Page) -> list[bytes] | None:
    """The nodes of a page all of whose places hold subtrees, a row a level, joined; None for other pages.

    In a large map the upper pages are such: their rows cost a quarter of what `_above` takes.
    """
    if len(page) < _PLACES:
        return None
    row = b"".join([slot for place in range(_PLACES) if isinstance(slot := page[place], bytes)])
    if len(row) < _PLACES * len(EMPTY):
        return None
    rows = [row]
    for _ in range(_LEVELS):
        row = node_hashes(row)
        rows.append(row)
    return rows


class UpperPages:
    """The upper pages of the map with the given root, decoded and hashed, for proofs from that map.

    Only what leads to the root is kept, so that a page which was damaged when it was read stays no longer than its row.
    """

    def __init__(self, root: bytes) -> None:
        self.root = root
        self.pages: dict[bytes, Page] = {}
        self.rows: dict[bytes, list[bytes]] = {}

    def keep(self, prefix: bytes, page: Page) -> None:
        """Keep a page if it is one of the upper 257, all of its places hold subtrees, and it is the map's own."""
        rows = _full_rows(page) if len(prefix) < 2 else None
        if rows is not None and rows[-1] == (self.pages.get(b"", {}).get(prefix[0]) if prefix else self.root):
            self.rows[prefix] = rows
            self.pages[prefix] = page


class IndexPages:
    """The map over stored pages: proofs, and updates that say which pages change.

    With `upper`, which must be of the map as it is stored, what it has is not read again; it serves for proofs only.
    """

    def __init__(self, read: ReadPages, upper: UpperPages | None = None) -> None:
        self._read = read
        self._upper = upper
        self._pages: dict[bytes, Page] = {} if upper is None else dict(upper.pages)
        self._levels: dict[bytes, list[_Level]] = {}
        self._changed: set[bytes] = set()

    @property
    def root(self) -> bytes:
        """The root of the map as updated."""
        self._load([b""])
        return page_hash(self._pages[b""])

    def changed(self) -> dict[bytes, bytes]:
        """The pages that updates made or changed, by prefix, as bytes to store."""
        return {prefix: encode_page(self._pages[prefix]) for prefix in sorted(self._changed)}

    def update(self, heads: Iterable[Head]) -> bytes:
        """Puts the newest entries of subjects in, in place of older ones; returns the new root.

        ValueError when there are pages kept for proofs.
        """
        if self._upper is not None:
            raise ValueError("pages that are kept for proofs are not changed")
        self._levels.clear()
        waiting: dict[bytes, list[Head]] = {b"": list(heads)}
        touched: list[bytes] = []
        while waiting:
            self._load(list(waiting))
            deeper: dict[bytes, list[Head]] = defaultdict(list)
            for prefix, some in waiting.items():
                touched.append(prefix)
                for head in some:
                    self._put(prefix, head, deeper)
            waiting = deeper
        for prefix in sorted(set(touched), key=len, reverse=True):
            self._changed.add(prefix)
            if prefix:
                self._pages[prefix[:-1]][prefix[-1]] = page_hash(self._pages[prefix])
        return self.root

    def _put(self, prefix: bytes, head: Head, deeper: dict[bytes, list[Head]]) -> None:
        page, place = self._pages[prefix], head.subject[len(prefix)]
        slot = page.get(place)
        longer = prefix + bytes((place,))
        if slot is None or (isinstance(slot, Head) and slot.subject == head.subject):
            page[place] = head
            return
        if isinstance(slot, Head):  # two keys share this place: both move into a page of their own
            self._pages[longer] = {}
            deeper[longer].append(slot)
            page[place] = EMPTY  # replaced by the page's hash once both are in
        deeper[longer].append(head)

    def prove_all(self, subjects: Iterable[bytes]) -> list[IndexProof]:
        """What stands at the place of each of these; pages are read once, a layer at a time."""
        wanted = list(subjects)
        layer = {b""}
        self._load(sorted({subject[:depth] for subject in wanted for depth in range(_USUAL_DEPTH)}))
        while layer:
            self._load(sorted(layer))
            depth = len(next(iter(layer)))
            inside = {subject for subject in wanted if subject[:depth] in layer}
            layer = {
                subject[: depth + 1]
                for subject in inside
                if depth + 1 < KEY_SIZE and isinstance(self._pages[subject[:depth]].get(subject[depth]), bytes)
            }
        return [self.prove(subject) for subject in wanted]

    def prove(self, subject: bytes) -> IndexProof:
        """What stands at the place of `subject`, with its path from leaf to root."""
        prefixes = [b""]
        while True:
            self._load([prefixes[-1]])
            slot = self._pages[prefixes[-1]].get(subject[len(prefixes) - 1])
            if not isinstance(slot, bytes) or len(prefixes) == KEY_SIZE:
                break
            prefixes.append(subject[: len(prefixes)])
        path: list[bytes] = []
        lowest = self._pages[prefixes[-1]].get(subject[len(prefixes) - 1])
        found = lowest if isinstance(lowest, Head) else None
        for prefix in reversed(prefixes):
            place = subject[len(prefix)]
            rows = None if self._upper is None else self._upper.rows.get(prefix)
            if rows is not None:
                path += [rows[up][((place >> up) ^ 1) * 32 :][:32] for up in range(_LEVELS)]
                continue
            levels = self._levels_of(prefix)
            for level, above in pairwise(levels):
                parent = above.get(place >> 1)
                if parent is not None and parent[1] is not None:
                    found = parent[1]  # a single key so far: it stands higher up
                elif parent is not None:
                    path.append(level[place ^ 1][0] if place ^ 1 in level else EMPTY)
                place >>= 1
        return IndexProof(found, tuple(path))

    def _levels_of(self, prefix: bytes) -> list[_Level]:
        """The nodes of a page, from its places up to the one node above all of them."""
        levels = self._levels.get(prefix)
        if levels is None:
            levels = self._levels[prefix] = [_level_of(self._pages[prefix])]
            for _ in range(_LEVELS):
                levels.append(_above(levels[-1]))
        return levels

    def _load(self, prefixes: Sequence[bytes]) -> None:
        missing = [prefix for prefix in prefixes if prefix not in self._pages]
        if missing:
            stored = self._read(missing)
            for prefix in missing:
                page = self._pages[prefix] = decode_page(stored.get(prefix, b""))
                if self._upper is not None:
                    self._upper.keep(prefix, page)
