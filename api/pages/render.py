"""The pages people see: product, landing, message and API reference, as complete HTML without script."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.ext import Extension
from markupsafe import Markup

from ...trace.certificates import STAGE as CONFORMITY
from ...trace.evidence import LABELS
from ...trace.story import Certificate, LaboratoryReport, Step, Story, Text
from ..complaints import KINDS as COMPLAINT_KINDS
from ..complaints import PublicComplaints
from ..scans.judging import Verdict
from . import flow, formatting, place_map, plot_map, reference, summary, timeline
from .assets import integrity, page_style, static_url
from .scan_state import ScanState, scan_state
from .signers import signers
from .texts import LANGUAGES, Lang, Texts, texts


@dataclass(frozen=True)
class PageUrls:
    """Where the page itself stands and what it leads to: paths on the serving host, without `lang` and `large`."""

    page: str
    proof: str | None = None
    """The proof bundle as a download."""
    policy: str | None = "/log/policy"
    home: str = "/"
    docs: str = "/docs"


@dataclass(frozen=True)
class HomeProduct:
    """A product on the landing page."""

    url: str
    family: str
    name: Text
    brand: Text | None
    origin: Text | None
    lot: str
    line: Text | None = None
    """One more line, such as the description."""


def render_product(
    story: Story,
    *,
    lang: Lang,
    large: bool,
    urls: PageUrls,
    complaints: PublicComplaints | None = None,
    verdict: Verdict | None = None,
    scan: ScanState | None = None,
) -> str:
    """The story of a lot (or plot, or logistic unit) as one HTML page in `lang`; `large` is the page for older readers.

    What is said of the checks of an item's code comes as `verdict`, or as `scan` where it is in words already.

    Everything in `story` is escaped; addresses that are not paths on this host or https are shown without a link.
    """
    t = texts(lang)
    story = _with_names(story, t)
    return _render(
        "product.html",
        t,
        large=large,
        urls=urls,
        story=story,
        family=summary.family(story),
        title=t.pick(summary.title(story)),
        below=summary.below(story, t),
        points=summary.points(story, t),
        badge=summary.badge(story, t),
        chapters=timeline.chapters(story, t),
        reports=_reports(story),
        certificates=_certificates(story),
        item_ranges=_item_ranges,
        conformity=_conformity(story, t),
        corrected=[step for step in story.steps if step.corrected_by],
        grades=LABELS,
        signers=signers(story, t),
        plot_map=plot_map.draw(story.plots),
        map_box=(plot_map.WIDTH, plot_map.HEIGHT),
        place_map=place_map.draw(story, t),
        place_box=(place_map.WIDTH, place_map.HEIGHT),
        flow_rows=flow.rows(story.ancestry, story.proven_ancestry_ends, t),
        flow_box=(flow.WIDTH, flow.DEPTH),
        ended=_ended(story),
        complaints=complaints,
        scan=scan if verdict is None else scan_state(verdict, t),
        complaint_kinds=COMPLAINT_KINDS,
        bundle_name=_bundle_name(story),
        sign=summary.sign,
        verdict=partial(summary.verdict, t=t),
    )


def _with_names(story: Story, t: Texts) -> Story:
    """The story with its plots named in the page's language wherever they are named: a step knows one name only."""
    names = {plot.uri: t.pick(plot.name) for plot in story.plots}
    if not names or t.lang == LANGUAGES[0]:
        return story
    nodes = tuple(replace(node, name=names.get(node.uri, node.name)) for node in story.ancestry.nodes)
    steps = tuple(
        replace(step, lots=tuple(replace(lot, name=names.get(lot.uri, lot.name)) for lot in step.lots))
        if any(lot.part == "plot" for lot in step.lots)
        else step
        for step in story.steps
    )
    return replace(story, ancestry=replace(story.ancestry, nodes=nodes), steps=steps)


def _reports(story: Story) -> list[tuple[LaboratoryReport, list[str]]]:
    """Each report once, those on this lot first and the newest before; with the names of other lots it is on."""
    names = {node.uri: node.name for node in story.ancestry.nodes}
    ordered = sorted(story.reports, key=lambda report: (report.lot != story.uri, -report.place.index))
    found: dict[int, tuple[LaboratoryReport, list[str]]] = {}
    for report in ordered:
        others = found.setdefault(report.place.index, (report, []))[1]
        if report.lot != story.uri:
            others.append(names.get(report.lot, report.lot.rpartition("/")[2]))
    return list(found.values())


def _certificates(story: Story) -> list[Certificate]:
    """Each certificate once, however often it stands on the ledger."""
    found: dict[tuple[object, ...], Certificate] = {}
    for each in story.certificates:
        found.setdefault(
            (each.type, each.number, each.holder.id, each.valid_from, each.valid_until, each.revoked_at), each
        )
    return list(found.values())


