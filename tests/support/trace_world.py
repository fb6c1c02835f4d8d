"""A small world to trace goods in: a log, its write path and readers, actors with keys, and a clock turned by hand.

Everything is real but the clock; `refused` proves that a refusal leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import suyuan.trace.tables  # noqa: F401  declares the tables
from ledgers import NOON, ORIGIN, SIGNER, HandClock
from suyuan.api.producer import Directory, Keys, Line, Signer
from suyuan.ledger.database import Database
from suyuan.ledger.encoding import base64url_text
from suyuan.ledger.errors import Refusal
from suyuan.ledger.keys import PrivateKey, Registrar, possession_message
from suyuan.ledger.log import Log
from suyuan.ledger.policy import Policy
from suyuan.ledger.statement import Signed, dump_json, issue
from suyuan.ledger.verify import ReceiptReport, verify_receipt
from suyuan.trace.capture import Capture, Receipt, Submission
from suyuan.trace.history import History
from suyuan.trace.naming import Names
from suyuan.trace.replay import dump, rebuild
from suyuan.trace.template import Templates, load_templates

NAMES = Names("trace.example.cn")
TEMPLATES = load_templates()
REGISTRAR_ID = "REGISTRAR"
PLACE = "520328101"
GTIN = "09520001000010"
OTHER_GTIN = "09520001000027"
EVENT, ACTOR, KEY, CREDENTIAL = "trace-event+sd-jwt", "actor+jwt", "key+jwt", "credential+jwt"
SAMPLES = Path(__file__).resolve().parents[2] / "sample_batches"
DAY_MS = 86_400_000
AFTER_THE_SAMPLES = NOON + 90 * DAY_MS
PRODUCTS = {
    "tea": NAMES.absolute("/01/09520001000010/10/MTCY20260331A"),
    "chili": NAMES.absolute("/01/09520001000027/10/ZYCT20251118F"),
    "baijiu": NAMES.absolute("/01/09520001000034/10/CSG20251120K"),
}
_USCC = "0123456789ABCDEFGHJKLMNPQRTUWXY"


def actor_id(number: int) -> str:
    """A unified social credit code of nobody, with its right check character (GB 32100-2015)."""
    body = f"91520300MAXX{number:05d}"
    weighted = sum(_USCC.index(character) * pow(3, place, 31) for place, character in enumerate(body))
    return body + _USCC[-weighted % 31]


def fixed_key(name: str) -> PrivateKey:
    """A key of its own for every name, the same in every run."""
    return PrivateKey(Ed25519PrivateKey.from_private_bytes(sha256(name.encode()).digest()))


REGISTRAR_KEY = fixed_key("registrar")


@dataclass(frozen=True)
class Somebody:
    """An actor and its device key."""

    id: str
    key: PrivateKey


@dataclass
class TraceWorld:
    """One log on `database_url`, made when it is not there yet."""

    database_url: str
    clock: HandClock = field(default_factory=HandClock)
    templates: Templates = TEMPLATES

    def __post_init__(self) -> None:
        self.database = Database(self.database_url)
        self.database.create_all()
        self.log = Log(self.database, SIGNER, self.clock)
        self.log.create()
        registrar = REGISTRAR_KEY.public
        self.registrars = [Registrar(registrar.kid, 0, None, registrar)]
        self.policy = Policy.parse(
            f"#suyuan policy v1\nlog {SIGNER.verifier.vkey()}\nquorum none\n#suyuan auditors none\n"
            f"#suyuan registrar {registrar.kid} 0 - {dump_json(registrar.jwk).decode()}\n#suyuan max-index-age 120\n"
        )
        self.capture = self.new_capture()
        self.history = History(self.database, self.log, self.templates, NAMES, lambda: self.policy)
        self._numbers = iter(range(1, 1000))

    def new_capture(self) -> Capture:
        """A write path that has seen no key yet, as after a restart."""
        return Capture(
            log=self.log, database=self.database, templates=self.templates, names=NAMES,
            registrars=self.registrars, clock=self.clock,
        )  # fmt: skip

    def close(self) -> None:
        self.database.close()

    # ------------------------------------------------------------ time

    def iso(self, hours_ago: float = 1.0) -> str:
        """A moment before now, with China's offset."""
        now = datetime.fromtimestamp(self.clock.now_ms / 1000, timezone(timedelta(hours=8)))
        return (now - timedelta(hours=hours_ago)).isoformat(timespec="seconds")

    @property
    def now_s(self) -> int:
        return self.clock.now_ms // 1000

    # ------------------------------------------------------------ signing

    def sign(
        self, typ: str, body: Mapping[str, Any], who: Somebody, private: Mapping[str, str] | None = None, **claims: Any
    ) -> Signed:
        """A statement of `who`; `claims` overrides iss, aud, iat or key."""
        given = {"key": who.key, "iss": who.id, "aud": ORIGIN, "iat": self.now_s} | claims
        return issue(typ, body, private=private or {}, **given)

    def sign_record(self, who: Somebody, record: Mapping[str, Any], **claims: Any) -> Signed:
        """The signed event of a record as people write it."""
        composed = self.capture.compose(record, who.id)
        return self.sign(EVENT, composed.event, who, composed.private, **claims)

    # ------------------------------------------------------------ submitting

    def submit(self, signed: Signed, submitter: str) -> Receipt:
        """Prepares and commits one statement; raises the Refusal that it gets."""
        (answer,) = self.submit_all([(signed, submitter)])
        if isinstance(answer, Refusal):
            raise answer
        return answer

    def submit_all(self, signed: Iterable[tuple[Signed, str]]) -> list[Receipt | Refusal]:
        """One batch, as the service commits it: what `prepare` refuses never reaches the transaction."""
        answers: list[Receipt | Refusal | None] = []
        batch = []
        for one, submitter in signed:
            try:
                batch.append(self.capture.prepare(submission(one), submitter))
                answers.append(None)
            except Refusal as refusal:
                answers.append(refusal)
        committed = iter(self.capture.commit(batch))
        return [next(committed) if answer is None else answer for answer in answers]

    def record(self, who: Somebody, stage: str, **members: Any) -> Receipt:
        """Records something an hour ago at the usual place, unless told otherwise."""
        return self.submit(self.sign_record(who, self.raw(stage, **members)), who.id)

    def raw(self, stage: str, **members: Any) -> dict[str, Any]:
        """A record as people write it."""
        return {"stage": stage, "time": self.iso(), "place": PLACE, **members}

    # ------------------------------------------------------------ people and papers

    def somebody(self, *roles: str, key: PrivateKey | None = None, name: str = "") -> Somebody:
        """A registered organisation with a registered device key."""
        number = next(self._numbers)
        who = Somebody(actor_id(number), key or fixed_key(f"actor {number}"))
        self.register(who.id, *roles, name=name)
        self.register_key(who)
        return who

    def register(self, actor: str, *roles: str, name: str = "") -> Receipt:
        label = {"zh": name or f"示范单位{actor[-4:]}", "en": name or f"Sample {actor[-4:]}"}
        body = {"id": actor, "name": label, "kind": "organisation", "roles": list(roles)}
        return self.submit(self.sign(ACTOR, body, self.registrar), REGISTRAR_ID)

    @property
    def registrar(self) -> Somebody:
        return Somebody(REGISTRAR_ID, REGISTRAR_KEY)

    def register_key(self, who: Somebody, **members: Any) -> Receipt:
        return self.submit(self.sign(KEY, self.key_body(who, **members), self.registrar), REGISTRAR_ID)

    def key_body(self, who: Somebody, **members: Any) -> dict[str, Any]:
        public = who.key.public
        proof = base64url_text(who.key.sign(possession_message(ORIGIN, who.id, public.kid)))
        return {
            "kid": public.kid, "jwk": public.jwk, "actor": who.id, "custody": "device", "from": 0, "until": None,
            "status": "active", "proof": proof, **members,
        }  # fmt: skip

    def credential(self, issuer: Somebody, holder: str, kind: str, details: Mapping[str, Any], **more: Any) -> Receipt:
        body = credential_body(holder, kind, details, **more)
        return self.submit(self.sign(CREDENTIAL, body, issuer), issuer.id)

    def plot(self, authority: Somebody, holder: Somebody, name: str) -> str:
        """A registered plot; its URI."""
        uri = NAMES.plot(holder.id, name)
        self.credential(authority, holder.id, "plot", PLOT_DETAILS, plot=uri, id=f"PLOT-{name}")
        return uri

    def product(self, producer: Somebody, gtin: str = GTIN) -> None:
        details = {"name": {"zh": "样品", "en": "Sample"}, "family": "tea"}
        self.credential(producer, producer.id, "product", details, product=gtin, id=f"GTIN-{gtin}")

    def introduce(self, who: Somebody, lot: str, quantity: Any = 100, uom: str = "KGM") -> str:
        """A lot from outside in somebody's hands; its URI."""
        receipt = self.record(
            who, "common.introduced", lot=lot, quantity=quantity, uom=uom,
            kde={"goods": "茶青", "source_kind": "外购", "origin": "湄潭"},
        )  # fmt: skip
        return receipt.lots[0]

    def ship(self, who: Somebody, to: str, lot: str, quantity: Any, uom: str = "KGM", **more: Any) -> Receipt:
        return self.record(
            who, "common.shipped", lots=[{"lot": lot, "quantity": quantity, "uom": uom}], receiver=to,
            document="F-1", kde={"destination": "遵义", "transport": "常温"}, **more,
        )  # fmt: skip

    def receive(self, who: Somebody, sender: str, lot: str, quantity: Any, uom: str = "KGM", **more: Any) -> Receipt:
        return self.record(who, "common.received", **received(sender, lot, quantity, uom), **more)

    def blend(self, who: Somebody, inputs: Mapping[str, Any], outputs: Mapping[str, Any], **more: Any) -> Receipt:
        return self.record(who, "tea.refined", **refined(inputs, outputs), **more)

    # ------------------------------------------------------------ looking

    def snapshot(self) -> tuple[Any, ...]:
        """Size and root of the log, how much is stored, and a digest of every derived table."""
        with self.database.read() as connection:
            state = self.log.state(connection)
            counts = [
                connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
                for table in ("entry", "statement", "disclosure", "chain_link", "subject")
            ]
            return (state.size, state.root, *counts, *dump(connection, self.log.log_id))

    def dump(self) -> dict[str, bytes]:
        """A digest of every derived table."""
        with self.database.read() as connection:
            return dict(dump(connection, self.log.log_id))

    def rebuild(self) -> int:
        return rebuild(self.log, self.templates, NAMES, self.registrars)

    def verify(self, receipt: Receipt, statement: str | None = None) -> ReceiptReport:
        return verify_receipt(receipt.receipt, statement.encode() if statement else None, self.policy)

    @contextmanager
    def refused(self, rule: str, field_name: str, hint: str | None = None) -> Iterator[None]:
        """The block is refused for `rule` at `field_name`, in both languages, and leaves nothing on the ledger."""
        before = self.snapshot()
        try:
            yield
        except Refusal as refusal:
            assert (refusal.rule, refusal.field) == (rule, field_name), f"{refusal.rule} at {refusal.field}: {refusal}"
            assert refusal.zh and refusal.en
            assert hint is None or refusal.status_hint == hint
        else:
            raise AssertionError(f"accepted, though {rule} at {field_name}")
        assert self.snapshot() == before


