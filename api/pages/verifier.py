"""The verifier for browsers: one file that holds all it needs, and what a product page may load to check itself."""

from __future__ import annotations

import base64
import hashlib
from functools import cache

from markupsafe import Markup

from .assets import CONTENT_SECURITY_POLICY, minified_css, page_style, static_files, static_url
from .render import PageUrls, render_plain
from .scripts import FOLDER, joined
from .texts import Lang, texts

INTEGRITY_POLICY = "blocked-destinations=(script)"
"""No script without an `integrity` that its bytes match (W3C Subresource Integrity, `Integrity-Policy`)."""


@cache
def product_headers() -> dict[str, str]:
    """What a browser may do for a product page: draw it by the one style it carries and run our two scripts, all known
    by hash, and fetch from this host.
    """
    scripts = " ".join(f"'{joined(entry).integrity}'" for entry in ("boot.js", "here.js"))
    styled = CONTENT_SECURITY_POLICY.replace("style-src 'self'", f"style-src {_hash(page_style())}")
    return {
        "Content-Security-Policy": f"{styled}; script-src {scripts}; connect-src 'self'",
        "Integrity-Policy": INTEGRITY_POLICY,
    }


def render_verifier(lang: Lang, policy: str | None = None, *, pinned: bool = False, large: bool = False) -> str:
    """The verifier as one HTML page without any address to load from; it works from a disk and without a network.

    `policy` is the text of a policy file to carry. A `pinned` one counts at once: somebody chose it when they made the
    file. Otherwise it is the service's own, and counts only where the reader asks for it.
    """
    return render_plain(
        "verify.html",
        lang,
        large=large,
        urls=PageUrls("/verify"),
        title=texts(lang)("verify.title"),
        policy=policy,
        pinned=pinned,
        script=Markup(joined("page.js").source),
        style=Markup(_style()),
        icon="data:image/svg+xml;base64," + base64.b64encode(_icon()).decode("ascii"),
        security=_policy(),
    )


@cache
def verifier_headers() -> dict[str, str]:
    """The same for the verifier's page: run and draw what it holds, by hash, and reach nothing at all."""
    return {"Content-Security-Policy": f"{_policy()}; frame-ancestors 'none'", "Integrity-Policy": INTEGRITY_POLICY}


@cache
def _policy() -> str:
    script, style = _hash(joined("page.js").source), _hash(_style())
    return (
        f"default-src 'none'; script-src {script}; style-src {style}; img-src data:; connect-src 'none'; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


@cache
def _style() -> str:
    return page_style() + minified_css((FOLDER / "verify.css").read_text(encoding="utf-8"))


def _icon() -> bytes:
    return static_files()[static_url("icon.svg").rpartition("/")[2]].content


def _hash(source: str) -> str:
    return f"'sha384-{base64.b64encode(hashlib.sha384(source.encode()).digest()).decode('ascii')}'"
