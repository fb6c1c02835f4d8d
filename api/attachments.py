"""Photos and documents on disk: cleaned, then named by the hash of what is kept, so that an event can vouch for them.

A file is written beside its final name, synced and moved there, so a name always stands for whole, right bytes.
Anybody may read an attachment once an event on the ledger names it; until then only those who uploaded it.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, insert, select

from ..ledger.database import Database
from ..ledger.encoding import base64url_bytes, base64url_text
from ..ledger.errors import Refusal
from ..trace.tables import attachment_use
from .media import CleanFile, clean, media_type_of
from .problems import not_found
from .tables import attachment_upload

PATH_PREFIX = "/attachments/"
NI_PREFIX = "ni:///sha-256;"
MOST_A_DAY = 2_000
"""Attachments that one actor may upload within 24 hours."""
_DAY_MS = 86_400_000


@dataclass(frozen=True)
class StoredAttachment:
    """An attachment as an event names it: `hash` is a `ni:` URI (RFC 6920), `bytes` the length of what is kept."""

    hash: str
    media_type: str
    bytes: int
    is_new: bool

    @property
    def path(self) -> str:
        """Where this service serves it."""
        return PATH_PREFIX + self.hash.removeprefix(NI_PREFIX)


class Attachments:
    """The attachments of one service, below `folder`."""

    def __init__(
        self, folder: Path, database: Database, *, max_pixels: int, clock: Callable[[], int], log_id: int = 1
    ) -> None:
        self._folder = folder
        self._database = database
        self._max_pixels = max_pixels
        self._clock = clock
        self._log_id = log_id
        # A decoded picture takes up to 250 MB; two at a time bound the memory.
        self._decoders = threading.BoundedSemaphore(2)

    def add(self, content: bytes, actor: str) -> StoredAttachment:
        """Clean `content`, keep it, and remember that `actor` uploaded it. Raises Refusal for what is not taken."""
        now = self._clock()
        with self._database.read() as connection:
            uploads = connection.execute(
                select(func.count()).where(
                    attachment_upload.c.actor == actor, attachment_upload.c.created_ms > now - _DAY_MS
                )
            ).scalar_one()
        if uploads >= MOST_A_DAY:
            raise Refusal(
                "attachment-count",
                zh=f"24 小时内最多上传 {MOST_A_DAY} 个附件",
                en=f"at most {MOST_A_DAY} attachments in 24 hours",
                status_hint="conflict",
            )
        with self._decoders:
            cleaned = clean(content, self._max_pixels)
        digest = hashlib.sha256(cleaned.content).digest()
        self._write(digest, cleaned)
        with self._database.write() as connection:
            known = connection.execute(
                select(attachment_upload.c.actor).where(
                    attachment_upload.c.sha256 == digest, attachment_upload.c.actor == actor
                )
            ).first()
            if known is None:
                connection.execute(
                    insert(attachment_upload).values(
                        sha256=digest, actor=actor, created_ms=now, bytes_received=len(content)
                    )
                )
        # Whether it is new is said of this actor's uploads only: others' are none of its business.
        return StoredAttachment(
            NI_PREFIX + base64url_text(digest), cleaned.media_type, len(cleaned.content), known is None
        )

    def cleaned_photo(self, content: bytes) -> CleanFile:
        """A photo without metadata, kept nowhere. Raises Refusal for whatever is no photo."""
        if not (media_type_of(content[:16]) or "").startswith("image/"):
            raise Refusal(
                "attachment-type", field="photo", zh="请上传照片（JPEG、PNG 或 WebP）",
                en="a photo is a JPEG, PNG or WebP file", expected="image/jpeg, image/png, image/webp",
                status_hint="unprocessable",
            )  # fmt: skip
        with self._decoders:
            return clean(content, self._max_pixels)

    def read(self, name: str, actor: str | None) -> tuple[CleanFile, bool]:
        """The attachment called by the base64url of its hash, for `actor` (None: anybody), and whether it is public.

        Raises the same 404 for what is not there and for what this reader may not see.
        """
        try:
            digest = base64url_bytes(name, 32)
        except ValueError:
            raise _missing() from None
        with self._database.read() as connection:
            public = (
                connection.execute(
                    select(attachment_use.c.entry)
                    .where(attachment_use.c.log_id == self._log_id, attachment_use.c.hash == NI_PREFIX + name)
                    .limit(1)
                ).first()
                is not None
            )
            own = (
                actor is not None
                and connection.execute(
                    select(attachment_upload.c.actor).where(
                        attachment_upload.c.sha256 == digest, attachment_upload.c.actor == actor
                    )
                ).first()
                is not None
            )
        if not public and not own:
            raise _missing()
        try:
            content = self._place(digest).read_bytes()
        except FileNotFoundError:
            raise _missing() from None
        return CleanFile(content, media_type_of(content[:16]) or "application/octet-stream"), public

    def holds(self, ni: str) -> bool:
        """Whether the bytes of a `ni:///sha-256;...` name are kept here."""
        try:
            return self._place(base64url_bytes(ni.removeprefix(NI_PREFIX), 32)).is_file()
        except ValueError:
            return False

    def intact(self, ni: str) -> bool | None:
        """Whether the file kept here under a `ni:///sha-256;...` name still has that hash; None when none is kept."""
        try:
            digest = base64url_bytes(ni.removeprefix(NI_PREFIX), 32)
            return hashlib.sha256(self._place(digest).read_bytes()).digest() == digest
        except (ValueError, FileNotFoundError):
            return None

    def _place(self, digest: bytes) -> Path:
        # Hexadecimal, since base64url names would collide where file names ignore case.
        return self._folder / digest[:1].hex() / digest.hex()

    def _write(self, digest: bytes, cleaned: CleanFile) -> None:
        place = self._place(digest)
        if place.is_file():
            return
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=place.parent, prefix=".upload-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(cleaned.content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, place)
        except BaseException:
            os.unlink(temporary)
            raise
        folder = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _missing() -> Refusal:
    return not_found("没有这个附件", "there is no such attachment")
