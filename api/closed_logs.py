"""Closing a log, starting its successor, and serving what is on the closed ones beside the new one.

A closed log keeps its data directory, which `suyuan serve` goes on serving if asked. Its successor is a data directory
of its own: own key, own origin, own database, since a service, its keys and its backups are those of one directory. A
link `closed/<name>` in it leads to each closed one, whose tiles are served under `/log/<name>/...` and whose lots,
receipts and bundles are found where they were: URIs do not change when a log does. Policies hold the final checkpoint,
so none of that needs a witness that still lives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ..ledger.checkpoint import Checkpoint
from ..ledger.database import Database
from ..ledger.errors import ProofError, StaleWriter
from ..ledger.indexer import Indexer
from ..ledger.log import Log
from ..ledger.policy import Policy
from ..ledger.reader import LogReader
from ..ledger.state_file import replace_file
from ..ledger.strict_json import dump_json
from ..trace.bundling import Bundle
from ..trace.grounds import Grounds
from ..trace.history import History
from ..trace.naming import Names
from ..trace.story import Story
from ..trace.template import Templates
from ..trace.viewer import Viewer
from .data_directory import DataDirectory, NewDirectory, init_data_directory, write_private
from .settings import Settings, SettingsError, load_settings

_T = TypeVar("_T")

RESERVED = frozenset({"tile", "key", "checkpoint", "policy"})
"""What follows `/log/` for the log that is written to."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,63}")


@dataclass(frozen=True)
class ClosedLog:
    """An earlier log whose records are still served; `name` stands in `/log/<name>/...`."""

    name: str
    vkey: str
    database: Database
    reader: LogReader
    history: History


class HistoryWithEarlier(History):
    """What happened to a lot, on the log that is written to or else on an earlier one, the newest first."""

    def __init__(
        self,
        database: Database,
        log: LogReader,
        templates: Templates,
        names: Names,
        policy: Callable[[], Policy],
        earlier: Sequence[History],
    ) -> None:
        super().__init__(database, log, templates, names, policy)
        self._earlier = earlier

    def told(self, uri: str, viewer: Viewer) -> tuple[Story, Grounds] | None:
        """As `History.told`."""
        return super().told(uri, viewer) or self._first(lambda one: one.told(uri, viewer))

    def bundle(self, uri: str, viewer: Viewer) -> Bundle | None:
        """As `History.bundle`."""
        return super().bundle(uri, viewer) or self._first(lambda one: one.bundle(uri, viewer))

    def lot_told(self, uri: str, viewer: Viewer) -> tuple[dict[str, Any], Grounds] | None:
        """As `History.lot_told`."""
        return super().lot_told(uri, viewer) or self._first(lambda one: one.lot_told(uri, viewer))

    def trace(self, uri: str, direction: str, depth: int, viewer: Viewer) -> dict[str, Any] | None:
        """As `History.trace`."""
        found = super().trace(uri, direction, depth, viewer)
        return found or self._first(lambda one: one.trace(uri, direction, depth, viewer))

    def export(self, actor: str) -> Iterator[dict[str, Any]]:
        """As `History.export`, the earlier logs first; indices are those of each log."""
        for one in reversed(self._earlier):
            yield from one.export(actor)
        yield from super().export(actor)

    def _first(self, ask: Callable[[History], _T | None]) -> _T | None:
        return next((found for one in self._earlier if (found := ask(one)) is not None), None)


def open_closed_logs(
    places: DataDirectory, policy: Policy, templates: Templates, names: Names
) -> tuple[ClosedLog, ...]:
    """The closed logs that `places` leads to, the newest first. Raises SettingsError when one cannot be opened."""
    found: list[tuple[int, ClosedLog]] = []
    for link in sorted(places.closed.iterdir()) if places.closed.is_dir() else ():
        settings = load_settings({}, data_dir=link.resolve())
        origin = DataDirectory(settings.data_dir).identity(settings).origin
        key, final = policy.log_key(origin), policy.finals.get(origin)
        if key is None or final is None or link.name in RESERVED or not _NAME.fullmatch(link.name):
            raise SettingsError(f"{link}: the policy has no key and final checkpoint of {origin}, or the name is taken")
        database = Database(settings.effective_database_url)
        reader = LogReader(database)
        state = reader.state()
        if (state.origin, state.size, state.root) != (final.origin, final.size, final.root):
            database.close()
            raise SettingsError(f"{link}: the log is not what its final checkpoint says")
        history = History(database, reader, templates, names, lambda: policy)
        found.append((state.time_ms, ClosedLog(link.name, key.vkey(), database, reader, history)))
    return tuple(closed for _, closed in sorted(found, key=lambda pair: -pair[0]))


