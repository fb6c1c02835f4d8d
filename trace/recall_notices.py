"""Which recalls in force a reader of a lot's story is told of first: its own, and those of what it was made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .gathering import Gathered, Seen
from .naming import Names
from .recalls import meant_items
from .schema import parse_time
from .story import LedgerPlace, Party, RecallNotice, Text


def recall_notices(
    gathered: Gathered,
    names: Names,
    party: Callable[[str], Party],
    place: Callable[[Seen], LedgerPlace],
    name_of: Callable[[str], str],
) -> Iterator[RecallNotice]:
    """The notices, by the statements on the chains of the lot and its ancestry, so that a bundle proves each of them.

    A lot that a later statement of the recall releases no longer counts. Exercises are left out.
    """
    known = {row["subject"] for row in gathered.nodes.values()}
    standing: dict[str, dict[str, Seen]] = {}
    newest: dict[str, Seen] = {}
    for seen in gathered.statements.values():
        if seen.claim != "recall" or seen.body["exercise"]:
            continue
        newest[seen.body["id"]] = seen
        lots = standing.setdefault(seen.body["id"], {})
        for uri in seen.body["lots"]:
            if seen.body["status"] == "closed":
                lots.pop(uri, None)
            elif names.subject(uri, "") in known:
                lots[uri] = seen
    own = names.uri(gathered.node["subject"])
    for recall_id, lots in standing.items():
        issued = parse_time(newest[recall_id].body["issued"])
        if not lots or issued is None:
            continue
        body = newest[recall_id].body
        contact = body.get("contact")
        meant = meant_items(lots[own].body, own) if own in lots else None
        yield RecallNotice(
            id=recall_id,
            level=body["level"],
            reason=Text(body["reason"]["zh"], body["reason"]["en"]),
            measures=Text(body["measures"]["zh"], body["measures"]["en"]),
            contact=None if contact is None else Text(contact["zh"], contact["en"]),
            issuer=party(newest[recall_id].statement.iss),
            issued=issued,
            own=own in lots,
            through=tuple(name_of(uri) for uri in lots if uri != own),
            items=meant or (),
            place=place(newest[recall_id]),
        )
