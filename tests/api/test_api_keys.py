"""API keys: only for who proves to hold a key, shown once, kept as hashes, revocable; and the vault's sealed keys."""

from __future__ import annotations

import base64
import json
import secrets
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from running_service import COOPERATIVE, FACTORY, REGISTRAR, House, fresh_label, introduced
from suyuan.api import security, tables
from suyuan.api.security import api_key_request
from suyuan.api.vault import Seal, VaultError, create_seal, load_seal
from suyuan.ledger.encoding import base64url_text
from suyuan.ledger.keys import PrivateKey


def ask(house: House, token: str) -> httpx.Response:
    return house.http.post("/api/v1/api-keys", content=token, headers={"Content-Type": "application/jwt"})


def request_of(house: House, key: PrivateKey, actor: str = COOPERATIVE, **changed: Any) -> str:
    """A request made by hand, with members changed."""
    header = {"alg": "Ed25519", "kid": key.public.kid, "typ": "api-key+jwt"}
    payload = {
        "iss": actor,
        "aud": house.service.origin,
        "iat": house.service.now_s(),
        "nonce": secrets.token_urlsafe(16),
    }
    for name, value in changed.items():
        (header if name in header else payload)[name] = value
    parts = [base64url_text(json.dumps(part).encode()) for part in (header, payload)]
    return ".".join([*parts, base64url_text(key.sign(".".join(parts).encode()))])


def test_a_granted_key_opens_and_a_revoked_one_no_longer_does(house: House) -> None:
    granted = ask(house, request_of(house, house.cooperative.key))
    assert granted.status_code == 201
    assert granted.headers["cache-control"] == "no-store"
    secret, key_id = granted.json()["key"], granted.json()["id"]
    assert secret.startswith("sk_") and len(secret) == 46
    headers = {"Authorization": f"Bearer {secret}"}
    listed = house.http.get("/api/v1/api-keys", headers=headers)
    assert {"id": key_id, "created": granted.json()["created"], "lastFour": secret[-4:]} in listed.json()
    assert secret not in listed.text
    assert house.http.delete(f"/api/v1/api-keys/{key_id}", headers=house.cooperative.headers).status_code == 204
    refused = house.http.get("/api/v1/api-keys", headers=headers)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert house.http.delete(f"/api/v1/api-keys/{key_id}", headers=house.cooperative.headers).status_code == 404


def test_a_key_is_looked_up_again_by_one_request_while_others_go_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, header = house.service.services.api_keys, house.cooperative.headers["Authorization"]
    now = [1_000.0]
    monkeypatch.setattr(security.time, "monotonic", lambda: now[0])
    caller = keys.authenticate(header)
    assert keys.remembered(header) == caller
    now[0] += security.CACHE_SECONDS * 0.6
    assert keys.remembered(header) is None, "one is sent to look"
    assert keys.remembered(header) == keys.remembered(header) == caller, "those beside it are not"
    now[0] += security.CACHE_SECONDS * 0.6
    assert keys.remembered(header) is None, "whether or not anybody came back, it is not believed for longer"
    assert keys.remembered("Bearer nothing") is None


def test_the_database_holds_no_secret(house: House) -> None:
    secret = ask(house, request_of(house, house.cooperative.key)).json()["key"]
    folder = house.service.settings.data_dir
    stored = b"".join(path.read_bytes() for path in folder.rglob("ledger.db*"))
    assert secret.encode() not in stored
    assert base64.urlsafe_b64decode(secret[3:] + "=") not in stored
    with house.service.services.database.read() as connection:
        assert all(len(row.secret_hash) == 32 for row in connection.execute(select(tables.api_key)))


def test_a_request_is_used_once(house: House) -> None:
    token = request_of(house, house.cooperative.key)
    assert ask(house, token).status_code == 201
    again = ask(house, token)
    assert again.status_code == 401
    assert again.json()["rule"] == "api-key-replayed"


@pytest.mark.parametrize(
    ("changed", "status", "rule"),
    [
        ({"iat": 1}, 401, "api-key-stale"),
        ({"iat": 9_000_000_000}, 401, "api-key-stale"),
        ({"aud": "another.test/log"}, 400, "api-key-request"),
        ({"iss": FACTORY}, 401, "api-key-signature"),
        ({"alg": "none"}, 401, "api-key-signature"),
        ({"alg": "ES256"}, 401, "api-key-signature"),
        ({"typ": "JWT"}, 400, "api-key-request"),
        ({"nonce": "short"}, 400, "api-key-request"),
        ({"iat": "now"}, 400, "api-key-request"),
        ({"exp": 1}, 400, "api-key-request"),
        ({"kid": "A" * 43}, 401, "api-key-signature"),
    ],
)
def test_a_request_that_is_not_exactly_right_is_refused(
    house: House, changed: dict[str, Any], status: int, rule: str
) -> None:
    answer = ask(house, request_of(house, house.cooperative.key, **changed))
    assert (answer.status_code, answer.json()["rule"]) == (status, rule)


