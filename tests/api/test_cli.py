"""The command line as people and scripts meet it: in a process of its own, by its output and its exit code."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from sqlalchemy import text

from running_service import REGISTRAR, House, RunningService, introduced, make_settings
from suyuan.ledger.database import Database
from suyuan.ledger.policy import Policy
from suyuan.ledger.receipt import parse_receipt
from suyuan.ledger.verify import verify_receipt
from suyuan.trace.naming import crockford_id

SUYUAN = [sys.executable, "-c", "from suyuan.api.cli import main; main()"]
COMMANDS = ("demo", "init", "serve", "sign", "submit", "load", "verify", "rebuild", "check", "bench")
HEAVY = ("fastapi", "sqlalchemy", "httpx", "yaml", "cryptography", "uvicorn")


def suyuan(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SUYUAN, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": "200", "LANG": "C.UTF-8", **environment},
    )


def done(*arguments: object, **options: Any) -> str:
    """The output of a command that must succeed."""
    finished = suyuan(*arguments, **options)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def both_languages(stderr: str) -> bool:
    return "错误：" in stderr and "error: " in stderr and "Traceback" not in stderr


def statements(house: House) -> int:
    """How many statements are on the ledger; index entries come by themselves."""
    with house.service.services.database.read() as connection:
        return connection.execute(text("SELECT count(*) FROM statement")).scalar_one()


# ---------------------------------------------------------------- help


def test_help_names_every_command_in_chinese_and_english() -> None:
    shown = done("--help")
    for command in (*COMMANDS, "key", "api-key"):
        assert f" {command} " in shown
    for command in COMMANDS:
        page = done(command, "--help")
        assert any("一" <= character <= "鿿" for character in page)
        assert any(character.isascii() and character.isalpha() for character in page)


def test_help_does_not_wait_for_libraries_it_does_not_need() -> None:
    program = f"import sys, suyuan.api.cli; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "[]"


# ---------------------------------------------------------------- verify


@pytest.fixture(scope="module")
def proofs(shared_data: Path) -> Path:
    return shared_data / "proof"


def test_an_honest_bundle_holds_and_the_report_is_in_the_language_asked_for(proofs: Path) -> None:
    arguments = ("verify", proofs / "tea.proof.json", "--policy", proofs / "policy")
    assert "VERIFIED" in done(*arguments, "--lang", "en").splitlines()[-1]
    assert "验证通过" in done(*arguments, "--lang", "zh").splitlines()[-1]
    assert "验证通过" in done(*arguments, LANG="zh_CN.UTF-8", LC_ALL="zh_CN.UTF-8")


def test_every_tampered_bundle_ends_with_1_and_the_failing_item(proofs: Path) -> None:
    tampered = sorted((proofs / "tampered").glob("*.json"))
    assert tampered
    for path in tampered:
        finished = suyuan("verify", path, "--policy", proofs / "policy", "--lang", "en")
        assert finished.returncode == 1, f"{path.name}: {finished.stdout}{finished.stderr}"
        assert any(line.startswith("FAILED ") for line in finished.stdout.splitlines())
        assert finished.stdout.splitlines()[-1].startswith("NOT VERIFIED")


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff\xfe", b'{"format": "suyuan/proof/v9"}'])
def test_what_is_no_bundle_ends_with_2(tmp_path: Path, proofs: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    finished = suyuan("verify", tmp_path / "x.json", "--policy", proofs / "policy")
    assert finished.returncode == 2, finished.stdout + finished.stderr
    assert both_languages(finished.stderr)


def test_a_file_that_is_not_there_and_a_policy_that_is_none_end_with_2(tmp_path: Path, proofs: Path) -> None:
    missing = suyuan("verify", tmp_path / "nothing.json", "--policy", proofs / "policy")
    no_policy = suyuan("verify", proofs / "tea.proof.json", "--policy", proofs / "tea.proof.json")
    unsaid = suyuan("verify", proofs / "tea.proof.json")
    assert [missing.returncode, no_policy.returncode, unsaid.returncode] == [2, 2, 2]
    assert both_languages(missing.stderr) and both_languages(no_policy.stderr)


def test_verifying_opens_no_socket_and_loads_no_network_library(proofs: Path) -> None:
    program = f"""
import socket, sys
def refuse(*arguments, **options): raise AssertionError("a socket was opened")
socket.socket = socket.create_connection = socket.getaddrinfo = refuse
from suyuan.api.cli import main
sys.argv = ["suyuan", "verify", {str(proofs / "tea.proof.json")!r}, "--policy", {str(proofs / "policy")!r}]
try:
    main()
finally:
    assert not {{"httpx", "sqlalchemy", "fastapi"}} & set(sys.modules)
