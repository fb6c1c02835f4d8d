"""How far tracing is from its limits, measured side by side in one run (`suyuan bench trace`)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from ..ledger.bench import Row
from . import bench_flows, bench_recalls

Measure: TypeAlias = Callable[[bool, Path], list[Row]]
"""Whether to do a small part only, and a folder to work in -> rows: ours beside the limit of the same run."""

MEASURES: tuple[tuple[str, Measure], ...] = (
    ("genealogy of a million flow edges", bench_flows.genealogy),
    ("a recall that reaches 100,000 lots", bench_recalls.recall),
)
"""What is measured, in order: a title for those who wait, and what does it. A new measure is one line here."""


def run(quick: bool, progress: Callable[[str], None]) -> list[Row]:
    """All measures; `quick` does a small part of the work, to see that they run. `progress` hears what is next."""
    rows: list[Row] = []
    for title, measure in MEASURES:
        progress(title)
        with tempfile.TemporaryDirectory(prefix="suyuan-bench-") as folder:
            rows += measure(quick, Path(folder))
    return rows
