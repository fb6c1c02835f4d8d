"""Loading a directory of records through the public API: each actor signs with its own key and sends for itself.

1. the registrar registers the actors and their device keys (where the registrar's key is at hand);
2. issuers send credentials: plots, licences, products;
3. files are handed in, records are signed in their order, and sent in runs of one issuer.

Everything is signed into an outbox first; a load that was cut off goes on where it stopped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from ..ledger.errors import Refusal
from ..ledger.keys import PrivateKey
from ..ledger.statement import issue
from ..trace.naming import Names
from ..trace.template import Templates
from .client import ClientError, Recorded, Refused, Service
from .producer import KEY, KEY_LEAD_MS, Directory, Line, Signer
from .producer_home import Home, Outbox

REGISTRAR_ID = "registrar"
"""Issuer of a registrar's statements, where nothing else was agreed: the policy knows registrars by their keys."""
AT_ONCE = 4


class Progress(Protocol):
    """Where progress is shown."""

    def task(self, label: str, total: int) -> Callable[[int], None]:
        """Announce `total` steps; the answer is called with the number of steps done since."""


class Silent:
    """Progress that nobody sees."""

    def task(self, label: str, total: int) -> Callable[[int], None]:
        return lambda steps: None


class Producers:
    """Producers whose keys lie in one home, sending to one service. May be used from several threads."""

    def __init__(self, service: Service, home: Home, templates: Templates, progress: Progress | None = None) -> None:
        self.service = service
        self.home = home
        self._templates = templates
        self.progress = progress or Silent()
        self._registrar: tuple[str, PrivateKey] | None = None
        self._lent: dict[str, PrivateKey] = {}
        self._api_keys = home.api_keys()
        self._asking = threading.Lock()
        self._trust()

    def _trust(self) -> None:
        """Hold on to the log this home was first used with."""
        trusted = self.home.trusted()
        if trusted is None:
            self.home.trust(self.service.policy_text)
        elif [log.key for log in trusted.logs] != [log.key for log in self.service.policy.logs]:
            raise ClientError(
                f"{self.home.folder} 属于另一个账本；换一个目录，或核实该服务",
                f"{self.home.folder} belongs to another log; use another folder, or find out about that service",
            )

    def registrar(self, key: PrivateKey, registrar_id: str = REGISTRAR_ID) -> None:
        """Let this registrar register actors and keys."""
        self._registrar = (registrar_id, key)

    def lend(self, actor: str, key: PrivateKey) -> None:
        """Use this key of the actor, which lies elsewhere, to ask for an API key."""
        self._lent[actor] = key

    # ------------------------------------------------------------ API keys

    def api_key(self, actor: str) -> str:
        """The actor's API key: the one kept, or a new one, asked for with its device key."""
        known = self._api_keys.get(actor)
        if known is None:
            known = self.service.api_key(self._key(actor), actor)
            self._keep_api_key(actor, known)
        return known

    def api_keys(self, actors: Sequence[str]) -> dict[str, str]:
        """The API keys of several actors, asked for side by side."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return dict(zip(actors, pool.map(self.api_key, actors), strict=True))

    def _keep_api_key(self, actor: str, secret: str | None) -> None:
        with self._asking:
            self._api_keys.pop(actor, None)
            if secret is not None:
                self._api_keys[actor] = secret
            self.home.keep_api_key(actor, secret)

    def _key(self, actor: str) -> PrivateKey:
        if self._registrar is not None and actor == self._registrar[0]:
            return self._registrar[1]
        if actor in self._lent:
            return self._lent[actor]
        if not self.home.keys.path(actor).exists():
            raise ClientError(
                f"没有 {actor} 的设备密钥：{self.home.keys.path(actor)}",
                f"there is no device key of {actor}: {self.home.keys.path(actor)}",
            )
        return self.home.keys.key(actor)

    def with_api_key(self, actor: str, ask: Callable[[str], Any]) -> Any:
        """What `ask` answers with the actor's API key; a kept key that was revoked since is replaced, once."""
        kept = self._api_keys.get(actor)
        try:
            return ask(self.api_key(actor))
        except Refused as refused:
            if refused.status != 401 or kept is None:
                raise
            self._keep_api_key(actor, None)
            return ask(self.api_key(actor))

    # ------------------------------------------------------------ loading

    def register(self, directories: Sequence[Directory]) -> None:
        """Register the actors of the directories and their device keys, each once. Needs `registrar`."""
        registrar_id, key = self._need_registrar()
        outbox = self.home.outbox("registrations")
        lines = _standing(outbox)
        for directory in directories:
            for line in self._signer(directory).registrations(key, registrar_id, kept=lines.values()):
                lines[line.source] = line
        self._send(outbox, list(lines.values()), "登记主体与密钥 registrations")

    def load(self, directory: Directory) -> None:
        """Send the credentials and records of a directory. Raises ClientError, or Refusal for a record with faults."""
        signer, name = self._signer(directory), directory.path.resolve().name
        outbox = self.home.outbox(f"{name}-credentials")
        # A credential that was changed is a new statement beside the old one: the later counts.
        credentials = _standing(outbox)
        credentials.update((line.source, line) for line in signer.credentials(outbox.lines()))
        self._send(outbox, list(credentials.values()), f"{name} 凭证 credentials")
        outbox = self.home.outbox(f"{name}-records")
        signing = self.progress.task(f"{name} 签名 signed", len(directory.records))
        lines = []
        for line in signer.records(self._attach, outbox.lines()):
            lines.append(line)
            signing(1)
        self._send(outbox, lines, f"{name} 记录 records")

    def service_keys(self, actors: Sequence[str]) -> None:
        """Have the service keep a signing key for each actor, and the registrar register it. Needs `registrar`."""
        registrar_id, registrar = self._need_registrar()
        outbox = self.home.outbox("service-keys")
        lines = outbox.lines()
        known = {line.source for line in lines}
        missing = [actor for actor in actors if f"service-key {actor}" not in known]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            offers = list(pool.map(lambda actor: self.with_api_key(actor, self.service.service_key), missing))
        lines += [self._service_key(offer, registrar, registrar_id) for offer in offers]
        self._send(outbox, lines, "登记托管密钥 service-held keys")

    def _service_key(self, offer: Mapping[str, Any], registrar: PrivateKey, registrar_id: str) -> Line:
        now = self.service.now_ms()
        body = {**offer, "from": now - KEY_LEAD_MS, "until": None, "status": "active"}
        signed = issue(KEY, body, key=registrar, iss=registrar_id, aud=self.service.origin, iat=now // 1000)
        return Line(registrar_id, signed, f"{offer['actor']} 托管密钥", f"service-key {offer['actor']}")

    def _need_registrar(self) -> tuple[str, PrivateKey]:
        if self._registrar is None:
            raise ClientError("需要登记机构的密钥", "the registrar's key is needed")
        return self._registrar

    def _signer(self, directory: Directory) -> Signer:
        return Signer(
            directory,
            self.home.keys,
            names=Names(self.service.public_host),
            origin=self.service.origin,
            templates=self._templates,
        )

    def _attach(self, actor: str, path: Path) -> Mapping[str, Any]:
        content = path.read_bytes()
        attached: dict[str, Any] = self.with_api_key(
            actor, lambda api_key: self.service.attach(api_key, content, path.name)
        )
        return attached

    def _send(self, outbox: Outbox, lines: Sequence[Line], label: str) -> None:
        """Put `lines` into the outbox and send those that have no receipt yet, in runs of one issuer."""
        signed_before = outbox.lines()
        if [line.hash for line in lines] != [line.hash for line in signed_before]:
            self._keep_what_stands(outbox, signed_before, lines)
            outbox.replace(lines)
        pending = outbox.pending()
        advance = self.progress.task(label, len(lines))
        advance(len(lines) - len(pending))
        for issuer, run in groupby(pending, key=lambda line: line.issuer):
            for _ in outbox.keep(self.submit(issuer, list(run))):
                advance(1)

    def submit(self, issuer: str, run: Sequence[Line]) -> Iterator[Recorded]:
        """Send statements of one issuer, as `Service.submit`, with the issuer's API key."""
        kept = issuer in self._api_keys
        sent = 0
        try:
            for recorded in self.service.submit(run, self.api_key(issuer)):
                sent += 1
                yield recorded
        except Refused as refused:
            if refused.status != 401 or not kept:
                raise
            self._keep_api_key(issuer, None)
            yield from self.service.submit(run[sent:], self.api_key(issuer))

    def _keep_what_stands(self, outbox: Outbox, before: Sequence[Line], now: Sequence[Line]) -> None:
        """What is on the ledger cannot be changed in the directory afterwards."""
        receipts, still = outbox.receipts(), {line.hash for line in now}
        for line in before:
            if line.hash in receipts and line.hash not in still:
                raise Refusal(
                    "record-changed",
                    field=line.what,
                    zh="这一条已在账本上，其原文随后被改动；账本上的记录不能改，请追加一条更正（corrects）",
                    en="this one is on the ledger and was changed afterwards; what stands there cannot be changed: "
                    "add a record that corrects it",
                    status_hint="conflict",
                )


def _standing(outbox: Outbox) -> dict[str, Line]:
    """The statements of an outbox that are on the ledger, by what they were signed from."""
    receipts = outbox.receipts()
    return {line.source: line for line in outbox.lines() if line.hash in receipts}
