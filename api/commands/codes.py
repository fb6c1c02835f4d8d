"""Commands of a packing line: item codes and labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..console import environment
from .options import ActorId, HomeFolder, PassphraseFile, PolicyFile, Url, producers_of

app = typer.Typer()
codes_app = typer.Typer(help="单件码 / Item codes.", no_args_is_help=True)
app.add_typer(codes_app, name="codes")


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
    from ..code_printing import issue_codes
    from ..console import Unusable
    from ..key_files import actor_of, read_key

    if key is None and actor is None:
        raise Unusable("请给出 --actor 或 --key", "--actor or --key is needed")
    owner = actor_of(key, actor) if key is not None else str(actor)
    private = None if key is None else read_key(key, passphrase_file, environment())
    producers, bars = producers_of(url, home, policy)
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
    from ..code_printing import export_codes

    form = "ndjson" if out.suffix == ".ndjson" else "csv"
    producers, bars = producers_of(url, home, policy)
    with producers.service, bars:
        number = export_codes(producers, actor, lot, out, form, skip, limit)
    print(f"{number}  {out}")


@codes_app.command("nfc-keys")
def codes_nfc_keys(
    lot: LotUri,
    out: Annotated[Path, typer.Argument(metavar="FILE", help="写到何处，权限 0600 / where to write them, mode 0600")],
    url: Url,
    actor: Owner,
    diversifier: Annotated[
        str, typer.Option(help="UID 之后的分散参数，十六进制 / what follows the UID in AN10922, hexadecimal")
    ] = "",
    given: Annotated[
        Path | None, typer.Option(help="自有密钥（JSON）；不给则派生 / keys of your own (JSON); else derived")
    ] = None,
    home: HomeFolder = None,
    policy: PolicyFile = None,
) -> None:
    """取得批次最新一段码的 NFC 芯片密钥，交给写芯片的人。 The keys of the NFC chips, for whoever writes them."""
    from ..chip_writing import fetch_keys

    producers, bars = producers_of(url, home, policy)
    with producers.service, bars:
        keys = fetch_keys(producers, actor, lot, out, diversifier, given)
    print(f"{out}  {'每芯片一密钥 a key for each chip' if keys['diversifier'] else '同一密钥 one key for all chips'}")


@codes_app.command("nfc-bind")
def codes_nfc_bind(
    lot: LotUri,
    source: Annotated[Path, typer.Argument(metavar="FILE", help=".csv 或 .ndjson / .csv or .ndjson: uid, serial")],
    url: Url,
    actor: Owner,
    home: HomeFolder = None,
    policy: PolicyFile = None,
) -> None:
    """登记哪个芯片在哪一件上，一一对应；中断后重来即可。 Bind chips to items, one to one; repeat it if cut off."""
    from ..chip_writing import bind_chips

    producers, bars = producers_of(url, home, policy)
    with producers.service, bars:
        new, known = bind_chips(producers, actor, lot, source)
    print(f"{new} 个芯片已绑定，{known} 个早已绑定 chips bound; {known} were bound already")


@codes_app.command("sscc")
def codes_sscc(
    prefix: Annotated[str, typer.Option(help="厂商识别代码 / GS1 company prefix")],
    count: Annotated[int, typer.Option(min=1, max=100_000, help="数量 / how many")],
    url: Url,
    actor: Owner,
    out: Annotated[Path | None, typer.Argument(metavar="[FILE.csv]", help="写到何处 / where to write them")] = None,
    extension: Annotated[int, typer.Option(min=0, max=9, help="扩展位 / extension digit")] = 0,
    home: HomeFolder = None,
    policy: PolicyFile = None,
) -> None:
    """取得箱托的 SSCC，每个只给一次。 Draw SSCCs for cases and pallets; each is given once."""
    from ..packing_line import draw_units

    producers, bars = producers_of(url, home, policy)
    with producers.service, bars:
        units = draw_units(producers, actor, prefix, extension, count, out)
    for unit in units if out is None else [f"{len(units)}  {out}"]:
        print(unit)


@codes_app.command("pack")
def codes_pack(
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, help=".csv 或 .ndjson / .csv or .ndjson")],
    place: Annotated[str, typer.Option(help="区划代码 / division code")],
    url: Url,
    actor: ActorId = None,
    key: Annotated[
        Path | None, typer.Option(help="设备私钥；不给则由托管密钥签署 / device key; else service-held")
    ] = None,
    lot: Annotated[str | None, typer.Option(help="没写批次的行属于它 / lot of lines that name none")] = None,
    time: Annotated[str | None, typer.Option(help="装箱时间，默认为文件时间 / when; else the file's time")] = None,
    pallets: Annotated[str, typer.Option(help="组托的环节 / stage of pallets")] = "common.aggregated",
    cases: Annotated[
        str | None, typer.Option(help="不上托的箱 / cases on no pallet: common.aggregated, common.cased")
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="只核对 / only check")] = False,
    skip: Annotated[bool, typer.Option(help="跳过错行 / leave out wrong lines")] = False,
    home: HomeFolder = None,
    policy: PolicyFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """记录哪件在哪箱、哪箱在哪托；中断后重来即续。 Record what lies in which case and on which pallet."""
    from ..console import Unusable
    from ..key_files import actor_of, read_key
    from ..packing_line import options_of, send_list

    if key is None and actor is None:
        raise Unusable("请给出 --actor 或 --key", "--actor or --key is needed")
    owner = actor_of(key, actor) if key is not None else str(actor)
    private = None if key is None else read_key(key, passphrase_file, environment())
    options = options_of(file, time, place, lot, pallets, cases)
    producers, bars = producers_of(url, home, policy)
    with producers.service, bars:
        totals, faults = send_list(producers, owner, file, options, private, dry_run=dry_run, skip=skip)
    for one in faults:
        where = str(one["line"]) + (f"–{one['last_line']}" if "last_line" in one else "")
        print(f"{file}:{where}: {one['zh']}  {one['en']} [{one['rule']}]")
    print(
        f"{totals['lines']} 行 lines，{totals['faults']} 处有误 wrong；{totals['items']} 件 items，"
        f"{totals['events']} 条新记录 new records，{totals['already']} 条已在账本上 there before"
    )
    if totals["faults"]:
        raise typer.Exit(1)


@app.command(short_help="标签 PDF / labels as PDF")
def labels(
    out: Annotated[Path, typer.Argument(metavar="FILE.pdf", help="写到何处 / where to write them")],
    url: Url,
    actor: Owner,
    lot: Annotated[str | None, typer.Option(help="单件标签：批次的 URI / items: URI of the lot")] = None,
    units: Annotated[
        Path | None, typer.Option(exists=True, help="箱托标签：codes sscc 的清单 / cases and pallets: list of SSCCs")
    ] = None,
    certificate: Annotated[
        str | None, typer.Option(help="承诺达标合格证：其 eventID / conformity certificate: its eventID")
    ] = None,
    name: Annotated[str, typer.Option(help="标签上的品名 / the product's name on the label")] = "",
    stock: Annotated[str, typer.Option(help="a4-8, a4-21, a4-24, a4-40, a4-65, roll-40x30, ...")] = "a4-21",
    skip: Skip = 0,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="至多几张 / at most so many")] = 1000,
    copies: Annotated[int, typer.Option(min=1, max=2_000, help="合格证几张 / copies of the certificate")] = 1,
    home: HomeFolder = None,
    policy: PolicyFile = None,
) -> None:
    """单件、箱托、承诺达标合格证的标签，每个码读回无误才放行。 Labels; each symbol is decoded back first."""
    from ..code_printing import print_certificate, print_labels, print_unit_labels
    from ..console import Unusable

    if sum(one is not None for one in (lot, units, certificate)) != 1 or (lot is not None and not name):
        raise Unusable(
            "请给出 --lot 与 --name，或 --units，或 --certificate",
            "give --lot and --name, or --units, or --certificate",
        )
    producers, bars = producers_of(url, home, policy)
    with producers.service, bars:
        if lot is not None:
            made = print_labels(producers, actor, lot, out, stock, name, skip, limit)
        elif units is not None:
            made = print_unit_labels(producers, units, out, stock, name)
        else:
            made = print_certificate(producers, actor, str(certificate), copies, out, stock)
    print(f"{made.labels} 张标签 labels  {out}  {made.size}")
