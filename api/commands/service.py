"""Commands of whoever runs a service: the demo, a data directory, serving, witnesses of the policy, people."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from ..console import FAILED
from .options import Auditors, Data, QuorumOf, Witnesses, settings_of

app = typer.Typer()
log_app = typer.Typer(help="账本 / The log.", no_args_is_help=True)
app.add_typer(log_app, name="log")
registrar_app = typer.Typer(help="登记机构 / The registrar.", no_args_is_help=True)
app.add_typer(registrar_app, name="registrar")
policy_app = typer.Typer(help="信任策略 / The policy: whom verifiers trust.", no_args_is_help=True)
app.add_typer(policy_app, name="policy")
user_app = typer.Typer(help="登录页面的人 / People who sign in to pages.", no_args_is_help=True)
app.add_typer(user_app, name="user")


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
    from ..demo import Demo

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
    from ..closed_logs import init_successor
    from ..data_directory import DataDirectory, init_data_directory
    from ..services import wall_clock_ms
    from ..settings import load_settings
    from ..witness_change import EMPTY, set_witnesses, with_witnesses

    with_witnesses(EMPTY, witness or (), quorum, auditor or ())  # before anything is made
    settings = settings_of(
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

    from ..data_directory import DataDirectory
    from ..server import serve as run
    from ..settings import PREFIX

    settings = settings_of(data, host=host, port=port, workers=workers)
    DataDirectory(settings.data_dir).identity(settings)
    # Worker processes are started anew and read the environment.
    os.environ[PREFIX + "DATA_DIR"] = str(settings.data_dir)
    run(settings)


@log_app.command("close")
def log_close(data: Data = None) -> None:
    """关闭账本：不再写入；最后检查点写进信任策略。已有记录照常查询、验证。

    Close the log: nothing is appended any more, and the policy pins its final checkpoint. What is on it stays served.
    """
    from ..closed_logs import close_log
    from ..data_directory import DataDirectory
    from ..self_check import opened

    settings = settings_of(data)
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
    from ..data_directory import DataDirectory
    from ..witness_change import set_witnesses

    settings = settings_of(data)
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
    from ..alarms import clear_alarms, list_alarms

    settings = settings_of(data)
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
    from ..data_directory import DataDirectory
    from ..registrar_change import change_registrar, moment

    settings = settings_of(data)
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
    from ..people import tell_enrolment
    from ..self_check import opened

    with opened(settings_of(data)) as services:
        tell_enrolment(services.accounts.add(username, actor))


@user_app.command("reset")
def user_reset(username: Annotated[str, typer.Argument(help="用户名 / user name")], data: Data = None) -> None:
    """重新开户：旧密码与旧验证码失效，已登录的退出。 Enrol somebody anew; password, codes and sessions end."""
    from ..people import tell_enrolment
    from ..self_check import opened

    with opened(settings_of(data)) as services:
        tell_enrolment(services.accounts.reset(username))


@user_app.command("disable")
def user_disable(username: Annotated[str, typer.Argument(help="用户名 / user name")], data: Data = None) -> None:
    """停用用户，立即退出登录。 Disable an account; its sessions end at once."""
    from ..self_check import opened

    with opened(settings_of(data)) as services:
        services.accounts.disable(username)
    print(f"已停用 disabled: {username}")


@user_app.command("list")
def user_list(data: Data = None) -> None:
    """用户清单。 List accounts."""
    from ..people import account_lines
    from ..self_check import opened

    with opened(settings_of(data)) as services:
        for line in account_lines(services.accounts.listed()):
            print(line)
