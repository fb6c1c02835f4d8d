"""`suyuan bench`: a benchmark's rows as a table, ours beside the limit measured in the same run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rich.console import Console
from rich.table import Table

from ..ledger import bench as ledger_bench
from ..ledger.errors import Refusal

BENCHMARKS: Mapping[str, Callable[[bool, Callable[[str], None]], list[ledger_bench.Row]]] = {
    "ledger": ledger_bench.run,
}


def run_benchmarks(name: str, *, quick: bool) -> None:
    """Run a benchmark and print its table. Raises Refusal for a name there is not."""
    run = BENCHMARKS.get(name)
    if run is None:
        raise Refusal(
            "bench-unknown",
            field=name,
            zh="没有这个测量",
            en="there is no such benchmark",
            expected=", ".join(BENCHMARKS),
        )
    progress = Console(stderr=True)
    rows = run(quick, lambda title: progress.print(f"[dim]{title} …[/dim]"))
    table = Table("测量 measured", "单位 unit", title=f"suyuan bench {name}")
    for heading in ("本系统 ours", "极限 limit", "比 ratio"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(row.name, row.unit, _number(row.ours), _number(row.limit), _number(row.ratio))
    Console().print(table)


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
