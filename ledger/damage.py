"""Naming rows that are not what they must be, and the steps in which they are looked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import Connection, Table, select
from sqlalchemy.exc import SQLAlchemyError

from .database import Database, DatabaseUnavailable
from .errors import ProofError


@dataclass(frozen=True)
class Damage:
    """A row that is not what it must be: `key` are the columns and values that find it."""

    table: str
    key: tuple[tuple[str, object], ...]
    expected: str
    found: str

    @property
    def row(self) -> str:
        """The row's name: `entry index=5`."""
        named = " ".join(f"{name}={value.hex() if isinstance(value, bytes) else value}" for name, value in self.key)
        return f"{self.table} {named}".rstrip()

    def __str__(self) -> str:
        return f"{self.row}: expected {self.expected}, found {self.found}"


def damage(table: Table | str, expected: str, found: str, **key: object) -> Damage:
    """A `Damage` of `table`."""
    return Damage(table if isinstance(table, str) else table.name, tuple(key.items()), expected, found)


@dataclass(frozen=True)
class Step:
    """What one step looked at, in rows, and what it found."""

    rows: int
    damaged: tuple[Damage, ...]


Look: TypeAlias = Callable[[Connection, list[Damage]], int]
"""Looks at rows through a snapshot, adds what is wrong to the list, returns how many rows it looked at."""


def look(database: Database, table: str, looking: Look) -> Step:
    """One step through a snapshot of its own; rows that the database cannot read are damage of `table`.

    Raises DatabaseUnavailable.
    """
    found: list[Damage] = []
    try:
        with database.read() as connection:
            rows = looking(connection, found)
    except DatabaseUnavailable:
        raise
    except (SQLAlchemyError, LookupError, ProofError, ValueError, TypeError, AttributeError, OverflowError) as error:
        rows = 1
        found.append(damage(table, "rows that can be read", str(error).partition("\n")[0][:300]))
    return Step(rows, tuple(found))


def rows_of(connection: Connection, log_id: int, table: Table, *where: Any) -> list[Any]:
    """The rows of a log in `table` for which all of `where` is true."""
    return list(connection.execute(select(table).where(table.c.log_id == log_id, *where)))
