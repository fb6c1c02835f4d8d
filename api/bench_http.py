"""The write path over HTTP, beside what bounds it: the rows of `suyuan bench ledger` that need whole servers.

Servers are processes as `suyuan serve` makes them, each with a data directory of its own on this machine's disk; the
client is another process (`bench_load`), and what is sent was signed before. Two comparisons, each taking turns with
its limit so that a busy moment of the machine hits all alike, the best turn of each counting:

* one statement a request over 64 connections, beside the same framework under the same server answering an echo of the
  same bodies, with one worker; and two workers beside one;
* NDJSON batches of 500, two workers, beside two processes that do nothing but verify the same signatures.

Every answer is counted as a fresh receipt or the run fails; some of the receipts are verified against the policy.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response

from ..ledger.bench import Row
from ..ledger.bench_audit import verified_a_second
from ..ledger.encoding import base64url_bytes, base64url_text
from ..ledger.errors import Refusal
from ..ledger.keys import PrivateKey, load_private_key, possession_message
from ..ledger.statement import Signed, issue, join_sd_jwt
from ..ledger.verify import verify_receipt
from ..trace.capture import Submission
from ..trace.naming import crockford_id, uuid7
from .bench_load import Load, LoadClient, request_bytes
from .data_directory import DataDirectory, init_data_directory
from .routes.statements import NDJSON, SD_JWT
from .security import api_key_request
from .services import open_services, wall_clock_ms
from .settings import PREFIX, Settings

HOST, ORIGIN = "bench.example", "bench.example/log"
ACTOR, REGISTRAR = "91520328MAXXTE02XB", "REGISTRAR"
CONNECTIONS, BATCH, BATCHES_AT_ONCE = 64, 500, 8
_PLENTY = 100_000_000.0
_START_SECONDS = 30.0
_CHECKED = 20
"""Receipts of a run that are verified."""


def run(quick: bool, progress: Callable[[str], None]) -> list[Row]:
    """The HTTP rows; `quick` does a small part of the work, to see that they run."""
    turns, singles, batches = (1, 200, 2) if quick else (4, 3_000, 20)
    with tempfile.TemporaryDirectory(prefix="suyuan-bench-") as folder, ExitStack() as stack:
        progress("statements to be signed")
        key = PrivateKey.generate()
        places = {workers: Place(Path(folder) / str(workers), workers, key) for workers in (1, 2)}
        signed = sign(key, turns * (2 * singles + batches * BATCH), places[1])
        progress("servers with one and two workers")
        client = stack.enter_context(LoadClient())
        echo = stack.enter_context(_echoing())
        ports = {workers: stack.enter_context(place.serving()) for workers, place in places.items()}
        rates: dict[str, float] = {}
        busy = 0.0
        waits: list[float] = []

        def note(name: str, rate: float) -> None:
            rates[name] = max(rates.get(name, 0.0), rate)

        for turn in range(turns):
            progress(f"single statements, turn {turn + 1} of {turns}")
            bodies = [_joined(next(signed)) for _ in range(singles)]
            load = client.run(echo, [request_bytes("/echo", body, SD_JWT, "Bearer -") for body in bodies], CONNECTIONS)
            _all_answered(load, 200, singles)
            note("echo", singles / load.seconds)
            for workers, place in places.items():
                requests = [request_bytes("/api/v1/statements", body, SD_JWT, place.bearer) for body in bodies]
                load = client.run(ports[workers], requests, CONNECTIONS)
                _all_answered(load, 201, singles)
                place.check_receipts(orjson.loads(body) for _, body in load.answers[-_CHECKED:])
                note(f"single {workers}", singles / load.seconds)
                busy = max(busy, load.busy)
                waits = sorted(load.waits) if workers == 1 else waits
            bodies.clear()
        for turn in range(turns):
            progress(f"batches, turn {turn + 1} of {turns}")
            some = [[next(signed) for _ in range(BATCH)] for _ in range(batches)]
            note("verify", verified_a_second([_signature(key, one) for batch in some for one in batch], jobs=2))
            bearer = places[2].bearer
            requests = [request_bytes("/api/v1/statements", _lines(batch), NDJSON, bearer) for batch in some]
            load = client.run(ports[2], requests, BATCHES_AT_ONCE)
            _all_answered(load, 200, batches)
            lines = [orjson.loads(line) for _, body in load.answers for line in body.splitlines()]
            if [line["status"] for line in lines] != [201] * (batches * BATCH):
                raise RuntimeError(f"a line of a batch was refused: {next(x for x in lines if x['status'] != 201)}")
            places[2].check_receipts(lines[-_CHECKED:])
            note("batch", batches * BATCH / load.seconds)
            busy = max(busy, load.busy)

    def row(name: str, ours: str, limit: str, at_least: float) -> Row:
        return Row(name, rates[ours], rates[limit], rates[ours] / rates[limit], "1/s", at_least)

    single = f"single statements over HTTP, {CONNECTIONS} connections, durable and receipted"
    return [
        row(f"{single}, one worker (limit: FastAPI echoing the same bodies)", "single 1", "echo", 0.45),
        row(f"{single}, two workers (limit: one worker)", "single 2", "single 1", 1.5),
        Row(f"{single}, one worker: 99 of 100 answered within", waits[len(waits) * 99 // 100] * 1000, None, None, "ms"),
        row(
            f"statements over HTTP in NDJSON batches of {BATCH}, two workers, durable, receipted, projected "
            "(limit: two processes verifying their signatures)",
            "batch",
            "verify",
            0.15,
        ),
        Row("the load client, at its busiest (limit: one core)", busy, 1.0, busy, "cores"),
    ]


# ---------------------------------------------------------------- what is sent


def sign(key: PrivateKey, count: int, place: Place) -> Iterator[Signed]:
    """Statements of usual size, each about a lot of its own, with five private fields; signed as they are asked for."""
    composed = place.composed
    lot = composed.event["quantityList"][0]["epcClass"]
    for _ in range(count):
        fresh = f"{lot[: lot.rindex('/')]}/{crockford_id()}"
        quantities = [{**composed.event["quantityList"][0], "epcClass": fresh}]
        labels = [{"lot": fresh, "label": "measured"}]
        event = {**composed.event, "eventID": uuid7(), "quantityList": quantities, "suyuan:labels": labels}
        now = wall_clock_ms() // 1000
        yield issue("trace-event+sd-jwt", event, key=key, iss=ACTOR, aud=ORIGIN, iat=now, private=composed.private)


def _signature(key: PrivateKey, signed: Signed) -> tuple[bytes, bytes, bytes]:
    message, _, signature = signed.statement.rpartition(".")
    return base64url_bytes(key.public.jwk["x"]), message.encode("ascii"), base64url_bytes(signature)


def _joined(signed: Signed) -> bytes:
    return join_sd_jwt(signed.statement, [text for text, _ in signed.disclosures]).encode("ascii")


def _lines(batch: Iterable[Signed]) -> bytes:
    return b"".join(orjson.dumps(_joined(signed).decode("ascii")) + b"\n" for signed in batch)


def _all_answered(load: Load, status: int, count: int) -> None:
    wrong = [answer for answer in load.answers if answer[0] != status]
    if wrong or len(load.answers) != count:
        raise RuntimeError(f"{len(wrong)} of {len(load.answers)} answers were not {status}: {wrong[:1]}")


# ---------------------------------------------------------------- servers


class Place:
    """A data directory of its own with one actor, its key and an API key; all of them know the same actor's key."""

    def __init__(self, folder: Path, workers: int, key: PrivateKey) -> None:
        self._workers = workers
        self.settings = Settings(data_dir=folder, public_host=HOST, origin=ORIGIN)
        init_data_directory(self.settings, wall_clock_ms)
        places = DataDirectory(folder)
        registrar = load_private_key(places.registrar_key, places.key_passphrase(self.settings))
        services = open_services(self.settings)
        self.policy = services.policy

        def submit(typ: str, body: dict[str, Any]) -> None:
            now = wall_clock_ms() // 1000
            signed = issue(typ, body, key=registrar, iss=REGISTRAR, aud=ORIGIN, iat=now)
            outcome = services.capture.commit(
                [services.capture.prepare(Submission(signed.statement.encode("ascii")), REGISTRAR)]
            )[0]
            if isinstance(outcome, Refusal):
                raise outcome

        name = {"zh": "测量用单位", "en": "Measured organisation"}
        submit("actor+jwt", {"id": ACTOR, "name": name, "kind": "organisation", "roles": ["factory"]})
        kid = key.public.kid
        proof = base64url_text(key.sign(possession_message(ORIGIN, ACTOR, kid)))
        registered = {"kid": kid, "jwk": key.public.jwk, "actor": ACTOR, "custody": "device", "proof": proof}
        submit("key+jwt", {**registered, "from": 0, "until": None, "status": "active"})
        request = api_key_request(key, actor=ACTOR, origin=ORIGIN, iat=wall_clock_ms() // 1000)
        self.bearer = f"Bearer {services.api_keys.grant(request.encode('ascii')).secret}"
        record = {
            "stage": "common.introduced",
            "time": datetime.now(timezone(timedelta(hours=8))).isoformat(timespec="seconds"),
            "place": "520328101",
            "lot": "measured",
            "quantity": 12,
            "uom": "KGM",
            "kde": {"goods": "茶青", "source_kind": "外购", "origin": "湄潭县", "supplier": "某农户"},
        }
        self.composed = services.capture.compose(record, ACTOR)
        asyncio.run(services.close())

    @contextmanager
    def serving(self) -> Iterator[int]:
        """The service with its workers, as an operator starts it; its port."""
        settings = {
            "DATA_DIR": self.settings.data_dir,
            "WORKERS": self._workers,
            "CREDENTIAL_RATE": _PLENTY,
            "CREDENTIAL_BURST": int(_PLENTY),
            "SCRUB": "false",  # it re-hashes what is stored, at a rate the operator sets; here it would be noise
        }
        environment = {f"{PREFIX}{name}": str(value) for name, value in settings.items()}
        with running("from suyuan.api.cli import main; main()", ["serve"], environment) as port:
            yield port

    def check_receipts(self, answers: Iterable[dict[str, Any]]) -> None:
        """Raises RuntimeError unless every one of these answers carries a receipt that verifies by the policy."""
        for answer in answers:
            report = verify_receipt(answer["receipt"], None, self.policy)
            if not report.ok:
                raise RuntimeError(f"a receipt does not verify: {report}")


def echo_app() -> FastAPI:
    """The framework with nothing behind it: what came is answered."""
    app = FastAPI(openapi_url=None)

    @app.post("/echo")
    async def echo(request: Request) -> Response:
        return Response(await request.body())

    return app


@contextmanager
def _echoing() -> Iterator[int]:
    start = (
        "import sys, uvicorn; uvicorn.run('suyuan.api.bench_http:echo_app', factory=True, port=int(sys.argv[2]), "
        "log_config=None, access_log=False, proxy_headers=False, server_header=False)"
    )
    with running(start, [], {}) as port:
        yield port


@contextmanager
def running(
    code: str,
    arguments: Sequence[str],
    environment: dict[str, str],
    started: Callable[[int], None] = lambda process: None,
) -> Iterator[int]:
    """A Python process that listens on a free port, given as `--port`; ended when left. `started` hears its id."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments, "--port", str(port)],
        env={**inherited, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    started(process.pid)
    try:
        _wait_until_listening(process, port)
        yield port
    finally:
        process.terminate()
        process.wait()


def _wait_until_listening(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(b"GET /livez HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
                if connection.recv(16):
                    return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"the server on port {port} did not start")
