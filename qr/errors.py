"""Refusals of this room, told to people in Chinese and English.

CodeError
  DigitalLinkError   a link or identifier that the GS1 standards do not allow
  SymbolError        a text that cannot become a QR symbol
  NfcError           a link that no chip of ours made
"""


class CodeError(Exception):
    """What is wrong, where, and what was expected instead.

    `rule` is a stable slug for programs; `part` names the place ("host", "query", "(01)");
    `zh` and `en` say the same to people; `expected` shows a right form where there is one.
    """

    def __init__(self, rule: str, part: str, zh: str, en: str, expected: str = "") -> None:
        super().__init__(en)
        self.rule = rule
        self.part = part
        self.zh = zh
        self.en = en
        self.expected = expected


class DigitalLinkError(CodeError):
    """A GS1 Digital Link URI or GS1 identifier is not what the standards allow."""


class SymbolError(CodeError):
    """A text cannot be carried by the QR symbols we print."""


class NfcError(CodeError):
    """A link says that a chip made it, and none with the keys at hand did."""


def shown(text: str, longest: int = 48) -> str:
    """`text` as it may appear inside a message: cut to length, and with control characters, bidirectional marks
    and everything else outside printable ASCII escaped, so that hostile input cannot dress up a message or a log."""
    cut = text if len(text) <= longest else text[: longest - 3] + "..."
    return "".join(character if " " <= character <= "~" else ascii(character)[1:-1] for character in cut)
