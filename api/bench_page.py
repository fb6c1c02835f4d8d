"""How long a browser takes to verify a product's proof, and how soon it shows the page: `suyuan bench page`.

The bundle is that of a lot of the sample batches with 30 events or a few more, cosigned by two witnesses; the browser
is a headless Chromium of this machine, and what it runs are the modules of the verifier's page. Each way has a browser
of its own, and two rows: the first run, which is what somebody sees who looks once, and the median of twenty.
"""

from __future__ import annotations

import http.server
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select

from ..ledger.bench import Row
from ..ledger.keys import Registrar
from ..ledger.note import COSIGNATURE_KEY, NoteSigner, parse_note
from ..ledger.policy import Group, Log, Policy, Witness
from ..ledger.statement import parse_statement
from ..ledger.strict_json import dump_json
from ..trace.history import History
from ..trace.naming import Names
from ..trace.story import Story
from ..trace.tables import node
from ..trace.viewer import Viewer
from . import bench_paint
from .bench_rules import SampleLedger
from .pages.scripts import joined

MOST_NATIVE_MS, MOST_FALLBACK_MS = 100.0, 1_000.0
EVENTS = 30
_HOST = "bench.example"
_STATEMENTS = 400  # of the sample batches
_BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
_PATIENCE_S = 120


def run(quick: bool, progress: Callable[[str], None]) -> list[Row]:
    """The rows of a page's verification; none, and a word why, where there is no browser. `quick` is the same work."""
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        progress(f"no browser on this machine: looked for {', '.join(_BROWSERS)}")
        return []
    progress("a bundle of a sample batch")
    with tempfile.TemporaryDirectory(prefix="suyuan-bench-") as folder:
        bundle, policy, story = _bundle(Path(folder))
        content = dump_json(bundle)
        name = f"verification in the browser, {_events(bundle)} events ({len(bundle['statements'])} statements)"
        rows = []
        for what, query, most in (
            ("WebCrypto", "", MOST_NATIVE_MS),
            ("without WebCrypto", "?fallback", MOST_FALLBACK_MS),
        ):
            progress(f"verified in a browser, {what}")
            told = _measured(browser, Path(folder), content, policy.text().encode(), query)
            for which in ("first", "median"):
                rows.append(Row(f"{name}, {what}, {which}", told[which], None, None, "ms", at_most=most))
        rows += bench_paint.rows(browser, Path(folder), story, progress)
    return rows


def _bundle(folder: Path) -> tuple[dict[str, Any], Policy, Story]:
    """The bundle of some lot, cosigned by two witnesses, the policy that asks for both, and the lot's story."""
    witnesses = [NoteSigner(f"witness-{n}", Ed25519PrivateKey.generate(), COSIGNATURE_KEY) for n in (1, 2)]
    with SampleLedger.opened(folder) as ledger:
        ledger.record(list(islice(ledger.stories(), _STATEMENTS)))
        ledger.publish()
        public = ledger.registrar.public
        alone = Policy(
            (Log(ledger.log.signer.verifier),), (), (), None, None, (Registrar(public.kid, 0, None, public),), 3_600
        )
        history = History(ledger.log.database, ledger.log, ledger.templates, Names(_HOST), lambda: alone)
        bundle = _middling(ledger, history)
        story = history.story(Names(_HOST).uri(bundle["subject"]), Viewer(None))
        assert story is not None  # it has a bundle
    note = bundle["checkpoints"][0]
    text, now_s = parse_note(note).text, int(time.time())
    bundle["checkpoints"] = [note + "".join(witness.cosign(text, now_s) for witness in witnesses)]
    known = tuple(Witness(each.name, each.verifier) for each in witnesses)
    group = Group("witnesses", 2, tuple(each.name for each in witnesses))
    return bundle, Policy(alone.logs, known, (group,), group.name, None, alone.registrars, alone.max_index_age_s), story


def _middling(ledger: SampleLedger, history: History) -> dict[str, Any]:
    """Of the bundles of all lots, one with the fewest events that are not fewer than `EVENTS`."""
    names = Names(_HOST)
    with ledger.log.database.read() as connection:
        lots = connection.execute(select(node.c.subject).where(node.c.made_entry.is_not(None))).scalars()
        bundles = [history.bundle(names.uri(lot), Viewer(None)) for lot in lots]
    told = [dict(each) for each in bundles if each is not None and _events(each) >= EVENTS]
    return min(told, key=_events)


def _events(bundle: Mapping[str, Any]) -> int:
    return sum(parse_statement(one["statement"].encode()).claim == "event" for one in bundle["statements"])


def _measured(browser: str, folder: Path, bundle: bytes, policy: bytes, query: str) -> dict[str, float]:
    """What `measured.js` tells from a tab of `browser`. RuntimeError when it says that the bundle does not hold."""
    page = '<!doctype html><meta charset="utf-8"><script type="module" src="script"></script>'
    answers: Mapping[str, tuple[str, bytes]] = {
        f"/{query}": ("text/html", page.encode()),
        "/script": ("text/javascript", joined("measured.js").source.encode()),
        "/bundle": ("application/json", bundle),
        "/policy": ("text/plain", policy),
    }
    told: queue.Queue[dict[str, Any]] = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            media_type, content = answers.get(self.path, ("text/plain", b""))
            self.send_response(200)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = ["--headless", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={folder / 'browser'}"]
        if os.geteuid() == 0:
            options.append("--no-sandbox")  # Chromium refuses to be root's otherwise
        command = [browser, *options, f"http://127.0.0.1:{server.server_port}/{query}"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            answer = told.get(timeout=_PATIENCE_S)
        except queue.Empty:
            raise RuntimeError(f"{browser} gave no answer within {_PATIENCE_S} s") from None
        finally:
            process.terminate()
            process.wait()
            server.shutdown()
    if "failed" in answer:
        raise RuntimeError(f"the bundle does not hold in the browser: {answer['failed']}")
    return answer
