"""The project's own documents as tests read them: their links, their code blocks, and what the code says must be told.

A block fenced as `sh` is run; one fenced as `python <name>` is put into a file of that name. A `text` block after an
`sh` block is what it prints, where `…` stands for anything within a line and a line `…` for any lines.
`console` blocks are for reading: only their commands and options are held against the command line.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
ROOMS = ("api", "ledger", "qr", "trace")
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_SLUG = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_FINDINGS = frozenset({"fail", "does_not_hold", "_wrong", "remark", "Finding"})
_RULE_SECOND = {"HttpRefusal": 1, "Problem": 1, "Rule": 1}
"""Calls whose rule is not their first argument."""
_NO_RULES = frozenset(
    {
        "Argument",
        "Field",
        "Line",
        "Option",
        "Sheet",
        "Table",
        "Typer",
        "_content",
        "_send",
        "_text",
        "add_worksheet",
        "column",
        "say",
    }
)
_SEVERITIES = frozenset({"block", "flag", "info"})  # what a finding of `trace/rules/` begins with: no rule


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the word after it, and what it says. `line` is where it begins, from 1."""

    page: Path
    line: int
    language: str
    name: str
    body: str


def page(name: str) -> str:
    """The text of a page of `docs/`, or of the README."""
    return (ROOT / name if name == "README.md" else ROOT / "docs" / name).read_text(encoding="utf-8")


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = path.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        language, _, name = match["info"].strip().partition(" ")
        found.append(Block(path, text.count("\n", 0, match.start()) + 1, language, name, match["body"]))
    return found


def table_rows(text: str) -> dict[str, str]:
    """The rows of the tables of a page whose first cell is code: that code -> the whole row."""
    return {match[1]: match[0] for match in re.finditer(r"^\| `([^`|]+)` \|.*$", text, re.MULTILINE)}


def pattern_of(expected: str) -> re.Pattern[str]:
    """What a `text` block says of an output."""
    lines = expected.rstrip("\n").split("\n")
    parts = [r"(?:.*\n)*?" if line == "…" else ".*?".join(map(re.escape, line.split("…"))) + r"\n" for line in lines]
    return re.compile("".join(parts))


def rules() -> tuple[set[str], set[str]]:
    """The slugs of all rules of refusal, and of all that verifications find, read off the source.

    A call that says something in Chinese and begins with a slug names a rule; so does what a variable `rule` gets.
    """
    refused, found = set(), set()
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                    if name in _NO_RULES or not _speaks(node):
                        continue
                    (found if name in _FINDINGS else refused).update(_slugs(node.args[_RULE_SECOND.get(name, 0)]))
                elif isinstance(node, ast.Assign) and [ast.unparse(one) for one in node.targets] == ["rule"]:
                    refused.update(_slugs(node.value))
    return refused, found


def _speaks(call: ast.Call) -> bool:
    arguments = [*call.args, *(word.value for word in call.keywords)]
    if not call.args:
        return False
    if any(word.arg == "zh" for word in call.keywords) or any(ast.unparse(argument) == "zh" for argument in arguments):
        return True
    texts = (node.value for argument in arguments for node in ast.walk(argument) if isinstance(node, ast.Constant))
    return any(isinstance(text, str) and _CHINESE.search(text) for text in texts)


def _slugs(value: ast.expr) -> set[str]:
    choices = [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]
    constants = {one.value for one in choices if isinstance(one, ast.Constant)}
    return {text for text in constants if isinstance(text, str) and _SLUG.fullmatch(text)} - _SEVERITIES
