"""Logistic units of this service: SSCCs drawn once and never again, and what a case or pallet holds.

A run of SSCCs is a row under its first number; no two runs of a prefix and extension digit overlap, whoever draws them,
in whatever process. Numbers that stand on the ledger without having been drawn here are passed over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select

from ..ledger.database import Database
from ..ledger.errors import Refusal
from ..qr import sscc
from ..trace import tables
from ..trace.genealogy import find_node
from ..trace.naming import Names
from ..trace.unit_contents import UnitContents, unit_contents
from .tables import sscc_run

MOST_DRAWN = 100_000
"""SSCCs drawn at a time."""


@dataclass(frozen=True)
class Run:
    """SSCCs in a row: `count` serial references from `first`."""

    prefix: str
    extension: int
    first: int
    count: int
    created_ms: int

    def numbers(self) -> list[str]:
        """The SSCCs."""
        return [sscc.make(self.prefix, self.extension, self.first + n) for n in range(self.count)]

    def document(self) -> dict[str, Any]:
        """In short, as JSON values."""
        ends = (self.first, self.first + self.count - 1)
        first, last = (sscc.make(self.prefix, self.extension, one) for one in ends)
        return {
            "prefix": self.prefix, "extension": self.extension, "count": self.count, "first": first, "last": last,
            "created_ms": self.created_ms,
        }  # fmt: skip


class LogisticUnits:
    """The SSCCs that this service gave out, and the units on its ledger."""

    def __init__(self, database: Database, names: Names, clock: Callable[[], int], log_id: int) -> None:
        self._database = database
        self._names = names
        self._clock = clock
        self._log_id = log_id

    # ------------------------------------------------------------ drawing

    def draw(self, actor: str, prefix: str, extension: int, count: int) -> Run:
        """The next `count` SSCCs under a company prefix of the actor's.

        Raises Refusal `sscc-form`, `sscc-prefix` (no product of the actor's has it), `sscc-exhausted`.
        """
        if not sscc.is_prefix(prefix) or not 0 <= extension <= 9 or not 1 <= count <= MOST_DRAWN:
            raise _refuse("sscc-form", "厂商识别代码、扩展位或数量不对", "prefix, extension or count is none",
                          f"prefix of 4-12 digits, extension 0-9, count 1-{MOST_DRAWN}")  # fmt: skip
        return self._database.retrying(lambda: self._draw(actor, prefix, extension, count))

    def _draw(self, actor: str, prefix: str, extension: int, count: int) -> Run:
        table = sscc_run.c
        with self._database.write() as connection:
            self._lock(connection)
            if not self._holds(connection, actor, prefix):
                raise Refusal(
                    "sscc-prefix", field="/prefix", zh=f"您没有以 {prefix} 为厂商识别代码的商品",
                    en=f"no product of yours has the company prefix {prefix}", status_hint="forbidden",
                    expected="a prefix that a GTIN of yours begins with, after its first digit",
                )  # fmt: skip
            query = select(func.max(table.first + table.count)).where(
                table.prefix == prefix, table.extension == extension
            )
            first = max(int(connection.execute(query).scalar_one() or 0), self._used(connection, prefix, extension))
            if first + count > sscc.capacity(prefix):
                raise _refuse("sscc-exhausted", "这个扩展位的序列参考号不够了", "too few numbers are left",
                              "another extension digit")  # fmt: skip
            created_ms = self._clock()
            row = {"prefix": prefix, "extension": extension, "first": first, "count": count, "actor": actor,
                   "created_ms": created_ms}  # fmt: skip
            connection.execute(insert(sscc_run).values(row))
            return Run(prefix, extension, first, count, created_ms)

    @staticmethod
    def _lock(connection: Connection) -> None:
        """Nobody else draws until this transaction ends; SQLite has one writer anyhow."""
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("LOCK TABLE sscc_run IN EXCLUSIVE MODE")

    def _holds(self, connection: Connection, actor: str, prefix: str) -> bool:
        table = tables.registration.c
        query = select(table.about).where(
            table.log_id == self._log_id, table.actor == actor, table.status == "active", table.about.like("product/%")
        )
        return any(about[len("product/") + 1 :].startswith(prefix) for about in connection.execute(query).scalars())

    def _used(self, connection: Connection, prefix: str, extension: int) -> int:
        """The serial reference after the highest that stands on the ledger."""
        low = f"00/{extension}{prefix}"
        query = select(func.max(tables.node.c.subject)).where(
            tables.node.c.log_id == self._log_id, tables.node.c.subject.like(f"{low}%")
        )
        highest = connection.execute(query).scalar_one_or_none()
        return 0 if highest is None else sscc.reference_of(highest.removeprefix("00/"), prefix) + 1

    def runs(self, actor: str) -> list[Run]:
        """What the actor has drawn, oldest first."""
        table = sscc_run.c
        query = select(sscc_run).where(table.actor == actor).order_by(table.created_ms, table.prefix, table.first)
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        names = ("prefix", "extension", "first", "count", "created_ms")
        return [Run(**{name: row[name] for name in names}) for row in rows]

    # ------------------------------------------------------------ reading

    def contents(self, number: str) -> UnitContents | None:
        """What the unit with this SSCC holds and lies in; None where nobody has packed it."""
        with self._database.read() as connection:
            node = find_node(connection, self._log_id, f"00/{number}")
            return None if node is None else unit_contents(connection, self._log_id, self._names, node["id"])


def _refuse(rule: str, zh: str, en: str, expected: str) -> Refusal:
    return Refusal(rule, field="", zh=zh, en=en, expected=expected, status_hint="unprocessable")
