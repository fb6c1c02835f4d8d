"""Every rule and every parameter of the judging is documented, as it is."""

from __future__ import annotations

from pathlib import Path

from suyuan.trace.rules.limits import load_limits
from suyuan.trace.rules.registry import load_rules
from suyuan.trace.rules.rule import Rule

PAGE = Path(__file__).resolve().parents[2] / "docs" / "auditors.md"


def rule_row(rule: Rule) -> str:
    """The row of a rule in the documentation."""
    numbers = ", ".join(f"`{name}`" for name in rule.parameters) or "—"
    return f"| `{rule.id}` | {rule.zh} | {rule.en} | {rule.scope} | {numbers} |"


def parameter_row(name: str) -> str:
    """The row of a parameter in the documentation: its label and from what it was taken."""
    label = load_limits().labels[name]
    return f"| `{name}` | {label['zh']} | {label['en']} |"


def test_every_rule_is_documented_with_its_title_scope_and_parameters() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [row for row in map(rule_row, load_rules()) if row not in page] == []


def test_every_parameter_is_documented_in_both_languages() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [row for row in map(parameter_row, sorted(load_limits().names)) if row not in page] == []


def test_no_rule_is_documented_that_there_is_not() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## What does not add up")[2].partition("\n## ")[0]
    told = {line for line in section.splitlines() if line.startswith("| `")}
    assert told == {*map(rule_row, load_rules()), *map(parameter_row, load_limits().names)}
