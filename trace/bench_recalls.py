"""How long it takes until a recall that reaches 100,000 lots is in force and told: `suyuan bench trace`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

from ..ledger.bench import Row
from ..ledger.bulk import insert_rows
from ..ledger.database import Database
from . import tables
from .bench_postgres import throwaway_postgres
from .naming import Names
from .recall_progress import preview, progress_document, recall_progress, recall_row
from .recalls import Recalls
from .template import Templates, load_templates
from .viewer import Viewer

LOTS, QUICK = 100_000, 2_000
AIM_S = 10.0
_MAKER, _HOLDER, _OFFICE = "BENCHMAKER", "BENCHHOLDER", "BENCHOFFICE"
_SPREAD = 10
"""Lots that each lot is made into."""
_BODY = {
    "id": "BENCH", "status": "open", "level": "I", "exercise": False, "reason": {"zh": "测", "en": "bench"},
    "measures": {"zh": "测", "en": "bench"}, "scope": {"kind": "lot"}, "issued": "2026-01-01T00:00:00+08:00",
}  # fmt: skip


def recall(quick: bool, folder: Path) -> list[Row]:
    """A recall of one lot that was made into many, held by two, on both engines: looked at, in force, told."""
    lots = QUICK if quick else LOTS
    rows: list[Row] = []
    with throwaway_postgres() as url:
        for engine, address in (("SQLite", f"sqlite:///{folder / 'recall.db'}"), ("PostgreSQL", url)):
            if address is None:
                rows.append(Row("a recall on PostgreSQL: no server can be started here", 0.0, None, None, "s"))
                continue
            database = Database(address)
            try:
                load(database, lots)
                rows += _measured(database, engine, lots)
            finally:
                database.close()
    return rows


def load(database: Database, lots: int) -> None:
    """Writes a tree of lots into the derived tables, past every check: for measuring only."""
    database.create_all()
    with database.write() as connection:
        columns = [column.name for column in tables.node.columns]
        given = {"kind": "lot", "log_id": 1, "maker": _MAKER, "quantity_micro": 10**6, "uom": "KGM"}
        insert_rows(
            connection, tables.node, columns,
            [tuple({**given, "id": node, "subject": f"lot/{_MAKER}/{node:016d}"}.get(name) for name in columns)
             for node in range(1, lots + 2)],
        )  # fmt: skip
        columns = [
            "log_id",
            "entry",
            "position",
            "node_id",
            "part",
            "process_id",
            "quantity_micro",
            "uom",
            "visibility",
        ]
        insert_rows(connection, tables.event_node, columns, list(_flows(lots)))
        held = [(node, _MAKER if node % 2 else _HOLDER, 10**6) for node in range(2, lots + 2)]
        insert_rows(connection, tables.holding, ["node_id", "actor", "amount_micro"], held)
    with database.outside_transactions() as run:
        run("VACUUM ANALYZE" if database.dialect == "postgresql" else "ANALYZE")


def _flows(lots: int) -> Iterator[tuple[object, ...]]:
    """Lot 1 is made into lots 2 to 11, lot 2 into 12 to 21, and so on."""
    for process in range(1, lots // _SPREAD + 1):
        yield (1, process, 0, process, "input", process, 10**6, "KGM", "public")
        first = (process - 1) * _SPREAD + 2
        for position in range(1, _SPREAD + 1):
            node = first + position - 1
            yield (1, process, position, node, "output", process, 10**5, "KGM", "public")


def _measured(database: Database, engine: str, lots: int) -> list[Row]:
    templates, names = load_templates(), Names("bench.example")
    office = Viewer(_OFFICE, ("authority",))
    rows = [_row(f"a recall of {lots:,} lots looked at beforehand, {engine}", _previewed(database, templates, office))]
    start = perf_counter()
    with database.write() as connection:
        Recalls(connection, 1).apply(_BODY, _OFFICE, lots + 10, 1, {1: None})
    rows.append(_row(f"a recall of {lots:,} lots in force, {engine}", perf_counter() - start))
    start = perf_counter()
    with database.read() as connection:
        row = recall_row(connection, 1, "BENCH")
        assert row is not None  # applied above
        found = recall_progress(connection, templates, row, office)
        progress_document(found, names, most_lots=5_000)
    rows.append(_row(f"a recall of {lots:,} lots told with holders and totals, {engine}", perf_counter() - start))
    if len(found.lots) != lots + 1 or found.totals["KGM"].with_others != lots // 2 * 10**6:
        raise AssertionError(f"{engine}: the recall reached {len(found.lots):,} lots of {lots + 1:,}")
    return rows


def _previewed(database: Database, templates: Templates, office: Viewer) -> float:
    start = perf_counter()
    with database.read() as connection:
        preview(connection, templates, [1], office)
    return perf_counter() - start


def _row(name: str, seconds: float) -> Row:
    return Row(name, seconds, None, None, "s", at_most=AIM_S)
