"""Who signed what of a story: a line for each party, with what it recorded and how its keys are kept."""

from __future__ import annotations

from dataclasses import dataclass

from ...trace.story import Step, Story
from .texts import Texts


@dataclass(frozen=True)
class Signer:
    """A party that signed steps of the story; `custody`: device, service or mixed."""

    name: str
    count: int
    kinds: str
    custody: str
    first: int
    """Ledger entry of the first step it signed."""


def signers(story: Story, t: Texts) -> tuple[Signer, ...]:
    """Everybody who signed a step, in the order in which they come into the story."""
    by_party: dict[str, list[Step]] = {}
    for step in story.steps:
        by_party.setdefault(step.recorded_by.id, []).append(step)
    return tuple(_signer(steps, t) for steps in by_party.values())


def _signer(steps: list[Step], t: Texts) -> Signer:
    custody = {step.ledger.key_custody for step in steps}
    kinds = dict.fromkeys(t.pick(step.label) for step in steps)
    return Signer(
        name=t.pick(steps[0].recorded_by.name),
        count=len(steps),
        kinds=t("list.separator").join(kinds),
        custody=custody.pop() if len(custody) == 1 else "mixed",
        first=steps[0].ledger.index,
    )
