"""What is said of a code under the cap: the form on an item's page, and the answer, as a page and as JSON.

No word of it says genuine: it says whether code and item belong together, and when the code was first checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ...trace.schema import CHINA
from ...trace.story import Story
from ..scans.inner_codes import InnerAnswer
from ..scans.judging import city_of, moment
from . import summary
from .render import PageUrls, render_plain
from .scan_state import warning
from .summary import Sign
from .texts import LANGUAGES, Lang, Texts, texts


@dataclass(frozen=True)
class Words:
    """An answer in one language. `warning`: what the life of the item says above all, such as a recall."""

    sign: Sign
    heading: str
    line: str
    warning: str
    reasons: tuple[str, ...]


def words(answer: InnerAnswer, story: Story, t: Texts) -> Words:
    """The words for an answer."""
    thing = t("inner.bottle" if summary.family(story) == "baijiu" else "inner.thing")
    reasons = tuple(t.pick(reason.text) for reason in answer.verdict.reasons if reason.public)
    warned = warning(answer.verdict.state, t)
    if not answer.right or answer.first is None:
        return Words("bad", t("inner.wrong", thing=thing), t("inner.wrong_line"), warned, reasons)
    first = answer.first
    city = city_of(first.city) if first.city else None
    place = t("scan.unknown_city") if city is None else t.pick(city.name)
    when = t.pick(moment(first.time_ms))
    doubtful: Sign = "bad" if reasons or warned else "good"
    if answer.earliest:
        return Words(doubtful, t("inner.first", thing=thing), t("inner.first_line"), warned, reasons)
    heading, line = t("inner.again", thing=thing), t("inner.again_line", n=first.checks, when=when, city=place)
    return Words("bad" if doubtful == "bad" else "open", heading, line, warned, reasons)


def render_answer(answer: InnerAnswer, story: Story, path: str, lang: Lang, *, large: bool) -> str:
    """The answer as a page; `path` leads to the page of the item."""
    t = texts(lang)
    return render_plain(
        "inner_check.html", lang, large=large, urls=PageUrls(path), title=t("inner.heading"),
        name=t.pick(summary.title(story)), serial=path.rpartition("/")[2], found=words(answer, story, t),
        right=answer.right,
    )  # fmt: skip


def document(answer: InnerAnswer, story: Story) -> dict[str, Any]:
    """The answer as JSON values; `zh` and `en` say it to people."""
    first = answer.first
    told = {lang: words(answer, story, texts(lang)) for lang in LANGUAGES}
    city = city_of(first.city) if first is not None and first.city else None
    return {
        "matches": answer.right,
        "first": answer.earliest,
        "checks": 0 if first is None else first.checks,
        "first_checked": None
        if first is None
        else datetime.fromtimestamp(first.time_ms / 1000, UTC).astimezone(CHINA).isoformat(),
        "city": None if city is None else {"code": city.code, "zh": city.name.zh, "en": city.name.en},
        "state": answer.verdict.state,
        "reasons": [
            {"reason": reason.slug, "zh": reason.text.zh, "en": reason.text.en}
            for reason in answer.verdict.reasons
            if reason.public
        ],
        **{lang: f"{one.heading} {one.line}" for lang, one in told.items()},
    }
