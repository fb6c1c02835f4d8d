"""The command line: what people type, composed from the rooms. Each command imports what it needs when it runs."""

from __future__ import annotations

import json
import sys
import time
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import FAILED, Bars, environment, explain, language

if TYPE_CHECKING:
    from .loading import Producers
    from .settings import Settings

app = typer.Typer(
    help="溯源：从田间到餐桌，逐环节签名、上链、可验证。 Traceability on a Merkle ledger, provable offline.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
key_app = typer.Typer(help="设备密钥 / Device keys.", no_args_is_help=True)
api_key_app = typer.Typer(help="接口密钥 / API keys.", no_args_is_help=True)
app.add_typer(key_app, name="key")
app.add_typer(api_key_app, name="api-key")
log_app = typer.Typer(help="账本 / The log.", no_args_is_help=True)
registrar_app = typer.Typer(help="登记机构 / The registrar.", no_args_is_help=True)
app.add_typer(log_app, name="log")
app.add_typer(registrar_app, name="registrar")
witness_app = typer.Typer(help="见证者 / Witnesses.", no_args_is_help=True)
app.add_typer(witness_app, name="witness")
user_app = typer.Typer(help="登录页面的人 / People who sign in to pages.", no_args_is_help=True)
app.add_typer(user_app, name="user")
policy_app = typer.Typer(help="信任策略 / The policy: whom verifiers trust.", no_args_is_help=True)
app.add_typer(policy_app, name="policy")
codes_app = typer.Typer(help="单件码 / Item codes.", no_args_is_help=True)
app.add_typer(codes_app, name="codes")


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


# ---------------------------------------------------------------- the demo and the service


@app.command(short_help="演示：装载、验证三个批次，然后服务 / load, verify and serve the samples")
def demo(
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="端口 / port (8000, or a free one)")] = None,
    data: Annotated[Path, typer.Option(help="演示目录 / directory of the demo")] = Path("suyuan-demo"),
    once: Annotated[bool, typer.Option("--once", help="验证后即结束 / end after the checks")] = False,
    host: Annotated[str, typer.Option(help="监听地址 / address to listen on")] = "127.0.0.1",
) -> None:
    """演示：建账本，装载三个示例批次，验证全部证明，然后服务。

    Demo: make a ledger, load the three sample batches, check every proof, then serve.
    """
    from .demo import Demo

    raise typer.Exit(Demo(data.resolve(), host=host, port=port).run(once=once))


@app.command(short_help="建立数据目录 / make a data directory")
def init(
    public_host: Annotated[
        str | None, typer.Option(help="标识域，建立后不可改 / identity host, fixed for ever (SUYUAN_PUBLIC_HOST)")
    ] = None,
    origin: Annotated[str | None, typer.Option(help="账本名 / origin of the log (SUYUAN_ORIGIN)")] = None,
    data: Data = None,
    registrar_key: Annotated[Path | None, typer.Option(help="已有的登记机构私钥 / an existing registrar key")] = None,
    registrar_jwk: Annotated[
        Path | None, typer.Option(help="登记机构公钥 JWK / public JWK of a registrar who keeps the key")
    ] = None,
    successor_of: Annotated[
        Path | None,
        typer.Option(metavar="DATADIR", help="接续已关闭的账本 / follow the closed log of that data directory"),
    ] = None,
    closed_name: Annotated[
        str, typer.Option(help="旧账本在 /log/<name>/ 下的名称 / name of the closed log in /log/<name>/")
    ] = "",
    witness: Witnesses = None,
    quorum: QuorumOf = None,
    auditor: Auditors = None,
) -> None:
    """建立数据目录：密钥、数据库、信任策略。 Make a data directory: keys, database, policy.

    With --successor-of the new log takes over identity host, registrars and witnesses, and serves the closed one too.
    """
    from .closed_logs import init_successor
    from .data_directory import DataDirectory, init_data_directory
    from .services import wall_clock_ms
    from .settings import load_settings
    from .witness_change import EMPTY, set_witnesses, with_witnesses

    with_witnesses(EMPTY, witness or (), quorum, auditor or ())  # before anything is made
    settings = _settings(
        data, public_host=public_host, origin=origin, registrar_key=registrar_key, registrar_jwk=registrar_jwk
    )
    if successor_of is None:
        made = init_data_directory(settings, wall_clock_ms)
    else:
        made = init_successor(settings, load_settings({}, data_dir=successor_of), wall_clock_ms, closed_name)
    places = DataDirectory(settings.data_dir)
    if witness:
        set_witnesses(places.policy, witness, quorum, auditor or ())
    print(f"标识域 identity host  https://{made.identity.public_host}")
    print(f"账本公钥 log key      {made.log_vkey}")
    print(f"登记机构 registrar    {made.registrar_kid}  {made.registrar_key or ''}")
    print(f"信任策略 policy       {places.policy}")
    if places.passphrase.exists():
        print(f"请妥善备份口令与密钥 back up the passphrase and the keys: {places.passphrase}, {places.keys}")


