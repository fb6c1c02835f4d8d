"""How fast product pages of 30 events are shown, kept and drawn anew, and what scans of items cost under load.

One worker, as `suyuan serve` starts it, with one more route: a static page of the same size, through the same edge. A
turn asks for the static page, for one page again and again, and for pages of lots that this process has never shown;
then for pages of items, as a program that leaves no scan, as a phone that is the first, and as one that comes later.
Rates are pages a second of the server's own processor time, so that a busy machine does not blur them; only how long
pages take is told by the clock.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI
from sqlalchemy import func, select
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ..ledger.bench import Row
from ..ledger.keys import load_private_key
from ..trace.tables import node
from ..trace.viewer import Viewer
from .app import create_app
from .bench_http import HOST, ORIGIN, running
from .bench_load import Load, LoadClient
from .bench_rules import SampleLedger
from .data_directory import DataDirectory, init_data_directory
from .item_codes import Drawn
from .item_states import ItemState
from .scans.tables import scanned_item
from .services import Services, open_services, wall_clock_ms
from .settings import PREFIX, Settings

EVENTS = 30
LEAST_WARM, LEAST_COLD, MOST_COLD_MS, MOST_DELAYED = 0.5, 0.08, 25.0, 0.01
_TURNS, _REQUESTS, _CONNECTIONS, _COLD, _TELLINGS = 5, 1_500, 16, 8, 10
_ITEMS = 200
_PLENTY = 100_000_000
_PAGE = "BENCH_PAGE"
_STATIC, _DROP = "/static-page", "Bench-Drop"
_PHONE = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/126 Mobile Safari/537.36"
_ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def run(quick: bool, progress: Callable[[str], None]) -> list[Row]:
    """The rows of pages and scans; `quick` does a small part of the work, to see that they run."""
    turns, requests, cold, items = (1, 200, 2, 50) if quick else (_TURNS, _REQUESTS, _COLD, _ITEMS)
    figures = _Figures()
    with tempfile.TemporaryDirectory(prefix="suyuan-bench-") as folder:
        progress("a ledger of sample batches, told by many")
        shop = Shop.stocked(Path(folder), tellings=2 if quick else _TELLINGS, items=turns * items)
        with LoadClient() as client, shop.serving() as server:
            _ask(figures, client, server, shop, (turns, requests, cold, items), progress)
        lost = shop.lost(turns * items)
    kept = f"product page of {EVENTS} events, kept (limit: a static page of {shop.size / 1000:.0f} KB)"
    drawn = f"product page of {EVENTS} events, never shown before"
    later, first = "item pages that record a later check", "item pages that settle a first check"
    beside = "(limit: the same, recording nothing)"
    late = {name: figures.delayed(name, "unseen") for name in ("later", "first")}
    return [
        figures.row(kept, "warm", "static", LEAST_WARM),
        figures.row(f"{kept}, to clients that take gzip", "warm, gzip", "static, gzip", None),
        figures.row(f"{drawn} (limit: the static page)", "cold", "static", LEAST_COLD),
        Row(f"{drawn}: median", figures.median_ms("cold"), None, None, "ms", at_most=MOST_COLD_MS),
        Row(f"product page of {EVENTS} events, drawn again: median", figures.median_ms("again"), None, None, "ms"),
        figures.row(f"{later} {beside}", "later", "unseen", None),
        figures.row(f"{first} {beside}", "first", "unseen", None),
        Row(f"{later}: delayed", late["later"], None, None, "", at_most=MOST_DELAYED),
        Row(f"{first}: delayed", late["first"], None, None, "", at_most=MOST_DELAYED),
        Row("checks that were lost", float(lost), None, None, "", at_most=0.0),
    ]


def _ask(
    figures: _Figures, client: LoadClient, server: Server, shop: Shop, work: tuple[int, int, int, int],
    progress: Callable[[str], None],
) -> None:  # fmt: skip
    turns, requests, cold, items = work
    fresh, codes = iter(shop.lots), iter(shop.items)
    again = next(fresh)
    for turn in range(turns):
        progress(f"pages, turn {turn + 1} of {turns}")
        figures.take("static", server, client, [_get(_STATIC)] * requests, _CONNECTIONS)
        client.run(server.port, [_get(again)], 1)
        figures.take("warm", server, client, [_get(again)] * requests, _CONNECTIONS)
        figures.take("static, gzip", server, client, [_get(_STATIC, gzip=True)] * requests, _CONNECTIONS)
        figures.take("warm, gzip", server, client, [_get(again, gzip=True)] * requests, _CONNECTIONS)
        figures.take("cold", server, client, [_get(lot) for lot in islice(fresh, cold)], 1)
        figures.take("again", server, client, [_get(again, drop=True)] * cold, 1)
        progress(f"scans, turn {turn + 1} of {turns}")
        some = list(islice(codes, items))
        for name, agent in (("unseen", "curl/8"), ("first", _PHONE), ("later", _PHONE.replace("14", "15"))):
            figures.take(name, server, client, [_get(item, agent) for item in some], _CONNECTIONS)


# ---------------------------------------------------------------- what is measured


@dataclass(frozen=True)
class Server:
    """A server's port and the id of its process."""

    port: int
    process: int

    def busy_s(self) -> float:
        """Processor time it has used (s); where the system does not say, the time of the clock."""
        try:
            fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return time.perf_counter()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class _Figures:
    """Pages, processor seconds and waits, by what was asked for."""

    def __init__(self) -> None:
        self._rates: dict[str, list[float]] = {}
        self._waits: dict[str, list[float]] = {}

    def take(self, name: str, server: Server, client: LoadClient, requests: Sequence[bytes], connections: int) -> None:
        """One turn. Raises RuntimeError for an answer that is not a page."""
        before = server.busy_s()
        load: Load = client.run(server.port, requests, connections)
        wrong = [answer for answer in load.answers if answer[0] != 200]
        if wrong or not load.answers:
            raise RuntimeError(f"{len(wrong)} of {len(load.answers)} answers were no pages: {wrong[:1]}")
        self._rates.setdefault(name, []).append(len(requests) / max(server.busy_s() - before, 0.01))
        self._waits.setdefault(name, []).extend(load.waits)

    def row(self, name: str, ours: str, limit: str, at_least: float | None) -> Row:
        """The median of the turns' ratios, beside the median rates."""
        ratio = statistics.median(a / b for a, b in zip(self._rates[ours], self._rates[limit], strict=True))
        middle, beside = statistics.median(self._rates[ours]), statistics.median(self._rates[limit])
        return Row(name, middle, beside, ratio, "1/s", at_least)

    def median_ms(self, name: str) -> float:
        """How long a page took (ms)."""
        return statistics.median(self._waits[name]) * 1000

    def delayed(self, name: str, beside: str) -> float:
        """The share of pages that took longer than all but one of a hundred of those beside them, and 50 ms more."""
        usual = statistics.quantiles(self._waits[beside], n=100)[-1] + 0.05
        return sum(wait > usual for wait in self._waits[name]) / len(self._waits[name])


