"""Commands that keep what is stored: rebuild, judge, check, back up, restore."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..console import FAILED, Bars
from .options import Data, Lang, language_of, settings_of

app = typer.Typer()


@app.command(short_help="重建派生数据表 / rebuild the derived tables")
def rebuild(data: Data = None) -> None:
    """由账本重放，重建全部派生数据表。 Rebuild all derived tables by replaying the ledger."""
    from ...trace.replay import rebuild as replay
    from ..self_check import opened

    with opened(settings_of(data)) as services, Bars() as bars:
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
    from ..self_check import opened

    with opened(settings_of(data)) as services, Bars() as bars:
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
    from ..self_check import opened, self_check

    with opened(settings_of(data)) as services, Bars() as bars:
        report = self_check(services, bars)
    for line in report.lines(language_of(lang)):
        print(line)
    raise typer.Exit(0 if report.ok else FAILED)


@app.command(short_help="运行中备份 / back up while serving")
def backup(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="新目录 / a new directory")], data: Data = None
) -> None:
    """运行中备份：账本、披露、密钥（密文）、附件，一个快照。 Back up while the service runs: one consistent snapshot.

    口令与状态文件不在备份中，请另存。 Neither the passphrase nor the state file is in it: keep those elsewhere.
    """
    from ..backups import back_up
    from ..services import wall_clock_ms

    with Bars() as bars:
        manifest = back_up(settings_of(data), directory, wall_clock_ms, bars)
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
    from ..backups import restore as make

    with Bars() as bars:
        restored = make(directory, settings_of(data), state, bars)
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

    from ..backups import to_destroy
    from ..services import wall_clock_ms

    listed = to_destroy(folder, settings_of(data), wall_clock_ms())
    for path, manifest, must in listed:
        made = datetime.fromtimestamp(manifest.created_ms / 1000, UTC).isoformat(timespec="seconds")
        print(f"{made}  {manifest.size}  {path}" + ("  须销毁 must be destroyed" if must else ""))
    raise typer.Exit(FAILED if any(must for _, _, must in listed) else 0)
