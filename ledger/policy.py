"""Whom a verifier trusts: logs, witnesses, quorum, auditors and registrars, read from a policy file that fails closed.

C2SP tlog-policy, with our lines as comments of that format (`docs/formats.md` section 6). Nothing of it ever comes
from what is being verified.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NoReturn, TypeVar

from .checkpoint import Checkpoint
from .encoding import base64_bytes, decimal_number
from .errors import ProofError, Refusal
from .keys import PublicKey, Registrar
from .merkle import HASH_SIZE
from .note import COSIGNATURE_KEY, LOG_KEY, Note, VerifierKey
from .strict_json import dump_json, strict_json

_T = TypeVar("_T")

NONE = "none"
MAX_POLICY_BYTES = 1_000_000
MAX_GROUPS = 256

_SPACE = re.compile(r"[ \t]+")
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class Log:
    """A log that is trusted under its key; the key's name is the log's origin."""

    key: VerifierKey
    url: str | None = None


@dataclass(frozen=True)
class Witness:
    """A witness under the name the policy gives it."""

    name: str
    key: VerifierKey
    url: str | None = None


@dataclass(frozen=True)
class Group:
    """A group has cosigned when `threshold` of its members (witnesses or groups) have."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True)
class Policy:
    """A policy file as read. `quorum` and `auditors` are the name of a witness or group, None for `none`.

    `max_index_age_s` is None when the file sets no limit; `finals` maps origins of closed logs to their last
    checkpoint.
    """

    logs: tuple[Log, ...]
    witnesses: tuple[Witness, ...]
    groups: tuple[Group, ...]
    quorum: str | None
    auditors: str | None = None
    registrars: tuple[Registrar, ...] = ()
    max_index_age_s: int | None = None
    finals: Mapping[str, Checkpoint] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str | bytes) -> Policy:
        """Read a policy file. ProofError, naming the line, for whatever is not exactly as the format says."""
        return _Reader().read(text)

    def text(self) -> str:
        """The file: `Policy.parse(policy.text()) == policy`."""
        lines = ["#suyuan policy v1"]
        lines += [" ".join(["log", log.key.vkey(), *filter(None, [log.url])]) for log in self.logs]
        lines += [" ".join(["witness", w.name, w.key.vkey(), *filter(None, [w.url])]) for w in self.witnesses]
        lines += [" ".join(["group", group.name, str(group.threshold), *group.members]) for group in self.groups]
        lines += [f"quorum {self.quorum or NONE}", f"#suyuan auditors {self.auditors or NONE}"]
        for registrar in self.registrars:
            until = "-" if registrar.until_ms is None else registrar.until_ms
            jwk = dump_json(registrar.public.jwk).decode()
            lines.append(f"#suyuan registrar {registrar.kid} {registrar.from_ms} {until} {jwk}")
        if self.max_index_age_s is not None:
            lines.append(f"#suyuan max-index-age {self.max_index_age_s}")
        for final in self.finals.values():
            lines.append(f"#suyuan final {' '.join(final.text().split())}")
        return "".join(f"{line}\n" for line in lines)

    def log_key(self, origin: str) -> VerifierKey | None:
        """The key of the log with this origin, None when the policy does not know the log."""
        return next((log.key for log in self.logs if log.key.name == origin), None)

    def cosigned(self, note: Note) -> dict[str, int]:
        """Witness name -> the first time (s) at which it cosigned the note. A false cosignature raises ProofError."""
        times = {witness.name: witness.key.cosignature_times(note) for witness in self.witnesses}
        return {name: found[0] for name, found in times.items() if found}

    def time_of(self, name: str | None, cosigned: Mapping[str, int]) -> int | None:
        """When a witness or group had cosigned: for k of n members the time of the k-th earliest; None when not."""
        if name is None:
            return None
        group = self._groups.get(name)
        if group is None:
            return cosigned.get(name)
        times = sorted(time_s for member in group.members if (time_s := self.time_of(member, cosigned)) is not None)
        return times[group.threshold - 1] if len(times) >= group.threshold else None

    def index_in_time(self, index_ms: int, quorum_s: int | None) -> bool:
        """Whether an index entry of log time `index_ms` is fresh enough in a checkpoint whose quorum was at `quorum_s`.

        So verifiers judge completeness (formats section 6, `max-index-age`); without a quorum time there is no limit.
        """
        if self.max_index_age_s is None or quorum_s is None:
            return True
        return quorum_s * 1000 - index_ms <= self.max_index_age_s * 1000

    @cached_property
    def _groups(self) -> dict[str, Group]:
        return {group.name: group for group in self.groups}


