"""The pages as text: well formed, lean, complete in both languages, and safe whatever the records say."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from decimal import Decimal
from html.parser import HTMLParser
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suyuan.api.pages import formatting, render
from suyuan.api.pages.assets import STATIC_ROOT, integrity, page_style, static_files, static_url
from suyuan.api.pages.texts import LANGUAGES, texts
from suyuan.trace.story import Attachment, Story, Text

PAGES = Path(render.__file__).parent
URLS = render.PageUrls("/01/09520001000010/10/MTCY20260331A", proof="/proof?uri=x")
VOID = {"meta", "link", "br", "img", "path", "circle"}
OPENAPI: dict[str, Any] = {
    "info": {"title": "Suyuan", "version": "1", "description": "One.\n\nTwo."},
    "paths": {
        "/api/v1/lots/{id}": {
            "parameters": [{"$ref": "#/components/parameters/Id"}],
            "get": {
                "tags": ["lots"],
                "summary": "A <b>lot</b>",
                "security": [{"key": []}],
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Lot"}}}},
                "responses": {"200": {"description": "The lot", "content": {"application/json": {}}}},
            },
        }
    },
    "components": {
        "parameters": {"Id": {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}},
        "schemas": {"Lot": {"type": "object", "required": ["uri"], "properties": {"uri": {"type": "string"}}}},
    },
}


class Reader(HTMLParser):
    """Notes what a page consists of, and fails on a tag that is not closed in turn."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> says {names} twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def attribute(self, name: str) -> list[str]:
        return [value for _, attributes in self.tags if (value := attributes.get(name)) is not None]


@pytest.fixture(
    params=[("zh", False), ("en", False), ("zh", True), ("en", True)], ids=lambda mode: f"{mode[0]}{mode[1]}"
)
def mode(request: pytest.FixtureRequest) -> tuple[render.Lang, bool]:
    chosen: tuple[render.Lang, bool] = request.param
    return chosen


BOOT = {"type": "module", "src": static_url("boot.js"), "integrity": integrity("boot.js")}
"""The one script of a product page, which offers to verify its proof; it is locked by its hash."""


def every_page(stories: dict[str, Story], lang: render.Lang, large: bool) -> Iterator[str]:
    for story in stories.values():
        yield render.render_product(story, lang=lang, large=large, urls=URLS)
        yield render.render_product(bare(story), lang=lang, large=large, urls=render.PageUrls("/x"))
    product = stories["tea"].product
    assert product is not None
    home = render.HomeProduct("/tea", "tea", product.name, product.brand, None, "MTCY", product.description)
    yield render.render_home(lang, [home, replace(home, family="rice", brand=None)], large=large)
    yield render.render_home(lang, [], large=large)
    yield render.render_message(lang, large, 410, "gone", "gone")
    yield render.render_docs(OPENAPI, lang, large=large)


def bare(story: Story) -> Story:
    """A lot of which nothing is known yet."""
    return Story(story.uri, "unit", "395200010000000017", None, story.maker, None, None, None, None)


def test_pages_are_well_formed_and_ask_nothing_of_scripts_or_inline_styles(
    stories: dict[str, Story], mode: tuple[render.Lang, bool]
) -> None:
    for page in every_page(stories, *mode):
        assert page.startswith("<!doctype html><html lang=")
        reader = Reader(page)
        assert not {"iframe", "form", "object", "base"} & {tag for tag, _ in reader.tags}
        assert re.findall("<style>(.*?)</style>", page) in ([], [page_style()])
        assert [attributes for tag, attributes in reader.tags if tag == "script"] in ([], [BOOT])
        for tag, attributes in reader.tags:
            assert "style" not in attributes and not [name for name in attributes if name.startswith("on")], tag
        for address in reader.attribute("href") + reader.attribute("src"):
            assert re.match(r"/(?!/)|#|https://", address), address


def test_every_fragment_and_label_leads_somewhere_and_ids_are_unique(
    stories: dict[str, Story], mode: tuple[render.Lang, bool]
) -> None:
    for page in every_page(stories, *mode):
        reader = Reader(page)
        ids = reader.attribute("id")
        assert len(ids) == len(set(ids))
        wanted = [address[1:] for address in reader.attribute("href") if address.startswith("#")]
        assert set(wanted + reader.attribute("aria-labelledby")) <= set(ids)


def test_headings_go_down_one_level_at_a_time_below_a_single_first(
    stories: dict[str, Story], mode: tuple[render.Lang, bool]
) -> None:
    for page in every_page(stories, *mode):
        levels = [int(tag[1]) for tag, _ in Reader(page).tags if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))