@app.command(short_help="运行服务 / run the service")
def serve(
    host: Annotated[str | None, typer.Option(help="监听地址 / address to listen on")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="端口 / port")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="进程数 / processes")] = None,
    data: Data = None,
) -> None:
    """运行服务。 Run the service."""
    import os

    from .data_directory import DataDirectory
    from .server import serve as run
    from .settings import PREFIX

    settings = _settings(data, host=host, port=port, workers=workers)
    DataDirectory(settings.data_dir).identity(settings)
    # Worker processes are started anew and read the environment.
    os.environ[PREFIX + "DATA_DIR"] = str(settings.data_dir)
    run(settings)


@log_app.command("close")
def log_close(data: Data = None) -> None:
    """关闭账本：不再写入；最后检查点写进信任策略。已有记录照常查询、验证。

    Close the log: nothing is appended any more, and the policy pins its final checkpoint. What is on it stays served.
    """
    from .closed_logs import close_log
    from .data_directory import DataDirectory
    from .self_check import opened

    settings = _settings(data)
    with opened(settings) as services:
        final = close_log(services.log, DataDirectory(settings.data_dir))
    print(f"已关闭 closed: {' '.join(final.text().split())}")
    print(f"把新的策略文件交给验证者 give verifiers the new policy: {DataDirectory(settings.data_dir).policy}")
    print("后继账本 its successor: suyuan init --successor-of " + str(settings.data_dir))


@policy_app.command("set-witnesses")
def policy_set_witnesses(
    witness: Witnesses = None, quorum: QuorumOf = None, auditor: Auditors = None, data: Data = None
) -> None:
    """改写信任策略中的见证者；不给 --witness 则不要求联署。其余各行不变。服务须重启（SIGTERM 不丢请求）。

    Name the witnesses of the policy; without --witness no cosignatures are asked for. Other lines stay as they are.
    Restart the service for it to take effect (SIGTERM answers everything first); verifiers take the new policy as they
    took the old one. A witness needs the log's key: `suyuan witness serve --log "VKEY [URL]"`.
    """
    from .data_directory import DataDirectory
    from .witness_change import set_witnesses

    settings = _settings(data)
    places = DataDirectory(settings.data_dir)
    places.identity(settings)
    policy = set_witnesses(places.policy, witness or (), quorum, auditor or ())
    for one in policy.witnesses:
        print(f"见证者 witness  {one.name}  {one.url or ''}")
    for group in policy.groups:
        print(f"联署 cosigned when {group.threshold} / {len(group.members)}: {', '.join(group.members)}")
    print(f"审计 audited by  {policy.auditors or '-'}")
    print(f"请重启服务 restart the service; {places.policy}")


@app.command(short_help="见证者的警报 / alarms about witnesses")
def alarms(
    clear: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="了结该警报 / close this alarm: its cause is known and dealt with"),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="含已了结的 / those that are closed, too")] = False,
    data: Data = None,
) -> None:
    """关于见证者的警报：双方的检查点原文。有警报时以 1 结束。 Alarms about witnesses, with the notes of both sides.

    An alarm marked HALTS keeps the log from signing: the witness knows more of this log than the log does, or another
    history of it. Look at both notes first; nothing but a note that this log can account for makes such an alarm go by
    itself. It comes back when the witness says the same again. Ends with 1 while alarms are open.
    """
    from .alarms import clear_alarms, list_alarms

    settings = _settings(data)
    for cleared in clear_alarms(settings, clear or ()):
        print(f"已了结 closed: {cleared}")
    lines, still_open = list_alarms(settings, everything=everything)
    for line in lines:
        print(line)
    raise typer.Exit(FAILED if still_open else 0)


