"""A log of 70,000 entries as x/mod, torchwood and tessera read it, whole and over HTTP; and all that they must refuse.

"recompute" is a recomputation in Go from the entry bundles alone, which calls no library but SHA-256.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from typing import Any

import pytest

from foreign_verifiers import ForeignVerifiers
from grown_log import SIZE, STOPS, GrownLog
from suyuan.ledger.checkpoint import Checkpoint, sign_checkpoint
from suyuan.ledger.tiles import bundle, parse_bundle, tile_path, tile_width

pytestmark = pytest.mark.xdist_group("interop")

EVERY_LIBRARY = {"x/mod", "torchwood", "tessera", "recompute"}
INDICES = [0, 1, 255, 256, 257, 511, 998, 65_535, 65_536, 65_537, 69_887, 69_888, 69_999]


def read_whole(foreign: ForeignVerifiers, grown: GrownLog, size: int = SIZE, **fields: Any) -> dict[str, Any]:
    note = fields.pop("note", grown.checkpoints[size])
    fields["changes"] = {"checkpoint": note.encode(), **fields.get("changes", {})}
    fields.setdefault("indices", [index for index in INDICES if index < size])
    return foreign.ask("whole-log", url=grown.url, **{"vkey": grown.vkey, "note": note, **fields})


def test_the_tiles_of_70000_entries_are_those_of_the_example_in_tlog_tiles(mirror: dict[str, Any]) -> None:
    assert mirror["widths"] == {"0": [256] * 273 + [112], "1": [256, 17], "2": [1]}


@pytest.mark.parametrize("size", [0, *STOPS])
def test_every_library_reads_the_whole_log_at_every_size_it_had(
    size: int, foreign: ForeignVerifiers, grown: GrownLog, mirror: object
) -> None:
    before = max((stop for stop in (0, *STOPS) if stop < size), default=0)
    found = read_whole(foreign, grown, size, old=grown.checkpoints[before])
    assert found["verdicts"] == dict.fromkeys(EVERY_LIBRARY, "")
    assert found["entries"] == dict.fromkeys(EVERY_LIBRARY, grown.digests[size])


@pytest.mark.parametrize("old", [0, *STOPS[:-1]])
def test_the_newest_log_extends_every_checkpoint_ever_signed(
    old: int, foreign: ForeignVerifiers, grown: GrownLog, mirror: object
) -> None:
    # Everything else was read above; what is left of the log is on the path from the one size to the other.
    proof = grown.log.consistency(old, SIZE)
    trees = {"old_size": old, "old_root": grown.root(old), "size": SIZE, "root": grown.root(SIZE)}
    refused = foreign.verdicts("consistency", path=proof, **trees)
    # x/mod has no proof from the empty tree: every tree extends it.
    assert {name for name, refusal in refused.items() if refusal} == ({"x/mod"} if old == 0 else set())


def test_clients_that_know_only_the_address_and_the_key_read_the_served_log(
    foreign: ForeignVerifiers, grown: GrownLog
) -> None:
    newest = grown.http.get("/log/checkpoint").text
    found = foreign.ask("live-log", url=grown.url, vkey=grown.vkey, old=grown.checkpoints[65_537], indices=INDICES)
    assert found["verdicts"] == {"torchwood": "", "tessera": ""}
    assert found["entries"]["torchwood"] == found["entries"]["tessera"]
    if newest == grown.newest:
        assert found["entries"]["tessera"] == grown.digests[SIZE]


def test_a_partial_tile_that_is_gone_is_read_from_the_front_of_the_full_one(
    foreign: ForeignVerifiers, grown: GrownLog, mirror: object
) -> None:
    gone = ["tile/0/003.p/232", "tile/1/000.p/3", "tile/entries/003.p/232"]
    found = read_whole(foreign, grown, 1000, changes=dict.fromkeys(gone))
    assert found["verdicts"].pop("torchwood"), "torchwood does not look for the full tile"
    assert found["verdicts"] == dict.fromkeys(EVERY_LIBRARY - {"torchwood"}, "")


@pytest.mark.parametrize("size", STOPS)
def test_partial_tiles_of_every_checkpoint_ever_signed_are_still_served_and_fronts_of_the_newest(
    size: int, grown: GrownLog
) -> None:
    for level in range(3):
        index, width = divmod(size >> (8 * level), 256)
        if width:
            newest = grown.file(tile_path(level, index, tile_width(level, index, SIZE)))
            assert grown.file(tile_path(level, index, width)) == newest[: 32 * width]
            if level == 0:
                entries = parse_bundle(grown.file(tile_path("entries", index, tile_width(0, index, SIZE))))
                assert grown.file(tile_path("entries", index, width)) == bundle(entries[:width])


@pytest.mark.parametrize("level", [0, 1, 2, 3, "entries"])
def test_no_tile_beyond_the_newest_checkpoint_is_served(level: int | str, grown: GrownLog) -> None:
    size = int(grown.http.get("/log/checkpoint").text.split("\n")[1])
    index, width = divmod(size >> (8 * (0 if level == "entries" else int(level))), 256)
    beyond = [(index, width + 1), (index, 255), (index, 256), (index + 1, 1), (index + 1, 256), (10**9, 256)]
    for place, wide in beyond:
        assert grown.http.get("/log/" + tile_path(level, place, wide)).status_code == 404, (place, wide)
    if width:
        assert grown.http.get("/log/" + tile_path(level, index, width)).status_code == 200
    assert grown.http.get("/log/" + tile_path(level, index) + ".p/0").status_code == 404
    assert grown.http.get("/log/" + tile_path(level, index) + ".p/256").status_code == 404


def test_types_and_caching_are_those_of_tlog_tiles(grown: GrownLog) -> None:
    checkpoint = grown.http.get("/log/checkpoint").headers
    assert checkpoint["content-type"] == "text/plain; charset=utf-8"
    assert "immutable" not in checkpoint["cache-control"]
    for path in ("tile/0/000", "tile/1/000", "tile/entries/000", "tile/2/000.p/1"):
        headers = grown.http.get(f"/log/{path}").headers
        assert headers["content-type"] == "application/octet-stream"
        assert "immutable" in headers["cache-control"]


# ------------------------------------------------------------ what must be refused

Tamper = Callable[[GrownLog], dict[str, bytes | None]]
LAST_TILE, LAST_BUNDLE = "tile/0/273.p/112", "tile/entries/273.p/112"


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def edit(path: str, how: Callable[[bytes], bytes]) -> Tamper:
    return lambda grown: {path: how(grown.file(path))}


def exchange(one: str, other: str) -> Tamper:
    return lambda grown: {one: grown.file(other), other: grown.file(one)}


def rebundle(path: str, how: Callable[[list[bytes]], list[bytes]]) -> Tamper:
    return edit(path, lambda content: bundle(how(parse_bundle(content))))


def swap_hashes(one: int, other: int) -> Callable[[bytes], bytes]:
    def swap(tile: bytes) -> bytes:
        hashes = [tile[at : at + 32] for at in range(0, len(tile), 32)]
        hashes[one], hashes[other] = hashes[other], hashes[one]
        return b"".join(hashes)

    return swap


TAMPERED: dict[str, Tamper] = {
    **{
        f"a bit of {path}, place {place}": edit(path, lambda content, place=place: flipped(content, place * 256 + 77))
        for path, places in {
            "tile/0/000": (0, 128, 255),
            "tile/0/255": (255,),
            "tile/0/272": (0,),
            LAST_TILE: (0, 111),
            "tile/1/000": (0, 255),
            "tile/1/001.p/17": (0, 16),
            "tile/2/000.p/1": (0,),
        }.items()
        for place in places
    },
    "swapped siblings": edit("tile/0/100", swap_hashes(6, 7)),
    "swapped siblings in the partial tile": edit(LAST_TILE, swap_hashes(110, 111)),
    "swapped siblings in level 1": edit("tile/1/000", swap_hashes(0, 1)),
    "two tiles exchanged": exchange("tile/0/010", "tile/0/011"),
    "a tile cut by a byte": edit("tile/0/020", lambda tile: tile[:-1]),
    "a tile cut by a hash": edit("tile/0/020", lambda tile: tile[:-32]),
    "an empty tile": edit("tile/0/020", lambda tile: b""),
    "a partial tile too narrow": edit(LAST_TILE, lambda tile: tile[:-32]),
    "a partial tile of level 1 too narrow": edit("tile/1/001.p/17", lambda tile: tile[:-32]),
    "a missing tile": lambda grown: {"tile/0/030": None},
    "a missing partial tile": lambda grown: {LAST_TILE: None},
    "a missing bundle": lambda grown: {"tile/entries/030": None},
    "a bit of an entry": edit("tile/entries/000", lambda content: flipped(content, 200)),
    "a bit of the last entry": edit(LAST_BUNDLE, lambda content: flipped(content, 8 * len(content) - 1)),
    "a bit of a length": edit("tile/entries/150", lambda content: flipped(content, 8)),
    "a bundle cut within an entry": edit("tile/entries/200", lambda content: content[:-1]),
    "a bundle cut within a length": edit("tile/entries/200", lambda content: content + b"\0"),
    "a bundle without its last entry": rebundle("tile/entries/200", lambda entries: entries[:-1]),
    "a partial bundle without its last entry": rebundle(LAST_BUNDLE, lambda entries: entries[:-1]),
    "an empty bundle": edit("tile/entries/200", lambda content: b""),
    "two entries exchanged": rebundle("tile/entries/272", lambda entries: entries[1::-1] + entries[2:]),
    "two bundles exchanged": exchange("tile/entries/001", "tile/entries/002"),
    "an entry twice": rebundle("tile/entries/100", lambda entries: [entries[0], *entries[:-1]]),
}
TOO_WIDE: dict[str, Tamper] = {
    "a tile too wide": edit("tile/0/020", lambda tile: tile + tile[:32]),
    "a partial tile too wide": edit(LAST_TILE, lambda tile: tile + tile[:32]),
    "a partial tile of level 1 too wide": edit("tile/1/001.p/17", lambda tile: tile + tile[:32]),
    "a bundle with one entry more": rebundle("tile/entries/100", lambda entries: [*entries, entries[0]]),
    "a partial bundle with one entry more": rebundle(LAST_BUNDLE, lambda entries: [*entries, entries[0]]),
}


def refusing(found: dict[str, Any]) -> set[str]:
    return {name for name, refusal in found["verdicts"].items() if refusal}


@pytest.mark.parametrize("name", TAMPERED)
def test_every_library_refuses_a_tampered_log(
    name: str, foreign: ForeignVerifiers, grown: GrownLog, mirror: object
) -> None:
    found = read_whole(foreign, grown, changes=TAMPERED[name](grown))
    assert refusing(found) == EVERY_LIBRARY


@pytest.mark.parametrize("name", TOO_WIDE)
def test_what_is_wider_than_its_place_is_refused(
    name: str, foreign: ForeignVerifiers, grown: GrownLog, mirror: object
) -> None:
    """tessera reads as much as it needs and does not look at what follows, so its silence harms nobody."""
    found = read_whole(foreign, grown, changes=TOO_WIDE[name](grown))
    assert refusing(found) | {"tessera"} == EVERY_LIBRARY


@pytest.mark.parametrize("seed", range(4))
def test_any_flipped_bit_of_any_file_is_refused(
    seed: int, foreign: ForeignVerifiers, grown: GrownLog, mirror: object
) -> None:
    """At 1,000 entries, where one reading takes milliseconds: 80 bits, 20 of each kind of file."""
    chance = random.Random(seed)
    tiles = [tile_path(0, index, tile_width(0, index, 1000)) for index in range(4)]
    bundles = [tile_path("entries", index, tile_width(0, index, 1000)) for index in range(4)]
    for path in (
        chance.choice(kind) for kind in (tiles, bundles, tiles, bundles, ["tile/1/000.p/3"]) for _ in range(4)
    ):
        content = grown.file(path)
        bit = chance.randrange(8 * len(content))
        found = read_whole(foreign, grown, 1000, changes={path: flipped(content, bit)})
        assert refusing(found) == EVERY_LIBRARY, (path, bit)


def test_a_checkpoint_that_lies_about_the_tree_is_refused_though_the_log_signed_it(
    foreign: ForeignVerifiers, grown: GrownLog, mirror: object
) -> None:
    root = grown.root(SIZE)
    signer = grown.log.signer
    for size, stated in [(SIZE, flipped(root, 3)), (SIZE - 1, root), (SIZE + 1, root), (65_536, root)]:
        lie = sign_checkpoint(Checkpoint(signer.name, size, stated), signer)
        assert refusing(read_whole(foreign, grown, note=lie, indices=[0])) == EVERY_LIBRARY, size


def test_a_log_that_rewrote_its_past_is_refused_though_everything_is_signed(
    foreign: ForeignVerifiers, grown: GrownLog, mirror: object
) -> None:
    signer = grown.log.signer
    for size in (256, 998, 65_537):
        forked = sign_checkpoint(Checkpoint(signer.name, size, flipped(grown.root(size), 100)), signer)
        found = read_whole(foreign, grown, old=forked)
        assert {"x/mod", "tessera"} <= refusing(found), size


def test_a_log_under_another_key_or_name_is_refused(foreign: ForeignVerifiers, grown: GrownLog, mirror: object) -> None:
    name, key_id, key = grown.vkey.split("+", 2)
    other = flipped(base64.b64decode(key), 20)
    for vkey in (
        f"{name}x+{key_id}+{key}",
        f"{name}+{int(key_id, 16) ^ 1:08x}+{key}",
        f"{name}+{key_id}+{base64.b64encode(other).decode()}",
        foreign.ask("sign", name=name, seed=bytes(32), note=grown.newest.partition("\n\n")[0] + "\n")["log vkey"],
    ):
        assert refusing(read_whole(foreign, grown, vkey=vkey, indices=[])) == EVERY_LIBRARY