def test_images_have_words_and_drawings_are_named_or_hidden(stories: dict[str, Story]) -> None:
    reader = Reader(render.render_product(stories["tea"], lang="zh", large=False, urls=URLS))
    assert all(attributes.get("alt") for tag, attributes in reader.tags if tag == "img")
    assert all(attributes.get("width") and attributes.get("height") for tag, attributes in reader.tags if tag == "img")
    assert {attributes.get("loading") for tag, attributes in reader.tags if tag == "img"} == {"lazy"}
    assert len([1 for tag, _ in reader.tags if tag == "img"]) == 5  # four photos, and a symbol to scan
    outer = [attributes for tag, attributes in reader.tags if tag == "svg" and "aria-label" in attributes]
    assert [attributes["role"] for attributes in outer] == ["img"]


def test_a_page_weighs_less_than_30_kb_in_transfer_with_all_its_steps(stories: dict[str, Story]) -> None:
    around = [static_files()[static_url(name).removeprefix(STATIC_ROOT)] for name in ("boot.js", "icon.svg")]
    for story in stories.values():
        for lang, large in product(LANGUAGES, (False, True)):
            page = render.render_product(story, lang=lang, large=large, urls=URLS).encode()
            assert sum(len(gzip.compress(each)) for each in (page, *(file.content for file in around))) < 18_000
            assert len(page) < 60_000  # as the browser reads it, its style included
    assert len(page_style()) < 16_000


def test_a_page_of_thirty_steps_is_small_even_unpacked(stories: dict[str, Story]) -> None:
    story = replace(stories["tea"], steps=stories["tea"].steps[-30:])
    assert len(render.render_product(story, lang="zh", large=False, urls=URLS).encode()) < 52_000


def test_both_languages_say_the_same_things() -> None:
    zh, en = texts("zh"), texts("en")
    assert zh.keys() == en.keys()
    for key in sorted(zh.keys()):
        blanks = [set(re.findall(r"{(\w+)}", t._texts[key])) for t in (zh, en)]
        assert blanks[0] == blanks[1], key
    assert not [
        key for key in sorted(en.keys()) if key not in ("site.name", "site.other_language") and has_chinese(en(key))
    ]


def test_no_room_of_texts_is_given_twice() -> None:
    """YAML would take the last and say nothing."""
    for file in sorted((PAGES / "translations").iterdir()):
        rooms = re.findall(r"^(\w+):", file.read_text("utf-8"), re.M)
        assert len(rooms) > 20 and len(rooms) == len(set(rooms)), file.name


def test_templates_hold_no_prose_of_their_own() -> None:
    for file in sorted((PAGES / "templates").iterdir()):
        source = re.sub(r"{#.*?#}|{%.*?%}|{{.*?}}", " ", file.read_text("utf-8"), flags=re.S)
        assert not has_chinese(source), file.name
        words = re.sub(r"<[^>]*>", " ", source).replace("suyuan verify", "").replace("--policy policy", "")
        assert not re.findall(r"[A-Za-z]{2,}", words), file.name
        attributes = re.findall(r'(?:aria-label|alt|title)="([^"]*)"', source)
        assert not [value for value in attributes if value.strip()], file.name


def test_code_holds_no_chinese_prose_beside_the_translations() -> None:
    for file in sorted(PAGES.glob("*.py")):
        strings = re.sub(r'""".*?"""|#.*', "", file.read_text("utf-8"), flags=re.S)
        assert set(re.findall(r"[\u4e00-\u9fff]", strings)) <= set("年月日"), file.name


def has_chinese(text: str) -> bool:
    return re.search(r"[\u4e00-\u9fff]", text.replace("溯源", "").replace("中文", "")) is not None


def test_the_english_page_of_english_records_is_english(stories: dict[str, Story]) -> None:
    def latin(text: str) -> str:
        return re.sub(r"[\u4e00-\u9fff]", "x", text)

    anglicised = each_text(stories["baijiu"], lambda text: Text("中", latin(text.en)), plain=latin)
    page = render.render_product(anglicised, lang="en", large=False, urls=URLS)
    assert not has_chinese(" ".join(Reader(page).words))


def test_pages_never_say_genuine_or_true() -> None:
    for lang in LANGUAGES:
        for key in sorted(texts(lang).keys()):
            said = texts(lang)._texts[key].lower()
            assert not re.search(r"真|正品|保真|genuine|authentic|\btrue\b|guarantee|保证", said), key


