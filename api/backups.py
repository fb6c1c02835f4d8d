"""Backing a data directory up while it serves, and making a new one from a backup, verified before it can be used.

A backup holds the tables (`ledger.backup`), the attachments, the policy, the settings without secrets, and the keys as
they lie on the disk: encrypted. It holds neither the passphrase nor the state file.

A restored log serves and proves everything, and signs nothing, until it is shown that the backup is its newest state:
`restore` is given the state file of the log that was lost or moved, after which the old directory signs
no more. Without it nobody can know whether entries were acknowledged after the backup. There is no way around
this: a log that goes on from an older state has two histories. After a real loss the log is closed (its checkpoint
pinned as `final`, formats section 6) and a successor is started with an origin and key of its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ..ledger.backup import (
    MANIFEST,
    FileNote,
    Manifest,
    authoritative,
    check_files,
    file_digest,
    finish,
    is_empty,
    note_of,
    read_tables,
    rebuild_ledger,
    write_tables,
)
from ..ledger.database import Database
from ..ledger.entry import Entry
from ..ledger.errors import LogHalted, ProofError
from ..ledger.indexer import Indexer
from ..ledger.log import Log
from ..ledger.note import NoteSigner, VerifierKey
from ..ledger.policy import Policy
from ..ledger.reader import LogReader
from ..ledger.rehash import Rehash
from ..ledger.rehash_fields import ERASURE
from ..ledger.state_file import Known, StateFile
from ..trace.naming import Names
from ..trace.replay import rebuild
from ..trace.rules.tables import FOLLOWING
from ..trace.tables import PROJECTIONS
from ..trace.template import load_templates
from . import party_tables as _more_declared  # noqa: F401
from . import tables as _declared  # noqa: F401  the service's own tables are backed up too
from .console import Bars
from .data_directory import DataDirectory, write_private
from .scans import tables as _scans_declared  # noqa: F401
from .settings import Settings, SettingsError

_DAY_MS = 86_400_000
_SECRET = re.compile(r"\s*(key_passphrase|key_passphrase_file|database_url|data_dir|state_file|registrar_key)\s*=")
_SEALED = (b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b'{"format": "suyuan/vault/')


@dataclass(frozen=True)
class Restored:
    """A new data directory, and whether its log signs: why not is `reason_zh`, `reason_en`."""

    manifest: Manifest
    signs: bool
    reason_zh: str = ""
    reason_en: str = ""


def back_up(settings: Settings, target: Path, clock: Callable[[], int], bars: Bars) -> Manifest:
    """Write a backup of a data directory to `target`, a new or empty directory, while the service goes on.

    Raises SettingsError, OSError, DatabaseUnavailable; LogHalted when the entries do not give the signed root.
    """
    places = DataDirectory(settings.data_dir)
    identity = places.identity(settings)
    _require_empty(target)
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    created = clock()
    database = Database(settings.effective_database_url)
    try:
        reader = LogReader(database)
        with database.read() as connection:
            state = reader.state(connection)
        advance = bars.task("数据表 tables", state.size * 6)
        notes, size, checkpoint = write_tables(reader, target, authoritative((*PROJECTIONS, *FOLLOWING)), advance)
    finally:
        database.close()
    config = places.config.read_text(encoding="utf-8").splitlines(keepends=True)
    write_private(target / "config.toml", "".join(line for line in config if not _SECRET.match(line)))
    shutil.copyfile(places.policy, target / "policy")
    notes += [note_of(target, "config.toml"), note_of(target, "policy")]
    notes += _keys(places, target)
    notes += _attachments(places.attachments, target, bars)
    manifest = Manifest(created, identity.origin, reader.log_id, size, checkpoint, tuple(notes))
    finish(target, manifest)
    return manifest


def restore(source: Path, settings: Settings, state_file: Path | None, bars: Bars) -> Restored:
    """Make the data directory of `settings` from the backup in `source`; it appears only when all has been verified.

    Checked are every file's hash; the root of the entries against the checkpoint and its signature by the log's key;
    chains, statements, private fields and lot index; that the derived tables can be replayed; the attachments.
    `state_file` is the one of the log that was lost or moved; see above. With a database other than the embedded one,
    that must be empty.

    Raises ProofError for what does not hold, SettingsError when there is something in the way already.
    """
    manifest = Manifest.read(source)
    final = settings.data_dir
    _require_empty(final)
    check_files(source, manifest, bars.task("文件 files", len(manifest.files)))
    known = None if state_file is None else StateFile(state_file)
    _require_newest(manifest, known)
    making = final.with_name(f".{final.name}.restoring")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700, parents=True)
    try:
        for note in manifest.files:
            if not note.table:
                _copy(source / note.path, making / note.path)
        (making / "attachments").mkdir(mode=0o700, exist_ok=True)
        _fill(manifest, source, making, settings, bars)
        status = "restored" if known is None else "signing"
        StateFile(making / "log-state").put(Known(status, manifest.checkpoint))  # type: ignore[arg-type]
        (making / "log-state.lock").unlink(missing_ok=True)
        if final.exists():
            final.rmdir()
        os.rename(making, final)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    if settings.state_file is not None:
        StateFile(settings.state_file).put(Known("restored" if known is None else "signing", manifest.checkpoint))
    if known is None:
        zh = "没有给出原账本的状态文件（--state），无法确认备份之后没有新的条目；本目录可读、可证，但不签署"
        en = "no state file of the original log was given (--state): whether entries came after the backup is unknown, "
        return Restored(manifest, False, zh, en + "so this directory serves and proves, and signs nothing")
    known.put(Known("moved", manifest.checkpoint))
    return Restored(manifest, True)


def to_destroy(folder: Path, settings: Settings, now_ms: int) -> list[tuple[Path, Manifest, bool]]:
    """The backups directly below `folder`, oldest first, each with whether it must be destroyed now.

    It must when something was erased after it was made, and it is older than `backup_days`.
    """
    found = []
    for path in sorted(folder.iterdir()):
        if (path / MANIFEST).is_file():
            found.append((path, Manifest.read(path)))
    found.sort(key=lambda one: one[1].created_ms)
    database = Database(settings.effective_database_url)
    try:
        erased = _last_erasure(LogReader(database), min((one.size for _, one in found), default=0))
    finally:
        database.close()
    too_old = now_ms - settings.backup_days * _DAY_MS
    return [(path, one, one.size <= erased and one.created_ms < too_old) for path, one in found]


def _last_erasure(reader: LogReader, start: int) -> int:
    """Index of the newest erasure at or after `start`, -1 when there is none."""
    newest = -1
    end = reader.state().size
    for first in range(start, end, 5_000):
        for index, encoded in reader.entries(range(first, min(first + 5_000, end))).items():
            if Entry.parse(encoded).typ == ERASURE:
                newest = max(newest, index)
    return newest


def _keys(places: DataDirectory, target: Path) -> Iterator[FileNote]:
    """Key files as they are, all encrypted; what is not encrypted, the passphrase above all, is left out."""
    (target / "keys").mkdir(mode=0o700)
    for path in sorted(places.keys.iterdir()):
        if path.is_file() and path.read_bytes().startswith(_SEALED):
            write_private(target / "keys" / path.name, path.read_text(encoding="utf-8"))
            yield note_of(target, f"keys/{path.name}")


def _attachments(folder: Path, target: Path, bars: Bars) -> Iterator[FileNote]:
    """Attachments, hard-linked where that works: their names are their hashes, and nobody writes into them."""
    (target / "attachments").mkdir(mode=0o700)
    files = [path for path in sorted(folder.glob("??/*")) if not path.name.startswith(".")]
    advance = bars.task("附件 attachments", len(files))
    for path in files:
        name = f"attachments/{path.parent.name}/{path.name}"
        try:
            _link(path, target / name)
        except FileNotFoundError:  # erased meanwhile
            continue
        note = note_of(target, name)
        if note.sha256 != path.name:
            raise LogHalted("state-disagrees", {"row": f"attachment {path.name}", "found": note.sha256})
        advance(1)
        yield note


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # another file system
        _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file, source.open("rb") as original:
        shutil.copyfileobj(original, file, 1 << 20)
        file.flush()
        os.fsync(file.fileno())


def _require_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingsError(f"{folder} is not empty; nothing is written over something else")


def _require_newest(manifest: Manifest, known: StateFile | None) -> None:
    """The state file given must say that the backup is where the log was. Raises LogHalted `rollback`."""
    if known is None:
        return
    said = known.known()
    if said is None:
        raise SettingsError(f"{known.path}: there is no such state file")
    if said.status != "signing" or said.note != manifest.checkpoint:
        place: dict[str, object] = {"state_file": str(known.path), "status": said.status}
        sizes: dict[str, object] = {"backup_size": manifest.size, "known_size": said.checkpoint.size}
        raise LogHalted("rollback", {**place, **sizes})


def _fill(manifest: Manifest, source: Path, making: Path, settings: Settings, bars: Bars) -> None:
    """Fill the database and verify all of it."""
    policy = Policy.parse((making / "policy").read_bytes())
    identity = DataDirectory(making).identity(settings)
    log_key = policy.log_key(manifest.origin)
    if log_key is None or identity.origin != manifest.origin:
        raise ProofError("the policy of the backup does not name its log", where="policy")
    embedded = not settings.database_url
    database = Database(f"sqlite:///{(making / 'ledger.db').absolute()}" if embedded else settings.database_url)
    try:
        database.create_all()
        if not is_empty(database):
            raise SettingsError("the database holds a log already")
        read_tables(database, source, manifest, bars.task("数据行 rows", sum(note.rows for note in manifest.files)))
        reader = LogReader(database, manifest.log_id)
        if reader.checkpoint() != manifest.checkpoint:
            raise ProofError("the checkpoint of the tables is not the manifest's", where="log_state")
        rebuild_ledger(reader, log_key, bars.measured("树与链 tree and chains"))
        _rebuild_index(database, manifest)
        _verify(reader, log_key, [witness.key for witness in policy.witnesses])
        templates, names = load_templates(), Names(identity.public_host)
        rebuild(reader, templates, names, policy.registrars, bars.measured("重放 replayed"))
        _check_attachments(making / "attachments", manifest.files)
    finally:
        database.close()
    if embedded:
        (making / "ledger.db").chmod(0o600)
        with contextlib.suppress(FileNotFoundError):
            (making / "ledger.db-writer").unlink()


def _rebuild_index(database: Database, manifest: Manifest) -> None:
    # The index is only read and rebuilt here; a key that nobody trusts makes sure that nothing is signed.
    log = Log(database, NoteSigner(manifest.origin, Ed25519PrivateKey.generate()), lambda: 0, manifest.log_id)
    with database.write() as connection:
        try:
            Indexer(log).rebuild(connection)
        except ValueError as error:
            raise ProofError(str(error), where="lot index") from error


def _verify(reader: LogReader, log_key: VerifierKey, witnesses: Sequence[VerifierKey]) -> None:
    for step in Rehash(reader, log_key, witnesses).steps():
        for one in step.damaged:
            raise ProofError(f"expected {one.expected}, found {one.found}", where=one.row)


def _check_attachments(folder: Path, notes: Iterable[FileNote]) -> None:
    for note in notes:
        if note.path.startswith("attachments/"):
            path = folder.parent / note.path
            if file_digest(path)[0] != path.name:
                raise ProofError("an attachment is not what its name says", where=note.path)