def _get(path: str, agent: str = _PHONE, *, gzip: bool = False, drop: bool = False) -> bytes:
    more = "Accept-Encoding: gzip, deflate\r\n" if gzip else ""
    more += f"{_DROP}: all\r\n" if drop else ""
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\nUser-Agent: {agent}\r\nAccept: {_ACCEPT}\r\n{more}\r\n".encode()


# ---------------------------------------------------------------- where it is measured


@dataclass
class Shop:
    """A data directory with lots of at least `EVENTS` events and items of one of them."""

    settings: Settings
    lots: list[str]
    """Paths of their pages."""
    items: list[str]
    size: int = 0
    """Bytes of the page of the first."""

    @classmethod
    def stocked(cls, folder: Path, *, tellings: int, items: int) -> Shop:
        """One whose ledger tells the sample stories `tellings` times, by others each time."""
        settings = Settings(data_dir=folder / "shop", public_host=HOST, origin=ORIGIN)
        init_data_directory(settings, wall_clock_ms)
        places = DataDirectory(settings.data_dir)
        services = open_services(settings)
        registrar = load_private_key(places.registrar_key, places.key_passphrase(settings))
        ledger = SampleLedger(services.log, services.capture, services.templates, registrar)
        for telling in ledger.tellings(tellings):
            ledger.record(telling)
        ledger.publish()
        shop = cls(settings, list(_lots(services, tellings)), list(_items(services, ledger, items)))
        page = services.product_pages.page(shop.lots[0], "zh", large=False)
        assert page is not None
        shop.size = len(page.content)
        (folder / "page.html").write_bytes(page.content)
        asyncio.run(services.close())
        return shop

    def serving(self) -> ServerContext:
        """The service with one worker and the static page."""
        return ServerContext(self)

    def lost(self, checks: int) -> int:
        """How many of these many items checked twice each are not written as such."""
        services = open_services(self.settings)
        with services.database.read() as connection:
            counted = connection.execute(select(func.sum(scanned_item.c.checks))).scalar_one() or 0
        asyncio.run(services.close())
        return 2 * checks - int(counted)


