"""Private fields: hiding them behind salted digests and opening them again (RFC 9901; formats section 1).

Works on body claims as plain JSON values; `statement` puts them into signed statements. Only object members can be
hidden; a private list is hidden as one member. A disclosed value may itself hold hidden members.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NoReturn

from .encoding import base64url_bytes, base64url_text
from .errors import Refusal, StatusHint
from .strict_json import MAX_DEPTH, dump_json, strict_json

MAX_DISCLOSURES = 5_000
MAX_DISCLOSED_BYTES = 1_000_000
SALT_SIZE = 16
_SALT = re.compile(r"[A-Za-z0-9_-]{21}[AQgw]", re.ASCII)
_DIGEST = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]", re.ASCII)
"""The one spelling of 16 and of 32 bytes: the last character has zero bits to spare."""
_QUOTED_DIGEST = rb'"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]"'
_DIGEST_ARRAY = re.compile(rb'"_sd":\[(' + _QUOTED_DIGEST + rb"(?:," + _QUOTED_DIGEST + rb")*)\]")

SUBJECT_LISTS = (
    "epcList",
    "childEPCs",
    "inputEPCList",
    "outputEPCList",
    "quantityList",
    "childQuantityList",
    "inputQuantityList",
    "outputQuantityList",
)
_PUBLIC_EVENT = "|".join(
    (
        "@context|type|eventID|eventTime|recordTime|eventTimeZoneOffset|action|transformationID|parentID",
        "suyuan:(?:stage|corrects|backfilled)",
        *SUBJECT_LISTS,
        r"(?:childQ|inputQ|outputQ|q)uantityList/\d+/epcClass",
    )
)
_NEVER_PRIVATE: Mapping[str, re.Pattern[str]] = {
    "event": re.compile(rf"/(?:{_PUBLIC_EVENT})\Z"),
    "actor": re.compile(r"/(?:id|roles)\Z"),
    "key": re.compile(r"/"),
    "credential": re.compile(r"/(?:actor|type|plot|product)\Z"),
    "codes": re.compile(r"/(?:gtin|lot|first|count|root)\Z"),
    "recall": re.compile(r"/lots\Z"),
    "erasure": re.compile(r"/subjects\Z"),
    "notice": re.compile(r"/lots\Z"),
}


@dataclass(frozen=True)
class Disclosure:
    """One opened private field: its text, the digest of the text, and where in the merged body its value stands."""

    text: str
    digest: str
    pointer: str
    name: str
    value: Any


@dataclass(frozen=True)
class Opened:
    """A body with all opened fields in place and no `_sd` left, and the disclosures in the order of their fields."""

    body: dict[str, Any]
    disclosures: tuple[Disclosure, ...]
    unopened: int = 0


def disclosure_digest(text: str) -> str:
    """What stands in `_sd` for a disclosure: base64url of the SHA-256 of its text (RFC 9901 section 4.2.3)."""
    return base64url_text(hashlib.sha256(text.encode("ascii")).digest())


def check_hidden(value: Any, pointer: str = "", text: bytes | None = None) -> None:
    """Refuse `...` members and `_sd` arrays that are not sorted, unique digests, anywhere in `value`.

    `text`: the JSON that `value` was read from, or that holds it; where it shows that all is well, nothing is walked.
    """
    if (text is None or not _shows_hidden_well(text)) and not _is_hidden_well(value):
        _refuse_hidden(value, pointer)


def _shows_hidden_well(text: bytes) -> bool:
    """Whether the text by itself shows what `_is_hidden_well` looks for; False says nothing.

    Without escapes a member's name stands in the text as it is, and no string holds a quotation mark.
    """
    if b"\\" in text or b'"..."' in text:
        return False
    named = text.count(b'"_sd"')
    if not named:
        return True
    arrays = _DIGEST_ARRAY.findall(text)
    return len(arrays) == named and all(
        all(left < right for left, right in pairwise(array.split(b","))) for array in arrays
    )


def _is_hidden_well(value: Any) -> bool:
    """Whether there is nothing to refuse; says not where, so that sound statements are read fast."""
    if isinstance(value, dict):
        if "..." in value or ("_sd" in value and not _are_digests(value["_sd"])):
            return False
        for name, member in value.items():
            if isinstance(member, (dict, list)) and name != "_sd" and not _is_hidden_well(member):
                return False
    elif isinstance(value, list):
        for element in value:
            if isinstance(element, (dict, list)) and not _is_hidden_well(element):
                return False
    return True


def _refuse_hidden(value: Any, pointer: str) -> None:
    if isinstance(value, dict):
        if "..." in value:
            _refuse("disclosure-dots", pointer, "不允许“...”成员", "members named ... are not allowed")
        if "_sd" in value:
            _check_digests(value["_sd"], f"{pointer}/_sd")
        for name, member in value.items():
            if name != "_sd":
                _refuse_hidden(member, f"{pointer}/{_escaped(name)}")
    elif isinstance(value, list):
        for position, element in enumerate(value):
            _refuse_hidden(element, f"{pointer}/{position}")


def open_body(claim: str, body: Mapping[str, Any], texts: Sequence[str], *, complete: bool) -> Opened:
    """Put disclosed fields into a copy of `body`, the published claim named `claim`.

    `texts` are disclosures as transported. With `complete`, every digest must be opened (what a submission needs);
    without, unopened digests are counted and left out (what a reader with fewer rights, or after an erasure, sees).
    Raises Refusal `disclosure-*`: unreadable, unreferenced or repeated disclosures, names `_sd` or `...`, names that
    the object has already, digests that occur twice, and members that may never be private.
    """
    opening = _Opening(claim, _read(texts))
    if texts:
        merged = opening.merge(dict(body), "", 0)
    else:
        merged = opening.without_hidden(body, 0)
        if opening.twice:
            opening = _Opening(claim, {})
            merged = opening.merge(dict(body), "", 0)  # which says where
    unused = opening.texts.keys() - opening.used
    if unused:
        _refuse(
            "disclosure-unreferenced",
            "",
            f"披露没有对应的摘要：{min(unused)}",
            f"a disclosure is unreferenced: no digest {min(unused)} in the statement",
        )
    unopened = len(opening.seen) - len(opening.used)
    if complete and unopened:
        missing = min(opening.seen - opening.used)
        _refuse("disclosure-missing", "", f"摘要未披露：{missing}", f"a digest is not opened: {missing}")
    return Opened(merged, tuple(opening.opened), unopened)


def holds_value(text: str) -> bool:
    """Whether a disclosure that was accepted once discloses anything but null."""
    content = base64url_bytes(text)
    return b"null" not in content[-16:] or _triple(strict_json(content))[2] is not None


def hide(
    body: Mapping[str, Any], private: Mapping[str, str], salt: Callable[[], bytes]
) -> tuple[dict[str, Any], tuple[tuple[str, str], ...]]:
    """Replace the members at the JSON pointers `private` by digests, innermost first.

    Returns the published body and (disclosure, visibility) pairs in the order of `private`. `salt` gives 16 fresh
    random bytes a call. Raises ValueError for a pointer that names no object member.
    """
    published = _copy(body)
    made: dict[str, tuple[str, str]] = {}
    for pointer in sorted(private, key=lambda text: (-text.count("/"), text)):
        parent, name = _member(published, pointer)
        value = parent.pop(name)
        fresh = salt()
        if len(fresh) != SALT_SIZE:
            raise ValueError(f"a salt has {SALT_SIZE} bytes")
        text = base64url_text(dump_json([base64url_text(fresh), name, value]))
        digests = [*parent.get("_sd", ()), disclosure_digest(text)]
        parent["_sd"] = sorted(digests)
        made[pointer] = (text, private[pointer])
    return published, tuple(made[pointer] for pointer in private)


@dataclass
class _Opening:
    claim: str
    texts: Mapping[str, tuple[str, str, Any]]
    seen: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    opened: list[Disclosure] = field(default_factory=list)
    twice: bool = False
    """Whether a digest occurs twice, as far as `without_hidden` has seen."""

    def merge(self, value: Any, pointer: str, depth: int) -> Any:
        if depth > MAX_DEPTH:
            _refuse("json-depth", pointer, f"嵌套超过 {MAX_DEPTH} 层", f"nested deeper than {MAX_DEPTH}")
        if type(value) is list:
            elements = value.copy()
            for position, element in enumerate(elements):
                if type(element) is dict or type(element) is list:
                    elements[position] = self.merge(element, f"{pointer}/{position}", depth + 1)
            return elements
        if type(value) is not dict:
            return value
        merged = value.copy()
        hidden = merged.pop("_sd", ())
        for name, member in merged.items():
            if type(member) is dict or type(member) is list:
                merged[name] = self.merge(member, f"{pointer}/{_escaped(name)}", depth + 1)
        for digest in hidden:
            if digest in self.seen:
                _refuse("disclosure-twice", f"{pointer}/_sd", "同一摘要出现两次", f"the digest {digest} occurs twice")
            self.seen.add(digest)
            if digest in self.texts:
                self._open(merged, digest, pointer, depth)
        return merged

    def without_hidden(self, value: Any, depth: int) -> Any:
        """What `merge` gives where nothing is opened, without keeping track of places."""
        if depth > MAX_DEPTH:
            _refuse("json-depth", "", f"嵌套超过 {MAX_DEPTH} 层", f"nested deeper than {MAX_DEPTH}")
        deeper = depth + 1
        if isinstance(value, list):
            return [self.without_hidden(one, deeper) if isinstance(one, dict | list) else one for one in value]
        if "_sd" in value:
            hidden = value["_sd"]
            known = len(self.seen)
            self.seen.update(hidden)
            self.twice = self.twice or len(self.seen) != known + len(hidden)
        return {
            name: self.without_hidden(one, deeper) if isinstance(one, dict | list) else one
            for name, one in value.items()
            if name != "_sd"
        }

    def _open(self, merged: dict[str, Any], digest: str, pointer: str, depth: int) -> None:
        text, name, value = self.texts[digest]
        place = f"{pointer}/{_escaped(name)}"
        if name in merged:
            _refuse("disclosure-name", place, "披露的成员已存在", "a disclosure names an existing member")
        if _NEVER_PRIVATE[self.claim].match(place):
            _refuse("disclosure-public", place, "该成员不得隐藏", "this member is never private")
        self.used.add(digest)
        position = len(self.opened)
        merged[name] = value = self.merge(value, place, depth + 1)
        self.opened.insert(position, Disclosure(text, digest, place, name, value))


def _read(texts: Sequence[str]) -> dict[str, tuple[str, str, Any]]:
    if len(texts) > MAX_DISCLOSURES or sum(map(len, texts)) > MAX_DISCLOSED_BYTES:
        _refuse("disclosure-size", "", "披露过多或过大", "too many or too large disclosures", "too-large")
    read: dict[str, tuple[str, str, Any]] = {}
    for position, text in enumerate(texts):
        where = f"disclosures/{position}"
        try:
            spelled = base64url_bytes(text)
            salt, name, disclosed = _triple(strict_json(spelled))
            if not _SALT.fullmatch(salt):
                raise ValueError("not a salt of 16 bytes")
        except (ValueError, TypeError) as error:
            raise _refusal(
                "disclosure-format",
                where,
                "披露须为 base64url 的 [盐, 名称, 值]，盐 16 字节",
                "a disclosure is base64url of [salt of 16 bytes, name, value]",
            ) from error
        if not isinstance(name, str) or name in ("_sd", "..."):
            _refuse("disclosure-name", where, "披露的名称不允许", "a disclosure has a name that is not allowed")
        if isinstance(disclosed, (dict, list)):
            check_hidden(disclosed, where, spelled)
        digest = disclosure_digest(text)
        if digest in read:
            _refuse("disclosure-twice", where, "披露重复", "a disclosure is given twice")
        read[digest] = (text, name, disclosed)
    return read


def _triple(value: Any) -> tuple[Any, Any, Any]:
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError("not an array of three")
    return value[0], value[1], value[2]


def _are_digests(digests: Any) -> bool:
    return _is_digest_list(digests) and all(left < right for left, right in pairwise(digests))


def _is_digest_list(digests: Any) -> bool:
    try:
        return isinstance(digests, list) and bool(digests) and all(map(_DIGEST.fullmatch, digests))
    except TypeError:  # not all of them are text
        return False


def _check_digests(digests: Any, pointer: str) -> None:
    if not _is_digest_list(digests):
        _refuse(
            "disclosure-digests",
            pointer,
            "_sd 须为 SHA-256 摘要（43 个字符）的数组",
            "_sd is an array of SHA-256 digests of 43 characters",
        )
    if any(left >= right for left, right in pairwise(digests)):
        _refuse("disclosure-digests", pointer, "_sd 须排序且不重复", "_sd is sorted and without repetition")


def _copy(value: Any) -> Any:
    if isinstance(value, (dict, Mapping)):
        return {name: _copy(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copy(element) for element in value]
    return value


def _member(body: dict[str, Any], pointer: str) -> tuple[dict[str, Any], str]:
    if not pointer.startswith("/"):
        raise ValueError(f"not a JSON pointer to a member: {pointer!r}")
    *steps, last = (step.replace("~1", "/").replace("~0", "~") for step in pointer[1:].split("/"))
    parent: Any = body
    for step in steps:
        if isinstance(parent, list) and step.isdecimal() and int(step) < len(parent):
            parent = parent[int(step)]
        elif isinstance(parent, dict) and step in parent:
            parent = parent[step]
        else:
            raise ValueError(f"{pointer} names nothing in the body")
    if not isinstance(parent, dict) or last not in parent or last in ("_sd", "..."):
        raise ValueError(f"{pointer} names no object member of the body")
    return parent, last


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1") if "~" in name or "/" in name else name


def _refusal(rule: str, pointer: str, zh: str, en: str, status_hint: StatusHint = "malformed") -> Refusal:
    at_zh, at_en = (f"（位置：{pointer}）", f" (at {pointer})") if pointer else ("", "")
    return Refusal(rule, field=pointer, zh=zh + at_zh, en=en + at_en, status_hint=status_hint)


def _refuse(rule: str, pointer: str, zh: str, en: str, status_hint: StatusHint = "malformed") -> NoReturn:
    raise _refusal(rule, pointer, zh, en, status_hint)
