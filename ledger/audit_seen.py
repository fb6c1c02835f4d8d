"""Names that may occur once in a log, kept in files that only grow: what occurs twice is found in one pass at the end.

For a log of millions a set in memory is too large and a database too slow. Each name is a digest of 16 bytes with the
index of its entry, appended to a file; the end reads the file through, a share of the names at a time.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

_NAME = struct.Struct(">16sQ")
_EVENT = struct.Struct(">16sQQI")
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

    def add(self, names: Sequence[tuple[bytes, int]]) -> None:
        """Names of 16 bytes with the indices of their entries, in log order."""
        self._file.append(b"".join([_NAME.pack(*one) for one in names]))

    def twice(self) -> Iterator[tuple[int, int]]:
        """Every entry whose name an earlier one had: (first entry, entry), in no order."""
        for share, shares in _shares(self._file.size // _NAME.size):
            first: dict[bytes, int] = {}
            for chunk in self._file.chunks(_AT_ONCE * _NAME.size):
                for name, entry in _NAME.iter_unpack(chunk):
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

    def __init__(self, events: Path, subjects: Path, sizes: tuple[int, int] = (0, 0)) -> None:
        self._events = GrowingFile(events, sizes[0])
        self._subjects = GrowingFile(subjects, sizes[1])

    def add(self, events: Sequence[tuple[bytes, int, bytes]]) -> None:
        """(Name of 16 bytes, entry, its subjects joined), in log order."""
        begin = self._subjects.append(b"".join([subjects for _, _, subjects in events]))
        records = []
        for name, entry, subjects in events:
            records.append(_EVENT.pack(name, entry, begin, len(subjects)))
            begin += len(subjects)
        self._events.append(b"".join(records))

    def passes(self) -> Iterator[tuple[dict[bytes, tuple[int, int, int]], list[tuple[int, int]]]]:
        """For each share of the names: the first event of each, for `subjects`; and (first entry, entry) of others."""
        for share, shares in _shares(self._events.size // _EVENT.size):
            first: dict[bytes, tuple[int, int, int]] = {}
            twice: list[tuple[int, int]] = []
            for chunk in self._events.chunks(_AT_ONCE * _EVENT.size):
                for name, entry, begin, length in _EVENT.iter_unpack(chunk):
                    if name[0] % shares == share:
                        known = first.setdefault(name, (entry, begin, length))
                        if known[0] != entry:
                            twice.append((known[0], entry))
            yield first, twice

    def subjects(self, begin: int, length: int) -> bytes:
        """The subjects of an event that `passes` named."""
        return self._subjects.read(begin, length)

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
