"""An audit's two parts, timed apart: the walk with all signatures, and the replay that rebuilds the derived tables."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from ..ledger import bench_audit
from ..ledger.bench import Row
from ..ledger.errors import Refusal
from ..ledger.keys import PrivateKey
from ..trace.capture import Submission
from ..trace.replay import rebuild
from .bench_http import ACTOR, BATCH, Place, sign
from .services import open_services


def run(quick: bool, progress: Callable[[str], None]) -> list[Row]:
    """The walk's rows and the replay's; `quick` does a small part of the work, to see that they run."""
    rows = bench_audit.run(quick, progress)
    count = 500 if quick else 10_000
    progress(f"a ledger of {count:,} events to replay")
    with tempfile.TemporaryDirectory(prefix="suyuan-bench-") as folder:
        key = PrivateKey.generate()
        place = Place(Path(folder) / "data", 1, key)
        services = open_services(place.settings)
        try:
            signed = sign(key, count, place)
            while batch := list(islice(signed, BATCH)):
                given = [
                    Submission(one.statement.encode("ascii"), tuple((text, None) for text, _ in one.disclosures))
                    for one in batch
                ]
                outcomes = services.capture.commit([services.capture.prepare(one, ACTOR) for one in given])
                for outcome in outcomes:
                    if isinstance(outcome, Refusal):
                        raise outcome
            progress("replay")
            started = time.perf_counter()
            entries = rebuild(services.log, services.templates, services.names, services.policy.registrars)
            rate = entries / (time.perf_counter() - started)
        finally:
            asyncio.run(services.close())
    return [*rows, Row(f"{entries:,} entries replayed into the derived tables, one core", rate, None, None, "1/s")]
