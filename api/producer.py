"""The producer's side: a directory of records becomes signed statements, as a producer's own system would make them.

A directory holds `batch.yaml`, `actors.yaml`, `credentials.yaml`, `records.yaml` and `files/`; people read and edit it.
Every actor signs with a device key of its own. What was signed is written to an outbox before it is sent, so a load
that was cut off sends the same statements again and nothing is recorded twice.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from ..ledger.encoding import base64url_text
from ..ledger.errors import Refusal
from ..ledger.keys import PrivateKey, load_private_key, possession_message, save_private_key
from ..ledger.statement import Signed, issue
from ..trace.naming import Names, crockford_id, uuid7
from ..trace.record import References, compose, normalise, tighten, validate
from ..trace.template import Templates

EVENT, ACTOR, KEY, CREDENTIAL = "trace-event+sd-jwt", "actor+jwt", "key+jwt", "credential+jwt"
KEY_LEAD_MS = 600_000
"""How long before its registration a device key is said to count from: two clocks are never quite the same."""

try:
    from yaml import CSafeLoader as _YamlLoader  # libyaml reads several times faster
except ImportError:
    from yaml import SafeLoader as _YamlLoader  # type: ignore[assignment]


class _Loader(_YamlLoader):
    """YAML with exact decimals, and dates left as the text they are."""


_Loader.add_constructor("tag:yaml.org,2002:float", lambda loader, node: Decimal(str(node.value)))
_Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda loader, node: str(node.value))


def read_yaml(path: Path) -> Any:
    """The content of a YAML file, numbers as exact decimals; None when there is no such file."""
    return yaml.load(path.read_text(encoding="utf-8"), _Loader) if path.exists() else None


@dataclass(frozen=True)
class Directory:
    """A sample batch, or a producer's own export in the same form."""

    path: Path
    batch: Mapping[str, Any]
    actors: Sequence[Mapping[str, Any]]
    credentials: Sequence[Mapping[str, Any]]
    records: Sequence[Mapping[str, Any]]

    @classmethod
    def read(cls, path: Path) -> Directory:
        """Reads a directory. Raises FileNotFoundError when it has no `records.yaml`, yaml.YAMLError for a bad file."""
        if not (path / "records.yaml").exists():
            raise FileNotFoundError(path / "records.yaml")
        return cls(
            path,
            read_yaml(path / "batch.yaml") or {},
            read_yaml(path / "actors.yaml") or (),
            read_yaml(path / "credentials.yaml") or (),
            read_yaml(path / "records.yaml"),
        )


@dataclass(frozen=True)
class Keys:
    """Device keys as files of a folder, one an actor, made when first asked for."""

    folder: Path
    _making: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def path(self, actor: str) -> Path:
        """Where an actor's device key lies."""
        return self.folder / f"{actor}.pem"

    def key(self, actor: str) -> PrivateKey:
        """The actor's device key; it guards itself by its file mode, as a phone's key store would."""
        path = self.path(actor)
        with self._making:
            if not path.exists():
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                save_private_key(path, PrivateKey.generate(), None)
        return load_private_key(path, None)


@dataclass(frozen=True)
class Line:
    """One statement to send, as a line of the outbox."""

    issuer: str
    signed: Signed
    what: str
    """For people: which record this is."""
    source: str = ""
    """Digest of what was signed, as the directory has it: tells whether that has changed since."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Lots that got their random ids here: the maker's label -> URI."""

    @property
    def hash(self) -> str:
        """Lower-case hex SHA-256 of the statement, by which the service knows it."""
        return hashlib.sha256(self.signed.statement.encode("ascii")).hexdigest()

    @property
    def submission(self) -> dict[str, Any]:
        """What is sent: a line of `POST /api/v1/statements`."""
        return {
            "statement": self.signed.statement,
            "disclosures": [
                {"disclosure": text, **({"visibility": visibility} if visibility else {})}
                for text, visibility in self.signed.disclosures
            ],
        }

    def text(self) -> str:
        """The outbox line."""
        about = {"issuer": self.issuer, "what": self.what, "source": self.source, "labels": dict(self.labels)}
        return json.dumps({**about, **self.submission}, ensure_ascii=False)

    @classmethod
    def parse(cls, text: str) -> Line:
        """Reads what `text` wrote."""
        line = json.loads(text)
        disclosures = tuple((item["disclosure"], item.get("visibility", "")) for item in line["disclosures"])
        signed = Signed(line["statement"], disclosures)
        return cls(line["issuer"], signed, line["what"], line["source"], line["labels"])


