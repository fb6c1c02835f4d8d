"""Many rows in one statement: what a group commit writes, at the speed of each engine.

SQLite takes rows through prepared statements of one row and of many: with many at once a row costs half as much, and
the interpreter's lock is let go once for all of them. PostgreSQL takes whole columns as binary arrays (`unnest`), three
times faster than a statement a row, and unlike COPY it serves updates too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from typing import Any

from sqlalchemy import Connection, Table, select, tuple_
from sqlalchemy.exc import DBAPIError

Row = Sequence[Any]

_AT_ONCE = 256
"""Keys of one query: far below every engine's limit."""
_ROWS_AT_ONCE = 32
"""Rows of one INSERT on SQLite."""


def fetch(connection: Connection, text: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
    """The rows of a query given as text with a `?` for each of `values`.

    A fifth of what the same query costs when it is composed and compiled: for the handful that every commit asks. On
    SQLite it goes to the driver at once, another fourth, unless somebody listens to what SQLAlchemy executes.
    """
    if connection.dialect.name == "postgresql":
        text = text.replace("?", "%s")
    elif not connection.dispatch.before_cursor_execute:
        with _sqlite_cursor(connection) as cursor:
            found: Sequence[Sequence[Any]] = cursor.execute(text, values).fetchall()
        return found
    return connection.exec_driver_sql(text, tuple(values)).fetchall()


@contextmanager
def _sqlite_cursor(connection: Connection) -> Iterator[Any]:
    """A cursor of SQLite's driver, within the transaction of `connection`; raises what SQLAlchemy would raise."""
    cursor = connection.connection.cursor()
    driver: Any = connection.dialect.dbapi
    try:
        yield cursor
    except driver.Error as error:
        raise DBAPIError.instance(None, None, error, driver.Error, dialect=connection.dialect) from error
    finally:
        cursor.close()


def select_rows(
    connection: Connection,
    table: Table,
    columns: Sequence[str],
    key: Sequence[str],
    keys: Sequence[Sequence[Any]],
    fixed: Mapping[str, Any],
) -> Iterator[Sequence[Any]]:
    """The given `columns` of the rows that have one of `keys` in the columns `key`, and the values `fixed`."""
    for start in range(0, len(keys), _AT_ONCE):
        some = keys[start : start + _AT_ONCE]
        if connection.dialect.name == "postgresql":
            found = tuple_(*(table.c[name] for name in key)).in_([tuple(one) for one in some])
            query = select(*(table.c[name] for name in columns)).where(
                found, *(table.c[name] == value for name, value in fixed.items())
            )
            yield from connection.execute(query)
            continue
        # The last key stands again in the empty places: a few texts serve all numbers of keys, each prepared once.
        places = 1 << (len(some) - 1).bit_length()
        values = [value for one in some for value in one] + list(some[-1]) * (places - len(some))
        text = _select(connection, table, tuple(columns), tuple(key), places, tuple(fixed))
        yield from fetch(connection, text, [*fixed.values(), *values])


def _select(
    connection: Connection,
    table: Table,
    columns: tuple[str, ...],
    key: tuple[str, ...],
    places: int,
    fixed: tuple[str, ...],
) -> str:
    known = (table.name, columns, key, places, fixed)
    text = _SELECTS.get(known)
    if text is None:
        quote = connection.dialect.identifier_preparer.quote
        conditions = [f"{quote(name)} = ?" for name in fixed]
        if len(key) == 1:
            conditions.append(f"{quote(key[0])} IN ({', '.join('?' * places)})")
        else:
            one = f"({', '.join('?' * len(key))})"
            conditions.append(f"({', '.join(map(quote, key))}) IN (VALUES {', '.join([one] * places)})")
        names = ", ".join(map(quote, columns))
        text = _SELECTS[known] = f"SELECT {names} FROM {quote(table.name)} WHERE {' AND '.join(conditions)}"
    return text


_SELECTS: dict[tuple[Any, ...], str] = {}


def insert_rows(connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Insert `rows`, each with one value for each of `columns`, in order. Values are int, str, bytes or None."""
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        quote = connection.dialect.identifier_preparer.quote
        into = f"INSERT INTO {quote(table.name)} ({', '.join(map(quote, columns))})"
        connection.exec_driver_sql(f"{into} SELECT * FROM {_unnest(connection, table, columns)}", _arrays(rows))
        return
    one, many = _insert(table, tuple(columns))
    whole = len(rows) - len(rows) % _ROWS_AT_ONCE
    with _sqlite_cursor(connection) as cursor:
        for start in range(0, whole, _ROWS_AT_ONCE):
            cursor.execute(many, list(chain.from_iterable(rows[start : start + _ROWS_AT_ONCE])))
        if whole < len(rows):
            cursor.executemany(one, rows[whole:])


@lru_cache(maxsize=256)
def _insert(table: Table, columns: tuple[str, ...]) -> tuple[str, str]:
    """SQLite's INSERT of one row, and of `_ROWS_AT_ONCE`."""
    into = f"INSERT INTO {_quoted(table.name)} ({', '.join(map(_quoted, columns))}) VALUES "
    row = f"({', '.join('?' * len(columns))})"
    return into + row, into + ", ".join([row] * _ROWS_AT_ONCE)


@lru_cache(maxsize=256)
def _update(table: Table, key: tuple[str, ...], columns: tuple[str, ...]) -> str:
    """SQLite's UPDATE of the row found by `key`: values of `columns` first."""
    sets = ", ".join(f"{_quoted(column)} = ?" for column in columns)
    where = " AND ".join(f"{_quoted(column)} = ?" for column in key)
    return f"UPDATE {_quoted(table.name)} SET {sets} WHERE {where}"


def _quoted(name: str) -> str:
    """A name of ours as an SQL identifier."""
    return f'"{name}"'


def update_rows(
    connection: Connection, table: Table, key: Sequence[str], columns: Sequence[str], rows: Sequence[Row]
) -> int:
    """Set `columns` in the rows found by `key`; each of `rows` has the key's values first.

    Returns how many rows were found.
    """
    if not rows:
        return 0
    if connection.dialect.name == "postgresql":
        quote = connection.dialect.identifier_preparer.quote
        name = quote(table.name)
        given = [*key, *columns]
        names = ", ".join(f"c{number}" for number in range(len(given)))
        sets = ", ".join(f"{quote(column)} = given.c{len(key) + number}" for number, column in enumerate(columns))
        where = " AND ".join(f"{name}.{quote(column)} = given.c{number}" for number, column in enumerate(key))
        source = f"{_unnest(connection, table, given)} AS given({names})"
        return connection.exec_driver_sql(
            f"UPDATE {name} SET {sets} FROM {source} WHERE {where}", _arrays(rows)
        ).rowcount
    turned = [(*row[len(key) :], *row[: len(key)]) for row in rows]
    with _sqlite_cursor(connection) as cursor:
        return int(cursor.executemany(_update(table, tuple(key), tuple(columns)), turned).rowcount)


def _unnest(connection: Connection, table: Table, columns: Sequence[str]) -> str:
    types = [table.c[column].type.compile(connection.dialect) for column in columns]
    return f"unnest({', '.join(f'%b::{type_}[]' for type_ in types)})"


def _arrays(rows: Sequence[Row]) -> tuple[list[Any], ...]:
    return tuple(list(column) for column in zip(*rows, strict=True))
