"""What an operator can set: `SUYUAN_*` environment variables, then a TOML file, checked before anything starts.

`SUYUAN_CONFIG` names the TOML file; without it `config.toml` in the data directory is read when it is there. Members
of the file are the field names below; the environment wins. A name that no setting has is refused, so that a
misspelt limit is not silently the default.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

PREFIX = "SUYUAN_"
CONFIG_NAME = "config.toml"
_HOST = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*(:[1-9][0-9]{0,4})?")
_ORIGIN = re.compile(r"[a-z0-9][a-z0-9.-]*(:[1-9][0-9]{0,4})?(/[A-Za-z0-9._~-]+)*")
_HANDLE = re.compile(r"[0-9]+(\.[0-9A-Za-z]+){1,5}=([0-9]{14}|[0-9A-Z]{17,18})")
# Variables of this prefix that belong to tests or to the settings file itself.
_NOT_SETTINGS = re.compile(r"SUYUAN_(TEST_.*|CONFIG|CRASH_POINT|SHARED_DATA)")
_KILO, _MEGA = 1024, 1024 * 1024


class SettingsError(Exception):
    """The settings cannot be used; the message names the setting and what is wrong with it."""


class Settings(BaseModel):
    """Everything that may differ between two installations. Sizes are bytes, times seconds unless named otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data_dir: Path = Path("suyuan-data")
    """Directory of keys, attachments, policy and (embedded) database. Made by `suyuan init`."""
    database_url: str = ""
    """`sqlite:///<file>` or `postgresql+psycopg://...`; empty: `ledger.db` in the data directory."""
    public_host: str = ""
    """Identity host: what the URIs of lots begin with. Fixed when the data directory is made; empty: as fixed there."""
    origin: str = ""
    """Origin of the log, a schema-less URL such as `trace.example.cn/520300`. Fixed like `public_host`."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 takes a free one."""
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes that answer requests."""

    key_passphrase: SecretStr | None = None
    """Passphrase of the keys at rest."""
    key_passphrase_file: Path | None = None
    """File (mode 0600) with the passphrase; without either, `keys/passphrase` in the data directory, made at init."""
    registrar_key: Path | None = None
    """PEM file of an existing registrar key for `init` to put into the policy; empty: `init` makes one."""
    registrar_jwk: Path | None = None
    """Public JWK of a registrar who keeps the key elsewhere, for `init` to put into the policy."""

    max_statement_body: Annotated[int, Field(ge=61_000, le=_MEGA)] = 256 * _KILO
    """Longest body with a single statement and its disclosures."""
    max_record_body: Annotated[int, Field(ge=_KILO, le=_MEGA)] = 64 * _KILO
    """Longest record."""
    max_batch_body: Annotated[int, Field(ge=64 * _KILO, le=100 * _MEGA)] = 10 * _MEGA - 1
    """Longest NDJSON body of statements: just under 10 MiB, so that 10 MiB is refused."""
    max_batch_lines: Annotated[int, Field(ge=1, le=10_000)] = 1000
    """Most lines of an NDJSON body."""
    max_attachment_body: Annotated[int, Field(ge=_KILO, le=20_000_000)] = 20_000_000
    """Longest photo or document; formats section 7 allows no more than 20,000,000 bytes."""
    max_image_pixels: Annotated[int, Field(ge=10_000, le=89_000_000)] = 60_000_000
    """Most pixels of a photo."""
    body_timeout: Annotated[float, Field(gt=0, le=600)] = 30.0
    """How long a client may take to send a body."""

    client_rate: Annotated[float, Field(gt=0)] = 100.0
    """Requests a second that one address without credentials may go on making."""
    client_burst: Annotated[int, Field(ge=1)] = 1000
    """Requests that one address without credentials may make at once."""
    credential_rate: Annotated[float, Field(gt=0)] = 500.0
    """Requests a second that one API key may go on making."""
    credential_burst: Annotated[int, Field(ge=1)] = 5000
    """Requests that one API key may make at once."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses of proxies whose `X-Forwarded-For` is believed; none by default."""

    background: Literal["process", "inside"] = "process"
    """Where `suyuan serve` does what it does unasked (judging, webhooks, lot index, scrub): in a process of its own
    beside the workers, or inside each of them."""
    batch_linger_ms: Annotated[int, Field(ge=0, le=1000)] = 3
    """How long a submission may wait for others to share its transaction."""
    index_quiet_seconds: Annotated[float, Field(gt=0, le=30)] = 2.0
    """The lot index is published once nothing was recorded for this long."""
    index_latest_seconds: Annotated[float, Field(gt=0, le=50)] = 20.0
    """The lot index is published this long after a record at the latest; formats section 5 allows 60 seconds."""
    max_clock_jump_seconds: Annotated[int, Field(ge=60, le=31_536_000)] = 86_400
    """A clock further ahead of the last entry than this is not believed while entries keep coming."""
    state_file: Path | None = None
    """File that remembers how far the log came, by default `log-state` in the data directory; never backed up."""
    scrub: bool = True
    """Whether everything stored is re-hashed in the background; one process of a service does so at a time."""
    scrub_rate: Annotated[float, Field(gt=0, le=1_000_000)] = 2_000.0
    """Rows a second that the scrub looks at."""
    scrub_hours: Annotated[float, Field(ge=0, le=8_760)] = 24.0
    """Hours between the end of one scrub and the beginning of the next."""
    session_idle_seconds: Annotated[float, Field(ge=60, le=86_400)] = 1_800.0
    """Somebody who is signed in and does nothing for so long is signed out."""
    session_hours: Annotated[float, Field(gt=0, le=24)] = 10.0
    """Hours after which everybody signs in again."""
    backup_days: Annotated[int, Field(ge=1, le=3_650)] = 30
    """How long a backup may be kept that still holds what was erased since."""
    webhook_timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 10.0
    """How long a webhook may take to answer a delivery."""
    webhook_retry_hours: Annotated[float, Field(gt=0, le=720)] = 72.0
    """A delivery that fails this long is given up; a webhook that fails this long is disabled."""
    webhook_private_addresses: bool = False
    """Whether webhooks may be plain http and lead to private or loopback addresses; for tests and demonstrations."""
    complaints_per_hour: Annotated[float, Field(gt=0, le=10_000)] = 6.0
    """Complaints an hour that one address may go on filing, and may file at once."""
    complaint_contact_days: Annotated[int, Field(ge=1, le=3_650)] = 180
    """A consumer's contact is deleted this long after the complaint."""
    unknown_serials_per_hour: Annotated[float, Field(gt=0, le=100_000)] = 60.0
    """Serials never issued that one address may go on asking for, and may ask for at once."""
    scan_days: Annotated[int, Field(ge=7, le=365)] = 90
    """How long a scan, and the city of a first check, is kept."""
    scan_city_header: str = ""
    """Header in which a trusted proxy gives the division code of the city an address is in; none by default."""
    scan_city_file: Path | None = None
    """Text file `network,division code` a line: where addresses are, from a database of the operator's own."""
    scan_city_default: str = ""
    """Division code of the city where nothing else tells one; for demonstrations."""
    handles: tuple[str, ...] = ()
    """Industrial-internet prefixes and whose lots they name: `88.<node>.<enterprise>=<GTIN or actor id>`."""
    page_cache_mb: Annotated[int, Field(ge=0, le=16_384)] = 64
    """Memory (MiB) of each process for product pages and stories that are still right; 0 keeps none."""
    shutdown_seconds: Annotated[float, Field(gt=0, le=60)] = 15.0
    """How long a stopping service waits for requests under way."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severity that is logged."""

    @field_validator("public_host")
    @classmethod
    def _host_is_canonical(cls, host: str) -> str:
        if host and (not _HOST.fullmatch(host) or host.endswith((":80", ":443"))):
            raise ValueError("an identity host is a lower-case host name without scheme, path or default port")
        return host

    @field_validator("origin")
    @classmethod
    def _origin_is_a_schemaless_url(cls, origin: str) -> str:
        if origin and (not _ORIGIN.fullmatch(origin) or len(origin) > 200):
            raise ValueError("an origin is a URL without scheme, such as trace.example.cn/520300")
        return origin

    @field_validator("database_url")
    @classmethod
    def _database_is_known(cls, url: str) -> str:
        if url and not url.startswith(("sqlite:///", "postgresql+psycopg://")):
            raise ValueError("sqlite:///<file> or postgresql+psycopg://...")
        return url

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _proxies_are_addresses(cls, proxies: Any) -> Any:
        listed = [part.strip() for part in proxies.split(",") if part.strip()] if isinstance(proxies, str) else proxies
        for proxy in listed:
            ipaddress.ip_address(proxy)
        return listed

    @field_validator("handles", mode="before")
    @classmethod
    def _handles_name_products_or_actors(cls, handles: Any) -> Any:
        if isinstance(handles, str):
            handles = _lines_of(handles[1:]) if handles.startswith("@") else handles.split(",")
            handles = [part.strip() for part in handles if part.strip()]
        for handle in handles:
            if not _HANDLE.fullmatch(handle):
                raise ValueError("88.100.1=09520001000010: a prefix, and a GTIN of 14 digits or an actor id")
        if len({handle.partition("=")[0] for handle in handles}) != len(handles):
            raise ValueError("a prefix of industrial-internet identifiers is given twice")
        return handles

    @model_validator(mode="after")
    def _makes_sense_together(self) -> Self:
        if self.key_passphrase is not None and self.key_passphrase_file is not None:
            raise ValueError("give key_passphrase or key_passphrase_file, not both")
        if self.key_passphrase is not None and len(self.key_passphrase.get_secret_value()) < 12:
            raise ValueError("key_passphrase has at least 12 characters")
        if self.client_burst < self.client_rate or self.credential_burst < self.credential_rate:
            raise ValueError("a burst is at least one second of its rate")
        if self.registrar_key is not None and self.registrar_jwk is not None:
            raise ValueError("give registrar_key or registrar_jwk, not both")
        return self

    @property
    def handle_owners(self) -> Mapping[str, str]:
        """`handles`, by prefix."""
        return dict(handle.split("=", 1) for handle in self.handles)

    @property
    def effective_state_file(self) -> Path:
        """`state_file`, or the one in the data directory."""
        return self.state_file or self.data_dir / "log-state"

    @property
    def effective_database_url(self) -> str:
        """`database_url`, or the embedded database of the data directory."""
        return self.database_url or f"sqlite:///{(self.data_dir / 'ledger.db').absolute()}"


