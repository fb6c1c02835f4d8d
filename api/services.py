"""The composition root: everything one process needs to answer requests, opened from settings and closed in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlalchemy import select

from ..ledger.batcher import Batcher
from ..ledger.cosignatures import Cosignatures
from ..ledger.damage import Step
from ..ledger.database import Database
from ..ledger.errors import LogHalted, ProofError, Refusal
from ..ledger.keys import load_private_key
from ..ledger.log import Log, boot_time_ms
from ..ledger.note import NoteSigner
from ..ledger.policy import Policy
from ..ledger.scrub import Scrub, ScrubThread
from ..ledger.state_file import StateFile
from ..trace.balances import Balances
from ..trace.capture import Capture, Prepared, Receipt, Unread
from ..trace.history import History
from ..trace.naming import Names
from ..trace.rules.judging import Judging
from ..trace.rules.rejudging import Rejudging
from ..trace.shadow import Shadow
from ..trace.tables import actor as actor_table
from ..trace.template import Templates, load_templates
from ..trace.transfers import Transfers
from ..trace.viewer import Viewer, area_of
from .accounts import Accounts
from .attachments import Attachments
from .clock import Clock as Clock
from .clock import wall_clock_ms as wall_clock_ms
from .closed_logs import ClosedLog, HistoryWithEarlier, open_closed_logs
from .complaints import Complaints
from .data_directory import DataDirectory, Identity, ed25519_secret
from .failure_delays import FailureDelays
from .freshness import Freshness
from .idempotency import IdempotentRequests
from .item_codes import ItemCodes
from .item_states import ItemLookup, no_items
from .kept import Kept
from .logistic_units import LogisticUnits
from .nfc_tags import NfcTags
from .notifications import Notifications
from .product_pages import ProductPages
from .rate_limit import RateLimit
from .room import Room
from .scans.clusters import Clusters
from .scans.inner_codes import InnerCodes
from .scans.inner_overview import InnerOverview
from .scans.looking import Looks
from .scans.recording import Scans
from .scans.visitors import CityBook, Visitors
from .security import ApiKeys, Caller
from .sessions import Sessions
from .settings import Settings, SettingsError
from .showcase import Showcase
from .vault import Vault, VaultError, load_seal
from .viewing import Viewings
from .webhooks import Webhooks

logger = logging.getLogger("suyuan.service")

LARGE_BODIES = 16
"""NDJSON bodies and uploads that one process holds in memory at a time."""


@dataclass
class Services:
    """What routes work with. Open with `open_services`, close with `close`."""

    settings: Settings
    identity: Identity
    clock: Clock
    database: Database
    log: Log
    cosignatures: Cosignatures
    judging: Judging
    policy: Policy
    policy_text: str
    templates: Templates
    names: Names
    capture: Capture
    batcher: Batcher[Prepared | Unread, Receipt]
    history: History
    product_pages: ProductPages
    balances: Balances
    showcase: Showcase
    vault: Vault
    attachments: Attachments
    api_keys: ApiKeys
    accounts: Accounts
    sessions: Sessions
    viewings: Viewings
    idempotent: IdempotentRequests
    closed_logs: tuple[ClosedLog, ...]
    client_limit: RateLimit
    credential_limit: RateLimit
    large_bodies: asyncio.Semaphore
    heavy: Room
    known: StateFile
    transfers: Transfers
    notifications: Notifications
    webhooks: Webhooks
    complaints: Complaints
    complaint_limit: RateLimit
    scans: Scans
    looks: Looks
    clusters: Clusters
    inner_codes: InnerCodes
    inner_overview: InnerOverview
    guesses: RateLimit
    item_codes: ItemCodes
    nfc_tags: NfcTags
    logistic_units: LogisticUnits
    items: ItemLookup = no_items
    scrub: ScrubThread | None = None
    halted: LogHalted | None = None
    """Why the log refused to sign when it was last asked; None while it signs."""

    def check(self) -> None:
        """Look whether the service can do its work: the database answers and the log may sign.

        Raises LogHalted or DatabaseUnavailable; remembers a halt, so that readiness can tell it.
        """
        try:
            self.log.check_state()
        except LogHalted as halt:
            if self.halted is None or self.halted.reason != halt.reason:
                logger.error("log halted", extra={"reason": halt.reason, "evidence": halt.evidence})
            self.halted = halt
            raise
        self.halted = None

    def viewer(self, caller: Caller | None, reason: str = "") -> Viewer:
        """The caller as a reader, with the roles and the county that its actor has on the ledger."""
        if caller is None:
            return Viewer(None)
        with self.database.read() as connection:
            row = connection.execute(
                select(actor_table.c.roles, actor_table.c.county).where(
                    actor_table.c.log_id == self.log.log_id, actor_table.c.id == caller.actor
                )
            ).first()
        if row is None:
            return Viewer(caller.actor)
        return Viewer(caller.actor, tuple(row.roles.split()), area_of(row.county), bool(reason))

    def start_scrub(self) -> None:
        """Begin to re-hash everything stored in the background, if the settings say so."""
        settings = self.settings
        if not settings.scrub:
            return

        def derived() -> Iterator[Step]:
            with Shadow(self.log, self.templates, self.names, self.policy.registrars, settings.data_dir) as shadow:
                yield from shadow.steps()
            yield from Rejudging(self.judging, settings.data_dir).steps()

        def make(wait: Callable[[float], bool]) -> Scrub:
            witnesses = [witness.key for witness in self.policy.witnesses]
            return Scrub(self.log, self.clock, rate=settings.scrub_rate, wait=wait, more=derived, witnesses=witnesses)

        self.scrub = ScrubThread(make, self.clock, every_s=settings.scrub_hours * 3600)
        self.scrub.start()

    async def close(self) -> None:
        """Let everything accepted be committed and answered, then let go of the database."""
        if self.scrub is not None:
            await asyncio.to_thread(self.scrub.close)
        await asyncio.to_thread(self.scans.stop)
        await asyncio.to_thread(self.product_pages.freshness.close)
        await self.batcher.close()
        await asyncio.to_thread(self.known.close)
        self.database.close()
        for closed in self.closed_logs:
            closed.database.close()


def _visitors(settings: Settings, clock: Clock) -> Visitors:
    """Who looks, with the operator's own table of networks and cities. Raises SettingsError for a bad table."""
    book = None
    if settings.scan_city_file is not None:
        try:
            book = CityBook(settings.scan_city_file.read_text("utf-8").splitlines())
        except (OSError, ValueError) as error:
            raise SettingsError(f"scan_city_file: {error}") from None
    header, default = settings.scan_city_header, settings.scan_city_default
    return Visitors(settings.data_dir, clock, city_header=header, city_default=default, book=book)