class _Reader:
    """Reads one file line by line; `where` is the line in hand."""

    def __init__(self) -> None:
        self.where = "policy"
        self.logs: list[Log] = []
        self.witnesses: list[Witness] = []
        self.groups: list[Group] = []
        self.quorum: list[str | None] = []
        self.auditors: list[str | None] = []
        self.registrars: list[Registrar] = []
        self.max_index_age_s: list[int] = []
        self.finals: dict[str, Checkpoint] = {}
        self.free: set[str] = set()
        self.taken: set[str] = set()
        self.keys: set[bytes] = set()
        self.versions = 0

    def read(self, text: str | bytes) -> Policy:
        if len(text) > MAX_POLICY_BYTES:
            self.fail("too large")
        try:
            decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        except UnicodeDecodeError:
            self.fail("not UTF-8")
        if _FORBIDDEN.search(decoded):
            self.fail("control characters other than tab and LF")
        if decoded and not decoded.endswith("\n"):
            self.fail("the last line does not end in LF")
        for number, line in enumerate(decoded.split("\n"), start=1):
            self.where = f"policy line {number}"
            self.line(line.strip(" \t"))
        self.where = "policy"
        if self.versions != 1:
            self.fail("no line '#suyuan policy v1'")
        if len(self.quorum) != 1:
            self.fail("no quorum line")
        for origin in self.finals:
            if all(log.key.name != origin for log in self.logs):
                self.fail(f"a final checkpoint of {origin}, which is not a listed log")
        return Policy(
            tuple(self.logs),
            tuple(self.witnesses),
            tuple(self.groups),
            self.quorum[0],
            self.auditors[0] if self.auditors else None,
            tuple(self.registrars),
            self.max_index_age_s[0] if self.max_index_age_s else None,
            self.finals,
        )

    def line(self, line: str) -> None:
        if not line:
            return
        items = _SPACE.split(line)
        if items[0] == "#suyuan":
            self.ours(line, items[1:])
            return
        if line.startswith("#"):
            return
        if not self.versions:
            self.fail("the line '#suyuan policy v1' comes before all others")
        match items:
            case ["log", vkey, *url] if len(url) <= 1:
                self.log(vkey, *url)
            case ["witness", name, vkey, *url] if len(url) <= 1:
                self.witness(name, vkey, *url)
            case ["group", name, threshold, *members] if members:
                self.group(name, threshold, members)
            case ["quorum", name]:
                self.once(self.quorum, "quorum", self.reference(name))
            case _:
                self.fail(f"not a policy line: {items[0]!r}")

    def ours(self, line: str, items: list[str]) -> None:
        if items == ["policy", "v1"]:
            self.versions += 1
            if self.versions > 1:
                self.fail("a second version line")
            return
        if not self.versions:
            self.fail("the line '#suyuan policy v1' comes before all others")
        match items:
            case ["auditors", name]:
                self.once(self.auditors, "auditors", self.reference(name))
            case ["registrar", kid, from_ms, until_ms, *_]:
                self.registrar(kid, from_ms, until_ms, _SPACE.split(line, maxsplit=5)[5:])
            case ["max-index-age", seconds]:
                self.once(self.max_index_age_s, "max-index-age", self.number(seconds))
            case ["final", origin, size, root]:
                self.final(origin, size, root)
            case _:
                self.fail("not a suyuan line this version knows")

    def log(self, vkey: str, url: str | None = None) -> None:
        key = self.key(vkey, LOG_KEY)
        if any(log.key.name == key.name for log in self.logs):
            self.fail(f"a second key for the log {key.name}: one log has one key")
        self.logs.append(Log(key, url))

    def witness(self, name: str, vkey: str, url: str | None = None) -> None:
        self.define(name)
        self.witnesses.append(Witness(name, self.key(vkey, COSIGNATURE_KEY), url))

    def group(self, name: str, threshold: str, members: list[str]) -> None:
        for member in members:
            if member not in self.free or member in self.taken:
                self.fail(f"{member!r} is not defined above, or a member already")
            self.taken.add(member)
        self.define(name)
        fixed = {"all": len(members), "any": 1}
        k = fixed[threshold] if threshold in fixed else self.number(threshold)
        if not 1 <= k <= len(members):
            self.fail(f"{threshold} of {len(members)} is no threshold")
        if len(self.groups) == MAX_GROUPS:
            self.fail(f"more than {MAX_GROUPS} groups")
        self.groups.append(Group(name, k, tuple(members)))

    def registrar(self, kid: str, from_ms: str, until_ms: str, jwk: list[str]) -> None:
        begin = self.number(from_ms)
        end = None if until_ms == "-" else self.number(until_ms)
        try:
            public = PublicKey.from_jwk(strict_json("".join(jwk).encode("utf-8")))
        except Refusal as refusal:
            self.fail(refusal.en)
        if public.kid != kid:
            self.fail("the registrar's kid is not the thumbprint of its key")
        if end is not None and end <= begin:
            self.fail("the registrar's window is empty")
        self.register(public.x)
        self.registrars.append(Registrar(kid, begin, end, public))

    def final(self, origin: str, size: str, root: str) -> None:
        if origin in self.finals:
            self.fail(f"a second final checkpoint of {origin}")
        try:
            self.finals[origin] = Checkpoint(origin, decimal_number(size), base64_bytes(root, HASH_SIZE))
        except (ValueError, ProofError) as error:
            self.fail(str(error))

    def key(self, vkey: str, key_type: int) -> VerifierKey:
        try:
            key = VerifierKey.parse(vkey)
        except ProofError as error:
            self.fail(str(error))
        if key.key_type != key_type:
            self.fail(f"a key of type 0x{key.key_type:02x} where 0x{key_type:02x} belongs")
        self.register(key.public)
        return key

    def register(self, public: bytes) -> None:
        if public in self.keys:
            self.fail("a key is listed under two names")
        self.keys.add(public)

    def define(self, name: str) -> None:
        if name == NONE or name in self.free:
            self.fail(f"the name {name!r} is reserved or defined twice")
        self.free.add(name)

    def reference(self, name: str) -> str | None:
        if name == NONE:
            return None
        if name not in self.free:
            self.fail(f"{name!r} is not defined above")
        return name

    def number(self, text: str) -> int:
        try:
            return decimal_number(text)
        except ValueError as error:
            self.fail(str(error))

    def once(self, place: list[_T], what: str, value: _T) -> None:
        if place:
            self.fail(f"a second {what} line")
        place.append(value)

    def fail(self, message: str) -> NoReturn:
        raise ProofError(message, where=self.where)
