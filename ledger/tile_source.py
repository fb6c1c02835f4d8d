"""Where tiles and entry bundles of somebody's log come from, and what can be said when they do not (C2SP tlog-tiles).

Nothing that comes from there is believed: whoever fetches checks it against a signed checkpoint.
"""

from __future__ import annotations

from typing import Protocol

from .errors import ProofError
from .merkle import HASH_SIZE
from .tiles import ENTRIES, bundle, parse_bundle


class SourceUnavailable(Exception):
    """A tile could not be had now; that says nothing about what is in it."""


class TileMissing(SourceUnavailable):
    """The log answers that it has no such tile."""


class TileSource(Protocol):
    """Where the tiles of one log come from; raises SourceUnavailable."""

    def tile(self, level: int, index: int, width: int) -> bytes:
        """The first `width` hashes of a tile, concatenated; with level `ENTRIES`, a bundle of `width` entries."""
        ...


def cut(content: bytes, level: int, width: int) -> bytes:
    """The first `width` hashes, or entries, of a full tile: a partial tile is a prefix of it."""
    if level != ENTRIES:
        return content[: width * HASH_SIZE]
    try:
        return bundle(parse_bundle(content)[:width])
    except ProofError:
        return content  # malformed: told by whoever reads it
