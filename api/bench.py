"""`suyuan bench`: a benchmark's rows as a table, ours beside the limit measured in the same run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rich.console import Console
from rich.table import Table

from ..ledger import bench as storing
from ..ledger.bench import Row
from ..ledger.errors import Refusal
from ..trace import bench as tracing
from . import bench_codes, bench_http, bench_page, bench_replay, bench_rules, bench_start, bench_views

Benchmark = Callable[[bool, Callable[[str], None]], list[Row]]

PARTS: Mapping[str, Benchmark] = {
    "storing": storing.run,
    "million": bench_start.run,
    "http": bench_http.run,
    "audit": bench_replay.run,
    "flows": tracing.run,
    "rules": bench_rules.run,
    "qr": bench_codes.run,
    "page": bench_page.run,
    "views": bench_views.run,
}
_TRACING = ("flows", "rules")
BENCHMARKS: Mapping[str, tuple[str, ...]] = {
    "ledger": tuple(part for part in PARTS if part not in (*_TRACING, "qr", "page", "views")),
    "trace": _TRACING,
    **{part: (part,) for part in PARTS},
    "page": ("page", "views"),
}
"""What can be asked for -> the parts that it measures: `ledger`, `trace` and `page` are several."""


def run_benchmarks(name: str, *, quick: bool) -> None:
    """Run a benchmark and print its table. Raises Refusal for a name there is not."""
    parts = BENCHMARKS.get(name)
    if parts is None:
        raise Refusal(
            "bench-unknown",
            field=name,
            zh="没有这个测量",
            en="there is no such benchmark",
            expected=", ".join(BENCHMARKS),
        )
    progress = Console(stderr=True)
    rows = [row for part in parts for row in PARTS[part](quick, lambda title: progress.print(f"[dim]{title} …[/dim]"))]
    table = Table(title=f"suyuan bench {name}")
    table.add_column("测量 measured", overflow="fold")
    table.add_column("单位 unit")
    for heading in ("本系统 ours", "极限 limit", "比 ratio", "目标 aim", "结果 verdict"):
        table.add_column(heading, justify="right")
    for row in rows:
        figures = (_number(row.ours), _number(row.limit), _number(row.ratio))
        table.add_row(row.name, row.unit, *figures, _aim(row), _VERDICTS[row.met])
    console = Console()
    (console if console.is_terminal else Console(width=_FILE_WIDTH)).print(table)


_FILE_WIDTH = 160
"""Columns of the table where it does not go to a terminal."""
_VERDICTS = {True: "[green]达到 met[/green]", False: "[red]未达到 not met[/red]", None: ""}


def _aim(row: Row) -> str:
    """What the ratio, or where there is none what was measured, should be."""
    if row.at_least is not None:
        return f"≥ {_number(row.at_least)}"
    return "" if row.at_most is None else f"≤ {_number(row.at_most)}"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