def _conformity(story: Story, t: Texts) -> list[tuple[str, list[Step]]]:
    """Conformity certificates that hold, by who made them out."""
    found: dict[str, list[Step]] = {}
    for step in story.steps:
        if step.stage == CONFORMITY and step.corrected_by is None:
            found.setdefault(t.pick(step.recorded_by.name), []).append(step)
    return list(found.items())


def _item_ranges(ranges: Sequence[tuple[int, int]]) -> str:
    return ", ".join(f"{first}–{last}" for first, last in ranges)


def _ended(story: Story) -> list[str]:
    """Names of the lots where proven ancestry ends."""
    names = {node.uri: node.name for node in story.ancestry.nodes}
    return [names.get(uri, uri.rpartition("/")[2]) for uri in story.proven_ancestry_ends]


def _bundle_name(story: Story) -> str:
    """A file name for the proof bundle that needs no quoting in a shell: lot, and item where it is of one."""
    name = f"{story.name}-{story.serial}" if story.serial else story.name
    return (re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or "story") + ".proof.json"


def render_message(lang: Lang, large: bool, status: int, title: str, text: str, *, urls: PageUrls | None = None) -> str:
    """A page that says one thing: not found, gone, an error. `title` and `text` are already in `lang`."""
    return _render(
        "message.html", texts(lang), large=large, urls=urls or PageUrls("/"), family="other", title=title,
        status=status, text=text,
    )  # fmt: skip


def render_home(
    lang: Lang, products: Sequence[HomeProduct], *, large: bool = False, urls: PageUrls | None = None
) -> str:
    """The landing page: what this is, and the products whose stories can be read."""
    t = texts(lang)
    return _render(
        "home.html",
        t,
        large=large,
        urls=urls or PageUrls("/"),
        family="other",
        title=t("site.name"),
        products=products,
        families=summary.FAMILIES,
    )


def render_docs(openapi: Mapping[str, Any], lang: Lang, *, large: bool = False, urls: PageUrls | None = None) -> str:
    """The API reference as a page, from the service's OpenAPI 3 document, whose descriptions stay in their language."""
    t = texts(lang)
    info = openapi.get("info", {})
    return _render(
        "docs.html", t, large=large, urls=urls or PageUrls("/docs"), family="other", title=t("docs.title"),
        name=str(info.get("title", "")), version=str(info.get("version", "")), about=str(info.get("description", "")),
        sections=reference.sections(openapi), schemas=reference.schemas(openapi),
    )  # fmt: skip


def render_plain(template: str, lang: Lang, *, large: bool, urls: PageUrls, title: str, **values: object) -> str:
    """A page of another module from its own `template`, with what every page has."""
    return _render(template, texts(lang), large=large, urls=urls, family="other", title=title, **values)


def _render(template: str, t: Texts, *, large: bool, urls: PageUrls, **values: object) -> str:
    return (
        _environment()
        .get_template(template)
        .render(
            t=t,
            lang=t.lang,
            large=large,
            urls=urls,
            address=partial(_address, (t.lang, large)),
            pick=t.pick,
            day=partial(formatting.day, t=t),
            days=partial(formatting.days, t=t),
            moment=partial(formatting.moment, t=t),
            quantity=partial(formatting.quantity, t=t),
            unit=partial(formatting.unit, t=t),
            word=partial(formatting.word, t=t),
            net_content=partial(formatting.net_content, t=t),
            **values,
        )
    )


def _address(reader: tuple[Lang, bool], path: str, **changed: Any) -> str:
    """`path` in the reader's language and size of letters, or with one of them changed: then it is always said."""
    wanted = {"lang": reader[0], "large": reader[1], **changed}
    query = []
    if wanted["lang"] != LANGUAGES[0] or "lang" in changed:
        query.append(f"lang={wanted['lang']}")
    if wanted["large"]:
        query.append("large=1")
    return path + (("&" if "?" in path else "?") + "&".join(query) if query else "")


class _Lean(Extension):
    """Line breaks and indentation in a template are for its readers only and do not reach the page."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        return re.sub(r"\s*\n\s*", "", source)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        extensions=[_Lean],
    )
    environment.globals["static_url"] = static_url
    environment.globals["integrity"] = integrity
    environment.globals["page_style"] = lambda: Markup(page_style())
    environment.filters.update(
        link=formatting.link,
        path_of=formatting.path_of,
        percent=formatting.percent,
        number=formatting.number,
        iso_day=formatting.iso_day,
    )
    return environment