def test_the_top_says_product_origin_date_laboratory_age_and_proof(stories: dict[str, Story]) -> None:
    page = render.render_product(stories["baijiu"], lang="zh", large=False, urls=URLS)
    top = "".join(Reader(page[: page.index('class="toc"')] + '"></nav></main></body></html>').words)
    for words in (
        "赤水谷 · 藏酿",
        "贵州仁怀 · 茅台镇",
        "2020年12月28日–2021年8月16日",
        "✓合格",
        "最短 3.15 年",
        "未被改动",
    ):
        assert words in top


def test_steps_of_one_kind_are_told_together_and_each_with_its_ledger_place(stories: dict[str, Story]) -> None:
    page = render.render_product(stories["tea"], lang="zh", large=False, urls=URLS)
    ids = set(Reader(page).attribute("id"))
    assert {f"e{step.ledger.index}" for step in stories["tea"].steps} <= ids
    assert page.count("<h4>采摘 <small>5 次</small></h4>") == 1
    assert "产出 280.0 kg" in page


def test_a_lot_seen_again_is_not_counted_twice(stories: dict[str, Story]) -> None:
    page = render.render_product(stories["baijiu"], lang="zh", large=False, urls=URLS)
    assert '<p class="amount">24,500 kg、24,010 kg、23,520 kg</p>' in page
    assert "72,030" not in page


def test_what_was_recorded_later_or_corrected_says_so(stories: dict[str, Story]) -> None:
    zh = render.render_product(stories["tea"], lang="zh", large=False, urls=URLS)
    en = render.render_product(stories["tea"], lang="en", large=False, urls=URLS)
    assert "事后补录，依据原有记录" in zh and "recorded later, from earlier records" in en
    assert "5 天后记录" in zh and "5 days later" in en
    wrong, right = [step.ledger.index for step in stories["tea"].steps if step.corrects or step.corrected_by]
    assert f'<a href="#e{right}">看更正：账本第 {right} 条</a>' in zh
    assert f'<a href="#e{wrong}">更正的是账本第 {wrong} 条</a>' in zh


def test_the_proof_is_honest_about_what_is_missing(stories: dict[str, Story]) -> None:
    zh = render.render_product(stories["tea"], lang="zh", large=False, urls=URLS)
    assert "还没有独立的见证人为这本账联署。" in zh and "尚未证明没有遗漏的记录。" in zh
    assert "suyuan verify MTCY20260331A.proof.json --policy policy --without-completeness" in zh
    failed = render.render_product(stories["chili"], lang="zh", large=False, urls=URLS)
    assert "核对未通过，请勿依赖本页" in failed and "未被改动</b>" not in failed
    assert "statement 12: signature does not verify" in failed
    silent = render.render_product(replace(stories["tea"], proof=None), lang="zh", large=False, urls=URLS)
    assert "这一页的记录尚未核对" in silent and "未被改动</b>" not in silent


def test_ancestry_names_every_lot_and_where_it_ends(stories: dict[str, Story]) -> None:
    page = render.render_product(stories["baijiu"], lang="zh", large=False, urls=URLS)
    flow = page[page.index('id="flow"') : page.index('id="proof"')]
    for node in stories["baijiu"].ancestry.nodes:
        assert f">{node.name}</a>" in flow
    assert "入坛</b> 28 批 · 23,520 kg" in flow and "可证明的来历到此为止" in flow


def test_the_drawing_says_where_widths_mean_nothing(stories: dict[str, Story]) -> None:
    said = "份额没有公开的，各批画成等宽。"
    assert said in render.render_product(stories["chili"], lang="zh", large=False, urls=URLS)
    assert said not in render.render_product(stories["tea"], lang="zh", large=False, urls=URLS)


def test_a_report_on_several_lots_and_a_certificate_noted_twice_are_shown_once(stories: dict[str, Story]) -> None:
    story = stories["tea"]
    elsewhere = replace(story.reports[0], lot="https://id.suyuan.example/lot/A/7QX2M9K4T1VB8ZNH")
    again = replace(story.certificates[0], index=999)
    story = replace(story, reports=(elsewhere, *story.reports), certificates=(*story.certificates, again))
    page = render.render_product(story, lang="zh", large=False, urls=URLS)
    assert page.count('class="lab"') == 1 and "所检批次：7QX2M9K4T1VB8ZNH" in page
    assert page.count("SC11452032800018") == 1


def test_a_chapter_recorded_later_as_a_whole_says_so_once_and_each_step_in_short(stories: dict[str, Story]) -> None:
    steps = tuple(replace(step, backfilled=True) for step in stories["tea"].steps if step.phase == "making")
    page = render.render_product(replace(stories["tea"], steps=steps), lang="zh", large=False, urls=URLS)
    assert page.count("以下各步均为事后补录，依据原有记录") == 1
    assert page.count(" · 事后补录</p>") == page.count("<h4>") > 1


