"""What the chip of an item adds to a look at its page: whether its message holds, is new, and is of this very item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from ...trace.story import Text
from .judging import Reason, moment

ChipState: TypeAlias = Literal["fresh", "unread", "replayed", "forged", "foreign"]


@dataclass(frozen=True)
class Chip:
    """`fresh`: the message holds, is of this item and was not seen before. `unread`: it holds, nobody used it up.

    `replayed`: it holds and was seen before, or one made after it; the newest at `tapped_ms`. `forged`: no chip made
    it. `foreign`: the chip is not bound to this item.
    """

    state: ChipState
    tapped_ms: int | None = None

    @property
    def is_tap(self) -> bool:
        """Whether a chip of ours made the message."""
        return self.state in ("fresh", "unread", "replayed")

    @property
    def reason(self) -> Reason | None:
        """Why the look does not add up, if it does not."""
        if self.state == "replayed":
            when = Text("", "") if self.tapped_ms is None else moment(self.tapped_ms)
            text = Text(
                f"这条链接此前已用过（芯片最近一次核对在 {when.zh}）：它可能是抄来的，说明不了芯片在您手里。"
                "若您只是刷新或转发了页面，请用手机重新轻触芯片。",
                f"this link was used before (the chip was last checked {when.en}): it may be a copied link, and does "
                "not show that you hold the chip. If you only reloaded or passed on the page, tap the chip again.",
            )
            return Reason("nfc-replayed", text)
        if self.state == "forged":
            text = Text(
                "链接里的芯片信息校验不符：不是登记过的芯片生成的，或被改动过。",
                "what the link says of a chip does not hold: no registered chip made it, or it was changed.",
            )
            return Reason("nfc-forged", text)
        if self.state == "foreign":
            text = Text(
                "这个芯片没有登记在这件货上：它可能取自别的产品。",
                "this chip is not registered for this item: it may have been taken from another product.",
            )
            return Reason("nfc-foreign", text)
        return None
