"""The static files of the pages under names that change with their content, and what a browser may load for a page."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .scripts import joined

STATIC_ROOT = "/static/"

# No script, no frame, no form and nothing from elsewhere: what the pages need to be shown in full.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

SCRIPTS = ("boot.js", "here.js")
"""What a product page runs: the button, and the verifier that it fetches."""
_MEDIA_TYPES = {".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class StaticFile:
    """One file to serve under `STATIC_ROOT` + `name`; it never changes under that name: cache it for ever."""

    name: str
    media_type: str
    content: bytes


@cache
def static_files() -> dict[str, StaticFile]:
    """All static files by served name, such as `page.3f1c9a0b27.css`."""
    files = [*(_load(path) for path in _folder()), *map(_script, SCRIPTS)]
    return {served.name: served for served in files if served is not None}


@cache
def static_url(name: str) -> str:
    """The address of the file kept as `name` (`page.css`). KeyError when there is none."""
    stem, _, suffix = name.rpartition(".")
    for served in static_files():
        if re.fullmatch(rf"{re.escape(stem)}\.[0-9a-f]{{10}}\.{re.escape(suffix)}", served):
            return STATIC_ROOT + served
    raise KeyError(name)


@cache
def page_style() -> str:
    """The style of all pages, for those that carry it themselves: a phone on a slow line then asks once, not twice."""
    return static_files()[static_url("page.css").removeprefix(STATIC_ROOT)].content.decode("utf-8")


@cache
def integrity(name: str) -> str:
    """What the `integrity` of a script element that loads the script kept as `name` must be."""
    return joined(name).integrity


def _script(name: str) -> StaticFile:
    return _named(Path(name), "text/javascript; charset=utf-8", joined(name).source.encode("utf-8"))


def _folder() -> list[Path]:
    return sorted((Path(__file__).parent / "static").iterdir())


def _load(path: Path) -> StaticFile | None:
    media_type = _MEDIA_TYPES.get(path.suffix)
    if media_type is None:
        return None
    content = path.read_bytes()
    if path.suffix == ".css":
        content = minified_css(content.decode("utf-8")).encode("utf-8")
    return _named(path, media_type, content)


def _named(path: Path, media_type: str, content: bytes) -> StaticFile:
    name = f"{path.stem}.{hashlib.sha256(content).hexdigest()[:10]}{path.suffix}"
    return StaticFile(name, media_type, content)


def minified_css(source: str) -> str:
    """`source` without comments and needless white space. Strings with several spaces do not occur in ours."""
    text = re.sub(r"/\*.*?\*/", "", source, flags=re.S)
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r" ?([{};,]) ?", r"\1", text)
    text = re.sub(r"(?<=[:]) | (?=[)])|(?<=[(]) ", "", text)
    return text.replace(";}", "}").strip()
