"""What a client would like: language and media type, from the query and the Accept headers (RFC 9110 section 12)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from starlette.requests import HTTPConnection

from .problems import Language


def language_of(connection: HTTPConnection) -> Language:
    """`?lang=` if it says zh or en, else the better liked of the two in Accept-Language, else Chinese."""
    asked = connection.query_params.get("lang")
    if asked is not None and asked in ("zh", "en"):
        return "en" if asked == "en" else "zh"
    liked: dict[str, float] = {}
    for tag, quality in _weighted(connection.headers.get("accept-language", "")):
        primary = tag.partition("-")[0]
        if primary in ("zh", "en"):
            liked[primary] = max(liked.get(primary, 0.0), quality)
    return "en" if liked.get("en", 0.0) > liked.get("zh", 0.0) else "zh"


def large_letters(connection: HTTPConnection) -> bool:
    """Whether a reader wants large letters: `?large=1`."""
    return connection.query_params.get("large") == "1"


def preferred_type(connection: HTTPConnection, offered: Sequence[str]) -> str | None:
    """The offered media type that the client likes best: the first when it does not care, None when it takes none."""
    accept = connection.headers.get("accept", "").strip()
    if not accept:
        return offered[0]
    ranges = list(_weighted(accept))
    best, best_quality = None, 0.0
    for media_type in offered:
        quality = _quality(media_type, ranges)
        if quality > best_quality:
            best, best_quality = media_type, quality
    return best


def liking(header: str, value: str) -> float:
    """How well a header of weighted wishes (Accept, Accept-Language) likes `value`; 0 where it does not say."""
    wishes = list(_weighted(header))
    if "/" in value:
        return _quality(value, wishes)
    tagged = [(tag.partition("-")[0], quality) for tag, quality in wishes]
    return max((quality for tag, quality in tagged if tag in (value, "*")), default=0.0)


def wants_html(connection: HTTPConnection) -> bool:
    """Whether a person's browser is asking: HTML is named and liked no less than JSON."""
    ranges = list(_weighted(connection.headers.get("accept", "")))
    named = any(media_range == "text/html" and quality > 0 for media_range, quality in ranges)
    return named and _quality("text/html", ranges) >= _quality("application/json", ranges)


def _quality(media_type: str, ranges: Sequence[tuple[str, float]]) -> float:
    """The weight of the most specific range that covers `media_type`."""
    main = media_type.partition("/")[0]
    specificity = {media_type: 3, f"{main}/*": 2, "*/*": 1}
    found = max(
        ((specificity[media_range], quality) for media_range, quality in ranges if media_range in specificity),
        default=(0, 0.0),
    )
    return found[1]


def _weighted(header: str) -> Iterator[tuple[str, float]]:
    for part in header[:1000].split(","):
        value, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            name, _, number = parameter.partition("=")
            if name.strip() == "q":
                try:
                    quality = min(1.0, max(0.0, float(number)))
                except ValueError:
                    quality = 0.0
        if value:
            yield value, quality
