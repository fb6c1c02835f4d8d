"""Label sheets: every symbol can be read off the printed page, and what people read stands beside it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pypdfium2
import pytest
import zxingcpp

from suyuan.api.label_layouts import CertificateLabel, UnitLabel
from suyuan.api.labels import MODULE_MM, STOCKS, Label, item_label, labels_pdf, module_mm
from suyuan.ledger.code_set import CodeSet, ItemKeys
from suyuan.ledger.errors import Refusal
from suyuan.qr.print_run import encode
from suyuan.trace.certificates import PROMISES, CertifiedLot, ConformityCertificate
from suyuan.trace.story import Text

KEYS = ItemKeys(bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96)))
NAME = "湄潭翠芽 特级（虚构）50 克"


def labels(count: int) -> list[Label]:
    codes = CodeSet("09520001000010", "MTCY20260331A", 0, count, KEYS)
    uri = "https://trace.example.cn/01/09520001000010/10/MTCY20260331A/21/"
    return [item_label(uri + serial, NAME, serial) for _, serial, _ in codes.codes()]


def read_pages(content: bytes, dpi: int = 300) -> tuple[set[str], str]:
    """The symbols that a decoder finds on the rasterised pages, and the text that can be selected."""
    document = pypdfium2.PdfDocument(content)
    found: set[str] = set()
    text = ""
    try:
        for page in document:
            image = page.render(scale=dpi / 72).to_pil().convert("L")
            found |= {one.text for one in zxingcpp.read_barcodes(image, formats=zxingcpp.BarcodeFormat.QRCode)}
            text += page.get_textpage().get_text_range()
    finally:
        document.close()
    return found, text


@pytest.mark.parametrize("name", STOCKS)
def test_every_symbol_is_read_off_the_page_on_every_stock(name: str) -> None:
    stock = STOCKS[name]
    wanted = labels(min(stock.per_page + 1, 25) if stock.per_page > 1 else 2)
    found, text = read_pages(labels_pdf(wanted, stock, title=NAME)[0])
    assert found == {label.link for label in wanted}
    if name != "a4-65" and name != "roll-40x30":
        assert "湄潭翠芽" in text and "(01) 09520001000010" in text and wanted[0].link[-10:] in text


def test_modules_are_large_enough_and_whole_dots_of_the_printer() -> None:
    for stock in STOCKS.values():
        module = module_mm(stock, 45)
        assert module >= MODULE_MM and module * 45 <= min(stock.label)
        assert module / (Decimal("25.4") / 600) % 1 == 0


def test_a_label_that_is_too_small_is_refused_and_the_least_size_said() -> None:
    with pytest.raises(Refusal) as refused:
        module_mm(STOCKS["a4-65"], 57)
    assert refused.value.rule == "label-too-small" and "24.6" in refused.value.zh


def test_the_same_labels_give_the_same_file_and_a_thousand_are_small() -> None:
    wanted = labels(1_000)
    content, _ = labels_pdf(wanted, STOCKS["a4-21"], title=NAME)
    assert len(content) < 500_000
    assert labels_pdf(wanted, STOCKS["a4-21"], title=NAME)[0] == content


def test_characters_that_the_font_lacks_do_not_stop_a_print_run() -> None:
    uri = labels(1)[0].link
    found, _ = read_pages(labels_pdf([Label(uri, ("𰻝\x07龘茶", "批次"))], STOCKS["roll-70x50"], title="茶")[0])
    assert found == {uri}


def test_fast_and_careful_encoder_agree_on_size_and_text() -> None:
    from suyuan.qr import symbol

    for label in labels(20):
        fast, careful = encode(label.link), symbol.encode(label.link)
        assert (fast.version, fast.modules) == (careful.version, careful.modules)


# ---------------------------------------------------------------- cases and pallets, certificates

SSCC = "395200010000000011"
UNIT = UnitLabel(SSCC, f"https://trace.example.cn/00/{SSCC}", ("湄潭翠芽 特级 50 克 × 6", "批次 MTCY20260331A"))


def certificate(**members: Any) -> CertificateLabel:
    event = "urn:uuid:0198c3a1-7b2e-7c41-9f10-6a2f3b4c5d6e"
    given: dict[str, Any] = {
        "event_id": event, "number": "HGZ-2026-0331-07", "product": "茶青（虚构）",
        "lots": (CertifiedLot("", "#7K2Q", "812.5 kg"),), "origin": "贵州省遵义市湄潭县永兴镇",
        "issued_on": date(2026, 3, 31), "issuer": Text("云雾茶叶合作社（虚构）", "Yunwu"),
        "issuer_id": "93520328MAXXJU010N", "promises": tuple(text for _, text in PROMISES),
        "basis": ("自行检测合格",), "produced": (date(2026, 3, 30),),
        "basis_boxes": (("质量安全控制符合要求", False), ("自行检测合格 KJ-118", True), ("委托检测合格", False)),
        "reissued": False, "contact": Text("0851-00000000", "0851-00000000"), "order": None, "duty": Text("", ""),
        "keep_months": 6, "corrected": False, "index": 128, "statement_sha256": "ab" * 32,
        "logged_at": datetime(2026, 3, 31, tzinfo=UTC),
    }  # fmt: skip
    link = f"https://trace.example.cn/certificate/{event}"
    return CertificateLabel(ConformityCertificate(**{**given, **members}), link)


def read_codes(content: bytes, dpi: int = 300) -> set[tuple[str, str]]:
    """What a decoder finds on the first page, by symbology identifier."""
    document = pypdfium2.PdfDocument(content)
    try:
        image = document[0].render(scale=dpi / 72).to_pil().convert("L")
    finally:
        document.close()
    return {(one.symbology_identifier[:2], one.text) for one in zxingcpp.read_barcodes(image)}


@pytest.mark.parametrize("name", STOCKS)
def test_units_are_read_off_every_stock_and_off_wide_ones_as_gs1_128_too(name: str) -> None:
    stock = STOCKS[name]
    content, module = labels_pdf([UNIT], stock, title="SSCC")
    bars = UnitLabel.has_bars(*stock.label)
    assert read_codes(content) == {("]Q", UNIT.link), *([("]C", f"(00){SSCC}")] if bars else [])}
    assert bars == (name in ("a4-8", "roll-100x70", "roll-100x150")) and module >= MODULE_MM


WANTED = (
    "承诺达标合格证", "我承诺对生产销售的食用农产品", "不使用禁用农药兽药、停用兽药和非法添加物",
    "常规农药兽药残留不超标", "承诺依据", "自行检测合格KJ-118", "茶青（虚构）", "812.5kg", "湄潭县永兴镇",
    "云雾茶叶合作社", "93520328MAXXJU010N", "0851-00000000", "生产日期：2026-03-30", "开具日期：2026-03-31",
    "HGZ-2026-0331-07", "电子签名", "#128",
)  # fmt: skip
"""What MARA order 2025 no. 4 wants on a certificate, and where it stands on the ledger."""


@pytest.mark.parametrize("name", ["a4-8", "roll-70x50", "roll-80x60", "roll-100x70", "roll-100x150"])
def test_a_certificate_says_on_its_label_what_the_order_wants(name: str) -> None:
    label = certificate()
    content, _ = labels_pdf([label] * STOCKS[name].per_page, STOCKS[name], title="合格证")
    found, text = read_pages(content)
    assert found == {label.link}
    plain = "".join(text.split())
    for words in WANTED:
        assert words in plain, words
    assert b"FontFile2" in content and b"STSong" not in content


@pytest.mark.parametrize("name", ["a4-65", "roll-40x30", "a4-24"])
def test_a_certificate_is_refused_where_it_could_not_be_read(name: str) -> None:
    with pytest.raises(Refusal) as refused:
        labels_pdf([certificate()], STOCKS[name], title="合格证")
    assert refused.value.rule == "label-too-small"


def test_boxes_are_ticked_as_promised() -> None:
    def ink(label: CertificateLabel) -> int:
        document = pypdfium2.PdfDocument(labels_pdf([label], STOCKS["roll-100x150"], title="合格证")[0])
        try:
            return sum(document[0].render(scale=4).to_pil().convert("L").histogram()[:128])
        finally:
            document.close()

    assert ink(certificate(promises=())) < ink(certificate())


def test_words_in_figures_and_closing_marks_are_not_torn_apart() -> None:
    label = Label(labels(1)[0].link, ("批次（虚构）", "编号 ABCDEFGHIJ-2026-0331"))
    content, _ = labels_pdf([label], STOCKS["roll-100x70"], title="t")
    _, text = read_pages(content)
    assert "ABCDEFGHIJ-2026-0331" in text and "\n）" not in text.replace("\r", "")
