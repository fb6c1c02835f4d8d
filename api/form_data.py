"""A form with a file, as browsers send it: parts between boundaries, read strictly (RFC 7578, RFC 2046 section 5.1)."""

from __future__ import annotations

import re

from .problems import HttpRefusal

MOST_PARTS = 20
_BOUNDARY = re.compile(r"""boundary=("?)([0-9A-Za-z'()+_,./:=?-]{1,70})\1\s*(;|$)""", re.IGNORECASE)
_NAME = re.compile(rb'^content-disposition:\s*form-data;.*?\bname="([A-Za-z_]{1,40})"', re.IGNORECASE | re.MULTILINE)


def read_form(content: bytes, content_type: str) -> dict[str, bytes]:
    """The parts of a form by name, the first of each; file names and the parts' own types are not looked at.

    Raises HttpRefusal `form` for anything that is no such form.
    """
    told = _BOUNDARY.search(content_type)
    if told is None:
        raise _fault()
    first, *parts = (b"\r\n" + content).split(b"\r\n--" + told[2].encode("ascii"))
    if first or not parts or not parts[-1].startswith(b"--") or len(parts) > MOST_PARTS + 1:
        raise _fault()
    form: dict[str, bytes] = {}
    for part in parts[:-1]:
        head, separator, body = part.partition(b"\r\n\r\n")
        name = _NAME.search(head.lstrip())
        if not separator or name is None or not head.startswith((b"\r\n", b" ", b"\t")):
            raise _fault()
        form.setdefault(name[1].decode("ascii"), body)
    return form


def _fault() -> HttpRefusal:
    return HttpRefusal(400, "form", zh="表单内容不可读", en="the form cannot be read")