@registrar_app.command("change")
def registrar_change(
    jwk: Annotated[Path, typer.Argument(help="新登记机构的公钥 JWK / public JWK of the new registrar")],
    at: Annotated[
        str | None, typer.Option(help="交接时刻，如 2027-01-01T00:00:00+08:00，默认现在 / when; now by default")
    ] = None,
    data: Data = None,
) -> None:
    """更换登记机构：信任策略中旧的到此为止，新的从此开始。服务须重启（SIGTERM 不丢请求）。

    Change the registrar: in the policy the old one's time ends where the new one's begins. Restart the service for it
    to take effect (SIGTERM answers everything first); verifiers take the new policy as they took the old one.
    """
    from .data_directory import DataDirectory
    from .registrar_change import change_registrar, moment

    settings = _settings(data)
    places = DataDirectory(settings.data_dir)
    places.identity(settings)
    ended, begun = change_registrar(places.policy, jwk, moment(at, time.time_ns() // 1_000_000))
    print(f"旧 before  {ended.kid}  {ended.from_ms} - {ended.until_ms}")
    print(f"新 now     {begun.kid}  {begun.from_ms} -")
    print(f"请重启服务 restart the service; {places.policy}")


@user_app.command("add")
def user_add(
    username: Annotated[str, typer.Argument(help="用户名 / user name")],
    actor: Annotated[str, typer.Option("--actor", help="所属主体，账本上须有 / the actor the person speaks for")],
    data: Data = None,
) -> None:
    """新建用户：给出开户码与验证码密钥，由本人在 /regulator/enrol 设置密码。 Make an account.

    Prints an enrolment code and the secret of the one-time codes; its owner sets the password with both.
    """
    from .people import tell_enrolment
    from .self_check import opened

    with opened(_settings(data)) as services:
        tell_enrolment(services.accounts.add(username, actor))


@user_app.command("reset")
def user_reset(username: Annotated[str, typer.Argument(help="用户名 / user name")], data: Data = None) -> None:
    """重新开户：旧密码与旧验证码失效，已登录的退出。 Enrol somebody anew; password, codes and sessions end."""
    from .people import tell_enrolment
    from .self_check import opened

    with opened(_settings(data)) as services:
        tell_enrolment(services.accounts.reset(username))


@user_app.command("disable")
def user_disable(username: Annotated[str, typer.Argument(help="用户名 / user name")], data: Data = None) -> None:
    """停用用户，立即退出登录。 Disable an account; its sessions end at once."""
    from .self_check import opened

    with opened(_settings(data)) as services:
        services.accounts.disable(username)
    print(f"已停用 disabled: {username}")


@user_app.command("list")
def user_list(data: Data = None) -> None:
    """用户清单。 List accounts."""
    from .people import account_lines
    from .self_check import opened

    with opened(_settings(data)) as services:
        for line in account_lines(services.accounts.listed()):
            print(line)


@app.command(short_help="重建派生数据表 / rebuild the derived tables")
def rebuild(data: Data = None) -> None:
    """由账本重放，重建全部派生数据表。 Rebuild all derived tables by replaying the ledger."""
    from ..trace.replay import rebuild as replay
    from .self_check import opened

    with opened(_settings(data)) as services, Bars() as bars:
        progress = bars.measured("重放 replayed")
        entries = replay(services.log, services.templates, services.names, services.policy.registrars, progress)
        services.judging.judge_all(bars.measured("判定 judged"))
    print(f"已由 {entries} 条账本条目重建  rebuilt from {entries} entries")


@app.command(short_help="判定账本上的记录 / judge what is on the ledger")
def judge(
    data: Data = None,
    everything: Annotated[bool, typer.Option("--all", help="从第一条起全部重新判定 / everything again")] = False,
) -> None:
    """按规则判定新记录，或全部重新判定。 Judge what is new by the rules, or everything again.

    规则或限量变更后，服务会自行全部重新判定；可在服务运行时进行。
    After a change of rules or limits the service judges everything again by itself; may be run beside it.
    """
    from .self_check import opened

    with opened(_settings(data)) as services, Bars() as bars:
        progress = bars.measured("判定 judged")
        judging = services.judging
        judged = judging.judge_all(progress) if everything else judging.catch_up(progress)
        judging.release()
        counts = judging.standing()
    print(f"判定了 {judged} 条账本条目  judged {judged} entries")
    for severity, zh in (("block", "阻断"), ("flag", "异常"), ("info", "提示")):
        print(f"{zh} {severity}: {counts.get(severity, 0)}")


@app.command(short_help="自检 / self-check of everything stored")
def check(
    data: Data = None, lang: Annotated[Lang | None, typer.Option(help="报告语言 / language of the report")] = None
) -> None:
    """自检：重算每个散列与签名，比对派生数据表。 Self-check: every hash and signature again, and the derived tables.

    可在服务运行时进行；全部相符时解除因损坏而起的暂停。
    May be run beside the service; lifts a halt over damage when everything agrees.
    """
    from .self_check import opened, self_check

    with opened(_settings(data)) as services, Bars() as bars:
        report = self_check(services, bars)
    for line in report.lines(_lang(lang)):
        print(line)
    raise typer.Exit(0 if report.ok else FAILED)


@app.command(short_help="运行中备份 / back up while serving")
def backup(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="新目录 / a new directory")], data: Data = None
) -> None:
    """运行中备份：账本、披露、密钥（密文）、附件，一个快照。 Back up while the service runs: one consistent snapshot.

    口令与状态文件不在备份中，请另存。 Neither the passphrase nor the state file is in it: keep those elsewhere.
    """
    from .backups import back_up
    from .services import wall_clock_ms

    with Bars() as bars:
        manifest = back_up(_settings(data), directory, wall_clock_ms, bars)
    print(f"{manifest.size} 条 entries, {len(manifest.files)} 个文件 files: {directory}")


