"""Webhooks: addresses that want an actor's notifications, the durable queue to them, and how a delivery is signed."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, delete, insert, select, update

from ..ledger.database import Database
from ..ledger.errors import Refusal
from ..trace.news import News
from ..trace.story import Text
from .notifications import Notifications
from .party_tables import notification, webhook, webhook_delivery
from .problems import not_found
from .vault import Seal

SECRET_PREFIX = "whsec_"
SIGNATURE_HEADER, DELIVERY_HEADER = "Suyuan-Signature", "Suyuan-Delivery"
MOST_WEBHOOKS = 10
"""Webhooks of one actor."""
FIRST_DELAY_S, LONGEST_DELAY_S = 30.0, 6 * 3600.0
CLAIM_S = 120.0
"""A delivery under way is left alone this long by other processes; then its process is taken to have died."""
KEPT_DELIVERIES = 1000
"""Of a webhook's deliveries so many, the newest, are kept once they are settled."""
_MOST_URL = 500


@dataclass(frozen=True)
class Due:
    """A delivery that this process has claimed."""

    id: str
    webhook: str
    url: str
    secret: bytes
    body: bytes
    attempts: int
    created_ms: int


def signature(secret: bytes, time_s: int, body: bytes) -> str:
    """`t=<seconds>,v1=<hex>`: HMAC-SHA256 under the webhook's secret of `<seconds>.<body>`."""
    digest = hmac.new(secret, f"{time_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={time_s},v1={digest}"


def delay_s(attempts: int, jitter: float) -> float:
    """Seconds to wait after so many failed attempts: doubling from half a minute to six hours, `jitter` (0 to 1) of it
    shortening the wait by up to half, so that what failed together is not tried again together.
    """
    return float(min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** min(attempts - 1, 20))) * (1 - jitter / 2)


