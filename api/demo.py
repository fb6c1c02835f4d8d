"""The demo: a ledger made from nothing, three batches loaded as their producers would, all proofs checked, then served.

    demo.json    where everything is, for people's scripts; written last
    ledger/      data directory of the service
    producers/   keys, API keys, outboxes and receipts of the actors (see `producer_home`)
    witnesses/   keys and stores of the two witnesses (see `demo_witnesses`)
    proofs/      the proof bundles of the three products
    policy       a verifier's own copy
    service.log  log lines of the service

Killed at any moment and started again on the same directory it goes on where it stopped.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from types import FrameType
from typing import Any, TextIO
from urllib.parse import quote, urlsplit

from ..ledger.entry import Entry
from ..ledger.errors import Refusal
from ..ledger.keys import PrivateKey, load_private_key
from ..ledger.policy import Policy
from ..ledger.report import BundleReport
from ..ledger.verify import verify_bundle, verify_receipt
from ..qr import symbol
from ..trace.template import load_templates
from .access_log import configure_logging
from .accounts import Accounts
from .client import FalseAnswer, Service
from .console import FAILED, Bars, Unusable, complain
from .data_directory import DataDirectory, init_data_directory
from .demo_bottles import Bottle, bottle_of
from .demo_witnesses import QUORUM, RunningWitness, running_witnesses
from .loading import REGISTRAR_ID, Producers
from .people import Inspector, demo_logins
from .producer import Directory
from .producer_home import Home, write_atomically
from .server import Server, listen
from .services import wall_clock_ms
from .settings import Settings, SettingsError
from .witness_change import set_witnesses

FAMILIES = ("tea", "chili", "baijiu")
PUBLIC_HOST, ORIGIN = "suyuan.example", "suyuan.example/520300"
PROOF_TYPE = "application/vnd.suyuan.proof+json"
_STARTED = "started"
_PATIENCE_S = 60.0
"""For the lot index and the witnesses to follow the last record, which takes them two or three seconds."""


class Stopped(Exception):
    """Somebody pressed Ctrl-C or sent SIGTERM."""


@dataclass(frozen=True)
class Product:
    """One of the demo's products: its URI, the path its page has, and what was found wrong with it."""

    family: str
    title: str
    uri: str
    report: BundleReport
    """The verdict on its bundle."""
    faults: tuple[str, ...] = ()

    @property
    def page(self) -> str:
        return urlsplit(self.uri).path