@app.command(short_help="由备份恢复 / make a data directory from a backup")
def restore(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="备份 / the backup")],
    data: Annotated[Path, typer.Option("--data", help="新数据目录 / data directory to make")],
    state: Annotated[
        Path | None, typer.Option("--state", help="原账本的状态文件 / state file of the log that was lost or moved")
    ] = None,
) -> None:
    """由备份建立新的数据目录，全部验证后才可使用。 Make a data directory from a backup; usable once all is verified.

    备份之后若有已回执的条目遗失，账本不得继续签署：请封账，另立后继账本。没有绕过的办法。
    When entries acknowledged after the backup are lost, the log must not go on: it would have two histories. Close it
    and start a successor. There is no way around that; without --state the directory is read-only.
    """
    from .backups import restore as make

    with Bars() as bars:
        restored = make(directory, _settings(data), state, bars)
    print(f"{restored.manifest.size} 条已验证 entries verified: {data}")
    if not restored.signs:
        print(f"{restored.reason_zh}\n{restored.reason_en}")


@app.command(short_help="备份清单 / list backups")
def backups(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="存放备份的目录 / folder of backups")],
    data: Data = None,
) -> None:
    """列出备份，指出到期必须销毁的。 List backups, and which must be destroyed.

    其后有删除的备份到期须销毁；有须销毁者时退出码为 1。
    Those that hold what was erased since, once they are too old; exit code 1 when there are any.
    """
    from datetime import UTC, datetime

    from .backups import to_destroy
    from .services import wall_clock_ms

    listed = to_destroy(folder, _settings(data), wall_clock_ms())
    for path, manifest, must in listed:
        made = datetime.fromtimestamp(manifest.created_ms / 1000, UTC).isoformat(timespec="seconds")
        print(f"{made}  {manifest.size}  {path}" + ("  须销毁 must be destroyed" if must else ""))
    raise typer.Exit(FAILED if any(must for _, _, must in listed) else 0)