PLOT_DETAILS: Mapping[str, Any] = {
    "name": {"zh": "一号地", "en": "Plot one"}, "division": PLACE, "area_mu": 12, "fictitious": True,
    "polygon": [[107, 27], [107, 28], [108, 28], [107, 27]],
}  # fmt: skip


def credential_body(holder: str, kind: str, details: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A credential as its issuer states it."""
    body = {"id": f"{kind}-1", "type": kind, "actor": holder, "valid_from": "2020-01-01", "valid_until": None}
    return {**body, "status": "active", "details": dict(details), **more}


def submission(signed: Signed) -> Submission:
    """What is handed to the write path."""
    return Submission(signed.statement.encode(), tuple(signed.disclosures))  # type: ignore[arg-type]


def received(sender: str, lot: str, quantity: Any, uom: str = "KGM") -> dict[str, Any]:
    row = {"lot": lot, "quantity": quantity, "uom": uom, "rejected": 0, "short": 0}
    return {"lots": [row], "sender": sender, "document": "S-1", "kde": {"check_result": "合格"}}


def refined(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, Any]:
    def rows(lots: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [{"lot": lot, "quantity": quantity, "uom": "KGM"} for lot, quantity in lots.items()]

    return {"inputs": rows(inputs), "outputs": rows(outputs), "kde": {"tea_product": "湄潭翠芽", "grade": "特级"}}


def sample_lines(family: str, keys: Path, now_ms: int = AFTER_THE_SAMPLES) -> list[Line]:
    """Every statement of a sample batch, signed by its actors, in order; attachments by made-up hashes."""
    directory = Directory.read(SAMPLES / family)
    signer = Signer(directory, Keys(keys), names=NAMES, origin=ORIGIN, templates=TEMPLATES, clock=lambda: now_ms / 1000)
    return [
        *signer.registrations(REGISTRAR_KEY, REGISTRAR_ID),
        *signer.credentials(),
        *signer.records(lambda actor, path: attachment(path)),
    ]


def attachment(path: Path) -> dict[str, Any]:
    """A file's hash, media type and size, as the service answers them."""
    media = {".jpg": "image/jpeg", ".png": "image/png", ".pdf": "application/pdf"}[path.suffix]
    content = path.read_bytes()
    return {
        "hash": f"ni:///sha-256;{base64url_text(sha256(content).digest())}", "mediaType": media, "bytes": len(content)
    }  # fmt: skip


def load(world: TraceWorld, lines: Sequence[Line], at_once: int = 50) -> list[Receipt]:
    """Submits a sample batch in batches; the first refusal is raised."""
    receipts: list[Receipt] = []
    for start in range(0, len(lines), at_once):
        for answer in world.submit_all([(line.signed, line.issuer) for line in lines[start : start + at_once]]):
            if isinstance(answer, Refusal):
                raise answer
            receipts.append(answer)
    return receipts


@dataclass(frozen=True)
class Samples:
    """The three sample batches on one ledger."""

    world: TraceWorld
    lines: dict[str, list[Line]]
    receipts: list[Receipt]

    def product(self, family: str) -> str:
        """The URI of the lot that the story is about."""
        return PRODUCTS[family]

    @property
    def all_lines(self) -> list[Line]:
        return [line for lines in self.lines.values() for line in lines]


@dataclass
class Trade:
    """A world with a county office, a cooperative with a plot, a factory with a product, a dealer and a laboratory."""

    world: TraceWorld
    office: Somebody
    grower: Somebody
    factory: Somebody
    dealer: Somebody
    laboratory: Somebody
    plot: str

    def harvest(self, label: str = "QY1", quantity: Any = 50, **more: Any) -> dict[str, Any]:
        members = {
            "plots": [self.plot], "lot": label, "quantity": quantity, "uom": "KGM", "moisture_percent": 77,
            "kde": {"tea_product": "湄潭翠芽", "cultivar": "黔湄601", "pick_standard": "独芽"},
        }  # fmt: skip
        return self.world.raw("tea.harvested", **{**members, **more})
