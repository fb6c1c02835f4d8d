"""Consumers' complaints about a lot: sealed at rest, read by its producer and authorities, answered in public.

What a consumer writes is never shown on the page: unverified words about somebody's goods, and perhaps about persons,
would stand under the producer's name before anybody has looked. The page shows how many there were, and the answers.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, insert, select, update

from ..ledger.database import Database, DatabaseUnavailable
from ..ledger.errors import Refusal
from ..ledger.reader import portions
from ..trace import tables
from ..trace.genealogy import find_node
from ..trace.naming import Names
from ..trace.news import News
from ..trace.story import Text
from ..trace.viewer import Viewer
from .media import CleanFile
from .notifications import Notifications
from .party_tables import complaint, complaint_answer, complaint_photo
from .problems import HttpRefusal, not_found
from .vault import Seal

logger = logging.getLogger("suyuan.complaints")

KINDS: Mapping[str, Text] = {
    "quality": Text("质量、口味", "Quality or taste"),
    "foreign-matter": Text("异物、变质", "Foreign matter, spoiled"),
    "health": Text("食用后不适", "Ill after eating or drinking"),
    "label": Text("与标签不符", "Not what the label says"),
    "counterfeit": Text("怀疑假冒", "Suspected counterfeit"),
    "other": Text("其他", "Other"),
}
SHORTEST_TEXT, LONGEST_TEXT, LONGEST_CONTACT, LONGEST_ANSWER = 5, 1000, 100, 1000
MOST_A_DAY = 100
"""Complaints about one lot in a day; whoever floods more is asked to come back."""
MOST_ANSWERS = 20
_DAY_MS = 86_400_000
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@dataclass(frozen=True)
class Answer:
    """A public answer. `entry` is its place on the ledger, for an authority's."""

    by: Text
    text: Text
    time: datetime
    entry: int | None


@dataclass(frozen=True)
class PublicComplaints:
    """What everybody sees of a lot's complaints."""

    count: int
    answered: int
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Followed:
    """What whoever knows a complaint's id sees of it: not its words."""

    id: str
    uri: str
    kind: Text
    filed: datetime
    answers: tuple[Answer, ...]


