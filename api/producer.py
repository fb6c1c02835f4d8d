"""The producer's side: a directory of records becomes signed statements, as a producer's own system would make them.

A directory holds `batch.yaml`, `actors.yaml`, `credentials.yaml`, `records.yaml` and `files/`; people read and edit it.
Every actor signs with a device key of its own. What was signed is written to an outbox before it is sent, so a load
that was cut off sends the same statements again and nothing is recorded twice.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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


class _Loader(yaml.SafeLoader):
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

    def path(self, actor: str) -> Path:
        """Where an actor's device key lies."""
        return self.folder / f"{actor}.pem"

    def key(self, actor: str) -> PrivateKey:
        """The actor's device key; it guards itself by its file mode, as a phone's key store would."""
        path = self.path(actor)
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

    def text(self) -> str:
        """The NDJSON line."""
        return json.dumps(
            {
                "issuer": self.issuer,
                "what": self.what,
                "statement": self.signed.statement,
                "disclosures": [{"disclosure": d, "visibility": v} for d, v in self.signed.disclosures],
            },
            ensure_ascii=False,
        )

    @classmethod
    def parse(cls, text: str) -> Line:
        """Reads what `text` wrote."""
        line = json.loads(text)
        disclosures = tuple((item["disclosure"], item["visibility"]) for item in line["disclosures"])
        return cls(line["issuer"], Signed(line["statement"], disclosures), line["what"])


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

    def registrations(self, registrar: PrivateKey, registrar_id: str) -> Iterator[Line]:
        """The registrar's statements: who the actors are, and which device key is whose."""
        for actor in self.directory.actors:
            private = {"/name": "regulator"} if actor.get("kind") == "person" else {}
            yield Line(
                registrar_id,
                self._issue(ACTOR, actor, registrar, registrar_id, private),
                f"{actor['id']} {actor['name']['zh']}",
            )
            yield Line(
                registrar_id,
                self._issue(KEY, self.key_body(actor["id"]), registrar, registrar_id),
                f"{actor['id']} 设备密钥",
            )

    def key_body(self, actor: str) -> dict[str, Any]:
        """The body of the statement that registers an actor's device key."""
        key = self.keys.key(actor)
        return key_body(key, actor, self._origin, "device", int(self._clock() * 1000))

    def credentials(self) -> Iterator[Line]:
        """The credentials of the directory, each by its issuer."""
        for entry in self.directory.credentials:
            body = {name: value for name, value in entry.items() if name not in ("issuer", "plot")}
            body["status"] = entry.get("status", "active")
            if "plot" in entry:
                body["plot"] = self._plots.get(entry["plot"], entry["plot"])
            for name in ("valid_from", "valid_until"):
                if isinstance(body.get(name), date):
                    body[name] = body[name].isoformat()
            issuer = entry["issuer"]
            yield Line(
                issuer, self._issue(CREDENTIAL, body, self.keys.key(issuer), issuer), f"{entry['type']} {entry['id']}"
            )

    def records(self, attach: Callable[[str, Path], Mapping[str, Any]]) -> Iterator[Line]:
        """The records, in order, each signed by who recorded it.

        `attach(actor, path)` hands a file in and returns `{hash, mediaType, bytes}`. Raises Refusal naming the record.
        """
        for number, entry in enumerate(self.directory.records, start=1):
            actor, stage = entry["by"], self._templates.get(entry["stage"])
            what = f"{number} {entry['stage']} {str(entry.get('time', ''))[:10]}"
            if stage is None:
                raise Refusal(
                    "stage-unknown", field=f"records/{number}/stage", zh=f"没有这个环节：{entry['stage']}",
                    en=f"there is no stage {entry['stage']}",
                )  # fmt: skip
            raw = {name: value for name, value in entry.items() if name != "by"}
            if self.directory.batch.get("backfilled"):
                raw.setdefault("backfilled", True)
            if "attachments" in raw:
                raw["attachments"] = [
                    dict(attach(actor, self.directory.path / item)) if isinstance(item, str) else item
                    for item in raw["attachments"]
                ]
            record = normalise(raw, stage, actor, self._names, self._references(actor))
            self._lots.update({label["label"]: label["lot"] for label in record.get("labels", ())})
            if faults := validate(record, stage, self._names):
                faults[0].field = f"records/{number}{faults[0].field}"
                raise faults[0]
            composed = compose(record, stage, actor, self._names)
            private = tighten(composed.private, raw.get("visibility") or {})
            yield Line(actor, self._issue(EVENT, composed.event, self.keys.key(actor), actor, private), what)

    def _references(self, actor: str) -> References:
        return References(
            lot=self._lots.get,
            plot=lambda plot: (
                self._plots.get(plot) or (plot if plot.startswith("https://") else self._names.plot(actor, plot))
            ),
            new_lot=lambda: self._names.lot(actor, crockford_id()),
            event_id=uuid7,
        )


def key_body(key: PrivateKey, actor: str, origin: str, custody: str, from_ms: int) -> dict[str, Any]:
    """The body of a key statement with its proof of possession (formats section 1), open-ended from `from_ms`."""
    return {
        "kid": key.public.kid,
        "jwk": key.public.jwk,
        "actor": actor,
        "custody": custody,
        "from": from_ms,
        "until": None,
        "status": "active",
        "proof": base64url_text(key.sign(possession_message(origin, actor, key.public.kid))),
    }
