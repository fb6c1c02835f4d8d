"""Inclusion and consistency proofs and receipts: ours are those that x/mod, tessera and formats make, and nobody takes
a changed one.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from foreign_verifiers import ForeignVerifiers
from grown_log import SIZE, STOPS, GrownLog
from suyuan.ledger.errors import ProofError
from suyuan.ledger.merkle import verify_consistency
from suyuan.ledger.note import COSIGNATURE_KEY, NoteSigner
from suyuan.ledger.policy import Group, Log, Policy, Witness
from suyuan.ledger.receipt import format_receipt
from suyuan.ledger.verify import verify_receipt

pytestmark = pytest.mark.xdist_group("interop")

EDGES = [0, 1, 254, 255, 256, 65_535, 65_536, 69_887, 69_888, 69_998, 69_999]
RECEIPT_VERIFIERS = {"torchwood", "formats"}
PROOF_VERIFIERS = {"x/mod", "merkle"}


def paths(answer: list[list[str]]) -> list[list[bytes]]:
    return [[base64.b64decode(hash) for hash in path] for path in answer]


def flipped(value: bytes, bit: int) -> bytes:
    changed = bytearray(value)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 1000, 65_536, 65_537, SIZE])
def test_our_inclusion_paths_are_those_of_others_to_the_byte(
    size: int, foreign: ForeignVerifiers, grown: GrownLog, mirror: object
) -> None:
    chance = random.Random(size)
    indices = sorted({*(chance.randrange(size) for _ in range(40)), *(index for index in EDGES if index < size)})
    made = foreign.ask("make-proofs", url=grown.url, size=size, root=grown.root(size), indices=indices)
    ours = [grown.log.proof(index, size) for index in indices]
    assert ours == paths(made["x/mod"]) == paths(made["tessera"])
    entries = grown.entries(indices)
    for index, path in zip(indices, ours, strict=True):
        inclusion = {"index": index, "size": size, "root": grown.root(size), "path": path, "entry": entries[index]}
        assert foreign.accepting("inclusion", **inclusion) == PROOF_VERIFIERS


@pytest.mark.parametrize("old", [*STOPS])
@pytest.mark.parametrize("new", [257, 1000, 65_536, 65_537, 69_999, SIZE])
def test_our_consistency_paths_are_those_of_others_to_the_byte(
    old: int, new: int, foreign: ForeignVerifiers, grown: GrownLog, mirror: object
) -> None:
    if old > new:
        old, new = new, old
    made = foreign.ask("make-proofs", url=grown.url, size=new, root=grown.root(new), old_size=old)
    ours = grown.log.consistency(old, new)
    assert [ours] == paths([made["x/mod consistency"]]) == paths([made["tessera consistency"]])
    trees = {"old_size": old, "old_root": grown.root(old), "size": new, "root": grown.root(new)}
    assert foreign.accepting("consistency", path=ours, **trees) == PROOF_VERIFIERS


@pytest.mark.parametrize("index", [0, 255, 40_000, 69_888, 69_999])
def test_a_changed_inclusion_proof_is_refused(index: int, foreign: ForeignVerifiers, grown: GrownLog) -> None:
    """A size is not among the changes: only the signature over the checkpoint binds it (RFC 9162 section 2.1.3)."""
    honest = {
        "index": index,
        "size": SIZE,
        "root": grown.root(SIZE),
        "path": grown.log.proof(index, SIZE),
        "entry": grown.entries([index])[index],
    }
    assert foreign.accepting("inclusion", **honest) == PROOF_VERIFIERS
    path, entry = honest["path"], honest["entry"]
    tampered = [
        *({"path": [*path[:at], flipped(path[at], 11 * at), *path[at + 1 :]]} for at in range(len(path))),
        *({"path": [*path[:at], path[at + 1], path[at], *path[at + 2 :]]} for at in range(len(path) - 1)),
        *({"path": path[:at] + path[at + 1 :]} for at in range(len(path))),
        *({"path": [*path[:at], path[at], *path[at:]]} for at in range(len(path))),
        {"path": []},
        {"path": [*path, bytes(32)]},
        {"path": path[::-1]},
        *({"index": other} for other in {index ^ 1 << bit for bit in range(17)} if other < SIZE),
        {"index": -1},
        {"index": SIZE},
        {"index": index + (1 << 32)},
        {"root": flipped(honest["root"], 200)},
        {"root": honest["root"][:-1]},
        {"root": b""},
        {"entry": flipped(entry, 100)},
        {"entry": entry[:-1]},
        {"entry": entry + b"\n"},
        {"entry": b""},
        {"size": index},
        {"size": 0},
    ]
    for change in tampered:
        assert foreign.accepting("inclusion", **{**honest, **change}) == set(), change


@pytest.mark.parametrize(("old", "new"), [*pairwise([255, 256, 1000, 65_536, 65_537, SIZE])])
def test_a_changed_consistency_proof_is_refused(old: int, new: int, foreign: ForeignVerifiers, grown: GrownLog) -> None:
    path = grown.log.consistency(old, new)
    honest = {"old_size": old, "old_root": grown.root(old), "size": new, "root": grown.root(new), "path": path}
    tampered = [
        *({"path": [*path[:at], flipped(path[at], 11 * at), *path[at + 1 :]]} for at in range(len(path))),
        *({"path": [*path[:at], path[at + 1], path[at], *path[at + 2 :]]} for at in range(len(path) - 1)),
        *({"path": path[:at] + path[at + 1 :]} for at in range(len(path))),
        {"path": []},
        {"path": [*path, bytes(32)]},
        {"old_root": flipped(honest["old_root"], 9)},
        {"root": flipped(honest["root"], 9)},
        {"root": honest["old_root"], "old_root": honest["root"]},
        {"old_size": new, "size": old},
        {"old_size": new},
    ]
    for change in tampered:
        changed = {**honest, **change}
        assert foreign.accepting("consistency", **changed) == set(), change
        with pytest.raises(ProofError):
            verify_consistency(*(changed[name] for name in ("old_size", "old_root", "size", "root", "path")))


# ------------------------------------------------------------ receipts


def witness(name: str, seed: int) -> NoteSigner:
    return NoteSigner(name, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32), COSIGNATURE_KEY)


WITNESSES = [witness("w1.example", 1), witness("w2.example", 2)]


def policy_of(grown: GrownLog, quorum: int) -> Policy:
    witnesses = tuple(
        Witness(f"w{n}", signer.verifier, f"https://{signer.name}/") for n, signer in enumerate(WITNESSES)
    )
    group = Group("all-of-them", quorum, tuple(one.name for one in witnesses))
    return Policy((Log(grown.key),), witnesses, (group,), group.name)


def cosigned(grown: GrownLog, signers: list[NoteSigner]) -> str:
    text = grown.newest.partition("\n\n")[0] + "\n"
    return grown.newest + "".join(signer.cosign(text, 1_774_400_000 + n) for n, signer in enumerate(signers))


@pytest.mark.parametrize("index", [0, 998, *EDGES[1:], 12_345])
def test_our_receipts_verify_elsewhere_and_are_written_there_the_same(
    index: int, foreign: ForeignVerifiers, grown: GrownLog
) -> None:
    receipt = grown.log.receipt(index)
    entry = grown.entries([index])[index]
    found = foreign.ask("receipt", receipt=receipt, vkey=grown.vkey)
    assert found["verdicts"] == dict.fromkeys(RECEIPT_VERIFIERS, "")
    assert base64.b64decode(found["entry"]) == entry
    assert found["again"] == receipt
    written = foreign.ask(
        "make-receipt", entry=entry, index=index, path=grown.log.proof(index), note=grown.log.checkpoint()
    )
    assert written == dict.fromkeys(RECEIPT_VERIFIERS, receipt)


def test_the_receipt_of_a_lone_entry_has_no_path(foreign: ForeignVerifiers, grown: GrownLog) -> None:
    receipt = format_receipt(grown.entries([0])[0], 0, [], grown.checkpoints[1])
    found = foreign.ask("receipt", receipt=receipt, vkey=grown.vkey)
    assert (found["verdicts"], found["again"]) == (dict.fromkeys(RECEIPT_VERIFIERS, ""), receipt)


def test_a_cosigned_receipt_satisfies_our_policy_file_as_torchwood_reads_it(
    foreign: ForeignVerifiers, grown: GrownLog
) -> None:
    entry = grown.entries([5])[5]
    for cosigners, quorum in [(2, 2), (2, 1), (1, 1)]:
        receipt = format_receipt(entry, 5, grown.log.proof(5, SIZE), cosigned(grown, WITNESSES[:cosigners]))
        policy = policy_of(grown, quorum)
        found = foreign.ask("receipt", receipt=receipt, vkey=grown.vkey, policy=policy.text())
        assert (found["verdicts"], found["again"]) == (dict.fromkeys(RECEIPT_VERIFIERS, ""), receipt)
        assert verify_receipt(receipt, None, policy, require_quorum=True).ok
    short = format_receipt(entry, 5, grown.log.proof(5, SIZE), cosigned(grown, WITNESSES[:1]))
    assert foreign.verdicts("receipt", receipt=short, vkey=grown.vkey, policy=policy_of(grown, 2).text())["torchwood"]
    assert not verify_receipt(short, None, policy_of(grown, 2), require_quorum=True).ok


def one_bit_a_byte(text: str) -> Iterator[tuple[int, str]]:
    """The text with one bit changed, once for each of its bytes; what is no UTF-8 any more is left out."""
    encoded = text.encode()
    for at in range(len(encoded)):
        try:
            yield at, flipped(encoded, 8 * at + at % 8).decode()
        except UnicodeDecodeError:
            continue


def meaning(receipt: str) -> list[object]:
    """What a reader sees who takes base64 with any trailing bits for the same: Go's does."""
    read: list[object] = []
    for line in receipt.split("\n"):
        for word in line.split(" "):
            try:
                read.append(base64.b64decode(word, validate=True) if len(word) > 40 else word)
            except ValueError:
                read.append(word)
    return read


