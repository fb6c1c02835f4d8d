"""Alarms about witnesses as an operator looks at them in a terminal, and closes those that were dealt with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from ..ledger.cosignatures import Alarm, Cosignatures
from ..ledger.database import Database
from .clock import wall_clock_ms
from .data_directory import DataDirectory
from .settings import Settings, SettingsError


def alarm_id(alarm: Alarm) -> str:
    """A short name for an alarm: the same for as long as it is about the same witness, kind and size."""
    named = f"{alarm.name}\n{alarm.key_id.hex()}\n{alarm.kind}\n{alarm.size}\n"
    return hashlib.sha256(named.encode("utf-8")).hexdigest()[:8]


def list_alarms(settings: Settings, *, everything: bool = False) -> tuple[list[str], int]:
    """The alarms of a data directory as lines, newest first, and how many of them are open. Raises SettingsError."""
    with _cosignatures(settings) as store:
        found = store.alarms(open_only=not everything)
    still_open = sum(alarm.cleared_ms is None for alarm in found)
    lines = [line for alarm in found for line in _lines(alarm)]
    return (lines or ["没有警报 no alarms"]), still_open


def clear_alarms(settings: Settings, ids: Sequence[str]) -> list[str]:
    """Close open alarms by their ids; the ids. Raises SettingsError, before any is closed, for one that is not open."""
    if not ids:
        return []
    with _cosignatures(settings) as store:
        by_id = {alarm_id(alarm): alarm for alarm in store.alarms()}
        if unknown := [one for one in ids if one not in by_id]:
            raise SettingsError(f"there is no open alarm {', '.join(unknown)}")
        for one in ids:
            store.clear_alarm(by_id[one], wall_clock_ms())
    return list(ids)


@contextmanager
def _cosignatures(settings: Settings) -> Iterator[Cosignatures]:
    DataDirectory(settings.data_dir).identity(settings)
    with Database(settings.effective_database_url) as database:
        database.create_all()
        yield Cosignatures(database)


def _lines(alarm: Alarm) -> Iterator[str]:
    halts = "  HALTS 账本暂停签署" if alarm.halts and alarm.cleared_ms is None else ""
    yield f"{alarm_id(alarm)}  {alarm.name}+{alarm.key_id.hex()}  {alarm.kind}  {alarm.size}{halts}"
    until = "" if alarm.cleared_ms is None else f"  已了结 closed {_time(alarm.cleared_ms)}"
    yield f"  {_time(alarm.first_ms)} - {_time(alarm.last_ms)}{until}"
    if alarm.detail:
        yield f"  {_printable(alarm.detail)}"
    for label, note in (("我方 ours", alarm.own_note), ("对方 theirs", alarm.shown_note)):
        if note:
            yield f"  {label}:"
            yield from (f"    {_printable(line)}" for line in note.rstrip("\n").split("\n"))


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _printable(text: str) -> str:
    """Whatever a hostile witness answered moves no cursor."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