def test_a_stranger_gets_no_key(house: House) -> None:
    assert ask(house, request_of(house, PrivateKey.generate())).status_code == 401
    token = request_of(house, house.cooperative.key)
    head, payload, _ = token.split(".")
    assert ask(house, f"{head}.{payload}.{base64url_text(bytes(64))}").status_code == 401


def test_a_registrar_lets_in_who_has_no_device_yet_and_nobody_else(house: House) -> None:
    newcomer = "P0123456789ABCDEF"
    answer = ask(house, request_of(house, house.service.registrar_key, newcomer))
    assert answer.status_code == 201
    assert answer.json()["actor"] == newcomer
    refused = ask(house, request_of(house, house.service.registrar_key, COOPERATIVE))
    assert (refused.status_code, refused.json()["rule"]) == (403, "api-key-device")


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer sk_",
        "Basic dTpw",
        "bearer sk_" + "A" * 43,
        "Bearer " + "ü" * 46,
        "sk_" + "A" * 43,
    ],
)
def test_wrong_credentials_all_look_the_same(house: House, authorization: str) -> None:
    answer = house.http.get("/api/v1/api-keys", headers={"Authorization": authorization.encode()})
    assert answer.status_code == 401
    assert answer.json()["rule"] == "credentials"


def test_what_belongs_to_producers_asks_for_a_key(house: House) -> None:
    for path in ("api-keys", "service-keys", "templates", "lots?uri=x", "trace?uri=x", "export", "receipts/00"):
        answer = house.http.get(f"/api/v1/{path}")
        assert answer.status_code == 401, path
        assert answer.json()["rule"] == "credentials-missing"
    for path in ("statements", "records", "attachments", "service-keys"):
        assert house.http.post(f"/api/v1/{path}", content=b"x").status_code == 401, path


def test_nobody_revokes_the_key_of_another(house: House) -> None:
    listed = house.http.get("/api/v1/api-keys", headers=house.cooperative.headers).json()
    answer = house.http.delete(f"/api/v1/api-keys/{listed[0]['id']}", headers=house.service.registrar_headers)
    unknown = house.http.delete("/api/v1/api-keys/0000000000000000", headers=house.service.registrar_headers)
    assert answer.status_code == unknown.status_code == 404
    assert answer.json() == unknown.json()


def test_the_helper_that_makes_requests_is_understood(house: House) -> None:
    token = api_key_request(
        house.service.registrar_key, actor=REGISTRAR, origin=house.service.origin, iat=house.service.now_s()
    )
    assert ask(house, token).status_code == 201


def test_a_service_key_signs_only_once_it_is_registered_and_until_it_is_revoked(house: House) -> None:
    factory = house.service.register(FACTORY, ["factory"])
    before = house.record(introduced(fresh_label()), factory)
    assert (before.status_code, before.json()["rule"]) == (409, "service-key-missing")
    offered = house.http.post("/api/v1/service-keys", headers=factory.headers).json()
    assert offered["custody"] == "service"
    assert house.record(introduced(fresh_label()), factory).status_code == 409
    house.service.register_key(offered)
    assert house.record(introduced(fresh_label()), factory).status_code == 201
    house.service.register_key(offered, status="revoked")
    assert house.record(introduced(fresh_label()), factory).json()["rule"] == "service-key-missing"
    listed = house.http.get("/api/v1/service-keys", headers=factory.headers).json()
    assert [key["status"] for key in listed] == ["revoked"]


def test_an_actor_cannot_pile_up_keys_that_nobody_registers(house: House) -> None:
    headers = {"Authorization": f"Bearer {house.service.api_key('P00000000000000AA', house.service.registrar_key)}"}
    answers = [house.http.post("/api/v1/service-keys", headers=headers).status_code for _ in range(6)]
    assert answers == [201] * 5 + [409]


def test_a_service_key_is_sealed_in_the_database(house: House) -> None:
    key = house.service.services.vault.signing_key(COOPERATIVE)
    raw = key.secret.private_bytes_raw()  # type: ignore[union-attr]
    stored = b"".join(path.read_bytes() for path in house.service.settings.data_dir.rglob("*") if path.is_file())
    assert raw not in stored


def test_a_seal_opens_only_for_its_purpose_and_passphrase(tmp_path: Path) -> None:
    path = tmp_path / "vault.json"
    create_seal(path, b"a long passphrase")
    assert path.stat().st_mode & 0o777 == 0o600
    seal = load_seal(path, b"a long passphrase")
    closed = seal.close(b"secret", b"for a")
    assert load_seal(path, b"a long passphrase").open(closed, b"for a") == b"secret"
    for wrong in (lambda: seal.open(closed, b"for b"), lambda: seal.open(closed[:-1], b"for a")):
        with pytest.raises(VaultError):
            wrong()
    with pytest.raises(VaultError):
        load_seal(path, b"another passphrase")
    with pytest.raises(VaultError):
        Seal(bytes(32)).open(closed, b"for a")
    path.chmod(0o640)
    with pytest.raises(VaultError, match="0600"):
        load_seal(path, b"a long passphrase")
