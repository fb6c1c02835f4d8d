"""Keys over the years, over HTTP: rotated, lost and recovered, held by the service, and with another registrar."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from running_service import COOPERATIVE, FACTORY, Actor, House, RunningService, fresh_label, introduced, make_settings
from suyuan.api.producer import key_body
from suyuan.api.registrar_change import change_registrar, moment
from suyuan.api.services import wall_clock_ms
from suyuan.api.settings import SettingsError
from suyuan.ledger.errors import Refusal
from suyuan.ledger.keys import PrivateKey, load_private_key
from suyuan.ledger.policy import Policy
from suyuan.ledger.statement import Signed, dump_json
from suyuan.ledger.verify import verify_bundle, verify_receipt
from suyuan.trace.viewer import Viewer
from trace_world import actor_id


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    service = RunningService(make_settings(tmp_path_factory.mktemp("keys") / "data"))
    service.start()
    yield service
    service.stop()


def suyuan(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """The command, with an environment of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SUYUAN_")}
    command = [Path(sys.executable).with_name("suyuan"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)


def key_statement(service: RunningService, body: dict[str, Any], **changed: Any) -> Any:
    signed = service.sign("key+jwt", {**body, **changed}, service.registrar_key, "REGISTRAR")
    return service.submit(signed, service.registrar_headers)


def sign_event(service: RunningService, actor: Actor, key: PrivateKey) -> Signed:
    composed = service.services.capture.compose(introduced(fresh_label()), actor.id)
    return service.sign("trace-event+sd-jwt", composed.event, key, actor.id, private=composed.private)


def test_a_key_rotated_at_the_command_line_with_the_old_ones_endorsement(
    service: RunningService, tmp_path: Path
) -> None:
    bodies, keys = [], []
    for name, more in (("old.pem", []), ("new.pem", ["--endorse-with", tmp_path / "old.pem"])):
        made = suyuan("key", "new", tmp_path / name, "--actor", COOPERATIVE, "--origin", service.origin,
                      "--no-passphrase", *more)  # fmt: skip
        assert made.returncode == 0, made.stderr
        bodies.append(json.loads((tmp_path / name).with_suffix(".key.json").read_text()))
        keys.append(load_private_key(tmp_path / name, None))
    actor = service.register(COOPERATIVE, ["cooperative"])
    assert "endorsed_by" not in bodies[0] and bodies[1]["endorsed_by"]["kid"] == keys[0].public.kid
    unknown = key_statement(service, bodies[1])
    assert (unknown.status_code, unknown.json()["rule"]) == (422, "key-endorsement"), "the old one is not registered"
    for body in bodies:
        assert key_statement(service, body).status_code == 201
    before = sign_event(service, actor, keys[0])
    earlier = service.submit(before, actor.headers)
    assert earlier.status_code == 201, earlier.text
    now_ms = wall_clock_ms()
    assert key_statement(service, bodies[0], until=now_ms).status_code == 201
    late = service.submit(sign_event(service, actor, keys[0]), actor.headers)
    assert (late.status_code, late.json()["rule"]) == (401, "key-window")
    rotated = service.submit(sign_event(service, actor, keys[1]), actor.headers)
    assert rotated.status_code == 201, rotated.text
    policy = service.services.policy
    assert verify_receipt(earlier.json()["receipt"], before.statement.encode(), policy).ok
    for answer, endorsed in ((earlier, False), (rotated, True)):
        (lot,) = answer.json()["lots"]
        story = service.services.history.story(lot, Viewer(None))
        assert story is not None and story.steps[0].ledger.key_endorsed is endorsed
        page = service.http.get(lot.partition("//")[2].partition("/")[2].join(["/", ""]), params={"lang": "en"}).text
        assert ("added by the registrar" in page) is not endorsed
        bundle = service.http.get("/proof", params={"uri": lot}).content
        assert verify_bundle(bundle, policy, require_completeness=False).ok


def test_an_endorsement_is_for_one_log(tmp_path: Path) -> None:
    asked = suyuan("key", "new", tmp_path / "n.pem", "--endorse-with", tmp_path / "o.pem", "--no-passphrase")
    assert asked.returncode == 2 and "--origin" in asked.stderr and not (tmp_path / "n.pem").exists()


def test_a_lost_phone_is_revoked_and_its_key_never_comes_back(service: RunningService) -> None:
    actor = service.register(FACTORY, ["factory"])
    lost, found = actor.key, PrivateKey.generate()
    old = key_body(lost, FACTORY, service.origin, "device", 0)
    assert key_statement(service, old, status="revoked").status_code == 201
    stolen = service.submit(sign_event(service, actor, lost), actor.headers)
    assert (stolen.status_code, stolen.json()["rule"]) == (401, "key-revoked")
    assert key_statement(service, old, **{"from": 1}).json()["rule"] == "key-revoked"
    endorsed = key_body(found, FACTORY, service.origin, "device", 0, lost)
    assert key_statement(service, endorsed).json()["rule"] == "key-endorsement"
    assert key_statement(service, key_body(found, FACTORY, service.origin, "device", 0)).status_code == 201
    recovered = service.submit(sign_event(service, actor, found), actor.headers)
    assert recovered.status_code == 201, recovered.text
    story = service.services.history.story(recovered.json()["lots"][0], Viewer(None))
    assert story is not None and not story.steps[0].ledger.key_endorsed, "added by the registrar, and said so"


def test_a_key_that_the_service_holds_is_rotated_and_the_newest_that_counts_signs(service: RunningService) -> None:
    actor = service.register(actor_id(811), ["dealer"])
    house = House(service, actor)
    assert house.record(introduced(fresh_label())).json()["rule"] == "service-key-missing"
    offers = []
    for _ in range(2):
        offers.append(service.http.post("/api/v1/service-keys", headers=actor.headers).json())
        service.register_key(offers[-1])
        answer = house.record(introduced(fresh_label()))
        assert answer.status_code == 201, answer.text
        story = service.services.history.story(answer.json()["lots"][0], Viewer(None))
        assert story is not None
        assert (story.steps[0].ledger.kid, story.steps[0].ledger.key_custody) == (offers[-1]["kid"], "service")
    service.register_key(offers[1], "revoked")
    back = house.record(introduced(fresh_label()))
    story = service.services.history.story(back.json()["lots"][0], Viewer(None))
    assert story is not None and story.steps[0].ledger.kid == offers[0]["kid"], "the other one still counts"
    service.register_key(offers[0], "revoked")
    assert house.record(introduced(fresh_label())).json()["rule"] == "service-key-missing"
    listed = service.http.get("/api/v1/service-keys", headers=actor.headers).json()
    assert {one["status"] for one in listed} == {"revoked"}


def test_another_registrar_takes_over_at_a_restart_and_what_the_old_one_signed_still_counts(tmp_path: Path) -> None:
    old = RunningService(make_settings(tmp_path / "data"))
    old.start()
    try:
        actor = old.register(COOPERATIVE, ["cooperative"])
    finally:
        old.stop()
    successor = PrivateKey.generate()
    (tmp_path / "new.jwk").write_bytes(dump_json(successor.public.jwk))
    policy = tmp_path / "data" / "policy"
    kept = "# what the operator wrote by hand\n"
    policy.write_text(policy.read_text() + kept)
    changed = suyuan("registrar", "change", tmp_path / "new.jwk", "--data", tmp_path / "data")
    assert changed.returncode == 0, changed.stderr
    assert policy.read_text().endswith(kept)
    new = RunningService(make_settings(tmp_path / "data"), made_before=old)
    new.start()
    try:
        late = new.sign("actor+jwt", _actor(FACTORY), old.registrar_key, "REGISTRAR")
        with pytest.raises(AssertionError, match="api-key-signature"):
            new.api_key("REGISTRAR", old.registrar_key)
        new.registrar_key = successor
        refused = new.submit(late, new.registrar_headers)
        assert (refused.status_code, refused.json()["rule"]) == (401, "key-window")
        assert new.register(FACTORY, ["factory"]).id == FACTORY
        answer = new.submit(sign_event(new, actor, actor.key), actor.headers)
        assert answer.status_code == 201, "a key that the old registrar registered in its time"
        bundle = new.http.get("/proof", params={"uri": answer.json()["lots"][0]}).content
        assert verify_bundle(bundle, Policy.parse(policy.read_bytes()), require_completeness=False).ok
    finally:
        new.stop()


def test_a_registrar_is_changed_once_at_a_time_and_never_backwards(tmp_path: Path) -> None:
    key, other = PrivateKey.generate(), PrivateKey.generate()
    jwk = dump_json(key.public.jwk).decode()
    policy = tmp_path / "policy"
    text = f"#suyuan policy v1\nquorum none\n#suyuan registrar {key.public.kid} 1000 - {jwk}\n"
    policy.write_text(text)
    (tmp_path / "jwk").write_bytes(dump_json(other.public.jwk))
    (tmp_path / "same").write_text(jwk)
    (tmp_path / "bad").write_text("{}")
    for file, at in (("jwk", 1000), ("same", 2000), ("bad", 2000), ("missing", 2000)):
        with pytest.raises((SettingsError, Refusal)):
            change_registrar(policy, tmp_path / file, at)
        assert policy.read_text() == text
    ended, begun = change_registrar(policy, tmp_path / "jwk", 2000)
    assert (ended.kid, ended.until_ms, begun.kid, begun.from_ms) == (key.public.kid, 2000, other.public.kid, 2000)
    assert Policy.parse(policy.read_bytes()).registrars == (ended, begun)
    assert moment("2027-01-01T00:00:00+08:00", 0) == 1_798_732_800_000
    for wrong in ("2027-01-01T00:00:00", "tomorrow"):
        with pytest.raises(SettingsError):
            moment(wrong, 0)


def _actor(actor: str) -> dict[str, Any]:
    name = {"zh": "示范", "en": "Sample"}
    return {"id": actor, "name": name, "kind": "organisation", "roles": ["factory"]}
