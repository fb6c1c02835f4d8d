"""How well each fact of a story is founded, and why: declared, confirmed by its receiver, measured, tested, inspected.

A grade is derived from what the ledger says, never typed: who signed in which role, what the other party recorded of
the same goods, whether an instrument is named where the template calls for one, what an authority states.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from .custody import from_micro
from .gathering import Gathered, Seen
from .movements import Movement, Pair, movements, paired
from .naming import Names
from .record import decompose
from .story import Evidence, Grade, Text
from .template import VISIBILITY_RANK, Stage, Templates

GRADES: tuple[Grade, ...] = get_args(Grade)
"""From the weakest to the strongest."""
LABELS: Mapping[Grade, Text] = {
    "self-declared": Text("自行申报", "Self-declared"),
    "sensor": Text("仪器测得", "Sensor-measured"),
    "confirmed": Text("收货方确认", "Confirmed by receiver"),
    "laboratory": Text("实验室检测", "Laboratory-tested"),
    "inspected": Text("监管检查", "Inspected"),
}
UNITS: Mapping[str, Text] = {
    "KGM": Text("kg", "kg"), "LTR": Text("L", "L"), "H87": Text("件", "pieces"), "HAR": Text("公顷", "ha")
}  # fmt: skip
_REFUSED = (
    ("rejected_micro", Text("拒收", "rejected")), ("damaged_micro", Text("破损", "damaged")),
    ("short_micro", Text("短少", "missing")),
)  # fmt: skip


def grade_of(evidence: Iterable[Evidence]) -> Grade:
    """The strongest grade among them; self-declared when there is none."""
    return max((each.grade for each in evidence), key=GRADES.index, default="self-declared")


def measured_facts(record_kde: Mapping[str, Any], stage: Stage, hidden: Iterable[str] = ()) -> frozenset[str]:
    """The key data elements that count as measured: the template says a sensor gives them, and the record names it.

    `hidden`: JSON pointers of recorded members that the reader may not see; an instrument that is hidden is named.
    """
    if stage.device is None:
        return frozenset()
    if record_kde.get(stage.device) is None and f"/suyuan:kde/{stage.device}" not in set(hidden):
        return frozenset()
    return frozenset(name for name, element in stage.kde.items() if element.evidence == "sensor" and name in record_kde)


class Grader:
    """Grades the steps of one gathered story."""

    def __init__(self, gathered: Gathered, templates: Templates, names: Names) -> None:
        self._gathered = gathered
        self._templates = templates
        self._names = names
        moved = [movement for seen in gathered.events() for movement in self._movements(seen)]
        self._moved = {(one.entry, one.lot): one for one in moved}
        self._pairs = paired(moved)
        self._inspections = [
            seen
            for seen in gathered.statements.values()
            if seen.claim == "notice" and seen.body.get("type") == "inspection"
        ]

    def _movements(self, seen: Seen) -> Iterable[Movement]:
        """From all that is recorded, whatever the reader may see of it. What was corrected no longer counts."""
        if seen.body["eventID"] in self._gathered.corrections:
            return ()
        stage = self._templates.stages[seen.body["suyuan:stage"]]
        if stage.kind not in ("ship", "sell", "receive"):
            return ()
        record = decompose(seen.whole, stage, self._names)
        actor = record.get("on_behalf_of") or seen.statement.iss
        return tuple(movements(record, stage, actor, self._names, seen.index))

    def evidence(self, seen: Seen, stage: Stage) -> tuple[Evidence, ...]:
        """Every ground there is for what an event says, the strongest first; at least that its recorder says so."""
        grounds = [
            *self._inspected(seen), *self._tested(seen, stage), *self._confirmed(seen), *self._measured(seen, stage)
        ]  # fmt: skip
        return tuple(grounds) or (self._declared(seen),)

    # ------------------------------------------------------------ one ground each

    def _declared(self, seen: Seen) -> Evidence:
        name = self._name(seen.statement.iss)
        zh = f"只有{name.zh}自己的签名声明，没有其他方确认。"
        en = f"Stated and signed by {name.en} alone; nobody else has confirmed it."
        return Evidence("self-declared", Text(zh, en), (seen.index,))

    def _measured(self, seen: Seen, stage: Stage) -> Iterable[Evidence]:
        kde = seen.body["suyuan:kde"]
        names = measured_facts(kde, stage, seen.hidden)
        if not names:
            return
        labels = [stage.kde[name].label for name in stage.kde if name in names]
        device = kde.get(stage.device or "")
        zh = f"{'、'.join(label.zh for label in labels)}取自仪器{device or '（编号不公开）'}，由记录者录入。"
        en = (
            f"{', '.join(label.en for label in labels)}: read from the instrument "
            f"{device or '(its number is not public)'}, entered by the recorder."
        )
        yield Evidence("sensor", Text(zh, en), (seen.index,))

    def _confirmed(self, seen: Seen) -> Iterable[Evidence]:
        pairs = [
            (self._moved[key], pair)
            for key, several in self._pairs.items()
            if key[0] == seen.index
            for pair in several
        ]  # fmt: skip
        by_event: dict[int, list[tuple[Movement, Pair]]] = {}
        for mine, pair in pairs:
            by_event.setdefault(pair.other.entry, []).append((mine, pair))
        for entry, several in sorted(by_event.items()):
            yield self._pairing(seen, self._gathered.statements[entry], several)

    def _pairing(self, seen: Seen, other: Seen, several: list[tuple[Movement, Pair]]) -> Evidence:
        counterpart = several[0][1].other
        open_to_all = seen.rank >= VISIBILITY_RANK["partner"] and other.rank >= VISIBILITY_RANK["partner"]
        name = self._name(counterpart.receiver if counterpart.arrived else counterpart.sender)
        who = name if open_to_all else Text("对方（名称不在此处公开）", "the other party (not named here)")
        day = counterpart.time.date().isoformat()
        amount = self._amounts([pair.other for _, pair in several]) if open_to_all else Text("", "")
        if counterpart.arrived:
            zh = f"收货方已确认：{who.zh}于 {day} 记录收货{amount.zh}。"
            en = f"Confirmed by the receiving party: {who.en} recorded receiving{amount.en} on {day}."
        else:
            zh = f"与发货方记录相符：{who.zh}于 {day} 记录发货{amount.zh}。"
            en = f"Paired with the sender's own record: {who.en} recorded sending{amount.en} on {day}."
        return Evidence("confirmed", Text(zh, en), (seen.index, other.index))

    def _amounts(self, moved: list[Movement]) -> Text:
        unit = UNITS[moved[0].uom]
        if any(one.uom != moved[0].uom for one in moved):
            return Text("", "")
        total = _plain(sum(one.quantity_micro for one in moved))
        zh, en = f" {total} {unit.zh}", f" {total} {unit.en}"
        for column, word in _REFUSED:
            amount = sum(getattr(one, column) for one in moved)
            if amount:
                zh += f"，{word.zh} {_plain(amount)} {unit.zh}"
                en += f", {_plain(amount)} {unit.en} {word.en}"
        return Text(zh, en)

    def _tested(self, seen: Seen, stage: Stage) -> Iterable[Evidence]:
        """A laboratory's own record on goods it does not hold; the accreditation of that day is named when there is."""
        actor = self._gathered.actors.get(seen.statement.iss)
        if stage.kind != "observe" or "laboratory" not in stage.roles or actor is None:
            return
        if "laboratory" not in actor["roles"].split():
            return
        name = self._name(seen.statement.iss)
        number = self._accreditation(seen)
        if number is None:
            papers = Text("当日没有登记在账的有效资质", "no accreditation valid on that day is on the ledger")
        else:
            papers = Text(f"当日有效资质 {number}", f"accreditation {number} valid on that day")
        zh = f"由检测机构{name.zh}自己记录并签名（{papers.zh}）。"
        en = f"Recorded and signed by the laboratory {name.en} itself ({papers.en})."
        yield Evidence("laboratory", Text(zh, en), (seen.index,))

    def _accreditation(self, seen: Seen) -> str | None:
        day = str(seen.body["suyuan:kde"].get("issued_on") or seen.body["eventTime"])[:10]
        for credential in (held.body for held in self._gathered.credentials(seen.index)):
            if credential["type"] != "lab_accreditation" or credential["actor"] != seen.statement.iss:
                continue
            if credential["valid_from"] <= day and (credential.get("valid_until") or day) >= day:
                number: str = credential["details"]["number"]
                return number
        return None

    def _inspected(self, seen: Seen) -> Iterable[Evidence]:
        """An authority's own record, or an inspection it states on the event, or on the lots that the event made."""
        actor = self._gathered.actors.get(seen.statement.iss)
        if actor is not None and "authority" in actor["roles"].split():
            name = self._name(seen.statement.iss)
            zh, en = f"由监管部门{name.zh}自己记录并签名。", f"Recorded and signed by the authority {name.en} itself."
            yield Evidence("inspected", Text(zh, en), (seen.index,))
        made = {row["epcClass"] for row in seen.body.get("outputQuantityList", ())}
        if seen.body.get("action") == "ADD" and seen.body["type"] == "ObjectEvent":
            made |= {row["epcClass"] for row in seen.body.get("quantityList", ())}
        for notice in self._inspections:
            events = notice.body.get("events")
            named = seen.body["eventID"] in events if isinstance(events, list) else bool(made & _lots(notice.body))
            if named and notice.index > seen.index:
                name = self._name(notice.statement.iss)
                zh, en = f"{name.zh}检查过。", f"Inspected by {name.en}."
                yield Evidence("inspected", Text(zh, en), (seen.index, notice.index))

    def _name(self, actor: str) -> Text:
        row = self._gathered.actors.get(actor)
        return Text(actor, actor) if row is None else Text(row["name_zh"], row["name_en"])


def _lots(body: Mapping[str, Any]) -> set[str]:
    lots = body.get("lots")
    return {lot for lot in lots if isinstance(lot, str)} if isinstance(lots, list) else set()


def _plain(micro: int) -> str:
    return f"{from_micro(micro):f}"
