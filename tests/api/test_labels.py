"""Label sheets: every symbol can be read off the printed page, and what people read stands beside it."""

from __future__ import annotations

from decimal import Decimal

import pypdfium2
import pytest
import zxingcpp

from suyuan.api.labels import MODULE_MM, STOCKS, Label, item_label, labels_pdf, module_mm
from suyuan.ledger.code_set import CodeSet, ItemKeys
from suyuan.ledger.errors import Refusal
from suyuan.qr.print_run import encode

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
