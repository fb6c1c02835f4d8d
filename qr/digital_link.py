"""GS1 Digital Link URIs: parsed strictly, built in one spelling.

Source: GS1 Digital Link Standard, URI Syntax 1.4 (uncompressed form); `docs/formats.md` section 7 for the one
spelling that this house signs and prints: https, lower-case host without default port, no stem, 14-digit GTIN, escapes
in upper-case hexadecimal and only where the standard asks for them (everything but letters, digits, `-`, `.`, `_`).
"""

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address
from urllib.parse import quote

from .application_identifiers import APPLICATION_IDENTIFIERS, is_key_sequence
from .errors import DigitalLinkError, shown
from .value_rules import DIGITS, check_digit, is_cset82

__all__ = ["DigitalLink", "build", "check_digit", "compose", "gtin14", "is_canonical", "is_cset82", "parse"]

MAX_URI_CHARACTERS = 4096
"""Longer links are refused unread: the largest QR symbol holds 2,331 bytes at error correction M."""

_GTIN_LENGTHS = (8, 12, 13, 14)
# RFC 3986: every character a URI may contain. No backslash, space, control or non-ASCII character.
_URI_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]*")
_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}

_Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class DigitalLink:
    """A valid Digital Link. Make one with `parse` or `compose`, which check; the constructor does not.

    host: lower case, with the port when it is not the scheme's default. stem: the path before the primary key, ""
    or "/some/stem". identifiers: the primary key and its qualifiers, (AI, value) in path order, percent-decoded.
    attributes: (AI, value) of the query, in the order given. Other query parameters and the fragment are not kept.
    """

    host: str
    stem: str
    identifiers: tuple[tuple[str, str], ...]
    attributes: tuple[tuple[str, str], ...] = ()

    def value(self, ai: str) -> str | None:
        """The value of a key, qualifier or attribute, or None."""
        return dict(self.identifiers + self.attributes).get(ai)

    @property
    def gtin(self) -> str | None:
        """The 14-digit GTIN (01) that this link identifies, or None. A GTIN among the attributes does not count."""
        return dict(self.identifiers).get("01")

    @property
    def lot(self) -> str | None:
        """Batch or lot (10) in the path, or None."""
        return dict(self.identifiers).get("10")

    @property
    def serial(self) -> str | None:
        """Serial number (21) in the path, or None."""
        return dict(self.identifiers).get("21")

    @property
    def sscc(self) -> str | None:
        """The 18-digit SSCC (00) of a logistic unit, or None."""
        return dict(self.identifiers).get("00")

    @property
    def path(self) -> str:
        """Key and qualifiers as a path in the one spelling, such as "/01/09520001000010/10/MTCY20260331A"."""
        return "".join(f"/{ai}/{quote(value, safe='')}" for ai, value in self.identifiers)

    @property
    def element_string(self) -> str:
        """Everything as one GS1 element string, "^" standing for FNC1, as GS1's own test vectors write it
        (General Specifications, section 7.8)."""
        written, separator = [], True
        for ai, value in self.identifiers + self.attributes:
            written.append(f"{'^' if separator else ''}{ai}{value}")
            separator = APPLICATION_IDENTIFIERS[ai].needs_separator
        return "".join(written)

    @property
    def human_readable(self) -> str:
        """Key and qualifiers as printed beside a symbol, such as "(01) 09520001000010 (10) MTCY20260331A"
        (General Specifications, section 4.14)."""
        return " ".join(f"({ai}) {value}" for ai, value in self.identifiers)

    def canonical(self, host: str | None = None, *, attributes: bool = False) -> str:
        """The one spelling of what this link identifies (`docs/formats.md`, section 7), on `host` or its own.

        Attributes describe the thing and do not identify it: they are left out unless asked for. Raises
        DigitalLinkError for an impossible host.
        """
        own = self.host if host is None else _host("https", host)
        described = "&".join(f"{ai}={quote(value, safe='')}" for ai, value in self.attributes) if attributes else ""
        return f"https://{own}{self.path}" + (f"?{described}" if described else "")


