"""The stories that the page tests draw, and a server that sends the pages as strictly as the service does."""

from __future__ import annotations

import contextlib
import http.server
import io
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from chili_story import chili
from liquor_story import baijiu
from suyuan.api.pages import render
from suyuan.api.pages.assets import CONTENT_SECURITY_POLICY, STATIC_ROOT, static_files
from suyuan.api.pages.verifier import product_headers
from suyuan.trace.story import Story, Text
from tea_story import tea

PHOTO = "/photo.jpg"


@pytest.fixture(scope="session")
def keep_picture() -> Callable[[Any, str], None]:
    """Leaves a picture of a page under a name in the folder `SUYUAN_TEST_SCREENSHOTS`, if there is to be one."""
    kept = os.environ.get("SUYUAN_TEST_SCREENSHOTS")

    def keep(page: Any, name: str) -> None:
        if kept:
            words = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")
            page.screenshot(path=Path(kept) / f"{words}.png", full_page=True)

    return keep


@pytest.fixture(scope="session")
def stories() -> dict[str, Story]:
    """The three sample stories by family."""
    return {"tea": tea(PHOTO), "baijiu": baijiu(PHOTO), "chili": chili(PHOTO)}


@pytest.fixture(scope="module")
def site(stories: dict[str, Story]) -> Iterator[str]:
    """Address of a server with `/tea`, `/baijiu`, `/chili`, `/` and `/gone`, which heed `?lang=` and `?large=1`."""

    def page(path: str, query: str) -> str | None:
        lang: render.Lang = "en" if "lang=en" in query else "zh"
        large = "large=1" in query
        if path == "/":
            products = [
                render.HomeProduct(f"/{name}", name, each.product.name, each.product.brand, each.origin, each.name)
                for name, each in stories.items()
                if each.product
            ]
            return render.render_home(lang, products, large=large)
        if path == "/gone":
            text = Text("没有这个批次。", "There is no such lot.")
            return render.render_message(lang, large, 404, text.en, text.en, urls=render.PageUrls("/gone"))
        story = stories.get(path[1:])
        urls = render.PageUrls(path, proof="/proof?uri=x")
        return story and render.render_product(story, lang=lang, large=large, urls=urls)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path.startswith(STATIC_ROOT):
                served = static_files()[parts.path.removeprefix(STATIC_ROOT)]
                self.answer(served.media_type, served.content)
            elif parts.path == PHOTO:
                self.answer("image/jpeg", _photo())
            else:
                found = page(parts.path, parts.query)
                headers = product_headers() if parts.path[1:] in stories else {}
                self.answer("text/html; charset=utf-8", (found or "").encode(), 200 if found else 404, headers)

        def answer(
            self, media_type: str, content: bytes, status: int = 200, headers: Mapping[str, str] | None = None
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(content)))
            for name, value in ({"Content-Security-Policy": CONTENT_SECURITY_POLICY} | dict(headers or {})).items():
                self.send_header(name, value)
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # a page left early drops its pictures
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _photo() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (320, 240), (120, 150, 110)).save(content, "JPEG")
    return content.getvalue()
