"""What commands share: their options, the settings these give, and the producer's side of a service."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..console import Bars, environment, language

if TYPE_CHECKING:
    from ..loading import Producers
    from ..settings import Settings


class Lang(StrEnum):
    """Languages of reports."""

    zh = "zh"
    en = "en"


class Algorithm(StrEnum):
    """Signature algorithms of device keys."""

    Ed25519 = "Ed25519"
    ES256 = "ES256"


class Kind(StrEnum):
    """What a signed statement says."""

    event = "event"
    actor = "actor"
    key = "key"
    credential = "credential"


Data = Annotated[Path | None, typer.Option("--data", help="数据目录 / data directory (SUYUAN_DATA_DIR)")]
Url = Annotated[str, typer.Option("--url", help="服务地址 / address of the service")]
KeyFile = Annotated[Path, typer.Option("--key", help="私钥文件 / private key file (PEM, mode 0600)")]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        help="私钥口令文件，亦可用 SUYUAN_KEY_PASSPHRASE / file with the key's passphrase, or SUYUAN_KEY_PASSPHRASE"
    ),
]
ActorId = Annotated[
    str | None, typer.Option("--actor", help="主体编号，默认取密钥文件名 / actor id, by default the key file's name")
]
HomeFolder = Annotated[
    Path | None,
    typer.Option(
        "--home", help="密钥、发件箱与回执所在目录 / folder of keys, outbox and receipts (default: by service, XDG)"
    ),
]
Witnesses = Annotated[
    list[str] | None,
    typer.Option(
        "--witness",
        metavar='"NAME VKEY URL"',
        help="见证者：名称、公钥、提交地址，可重复 / a witness: its name, key and address; may be repeated",
    ),
]
QuorumOf = Annotated[
    int | None,
    typer.Option("--quorum", min=1, help="须有几个联署，默认过半 / how many must cosign, by default more than half"),
]
Auditors = Annotated[
    list[str] | None,
    typer.Option(
        "--auditor",
        metavar="NAME",
        help="先审计条目再联署者，一个或全部 / a witness that audits before it cosigns: one of them, or each",
    ),
]
PolicyFile = Annotated[Path | None, typer.Option("--policy", help="信任策略文件 / policy file: whom to trust")]


def settings_of(data: Path | None, **overrides: Any) -> Settings:
    from ..settings import load_settings

    return load_settings(environment(), data_dir=data, **overrides)


def language_of(chosen: Lang | None) -> Any:
    return chosen.value if chosen is not None else language(environment())


def producers_of(url: str, home: Path | None, policy: Path | None) -> tuple[Producers, Bars]:
    from ...ledger.policy import Policy
    from ...trace.template import load_templates
    from ..client import Service
    from ..loading import Producers
    from ..producer_home import Home, default_home

    folder = Home(home or default_home(url))
    trusted = Policy.parse(policy.read_bytes()) if policy is not None else folder.trusted()
    bars = Bars()
    return Producers(Service(url, trusted), folder, load_templates(), bars), bars
