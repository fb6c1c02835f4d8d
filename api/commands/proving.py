"""Commands of whoever trusts nobody: verifying, auditing, witnessing, measuring."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import typer

from ..console import FAILED, Bars, environment
from .options import Lang, PassphraseFile, language_of

app = typer.Typer()
witness_app = typer.Typer(help="见证者 / Witnesses.", no_args_is_help=True)
app.add_typer(witness_app, name="witness")


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
    from ..verifying import verify_file

    ok, lines = verify_file(
        bundle,
        policy,
        statement,
        language_of(lang),
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
    from ..pages.verifier import render_verifier
    from ..verifying import read_policy

    read_policy(policy)  # one that cannot be read is refused here, not in somebody's browser
    page = render_verifier(language_of(lang), policy.read_text(encoding="utf-8"), pinned=True).encode()
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
    from ..auditing import run_audit

    with Bars() as bars:
        report = run_audit(
            source, policy, state=state, statements=statements, jobs=jobs, api_key_file=api_key_file, publish=publish,
            environment=environment(), bars=bars,
        )  # fmt: skip
    if json_file is not None:
        json_file.write_text(json.dumps(report.document(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    for line in report.lines(language_of(lang)):
        print(line)
    raise typer.Exit(0 if report.ok else FAILED)


@app.command(short_help="性能测量 / benchmarks")
def bench(
    name: Annotated[str, typer.Argument(help="ledger, storing, http, audit")] = "ledger",
    quick: Annotated[bool, typer.Option("--quick", help="少量试跑 / a small part of the work")] = False,
) -> None:
    """性能测量，与同次测得的极限并列。 Benchmarks beside the limits measured in the same run."""
    from ..bench import run_benchmarks

    run_benchmarks(name, quick=quick)


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
    from ...ledger.policy import Policy
    from ..access_log import configure_logging
    from ..witness_home import (
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
