"""How a rule is written: what it looks at, what it may ask, and what it finds.

A rule is a function with a line above it. Somebody who knows tea and a little Python can write one:

    @rule(
        "G4",
        scope="deed",
        zh="记录晚于规定时限",
        en="recorded later than allowed",
        parameters=("recording_lag",),
    )
    def recorded_late(deed: Deed, facts: Facts, limits: Limits) -> Iterator[Finding]:
        allowed = limits.row("recording_lag", on=deed.day, stage=deed.stage.id)
        if allowed is None or deed.backfilled or deed.logged - deed.occurred <= hours(allowed["hours"]):
            return
        yield Finding(
            "flag",
            causes=[deed],
            lots=deed.made_or_named,
            figures={"lag_hours": hours_between(deed.occurred, deed.logged), "allowed_hours": allowed["hours"]},
            zh="...", en="...",                    # what is wrong, and by how much
            clears_zh="...", clears_en="...",      # what would clear it
        )

1. The function gets the thing it looks at (`scope` says which kind), the `Facts` (what else the ledger says, as of the
   entry that is being judged), and the `Limits` (numbers with dates, from `parameters/*.yaml`). It never reads the
   clock, a file or the database, and never a number of its own that could change with a law.
2. It yields what does not add up. It yields nothing when all is well, or when it cannot tell.
3. It is judged again whenever something it may look at has changed. What it found before and finds no more is cleared.

| scope        | the function gets                                   | is judged when                                  |
|--------------|-----------------------------------------------------|-------------------------------------------------|
| `deed`       | a `Deed`: one event, opened                         | it is recorded or corrected                     |
| `lot`        | a `Lot`: its makings and all deeds that name it     | a deed of `stages` names it or makes it         |
| `process`    | a `Process`: all deeds of one transformation        | a deed of it is recorded or corrected           |
| `plot-season`| a `PlotSeason`: a plot, its works and harvests      | a deed of `stages` names the plot               |
| `actor-year` | an `ActorYear`: what an actor did in a year         | a deed of `stages` by that actor in that year   |

`stages` are names or patterns (`tea.*`, `*.harvested`); a superseded (corrected) deed is never shown to a rule. A rule
that asks about ancestors says `follows=True`: it is judged again for all descendants when an ancestor's making, test or
plot changes. A rule that asks for credentials lists their types in `credentials`.

To add a rule: a module in this folder with a list `RULES`, its parameters in `parameters/`, a test, a row in the docs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from .facts import Deed, Facts
    from .limits import Limits

__all__ = ["Finding", "Rule", "Scope", "Severity", "hours", "hours_between", "rule"]

Severity = Literal["block", "flag", "info"]
Scope = Literal["deed", "lot", "process", "plot-season", "actor-year"]
SCOPES: tuple[Scope, ...] = ("deed", "lot", "process", "plot-season", "actor-year")
SEVERITIES: tuple[Severity, ...] = ("block", "flag", "info")
Figure = Decimal | int | str | bool | None | Fraction | Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """One thing that does not add up."""

    severity: Severity
    causes: Sequence[Deed]
    """The smallest set of deeds without one of which this would not be found; the newest of them opens the finding."""
    zh: str
    """What is wrong and by how much, in Chinese, with full-width punctuation; no private figures of third parties."""
    en: str
    clears_zh: str
    """What would clear it."""
    clears_en: str
    lots: Sequence[str] = ()
    """Subject strings of the lots it is about: they are quarantined if it quarantines, and their descendants."""
    plots: Sequence[str] = ()
    """Subject strings of plots it is about."""
    figures: Mapping[str, Figure] = field(default_factory=dict)
    """The arithmetic, by name with unit (`claimed_kg`, `bound_kg`): Decimal, int or text."""
    quarantines: bool | None = None
    """Whether the lots and their descendants are quarantined; None: as the severity says (only `block` does)."""
    key: str = ""
    """Tells findings of one rule and scope apart where their causes do not; by default their causes do."""

    @property
    def holds_goods(self) -> bool:
        """Whether lots are quarantined for it."""
        return self.severity == "block" if self.quarantines is None else self.quarantines


Check = Callable[[Any, "Facts", "Limits"], Iterable[Finding]]


@dataclass(frozen=True)
class Rule:
    """A rule: its name, what it looks at, and the function that looks."""

    id: str
    scope: Scope
    zh: str
    en: str
    check: Check
    stages: tuple[str, ...] = ("*",)
    """Stages (names or patterns) whose deeds make it look."""
    parameters: tuple[str, ...] = ()
    """Names of the parameters it reads."""
    credentials: tuple[str, ...] = ()
    """Credential types it asks for: a new one of their holder makes it look again."""
    follows: bool = False
    """Whether a change of an ancestor makes it look again at all descendants."""
    after_quarantine: bool = False
    """Whether it asks for quarantines: judged last, and again when these change; itself it quarantines nothing."""


def rule(
    id: str,
    *,
    scope: Scope,
    zh: str,
    en: str,
    stages: Sequence[str] = ("*",),
    parameters: Sequence[str] = (),
    credentials: Sequence[str] = (),
    follows: bool = False,
    after_quarantine: bool = False,
) -> Callable[[Check], Rule]:
    """Makes a `Rule` of the function below it."""

    def made(check: Check) -> Rule:
        return Rule(
            id, scope, zh, en, check, tuple(stages), tuple(parameters), tuple(credentials), follows, after_quarantine
        )

    return made


def hours(number: Decimal | int) -> timedelta:
    """So many hours."""
    return timedelta(seconds=int(Decimal(number) * 3600))


def hours_between(first: datetime, last: datetime) -> Decimal:
    """Hours between two moments, to one decimal."""
    return (Decimal(int((last - first).total_seconds())) / 3600).quantize(Decimal("0.1"))


def in_order(rules: Iterable[Rule]) -> Iterator[Rule]:
    """Rules in the order in which they are judged: by id, those that ask for quarantine last."""
    return iter(sorted(rules, key=lambda one: (one.after_quarantine, one.id)))