# ---------------------------------------------------------------- the producer's side


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
    from . import key_files
    from .settings import SettingsError

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
    from . import signing
    from .key_files import actor_of, read_key

    issuer = actor_of(key, actor)
    private = read_key(key, passphrase_file, environment())
    if url is not None:
        from .client import Service

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
    from .key_files import read_key
    from .submitting import submit_files

    private = None if key is None else read_key(key, passphrase_file, environment())
    producers, bars = _producers(url, home, policy)
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
    from .key_files import read_key
    from .producer import Directory

    private = None if registrar_key is None else read_key(registrar_key, passphrase_file, environment())
    source = Directory.read(directory)
    producers, bars = _producers(url, home, policy)
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
    from .key_files import actor_of, read_key

    owner, private = actor_of(key, actor), read_key(key, passphrase_file, environment())
    producers, _ = _producers(url, home, None)
    with producers.service as service:
        secret = service.api_key(private, owner)
        producers.home.keep_api_key(owner, secret)
    print(secret)


@api_key_app.command("list")
def api_key_list(
    url: Url, actor: Annotated[str, typer.Option(help="主体编号 / actor id")], home: HomeFolder = None
) -> None:
    """列出主体的接口密钥。 List the actor's API keys."""
    producers, _ = _producers(url, home, None)
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
    producers, _ = _producers(url, home, None)
    with producers.service as service:
        producers.with_api_key(actor, lambda secret: service.revoke_api_key(secret, key_id))
    print(f"已吊销 revoked: {key_id}")


# ---------------------------------------------------------------- item codes and labels

LotUri = Annotated[str, typer.Option(help="批次的 URI / URI of the lot")]
Owner = Annotated[str, typer.Option("--actor", help="主体编号 / actor id")]
Skip = Annotated[int, typer.Option(min=0, help="跳过前几个 / codes to skip")]


@codes_app.command("issue")
def codes_issue(
    lot: LotUri,
    count: Annotated[int, typer.Option(min=1, max=10_000_000, help="数量 / how many")],
    url: Url,
    actor: ActorId = None,
    key: Annotated[
        Path | None, typer.Option(help="设备私钥；不给则由托管密钥签署 / device key; else service-held")
    ] = None,
    home: HomeFolder = None,
    policy: PolicyFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """为批次取得单件码，签署上账；中断后重来即续。 Draw item codes for a lot, sign and record them."""
    from .code_printing import issue_codes
    from .console import Unusable
    from .key_files import actor_of, read_key

    if key is None and actor is None:
        raise Unusable("请给出 --actor 或 --key", "--actor or --key is needed")
    owner = actor_of(key, actor) if key is not None else str(actor)
    private = None if key is None else read_key(key, passphrase_file, environment())
    producers, bars = _producers(url, home, policy)
    with producers.service, bars:
        codes = issue_codes(producers, owner, lot, count, private)
    print(f"{codes['count']} 个单件码已上账 item codes recorded, from {codes['first']}; root {codes['root']}")


@codes_app.command("export")
def codes_export(
    lot: LotUri,
    out: Annotated[Path, typer.Argument(metavar="FILE", help=".csv 或 .ndjson / .csv or .ndjson")],
    url: Url,
    actor: Owner,
    skip: Skip = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="至多几个 / at most so many")] = None,
    home: HomeFolder = None,
    policy: PolicyFile = None,
) -> None:
    """导出批次最新一段码（含内码，请妥善保管）。 Export a lot's newest code set, inner codes included."""
    from .code_printing import export_codes

    form = "ndjson" if out.suffix == ".ndjson" else "csv"
    producers, bars = _producers(url, home, policy)
    with producers.service, bars:
        number = export_codes(producers, actor, lot, out, form, skip, limit)
    print(f"{number}  {out}")


@app.command(short_help="单件标签 PDF / labels of items as PDF")
def labels(
    lot: LotUri,
    out: Annotated[Path, typer.Argument(metavar="FILE.pdf", help="写到何处 / where to write them")],
    url: Url,
    actor: Owner,
    name: Annotated[str, typer.Option(help="标签上的品名 / the product's name on the label")],
    stock: Annotated[str, typer.Option(help="a4-21, a4-24, a4-40, a4-65, roll-40x30, roll-60x40, ...")] = "a4-21",
    skip: Skip = 0,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="至多几张 / at most so many")] = 1000,
    home: HomeFolder = None,
    policy: PolicyFile = None,
) -> None:
    """为批次最新一段码做标签：每个二维码读回无误才放行。 Labels of a lot's newest codes, each symbol decoded back."""
    from .code_printing import print_labels

    producers, bars = _producers(url, home, policy)
    with producers.service, bars:
        number, module = print_labels(producers, actor, lot, out, stock, name, skip, limit)
    print(f"{number} 张标签 labels  {out}  模块 module {module} mm，静区 quiet zone 4")


