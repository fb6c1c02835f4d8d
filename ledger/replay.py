"""What the statements of one log add up to, in log order: whose keys count, who has which role, which events exist.

The rules of formats section 1 ("Who may sign what", one entry a signing input) and section 2 (chain lines), as far as
they can be judged from the statements that are at hand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from sys import intern
from typing import Any

from .encoding import base64_bytes
from .entry import Entry
from .findings import does_not_hold
from .keys import KeyRing, Registrar
from .merkle import HASH_SIZE
from .statement import Statement
from .subjects import CORRECTS, chain_order, event_subjects, own_subjects, subject_hash

EVENT = "trace-event+sd-jwt"


@dataclass(frozen=True)
class Logged:
    """A statement with the entry that stands for it at `index`; `position` is its place in the bundle."""

    position: int
    origin: str
    index: int
    entry: Entry
    statement: Statement
    subjects: tuple[str, ...] = ()


class Replay:
    """Statements of the log `origin`, given one after the other; every method raises Refusal for what breaks a rule."""

    def __init__(self, registrars: Sequence[Registrar], origin: str) -> None:
        self._ring = KeyRing(registrars, origin)
        self._roles: dict[str, frozenset[str]] = {}
        self._events: dict[str, tuple[str, ...] | None] = {}
        self._makers: dict[str, set[str]] = defaultdict(set)
        self._signed: set[bytes] = set()
        self._issuers: dict[bytes, tuple[str, tuple[str, ...]]] = {}
        self._last_index = -1

    def in_order(self, logged: Logged) -> None:
        """Once each, in log order, and one entry a signing input."""
        signed, index = logged.statement.signing_hash, logged.index
        twice, late = signed in self._signed, index <= self._last_index
        self._signed.add(signed)
        self._last_index = max(index, self._last_index)
        if twice:
            raise does_not_hold("statement-twice", "同一声明有两个条目", "the same signing input has two entries")
        if late:
            raise does_not_hold("order", "声明未按日志顺序列出一次", "statements are not once each in log order")

    def signature(self, logged: Logged) -> None:
        """A key that counts at this entry, and its signature over the bytes as sent."""
        statement = logged.statement
        public = self._ring.signer(
            statement.typ, statement.kid, statement.iss, index=logged.index, time_ms=logged.entry.time_ms
        )
        if not statement.verify(public):
            raise does_not_hold("statement-signature", "签名不成立", "the signature does not hold")

    def subjects(self, logged: Logged) -> tuple[str, ...]:
        """The subjects of the statement, which the chain lines of its entry must be."""
        statement = logged.statement
        inherited: tuple[str, ...] = ()
        if statement.typ == EVENT and CORRECTS in statement.body:
            inherited = self._corrected(statement.body[CORRECTS])
        subjects = chain_order((*own_subjects(statement.typ, statement.body), *inherited))
        if [subject_hash(subject) for subject in subjects] != [link.subject for link in logged.entry.chain]:
            raise does_not_hold(
                "chain-lines",
                "链行与声明涉及的对象不符",
                "the chain lines are not those that follow from the statement",
            )
        return subjects

    def take_in(self, logged: Logged, *, sound: bool) -> None:
        """Let a statement count for later ones; unsound ones add no keys, roles or products."""
        typ, body = logged.statement.typ, logged.statement.body
        self._issuers[logged.statement.hash] = (intern(logged.statement.iss), logged.subjects)
        if typ == EVENT:
            self._event(logged)
        elif not sound:
            return
        elif typ == "key+jwt":
            self._ring.apply(body, logged.index, time_ms=logged.entry.time_ms)
        elif typ == "actor+jwt":
            roles = body.get("roles")
            names = roles if isinstance(roles, list) else []
            self._roles[str(body.get("id"))] = frozenset(role for role in names if isinstance(role, str))
        elif typ == "credential+jwt" and isinstance(body.get("product"), str):
            self._makers[f"01/{body['product']}"].add(str(body.get("actor")))
        elif typ in ("notice+jwt", "recall+jwt"):
            self._authority(logged)
        elif typ == "erasure+jwt":
            self._erasure(logged)

    def _corrected(self, event_id: object) -> tuple[str, ...]:
        inherited = self._events.get(event_id) if isinstance(event_id, str) else None
        if inherited is None:
            raise does_not_hold(
                "corrected-missing", f"更正的原事件缺失：{event_id}", f"corrected event missing: {event_id}"
            )
        return inherited

    def _event(self, logged: Logged) -> None:
        body, iss = logged.statement.body, logged.statement.iss
        event_id = body.get("eventID")
        if not isinstance(event_id, str):
            raise does_not_hold("event-id", "事件缺少 eventID", "an event has an eventID")
        if event_id in self._events:
            raise does_not_hold("event-id-twice", "同一 eventID 有两条声明", "two statements have the same eventID")
        self._events[event_id] = logged.subjects or None
        for lot in event_subjects(body, *made_in(body)):
            self._makers[lot].add(iss)

    def _authority(self, logged: Logged) -> None:
        """Notices need the role authority; recalls need it or are the lot producer's own."""
        iss = logged.statement.iss
        own = logged.statement.typ == "recall+jwt" and all(self._makes(iss, lot) for lot in logged.subjects)
        if not own and "authority" not in self._roles.get(iss, frozenset()):
            raise does_not_hold("role", "签发者没有所需的角色", "its issuer has not the role authority that it needs")

    def _erasure(self, logged: Logged) -> None:
        """Erasures stand where the erased statement stands, and are its issuer's own or an authority's."""
        erased = str(logged.statement.body.get("statement"))
        try:
            issuer, subjects = self._issuers.get(base64_bytes(erased, HASH_SIZE), (None, None))
        except ValueError:
            issuer, subjects = None, None
        if subjects is not None and logged.subjects and subjects != logged.subjects:
            raise does_not_hold(
                "erasure-subjects", "删除声明的链条与被删声明不同", "an erasure stands on the chains of what it erases"
            )
        if logged.statement.iss != issuer and "authority" not in self._roles.get(logged.statement.iss, frozenset()):
            raise does_not_hold(
                "role", "只有签发者或主管部门可以删除", "only the statement's issuer or an authority erases its fields"
            )

    def _makes(self, actor: str, lot: str) -> bool:
        """By the name of the lot, by an event that made it, or by the product's credential."""
        by_name = lot.startswith(f"lot/{actor}/")
        return by_name or any(actor in self._makers.get(made, ()) for made in (lot, lot.partition("/10/")[0]))


def made_in(body: Mapping[str, Any]) -> tuple[str, ...]:
    """The members of an event that name the lots it makes."""
    if body.get("type") == "ObjectEvent" and body.get("action") == "ADD":
        return ("epcList", "quantityList")
    return ("outputEPCList", "outputQuantityList")
