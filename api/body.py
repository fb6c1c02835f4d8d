"""Reading a request's body: of the types a route takes, never more than it allows nor for longer than it may."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from starlette.requests import Request

from .problems import HttpRefusal


def media_type(request: Request) -> str:
    """The media type of the body, lower case, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def require_media_type(request: Request, accepted: Collection[str]) -> str:
    """The body's media type when it is one of `accepted`; HttpRefusal 415 otherwise, and for encoded bodies."""
    given = media_type(request)
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if given not in accepted or encoding != "identity":
        expected = ", ".join(accepted)
        raise HttpRefusal(
            415,
            "media-type",
            field="Content-Type",
            zh=f"不接受这种媒体类型，应为 {expected}，且不压缩",
            en=f"this media type is not taken; it should be {expected}, without content encoding",
            expected=expected,
            headers={"Accept": expected},
        )
    return given


async def read_body(request: Request, limit: int, timeout: float) -> bytes:
    """The body, at most `limit` bytes, read within `timeout` seconds.

    A Content-Length beyond the limit is refused unread; a body that only turns out to be longer as soon as it does.
    Raises HttpRefusal 400, 408 or 413.
    """
    declared = request.headers.get("content-length")
    if declared is not None:
        if not (declared.isascii() and declared.isdigit()):
            raise HttpRefusal(
                400,
                "content-length",
                field="Content-Length",
                zh="Content-Length 不是数字",
                en="Content-Length is not a number",
            )
        if int(declared[:20]) > limit:
            raise _too_large(limit)
    content = bytearray()
    try:
        async with asyncio.timeout(timeout):
            async for chunk in request.stream():
                content += chunk
                if len(content) > limit:
                    raise _too_large(limit)
    except TimeoutError:
        raise HttpRefusal(
            408,
            "body-timeout",
            zh=f"请求内容未在 {timeout:g} 秒内送达",
            en=f"the body did not arrive within {timeout:g} s",
            headers={"Connection": "close"},
        ) from None
    return bytes(content)


def _too_large(limit: int) -> HttpRefusal:
    return HttpRefusal(
        413,
        "body-too-large",
        zh=f"请求内容超过 {limit} 字节",
        en=f"the body has more than {limit} bytes",
        expected=f"<= {limit}",
    )