"""
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


def test_completeness_is_asked_for_unless_the_caller_says_otherwise_and_the_report_says_so(
    tmp_path: Path, proofs: Path
) -> None:
    bundle = json.loads((proofs / "tea.proof.json").read_bytes())
    bundle["completeness"] = []
    (tmp_path / "less.json").write_text(json.dumps(bundle))
    arguments = ("verify", tmp_path / "less.json", "--policy", proofs / "policy", "--lang", "en")
    assert suyuan(*arguments).returncode == 1
    assert "[not-asked]" in done(*arguments, "--without-completeness")


# ---------------------------------------------------------------- the producer's side


@pytest.fixture
def registrar_key(house: House) -> list[str]:
    """The options that make a command use the house's registrar."""
    return ["--registrar-key", str(house.service.settings.data_dir / "keys" / "registrar.pem")]


@pytest.fixture
def person(house: House, tmp_path: Path) -> tuple[str, Path]:
    """A registered grower who made a device key by `key new`; the registrar signed by `sign` and `submit`."""
    actor = "P" + crockford_id()
    key = tmp_path / f"{actor}.pem"
    done("key", "new", key, "--no-passphrase", "--origin", house.service.origin)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    name = {"zh": "某农户(虚构)", "en": "A farmer (fictitious)"}
    body = {"id": actor, "name": name, "kind": "person", "roles": ["grower"], "county": "520328"}
    (tmp_path / "actor.json").write_text(json.dumps(body))
    pem = house.service.settings.data_dir / "keys" / "registrar.pem"
    by = ("--key", pem, "--actor", REGISTRAR, "--origin", house.service.origin)
    for kind, file in (("actor", tmp_path / "actor.json"), ("key", tmp_path / f"{actor}.key.json")):
        out = tmp_path / f"{kind}.signed"
        done("sign", file, "--kind", kind, *by, "--out", out)
        done("submit", out, "--url", house.service.url, "--key", pem, "--home", tmp_path / "registrar")
    return actor, key


def test_an_own_record_is_signed_with_a_device_key_submitted_and_proven(
    house: House, person: tuple[str, Path], tmp_path: Path
) -> None:
    _, key = person
    (tmp_path / "record.json").write_text(json.dumps(introduced("MY-LOT"), ensure_ascii=False), encoding="utf-8")
    signed = tmp_path / "record.signed"
    signed.write_text(done("sign", tmp_path / "record.json", "--key", key, "--url", house.service.url))
    submit = ("submit", signed, "--url", house.service.url, "--key", key, "--home", tmp_path / "home")
    done(*submit)
    receipt = tmp_path / "record.signed.receipt"
    statement = json.loads(signed.read_text())["statement"].encode()
    policy = Policy.parse(house.http.get("/log/policy").text)
    assert verify_receipt(receipt.read_text(), statement, policy).ok

    size = statements(house)
    assert "already there" in done(*submit)
    receipt.unlink()
    assert "already there" in done(*submit)
    assert statements(house) == size
    assert verify_receipt(receipt.read_text(), statement, policy).ok


def test_an_event_as_epcis_has_it_is_signed_with_its_private_fields_hidden(
    house: House, person: tuple[str, Path], tmp_path: Path
) -> None:
    actor, key = person
    composed = house.record(introduced("E1"), params={"dry_run": "1"}).json()
    own = json.dumps(composed["event"], ensure_ascii=False).replace(house.cooperative.id, actor)
    (tmp_path / "event.json").write_text(own, encoding="utf-8")
    done(
        "sign", tmp_path / "event.json", "--key", key, "--origin", house.service.origin, "--out", tmp_path / "e.signed"
    )
    line = json.loads((tmp_path / "e.signed").read_text())
    assert len(line["disclosures"]) == len(composed["private"]) > 0
    done("submit", tmp_path / "e.signed", "--url", house.service.url, "--key", key, "--home", tmp_path / "home")
    assert parse_receipt((tmp_path / "e.signed.receipt").read_text()).index > 0


def test_a_receipt_is_verified_offline_like_a_bundle(house: House, person: tuple[str, Path], tmp_path: Path) -> None:
    _, key = person
    (tmp_path / "record.json").write_text(json.dumps(introduced("R1")))
    done("sign", tmp_path / "record.json", "--key", key, "--url", house.service.url, "--out", tmp_path / "r.signed")
    done("submit", tmp_path / "r.signed", "--url", house.service.url, "--key", key, "--home", tmp_path / "home")
    (tmp_path / "policy").write_text(house.http.get("/log/policy").text)
    (tmp_path / "r.jws").write_text(json.loads((tmp_path / "r.signed").read_text())["statement"])
    receipt = tmp_path / "r.signed.receipt"
    arguments = ("--policy", tmp_path / "policy", "--statement", tmp_path / "r.jws")
    done("verify", receipt, *arguments)
    receipt.write_text(receipt.read_text().replace("index ", "index 1", 1))
    assert suyuan("verify", receipt, *arguments).returncode == 1