# ---------------------------------------------------------------- verifying and measuring


@app.command(short_help="离线验证 / verify a bundle or receipt offline")
def verify(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="证明包或回执 / proof bundle, or a receipt")],
    policy: Annotated[Path, typer.Option("--policy", help="信任策略文件 / policy file: whom to trust")],
    without_completeness: Annotated[
        bool, typer.Option("--without-completeness", help="不要求完整性证明 / do not ask whether all is there")
    ] = False,
    without_quorum: Annotated[
        bool,
        typer.Option(
            "--without-quorum", help="不要求见证人联署，如刚得的回执 / the log's word is enough: a new receipt"
        ),
    ] = False,
    statement: Annotated[Path | None, typer.Option(help="回执所属的声明 / the statement that a receipt is for")] = None,
    every: Annotated[bool, typer.Option("--every", help="逐条列出成立的声明 / name what holds one by one")] = False,
    lang: Annotated[Lang | None, typer.Option(help="报告语言 / language of the report")] = None,
) -> None:
    """离线验证：0 成立，1 不成立，2 无法读取。 Verify offline: 0 it holds, 1 it does not, 2 it cannot be read."""
    from .verifying import verify_file

    ok, lines = verify_file(
        bundle,
        policy,
        statement,
        _lang(lang),
        completeness=not without_completeness,
        quorum=not without_quorum,
        every=every,
    )
    for line in lines:
        print(line)
    raise typer.Exit(0 if ok else FAILED)


@app.command(short_help="制作离线验证页 / make a verifier for browsers")
def verifier(
    output: Annotated[Path, typer.Argument(metavar="FILE", help="要写的 HTML 文件 / the HTML file to write")],
    policy: Annotated[Path, typer.Option("--policy", help="要固定在内的信任策略文件 / policy file to pin inside")],
    lang: Annotated[Lang | None, typer.Option(help="网页语言 / language of the page")] = None,
) -> None:
    """一个 HTML 文件，内含验证程序与策略，可放在任何地方，断网可用。

    One HTML file with the verifier and the policy inside, to host anywhere; it needs no network. Prints its SHA-256.
    """
    from .pages.verifier import render_verifier
    from .verifying import read_policy

    read_policy(policy)  # one that cannot be read is refused here, not in somebody's browser
    page = render_verifier(_lang(lang), policy.read_text(encoding="utf-8"), pinned=True).encode()
    output.write_bytes(page)
    print(f"{output} {sha256(page).hexdigest()}")