class Signer:
    """Signs for the actors of one directory, for one service."""

    def __init__(
        self,
        directory: Directory,
        keys: Keys,
        *,
        names: Names,
        origin: str,
        templates: Templates,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.directory = directory
        self.keys = keys
        self._names = names
        self._origin = origin
        self._templates = templates
        self._clock = clock
        self._lots: dict[str, str] = {}
        self._plots = {
            entry["plot"]: names.plot(entry["actor"], entry["plot"])
            for entry in directory.credentials
            if "plot" in entry and not entry["plot"].startswith("https://")
        }

    def _issue(
        self, typ: str, body: Mapping[str, Any], key: PrivateKey, issuer: str, private: Mapping[str, str] | None = None
    ) -> Signed:
        return issue(typ, body, key=key, iss=issuer, aud=self._origin, iat=int(self._clock()), private=private or {})

    def registrations(self, registrar: PrivateKey, registrar_id: str, kept: Iterable[Line] = ()) -> Iterator[Line]:
        """The registrar's statements: who the actors are, and which device key is whose; `kept` as in `credentials`."""
        known = {line.source: line for line in kept}
        for actor in self.directory.actors:
            source = _digest(actor)
            yield known.get(source) or Line(
                registrar_id,
                self._issue(ACTOR, actor, registrar, registrar_id, private_members(actor)),
                f"{actor['id']} {actor['name']['zh']}",
                source,
            )
            source = f"key {self.keys.key(actor['id']).public.kid}"
            yield known.get(source) or Line(
                registrar_id,
                self._issue(KEY, self.key_body(actor["id"]), registrar, registrar_id),
                f"{actor['id']} 设备密钥",
                source,
            )

    def key_body(self, actor: str) -> dict[str, Any]:
        """The body of the statement that registers an actor's device key."""
        from_ms = int(self._clock() * 1000) - KEY_LEAD_MS
        return key_body(self.keys.key(actor), actor, self._origin, "device", from_ms)

    def credentials(self, kept: Iterable[Line] = ()) -> Iterator[Line]:
        """The credentials of the directory, each by its issuer; those of `kept` that have not changed as they are."""
        known = {line.source: line for line in kept}
        for entry in self.directory.credentials:
            source = _digest(entry)
            yield known.get(source) or self._credential(entry, source)

    def _credential(self, entry: Mapping[str, Any], source: str) -> Line:
        body = {name: value for name, value in entry.items() if name not in ("issuer", "plot")}
        body["status"] = entry.get("status", "active")
        if "plot" in entry:
            body["plot"] = self._plots.get(entry["plot"], entry["plot"])
        for name in ("valid_from", "valid_until"):
            if isinstance(body.get(name), date):
                body[name] = body[name].isoformat()
        issuer = entry["issuer"]
        signed = self._issue(CREDENTIAL, body, self.keys.key(issuer), issuer)
        return Line(issuer, signed, f"{entry['type']} {entry['id']}", source)

    def records(self, attach: Callable[[str, Path], Mapping[str, Any]], kept: Sequence[Line] = ()) -> Iterator[Line]:
        """The records, in order, each signed by who recorded it.

        `attach(actor, path)` hands a file in and returns `{hash, mediaType, bytes}`. `kept` are lines signed before:
        as far as the directory still begins with the same records they are given as they are, so that lots keep their
        ids. Raises Refusal naming the record.
        """
        unchanged = True
        for number, entry in enumerate(self.directory.records, start=1):
            raw = {name: value for name, value in entry.items() if name != "by"}
            if self.directory.batch.get("backfilled"):
                raw.setdefault("backfilled", True)
            source = self._source(entry["by"], raw)
            unchanged = unchanged and number <= len(kept) and kept[number - 1].source == source
            line = kept[number - 1] if unchanged else self._record(number, entry["by"], raw, source, attach)
            self._lots.update(line.labels)
            yield line

    def _source(self, actor: str, raw: Mapping[str, Any]) -> str:
        """The digest of a record, with the content of its files."""
        files = [item for item in raw.get("attachments", ()) if isinstance(item, str)]
        contents = [hashlib.sha256((self.directory.path / name).read_bytes()).hexdigest() for name in files]
        return _digest([actor, raw, contents])

    def _record(
        self,
        number: int,
        actor: str,
        raw: dict[str, Any],
        source: str,
        attach: Callable[[str, Path], Mapping[str, Any]],
    ) -> Line:
        stage = self._templates.get(raw["stage"])
        if stage is None:
            raise Refusal(
                "stage-unknown", field=f"records/{number}/stage", zh=f"没有这个环节：{raw['stage']}",
                en=f"there is no stage {raw['stage']}",
            )  # fmt: skip
        if "attachments" in raw:
            raw["attachments"] = [
                dict(attach(actor, self.directory.path / item)) if isinstance(item, str) else item
                for item in raw["attachments"]
            ]
        try:
            owner = self._owner(actor, raw)
            record = normalise(raw, stage, owner, self._names, self._references(owner))
            faults = validate(record, stage, self._names)
        except Refusal as refusal:
            faults = [refusal]
        if faults:
            faults[0].field = f"records/{number}{faults[0].field}"
            raise faults[0]
        composed = compose(record, stage, actor, self._names)
        private = tighten(composed.private, raw.get("visibility") or {})
        signed = self._issue(EVENT, composed.event, self.keys.key(actor), actor, private)
        labels = {label["label"]: label["lot"] for label in record.get("labels", ())}
        return Line(actor, signed, f"{number} {raw['stage']} {str(raw.get('time', ''))[:10]}", source, labels)

    def _owner(self, actor: str, raw: Mapping[str, Any]) -> str:
        """Whose lots and plots a record is about: the principal's where the directory has a delegation to `actor`."""
        principal = raw.get("on_behalf_of")
        for entry in self.directory.credentials if principal is not None else ():
            if (entry["type"], entry["actor"], entry.get("status", "active")) == ("delegation", actor, "active"):
                details = entry["details"]
                if details["principal"] == principal and raw["stage"] in details.get("stages", [raw["stage"]]):
                    return str(principal)
        return actor

    def _references(self, actor: str) -> References:
        return References(
            lot=self._lots.get,
            plot=lambda plot: (
                self._plots.get(plot) or (plot if plot.startswith("https://") else self._names.plot(actor, plot))
            ),
            new_lot=lambda: self._names.lot(actor, crockford_id()),
            event_id=uuid7,
        )


def private_members(actor: Mapping[str, Any]) -> dict[str, str]:
    """What of an actor statement's body is private: a person's name."""
    return {"/name": "regulator"} if actor.get("kind") == "person" else {}


def key_body(
    key: PrivateKey, actor: str, origin: str, custody: str, from_ms: int, endorser: PrivateKey | None = None
) -> dict[str, Any]:
    """The body of a key statement with its proof of possession (formats section 1), open-ended from `from_ms`.

    `endorser` is an earlier device key of the actor that vouches for the new one; without, the key will be shown as
    added by the registrar.
    """
    message = possession_message(origin, actor, key.public.kid)
    by = None if endorser is None else {"kid": endorser.public.kid, "signature": base64url_text(endorser.sign(message))}
    return {
        **({} if by is None else {"endorsed_by": by}),
        "kid": key.public.kid,
        "jwk": key.public.jwk,
        "actor": actor,
        "custody": custody,
        "from": from_ms,
        "until": None,
        "status": "active",
        "proof": base64url_text(key.sign(message)),
    }


def _digest(value: Any) -> str:
    """Hex SHA-256 of YAML content, the same whatever the order of members."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