def test_what_the_service_refuses_ends_with_1_and_says_why(
    house: House, person: tuple[str, Path], tmp_path: Path
) -> None:
    _, key = person
    (tmp_path / "record.json").write_text(json.dumps({**introduced("X"), "time": "2099-01-01T08:00:00+08:00"}))
    done("sign", tmp_path / "record.json", "--key", key, "--url", house.service.url, "--out", tmp_path / "x.signed")
    finished = suyuan("submit", tmp_path / "x.signed", "--url", house.service.url, "--key", key, "--home", tmp_path)
    assert finished.returncode == 1
    assert both_languages(finished.stderr)
    assert "x.signed:1" in finished.stderr
    assert not (tmp_path / "x.signed.receipt").exists()


def test_a_record_with_faults_is_not_signed(person: tuple[str, Path], tmp_path: Path) -> None:
    record = introduced("X")
    del record["kde"], record["place"]
    (tmp_path / "record.json").write_text(json.dumps(record))
    offline = ("--origin", "trace.test/log", "--public-host", "trace.test")
    finished = suyuan("sign", tmp_path / "record.json", "--key", person[1], *offline)
    assert finished.returncode == 1
    assert finished.stdout == ""
    assert both_languages(finished.stderr)


def test_a_directory_is_loaded_once_however_often_it_is_asked_for(
    house: House, tmp_path: Path, registrar_key: list[str]
) -> None:
    actor = "P" + crockford_id()
    name = {"zh": "某农户(虚构)", "en": "A farmer (fictitious)"}
    folder = tmp_path / "batch"
    folder.mkdir()
    person = {"id": actor, "name": name, "kind": "person", "roles": ["grower"], "county": "520328"}
    (folder / "actors.yaml").write_text(yaml.safe_dump([person], allow_unicode=True))
    records = [{"by": actor, **introduced(f"D{number}")} for number in range(3)]
    (folder / "records.yaml").write_text(yaml.safe_dump(records, allow_unicode=True))
    arguments = ("load", folder, "--url", house.service.url, *registrar_key)
    before = statements(house)
    done(*arguments, XDG_DATA_HOME=str(tmp_path / "share"))
    assert statements(house) == before + 5
    done(*arguments, XDG_DATA_HOME=str(tmp_path / "share"))
    assert statements(house) == before + 5


def test_an_api_key_is_given_listed_and_revoked(house: House, person: tuple[str, Path], tmp_path: Path) -> None:
    actor, key = person
    to = ("--url", house.service.url, "--home", tmp_path / "home")
    secret = done("api-key", "new", "--key", key, *to).strip()
    assert secret.startswith("sk_")
    (listed,) = done("api-key", "list", "--actor", actor, *to).splitlines()
    assert secret[-4:] in listed and secret not in listed
    done("api-key", "revoke", listed.split()[0], "--actor", actor, *to)
    answer = httpx.get(f"{house.service.url}/api/v1/api-keys", headers={"Authorization": f"Bearer {secret}"})
    assert answer.status_code == 401


def test_an_encrypted_key_takes_its_passphrase_from_a_file_the_environment_or_beside_it(tmp_path: Path) -> None:
    passphrase = "a passphrase of some length"
    (tmp_path / "phrase").write_text(passphrase + "\n")
    key = tmp_path / "keys" / "device.pem"
    done("key", "new", key, "--passphrase-file", tmp_path / "phrase", "--alg", "ES256")
    assert b"ENCRYPTED" in key.read_bytes()
    (tmp_path / "record.json").write_text(json.dumps(introduced("X")))
    actor = "P" + crockford_id()
    offline = ("--origin", "trace.test/log", "--public-host", "trace.test", "--actor", actor)
    sign = ("sign", tmp_path / "record.json", "--key", key, *offline)
    without = suyuan(*sign)
    assert without.returncode == 1 and both_languages(without.stderr)
    wrong = suyuan(*sign, SUYUAN_KEY_PASSPHRASE="another passphrase")
    assert wrong.returncode == 1 and both_languages(wrong.stderr)
    done(*sign, "--passphrase-file", tmp_path / "phrase")
    done(*sign, SUYUAN_KEY_PASSPHRASE=passphrase)
    (key.parent / "passphrase").write_text(passphrase)
    done(*sign)


def test_a_key_is_never_written_over_nor_made_without_saying_how_it_is_kept(tmp_path: Path) -> None:
    key = tmp_path / "k.pem"
    unsaid = suyuan("key", "new", key)
    assert unsaid.returncode == 1 and not key.exists() and both_languages(unsaid.stderr)
    done("key", "new", key, "--no-passphrase")
    content = key.read_bytes()
    again = suyuan("key", "new", key, "--no-passphrase")
    assert again.returncode == 1 and both_languages(again.stderr)
    assert key.read_bytes() == content


