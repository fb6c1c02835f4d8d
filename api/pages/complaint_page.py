"""The pages of a complaint: that it was received, and how it stands for whoever knows its id."""

from __future__ import annotations

from ..complaints import Followed
from .render import PageUrls, render_plain
from .texts import Lang, texts


def render_complaint(followed: Followed, lot_path: str, lang: Lang, large: bool, urls: PageUrls) -> str:
    """One complaint with its answers; `lot_path` leads to the page of its lot."""
    return render_plain(
        "complaint.html", lang, large=large, urls=urls, title=texts(lang)("complaint.title"), followed=followed,
        lot_path=lot_path,
    )  # fmt: skip


def render_received(lang: Lang, large: bool, urls: PageUrls) -> str:
    """That something was received, and no more."""
    return render_plain(
        "complaint.html", lang, large=large, urls=urls, title=texts(lang)("complaint.title"), followed=None, lot_path=""
    )  # fmt: skip
