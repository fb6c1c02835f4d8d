"""The README's pictures, taken of a running demo with Chromium: `photograph.py BASE_URL`."""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path
from urllib.request import urlopen

from PIL import Image
from playwright.sync_api import sync_playwright

HERE = Path(__file__).resolve().parent
LOT = "/01/09520001000010/10/MTCY20260331A"
IDENTITY = "https://suyuan.example"
WIDTH, HEIGHT, SCALE = 390, 844, 2  # a phone


def photograph(base_url: str) -> None:
    """One phone's screen of each: the top of the product page, its ancestry, its proof; and the QR symbol."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or "chromium-browser"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[] if os.geteuid() else ["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=SCALE, locale="zh-CN")
        page.goto(f"{base_url}{LOT}?lang=zh")
        for name, place in (("page", "main"), ("ancestry", "#flow"), ("proof", "#proof")):
            page.evaluate("place => scrollTo(0, place == 'main' ? 0 : document.querySelector(place).offsetTop)", place)
            picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            picture.save(HERE / f"{name}.webp", quality=80, method=6)
        browser.close()
    with urlopen(f"{base_url}/qr?format=png&uri={IDENTITY}{LOT}") as answer:
        Image.open(io.BytesIO(answer.read())).convert("1").save(HERE / "qr.png", optimize=True)


if __name__ == "__main__":
    photograph(sys.argv[1].rstrip("/"))