def test_a_service_that_is_not_there_ends_with_2(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    (tmp_path / "x.signed").write_text("{}")
    program = "import suyuan.api.client as c; c.ATTEMPTS = 2; c.Service.__init__.__kwdefaults__['attempts'] = 2\n"
    arguments = ["suyuan", "submit", str(tmp_path / "x.signed"), "--url", f"http://127.0.0.1:{port}"]
    program += f"import sys; sys.argv = {arguments!r}\nfrom suyuan.api.cli import main; main()"
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path)}
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert finished.returncode == 2, finished.stderr
    assert both_languages(finished.stderr)


# ---------------------------------------------------------------- the operator's side


def test_init_makes_a_directory_once_and_says_what_is_in_it(tmp_path: Path) -> None:
    shown = done("init", "--data", tmp_path / "d", "--public-host", "trace.test", "--origin", "trace.test/520300")
    assert "https://trace.test" in shown and "trace.test/520300+" in shown
    again = suyuan("init", "--data", tmp_path / "d", "--public-host", "trace.test")
    assert again.returncode == 2 and both_languages(again.stderr)
    assert done("check", "--data", tmp_path / "d", "--lang", "en").splitlines()[-1] == "everything agrees"


@pytest.mark.parametrize("command", ["serve", "rebuild", "check"])
def test_a_directory_that_was_never_made_ends_with_2(tmp_path: Path, command: str) -> None:
    finished = suyuan(command, "--data", tmp_path / "nothing")
    assert finished.returncode == 2
    assert both_languages(finished.stderr)


def test_a_misspelt_setting_ends_with_2(tmp_path: Path) -> None:
    finished = suyuan("init", "--data", tmp_path / "d", SUYUAN_PUBLIC_HOTS="trace.test")
    assert finished.returncode == 2
    assert "SUYUAN_PUBLIC_HOTS" in finished.stderr


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_serve_answers_and_ends_when_told(tmp_path: Path, workers: int) -> None:
    done("init", "--data", tmp_path / "d", "--public-host", "trace.test")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = ["serve", "--data", str(tmp_path / "d"), "--port", str(port), "--workers", str(workers)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([*SUYUAN, *arguments], stderr=log, stdout=log)
    try:
        ready = _until_ready(f"http://127.0.0.1:{port}", process)
        assert ready["origin"] == "trace.test/log"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGTERM)
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in (tmp_path / "log").read_text()


def _until_ready(url: str, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    for _ in range(600):
        assert process.poll() is None, "the service ended"
        try:
            answer = httpx.get(f"{url}/readyz")
        except httpx.TransportError:
            time.sleep(0.05)
            continue
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document
    raise AssertionError("the service did not become ready")


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Path]:
    """The data directory of a service that has recorded something and was stopped."""
    service = RunningService(make_settings(tmp_path / "data"))
    service.start()
    try:
        actor = service.register("93520328MAXXTE011D", ["cooperative", "grower"])
        service.give_service_key(actor)
        house = House(service, actor)
        for number in range(3):
            assert house.record(introduced(f"L{number}")).status_code == 201
    finally:
        service.stop()
    yield service.settings.data_dir


def change(data: Path, statement: str) -> None:
    with Database(f"sqlite:///{data / 'ledger.db'}") as database, database.write() as connection:
        assert connection.execute(text(statement)).rowcount > 0


def test_a_changed_derived_table_is_found_and_rebuilt(stopped: Path) -> None:
    assert "everything agrees" in done("check", "--data", stopped, "--lang", "en")
    change(stopped, "UPDATE actor SET roles = 'authority'")
    change(stopped, "UPDATE key SET custody = 'device' WHERE custody = 'service'")
    found = suyuan("check", "--data", stopped, "--lang", "en")
    assert found.returncode == 1
    assert {line.split()[1].rstrip(":") for line in found.stdout.splitlines() if line.startswith("WRONG")} == {
        "actor",
        "key",
    }
    assert "suyuan rebuild" in found.stdout
    done("rebuild", "--data", stopped)
    assert "everything agrees" in done("check", "--data", stopped, "--lang", "en")


def test_a_benchmark_that_is_not_there_ends_with_1() -> None:
    finished = suyuan("bench", "nothing")
    assert finished.returncode == 1
    assert both_languages(finished.stderr)


@pytest.mark.slow
def test_a_quick_benchmark_prints_ours_beside_the_limit() -> None:
    shown = done("bench", "ledger", "--quick")
    assert "ours" in shown and "limit" in shown
