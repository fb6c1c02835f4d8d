"""A whole service on a port of its own, with a registrar, and people to talk to it: nothing in it is a stand-in."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from suyuan.api.app import create_app
from suyuan.api.data_directory import DataDirectory, init_data_directory
from suyuan.api.security import api_key_request
from suyuan.api.services import Services, wall_clock_ms
from suyuan.api.settings import Settings
from suyuan.ledger.encoding import base64url_text
from suyuan.ledger.keys import PrivateKey, load_private_key, possession_message
from suyuan.ledger.statement import Signed, issue, join_sd_jwt

HOST = "trace.test"
REGISTRAR = "REGISTRAR"
COOPERATIVE = "93520328MAXXTE011D"
FACTORY = "91520328MAXXTE02XB"
GTIN = "09520001000010"
PLACE = "520328101"


@dataclass
class Actor:
    """Somebody with a device key and an API key."""

    id: str
    key: PrivateKey
    api_key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"}


class RunningService:
    """A server in a thread, and what a registrar and producers do with it over HTTP."""

    def __init__(self, settings: Settings, *, made_before: RunningService | None = None) -> None:
        self.settings = settings
        places = DataDirectory(settings.data_dir)
        if made_before is None:
            init_data_directory(settings, wall_clock_ms)
        self.origin = places.identity(settings).origin
        if made_before is not None and not places.registrar_key.exists():  # the registrar keeps the key elsewhere
            self.registrar_key = made_before.registrar_key
        else:
            self.registrar_key = load_private_key(places.registrar_key, places.key_passphrase(settings))
        self.app = create_app(settings)
        self._socket = socket.create_server(("127.0.0.1", 0))
        # asyncio sets this only on sockets it made itself; without it every answer waits 40 ms for the client's ACK.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        options = {"log_config": None, "access_log": False, "proxy_headers": False, "timeout_graceful_shutdown": 5}
        self._server = uvicorn.Server(uvicorn.Config(self.app, **options))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.http = httpx.Client(base_url=self.url, timeout=30)
        self._registrar_api_key: str | None = None

    def start(self) -> None:
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the server ended before it started"
            self._thread.join(0.01)

    def stop(self, *, keep_client: bool = False) -> None:
        if not keep_client:
            self.http.close()
        self._server.should_exit = True
        self._thread.join(20)
        self._socket.close()
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))

    @property
    def services(self) -> Services:
        services: Services = self.app.state.services
        return services

    @property
    def port(self) -> int:
        port: int = self._socket.getsockname()[1]
        return port

    def now_s(self) -> int:
        return wall_clock_ms() // 1000

    # ------------------------------------------------------------ credentials

    def api_key(self, actor: str, key: PrivateKey) -> str:
        request = api_key_request(key, actor=actor, origin=self.origin, iat=self.now_s())
        answer = self.http.post("/api/v1/api-keys", content=request, headers={"Content-Type": "application/jwt"})
        assert answer.status_code == 201, answer.text
        secret: str = answer.json()["key"]
        return secret

    @property
    def registrar_headers(self) -> dict[str, str]:
        if self._registrar_api_key is None:
            self._registrar_api_key = self.api_key(REGISTRAR, self.registrar_key)
        return {"Authorization": f"Bearer {self._registrar_api_key}"}

    def sign(self, typ: str, body: dict[str, Any], key: PrivateKey, iss: str, **options: Any) -> Signed:
        return issue(typ, body, key=key, iss=iss, aud=self.origin, iat=self.now_s(), **options)

    def submit(self, signed: Signed, headers: dict[str, str]) -> httpx.Response:
        content = join_sd_jwt(signed.statement, [text for text, _ in signed.disclosures])
        return self.http.post(
            "/api/v1/statements", content=content, headers={**headers, "Content-Type": "application/sd-jwt"}
        )

    def register(self, actor: str, roles: list[str]) -> Actor:
        """An actor with a device key, registered by the registrar, and with an API key of its own."""
        body = {"id": actor, "name": {"zh": f"示范单位{actor[-3:]}(虚构)", "en": f"Sample {actor[-3:]} (fictitious)"}}
        signed = self.sign("actor+jwt", {**body, "kind": "organisation", "roles": roles}, self.registrar_key, REGISTRAR)
        answer = self.submit(signed, self.registrar_headers)
        assert answer.status_code == 201, answer.text
        key = PrivateKey.generate()
        proof = base64url_text(key.sign(possession_message(self.origin, actor, key.public.kid)))
        self.register_key(
            {"kid": key.public.kid, "jwk": key.public.jwk, "actor": actor, "custody": "device", "proof": proof}
        )
        return Actor(actor, key, self.api_key(actor, key))

    def register_key(self, offered: dict[str, Any], status: str = "active") -> None:
        body = {**offered, "from": 0, "until": None, "status": status}
        answer = self.submit(self.sign("key+jwt", body, self.registrar_key, REGISTRAR), self.registrar_headers)
        assert answer.status_code == 201, answer.text

    def give_service_key(self, actor: Actor) -> str:
        """A service-held key for the actor, registered; its kid."""
        answer = self.http.post("/api/v1/service-keys", headers=actor.headers)
        assert answer.status_code == 201, answer.text
        self.register_key(answer.json())
        kid: str = answer.json()["kid"]
        return kid

    def register_product(self, actor: Actor, gtin: str) -> None:
        details = {"name": {"zh": "湄潭翠芽(虚构)", "en": "Meitan Cuiya (fictitious)"}, "family": "tea"}
        body = {
            "id": f"product-{gtin}",
            "type": "product",
            "actor": actor.id,
            "product": gtin,
            "valid_from": "2020-01-01",
            "valid_until": None,
            "status": "active",
            "details": details,
        }
        answer = self.submit(self.sign("credential+jwt", body, actor.key, actor.id), actor.headers)
        assert answer.status_code == 201, answer.text


def introduced(lot: str, quantity: float = 10, **members: Any) -> dict[str, Any]:
    """A record that brings a lot in from outside."""
    kde = {"goods": "茶青", "source_kind": "外购", "origin": "湄潭县", "supplier": "某农户", "operator": "经办人甲"}
    return {
        "stage": "common.introduced",
        "time": "2026-03-18T08:00:00+08:00",
        "place": PLACE,
        "lot": lot,
        "quantity": quantity,
        "uom": "KGM",
        "kde": kde,
        **members,
    }


def fresh_label() -> str:
    return "L" + secrets.token_hex(6).upper()


@dataclass
class House:
    """A running service with a cooperative that has a service-held key and a product."""

    service: RunningService
    cooperative: Actor

    @property
    def http(self) -> httpx.Client:
        return self.service.http

    def size(self) -> int:
        return int(self.http.get("/log/checkpoint").text.split("\n")[1])

    def record(self, record: dict[str, Any], actor: Actor | None = None, **options: Any) -> httpx.Response:
        headers = {**(actor or self.cooperative).headers, **options.pop("headers", {})}
        content = json.dumps(record, ensure_ascii=False)
        headers.setdefault("Content-Type", "application/json")
        return self.http.post("/api/v1/records", content=content, headers=headers, **options)


GENEROUS = {"client_rate": 10_000, "client_burst": 100_000, "credential_rate": 10_000, "credential_burst": 100_000}
"""Settings of rate limits that no test meets by chance."""


def make_settings(folder: Path, **changed: Any) -> Settings:
    return Settings(data_dir=folder, public_host=HOST, origin=f"{HOST}/log", **changed)