class ServerContext:
    """The server of a shop while it runs."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._stack = ExitStack()

    def __enter__(self) -> Server:
        settings = {
            "DATA_DIR": self._shop.settings.data_dir, "CLIENT_RATE": _PLENTY, "CLIENT_BURST": _PLENTY, "SCRUB": "false",
        }  # fmt: skip
        environment = {f"{PREFIX}{name}": str(value) for name, value in settings.items()}
        environment[_PAGE] = str(self._shop.settings.data_dir.parent / "page.html")
        start = (
            "import sys, uvicorn; uvicorn.run('suyuan.api.bench_views:application', factory=True, "
            "port=int(sys.argv[2]), log_config=None, access_log=False, proxy_headers=False, server_header=False)"
        )
        processes: list[int] = []
        port = self._stack.enter_context(running(start, [], environment, processes.append))
        return Server(port, processes[0])

    def __exit__(self, *exception: object) -> None:
        self._stack.close()


def application() -> FastAPI:
    """The service of the settings in the environment, with a static page before its routes.

    Items that were issued count as sold, so that their pages tell of their checks. Who asks it to drop what it keeps
    is shown a page drawn again.
    """

    def opened(settings: Settings) -> Services:
        services = open_services(settings)
        known = services.items
        return replace(services, items=lambda path: known(path) and ItemState("sold", shipped_ms=1))

    content = Path(os.environ[_PAGE]).read_bytes()

    async def page(request: Request) -> Response:
        return Response(content, media_type="text/html")

    app = create_app(open_with=opened, alone=False)
    app.router.routes.insert(0, Route(_STATIC, page))
    app.add_middleware(_Dropping)
    return app


class _Dropping:
    """ASGI middleware that has kept pages dropped before a request that says so."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (_DROP.lower().encode(), b"all") in scope["headers"]:
            scope["app"].state.services.product_pages.kept.clear()
        await self._app(scope, receive, send)


def _lots(services: Services, tellings: int) -> Iterator[str]:
    """The paths of lots with at least `EVENTS` events, those with the fewest first; each telling has the same ones."""
    with services.database.read() as connection:
        query = select(node.c.subject).where(node.c.made_entry.is_not(None)).order_by(node.c.made_entry, node.c.id)
        subjects = connection.execute(query).scalars().all()
    each = len(subjects) // tellings
    found = []
    for place, subject in enumerate(subjects[:each]):
        story = services.history.story(services.names.uri(subject), Viewer(None))
        if story is not None and len(story.steps) >= EVENTS:
            found.append((len(story.steps), place))
    return (
        urlsplit(services.names.uri(subjects[telling * each + place])).path
        for _, place in sorted(found)
        for telling in range(tellings)
    )


def _items(services: Services, ledger: SampleLedger, count: int) -> Iterator[str]:
    """Paths of `count` items of a lot under a GTIN, as its maker draws and commits them."""
    with services.database.read() as connection:
        query = select(node.c.subject, node.c.maker).where(node.c.gtin.is_not(None), node.c.made_entry.is_not(None))
        subject, maker = connection.execute(query.order_by(node.c.id).limit(1)).one()
    uri = services.names.uri(subject)
    drawn = services.item_codes.begin(maker, uri, count)
    assert not isinstance(drawn, Drawn)
    for one in services.item_codes.draw(maker, drawn):
        if isinstance(one, Drawn):
            ledger.state("codes+jwt", one.body, maker)
    return (f"{urlsplit(uri).path}/21/{drawn.serial(number)}" for number in range(drawn.first, drawn.first + count))
