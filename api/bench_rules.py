"""What judging costs on a ledger of 100,000 events: all rules over all of it, and one new event (`suyuan bench trace`).

The ledger holds the three sample stories again and again, each time with other growers, makers, traders, products and
plots, under the same offices and laboratories: signed, checked and recorded as anything is, in batches.
"""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from importlib.resources import files
from itertools import chain, islice
from itertools import count as count_up
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ..ledger.bench import Row
from ..ledger.bench_million import index_everything
from ..ledger.database import Database
from ..ledger.encoding import base64url_text
from ..ledger.errors import Refusal
from ..ledger.keys import PrivateKey, Registrar
from ..ledger.log import Log
from ..ledger.note import NoteSigner
from ..ledger.statement import issue
from ..trace.capture import Capture, Submission
from ..trace.naming import CROCKFORD, Names, is_actor_id
from ..trace.rules.judging import Judging
from ..trace.template import Templates, load_templates
from .producer import Directory, Keys, Line, Signer

EVENTS, QUICK = 100_000, 300
NEW_EVENTS, NEW_QUICK = 600, 30
MOST_S, MOST_MS = 60.0, 5.0
_BATCH = 1_000
_HOST, _ORIGIN, _REGISTRAR = "bench.example", "bench.example/log", "REGISTRAR"
_FAMILIES = ("tea", "chili", "baijiu")
_SHARED = frozenset({"authority", "accreditor", "certifier", "laboratory"})
"""Roles of those who work for everybody."""
_USCC = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_NAMED = re.compile(
    r"(?<![0-9A-Za-z])(?:[0-9A-Z]{8}MAXX[0-9A-Z]{6}|P[0-9A-HJKMNP-TV-Z]{16}|0\d{13}|[1-9]\d{17}|R2\d-\d{4})(?![0-9A-Za-z])"
)
"""What another telling of a story names otherwise: actors, GTINs, logistic units, numbers of reports."""


def run(quick: bool, progress: Callable[[str], None]) -> list[Row]:
    """All rules over the whole ledger, and then what each new event costs; `quick` does a small part of the work."""
    events, new = (QUICK, NEW_QUICK) if quick else (EVENTS, NEW_EVENTS)
    with tempfile.TemporaryDirectory(prefix="suyuan-bench-") as folder, SampleLedger.opened(Path(folder)) as ledger:
        progress(f"a ledger of {events:,} events to judge")
        lines = ledger.stories()
        while ledger.events < events and (batch := list(islice(lines, _BATCH))):
            ledger.record(batch)
        ledger.publish()
        progress("all rules on all of it")
        judging = ledger.judging()
        started = time.perf_counter()
        judging.judge_all()
        seconds = time.perf_counter() - started
        rows = [Row(f"all rules on {ledger.events:,} events again", seconds, None, None, "s", at_most=MOST_S)]
        progress("new events, one by one")
        taken: list[float] = []
        while len(taken) < new:
            before = ledger.events
            ledger.record([next(lines)])
            started = time.perf_counter()
            judging.catch_up()
            if ledger.events > before:
                taken.append((time.perf_counter() - started) * 1e3)
        name = f"a new event judged on a ledger of {ledger.events:,}, written"
        middle, nearly_all = statistics.median(taken), statistics.quantiles(taken, n=20)[-1]
        rows.append(Row(f"{name}: median", middle, None, None, "ms", at_most=MOST_MS))
        rows.append(Row(f"{name}: 95 of 100 within", nearly_all, None, None, "ms", at_most=MOST_MS))
    return rows


# ---------------------------------------------------------------- the ledger


