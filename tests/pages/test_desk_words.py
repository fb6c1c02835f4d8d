"""The desk tells every figure of a finding in the page's language."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from suyuan.api.pages.desk import figure_lines
from suyuan.api.pages.texts import Lang, texts
from suyuan.trace import rules
from suyuan.trace.balance import Part, process_balance


def named_figures() -> Iterator[str]:
    """The names in every `figures` of a rule."""
    for file in Path(str(rules.__file__)).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "figures":
                given: ast.expr = node.value
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "figures":
                given = node.value
            else:
                continue
            for one in ast.walk(given):
                if isinstance(one, ast.Dict):
                    yield from (key.value for key in one.keys if isinstance(key, ast.Constant))


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_every_figure_of_a_rule_has_a_name_in_both_languages(lang: Lang) -> None:
    names = set(named_figures())
    assert len(names) > 80
    assert sorted(name for name in names if f"figure.{name}" not in texts(lang)) == []


def test_a_balance_is_told_row_by_row_with_its_arithmetic() -> None:
    leaf = Part("fresh leaf", "in", Decimal(100), "KGM", moisture_percent=Decimal(77), entry=7)
    tea = Part("dried tea", "out", Decimal(30), "KGM", moisture_percent=Decimal(6))
    balance = process_balance([leaf, tea])[0].as_json()
    assert figure_lines({"balances": [balance]}, texts("en")) == [
        ("In · fresh leaf #7", "100 kg × (1 − 77 %) = 23 kg"),
        ("Out · dried tea", "30 kg × (1 − 6 %) = 28.2 kg"),
        ("Difference", "-5.2 kg"),
        ("Tolerance", f"{balance['tolerance']} kg"),
    ]


def test_nested_figures_keep_the_name_of_what_they_are_of() -> None:
    told = figure_lines({"made": {"kg": 3, "source": None}, "items": ["lead", "cadmium"]}, texts("zh"))
    assert told == [("产生 · 重量（千克）", "3"), ("产生 · 依据", "—"), ("检验项目", "lead, cadmium")]
