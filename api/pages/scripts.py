"""The verifier's ES modules joined into one script, so that one hash locks all of it and one file holds all of it.

The modules under `static/verify/` are plain: nothing is compiled. Each imported one becomes a function of its own that
is called once; what is asked for comes last. Comments that fill whole lines stay behind. Browsers and tests run the
same.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "static" / "verify"

VENDORED = {
    "@noble/curves/": "vendor/noble-curves/",
    "@noble/hashes/": "vendor/noble-hashes/",
}
"""Where the libraries lie that modules import by their package's name; `vendor/README.md` says which they are."""

_COMMENTS = re.compile(r"^[ \t]*(?:/\*(?:(?!\*/).)*\*/|//[^\n]*)[ \t]*\n|^[ \t]*\n", re.S | re.M)
_FROM = r"""(?: from)? ["'](?P<from>[^"']+)["'];$"""
_IMPORT = re.compile(rf"^import (?:\* as (?P<all>\w+)|\{{(?P<names>[^}}]*)\}})?{_FROM}", re.M)
_EXPORT_FROM = re.compile(rf"^export \{{(?P<names>[^}}]*)\}}{_FROM}", re.M)
_EXPORT_LIST = re.compile(r"^export \{(?P<names>[^}]*)\};$", re.M)
_EXPORT = re.compile(r"^export (?P<what>(?:async )?function|class|const) (?P<name>\w+)", re.M)


@dataclass(frozen=True)
class Script:
    """A joined script, and its hash as `integrity` attributes and content security policies write it."""

    source: str

    @property
    def integrity(self) -> str:
        return "sha384-" + base64.b64encode(hashlib.sha384(self.source.encode()).digest()).decode("ascii")


@cache
def joined(entry: str) -> Script:
    """The module `entry` (`page.js`) with everything it imports, as one module script.

    ValueError for a form of import or export that is not known here, or for modules that import each other.
    """
    parts: dict[str, tuple[str, list[str]]] = {}
    _add(entry, parts, ())
    (source, _) = parts.pop(entry)
    script = "".join(
        f"const {_name(path)} = (() => {{\n{body}return {{ {', '.join(exports)} }};\n}})();\n"
        for path, (body, exports) in parts.items()
    )
    script += source
    if re.search(r"</script|<!--", script, re.I):
        raise ValueError("what would end a script element in a page")
    return Script(script)


def _add(path: str, parts: dict[str, tuple[str, list[str]]], above: tuple[str, ...]) -> None:
    if path in above:
        raise ValueError(f"modules that import each other: {' -> '.join((*above, path))}")
    if path in parts:
        return
    source = (FOLDER / path).read_text(encoding="utf-8")
    source = _COMMENTS.sub("", source)
    exports: list[str] = []

    def import_(match: re.Match[str]) -> str:
        wanted = _resolved(path, match["from"])
        _add(wanted, parts, (*above, path))
        if match["all"]:
            return f"const {match['all']} = {_name(wanted)};"
        return f"const {{ {_renamed(match['names'], ': ')} }} = {_name(wanted)};"

    def export_from(match: re.Match[str]) -> str:
        wanted = _resolved(path, match["from"])
        _add(wanted, parts, (*above, path))
        exports.extend(f"{name.strip()}: {_name(wanted)}.{name.strip()}" for name in match["names"].split(","))
        return ""

    def export_list(match: re.Match[str]) -> str:
        exports.extend(name.strip() for name in match["names"].split(",") if name.strip())
        return ""

    def export(match: re.Match[str]) -> str:
        exports.append(match["name"])
        return f"{match['what']} {match['name']}"

    for pattern, replacement in (
        (_IMPORT, import_),
        (_EXPORT_FROM, export_from),
        (_EXPORT_LIST, export_list),
        (_EXPORT, export),
    ):
        source = pattern.sub(replacement, source)
    left = re.search(r"^(?:import|export)\b.*$|\bimport\(|\bimport\.meta\b", source, re.M)
    if left:
        raise ValueError(f"{path}: not a form of import or export that is known here: {left[0]}")
    parts[path] = source, exports


def _resolved(importer: str, specifier: str) -> str:
    """The path under `FOLDER` that a specifier in the module `importer` means."""
    for package, place in VENDORED.items():
        if specifier.startswith(package):
            return place + specifier.removeprefix(package)
    if not specifier.startswith("."):
        raise ValueError(f"{importer} imports {specifier}, which is not here")
    return (FOLDER / importer).parent.joinpath(specifier).resolve().relative_to(FOLDER.resolve()).as_posix()


def _renamed(names: str, separator: str) -> str:
    """`a, b as c` as a pattern that takes them out of an object."""
    each = [name.strip() for name in names.split(",") if name.strip()]
    return ", ".join(re.sub(r"^(\w+) as (\w+)$", rf"\1{separator}\2", name) for name in each)


def _name(path: str) -> str:
    return "module_" + re.sub(r"\W+", "_", path.removesuffix(".js"))