class Demo:
    """The demo in one directory."""

    def __init__(self, root: Path, *, host: str, port: int | None) -> None:
        self.root = root
        self.places = DataDirectory(root / "ledger")
        self.home = Home(root / "producers")
        self._host = host
        self._port = port
        self._began = time.monotonic()

    def run(self, *, once: bool) -> int:
        """Make or open the ledger, load, check, tell; serve unless `once`. Returns the exit code.

        Ctrl-C and SIGTERM end it; code 0, but with `once` only when the checks were through.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(_stopped_by_signals())
                stack.enter_context(self._alone())
                (self.root / "demo.json").unlink(missing_ok=True)
                settings = self._open()
                log = stack.enter_context((self.root / "service.log").open("a", encoding="utf-8"))
                configure_logging("INFO", log)
                listening = stack.enter_context(self._listen())
                witnesses = stack.enter_context(self._witnesses(listening))
                server = stack.enter_context(Server(settings, listening))
                address = _address(listening)
                sound = self._load_and_check(f"http://{address}", witnesses, server.services.accounts)
                if once or not sound:
                    return 0 if sound else FAILED
                say("按 Ctrl-C 停止", "Ctrl-C stops it", "")
                server.wait()
            except Stopped:
                say("已停止", "stopped", "")
                return FAILED if once else 0
        return FAILED  # the service ended by itself

    # ------------------------------------------------------------ the steps

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One demo a directory, and none over somebody else's files."""
        if self.root.exists() and any(self.root.iterdir()) and not (self.root / _STARTED).exists():
            raise SettingsError(f"{self.root} is neither empty nor a demo's directory")
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.root / _STARTED).open("a") as mark:
            _lock(mark, self.root)
            yield

    def _open(self) -> Settings:
        """The settings of the demo's service; its data directory is made when there is none, whole or not at all."""
        if not self.places.config.exists():
            say("建立账本", "making a ledger", self.places.root)
            # A directory half made is none: it gets its name when everything is in it.
            making = self.root / "ledger.making"
            shutil.rmtree(making, ignore_errors=True)
            settings = Settings(data_dir=making, public_host=PUBLIC_HOST, origin=ORIGIN)
            init_data_directory(settings, wall_clock_ms)
            making.rename(self.places.root)
        # Everybody in the demo comes from one address.
        return Settings(
            data_dir=self.places.root,
            host=self._host,
            client_rate=1_000,
            client_burst=10_000,
            index_quiet_seconds=0.3,
            # Where people are is simulated: in Zunyi, unless a request on this machine says another city.
            trusted_proxies=("127.0.0.1", "::1"),
            scan_city_header="X-Suyuan-City",
            scan_city_default="520300",
        )

    def _listen(self) -> socket.socket:
        try:
            return listen(self._host, self._port)
        except OSError as error:
            where, why = f"{self._host}:{self._port}", os.strerror(error.errno or 0)
            raise Unusable(f"无法监听 {where}：{why}", f"cannot listen on {where}: {why}") from error

    @contextmanager
    def _witnesses(self, listening: socket.socket) -> Iterator[list[RunningWitness]]:
        """Both witnesses, in the policy that the service is about to read: their addresses are new at every start."""
        (log,) = Policy.parse(self.places.policy.read_text(encoding="utf-8")).logs
        log_url = f"http://{_address(listening, here=True)}/log"
        with running_witnesses(self.root / "witnesses", log.key, log_url) as witnesses:
            auditors = [one.witness.name for one in witnesses if one.witness.audits]
            set_witnesses(self.places.policy, [one.policy_line for one in witnesses], QUORUM, auditors)
            yield witnesses

    def _load_and_check(self, base_url: str, witnesses: Sequence[RunningWitness], accounts: Accounts) -> bool:
        policy_text = self.places.policy.read_text(encoding="utf-8")
        write_atomically(self.root / "policy", policy_text, mode=0o644)
        policy = Policy.parse(policy_text)
        registrar = self._registrar()
        with Service(base_url, policy) as service, Bars() as bars:
            producers = Producers(service, self.home, load_templates(), bars)
            producers.registrar(registrar)
            directories = [Directory.read(Path(str(files("suyuan.sample_batches") / name))) for name in FAMILIES]
            try:
                self._load(producers, directories)
                bottle = bottle_of(producers, directories[FAMILIES.index("baijiu")], self.root)
            except Refusal as refusal:
                if refusal.rule != "record-changed":
                    raise
                raise Unusable(
                    f"示例批次在此目录装载之后有了改动：换一个目录，或删除 {self.root}",
                    f"the sample batches have changed since; use another directory, or remove {self.root}",
                ) from refusal
            statements, covered = self._check_receipts(policy, bars)
            products = [self._check_product(service, directory, policy, covered) for directory in directories]
        self._tell(base_url, products, statements, bottle)
        logins = demo_logins(accounts, _inspectors(directories), self.root / "producers" / "logins.json", base_url)
        if any(product.faults for product in products):
            for product in products:
                for fault in product.faults:
                    complain(f"{product.family}：{fault}", f"{product.family}: {fault}")
            return False
        self._write_demo_json(base_url, products, bottle, registrar, directories, witnesses, logins)
        return True

    def _load(self, producers: Producers, directories: Sequence[Directory]) -> None:
        """As the producers' own systems would: the registrar first, then each batch by itself."""
        say("装载示例批次", "loading the sample batches", ", ".join(FAMILIES))
        producers.register(directories)
        actors = _actors(directories)
        producers.api_keys([*actors, REGISTRAR_ID])
        producers.service_keys(actors)
        with ThreadPoolExecutor(len(directories)) as pool:
            try:
                for loaded in [pool.submit(producers.load, directory) for directory in directories]:
                    loaded.result()
            except BaseException:
                producers.service.close()  # so that the other batches stop, too
                raise

    def _check_receipts(self, policy: Policy, bars: Bars) -> tuple[int, int]:
        """Verify every receipt that was kept against its statement, without the service.

        Returns their number, and the number of entries up to the last of them.
        """
        checked = covered = 0
        for outbox in self.home.outboxes():
            receipts, lines = outbox.receipts(), outbox.lines()
            advance = bars.task(f"验证回执 receipts {outbox.path.stem}", len(lines))
            for line in lines:
                report = verify_receipt(receipts[line.hash].receipt, line.signed.statement.encode("ascii"), policy)
                if not report.ok:
                    zh, en = report.lines("zh"), report.lines("en")
                    raise FalseAnswer(f"{line.what}：回执不成立：{zh}", f"{line.what}: the receipt does not hold: {en}")
                advance(1)
                checked += 1
                covered = max(covered, receipts[line.hash].index + 1)
        return checked, covered

    def _check_product(self, service: Service, directory: Directory, policy: Policy, covered: int) -> Product:
        """Fetch a product's page and bundle as a shopper would, and verify the bundle as a stranger would."""
        uri = f"https://{PUBLIC_HOST}{directory.batch['product']}"
        family, title = str(directory.batch["family"]), directory.batch["title"]
        path = urlsplit(uri).path
        page = service.get(path, accept="text/html", lang="zh")
        bundle, report = self._bundle(service, uri, policy, covered)
        proof = self.root / "proofs" / f"{family}.proof.json"
        proof.parent.mkdir(exist_ok=True)
        proof.write_bytes(bundle)
        faults = [failure.line("zh") + " " + failure.en for failure in report.failures]
        media_type = page.headers.get("content-type", "")
        if not media_type.startswith("text/html"):
            faults.append(f"{path}: {media_type}, text/html")
        return Product(family, f"{title['zh']}  {title['en']}", uri, report, tuple(faults))

    def _bundle(self, service: Service, uri: str, policy: Policy, covered: int) -> tuple[bytes, BundleReport]:
        """A product's bundle and the verdict on it, once it proves that nothing of `covered` entries is left out.

        The lot index follows the last record within moments, and the witnesses follow the index.
        """
        patience = time.monotonic() + _PATIENCE_S
        while True:
            bundle = service.get("/proof", accept=PROOF_TYPE, uri=uri).content
            if _indexed(bundle) >= covered or time.monotonic() > patience:
                report = verify_bundle(bundle, policy)
                if report.ok or time.monotonic() > patience:
                    return bundle, report
            time.sleep(0.2)

    # ------------------------------------------------------------ telling

    def _tell(self, base_url: str, products: Sequence[Product], statements: int, bottle: Bottle) -> None:
        for product in products:
            state = "证明不成立 NOT VERIFIED" if product.faults else "证明成立，记录齐全 verified, nothing left out"
            print(f"\n{product.title}\n  {base_url}{product.page}\n  {product.uri}\n  {state}")
            for line in _witnessed(product.report):
                print(f"  {line}")
        print()
        say("一瓶酒 one bottle", "", base_url + bottle.page)
        say("瓶盖内的内码，在该页输入", "the inner code in its cap, to be typed there", bottle.spaced)
        print("\n" + symbol.terminal(base_url + products[0].page, colour=sys.stdout.isatty()))
        faulty = sum(1 for product in products if product.faults)
        say(
            f"{statements} 张回执与 {len(products) - faulty} 份证明包验证通过，用时 {self._seconds()} 秒",
            f"{statements} receipts and {len(products) - faulty} proof bundles verified, in {self._seconds()} s",
            "",
        )
        policy, proof = self.root / "policy", self.root / "proofs" / f"{FAMILIES[0]}.proof.json"
        say("离线验证", "verify offline", f"{_command()} verify {proof} --policy {policy}")
        say("首页", "home page", f"{base_url}/")
        say("接口文档", "API documentation", f"{base_url}/docs")
        if urlsplit(base_url).hostname in ("127.0.0.1", "::1"):
            say("手机扫码：加 --host 0.0.0.0", "to scan with a phone in this network: --host 0.0.0.0", "")

    def _write_demo_json(
        self,
        base_url: str,
        products: Sequence[Product],
        bottle: Bottle,
        registrar: PrivateKey,
        directories: Sequence[Directory],
        witnesses: Sequence[RunningWitness],
        logins: Sequence[Mapping[str, Any]],
    ) -> None:
        secrets, actors = self.home.api_keys(), _actors(directories)
        document: Mapping[str, Any] = {
            "base_url": base_url,
            "policy": str((self.root / "policy").resolve()),
            "products": [{"uri": one.uri, "page": one.page, "family": one.family} for one in products],
            "bottle": {"uri": bottle.uri, "page": bottle.page, "inner_code": bottle.inner_code},
            "api_keys": {actor: secrets[actor] for actor in actors},
            "device_keys": {actor: str(self.home.keys.path(actor).resolve()) for actor in actors},
            "registrar": {
                "id": REGISTRAR_ID,
                "kid": registrar.public.kid,
                "key": str(self.places.registrar_key.resolve()),
                "passphrase_file": str(self.places.passphrase.resolve()),
                "api_key": secrets[REGISTRAR_ID],
            },
            "witnesses": [
                {
                    "name": one.witness.name,
                    "vkey": one.verifier.vkey(),
                    "url": one.url,
                    "data": str(one.data.resolve()),
                    "audits": one.witness.audits,
                    "pid": one.process.pid,
                }
                for one in witnesses
            ],
            "logins": logins,
        }
        write_atomically(self.root / "demo.json", json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        first = logins[0]
        say("监管工作台 the regulator's desk", "", f"{first['url']}  {first['username']}  {first['password']}")
        say("登录数据（API 密钥）", "sign-in data (API keys)", (self.root / "demo.json").resolve())
        for directory in directories:
            actor = directory.records[0]["by"]
            name = next(one["name"] for one in directory.actors if one["id"] == actor)
            print(f"  {name['zh']} {name['en']}\n    {actor}  {secrets[actor]}")

    def _registrar(self) -> PrivateKey:
        return load_private_key(self.places.registrar_key, self.places.passphrase.read_bytes().strip())

    def _seconds(self) -> str:
        return f"{time.monotonic() - self._began:.1f}"


def say(zh: str, en: str, what: object) -> None:
    """A line for people."""
    print(f"{zh} {en}" + (f": {what}" if str(what) else ""), flush=True)


def _indexed(bundle: bytes) -> int:
    """How many entries the lot index of a bundle covers; 0 without one."""
    indexes = json.loads(bundle)["indexes"]
    index = Entry.parse(base64.b64decode(indexes[0]["entry"])).index if indexes else None
    return 0 if index is None else index[0]


def _witnessed(report: BundleReport) -> Iterator[str]:
    """Who cosigned what a bundle rests on, with local times."""
    for checkpoint in report.checkpoints:
        for name, time_s in checkpoint.cosigned.items():
            audited = "，已审计 and audited" if name == checkpoint.auditors else ""
            yield f"见证 witnessed: {name} {datetime.fromtimestamp(time_s).astimezone():%Y-%m-%d %H:%M:%S%z}{audited}"


def _command() -> str:
    """How people call this program: by its name where a shell finds it, else by its place, as under `./run`."""
    return sys.argv[0] if Path(sys.argv[0]).name == "suyuan" and not shutil.which("suyuan") else "suyuan"


def _actors(directories: Sequence[Directory]) -> list[str]:
    """The actors of all directories, each once."""
    return list(dict.fromkeys(str(actor["id"]) for directory in directories for actor in directory.actors))


def _inspectors(directories: Sequence[Directory]) -> list[Inspector]:
    """An inspector for each authority of the samples, named after its county and its number there."""
    offices = {
        str(actor["id"]): str(actor.get("county", ""))
        for directory in directories
        for actor in directory.actors
        if "authority" in actor["roles"]
    }
    counties = list(offices.values())
    return [
        Inspector(f"inspector-{county}-{counties[: number + 1].count(county)}", actor, "authority")
        for number, (actor, county) in enumerate(offices.items())
    ]


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Within it, SIGINT and SIGTERM raise Stopped, once; what comes after that is clearing up."""

    def stop(number: int, frame: FrameType | None) -> None:
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, signal.SIG_IGN)
        raise Stopped

    before = {one: signal.signal(one, stop) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _lock(mark: TextIO, root: Path) -> None:
    """Hold the directory for as long as this process lives."""
    try:
        import fcntl
    except ImportError:  # no such lock on this system
        return
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SettingsError(f"another demo is running in {root}") from None


def _address(listening: socket.socket, *, here: bool = False) -> str:
    """Host and port to reach the socket at; one that listens everywhere is named as other machines see this one.

    Unless it is for programs `here`, on this machine.
    """
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::") and here:
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    elif host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
        # Connecting a datagram socket sends nothing; it only makes the system choose the address it would send from.
        with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("192.0.2.1", 9))
            host = probe.getsockname()[0]
    return f"[{host}]:{port}" if ":" in host else f"{quote(host)}:{port}"