def _lines_of(path: str) -> list[str]:
    """The lines of a data file without what follows a `#`. Raises ValueError where it cannot be read."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error
    return [line.partition("#")[0] for line in text.splitlines()]


def load_settings(environment: Mapping[str, str], **overrides: Any) -> Settings:
    """The settings of this process: `overrides` (the command line's) before `environment` before the TOML file.

    Raises SettingsError, which names the setting and never repeats a secret.
    """
    given = _from_environment(environment) | {name: value for name, value in overrides.items() if value is not None}
    named = environment.get(PREFIX + "CONFIG")
    data_dir = Path(given.get("data_dir", Settings.model_fields["data_dir"].default))
    path = Path(named) if named else data_dir / CONFIG_NAME
    values = read_config(path, must_exist=bool(named)) | given
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}" for e in error.errors())
        raise SettingsError(faults) from None


def read_config(path: Path, *, must_exist: bool = False) -> dict[str, Any]:
    """The members of a settings file; empty when there is none. Raises SettingsError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        if must_exist:
            raise SettingsError(f"{path}: there is no such settings file") from None
        return {}
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from None


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for variable, value in environment.items():
        if not variable.startswith(PREFIX) or _NOT_SETTINGS.fullmatch(variable):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in Settings.model_fields:
            raise SettingsError(f"{variable}: there is no such setting")
        if value:
            values[name] = value
    return values