def parse(uri: str, *, lenient: bool = False) -> DigitalLink:
    """Read a Digital Link URI; raise DigitalLinkError, which says what is wrong and where, when it is not one.

    Any host and any stem; http or https in any case; the primary key nearest to the end of the path counts; qualifiers
    in the standard's order; every value is checked for length, characters, check digit and content; attributes must
    be permitted in a query, occur once, and not belong in the path; parameters whose name is not a number are ignored,
    numbers that are no attribute are refused; the fragment is ignored. (URI Syntax 1.4.)

    lenient: also read two forms found in the field, a GTIN of 8, 12 or 13 digits and one trailing slash, so that a
    resolver can redirect to the canonical spelling. Nothing else is forgiven.
    """
    if len(uri) > MAX_URI_CHARACTERS:
        raise DigitalLinkError(
            "uri-length",
            "uri",
            f"链接过长（{len(uri)} 个字符），最多 {MAX_URI_CHARACTERS} 个",
            f"the link has {len(uri)} characters, at most {MAX_URI_CHARACTERS} are read",
            str(MAX_URI_CHARACTERS),
        )
    legal = _URI_CHARACTERS.match(uri)
    if legal is None or legal.end() != len(uri):
        strange = uri[legal.end() if legal else 0]
        raise DigitalLinkError(
            "uri-characters",
            "uri",
            f"链接中有不允许的字符“{shown(strange)}”，请改用百分号编码",
            f"the link contains {shown(strange)!r}, which no URI may contain; percent-encode it",
        )
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme.lower() not in _DEFAULT_PORTS:
        raise DigitalLinkError(
            "scheme",
            "scheme",
            "链接应以 https:// 或 http:// 开头",
            "a Digital Link begins with https:// or http://",
            "https://",
        )
    authority, _, tail = rest.partition("/")
    host = _host(scheme.lower(), authority)
    path, _, query = tail.partition("#")[0].partition("?")
    stem, identifiers = _read_path(path, lenient)
    attributes = _read_query(query, tuple(ai for ai, _ in identifiers), lenient)
    return DigitalLink(host, stem, identifiers, attributes)


def compose(
    host: str, identifiers: Iterable[tuple[str, str]], attributes: Iterable[tuple[str, str]] = ()
) -> DigitalLink:
    """A link from host and (AI, value) pairs, under the same rules as `parse`; raises DigitalLinkError."""
    own, keys = _host("https", host), tuple(identifiers)
    _check_sequence(tuple(ai for ai, _ in keys))
    for ai, value in keys:
        _check_path_value(ai, value)
    path_ais, described = tuple(ai for ai, _ in keys), dict[str, str]()
    for ai, value in attributes:
        _check_attribute(ai, path_ais, described)
        _check_value(ai, value)
        described[ai] = value
    return DigitalLink(own, "", keys, tuple(described.items()))


def build(host: str, gtin: str, lot: str | None = None, serial: str | None = None) -> str:
    """The canonical URI of a product, of a lot of it, or of an item: what we sign and print.

    `gtin` may have 8, 12, 13 or 14 digits. Raises DigitalLinkError.
    """
    identifiers = [("01", gtin14(gtin))]
    identifiers += [(ai, value) for ai, value in (("10", lot), ("21", serial)) if value is not None]
    return compose(host, identifiers).canonical()


def is_canonical(uri: str, host: str | None = None) -> bool:
    """Whether `uri` is a valid Digital Link in its one spelling (`docs/formats.md`, section 7), on `host` if given.

    A link with stem, query or fragment is not: it names the same thing in another way.
    """
    try:
        return parse(uri).canonical(host) == uri
    except DigitalLinkError:
        return False


def gtin14(text: str) -> str:
    """A GTIN-8, -12, -13 or -14, checked, in its 14-digit form (General Specifications, section 3.3.2).

    Raises DigitalLinkError on any other length, character or check digit.
    """
    gtin = text.zfill(14) if _can_be_padded(text) else text
    _check_value("01", gtin)
    return gtin


def _host(scheme: str, authority: str) -> str:
    """Host in lower case with its port unless that is the scheme's default. Names and IPv4 as letters, digits and
    hyphens between dots, IPv6 in brackets without a zone; no user name: it is how links are made to deceive."""
    lowered = authority.lower()
    name, colon, port = lowered.rpartition(":") if re.search(r":[0-9]*$", lowered) else (lowered, "", "")
    name_holds = len(name) <= 253 and (_HOST_NAME.fullmatch(name) or _is_ipv6_literal(name))
    port_holds = not colon or (_PORT.fullmatch(port) and int(port) < 65536)
    if not name_holds or not port_holds:
        raise DigitalLinkError(
            "host",
            "host",
            f"主机名“{shown(authority)}”无效：应为域名或 IP 地址，可带端口，不带用户名",
            f"{shown(authority)!r} is not a host: a domain name or IP address, with or without port, no user name",
            "example.com",
        )
    return name if port in ("", _DEFAULT_PORTS[scheme]) else f"{name}:{port}"


def _is_ipv6_literal(name: str) -> bool:
    if not (name.startswith("[") and name.endswith("]")) or "%" in name:
        return False
    try:
        IPv6Address(name[1:-1])
    except AddressValueError:
        return False
    return True


def _read_path(path: str, lenient: bool) -> tuple[str, _Pairs]:
    segments = path.split("/")
    if lenient and len(segments) > 1 and segments[-1] == "":
        segments.pop()
    start = len(segments) - 2
    while start >= 0:
        known = APPLICATION_IDENTIFIERS.get(segments[start])
        if known is None or known.is_key:
            break
        start -= 2
    if start < 0 or segments[start] not in APPLICATION_IDENTIFIERS:
        advice = "末尾的斜杠应去掉；" if path.endswith("/") else ""
        raise DigitalLinkError(
            "no-key",
            "path",
            f"路径中没有 GS1 主标识；{advice}应如 /01/14 位商品条码/10/批号",
            "the path has no GS1 primary key" + (" (remove the trailing slash)" if advice else ""),
            "/01/09520001000010/10/LOT",
        )
    written = list(zip(segments[start::2], segments[start + 1 :: 2], strict=True))
    _check_sequence(tuple(ai for ai, _ in written))
    stem = "".join(f"/{segment}" for segment in segments[:start])
    identifiers = tuple((ai, _decoded_value(ai, value, lenient)) for ai, value in written)
    for ai, value in identifiers:
        _check_path_value(ai, value)
    return stem, identifiers