def test_liquor_is_dated_by_its_distilling(stories: dict[str, Story]) -> None:
    story = replace(stories["baijiu"], harvested=None)
    assert "<dt>取酒</dt><dd><b>2020年12月28日–2021年8月16日</b>" in render.render_product(
        story, lang="zh", large=False, urls=URLS
    )


def test_units_and_set_phrases_are_translated(stories: dict[str, Story]) -> None:
    page = render.render_product(stories["tea"], lang="en", large=False, urls=URLS)
    assert "<b>not detected</b>" in page and "未检出" not in page and "120 kg/mu" in page


def test_photos_and_documents_show_their_hash(stories: dict[str, Story]) -> None:
    kept = Attachment("ni:///sha-256;" + "A" * 43, "application/pdf", 1_234_567, "javascript:alert(1)")
    steps = (replace(stories["tea"].steps[0], attachments=(kept,)),)
    page = render.render_product(replace(stories["tea"], steps=steps, reports=()), lang="en", large=False, urls=URLS)
    assert "javascript:" not in page and "original not kept here" in page and ">0000000000</code>" in page


HOSTILE = "<script>alert(1)</script>\"'{{7*7}}\u202eلحم" + "长" * 300 + "x" * 300


def each_text(value: Any, change: Any, plain: Any = None) -> Any:
    """`value` with every Text in it changed, and every plain string too where `plain` is given."""
    if isinstance(value, Text):
        return change(value)
    if is_dataclass(value) and not isinstance(value, type):
        kept = {"phase", "uri", "kind", "uom", "part", "hash", "family", "key_custody", "event_id", "parent", "child"}
        return replace(
            value,
            **{
                each.name: each_text(getattr(value, each.name), change, plain)
                for each in fields(value)
                if each.name not in kept
            },
        )
    if isinstance(value, tuple):
        return tuple(each_text(each, change, plain) for each in value)
    return plain(value) if plain and isinstance(value, str) else value


@pytest.mark.parametrize("family", ["tea", "baijiu", "chili"])
def test_hostile_words_stay_words(stories: dict[str, Story], family: str) -> None:
    story = each_text(stories[family], lambda text: Text(HOSTILE, HOSTILE), plain=lambda text: text + HOSTILE)
    for lang in LANGUAGES:
        page = render.render_product(story, lang=lang, large=False, urls=URLS)
        reader = Reader(page)
        assert [attributes for tag, attributes in reader.tags if tag == "script"] == [BOOT]
        assert "{{7*7}}" in page and "<script>" not in page
        assert not [name for _, attributes in reader.tags for name in attributes if name.startswith("on")]


def test_the_api_reference_shows_paths_parameters_and_schemas() -> None:
    page = render.render_docs(OPENAPI, "zh")
    for words in ("<b>GET</b> /api/v1/lots/{id}", "A &lt;b&gt;lot&lt;/b&gt;", 'id="schema-Lot"', "application/json"):
        assert words in page


def test_static_names_change_with_content_and_pages_link_to_them(stories: dict[str, Story]) -> None:
    address = static_url("page.css")
    assert address.removeprefix(STATIC_ROOT) in static_files()
    assert address in render.render_home("zh", [])
    assert static_url("boot.js") in render.render_product(stories["tea"], lang="zh", large=False, urls=URLS)
    with pytest.raises(KeyError):
        static_url("other.css")


def test_the_style_sheet_loads_nothing_and_names_no_foreign_host() -> None:
    for file in (each for each in static_files().values() if "javascript" not in each.media_type):
        assert not re.search(rb"@import|url\(|https?://(?!www\.w3\.org/2000/svg)", file.content)


@given(st.decimals(min_value=0, max_value=1, places=6))
def test_a_share_is_never_shown_as_more_than_all_or_a_little_as_nothing(share: Decimal) -> None:
    shown = formatting.percent(share)
    figure = Decimal(shown.strip("<%"))
    assert 0 <= figure <= 100
    assert share == 0 or figure > 0


@given(st.text())
def test_only_paths_of_this_host_and_https_become_links(address: str) -> None:
    shown = formatting.link(address)
    assert shown is None or (shown == address and re.match(r"/(?!/)|https://.", address, re.S))


def test_the_way_to_chinese_is_said_even_though_it_is_what_pages_speak_anyway(stories: dict[str, Story]) -> None:
    """A browser that prefers English would come back to English otherwise."""
    page = render.render_product(stories["tea"], lang="en", large=False, urls=URLS)
    assert f'href="{URLS.page}?lang=zh"' in page
