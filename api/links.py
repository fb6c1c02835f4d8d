"""The links of a thing by its GS1 link types: as an RFC 9264 linkset, and the one that suits a request best.

Source: GS1-Conformant resolver standard 1.2; RFC 9264 section 4.2; GS1 Web vocabulary for link types. Link types of the
house are for what GS1 has none: `https://suyuan.example/voc/proof`. Addresses begin with the identity host.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from starlette.requests import HTTPConnection

from ..ledger.item_code import sequence_of
from ..trace.certificates import STAGE as CONFORMITY
from ..trace.naming import Names
from ..trace.story import Story, Text
from .negotiation import liking

LINKSET = "application/linkset+json"
OPEN = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "Link, Location, ETag"}
"""Headers by which scripts of other hosts may read an answer (CORS)."""
CONTEXT_PATH = "/linkset-context.jsonld"
GS1 = "https://ref.gs1.org/voc/"
HOUSE = "https://suyuan.example/voc/"
_OTHER_SPELLINGS = ("http://gs1.org/voc/", "https://gs1.org/voc/", "https://www.gs1.org/voc/", "gs1:")
_HTML = "text/html"
EPCIS_PATH = "/epcis/events"

CONTEXT: dict[str, Any] = {
    "@context": {
        "@vocab": "http://www.iana.org/assignments/relation/",
        "anchor": "@id",
        "href": "@id",
        "linkset": "@graph",
        "title": "http://purl.org/dc/terms/title",
        "itemDescription": "http://www.w3.org/2000/01/rdf-schema#comment",
        "hreflang": {"@id": "http://purl.org/dc/terms/language", "@container": "@set"},
        "type": "http://purl.org/dc/terms/format",
        "context": {"@id": "https://ref.gs1.org/voc/context", "@container": "@set"},
    }
}
"""By which a linkset is read as JSON-LD."""


@dataclass(frozen=True)
class Link:
    """One link. `type`: its link type in full. No language or media type: it is for everybody."""

    type: str
    href: str
    title: str
    languages: tuple[str, ...] = ()
    media_type: str | None = None
    contexts: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """As a target object of RFC 9264."""
        document: dict[str, Any] = {"href": self.href, "title": self.title}
        if self.media_type:
            document["type"] = self.media_type
        if self.languages:
            document["hreflang"] = list(self.languages)
        if self.contexts:
            document["context"] = list(self.contexts)
        return document


@dataclass(frozen=True)
class Level:
    """One level of what was asked for: a product, a lot of it, an item of that. `uri` in its one spelling."""

    uri: str
    description: str
    links: tuple[Link, ...] = field(default=())

    @property
    def default(self) -> Link:
        """The link for whoever says nothing more."""
        return next(link for link in self.links if link.type == GS1 + "defaultLink")


def linkset(levels: Iterable[Level]) -> dict[str, Any]:
    """The document for all levels, the most general first."""
    contexts = []
    for level in levels:
        one: dict[str, Any] = {"anchor": level.uri, "itemDescription": level.description}
        for link in level.links:
            one.setdefault(link.type, []).append(link.document())
        contexts.append(one)
    return {"linkset": contexts}


def linkset_header(uri: str) -> str:
    """The Link header by which any answer about `uri` tells where its linkset is (RFC 9264 section 6)."""
    return f'<{uri}?linkType=linkset>; rel="linkset"; type="{LINKSET}"'


def attributes(query: str) -> str:
    """The pairs of a query that are named by digits, as they are written: no other can be a GS1 data attribute.

    Source: GS1 Digital Link, URI Syntax 1.4: whoever names a parameter of their own, does not do so in digits.
    """
    return "&".join(pair for pair in query.split("&") if pair.isascii() and pair.partition("=")[0].isdigit())


def link_type(text: str) -> str:
    """A link type in full, from `gs1:pip`, `suyuan:proof` or any of the addresses that GS1's vocabulary has had."""
    for prefix in _OTHER_SPELLINGS:
        if text.startswith(prefix):
            return GS1 + text.removeprefix(prefix)
    return HOUSE + text.removeprefix("suyuan:") if text.startswith("suyuan:") else text


def best(connection: HTTPConnection, levels: Sequence[Level], wanted: str) -> Link | None:
    """The link of the type `wanted` on the most specific level that has one, by `context`, language and media type."""
    for level in reversed(levels):
        found = [link for link in level.links if link.type == wanted]
        if found:
            return max(found, key=lambda link: liking_of(connection, link))
    return None


def liking_of(connection: HTTPConnection, link: Link) -> tuple[bool, bool, float, float]:
    """How well a link suits a request; of equal ones the first counts. What cannot be read at all comes last."""
    asked = connection.query_params.get("context", "")
    given = connection.query_params.get("lang", "")
    header = given or connection.headers.get("accept-language", "")
    language = max((liking(header, tag) for tag in link.languages), default=0.0) if link.languages else 0.001
    accept = connection.headers.get("accept", "")
    media = liking(accept, link.media_type) if link.media_type else 0.001
    return (bool(asked) and asked in link.contexts, not accept or media > 0, language, media)