def _read_query(query: str, path_ais: tuple[str, ...], lenient: bool) -> _Pairs:
    attributes: dict[str, str] = {}
    for parameter in query.split("&"):
        ai, equals, value = parameter.partition("=")
        if not equals or not DIGITS.issuperset(ai):
            continue  # somebody else's parameter, such as linkType
        _check_attribute(ai, path_ais, attributes)
        # In a query a plus sign is a space (HTML form encoding), which no character set of GS1 contains.
        attributes[ai] = _decoded_value(ai, value.replace("+", " "), lenient)
        _check_value(ai, attributes[ai])
    return tuple(attributes.items())


def _decoded_value(ai: str, written: str, lenient: bool) -> str:
    value = _percent_decoded(written, f"({ai})")
    return value.zfill(14) if lenient and ai == "01" and _can_be_padded(value) else value


def _can_be_padded(gtin: str) -> bool:
    return len(gtin) in _GTIN_LENGTHS and DIGITS.issuperset(gtin)


def _percent_decoded(written: str, part: str) -> str:
    """Each escape as the character of that number. GS1 values are ASCII, so nothing is read as UTF-8, and what an
    escape beyond ASCII stands for fails the character set."""

    def character(escape: re.Match[str]) -> str:
        if escape[1] is None:
            raise DigitalLinkError(
                "percent-escape",
                part,
                f"{part} 的值“{shown(written)}”中有不完整的百分号编码；百分号本身应写作 %25",
                f"{part} {shown(written)!r} has an incomplete percent escape; a percent sign itself is %25",
                "%25",
            )
        return chr(int(escape[1], 16))

    return _ESCAPE.sub(character, written)


def _check_sequence(ais: tuple[str, ...]) -> None:
    if is_key_sequence(ais):
        return
    key = APPLICATION_IDENTIFIERS.get(ais[0]) if ais else None
    allowed = " | ".join(" ".join(f"({ai})" for ai in order) for order in key.qualifiers) if key and key.is_key else ""
    given = shown(" ".join(f"({ai})" for ai in ais))
    raise DigitalLinkError(
        "sequence",
        "path",
        f"标识顺序 {given} 不合规定：主标识之后只能依次用 {allowed or '（无）'}，每个至多一次",
        f"{given} is not a key with its qualifiers in order; after the key may follow, once each: {allowed or 'none'}",
        allowed,
    )


def _check_attribute(ai: str, path_ais: tuple[str, ...], others: Container[str]) -> None:
    """Refuse a numeric query parameter that is unknown, not an attribute, or repeated, or that belongs in the path
    (URI Syntax 1.4)."""
    part = f"({shown(ai)})"
    known = APPLICATION_IDENTIFIERS.get(ai)
    if known is None:
        raise DigitalLinkError(
            "attribute-unknown",
            part,
            f"查询参数 {part} 不是 GS1 数据属性；纯数字的参数名只能是应用标识符",
            f"{part} is not a GS1 data attribute; a query parameter named by digits must be one",
        )
    if ai in path_ais or ai in others:
        raise DigitalLinkError(
            "duplicate", part, f"{part} 出现了不止一次，每个标识只能出现一次", f"{part} occurs more than once"
        )
    belongs_in_path = any(
        is_key_sequence((*path_ais[:place], ai, *path_ais[place:])) for place in range(1, len(path_ais) + 1)
    )
    if belongs_in_path or not known.is_attribute:
        raise DigitalLinkError(
            "attribute-in-path",
            part,
            f"{part} 应写在路径中，不能作为查询参数",
            f"{part} belongs in the path, not in the query",
            f"/{ai}/...",
        )


def _check_path_value(ai: str, value: str) -> None:
    if value in (".", ".."):
        raise DigitalLinkError(
            "dot-segment",
            f"({ai})",
            f"({ai}) 的值不能是“{value}”：浏览器会把它当作目录",
            f"({ai}) cannot be {value!r}: browsers resolve it as a folder",
        )
    _check_value(ai, value)


def _check_value(ai: str, value: str) -> None:
    if not value:
        raise DigitalLinkError("value-empty", f"({ai})", f"({ai}) 没有值", f"({ai}) has no value")
    if ai == "01" and len(value) != 14:
        raise DigitalLinkError(
            "length",
            "(01)",
            f"商品条码应为 14 位数字（不足时前面补零），现为“{shown(value)}”，{len(value)} 位",
            f"a GTIN has 14 digits (pad with zeros in front); {shown(value)!r} has {len(value)} characters",
            value.zfill(14) if _can_be_padded(value) else "",
        )
    APPLICATION_IDENTIFIERS[ai].check(value)
