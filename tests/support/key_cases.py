"""When a signature counts and when not: one list of short ledgers, for every verifier to give the same answer on.

A case is a list of statements with their log times. All but the last hold; `rule` is why the last does not count, None
when it does. `docs/formats.md` section 1, "Who may sign what".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from ledgers import NOON, ORIGIN
from suyuan.ledger.encoding import base64url_text
from suyuan.ledger.keys import PrivateKey, Registrar, possession_message
from suyuan.ledger.policy import Policy
from suyuan.ledger.statement import Signed, issue
from suyuan.trace.naming import crockford_id
from suyuan.trace.record import References, compose, normalise
from trace_world import ACTOR, EVENT, KEY, NAMES, PLACE, TEMPLATES, actor_id, fixed_key

FIRST, SECOND = "REGISTRAR", "REGISTRAR-2"
GROWER, OTHER = actor_id(701), actor_id(702)
OLD, NEW, SERVICE, ES = fixed_key("old"), fixed_key("new"), fixed_key("service"), PrivateKey.generate("ES256")
OTHERS = fixed_key("other's")
HOUR = 3_600_000
CHANGE = NOON + 100 * HOUR
"""When the first registrar's time is over and the second's begins."""
REGISTRARS = (
    Registrar(fixed_key(FIRST).public.kid, 0, CHANGE, fixed_key(FIRST).public),
    Registrar(fixed_key(SECOND).public.kid, CHANGE, None, fixed_key(SECOND).public),
)


@dataclass(frozen=True)
class Step:
    """One statement and the log time of its entry."""

    time_ms: int
    typ: str
    iss: str
    signed: Signed


@dataclass(frozen=True)
class Case:
    """`rule` is what every verifier says of the last step; `instead` has those that call it by another name."""

    name: str
    steps: tuple[Step, ...]
    rule: str | None
    instead: Mapping[str, str] = field(default_factory=dict)


class Author:
    """Writes a case step by step; `time_ms` is the log's clock."""

    def __init__(self) -> None:
        self.time_ms = NOON
        self.steps: list[Step] = []
        for actor in (GROWER, OTHER):
            name = {"zh": "示范", "en": "Sample"}
            body = {"id": actor, "name": name, "kind": "organisation", "roles": ["grower"]}
            self.put(ACTOR, body, fixed_key(FIRST), FIRST)

    def put(self, typ: str, body: Mapping[str, Any], key: PrivateKey, iss: str, aud: str = ORIGIN) -> None:
        private: Mapping[str, str] = {}
        if typ == EVENT:
            body, private = body["event"], body["private"]
        signed = issue(typ, body, key=key, iss=iss, aud=aud, iat=self.time_ms // 1000, private=private)
        self.steps.append(Step(self.time_ms, typ, iss, signed))

    def key(self, key: PrivateKey, actor: str = GROWER, by: str | None = None, **members: Any) -> None:
        """A key statement; `endorser` signs for it, `aud` is the log its proof of possession is for."""
        endorser, aud = members.pop("endorser", None), members.pop("aud", ORIGIN)
        kid, registrar = key.public.kid, by or (FIRST if self.time_ms < CHANGE else SECOND)
        body = {
            "kid": kid, "jwk": key.public.jwk, "actor": actor, "custody": "device", "from": 0, "until": None,
            "status": "active", "proof": base64url_text(key.sign(possession_message(aud, actor, kid))), **members,
        }  # fmt: skip
        if endorser is not None:
            signature = base64url_text(endorser.sign(possession_message(ORIGIN, actor, kid)))
            body["endorsed_by"] = {"kid": endorser.public.kid, "signature": signature}
        self.put(KEY, body, fixed_key(registrar), registrar)

    def event(self, key: PrivateKey = OLD, iss: str = GROWER, aud: str = ORIGIN) -> None:
        """A lot brought in, an hour before it is signed."""
        time = datetime.fromtimestamp((self.time_ms - HOUR) / 1000, timezone(timedelta(hours=8)))
        raw = {
            "stage": "common.introduced", "time": time.isoformat(timespec="seconds"), "place": PLACE, "lot": "L",
            "quantity": 1, "uom": "KGM", "kde": {"goods": "茶青", "source_kind": "外购", "origin": "湄潭"},
        }  # fmt: skip
        stage = TEMPLATES.stages["common.introduced"]
        numbers = References(
            lot=lambda label: None, plot=str, new_lot=lambda: NAMES.lot(iss, crockford_id()),
            event_id=lambda: f"urn:uuid:0190{len(self.steps):04d}-0000-7000-8000-000000000000",
        )  # fmt: skip
        composed = compose(normalise(raw, stage, iss, NAMES, numbers), stage, iss, NAMES)
        self.put(EVENT, {"event": composed.event, "private": composed.private}, key, iss, aud)


_WRITERS: list[tuple[str, str | None, Mapping[str, str], Callable[[Author], None]]] = []


def _case(
    name: str, rule: str | None = None, **instead: str
) -> Callable[[Callable[[Author], None]], Callable[[Author], None]]:
    def keep(write: Callable[[Author], None]) -> Callable[[Author], None]:
        _WRITERS.append((name, rule, instead, write))
        return write

    return keep


def cases() -> Iterator[Case]:
    """All of them, each signed afresh."""
    for name, rule, instead, write in _WRITERS:
        author = Author()
        write(author)
        yield Case(name, tuple(author.steps), rule, instead)


def policy_of(vkey: str) -> Policy:
    """The policy of a log with both registrars."""
    text = f"#suyuan policy v1\nlog {vkey}\nquorum none\n"
    return Policy(Policy.parse(text).logs, (), (), None, registrars=REGISTRARS)


# ---------------------------------------------------------------- windows


@_case("a key with an open window")
def _open(a: Author) -> None:
    a.key(OLD)
    a.event()


@_case("a key of the other algorithm")
def _es256(a: Author) -> None:
    a.key(ES)
    a.event(ES)


@_case("one millisecond before the window", "key-window")
def _early(a: Author) -> None:
    a.key(OLD, **{"from": NOON + 1})
    a.event()


@_case("at the window's first millisecond")
def _first(a: Author) -> None:
    a.key(OLD, **{"from": NOON + HOUR})
    a.time_ms += HOUR
    a.event()


@_case("at the window's last millisecond")
def _last(a: Author) -> None:
    a.key(OLD, until=NOON + HOUR)
    a.time_ms += HOUR - 1
    a.event()


@_case("at the millisecond where the window is over", "key-window")
def _over(a: Author) -> None:
    a.key(OLD, until=NOON + HOUR)
    a.time_ms += HOUR
    a.event()


@_case("after a window that was shortened later", "key-window")
def _shortened(a: Author) -> None:
    a.key(OLD)
    a.event()
    a.key(OLD, until=NOON + 1)
    a.time_ms += 1
    a.event()


@_case("within a window that was made longer")
def _longer(a: Author) -> None:
    a.key(OLD, until=NOON + 1)
    a.key(OLD, until=None)
    a.time_ms += HOUR
    a.event()


# ---------------------------------------------------------------- registration and revocation


@_case("a key that nobody registered", "key-unknown")
def _unknown(a: Author) -> None:
    a.event()


@_case("a revoked key", "key-revoked")
def _revoked(a: Author) -> None:
    a.key(OLD)
    a.event()
    a.key(OLD, status="revoked")
    a.event()


@_case("a revoked key that comes back", "key-revoked")
def _returned(a: Author) -> None:
    a.key(OLD)
    a.key(OLD, status="revoked")
    a.time_ms += HOUR
    a.key(OLD)


@_case("a revoked key that comes back to somebody else", "key-revoked")
def _given(a: Author) -> None:
    a.key(OLD)
    a.key(OLD, status="revoked")
    a.key(OLD, OTHER)


@_case("a revocation of a key that nobody registered", "key-unknown")
def _revoked_unknown(a: Author) -> None:
    a.key(OLD, status="revoked")


@_case("the proof of possession of another log", "key-proof")
def _foreign_proof(a: Author) -> None:
    a.key(OLD, aud="other.example/1")


@_case("a key of somebody else, registered again", "key-actor")
def _taken(a: Author) -> None:
    a.key(OLD, OTHER)
    a.key(OLD)


@_case("a registrar's key as somebody's own", "key-actor")
def _registrars(a: Author) -> None:
    a.key(fixed_key(FIRST))


# ---------------------------------------------------------------- actor, log, kind


@_case("another actor's key", "signer-actor")
def _others(a: Author) -> None:
    a.key(OTHERS, OTHER)
    a.event(OTHERS, GROWER)


@_case("a statement for another log", "statement-audience", capture="audience")
def _other_log(a: Author) -> None:
    a.key(OLD)
    a.event(aud="other.example/1")


@_case("an event that a registrar signed", "signer-kind")
def _registrar_event(a: Author) -> None:
    a.event(fixed_key(FIRST), GROWER)


@_case("a key that an actor signed for itself", "signer-kind")
def _own_key(a: Author) -> None:
    a.key(OLD)
    kid = NEW.public.kid
    proof = base64url_text(NEW.sign(possession_message(ORIGIN, GROWER, kid)))
    body = {"kid": kid, "jwk": NEW.public.jwk, "actor": GROWER, "custody": "device", "from": 0, "until": None}
    a.put(KEY, {**body, "status": "active", "proof": proof}, OLD, GROWER)


@_case("roles that an actor gave itself", "signer-kind")
def _own_roles(a: Author) -> None:
    a.key(OLD)
    name = {"zh": "示范", "en": "Sample"}
    a.put(ACTOR, {"id": GROWER, "name": name, "kind": "organisation", "roles": ["authority"]}, OLD, GROWER)


# ---------------------------------------------------------------- rotation, lost phone


@_case("a new key that the old one endorsed")
def _rotated(a: Author) -> None:
    a.key(OLD)
    a.key(NEW, endorser=OLD)
    a.key(OLD, until=NOON + 1)
    a.time_ms += HOUR
    a.event(NEW)


@_case("the old key after it was rotated out", "key-window")
def _rotated_out(a: Author) -> None:
    a.key(OLD)
    a.key(NEW, endorser=OLD)
    a.key(OLD, until=NOON + 1)
    a.time_ms += HOUR
    a.event(OLD)


@_case("a new key after the phone was lost, added by the registrar")
def _recovered(a: Author) -> None:
    a.key(OLD)
    a.key(OLD, status="revoked")
    a.key(NEW)
    a.event(NEW)


@_case("the lost phone", "key-revoked")
def _lost(a: Author) -> None:
    a.key(OLD)
    a.key(OLD, status="revoked")
    a.key(NEW)
    a.event(OLD)


@_case("an endorsement by a revoked key", "key-endorsement")
def _endorsed_by_revoked(a: Author) -> None:
    a.key(OLD)
    a.key(OLD, status="revoked")
    a.key(NEW, endorser=OLD)


@_case("an endorsement by a key whose window is over", "key-endorsement")
def _endorsed_late(a: Author) -> None:
    a.key(OLD, until=NOON + 1)
    a.time_ms += 1
    a.key(NEW, endorser=OLD)


@_case("an endorsement by another actor's key", "key-endorsement")
def _endorsed_by_other(a: Author) -> None:
    a.key(OTHERS, OTHER)
    a.key(NEW, endorser=OTHERS)


@_case("an endorsement by a key that the service holds", "key-endorsement")
def _endorsed_by_service(a: Author) -> None:
    a.key(SERVICE, custody="service")
    a.key(NEW, endorser=SERVICE)


@_case("a service-held key, rotated")
def _service(a: Author) -> None:
    a.key(SERVICE, custody="service", until=NOON + HOUR)
    a.key(NEW, custody="service", **{"from": NOON + HOUR})
    a.time_ms += HOUR
    a.event(NEW)


# ---------------------------------------------------------------- another registrar


@_case("a key of the old registrar's, after its time")
def _registered_before(a: Author) -> None:
    a.time_ms = CHANGE - 1
    a.key(OLD)
    a.time_ms = CHANGE
    a.event()


@_case("a key statement of the old registrar after its time", "key-window")
def _old_registrar(a: Author) -> None:
    a.time_ms = CHANGE
    a.key(OLD, by=FIRST)


@_case("a key statement of the new registrar before its time", "key-window")
def _new_registrar_early(a: Author) -> None:
    a.time_ms = CHANGE - 1
    a.key(OLD, by=SECOND)


@_case("a key statement of the new registrar")
def _new_registrar(a: Author) -> None:
    a.time_ms = CHANGE
    a.key(OLD, by=SECOND)
    a.event()


@_case("a key of the old registrar's, revoked by the new one", "key-revoked")
def _revoked_by_new(a: Author) -> None:
    a.key(OLD)
    a.time_ms = CHANGE
    a.key(OLD, by=SECOND, status="revoked")
    a.event()


@_case("a registrar that the policy does not know", "signer-kind")
def _stranger(a: Author) -> None:
    a.key(OLD, by="SOMEBODY")