@dataclass
class SampleLedger:
    """A ledger on SQLite with its write path."""

    log: Log
    capture: Capture
    templates: Templates
    registrar: PrivateKey
    events: int = 0

    @classmethod
    @contextmanager
    def opened(cls, folder: Path) -> Iterator[SampleLedger]:
        """A new one in `folder`."""
        with Database(f"sqlite:///{folder / 'rules.db'}") as database:
            database.create_all()
            log = Log(database, NoteSigner(_ORIGIN, Ed25519PrivateKey.generate()), _now_ms)
            log.create()
            templates, registrar = load_templates(), PrivateKey.generate()
            public = registrar.public
            capture = Capture(
                log=log, database=database, templates=templates, names=Names(_HOST),
                registrars=[Registrar(public.kid, 0, None, public)], clock=_now_ms,
            )  # fmt: skip
            yield cls(log, capture, templates, registrar)

    def judging(self) -> Judging:
        """Judges it."""
        return Judging(self.log, self.templates, Names(_HOST), _now_ms)

    def stories(self) -> Iterator[Line]:
        """The three stories, told again and again without end; every statement signed."""
        return chain.from_iterable(self.tellings())

    def tellings(self, count: int | None = None) -> Iterator[list[Line]]:
        """The three stories, told `count` times, or without end."""
        told = [Directory.read(Path(str(files("suyuan.sample_batches") / family))) for family in _FAMILIES]
        shared = {one["id"] for story in told for one in story.actors if _SHARED.intersection(one["roles"])}
        introduced: set[str] = set()
        for number in count_up() if count is None else range(count):
            again = _Renaming(number, shared)
            yield [line for story in told for line in self._signed(again.story(story), introduced)]

    def _signed(self, story: Directory, introduced: set[str]) -> Iterator[Line]:
        actors = [one for one in story.actors if one["id"] not in introduced]
        introduced.update(one["id"] for one in actors)
        signer = Signer(
            replace(story, actors=actors), _SeededKeys(story.path), names=Names(_HOST), origin=_ORIGIN,
            templates=self.templates,
        )  # fmt: skip
        yield from signer.registrations(self.registrar, _REGISTRAR)
        yield from signer.credentials()
        yield from signer.records(lambda actor, path: {})  # its attachments are given

    def publish(self) -> None:
        """A lot index over all of it, as the service publishes one within a minute."""
        index_everything(self.log)

    def state(self, typ: str, body: Mapping[str, Any], actor: str) -> None:
        """One statement of an actor of the stories. Raises Refusal."""
        key, now_s = _SeededKeys(Path()).key(actor), _now_ms() // 1000
        signed = issue(typ, body, key=key, iss=actor, aud=_ORIGIN, iat=now_s)
        (outcome,) = self.capture.commit([self.capture.prepare(Submission(signed.statement.encode("ascii")), actor)])
        if isinstance(outcome, Refusal):
            raise outcome

    def record(self, lines: Sequence[Line]) -> None:
        """One batch. Raises the first Refusal."""
        prepared = [self.capture.prepare(_submission(line), line.issuer) for line in lines]
        for outcome in self.capture.commit(prepared):
            if isinstance(outcome, Refusal):
                raise outcome
        self.events += sum(one.statement.claim == "event" for one in prepared)


def _submission(line: Line) -> Submission:
    return Submission(line.signed.statement.encode("ascii"), tuple((text, None) for text, _ in line.signed.disclosures))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class _SeededKeys(Keys):
    """Device keys that follow from who they are of, and lie in no file."""

    def key(self, actor: str) -> PrivateKey:
        return PrivateKey(Ed25519PrivateKey.from_private_bytes(sha256(actor.encode()).digest()))


@dataclass
class _Renaming:
    """Another telling of the stories: the same goings-on, by others but for `shared`. Number 0 is as it was told."""

    number: int
    shared: set[str]
    names: dict[str, str] = field(default_factory=dict)

    def story(self, story: Directory) -> Directory:
        """A story as it happened to others."""
        credentials = [one for one in story.credentials if not self.number or one["actor"] not in self.shared]
        again = [{**self._of(one), "id": f"{one['id']}-{self.number}"} for one in credentials]
        return replace(story, actors=self._of(story.actors), credentials=again, records=self._of(story.records))

    def _of(self, value: Any) -> Any:
        if isinstance(value, str) and value.startswith("files/"):
            digest = sha256(f"{value} {self.number}".encode()).digest()
            media = "application/pdf" if value.endswith(".pdf") else "image/jpeg"
            return {"hash": f"ni:///sha-256;{base64url_text(digest)}", "mediaType": media, "bytes": 1_000}
        if isinstance(value, str):
            return _NAMED.sub(self._name, value)
        if isinstance(value, Mapping):
            return {name: self._of(one) for name, one in value.items()}
        return [self._of(one) for one in value] if isinstance(value, list) else value

    def _name(self, found: re.Match[str]) -> str:
        old = found[0]
        if old not in self.names:
            same = not self.number or old in self.shared
            self.names[old] = old if same else self._fresh(old, 1_000 * self.number + len(self.names))
        return self.names[old]

    def _fresh(self, old: str, count: int) -> str:
        if old.startswith("R"):
            return f"{old}-{self.number}"
        if old.isdigit():  # a GTIN or logistic unit of the range for examples, with its check digit
            digits = f"{old[:4]}{count:0{len(old) - 5}}"
            return digits + str(-sum(int(digit) * (3, 1)[place % 2] for place, digit in enumerate(digits[::-1])) % 10)
        if old.startswith("P"):
            return "P" + "".join(CROCKFORD[byte % 32] for byte in sha256(f"{old} {count}".encode()).digest()[:16])
        body = old[:12] + "".join(_USCC[count // 31**place % 31] for place in range(5))
        return next(body + last for last in _USCC if is_actor_id(body + last))
