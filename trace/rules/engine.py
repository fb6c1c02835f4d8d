"""Judging entry by entry: which rules look again at what because of an entry, and what that changes.

Entries are judged one at a time in log order, each with the facts as of itself, so findings depend on the ledger and
the rules alone, not on how entries were gathered for judging.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from sqlalchemy import Connection

from ...ledger.reader import LogReader, StoredEntry
from ..naming import Names
from ..projection import Logged
from ..template import Templates
from .docket import Closing, Docket
from .facts import Credential, Deed, PlotSeason
from .limits import Limits
from .rule import Finding, Rule, Scope
from .working_set import WorkingSet

logger = logging.getLogger("suyuan.rules")

_NOTICE, _ERASURE, _CREDENTIAL = "notice+jwt", "erasure+jwt", "credential+jwt"
_LONGEST_INTERVAL_DAYS = 366
"""A work in the field matters for harvests at most this much later."""


@dataclass(frozen=True)
class _Task:
    """A rule and what it is going to look at; `scope` names that for good."""

    scope: str
    rule: Rule
    thing: Callable[[], Any]
    """What the rule is given; None when there is nothing to look at."""


class Engine:
    """Judges the entries of one log in order; keeps facts and findings in memory until `flush` of the docket."""

    def __init__(
        self,
        log: LogReader,
        templates: Templates,
        names: Names,
        rules: Sequence[Rule],
        limits: Limits,
        *,
        whole: bool,
    ) -> None:
        self._rules = rules
        self._limits = limits
        self.docket = Docket(log.log_id, whole)
        self.facts = WorkingSet(log, templates, names, limits, whole=whole, holds=self.docket.holds)
        self._whole = whole
        self._matching: dict[tuple[str, str, bool], list[Rule]] = {}
        self._order = {id(rule): number for number, rule in enumerate(rules)}
        self._moved: dict[str, None] = {}
        self.judge_all_again = False
        """Set when fields were erased that rules may have looked at: only a judgement from entry 0 forgets them."""

    def judge(self, connection: Connection, page: Sequence[StoredEntry]) -> None:
        """Judges a page of entries, in order, reading what it needs through `connection`."""
        self.docket.reads(connection)
        self.facts.trim()
        if page:
            self.facts.at(connection, page[0].index - 1, page[0].time_ms)
        opened = {stored.index: (logged, deed) for stored, logged, deed in self.facts.open(page)}
        deeds = [deed for _, deed in opened.values() if deed is not None]
        self.facts.prefetch(lot for deed in deeds for lot in deed.named)
        for stored in page:
            self.facts.at(connection, stored.index, stored.time_ms)
            if stored.index not in opened:
                self.facts.add_index(stored.index)
                continue
            self._judge(*opened[stored.index], time_ms=stored.time_ms)

    def _judge(self, logged: Logged, deed: Deed | None, time_ms: int) -> None:
        self._moved = {}
        tasks: list[_Task] = []
        remade: list[str] = []
        by: Closing = "facts"
        if deed is not None:
            self.facts.add_deed(deed)
            if deed.corrects is not None:
                by = "correction"
            tasks, remade = self._of_deed(deed, time_ms)
        elif logged.typ == _CREDENTIAL:
            tasks = self._of_credential(self.facts.add_credential(logged))
        elif logged.typ == "actor+jwt":
            self.facts.add_actor(logged)
        elif logged.typ == _NOTICE and logged.body.get("type") == "decision":
            self._decide(logged, time_ms)
        elif logged.typ == _ERASURE and not self._whole:
            self.judge_all_again = True
        if not tasks and not remade and not self._moved:
            return
        unique = list({(task.rule.id, task.rule.check, task.scope): task for task in tasks}.values())
        self.docket.prefetch(task.scope for task in unique)
        self._run([task for task in unique if not task.rule.after_quarantine], time_ms, by)
        changed = self._hold(deed, remade)
        last = [task for task in unique if task.rule.after_quarantine]
        if changed:
            known = {(task.rule.check, task.scope) for task in last}
            last += [task for task in self._after(changed) if (task.rule.check, task.scope) not in known]
        self._run(last, time_ms, by)

    def _run(self, tasks: Sequence[_Task], time_ms: int, by: Closing) -> None:
        """Runs the tasks, all checks that share a rule id and scope together."""
        gathered: dict[tuple[str, str], tuple[Rule, list[Finding]]] = {}
        for task in sorted(tasks, key=lambda one: (self._order[id(one.rule)], one.scope)):
            thing = task.thing()
            found = [] if thing is None else self._check(task.rule, thing)
            gathered.setdefault((task.rule.id, task.scope), (task.rule, []))[1].extend(found)
        for (_, scope), (rule, found) in gathered.items():
            if not found and not self.docket.has(scope, rule.id):
                continue
            moved = self.docket.settle(rule, scope, found, self.facts.entry, time_ms, by)
            self._moved.update(dict.fromkeys(moved))

    def _check(self, rule: Rule, thing: Any) -> list[Finding]:
        """What a rule finds; a rule that fails over something unforeseen says so, and stops nobody else."""
        try:
            return list(rule.check(thing, self.facts, self._limits))
        except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
            logger.exception("rule failed", extra={"rule": rule.id, "entry": self.facts.entry})
            deeds = [thing] if isinstance(thing, Deed) else list(thing.deeds)
            if not deeds:
                return []
            return [
                Finding(
                    "info",
                    causes=deeds[-1:],
                    zh=f"规则 {rule.id} 无法判断这条记录（{type(error).__name__}）。",
                    en=f"The rule {rule.id} cannot judge this record ({type(error).__name__}).",
                    clears_zh="运营者修正规则后自动重新判定。",
                    clears_en="Judged again by itself once the operator has mended the rule.",
                    key=f"failed {rule.check.__name__}",
                )
            ]

    # ------------------------------------------------------------ which rules look again

    def _for(self, scope: Scope, stage: str) -> list[Rule]:
        """The rules of a scope that a deed of this stage makes look. Rules of one id and scope go together."""
        key = (scope, stage, False)
        if key not in self._matching:
            hit = {
                rule.id
                for rule in self._rules
                if rule.scope == scope and any(fnmatchcase(stage, pattern) for pattern in rule.stages)
            }
            self._matching[key] = [rule for rule in self._rules if rule.scope == scope and rule.id in hit]
        return self._matching[key]

    def _following(self) -> list[Rule]:
        key = ("lot", "", True)
        if key not in self._matching:
            hit = {rule.id for rule in self._rules if rule.scope == "lot" and rule.follows}
            self._matching[key] = [rule for rule in self._rules if rule.scope == "lot" and rule.id in hit]
        return self._matching[key]

    def _of_deed(self, deed: Deed, time_ms: int) -> tuple[list[_Task], list[str]]:
        """The tasks of a deed, and the lots whose making it changes."""
        facts = self.facts
        deeds = [deed]
        if deed.corrects is not None:
            earlier = facts.deed(deed.corrects)
            deeds.append(earlier)
            moved = self.docket.clear_scope(_event(earlier.entry), facts.entry, time_ms, "correction")
            self._moved.update(dict.fromkeys(moved))
        tasks = [self._task(rule, _event(deed.entry), lambda: deed) for rule in self._for("deed", deed.stage.id)]
        remade: dict[str, None] = {}
        for one in deeds:
            stage = one.stage.id
            lots = dict.fromkeys(one.named)
            if one.process is not None:
                made = dict.fromkeys(part.lot for part in facts.process(one.process).outputs)
                lots.update(made)
                remade.update(made)
                remade.update(dict.fromkeys(part.lot for part in one.outputs))
                tasks += [self._process(rule, one.process) for rule in self._for("process", stage)]
            elif one.outputs:
                remade.update(dict.fromkeys(part.lot for part in one.outputs))
            tasks += [self._lot(rule, lot) for rule in self._for("lot", stage) for lot in lots]
            following = self._following()
            if following:
                roots = [*remade, *(lots if one.stage.phase == "testing" else ())]
                below = facts.descendants_of(roots) if roots else []
                tasks += [self._lot(rule, lot) for rule in following for lot in (*remade, *below)]
            tasks += self._of_plots(one)
            tasks += self._of_year(one)
        return tasks, list(remade)

    def _of_plots(self, deed: Deed) -> list[_Task]:
        rules = self._for("plot-season", deed.stage.id)
        tasks = []
        for plot in deed.plots if rules else ():
            days = [deed.day]
            if deed.kind != "create":
                days += [
                    work.day
                    for work in self.facts.works_on(plot)
                    if work.kind == "create" and 0 <= (work.day - deed.day).days <= _LONGEST_INTERVAL_DAYS
                ]
            seasons = {season.season: season for day in days for season in self.facts.seasons(plot, deed.family, day)}
            tasks += [self._season(rule, season) for rule in rules for season in seasons.values()]
        return tasks

    def _of_year(self, deed: Deed) -> list[_Task]:
        tasks = []
        for rule in self._for("actor-year", deed.stage.id):
            scope = f"year {deed.actor} {deed.occurred.year}"
            tasks.append(self._task(rule, scope, self._year(rule, deed.actor, deed.occurred.year)))
        return tasks

    def _year(self, rule: Rule, actor: str, year: int) -> Callable[[], Any]:
        return lambda: self.facts.actor_year(
            actor, year, lambda stage: any(fnmatchcase(stage, pattern) for pattern in rule.stages)
        )

    def _of_credential(self, credential: Credential) -> list[_Task]:
        """Rules that ask for such credentials look again at what their holder did, made, harvested or tested."""
        rules = [rule for rule in self._rules if credential.type in rule.credentials]
        if not rules:
            return []
        ids = {(rule.id, rule.scope) for rule in rules}
        rules = [rule for rule in self._rules if (rule.id, rule.scope) in ids]
        deeds = self.facts.deeds_of(credential.actor)
        if credential.about is not None and credential.about.startswith("plot/"):
            deeds = tuple(deed for deed in deeds if credential.about in deed.plots)
        elif credential.about is not None:
            gtin = f"01/{credential.about.removeprefix('product/')}/"
            deeds = tuple(deed for deed in deeds if any(lot.startswith(gtin) for lot in deed.named))
        lots = dict.fromkeys(lot for deed in deeds for lot in deed.named)
        below = self.facts.descendants_of(lots) if lots and any(rule.follows for rule in rules) else []
        tasks: list[_Task] = []
        for rule in rules:
            looked = [deed for deed in deeds if any(fnmatchcase(deed.stage.id, one) for one in rule.stages)]
            if rule.scope == "deed":
                tasks += [self._task(rule, _event(deed.entry), _given(deed)) for deed in looked]
            elif rule.scope == "lot":
                tasks += [self._lot(rule, lot) for lot in (*lots, *(below if rule.follows else ()))]
            elif rule.scope == "process":
                ids_of = dict.fromkeys(deed.process for deed in looked if deed.process is not None)
                tasks += [self._process(rule, one) for one in ids_of]
            elif rule.scope == "plot-season":
                tasks += [
                    self._season(rule, season)
                    for deed in looked
                    for plot in deed.plots
                    for season in self.facts.seasons(plot, deed.family, deed.day)
                ]
            else:
                years = sorted({deed.occurred.year for deed in looked})
                tasks += [
                    self._task(rule, f"year {credential.actor} {year}", self._year(rule, credential.actor, year))
                    for year in years
                ]
        return tasks

    def _after(self, lots: Iterable[str]) -> list[_Task]:
        """The rules that ask for quarantine, on the deeds and lots where that changed."""
        late = [rule for rule in self._rules if rule.after_quarantine]
        tasks: list[_Task] = []
        if not late:
            return tasks
        self.facts.prefetch(lots)
        for lot in lots:
            tasks += [self._lot(rule, lot) for rule in late if rule.scope == "lot"]
            for deed in self.facts.lot(lot).deeds:
                tasks += [
                    self._task(rule, _event(deed.entry), _given(deed))
                    for rule in self._for("deed", deed.stage.id)
                    if rule.after_quarantine
                ]
        return tasks

    def _task(self, rule: Rule, scope: str, thing: Callable[[], Any]) -> _Task:
        return _Task(scope, rule, thing)

    def _lot(self, rule: Rule, lot: str) -> _Task:
        return _Task(f"lot {lot}", rule, lambda: self.facts.lot(lot))

    def _process(self, rule: Rule, process: int) -> _Task:
        first = self.facts.first_of_process(process)

        def look() -> Any:
            found = self.facts.process(process)
            return found if found.deeds else None

        return _Task(f"process/{first}", rule, look)

    def _season(self, rule: Rule, season: PlotSeason) -> _Task:
        return _Task(f"season {season.plot} {season.family} {season.season}", rule, lambda: season)

    # ------------------------------------------------------------ decisions and quarantine

    def _decide(self, logged: Logged, time_ms: int) -> None:
        moved = self.docket.decide(
            str(logged.body.get("finding")), str(logged.body.get("decision")), logged.index, time_ms
        )
        self._moved.update(dict.fromkeys(moved))

    def _hold(self, deed: Deed | None, remade: Sequence[str]) -> list[str]:
        """Brings quarantine up to date; the lots where it changed."""
        changed: dict[str, None] = {}
        again = dict(self._moved)
        if deed is not None and remade:
            parents = list(dict.fromkeys(parent for lot in remade for parent in self.facts.parents(lot)))
            held = self.docket.held_by(parents)
            if deed.corrects is not None:
                earlier = self.facts.deed(deed.corrects)
                again.update(dict.fromkeys([*held, *self.docket.held_by([*earlier.named, *remade])]))
            elif held:
                lots = [*remade, *self.facts.descendants_of(remade)]
                for number in held:
                    changed.update(dict.fromkeys(self.docket.extend(number, lots, self.facts.entry)))
        for number in again:
            lots = self.docket.hold_again(number, self.facts.descendants_of, self.facts.entry)
            changed.update(dict.fromkeys(lots))
        return list(changed)


def _event(entry: int) -> str:
    return f"event/{entry}"


def _given(deed: Deed) -> Callable[[], Deed]:
    return lambda: deed
