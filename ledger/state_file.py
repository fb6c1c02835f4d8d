"""A file outside the database that remembers how far the log has come, so that an older database is recognised.

A restored backup is whole and true in itself; only somebody who knows more can say that it is old. Witnesses are such
somebodies, this file is another: it holds the newest checkpoint that was committed, is written after commits, at most
once in a while, and must never be part of a backup of the database. A log whose database knows less refuses to sign.

There is no way to make a log sign again after entries that were acknowledged are lost for good: whoever holds a receipt
of one of them could show that the log has two histories. Such a log is closed, its last checkpoint is pinned as
`final` in the policy (formats section 6), and a successor with an origin and key of its own is started.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from .checkpoint import Checkpoint
from .crash import crash_point
from .errors import LogHalted, ProofError
from .note import parse_note

_MAGIC = "suyuan/log-state/v1"

Status: TypeAlias = Literal["signing", "restored", "moved"]
"""`signing`: this is where the log is. `restored`: from a backup of which nobody showed that it is the newest state.
`moved`: the log was taken over by another data directory."""


@dataclass(frozen=True)
class Known:
    """What a state file says: the newest checkpoint it heard of, as a signed note, and what the log may do."""

    status: Status
    note: str

    @property
    def checkpoint(self) -> Checkpoint:
        """Origin, size and root; the signature is for the reader to check. Raises ProofError."""
        return Checkpoint.parse(parse_note(self.note).text)

    def text(self) -> str:
        """The file's text: a line with the status, a blank line, the note."""
        return f"{_MAGIC} {self.status}\n\n{self.note}"

    @classmethod
    def parse(cls, text: str) -> Known:
        """Reads what `text` wrote. Raises ProofError for anything else."""
        head, blank, note = text.partition("\n\n")
        magic, _, status = head.partition(" ")
        if magic != _MAGIC or not blank or status not in get_args(Status):
            raise ProofError("not a state file of a log", where="state file")
        known = cls(status, note)  # type: ignore[arg-type]  # one of the three, as just looked
        _ = known.checkpoint
        return known


class StateFile:
    """The state file at `path`; several processes of one log may share it.

    `note` returns at once: a thread writes, at most every `interval_s` seconds, and `close` writes what is left. A
    crash in between leaves the file behind the log, never ahead of it.
    """

    def __init__(
        self, path: Path, *, interval_s: float = 1.0, replace: Callable[[Path, str], None] | None = None
    ) -> None:
        self.path = path
        self.failure: OSError | None = None
        """Why it could not be written the last time; None when it could."""
        self._interval_s = interval_s
        self._replace = replace_file if replace is None else replace
        self._read: tuple[tuple[int, int, int], Known] | None = None
        self._changed = threading.Condition()
        self._pending: str | None = None
        self._closing = False
        self._idle = False
        """Whether the writing thread waits for something to write, and not for its time to come."""
        self._writer: threading.Thread | None = None

    def known(self) -> Known | None:
        """What the file says, None when there is none yet. Raises LogHalted when it cannot be read or understood."""
        try:
            found = self.path.stat()
            stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
            if self._read is None or self._read[0] != stamp:
                self._read = (stamp, Known.parse(self.path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError, ProofError) as error:
            raise LogHalted("state-disagrees", {"row": f"state file {self.path}", "found": str(error)}) from error
        return self._read[1]

    def note(self, checkpoint: str) -> None:
        """The log has committed `checkpoint`, a signed note: to be remembered soon."""
        with self._changed:
            self._pending = checkpoint
            if self._writer is None and not self._closing:
                self._writer = threading.Thread(target=self._write, name="state-file", daemon=True)
                self._writer.start()
            if self._idle:
                self._changed.notify_all()

    def close(self) -> None:
        """Write what is not written yet and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            writer = self._writer
        if writer is not None:
            writer.join()

    def put(self, known: Known) -> None:
        """Write at once, whatever was there. For `init`, restoring and handing over; raises OSError."""
        with self._alone():
            self._replace(self.path, known.text())

    def advance(self, checkpoint: str) -> None:
        """Write `checkpoint` unless the file knows as much or has another status. Raises OSError, LogHalted."""
        new = Known("signing", checkpoint)
        with self._alone():
            known = self.known()
            if known is None or (known.status == "signing" and known.checkpoint.size < new.checkpoint.size):
                self._replace(self.path, new.text())

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the file against other processes that read it to write it."""
        try:
            import fcntl
        except ImportError:  # no such lock on this system: one process writes there
            yield
            return
        with self.path.with_name(self.path.name + ".lock").open("a") as lock:
            os.chmod(lock.fileno(), 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self) -> None:
        while True:
            with self._changed:
                while self._pending is None and not self._closing:
                    self._idle = True
                    self._changed.wait()
                self._idle = False
                pending, self._pending = self._pending, None
            if pending is not None:
                try:
                    self.advance(pending)
                    self.failure = None
                except OSError as error:  # a full disk, say: tried again, and told by whoever asks for `failure`
                    self.failure = error
                except LogHalted:  # the file is unreadable: the log halts on it by itself
                    pass
            with self._changed:
                if self.failure is not None and self._pending is None and not self._closing:
                    self._pending = pending
                if self._closing and self._pending is None:
                    return
                if not self._closing:
                    self._changed.wait_for(lambda: self._closing, self._interval_s)


def replace_file(path: Path, text: str) -> None:
    """Write a file (mode 0600) so that it is either the old or the new one, whenever the power goes."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        crash_point("known:written")
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    crash_point("known:renamed")
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