def close_log(log: Log, places: DataDirectory) -> Checkpoint:
    """Publish the last lot index, close the log, and pin its final checkpoint in the policy. May be repeated.

    Works while the service runs: whatever it was about to append is refused from then on; started again, it serves what
    there is. Raises what an append raises, SettingsError for a policy that says otherwise.
    """
    for _ in range(1000):  # others may append in between, each time fewer of them
        if not log.state().closed:
            Indexer(log).publish()
        try:
            final = log.close(log.state().size)
            break
        except StaleWriter:
            continue
    else:
        raise StaleWriter("the log kept growing; stop the service first")
    pin_final(places, final)
    return final


def pin_final(places: DataDirectory, final: Checkpoint) -> None:
    """Write the `final` line into the policy file; all its other lines stay as they are."""
    text = places.policy.read_text(encoding="utf-8")
    pinned = Policy.parse(text).finals.get(final.origin)
    if pinned is None:
        line = f"#suyuan final {' '.join(final.text().split())}\n"
        Policy.parse(text + line)
        replace_file(places.policy, text + line)
    elif pinned != final:
        raise SettingsError(f"{places.policy} pins another final checkpoint of {final.origin}")


def init_successor(settings: Settings, predecessor: Settings, clock: Callable[[], int], name: str = "") -> NewDirectory:
    """Make the data directory of `settings` for a new log that follows the closed one of `predecessor`.

    The identity host is the same; so are, unless another registrar is given, the registrars, and witnesses and quorum.
    Actors register their keys anew: registrations are per log (formats section 3). Raises SettingsError.
    """
    before = DataDirectory(predecessor.data_dir)
    identity = before.identity(predecessor)
    try:
        old = Policy.parse(before.policy.read_text(encoding="utf-8"))
    except (OSError, ProofError) as error:
        raise SettingsError(f"{before.policy}: {error}") from error
    if identity.origin not in old.finals:
        raise SettingsError(f"{identity.origin} is not closed; close it first with `suyuan log close`")
    name = name or identity.origin.rpartition("/")[2]
    if name in RESERVED or not _NAME.fullmatch(name):
        raise SettingsError(f"{name!r} cannot stand in /log/<name>/; choose another name for the closed log")
    origin = settings.origin or _next_origin(identity.origin)
    if origin in {log.key.name for log in old.logs}:
        raise SettingsError(f"{origin} is the origin of an earlier log; a new log has a new one")
    if settings.public_host not in ("", identity.public_host):
        raise SettingsError(f"the identity host stays {identity.public_host}: URIs do not change when a log does")
    chosen = {"public_host": identity.public_host, "origin": origin}
    with _registrar_of(settings, old, before) as registrar:
        made = init_data_directory(settings.model_copy(update={**chosen, **registrar}), clock)
    places = DataDirectory(settings.data_dir)
    _take_over(places, old)
    places.closed.mkdir(mode=0o700)
    earlier = {link.name: link.resolve() for link in before.closed.iterdir()} if before.closed.is_dir() else {}
    for closed, path in {**earlier, name: before.root.resolve()}.items():
        (places.closed / closed).symlink_to(path, target_is_directory=True)
    return made


def _take_over(places: DataDirectory, old: Policy) -> None:
    """The new log's policy with everything of the old one's: logs, finals, witnesses, registrars with their windows."""
    new = Policy.parse(places.policy.read_text(encoding="utf-8"))
    known = {registrar.kid for registrar in old.registrars}
    both = replace(
        old,
        logs=(*new.logs, *old.logs),
        registrars=(*old.registrars, *(one for one in new.registrars if one.kid not in known)),
    )
    text = both.text()
    Policy.parse(text)
    replace_file(places.policy, text)


@contextmanager
def _registrar_of(settings: Settings, old: Policy, before: DataDirectory) -> Iterator[Mapping[str, Any]]:
    """The registrar for the new directory: what is given, else the newest of the old policy, who keeps the key."""
    if settings.registrar_key is not None or settings.registrar_jwk is not None or not old.registrars:
        yield {}
        return
    path = before.root / ".registrar.jwk"
    path.unlink(missing_ok=True)
    write_private(path, dump_json(old.registrars[-1].public.jwk).decode())
    with ExitStack() as stack:
        stack.callback(path.unlink)
        yield {"registrar_jwk": path}


def _next_origin(origin: str) -> str:
    """`trace.example.cn/520300` -> `trace.example.cn/520300-2` -> `trace.example.cn/520300-3`."""
    match = re.fullmatch(r"(.+)-([0-9]{1,4})", origin)
    return f"{match[1]}-{int(match[2]) + 1}" if match else f"{origin}-2"
