"""Whose chains a bundle must prove complete: the subject and the ancestors whose story it tells (formats section 6).

Ancestry is read from what events publish: outputs come from inputs, also across events of one process
(`transformationID`); lots come from the plots, and travel in the logistic units, that are named in the same event.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import Refusal
from .subjects import event_subjects

GOODS = ("01/", "lot/", "plot/", "00/")
"""Rooms of subjects that have a story: lots, plots and logistic units."""

_LOTS = ("01/", "lot/")
_UNIT = "00/"
_INPUTS = ("inputEPCList", "inputQuantityList")
_OUTPUTS = ("outputEPCList", "outputQuantityList")
_CHILDREN = ("childEPCs", "childQuantityList")
_NAMED = ("epcList", "quantityList")


@dataclass
class _Process:
    inputs: set[str] = field(default_factory=set)
    outputs: set[str] = field(default_factory=set)


def ancestors(subject: str, events: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """`subject` and every lot, plot and logistic unit it goes back to in these published events.

    Corrected events count as well as what corrects them: more is asked for, never less. The goods in a logistic unit
    belong to its story when the unit is the subject itself. Events that name things wrongly are passed over.
    """
    origins: dict[str, set[str]] = defaultdict(set)
    contents: dict[str, set[str]] = defaultdict(set)
    processes: dict[str, _Process] = defaultdict(_Process)
    for position, event in enumerate(events):
        try:
            _read(event, position, origins, contents, processes)
        except Refusal:
            continue
    for process in processes.values():
        for output in process.outputs:
            origins[output] |= process.inputs
    packed = _closure({subject}, contents) if subject.startswith(_UNIT) else {subject}
    return frozenset(_closure(packed, origins))


def shared_process(event: Mapping[str, Any]) -> str | None:
    """The transformationID that makes an event part of a longer process, if it has one."""
    process = event.get("transformationID")
    return process if isinstance(process, str) else None


def _read(
    event: Mapping[str, Any],
    position: int,
    origins: dict[str, set[str]],
    contents: dict[str, set[str]],
    processes: dict[str, _Process],
) -> None:
    if event.get("type") == "TransformationEvent":
        inputs, outputs = event_subjects(event, *_INPUTS), event_subjects(event, *_OUTPUTS)
        process = processes[shared_process(event) or f"#{position}"]
        process.inputs.update(inputs)
        process.outputs.update(outputs)
        return
    named = event_subjects(event, *_NAMED)
    around = {one for one in named if not one.startswith(_LOTS)}
    for lot in named:
        if lot.startswith(_LOTS):
            origins[lot] |= around
    children = event_subjects(event, *_CHILDREN)
    for parent in event_subjects(event, "parentID"):
        contents[parent].update(children)
        for child in children:
            origins[child].add(parent)


def _closure(start: set[str], edges: Mapping[str, set[str]]) -> set[str]:
    reached = set(start)
    pending = list(start)
    while pending:
        for following in edges.get(pending.pop(), ()):
            if following not in reached:
                reached.add(following)
                pending.append(following)
    return reached
