"""Whose chains a statement stands on: from identifiers to subject strings, by rule (formats sections 2 and 7).

Every verifier recomputes this, so there is one answer for a statement and one spelling for an identifier; whatever
else is refused. Hosts are not judged here: which host is ours is known to whoever composes or serves URIs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NoReturn
from urllib.parse import quote, unquote_to_bytes

from .disclosures import SUBJECT_LISTS
from .errors import Refusal

MAX_SUBJECTS = 500
USED = "#used"
"""Suffix of the subject on which being consumed as an input is chained (formats section 2)."""

CORRECTS = "suyuan:corrects"
_EPC_LISTS = frozenset(name for name in SUBJECT_LISTS if not name.endswith("uantityList"))
_NAMING = ("parentID", *SUBJECT_LISTS)
_INPUTS = frozenset({"inputEPCList", "inputQuantityList"})

_CROCKFORD = "[0-9A-HJKMNP-TV-Z]"
_ACTOR = rf"(?:[0-9A-Z]{{18}}|P{_CROCKFORD}{{16}})"
_CSET82 = r"[!\"%&'()*+,\-./0-9:;<=>?A-Z_a-z]"
_SUBJECT = re.compile(
    rf"""
      01/(?P<gtin>[0-9]{{14}})/10/{_CSET82}{{1,20}}
    | 00/(?P<sscc>[0-9]{{18}})
    | lot/{_ACTOR}/{_CROCKFORD}{{16}}
    | plot/{_ACTOR}/{_CSET82}{{1,64}}
    | actor/{_ACTOR}
    | product/(?P<product>[0-9]{{14}})
    """,
    re.VERBOSE | re.ASCII,
)
_SERIAL = re.compile(rf"{_CSET82}{{1,20}}", re.ASCII)
_HOST_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_URI = re.compile(
    rf"https://(?P<host>{_HOST_LABEL}(?:\.{_HOST_LABEL})*)(?::(?P<port>[1-9][0-9]{{0,4}}))?/(?P<path>[A-Za-z0-9\-._~%/]+)",
    re.ASCII,
)
_PLAIN_LOT = re.compile(
    rf"https://{_HOST_LABEL}(?:\.{_HOST_LABEL})*/(lot/{_ACTOR}/{_CROCKFORD}{{16}})",
    re.ASCII,
)
"""A lot that is not sold under a GTIN: nothing in it can be escaped, so what stands behind the host is its subject."""
_SEGMENTS = {"01": 4, "lot": 3, "plot": 3, "00": 2}
_UNRESERVED = "-._~"
_SUBJECT_PREFIX = hashlib.sha256(b"suyuan/subject/v1\n")
_MAX_URI = 400


@lru_cache(maxsize=16_384)
def subject_of(uri: str) -> str:
    """The subject string of a lot, plot or logistic unit named by its URI; an item counts as its lot.

    Accepted is the one spelling of formats section 7: `https`, lower-case host, no default port, no query or fragment,
    GTIN of 14 digits, check digits right, percent escapes in upper-case hex and only where RFC 3986 needs them (all
    but its unreserved characters). Raises Refusal `uri-spelling`, `uri-unknown`, `check-digit`.
    """
    plain = plain_lot(uri)
    if plain is not None:
        return plain
    path = _path(uri)
    segments = path.split("/")
    if segments[0] == "01" and len(segments) == 6 and segments[4] == "21":
        if not _SERIAL.fullmatch(_decoded(segments[5], uri)):
            _refuse("uri-unknown", uri, "序列号含有不允许的字符", "a serial uses GS1 character set 82")
        segments = segments[:4]
    subject = "/".join([*segments[:-1], _decoded(segments[-1], uri)])
    if len(segments) != _SEGMENTS.get(segments[0]) or "%" in "".join(segments[:-1]):
        _refuse("uri-unknown", uri, "不是批次、地块或物流单元", "names no lot, plot or logistic unit")
    return check_subject(subject)


def plain_lot(uri: str) -> str | None:
    """What `subject_of` says of a lot that is not sold under a GTIN, the most frequent case; None for all others."""
    found = _PLAIN_LOT.fullmatch(uri) if len(uri) <= _MAX_URI else None
    return None if found is None else found[1]


def check_subject(subject: str) -> str:
    """`subject` itself when it is a subject string of formats section 2 (without `#used`), or Refusal."""
    match = _SUBJECT.fullmatch(subject)
    if match is None:
        _refuse("uri-unknown", subject, "不是可识别的标识", "is no identifier this ledger knows")
    digits = match["gtin"] or match["sscc"] or match["product"]
    if digits and _check_digit(digits[:-1]) != digits[-1]:
        _refuse("check-digit", subject, "校验位不正确", "has a wrong check digit")
    return subject


def subject_hash(subject: str) -> bytes:
    """SHA-256 of `suyuan/subject/v1\\n` + subject string: how chain lines and the lot index name it (32 bytes)."""
    hashed = _SUBJECT_PREFIX.copy()
    hashed.update(subject.encode())
    return hashed.digest()


def subjects_of(
    typ: str, body: Mapping[str, Any], corrected: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
) -> tuple[str, ...]:
    """The subjects of a statement with published claim `body`: unique, sorted by hash, 1 to 500.

    For an event that corrects another, `corrected` is the corrected event's published body: its subjects count too,
    and so do those of the event it corrects in turn, so for a correction of a correction all bodies are needed, the
    nearest first (`correction_chain` finds them). Consumed inputs come as `...#used`.

    Raises Refusal: `subject-member` (a member that names subjects is missing or malformed), `subject-none`,
    `subject-too-many`, `corrected-missing`, and what `subject_of` raises, with `field` the place in the body.
    """
    chain = [corrected] if isinstance(corrected, Mapping) else list(corrected or ())
    bodies = [body, *chain] if typ == "trace-event+sd-jwt" else [body]
    for position, event in enumerate(bodies if typ == "trace-event+sd-jwt" else ()):
        if (CORRECTS in event) != (position + 1 < len(bodies)):
            raise Refusal(
                "corrected-missing",
                field=f"/{CORRECTS}",
                zh="更正的原事件缺失，无法得出链条",
                en="corrected event missing: its subjects belong to the correction's",
                status_hint="unprocessable",
            )
    return chain_order(subject for one in bodies for subject in own_subjects(typ, one))


def chain_order(subjects: Iterable[str]) -> tuple[str, ...]:
    """Subjects as the chain lines have them: unique, sorted by hash. Refusal `subject-none`, `subject-too-many`."""
    found = set(subjects)
    if not found:
        _refuse("subject-none", "", "声明没有涉及任何对象", "a statement concerns at least one subject")
    if len(found) > MAX_SUBJECTS:
        raise Refusal(
            "subject-too-many",
            zh=f"一条声明涉及的对象超过 {MAX_SUBJECTS} 个，请分成几条",
            en=f"a statement concerns at most {MAX_SUBJECTS} subjects; make it several statements",
            expected=f"<= {MAX_SUBJECTS}",
            status_hint="unprocessable",
        )
    return tuple(sorted(found, key=subject_hash))


def correction_chain(
    body: Mapping[str, Any], find: Callable[[str], Mapping[str, Any] | None]
) -> tuple[Mapping[str, Any], ...]:
    """The published bodies of what the event `body` corrects, nearest first; () when it corrects nothing.

    `find` gives the published body of an earlier event by eventID, None when there is none. Raises Refusal
    `corrected-missing` then, and when corrections run in a circle.
    """
    chain: list[Mapping[str, Any]] = []
    seen = {body.get("eventID")}
    current = body
    while CORRECTS in current:
        event_id = current[CORRECTS]
        earlier = find(event_id) if isinstance(event_id, str) and event_id not in seen else None
        if earlier is None:
            raise Refusal(
                "corrected-missing",
                field=f"/{CORRECTS}",
                zh=f"更正的原事件缺失：{event_id}",
                en=f"corrected event missing: {event_id}",
                status_hint="unprocessable",
            )
        seen.add(event_id)
        chain.append(earlier)
        current = earlier
    return tuple(chain)


def event_subjects(body: Mapping[str, Any], *members: str) -> tuple[str, ...]:
    """The subjects that the given members of one event name, without `#used`, in their order. Raises Refusal."""
    return tuple(dict.fromkeys(subject for name in members for subject in _in_member(body, name)))


def own_subjects(typ: str, body: Mapping[str, Any]) -> Iterator[str]:
    """The subjects a statement names itself, without those of an event it corrects; consumed inputs as `...#used`."""
    if typ == "trace-event+sd-jwt":
        for name in _NAMING:
            if name in body:
                for subject in _in_member(body, name):
                    yield subject + USED if name in _INPUTS else subject
    elif typ == "actor+jwt":
        yield check_subject(f"actor/{_text(body, 'id')}")
    elif typ == "key+jwt":
        yield check_subject(f"actor/{_text(body, 'actor')}")
    elif typ == "credential+jwt":
        yield check_subject(f"actor/{_text(body, 'actor')}")
        if body.get("plot") is not None:
            yield _of_room(_text(body, "plot"), ("plot/",), "plot")
        if body.get("product") is not None:
            yield check_subject(f"product/{_text(body, 'product')}")
    elif typ == "codes+jwt":
        yield check_subject(f"01/{_text(body, 'gtin')}/10/{_text(body, 'lot')}")
    elif typ in ("recall+jwt", "notice+jwt"):
        for position, uri in enumerate(_list(body, "lots")):
            yield _of_room(uri, ("01/", "lot/"), f"lots/{position}")
    elif typ == "erasure+jwt":
        for position, subject in enumerate(_list(body, "subjects")):
            if not isinstance(subject, str):
                _refuse_member(f"subjects/{position}")
            bare = subject.removesuffix(USED)
            yield check_subject(bare) + subject[len(bare) :]
    else:
        raise ValueError(f"unknown kind of statement: {typ}")


def _in_member(body: Mapping[str, Any], name: str) -> Iterator[str]:
    """The subjects one member of an event names; an absent member names none."""
    if name not in body:
        return
    if name == "parentID":
        yield _at("parentID", body[name])
        return
    for position, element in enumerate(_list(body, name)):
        where = f"{name}/{position}"
        if name in _EPC_LISTS:
            yield _at(where, element)
        elif isinstance(element, Mapping):
            yield _at(f"{where}/epcClass", element.get("epcClass"))
        else:
            _refuse_member(where)


def _of_room(uri: object, rooms: tuple[str, ...], where: str) -> str:
    subject = _at(where, uri)
    if not subject.startswith(rooms):
        _refuse_member(where)
    return subject


def _at(where: str, uri: object) -> str:
    if not isinstance(uri, str):
        _refuse_member(where)
    try:
        return subject_of(uri)
    except Refusal as refusal:
        refusal.field = f"/{where}"
        raise


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        _refuse_member(name)
    return value


def _list(body: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = body.get(name)
    if not isinstance(value, list):
        _refuse_member(name)
    return value


def _path(uri: str) -> str:
    match = _URI.fullmatch(uri) if len(uri) <= _MAX_URI else None
    if match is None:
        _refuse("uri-spelling", uri[:_MAX_URI], "不是规范写法的 https 标识", "is not an https URI in its one spelling")
    if match["port"] is not None and (match["port"] == "443" or int(match["port"]) > 65535):
        _refuse("uri-spelling", uri, "端口写法不规范", "has a port that is default or out of range")
    return match["path"]


def _decoded(segment: str, uri: str) -> str:
    if segment.isalnum():  # of ASCII, as all of a path is: nothing that is or needs to be escaped
        return segment
    try:
        text = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError as error:
        raise _refusal("uri-spelling", uri, "百分号编码不是 UTF-8", "has percent escapes that are not UTF-8") from error
    if quote(text, safe=_UNRESERVED) != segment:
        _refuse(
            "uri-spelling",
            uri,
            "百分号编码须为大写十六进制且仅在需要处使用",
            "has percent escapes that are not in upper case or not needed",
        )
    return text


def _check_digit(digits: str) -> str:
    """GS1 General Specifications, section 7.9.1."""
    weighted = sum(int(digit) * (1 if position % 2 else 3) for position, digit in enumerate(reversed(digits)))
    return str(-weighted % 10)


def _refuse_member(where: str) -> NoReturn:
    raise Refusal(
        "subject-member",
        field=f"/{where}",
        zh=f"成员 {where} 缺失或不是应有的标识",
        en=f"the member {where} is missing or does not name what it should",
        status_hint="unprocessable",
    )


def _refusal(rule: str, named: str, zh: str, en: str) -> Refusal:
    subject_zh, subject_en = (f"{named!r} ", f"{named!r} ") if named else ("", "")
    return Refusal(rule, zh=subject_zh + zh, en=subject_en + en, status_hint="unprocessable")


def _refuse(rule: str, named: str, zh: str, en: str) -> NoReturn:
    raise _refusal(rule, named, zh, en)
