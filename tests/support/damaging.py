"""Making damage: flipped cells and bytes, small file systems; all from a seed, so that a run can be repeated."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, and_, func, select, update
from sqlalchemy.exc import DBAPIError

from suyuan.ledger.damage import Damage
from suyuan.ledger.database import Database, DatabaseUnavailable


@dataclass(frozen=True)
class Flip:
    """One cell that was changed: the row as it was and as it is."""

    table: Table
    before: dict[str, Any]
    after: dict[str, Any]

    def named_by(self, found: Sequence[Damage]) -> bool:
        """Whether one of `found` names this row, by what it was called before or is called now."""
        return any(self._is(one) for one in found)

    def _is(self, one: Damage) -> bool:
        # Either of the two notes of a field's visibility may be the one that changed.
        if one.table != self.table.name and {one.table, self.table.name} != {"disclosure", "disclosure_classes"}:
            return False
        for name, value in one.key:
            if name in self.before and value not in (self.before[name], self.after[name]):
                return False
        return True

    def __str__(self) -> str:
        changed = {name: (self.before[name], self.after[name]) for name in self.before if self._changed(name)}
        return f"{self.table.name} {[self.before[c.name] for c in self.table.primary_key]}: {changed}"

    def _changed(self, name: str) -> bool:
        return bool(self.before[name] != self.after[name])


def flip_cell(database: Database, table: Table, chance: random.Random) -> Flip | None:
    """Change one bit of one cell of a random row and commit it; None when the database does not allow this one."""
    try:
        with database.write() as connection:
            if database.dialect == "sqlite":
                connection.exec_driver_sql("PRAGMA ignore_check_constraints=ON")
            row = _random_row(connection, table, chance)
            if row is None:
                return None
            column = chance.choice(list(table.columns))
            value = _flipped(row[column.name], column.type.python_type, chance)
            if value is None or value == row[column.name]:
                return None
            _write(connection, table, row, {column.name: value})
            return Flip(table, row, {**row, column.name: value})
    except (DBAPIError, DatabaseUnavailable):  # a constraint: the engine refuses this value
        return None


def undo(database: Database, flip: Flip) -> None:
    """Put the cell back."""
    with database.write() as connection:
        if database.dialect == "sqlite":
            connection.exec_driver_sql("PRAGMA ignore_check_constraints=ON")
        _write(connection, flip.table, flip.after, flip.before)


def _random_row(connection: Connection, table: Table, chance: random.Random) -> dict[str, Any] | None:
    count = connection.execute(select(func.count()).select_from(table)).scalar_one()
    if not count:
        return None
    query = select(table).order_by(*table.primary_key.columns).offset(chance.randrange(count)).limit(1)
    return dict(connection.execute(query).mappings().one())


def _write(connection: Connection, table: Table, row: dict[str, Any], values: dict[str, Any]) -> None:
    here = and_(*(column == row[column.name] for column in table.primary_key.columns))
    changed = connection.execute(update(table).where(here).values({table.c[name]: v for name, v in values.items()}))
    assert changed.rowcount == 1


def _flipped(value: Any, kind: type, chance: random.Random) -> Any:
    if value is None:
        return {int: 1, str: "x", bytes: b"x"}[kind]
    if isinstance(value, int):
        return value ^ (1 << chance.randrange(40))
    if isinstance(value, bytes):
        if not value:
            return b"\x00"
        place = chance.randrange(len(value))
        return value[:place] + bytes((value[place] ^ (1 << chance.randrange(8)),)) + value[place + 1 :]
    places = [place for place, character in enumerate(value) if " " < character < "\x7f"]
    if not places:
        return value + "x"
    place = chance.choice(places)
    character = chr(ord(value[place]) ^ (1 << chance.randrange(5)))
    return None if character == "\x7f" else value[:place] + character + value[place + 1 :]


@dataclass
class SmallDisk:
    """A tmpfs of a few megabytes: fills up quickly, and is empty again when its ballast goes."""

    path: Path

    @property
    def free(self) -> int:
        """Bytes that are left."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self, leave: int = 0) -> None:
        """Take all space but `leave` bytes."""
        with (self.path / "ballast").open("ab") as ballast:
            os.posix_fallocate(ballast.fileno(), ballast.seek(0, os.SEEK_END), max(1, self.free - leave))

    def make_room(self) -> None:
        """Give the space back."""
        (self.path / "ballast").unlink()

    def unmount(self) -> None:
        """Lazily: what still holds files there lets go when it ends."""
        subprocess.run(["umount", "-l", self.path], check=True)


def mount_small_disk(path: Path, megabytes: int = 24) -> SmallDisk:
    """Mount one at `path`; subprocess.CalledProcessError when that is not allowed."""
    path.mkdir()
    options = f"size={megabytes}m,mode=0777"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return SmallDisk(path)