def open_services(settings: Settings, clock: Clock = wall_clock_ms) -> Services:
    """Everything of a data directory that `init_data_directory` made. Raises SettingsError when it cannot be opened.

    A log that refuses to sign does not keep the service from starting: what is on it can still be read and proven.
    """
    places = DataDirectory(settings.data_dir)
    identity = places.identity(settings)
    passphrase = places.key_passphrase(settings)
    try:
        signer = NoteSigner(identity.origin, ed25519_secret(load_private_key(places.log_key, passphrase)))
        seal = load_seal(places.vault, passphrase)
        policy_text = places.policy.read_text(encoding="utf-8")
        policy = Policy.parse(policy_text)
    except (OSError, Refusal, VaultError, ProofError) as error:
        raise SettingsError(f"{settings.data_dir} cannot be opened: {error}") from error
    if policy.log_key(identity.origin) != signer.verifier:
        raise SettingsError(f"{places.policy} does not name this log's key")
    database = Database(settings.effective_database_url)
    database.create_all()
    known = StateFile(settings.effective_state_file)
    log = Log(
        database,
        signer,
        clock,
        known=known,
        monotonic=boot_time_ms if clock is wall_clock_ms else None,
        max_clock_jump_ms=settings.max_clock_jump_seconds * 1000,
    )
    templates, names = load_templates(), Names(identity.public_host)

    closed_logs = open_closed_logs(places, policy, templates, names)
    earlier = [closed.history for closed in closed_logs]
    history = HistoryWithEarlier(database, log, templates, names, lambda: policy, earlier)
    idempotent = IdempotentRequests(database, seal, clock)
    capture = Capture(
        log=log,
        database=database,
        templates=templates,
        names=names,
        registrars=policy.registrars,
        clock=clock,
        on_erased=lambda connection, erased: idempotent.forget(connection, erased.issuer, erased.index),
    )
    notifications = Notifications(database, log, templates, names, clock)
    item_codes = ItemCodes(database, seal, names, clock, log.log_id)
    scans = Scans(database, clock, keep_days=settings.scan_days)
    looks = Looks(database, scans, _visitors(settings, clock), clock, log.log_id)
    complaints = Complaints(database, seal, notifications, names, clock, contact_days=settings.complaint_contact_days)
    heavy = Room()
    freshness, kept = Freshness(database, log.log_id), Kept(settings.page_cache_mb << 20)
    services = Services(
        settings=settings,
        identity=identity,
        clock=clock,
        database=database,
        log=log,
        cosignatures=Cosignatures(database, log.log_id),
        judging=Judging(log, templates, names, clock),
        policy=policy,
        policy_text=policy_text,
        templates=templates,
        names=names,
        capture=capture,
        batcher=Batcher(capture.take, linger_ms=settings.batch_linger_ms),
        history=history,
        product_pages=ProductPages(history, complaints, names, freshness, kept, heavy),
        balances=Balances(database, log, templates, names),
        showcase=Showcase(history),
        vault=Vault(database, seal, origin=identity.origin, clock=clock),
        attachments=Attachments(places.attachments, database, max_pixels=settings.max_image_pixels, clock=clock),
        api_keys=ApiKeys(database, origin=identity.origin, registrars=policy.registrars, clock=clock),
        accounts=Accounts(database, seal, issuer=identity.public_host, clock=clock),
        sessions=Sessions(
            database, clock=clock, idle_s=settings.session_idle_seconds, longest_s=settings.session_hours * 3600
        ),
        viewings=Viewings(database, clock),
        idempotent=idempotent,
        closed_logs=closed_logs,
        client_limit=RateLimit(settings.client_rate, settings.client_burst),
        credential_limit=RateLimit(settings.credential_rate, settings.credential_burst),
        large_bodies=asyncio.Semaphore(LARGE_BODIES),
        heavy=heavy,
        known=known,
        item_codes=item_codes,
        nfc_tags=NfcTags(database, seal, item_codes, names, clock),
        logistic_units=LogisticUnits(database, names, clock, log.log_id),
        items=item_codes.state,
        transfers=Transfers(database, log, templates, names),
        notifications=notifications,
        webhooks=Webhooks(
            database,
            seal,
            notifications,
            clock,
            plain_http=settings.webhook_private_addresses,
            retry_hours=settings.webhook_retry_hours,
        ),
        complaints=complaints,
        complaint_limit=RateLimit(settings.complaints_per_hour / 3600, max(1, round(settings.complaints_per_hour))),
        scans=scans,
        looks=looks,
        clusters=Clusters(database, names, clock, log.log_id),
        inner_codes=InnerCodes(database, item_codes.inner_code, scans, looks, FailureDelays(database, clock)),
        inner_overview=InnerOverview(database, names, clock, log.log_id),
        guesses=RateLimit(settings.unknown_serials_per_hour / 3600, max(1, round(settings.unknown_serials_per_hour))),
    )
    try:
        services.check()
        known.note(log.checkpoint())
    except LogHalted as halt:
        logger.error("started without signing", extra={"reason": halt.reason})
    return services
