"""The log as an independent client of the published formats reads it: nothing here uses the service's own readers."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from running_service import House, fresh_label, introduced


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def root_of(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, by its own recursion."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + root_of(leaves[:split]) + root_of(leaves[split:]))


def entries_of(bundle: bytes) -> list[bytes]:
    entries = []
    while bundle:
        length = int.from_bytes(bundle[:2], "big")
        entries.append(bundle[2 : 2 + length])
        bundle = bundle[2 + length :]
    return entries


@pytest.fixture(scope="module", autouse=True)
def some_entries(house: House) -> None:
    for _ in range(3):
        assert house.record(introduced(fresh_label())).status_code == 201


def test_checkpoint_tiles_and_entries_agree_and_are_signed(house: House) -> None:
    note = house.http.get("/log/checkpoint")
    assert note.headers["content-type"].startswith("text/plain")
    assert "max-age" not in note.headers["cache-control"]
    text, signatures = note.text.split("\n\n")
    origin, size_text, root = text.split("\n")
    size = int(size_text)
    name, key_id, key = house.http.get("/log/key").text.strip().split("+", 2)
    assert origin == name == house.service.origin
    _, signer, payload = signatures.strip().split(" ")
    signature = base64.b64decode(payload)
    assert signer == origin
    assert signature[:4].hex() == key_id
    Ed25519PublicKey.from_public_bytes(base64.b64decode(key)[1:]).verify(signature[4:], (text + "\n").encode())

    tile = house.http.get(f"/log/tile/0/000.p/{size}")
    assert tile.headers["content-type"] == "application/octet-stream"
    bundle = house.http.get(f"/log/tile/entries/000.p/{size}")
    leaves = [tile.content[at : at + 32] for at in range(0, len(tile.content), 32)]
    assert [sha256(b"\x00" + entry) for entry in entries_of(bundle.content)] == leaves
    assert base64.b64encode(root_of(leaves)).decode() == root


def test_a_narrower_partial_tile_is_a_prefix(house: House) -> None:
    wide, narrow = (house.http.get(f"/log/tile/0/000.p/{width}").content for width in (4, 2))
    assert wide[:64] == narrow


@pytest.mark.parametrize(
    "path",
    [
        "0/000",
        "0/001.p/1",
        "0/000.p/255",
        "0/000.p/0",
        "0/000.p/256",
        "0/000.p/01",
        "0/0",
        "0/0000",
        "00/000.p/1",
        "1/000.p/1",
        "64/000",
        "entries/000",
        "entries/x001/000.p/1",
        "0/x000/000.p/1",
        "0/" + "x999/" * 12 + "999",
        "-1/000.p/1",
        "0/000.p/1/",
        "",
    ],
)
def test_tiles_that_do_not_exist_or_are_spelt_otherwise_are_not_found(house: House, path: str) -> None:
    answer = house.http.get(f"/log/tile/{path}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_receipt_can_be_had_again_and_proves_its_entry(house: House) -> None:
    recorded = house.record(introduced(fresh_label())).json()
    again = house.http.get(f"/api/v1/receipts/{recorded['statement']}", headers=house.cooperative.headers)
    assert again.headers["content-type"].startswith("text/plain")
    head, note = again.text.split("\n\n", 1)
    lines = head.split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1"
    entry = base64.b64decode(lines[1].removeprefix("extra "))
    statement = base64.b64encode(bytes.fromhex(recorded["statement"])).decode()
    assert f"statement {statement}\n".encode() in entry
    index, size = int(lines[2].removeprefix("index ")), int(note.split("\n")[1])
    # RFC 9162 section 2.1.3.2
    node, fn, sn = sha256(b"\x00" + entry), index, size - 1
    for sibling in map(base64.b64decode, lines[3:]):
        if fn & 1 or fn == sn:
            node = sha256(b"\x01" + sibling + node)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = sha256(b"\x01" + node + sibling)
        fn, sn = fn >> 1, sn >> 1
    assert sn == 0
    assert base64.b64encode(node).decode() == note.split("\n")[2]


@pytest.mark.parametrize("name", ["0" * 64, "F" * 64, "xyz", "0" * 63])
def test_a_receipt_of_nothing_is_not_found(house: House, name: str) -> None:
    assert house.http.get(f"/api/v1/receipts/{name}", headers=house.cooperative.headers).status_code == 404


def test_the_policy_names_this_log_and_its_registrar(house: House) -> None:
    lines = house.http.get("/log/policy").text.split("\n")
    assert lines[0] == "#suyuan policy v1"
    assert "log " + house.http.get("/log/key").text.strip() in lines
    assert "quorum none" in lines
    assert any(line.startswith(f"#suyuan registrar {house.service.registrar_key.public.kid} ") for line in lines)