@app.command(short_help="独立审计账本 / audit a whole ledger")
def audit(
    source: Annotated[str, typer.Argument(metavar="URL_OR_DIR", help="服务、镜像或备份 / service, mirror or backup")],
    policy: Annotated[Path, typer.Option("--policy", help="信任策略文件 / policy file: whom to trust")],
    state: Annotated[
        Path | None, typer.Option(help="上次审计的状态，审计通过后更新 / state of the last audit; replaced when clean")
    ] = None,
    statements: Annotated[
        bool, typer.Option("--statements", help="逐条核对声明与签名 / every statement and signature (auditors)")
    ] = False,
    jobs: Annotated[int | None, typer.Option(min=1, max=256, help="进程数 / processes (all cores)")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="报告存为 JSON / report as JSON")] = None,
    api_key_file: Annotated[
        Path | None, typer.Option(help="审计者的接口密钥文件 / file with the auditor's API key, or SUYUAN_API_KEY")
    ] = None,
    publish: Annotated[
        bool, typer.Option("--publish", help="报告交给该服务公示 / send the report to the service, to be shown")
    ] = False,
    lang: Annotated[Lang | None, typer.Option(help="报告语言 / language of the report")] = None,
) -> None:
    """独立审计整个账本：0 通过，1 有问题，2 无法读取；中断后以同一 --state 重来即续。

    Audit a whole ledger independently: 0 clean, 1 findings, 2 unreadable. With --state it goes on where it was cut off.
    """
    from .auditing import run_audit

    with Bars() as bars:
        report = run_audit(
            source, policy, state=state, statements=statements, jobs=jobs, api_key_file=api_key_file, publish=publish,
            environment=environment(), bars=bars,
        )  # fmt: skip
    if json_file is not None:
        json_file.write_text(json.dumps(report.document(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    for line in report.lines(_lang(lang)):
        print(line)
    raise typer.Exit(0 if report.ok else FAILED)


@app.command(short_help="性能测量 / benchmarks")
def bench(
    name: Annotated[str, typer.Argument(help="ledger, storing, http, audit")] = "ledger",
    quick: Annotated[bool, typer.Option("--quick", help="少量试跑 / a small part of the work")] = False,
) -> None:
    """性能测量，与同次测得的极限并列。 Benchmarks beside the limits measured in the same run."""
    from .bench import run_benchmarks

    run_benchmarks(name, quick=quick)


# ---------------------------------------------------------------- witnesses


@witness_app.command("serve")
def witness_serve(
    data: Annotated[Path, typer.Option(help="见证者目录 / directory of the witness")] = Path("suyuan-witness"),
    name: Annotated[
        str | None,
        typer.Option(help="见证者名，首次启动时定，不可改 / name, fixed at the first start: witness.example.cn/w1"),
    ] = None,
    log: Annotated[
        list[str] | None,
        typer.Option(
            metavar='"VKEY [URL]"', help="所见证的账本，给出地址则审计其条目 / a log; with a URL it is audited"
        ),
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="取其中的账本 / watch the logs of this policy file")] = None,
    audit: Annotated[bool, typer.Option(help="审计有地址的账本 / audit the logs that have a URL")] = True,
    host: Annotated[str, typer.Option(help="监听地址 / address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="端口 / port")] = 8100,
    prefix: Annotated[str, typer.Option(help="路径前缀 / path of the submission prefix, such as /w1")] = "",
    fd: Annotated[
        int | None,
        typer.Option(
            help="上级进程传入的监听套接字，标准输入关闭即结束 / listening socket handed down by a parent process; "
            "ends when standard input does"
        ),
    ] = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """运行见证者（C2SP tlog-witness）：账本只增不改，才予联署。 Run a witness for one or more logs.

    It cosigns a checkpoint only when it goes on from the newest one it cosigned before; a log that is given with its
    URL is audited first: all its entries are replayed. Logs are remembered for the next start.
    """
    from ..ledger.policy import Policy
    from .access_log import configure_logging
    from .witness_home import (
        WitnessHome,
        merged,
        passphrase_of,
        read_logs,
        serve_witness,
        serve_witness_for_parent,
    )

    home = WitnessHome(data)
    given = read_logs(log or ())
    if policy is not None:
        given += Policy.parse(policy.read_bytes()).logs
    signer = home.signer(name, passphrase_of(passphrase_file, environment()))
    logs = home.logs(merged(given))
    configure_logging("INFO")
    print(signer.verifier.vkey(), flush=True)
    witness = home.open(signer, logs, audit=audit, prefix=prefix.rstrip("/"))
    if fd is None:
        serve_witness(witness, host, port)
    else:
        serve_witness_for_parent(witness, fd)


# ---------------------------------------------------------------- shared steps


def _settings(data: Path | None, **overrides: Any) -> Settings:
    from .settings import load_settings

    return load_settings(environment(), data_dir=data, **overrides)


def _lang(chosen: Lang | None) -> Any:
    return chosen.value if chosen is not None else language(environment())


def _producers(url: str, home: Path | None, policy: Path | None) -> tuple[Producers, Bars]:
    from ..ledger.policy import Policy
    from ..trace.template import load_templates
    from .client import Service
    from .loading import Producers
    from .producer_home import Home, default_home

    folder = Home(home or default_home(url))
    trusted = Policy.parse(policy.read_bytes()) if policy is not None else folder.trusted()
    bars = Bars()
    return Producers(Service(url, trusted), folder, load_templates(), bars), bars


def main() -> None:
    """Run the command line; foreseen errors are told in Chinese and English, others keep their traceback."""
    try:
        app(prog_name="suyuan")
    except Exception as error:
        code = explain(error)
        if code is None:
            raise
        sys.exit(code)


if __name__ == "__main__":
    main()