class Webhooks:
    """The webhooks of all actors and their queue."""

    def __init__(
        self,
        database: Database,
        seal: Seal,
        notifications: Notifications,
        clock: Callable[[], int],
        *,
        plain_http: bool = False,
        retry_hours: float = 72.0,
    ) -> None:
        self._database = database
        self._seal = seal
        self._notifications = notifications
        self._clock = clock
        self._plain_http = plain_http
        self._retry_ms = round(retry_hours * 3_600_000)

    # ------------------------------------------------------------ registering

    def register(self, actor: str, url: str) -> dict[str, Any]:
        """A new webhook with its secret, which is shown only now. Raises Refusal `webhook-url`, `webhook-most`."""
        self._check_url(url)
        id = "wh_" + secrets.token_hex(8)
        secret = SECRET_PREFIX + secrets.token_urlsafe(32)
        now = self._clock()
        with self._database.write() as connection:
            own = connection.execute(select(webhook.c.id).where(webhook.c.actor == actor)).all()
            if len(own) >= MOST_WEBHOOKS:
                raise Refusal(
                    "webhook-most", zh=f"每个主体最多 {MOST_WEBHOOKS} 个回调地址",
                    en=f"an actor has at most {MOST_WEBHOOKS} webhooks", expected=f"<= {MOST_WEBHOOKS}",
                    status_hint="conflict",
                )  # fmt: skip
            newest = connection.execute(
                select(notification.c.number).order_by(notification.c.number.desc()).limit(1)
            ).scalar_one_or_none()
            connection.execute(
                insert(webhook).values(
                    id=id, actor=actor, url=url, created_ms=now, queued_to=(newest or 0) + 1,
                    sealed_secret=self._seal.close(secret.encode(), _purpose(actor, id)),
                )
            )  # fmt: skip
        return {"id": id, "url": url, "secret": secret, "created": now}

    def _check_url(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        schemes = ("https", "http") if self._plain_http else ("https",)
        good = (
            parts.scheme in schemes and parts.hostname and not parts.username and not parts.password
            and not parts.fragment and port != 0 and len(url) <= _MOST_URL and url.isascii() and url.isprintable()
            and " " not in url and "\\" not in url
        )  # fmt: skip
        if not good:
            raise Refusal(
                "webhook-url", field="/url", zh="回调地址应为完整的 https 地址，不带用户名与片段",
                en="a webhook is a complete https URL without user name and fragment",
                expected="https://...", status_hint="unprocessable",
            )  # fmt: skip

    def of(self, actor: str) -> list[dict[str, Any]]:
        """The actor's webhooks, oldest first, without their secrets."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(webhook).where(webhook.c.actor == actor).order_by(webhook.c.created_ms, webhook.c.id)
            )
            return [
                {
                    "id": row.id, "url": row.url, "created": row.created_ms, "failing_since": row.failing_since_ms,
                    "disabled": row.disabled_ms,
                }
                for row in rows
            ]  # fmt: skip

    def remove(self, actor: str, id: str) -> None:
        """Forget a webhook with its queue. Raises HttpRefusal 404."""
        with self._database.write() as connection:
            gone = connection.execute(delete(webhook).where(webhook.c.id == id, webhook.c.actor == actor))
            if not gone.rowcount:
                raise not_found("没有这个回调地址", "there is no such webhook")
            connection.execute(delete(webhook_delivery).where(webhook_delivery.c.webhook == id))

    def enable(self, actor: str, id: str) -> None:
        """Try a webhook again, whatever it failed before. Raises HttpRefusal 404."""
        with self._database.write() as connection:
            done = connection.execute(
                update(webhook)
                .where(webhook.c.id == id, webhook.c.actor == actor)
                .values(disabled_ms=None, failing_since_ms=None)
            )
            if not done.rowcount:
                raise not_found("没有这个回调地址", "there is no such webhook")
            connection.execute(
                update(webhook_delivery)
                .where(webhook_delivery.c.webhook == id, webhook_delivery.c.state == "waiting")
                .values(next_ms=self._clock())
            )

    def deliveries(self, actor: str, id: str, limit: int = 100) -> list[dict[str, Any]]:
        """The newest deliveries of a webhook: what became of each. Raises HttpRefusal 404."""
        with self._database.read() as connection:
            known = connection.execute(select(webhook.c.id).where(webhook.c.id == id, webhook.c.actor == actor)).first()
            if known is None:
                raise not_found("没有这个回调地址", "there is no such webhook")
            rows = connection.execute(
                select(webhook_delivery)
                .where(webhook_delivery.c.webhook == id)
                .order_by(webhook_delivery.c.number.desc())
                .limit(limit)
            )
            return [
                {
                    "id": row.id, "notification": row.number, "state": row.state, "created": row.created_ms,
                    "attempts": row.attempts, "last": row.last_ms,
                    "next": row.next_ms if row.state == "waiting" else None, "status": row.status, "error": row.error,
                }
                for row in rows
            ]  # fmt: skip

    # ------------------------------------------------------------ the queue

    def enqueue(self) -> bool:
        """Put new notifications into the queues of their actors' webhooks; whether there were any."""
        with self._database.read() as connection:
            news = select(notification.c.number).where(
                notification.c.actor == webhook.c.actor, notification.c.number >= webhook.c.queued_to
            )
            waiting = connection.execute(
                select(webhook.c.id).where(webhook.c.disabled_ms.is_(None), news.exists())
            ).scalars().all()  # fmt: skip
        for id in waiting:
            self._database.retrying(lambda id=id: self._enqueue(id))  # type: ignore[misc]
        return bool(waiting)

    def _enqueue(self, id: str) -> None:
        now = self._clock()
        with self._database.write() as connection:
            hook = connection.execute(select(webhook).where(webhook.c.id == id).with_for_update()).first()
            if hook is None:
                return
            numbers = connection.execute(
                select(notification.c.number)
                .where(notification.c.actor == hook.actor, notification.c.number >= hook.queued_to)
                .order_by(notification.c.number)
                .limit(500)
            ).scalars().all()  # fmt: skip
            if not numbers:
                return
            connection.execute(
                insert(webhook_delivery),
                [
                    {
                        "id": f"{id}.{number}", "webhook": id, "number": number, "state": "waiting",
                        "created_ms": now, "attempts": 0, "next_ms": now, "error": "",
                    }
                    for number in numbers
                ],
            )  # fmt: skip
            connection.execute(update(webhook).where(webhook.c.id == id).values(queued_to=numbers[-1] + 1))

    def claim(self, most: int = 20) -> list[Due]:
        """Deliveries that are due, claimed for this process: another leaves them alone for a while."""
        now = self._clock()
        due = (
            select(
                webhook_delivery.c.id, webhook_delivery.c.next_ms, webhook_delivery.c.attempts,
                webhook_delivery.c.created_ms, webhook.c.id.label("hook"), webhook.c.actor, webhook.c.url,
                webhook.c.sealed_secret, notification.c.document,
            )
            .join(webhook, webhook.c.id == webhook_delivery.c.webhook)
            .join(notification, notification.c.number == webhook_delivery.c.number)
            .where(webhook_delivery.c.state == "waiting", webhook_delivery.c.next_ms <= now)
            .where(webhook.c.disabled_ms.is_(None))
            .order_by(webhook_delivery.c.next_ms, webhook_delivery.c.number)
            .limit(most)
        )  # fmt: skip
        with self._database.read() as connection:
            rows = connection.execute(due).all()
        if not rows:
            return []
        claimed = []
        with self._database.write() as connection:
            for row in rows:
                taken = connection.execute(
                    update(webhook_delivery)
                    .where(webhook_delivery.c.id == row.id, webhook_delivery.c.next_ms == row.next_ms)
                    .where(webhook_delivery.c.state == "waiting")
                    .values(next_ms=now + round(CLAIM_S * 1000))
                )
                if taken.rowcount:
                    secret = self._seal.open(row.sealed_secret, _purpose(row.actor, row.hook))
                    body = json.dumps({"id": row.id, **json.loads(row.document)}, ensure_ascii=False).encode()
                    claimed.append(Due(row.id, row.hook, row.url, secret, body, row.attempts, row.created_ms))
        return claimed

    def settle(self, due: Due, status: int | None, error: str) -> None:
        """Note what became of an attempt; a 2xx status is success. What failed for long is given up and its webhook
        disabled, which its actor is told.
        """
        now = self._clock()
        attempts = due.attempts + 1
        values: dict[str, Any] = {"attempts": attempts, "last_ms": now, "status": status, "error": error}
        success = status is not None and 200 <= status < 300
        with self._database.write() as connection:
            hook = connection.execute(select(webhook).where(webhook.c.id == due.webhook).with_for_update()).first()
            if hook is None:
                return
            if success:
                values["state"] = "delivered"
                connection.execute(update(webhook).where(webhook.c.id == hook.id).values(failing_since_ms=None))
            else:
                # Of two that fail at once the later may be noted first.
                since = min(now, hook.failing_since_ms if hook.failing_since_ms is not None else now)
                values["next_ms"] = now + round(1000 * delay_s(attempts, random.random()))
                if now - due.created_ms >= self._retry_ms:
                    values["state"] = "given-up"
                disabled = now if now - since >= self._retry_ms else None
                connection.execute(
                    update(webhook).where(webhook.c.id == hook.id).values(failing_since_ms=since, disabled_ms=disabled)
                )
                if disabled is not None and hook.disabled_ms is None:
                    self._notifications.add(connection, [_disabled(hook.actor, hook.id, hook.url, now)])
            connection.execute(update(webhook_delivery).where(webhook_delivery.c.id == due.id).values(**values))
            self._forget(connection, due.webhook)

    def _forget(self, connection: Connection, hook: str) -> None:
        """Drop what was settled before the newest deliveries of a webhook."""
        of_hook = webhook_delivery.c.webhook == hook
        newest = select(webhook_delivery.c.number).where(of_hook).order_by(webhook_delivery.c.number.desc())
        oldest = connection.execute(newest.offset(KEPT_DELIVERIES - 1).limit(1)).scalar_one_or_none()
        if oldest is not None:
            settled = webhook_delivery.c.state != "waiting"
            connection.execute(delete(webhook_delivery).where(of_hook, webhook_delivery.c.number < oldest, settled))


def _disabled(actor: str, id: str, url: str, now_ms: int) -> News:
    host = urlsplit(url).hostname or ""
    text = Text(
        f"发往 {host} 的回调长时间失败，已停用；修好后请重新启用。通知仍可在列表中读取。",
        f"Deliveries to {host} failed for long, so the webhook is disabled; enable it again once it works. "
        "Notifications can still be listed.",
    )
    return News(actor, "webhook-disabled", f"{id}/{now_ms}", now_ms, text, more={"webhook": id})


def _purpose(actor: str, id: str) -> bytes:
    return f"suyuan/webhook/v1\n{actor}\n{id}".encode()