@pytest.mark.parametrize("index", [0, 998, 69_999])
def test_a_receipt_with_any_byte_changed_is_refused(index: int, foreign: ForeignVerifiers, grown: GrownLog) -> None:
    policy = policy_of(grown, 2)
    receipt = format_receipt(
        grown.entries([index])[index], index, grown.log.proof(index, SIZE), cosigned(grown, WITNESSES)
    )
    assert verify_receipt(receipt, None, policy, require_quorum=True).ok
    cosignatures = receipt.encode().index(f"\n— {WITNESSES[0].name} ".encode())
    lax = 0
    for at, changed in one_bit_a_byte(receipt):
        assert not verify_receipt(changed, None, policy, require_quorum=True).ok, at
        accepting = foreign.accepting("receipt", receipt=changed, vkey=grown.vkey, policy=policy.text())
        if meaning(changed) == meaning(receipt):
            lax += 1
            continue
        if at > cosignatures:
            accepting -= {"formats"}  # it was asked for the log's signature alone
        assert accepting == set(), at
    assert lax < 40


def test_a_receipt_put_together_from_others_is_refused(foreign: ForeignVerifiers, grown: GrownLog) -> None:
    entries = grown.entries([7, 8])
    path, note = grown.log.proof(7, SIZE), grown.newest
    honest = format_receipt(entries[7], 7, path, note)
    assert foreign.accepting("receipt", receipt=honest, vkey=grown.vkey) == RECEIPT_VERIFIERS
    for tampered in (
        format_receipt(entries[8], 7, path, note),
        format_receipt(entries[7], 8, path, note),
        format_receipt(entries[7], 7, grown.log.proof(8, SIZE), note),
        format_receipt(entries[7], 7, path[1::-1] + path[2:], note),
        format_receipt(entries[7], 7, path[:-1], note),
        format_receipt(entries[7], 7, path, grown.checkpoints[69_999]),
        format_receipt(entries[7], 7, path, grown.checkpoints[1000]),
        honest.replace("tlog-proof@v1", "tlog-proof@v2"),
        honest.replace("\nindex 7\n", "\nindex -7\n"),
        honest.replace("\nindex 7\n", "\n"),
        honest.replace("\n\n", "\n", 1),
        honest[: honest.index("\n— ")],
        honest[:-2],
        "",
    ):
        assert foreign.accepting("receipt", receipt=tampered, vkey=grown.vkey) == set(), tampered[:200]
        assert not verify_receipt(tampered, None, policy_of(grown, 1)).ok
