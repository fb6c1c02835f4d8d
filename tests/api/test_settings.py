"""Settings and the data directory: silly values are refused, the identity is fixed, secrets stay secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from running_service import make_settings
from suyuan.api.data_directory import DataDirectory, init_data_directory
from suyuan.api.services import open_services, wall_clock_ms
from suyuan.api.settings import Settings, SettingsError, load_settings
from suyuan.ledger.keys import PrivateKey, load_private_key, save_private_key
from suyuan.ledger.policy import Policy


def test_the_environment_wins_over_the_file_and_the_command_line_over_both(tmp_path: Path) -> None:
    config = tmp_path / "s.toml"
    config.write_text('port = 1000\nworkers = 2\norigin = "a.test/x"\n', encoding="utf-8")
    environment = {"SUYUAN_CONFIG": str(config), "SUYUAN_PORT": "2000", "SUYUAN_TRUSTED_PROXIES": "10.0.0.1, ::1"}
    settings = load_settings(environment, workers=3)
    assert (settings.port, settings.workers, settings.origin) == (2000, 3, "a.test/x")
    assert settings.trusted_proxies == ("10.0.0.1", "::1")


@pytest.mark.parametrize(
    "environment",
    [
        {"SUYUAN_PORT": "70000"},
        {"SUYUAN_PORT": "http"},
        {"SUYUAN_PROT": "8000"},
        {"SUYUAN_PUBLIC_HOST": "https://trace.test"},
        {"SUYUAN_PUBLIC_HOST": "Trace.test"},
        {"SUYUAN_PUBLIC_HOST": "trace.test:443"},
        {"SUYUAN_PUBLIC_HOST": "trace.test/x"},
        {"SUYUAN_ORIGIN": "https://trace.test/log"},
        {"SUYUAN_ORIGIN": "trace.test log"},
        {"SUYUAN_DATABASE_URL": "mysql://x/y"},
        {"SUYUAN_KEY_PASSPHRASE": "short"},
        {"SUYUAN_KEY_PASSPHRASE": "long enough it is", "SUYUAN_KEY_PASSPHRASE_FILE": "/x"},
        {"SUYUAN_MAX_STATEMENT_BODY": "10"},
        {"SUYUAN_CLIENT_BURST": "1"},
        {"SUYUAN_TRUSTED_PROXIES": "everybody"},
        {"SUYUAN_CONFIG": "/no/such/file.toml"},
    ],
)
def test_silly_settings_are_refused_by_name(environment: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(environment)
    assert "long enough" not in str(refused.value)


def test_industrial_internet_prefixes_may_stand_in_a_file_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "handles"
    file.write_text("# prefixes of the county\n88.100.1=09520001000010 # tea\n\n88.100.2=93520328MAXXTE011D\n", "utf-8")
    both = {"88.100.1": "09520001000010", "88.100.2": "93520328MAXXTE011D"}
    assert load_settings({"SUYUAN_HANDLES": f"@{file}"}).handle_owners == both
    assert load_settings({"SUYUAN_HANDLES": ", ".join(f"{one}={of}" for one, of in both.items())}).handle_owners == both
    file.write_text("88.100.1=09520001000010\n88.100.1=93520328MAXXTE011D\n")
    for wrong in (f"@{file}", f"@{tmp_path}/none", "88.100.1", "88.100.1=1"):
        with pytest.raises(SettingsError):
            load_settings({"SUYUAN_HANDLES": wrong})


def test_a_passphrase_is_not_shown(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, key_passphrase="correct horse battery")
    assert "horse" not in repr(settings) + str(settings)


def test_a_new_directory_is_its_owners_alone(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "data")
    made = init_data_directory(settings, wall_clock_ms)
    for path in (tmp_path / "data").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    policy = Policy.parse((tmp_path / "data" / "policy").read_text(encoding="utf-8"))
    assert policy.quorum is None
    assert [registrar.kid for registrar in policy.registrars] == [made.registrar_kid]
    assert policy.logs[0].key.vkey() == made.log_vkey
    assert made.identity.origin == "trace.test/log"


def test_keys_are_never_on_disk_in_clear(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "data")
    init_data_directory(settings, wall_clock_ms)
    places = DataDirectory(settings.data_dir)
    passphrase = places.key_passphrase(settings)
    for path in (places.log_key, places.registrar_key):
        key = load_private_key(path, passphrase)
        raw = key.secret.private_bytes_raw()  # type: ignore[union-attr]
        assert not any(raw in file.read_bytes() for file in settings.data_dir.rglob("*") if file.is_file())
        assert b"ENCRYPTED" in path.read_bytes()


def test_a_ledger_is_never_made_over_something_else(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(SettingsError, match="not empty"):
        init_data_directory(make_settings(folder), wall_clock_ms)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_a_second_log_is_not_made_in_a_database_that_has_one(tmp_path: Path, database_url: str) -> None:
    init_data_directory(make_settings(tmp_path / "a", database_url=database_url), wall_clock_ms)
    with pytest.raises(SettingsError, match="holds a log"):
        init_data_directory(make_settings(tmp_path / "b", database_url=database_url), wall_clock_ms)


def test_the_identity_must_be_said_when_a_directory_is_made(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="public_host"):
        init_data_directory(Settings(data_dir=tmp_path / "data"), wall_clock_ms)


@pytest.mark.parametrize("changed", [{"public_host": "other.test"}, {"origin": "other.test/log"}])
def test_a_directory_does_not_open_under_another_identity(tmp_path: Path, changed: dict[str, Any]) -> None:
    settings = make_settings(tmp_path / "data")
    init_data_directory(settings, wall_clock_ms)
    with pytest.raises(SettingsError, match="cannot be changed"):
        open_services(settings.model_copy(update=changed))
    assert DataDirectory(settings.data_dir).identity(Settings(data_dir=settings.data_dir)).public_host == "trace.test"


def test_what_was_never_made_does_not_open(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="suyuan init"):
        open_services(make_settings(tmp_path))


def test_a_wrong_passphrase_or_a_readable_one_opens_nothing(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "data", key_passphrase="the right passphrase")
    init_data_directory(settings, wall_clock_ms)
    with pytest.raises(SettingsError) as refused:
        open_services(make_settings(tmp_path / "data", key_passphrase="a wrong passphrase"))
    assert "a wrong passphrase" not in str(refused.value)
    loose = tmp_path / "passphrase"
    loose.write_text("the right passphrase", encoding="utf-8")
    loose.chmod(0o644)
    with pytest.raises(SettingsError, match="0600"):
        open_services(make_settings(tmp_path / "data", key_passphrase_file=loose))


def test_another_logs_policy_does_not_open(tmp_path: Path) -> None:
    for name in ("a", "b"):
        init_data_directory(make_settings(tmp_path / name), wall_clock_ms)
    (tmp_path / "a" / "policy").write_bytes((tmp_path / "b" / "policy").read_bytes())
    with pytest.raises(SettingsError, match="policy"):
        open_services(make_settings(tmp_path / "a"))


def test_a_registrar_may_keep_its_key_elsewhere(tmp_path: Path) -> None:
    key = PrivateKey.generate()
    public = tmp_path / "registrar.jwk"
    public.write_text(json.dumps(key.public.jwk), encoding="utf-8")
    made = init_data_directory(make_settings(tmp_path / "data", registrar_jwk=public), wall_clock_ms)
    assert (made.registrar_kid, made.registrar_key) == (key.public.kid, None)
    assert not (tmp_path / "data" / "keys" / "registrar.pem").exists()
    own = tmp_path / "own.pem"
    save_private_key(own, key, b"the right passphrase")
    options = {"registrar_key": own, "key_passphrase": "the right passphrase"}
    assert init_data_directory(make_settings(tmp_path / "other", **options), wall_clock_ms).registrar_key == own
