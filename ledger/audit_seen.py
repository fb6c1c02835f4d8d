"""Names that may occur once in a log, kept in files that only grow: what occurs twice is found in one pass at the end.

For a log of millions a set in memory is too large and a database too slow. Each name is a digest of 16 bytes with the
index of its entry, appended to a file as it comes from the processes that made it (`NAME`, `EVENT`); the end reads the
file through, a share of the names at a time.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path

NAME = struct.Struct(">16sQ")
"""What is appended for a name: the first 16 bytes of its digest, and the entry."""
EVENT = struct.Struct(">16sQII")
"""What is appended for an event: its name, the entry; where in the subjects of its range its own begin, their length.
"""
_AT_ONCE = 4096
NAMES_A_PASS = 500_000
"""How many names are held in memory at a time."""


class GrowingFile:
    """A file that is appended to; `size` bytes of it count, whatever else a killed process left."""

    def __init__(self, path: Path, size: int = 0) -> None:
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._file.truncate(size)
        self._file.seek(size)
        self.size = size

    def append(self, content: bytes) -> int:
        """Append; returns where it begins."""
        begin = self.size
        self._file.write(content)
        self.size += len(content)
        return begin

    def flush(self) -> int:
        """Hand everything to the system; returns the size."""
        self._file.flush()
        return self.size

    def read(self, begin: int, length: int) -> bytes:
        """What was appended there."""
        self._file.flush()
        self._file.seek(begin)
        content = self._file.read(length)
        self._file.seek(self.size)
        return content

    def chunks(self, length: int) -> Iterator[bytes]:
        """The whole file, `length` bytes at a time."""
        for begin in range(0, self.size, length):
            yield self.read(begin, min(length, self.size - begin))

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class SeenOnce:
    """Names that belong to one entry each."""

    def __init__(self, path: Path, size: int = 0) -> None:
        self._file = GrowingFile(path, size)

    def add(self, names: bytes) -> None:
        """`NAME` after `NAME`, in log order."""
        self._file.append(names)

    def twice(self) -> Iterator[tuple[int, int]]:
        """Every entry whose name an earlier one had: (first entry, entry), in no order."""
        for share, shares in _shares(self._file.size // NAME.size):
            first: dict[bytes, int] = {}
            for chunk in self._file.chunks(_AT_ONCE * NAME.size):
                for name, entry in NAME.iter_unpack(chunk):
                    if name[0] % shares == share and first.setdefault(name, entry) != entry:
                        yield first[name], entry

    def flush(self) -> int:
        """See `GrowingFile`."""
        return self._file.flush()

    def close(self) -> None:
        """See `GrowingFile`."""
        self._file.close()


class SeenEvents:
    """Events by eventID, each with the subjects of its chain lines, for those that correct them."""

    def __init__(
        self, events: Path, subjects: Path, sizes: tuple[int, int] = (0, 0), ranges: Sequence[tuple[int, int]] = ()
    ) -> None:
        self._events = GrowingFile(events, sizes[0])
        self._subjects = GrowingFile(subjects, sizes[1])
        self.ranges = [(first, begin) for first, begin in ranges]
        """The first entry of each range, and where in the file its subjects begin."""

    def add(self, first: int, events: bytes, subjects: bytes) -> None:
        """The events of the range from entry `first` on, `EVENT` after `EVENT`; the subjects of all its entries."""
        self.ranges.append((first, self._subjects.append(subjects)))
        self._events.append(events)

    def passes(self) -> Iterator[tuple[dict[bytes, tuple[int, int, int]], list[tuple[int, int]]]]:
        """For each share of the names: the first event of each, for `subjects`; and (first entry, entry) of others."""
        for share, shares in _shares(self._events.size // EVENT.size):
            first: dict[bytes, tuple[int, int, int]] = {}
            twice: list[tuple[int, int]] = []
            for chunk in self._events.chunks(_AT_ONCE * EVENT.size):
                for name, entry, begin, length in EVENT.iter_unpack(chunk):
                    if name[0] % shares == share:
                        known = first.setdefault(name, (entry, begin, length))
                        if known[0] != entry:
                            twice.append((known[0], entry))
            yield first, twice

    def subjects(self, entry: int, begin: int, length: int) -> bytes:
        """The subjects of an event that `passes` named."""
        _, start = self.ranges[bisect_right(self.ranges, entry, key=lambda one: one[0]) - 1]
        return self._subjects.read(start + begin, length)

    def flush(self) -> tuple[int, int]:
        """See `GrowingFile`."""
        return self._events.flush(), self._subjects.flush()

    def close(self) -> None:
        """See `GrowingFile`."""
        self._events.close()
        self._subjects.close()


def _shares(names: int) -> Iterator[tuple[int, int]]:
    shares = min(256, max(1, -(-names // NAMES_A_PASS)))
    return ((share, shares) for share in range(shares))