class Complaints:
    """The complaints about lots of one log."""

    def __init__(
        self,
        database: Database,
        seal: Seal,
        notifications: Notifications,
        names: Names,
        clock: Callable[[], int],
        *,
        contact_days: int = 180,
        log_id: int = 1,
    ) -> None:
        self._database = database
        self._seal = seal
        self._notifications = notifications
        self._names = names
        self._clock = clock
        self._contact_ms = contact_days * _DAY_MS
        self._log_id = log_id
        notifications.on_news = self._keep_answers

    # ------------------------------------------------------------ filing

    def file(self, uri: str, kind: str, text: str, contact: str = "", photo: CleanFile | None = None) -> str:
        """Keep a complaint and tell the lot's producer and the authorities of its county; its id.

        Raises Refusal `complaint-form` naming the field, HttpRefusal 404 for a lot nobody made here, 429.
        """
        text, contact = text.strip(), contact.strip()
        if kind not in KINDS:
            raise _fault("/kind", "请选择投诉类别", "choose what the complaint is about", ", ".join(KINDS))
        if not SHORTEST_TEXT <= len(text) <= LONGEST_TEXT or not _printable(text):
            expected = f"{SHORTEST_TEXT} - {LONGEST_TEXT}"
            raise _fault(
                "/text", f"请用 {expected} 个字说明情况", f"say what happened in {expected} characters", expected
            )
        if len(contact) > LONGEST_CONTACT or not _printable(contact):
            raise _fault(
                "/contact", f"联系方式最多 {LONGEST_CONTACT} 个字", "the contact is too long", f"<= {LONGEST_CONTACT}"
            )
        subject = self._names.subject(uri, "uri")
        id = "".join(secrets.choice(_CROCKFORD) for _ in range(16))
        now = self._clock()
        with self._database.write() as connection:
            node = find_node(connection, self._log_id, subject)
            if node is None or node["kind"] != "lot" or node["maker"] is None:
                raise not_found("没有这个批次", "there is no such lot")
            recent = select(func.count()).where(complaint.c.subject == subject, complaint.c.created_ms > now - _DAY_MS)
            if connection.execute(recent).scalar_one() >= MOST_A_DAY:
                raise HttpRefusal(
                    429, "complaint-most", zh="此批次今天的投诉已经很多，请明天再试，或拨打 12315",
                    en="there are very many complaints about this lot today; try tomorrow, or call 12315",
                    headers={"Retry-After": "86400"},
                )  # fmt: skip
            county = self._county(connection, node["maker"])
            connection.execute(
                insert(complaint).values(
                    id=id, subject=subject, maker=node["maker"], county=county, kind=kind, created_ms=now,
                    sealed_text=self._seal.close(text.encode(), _purpose(id, "text")),
                    sealed_contact=self._seal.close(contact.encode(), _purpose(id, "contact")) if contact else None,
                    contact_until_ms=now + self._contact_ms if contact else None,
                )
            )  # fmt: skip
            if photo is not None:
                sealed = self._seal.close(photo.content, _purpose(id, "photo"))
                row = {"complaint": id, "media_type": photo.media_type, "sealed": sealed}
                connection.execute(insert(complaint_photo).values(row))
            told = [node["maker"], *self._authorities(connection, county)]
            self._notifications.add(connection, [self._filed(actor, id, subject, kind, now) for actor in told])
        return id

    def _county(self, connection: Connection, actor: str) -> str | None:
        table = tables.actor.c
        query = select(table.county).where(table.log_id == self._log_id, table.id == actor)
        return connection.execute(query).scalar_one_or_none()

    def _authorities(self, connection: Connection, county: str | None) -> Sequence[str]:
        """The authorities of the producer's own county; those of city and province look at the list."""
        if county is None:
            return ()
        table = tables.actor.c
        query = select(table.id, table.roles).where(table.log_id == self._log_id, table.county == county)
        return [row.id for row in connection.execute(query.order_by(table.id)) if "authority" in row.roles.split()]

    def _filed(self, actor: str, id: str, subject: str, kind: str, now: int) -> News:
        zh = f"有消费者投诉（{KINDS[kind].zh}），请查看并答复。"
        en = f"A consumer complains ({KINDS[kind].en.lower()}); please look and answer."
        more = {"complaint": id, "about": kind}
        return News(actor, "complaint", id, now, Text(zh, en), None, (self._names.uri(subject),), more)

    # ------------------------------------------------------------ answering

    def answer(self, actor: str, id: str, zh: str, en: str) -> None:
        """The producer's public answer. Raises Refusal `complaint-form`, `complaint-answers`, HttpRefusal 404."""
        zh, en = zh.strip(), en.strip()
        if not zh or max(len(zh), len(en)) > LONGEST_ANSWER or not _printable(zh + en):
            expected = f"zh: 1 - {LONGEST_ANSWER}, en: <= {LONGEST_ANSWER}"
            raise _fault("/zh", "请填写答复", "an answer is a text", expected)
        with self._database.write() as connection:
            row = connection.execute(select(complaint).where(complaint.c.id == id).with_for_update()).first()
            if row is None or row.maker != actor:
                raise not_found("没有这个投诉", "there is no such complaint")
            number = connection.execute(select(func.count()).where(complaint_answer.c.complaint == id)).scalar_one()
            if number >= MOST_ANSWERS:
                raise Refusal(
                    "complaint-answers", zh="此投诉的答复已经很多", en="this complaint has very many answers already",
                    expected=f"<= {MOST_ANSWERS}", status_hint="conflict",
                )  # fmt: skip
            connection.execute(
                insert(complaint_answer).values(
                    complaint=id, number=number, actor=actor, zh=zh, en=en or zh, time_ms=self._clock()
                )
            )

    def _keep_answers(self, connection: Connection, news: Sequence[News]) -> None:
        """Authorities' answers as the ledger has them; the producer is told by the news itself."""
        for one in news:
            if one.kind != "complaint-answer":
                continue
            known = complaint_answer.c
            twice = connection.execute(select(known.entry).where(known.entry == one.entry)).first()
            row = connection.execute(select(complaint.c.id).where(complaint.c.id == one.more["complaint"])).first()
            if twice is not None or row is None:
                continue
            number = connection.execute(select(func.count()).where(known.complaint == row.id)).scalar_one()
            connection.execute(
                insert(complaint_answer).values(
                    complaint=row.id, number=number, actor=one.more["by"], zh=one.more["answer"]["zh"],
                    en=one.more["answer"]["en"], time_ms=one.time_ms, entry=one.entry,
                )
            )  # fmt: skip

    # ------------------------------------------------------------ reading

    def of(self, viewer: Viewer, *, after: str = "", limit: int = 50) -> list[dict[str, Any]]:
        """The complaints that the viewer may read, oldest first after the one with id `after`: a producer those about
        lots it made, an authority those about producers of its area. Only these two ever read text and contact.
        """
        table = complaint.c
        query = select(complaint).where(_readable_by(viewer)).order_by(table.created_ms, table.id).limit(limit)
        with self._database.read() as connection:
            if after:
                start = connection.execute(select(table.created_ms).where(table.id == after)).scalar_one_or_none()
                if start is None:
                    raise not_found("没有这个投诉", "there is no such complaint")
                query = query.where(
                    (table.created_ms > start) | and_(table.created_ms == start, table.id > after)
                )  # fmt: skip
            rows = connection.execute(query).all()
            ids = [row.id for row in rows]
            answers = self._answers(connection, ids)
            shown = complaint_photo.c.complaint
            pictured = set(connection.execute(select(shown).where(shown.in_(ids))).scalars())
        return [self._document(row, answers.get(row.id, []), row.id in pictured) for row in rows]

    def one(self, viewer: Viewer, id: str) -> dict[str, Any]:
        """One complaint that the viewer may read. Raises HttpRefusal 404."""
        with self._database.read() as connection:
            row = connection.execute(select(complaint).where(complaint.c.id == id, _readable_by(viewer))).first()
            if row is None:
                raise not_found("没有这个投诉", "there is no such complaint")
            answers = self._answers(connection, [id]).get(id, [])
            photo = complaint_photo.c.complaint
            pictured = connection.execute(select(photo).where(photo == id)).first() is not None
        return self._document(row, answers, pictured)

    def photo(self, viewer: Viewer, id: str) -> CleanFile:
        """The photo of a complaint that the viewer may read. Raises HttpRefusal 404."""
        query = (
            select(complaint_photo)
            .join(complaint, complaint.c.id == complaint_photo.c.complaint)
            .where(complaint_photo.c.complaint == id, _readable_by(viewer))
        )
        with self._database.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise not_found("没有这张照片", "there is no such photo")
        return CleanFile(self._seal.open(row.sealed, _purpose(id, "photo")), row.media_type)

    def _document(self, row: Any, answers: Sequence[Answer], pictured: bool) -> dict[str, Any]:
        sealed = row.sealed_contact
        current = row.contact_until_ms is not None and row.contact_until_ms > self._clock()
        return {
            "id": row.id,
            "lot": self._names.uri(row.subject),
            "maker": row.maker,
            "kind": row.kind,
            "filed": row.created_ms,
            "text": self._seal.open(row.sealed_text, _purpose(row.id, "text")).decode(),
            "contact": self._seal.open(sealed, _purpose(row.id, "contact")).decode() if sealed and current else None,
            "photo": f"/api/v1/complaints/{row.id}/photo" if pictured else None,
            "contact_until": row.contact_until_ms if sealed else None,
            "answers": [
                {
                    "by": {"zh": one.by.zh, "en": one.by.en}, "zh": one.text.zh, "en": one.text.en,
                    "time": one.time.isoformat(), "entry": one.entry,
                }
                for one in answers
            ],
        }  # fmt: skip

    def public(self, uri: str) -> PublicComplaints:
        """What the page of a lot shows: how many complaints there were, and the answers."""
        subject = self._names.subject(uri, "uri")
        with self._database.read() as connection:
            query = select(complaint.c.id).where(complaint.c.subject == subject).order_by(complaint.c.created_ms)
            ids = list(connection.execute(query).scalars())
            answers = self._answers(connection, ids)
        newest = sorted((one for several in answers.values() for one in several), key=lambda one: one.time)
        return PublicComplaints(len(ids), len(answers), tuple(newest[-10:]))

    def followed(self, id: str) -> Followed:
        """A complaint for whoever was given its id. Raises HttpRefusal 404."""
        with self._database.read() as connection:
            row = connection.execute(select(complaint).where(complaint.c.id == id)).first()
            if row is None:
                raise not_found("没有这个投诉", "there is no such complaint")
            answers = self._answers(connection, [id]).get(id, [])
        return Followed(id, self._names.uri(row.subject), KINDS[row.kind], _time(row.created_ms), tuple(answers))

    def _answers(self, connection: Connection, ids: Sequence[str]) -> dict[str, list[Answer]]:
        table, actor = complaint_answer.c, tables.actor.c
        found: dict[str, list[Answer]] = {}
        for some in portions(ids):
            query = (
                select(complaint_answer, actor.name_zh, actor.name_en)
                .outerjoin(tables.actor, and_(actor.log_id == self._log_id, actor.id == table.actor))
                .where(table.complaint.in_(some))
                .order_by(table.complaint, table.number)
            )
            for row in connection.execute(query):
                name = Text(row.name_zh or row.actor, row.name_en or row.actor)
                answer = Answer(name, Text(row.zh, row.en), _time(row.time_ms), row.entry)
                found.setdefault(row.complaint, []).append(answer)
        return found

    # ------------------------------------------------------------ forgetting

    def forget_contacts(self) -> int:
        """Delete the contacts whose time is over; how many."""
        with self._database.write() as connection:
            gone = connection.execute(
                update(complaint)
                .where(complaint.c.sealed_contact.is_not(None), complaint.c.contact_until_ms <= self._clock())
                .values(sealed_contact=None)
            )
            return int(gone.rowcount)

    async def run(self, every_s: float = 3600.0) -> None:
        """Delete contacts in time, until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.forget_contacts)
            except DatabaseUnavailable as error:
                logger.warning("contacts not deleted", extra={"reason": str(error)})
            await asyncio.sleep(every_s)


def _readable_by(viewer: Viewer) -> ColumnElement[bool]:
    """Which complaints a viewer reads: an authority those of its area, anybody else those about lots it made."""
    table = complaint.c
    if not viewer.office:
        return table.maker == (viewer.actor or "")
    return table.county.startswith(viewer.area, autoescape=True) if viewer.area else table.id.is_not(None)


def _fault(field: str, zh: str, en: str, expected: str) -> Refusal:
    return Refusal("complaint-form", field=field, zh=zh, en=en, expected=expected, status_hint="unprocessable")


def _printable(text: str) -> bool:
    return all(character.isprintable() or character in "\r\n\t" for character in text)


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _purpose(id: str, what: str) -> bytes:
    return f"suyuan/complaint/v1\n{id}\n{what}".encode()
