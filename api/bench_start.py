"""A data directory whose log has a million entries: the ledger's rows for it, and how soon a service on it can sign."""

from __future__ import annotations

import http.client
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ..ledger import bench_million
from ..ledger.bench import Row
from ..ledger.keys import load_private_key
from .bench_http import running
from .data_directory import DataDirectory, ed25519_secret, init_data_directory
from .services import wall_clock_ms
from .settings import PREFIX, Settings

_STARTS = 3


def run(quick: bool, progress: Callable[[str], None]) -> list[Row]:
    """The rows of a large log, made in a data directory of its own; `quick` makes a small one, to see that they run."""
    with tempfile.TemporaryDirectory(prefix="suyuan-bench-") as folder:
        settings = Settings(data_dir=Path(folder) / "data", public_host="bench.example", origin="bench.example/million")
        init_data_directory(settings, wall_clock_ms)
        places = DataDirectory(settings.data_dir)
        key = load_private_key(places.log_key, places.key_passphrase(settings))
        secret = ed25519_secret(key).private_bytes_raw()
        place = bench_million.Place(settings.effective_database_url, places.identity(settings).origin, secret)
        rows = bench_million.run(quick, progress, place)
        progress("starts")
        with place.opened() as log:
            size = log.state().size
        slowest = max(_ready_within(settings) for _ in range(_STARTS))
    name = f"start of the service with {size:,} entries until it is ready to sign, slowest of {_STARTS}"
    return [*rows, Row(name, slowest, None, None, "s", at_most=5)]


def _ready_within(settings: Settings) -> float:
    """Seconds from starting the process, as an operator does, until its readiness endpoint says that it signs."""
    # The entries are bare: no statements stand behind them, which a scrub would take for damage.
    environment = {f"{PREFIX}DATA_DIR": str(settings.data_dir), f"{PREFIX}SCRUB": "false"}
    started = time.perf_counter()
    with running("from suyuan.api.cli import main; main()", ["serve"], environment) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        seconds = time.perf_counter() - started
        if answer.status != 200:
            raise RuntimeError(f"the service is not ready: {answer.read().decode()}")
        connection.close()
    return seconds