def target(names: Names, link: Link, query: str, *, without: Sequence[str] = ("linkType", "context")) -> str:
    """Where a redirect leads: the link with the pairs of the request's query, the link's own before them.

    On the identity host it is a path, so that it works at whatever address serves the request.
    """
    href, _, fragment = link.href.removeprefix(names.base).partition("#")
    own = {name for name, _ in parse_qsl(urlsplit(href).query, keep_blank_values=True)}
    passed = "&".join(pair for pair in query.split("&") if pair and pair.partition("=")[0] not in {*own, *without})
    whole = href + (("&" if "?" in href else "?") + passed if passed else "")
    return whole + (f"#{fragment}" if fragment else "")


def levels_of(names: Names, path: str, story: Story, *, newest: str, epcis: bool) -> list[Level]:
    """The levels of `path` (a product, lot, item, plot or logistic unit), told by the story of its (newest) lot.

    newest: the URI of the product's newest lot, whose page is that of the product by default. epcis: whether this
    service answers EPCIS queries.
    """
    product = story.product
    name = story.name if product is None else product.name.zh or product.name.en
    found: list[Level] = []
    if path.startswith("/01/"):
        gtin = "/".join(path.split("/")[:3])
        found.append(Level(names.absolute(gtin), name, _about(names, gtin, name, newest)))
    lot, _, serial = path.partition("/21/")
    if lot != (found[0].uri.removeprefix(names.base) if found else ""):
        title = name if product is None else f"{name} {story.name}"
        found.append(Level(names.absolute(lot), title, _of_lot(names, lot, title, story, epcis=epcis)))
        if serial:
            title = f"{title} {serial}"
            of_item = story.of_item(sequence_of(unquote(serial)))
            links = (*_about(names, path, title), *_recall_status(names, path, title, of_item))
            found.append(Level(names.absolute(path), title, links))
    return found


def _about(names: Names, path: str, title: str, default: str | None = None) -> tuple[Link, ...]:
    """What every level has: its page by default, as product information and as traceability, in both languages.

    default: the page by default where it is another one. It is product information in either language, too.
    """
    uri = names.absolute(path)
    page = default or uri
    return (
        Link(GS1 + "defaultLink", page, title),
        *_in_both(GS1 + "pip", uri, Text(f"{title}：产品信息", f"{title}: product information")),
        Link(GS1 + "pip", page, title, ("zh", "en"), _HTML),
        *_in_both(GS1 + "traceability", f"{uri}#story", Text(f"{title}：来历", f"{title}: its story")),
    )


def _of_lot(names: Names, path: str, title: str, story: Story, *, epcis: bool) -> tuple[Link, ...]:
    uri = names.absolute(path)
    asked = quote(uri, safe="")
    links = [
        *_about(names, path, title),
        Link(HOUSE + "proof", f"{names.base}/proof?uri={asked}", f"{title}：证明包 / proof bundle"),
        *_recall_status(names, path, title, story),
    ]  # fmt: skip
    if story.certificates or story.reports:
        section = "certificates" if story.certificates else "lab"
        words = Text(f"{title}：证书与检测报告", f"{title}: certificates and reports")
        links += _in_both(GS1 + "certificationInfo", f"{uri}#{section}", words)
    for step in story.steps:
        if step.stage == CONFORMITY and step.corrected_by is None:
            there = f"{names.base}/certificate/{quote(step.event_id, safe=':')}"
            words = Text("承诺达标合格证", "conformity certificate")
            links += _in_both(GS1 + "certificationInfo", there, words)
            links.append(Link(GS1 + "certificationInfo", f"{there}?format=pdf", words.zh, ("zh",), "application/pdf"))
    if epcis:
        there = f"{names.base}{EPCIS_PATH}?MATCH_anyEPC={asked}"
        links.append(Link(GS1 + "epcis", there, f"{title}: EPCIS", (), "application/ld+json"))
    return tuple(links)


def _recall_status(names: Names, path: str, title: str, story: Story) -> list[Link]:
    """Where it says whether a recall means what `story` is of, and in its title that none does of part of a lot."""
    uri = names.absolute(path)
    words = Text(f"{title}：召回状态", f"{title}: recall status")
    if story.recalls and not story.recalled:
        words = Text(
            f"{title}：本批部分召回，这一件不在范围内",
            f"{title}: part of this batch is recalled; this item is not in it",
        )
    return _in_both(GS1 + "recallStatus", f"{uri}#recall" if story.recalls else uri, words)


def _in_both(type: str, uri: str, title: Text) -> list[Link]:
    """A page in Chinese and in English; Chinese is first and so what nobody in particular gets."""
    address, hash, fragment = uri.partition("#")
    page = Link(type, "", "", (), _HTML)
    return [
        replace(page, href=f"{address}?lang={lang}{hash}{fragment}", title=words, languages=(lang,))
        for lang, words in (("zh", title.zh), ("en", title.en))
    ]
