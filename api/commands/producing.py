"""Commands of a producer: keys, signing, submitting, loading, API keys."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from ..console import environment
from .options import ActorId, Algorithm, HomeFolder, KeyFile, Kind, PassphraseFile, PolicyFile, Url, producers_of

app = typer.Typer()
key_app = typer.Typer(help="设备密钥 / Device keys.", no_args_is_help=True)
app.add_typer(key_app, name="key")
api_key_app = typer.Typer(help="接口密钥 / API keys.", no_args_is_help=True)
app.add_typer(api_key_app, name="api-key")


@key_app.command("new")
def key_new(
    path: Annotated[Path, typer.Argument(help="密钥文件，如 <主体编号>.pem / key file, such as <actor>.pem")],
    actor: ActorId = None,
    origin: Annotated[str | None, typer.Option(help="账本名，用于登记文件 / origin, for the registration")] = None,
    algorithm: Annotated[Algorithm, typer.Option("--alg", help="算法 / algorithm")] = Algorithm.Ed25519,
    endorse_with: Annotated[
        Path | None,
        typer.Option(
            metavar="OLD.pem", help="用原设备密钥背书（需 --origin）/ the earlier device key that vouches for it"
        ),
    ] = None,
    passphrase_file: PassphraseFile = None,
    no_passphrase: Annotated[
        bool,
        typer.Option("--no-passphrase", help="以明文保存（0600），由设备自身保护 / in clear: the device guards it"),
    ] = False,
) -> None:
    """生成设备密钥；给出 --origin 时另写登记文件，交登记机构。

    Make a device key; with --origin also its registration, for the registrar to sign (`suyuan sign --kind key`). A key
    that no earlier one vouches for, as after a lost phone, is shown as added by the registrar.
    """
    from .. import key_files
    from ..settings import SettingsError

    if endorse_with is not None and origin is None:
        raise SettingsError("背书需要 --origin  an endorsement is for one log: --origin")
    endorser = None if endorse_with is None else key_files.read_key(endorse_with, passphrase_file, environment())
    passphrase = None if no_passphrase else key_files.new_passphrase(passphrase_file, environment())
    owner = key_files.actor_of(path, actor) if origin is not None else None
    key = key_files.new_key(path, algorithm.value, passphrase)
    print(f"{path}\nkid {key.public.kid}\n{json.dumps(key.public.jwk)}")
    if origin is not None and owner is not None:
        key_files.device_key(path, key, owner, origin, time.time_ns() // 1_000_000, endorser)
        print(f"交登记机构 for the registrar: {path.with_suffix('.key.json')}")


@app.command(short_help="签署事件 / sign events with a device key")
def sign(
    files: Annotated[list[Path], typer.Argument(metavar="EVENT.json...", help="事件或记录 / events or records")],
    key: KeyFile,
    actor: ActorId = None,
    kind: Annotated[Kind, typer.Option(help="声明种类 / kind of statement")] = Kind.event,
    url: Annotated[
        str | None, typer.Option(help="服务地址，用以得知账本名 / service, to learn the origin from")
    ] = None,
    origin: Annotated[str | None, typer.Option(help="账本名（离线签名）/ origin of the log, to sign offline")] = None,
    public_host: Annotated[
        str | None, typer.Option(help="标识域（离线签名）/ identity host, to sign offline; by default the event's own")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="输出文件，默认标准输出 / file, by default standard output")] = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """用设备密钥签署事件，输出可提交的 NDJSON。 Sign events with a device key; the output is what `submit` takes."""
    from .. import signing
    from ..key_files import actor_of, read_key

    issuer = actor_of(key, actor)
    private = read_key(key, passphrase_file, environment())
    if url is not None:
        from ..client import Service

        with Service(url) as service:
            origin, public_host = origin or service.origin, public_host or service.public_host
    lines = [
        signing.sign(body, kind.value, private, issuer, origin=origin, public_host=public_host)
        for path in files
        for body in signing.read_bodies(path)
    ]
    text = "".join(json.dumps(line.submission) + "\n" for line in lines)
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text, encoding="ascii")


@app.command(short_help="提交声明，保存回执 / submit statements, keep receipts")
def submit(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="`sign` 的输出 / what `sign` wrote")],
    url: Url,
    key: Annotated[Path | None, typer.Option(help="私钥，首次用以取得接口密钥 / key, to get an API key once")] = None,
    home: HomeFolder = None,
    policy: PolicyFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """提交签名声明；回执经验证后存为 FILE.receipt，见证人联署后即补上。可随时重来。

    Submit statements; each receipt is verified and kept as FILE.receipt, with the witnesses' cosignatures as soon as
    they are there. May be repeated at any time.
    """
    from ..key_files import read_key
    from ..submitting import submit_files

    private = None if key is None else read_key(key, passphrase_file, environment())
    producers, bars = producers_of(url, home, policy)
    with producers.service, bars:
        for path, recorded in submit_files(producers, files, private):
            print(f"{recorded.index}  {path}" + ("  （已在账本上 already there）" if recorded.duplicate else ""))


@app.command(short_help="装载记录目录 / load a directory of records")
def load(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="记录目录 / directory of records")],
    url: Url,
    registrar_key: Annotated[
        Path | None, typer.Option(help="登记机构私钥：先登记主体与密钥 / registrar's key: registers the actors first")
    ] = None,
    registrar_id: Annotated[str, typer.Option(help="登记机构编号 / the registrar's id")] = "registrar",
    home: HomeFolder = None,
    policy: PolicyFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """经公开接口装载一个记录目录，各主体用自己的设备密钥签名；中断后重来即续。

    Load a directory of records through the public API, each actor signing with its own device key. Goes on where it
    was cut off.
    """
    from ..key_files import read_key
    from ..producer import Directory

    private = None if registrar_key is None else read_key(registrar_key, passphrase_file, environment())
    source = Directory.read(directory)
    producers, bars = producers_of(url, home, policy)
    with producers.service, bars:
        if private is not None:
            producers.registrar(private, registrar_id)
            producers.register([source])
        producers.load(source)
    print(f"{len(source.records)} 条记录已在账本上  records are on the ledger; {producers.home.folder}")


@api_key_app.command("new")
def api_key_new(
    url: Url, key: KeyFile, actor: ActorId = None, home: HomeFolder = None, passphrase_file: PassphraseFile = None
) -> None:
    """凭私钥取得接口密钥（登记机构可为没有设备密钥的主体申请）。 Get an API key for a private key.

    A registrar's key gets one for an actor without a device key.
    """
    from ..key_files import actor_of, read_key

    owner, private = actor_of(key, actor), read_key(key, passphrase_file, environment())
    producers, _ = producers_of(url, home, None)
    with producers.service as service:
        secret = service.api_key(private, owner)
        producers.home.keep_api_key(owner, secret)
    print(secret)


@api_key_app.command("list")
def api_key_list(
    url: Url, actor: Annotated[str, typer.Option(help="主体编号 / actor id")], home: HomeFolder = None
) -> None:
    """列出主体的接口密钥。 List the actor's API keys."""
    producers, _ = producers_of(url, home, None)
    with producers.service as service:
        for row in producers.with_api_key(actor, service.api_keys):
            print(f"{row['id']}  …{row['lastFour']}  {row['created']}")


@api_key_app.command("revoke")
def api_key_revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="`api-key list` 所列 / as `api-key list` shows it")],
    url: Url,
    actor: Annotated[str, typer.Option(help="主体编号 / actor id")],
    home: HomeFolder = None,
) -> None:
    """吊销接口密钥。 Revoke an API key."""
    producers, _ = producers_of(url, home, None)
    with producers.service as service:
        producers.with_api_key(actor, lambda secret: service.revoke_api_key(secret, key_id))
    print(f"已吊销 revoked: {key_id}")
