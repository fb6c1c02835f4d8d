"""The lot index: a Merkle map from subject to the newest entry of its chain (`docs/formats.md` section 5).

Hashes, proofs of presence and absence, and the map itself as a persistent binary trie in memory, for replay: what an
auditor builds from the entries to recompute every published root.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import TypeAlias

from .errors import ProofError

KEY_SIZE = 32
KEY_BITS = 8 * KEY_SIZE
_NODE_PREFIX = sha256(b"\x03")
EMPTY = bytes(32)
"""Hash of a subtree that holds no key."""


@dataclass(frozen=True)
class Head:
    """The newest entry of a subject's chain: its `seq` and leaf hash. `subject` is the 32-byte key."""

    subject: bytes
    seq: int
    leaf: bytes

    @cached_property
    def hash(self) -> bytes:
        """SHA-256(0x02 || key || seq as u64be || leaf hash)."""
        return sha256(b"\x02" + self.subject + self.seq.to_bytes(8, "big") + self.leaf).digest()


@dataclass(frozen=True)
class IndexProof:
    """`path`: siblings from leaf to root. `head`: what stands at the place, None for an empty subtree.

    It proves presence when `head` is the subject's own, absence otherwise.
    """

    head: Head | None
    path: tuple[bytes, ...]


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of a subtree with two or more keys: SHA-256(0x03 || left || right)."""
    return sha256(b"\x03" + left + right).digest()


def node_hashes(below: bytes) -> bytes:
    """One level up: `node_hash` of consecutive pairs of 32 bytes, joined, at two thirds of the cost."""
    primed = _NODE_PREFIX.copy
    above = []
    for start in range(0, len(below), 64):
        node = primed()
        node.update(below[start : start + 64])
        above.append(node.digest())
    return b"".join(above)


def verify_presence(root: bytes, head: Head, path: Sequence[bytes]) -> None:
    """Check that the map with `root` says `head` of its subject. Raises ProofError."""
    _fold(root, head.subject, head.hash, path)


def verify_absence(root: bytes, subject: bytes, other: Head | None, path: Sequence[bytes]) -> None:
    """Check that the map with `root` does not hold `subject`: at its place stands `other`, or nothing. ProofError."""
    if other is None:
        _fold(root, subject, EMPTY, path)
        return
    if other.subject == subject:
        raise ProofError("the other leaf is the subject's own", where="lot index")
    depth = len(path)
    if _prefix(other.subject, depth) != _prefix(subject, depth):
        raise ProofError("the other leaf does not stand at the subject's place", where="lot index")
    _fold(root, subject, other.hash, path)


class LotIndex:
    """The map, growing entry by entry; an update costs one path of hashes, made when `root` is next asked for."""

    def __init__(self) -> None:
        self._top: _Node = None

    def set(self, head: Head) -> None:
        """Put a subject's newest entry in, or a newer one in its place."""
        self._top = _put(self._top, head, 0)

    def get(self, subject: bytes) -> Head | None:
        """The newest entry of a subject, None when the map does not hold it."""
        head = self.prove(subject).head
        return head if head is not None and head.subject == subject else None

    @property
    def root(self) -> bytes:
        """The root; of the empty map, 32 zero bytes."""
        return _hash(self._top)

    def prove(self, subject: bytes) -> IndexProof:
        """What stands at the place of `subject`, with its path."""
        siblings: list[bytes] = []
        node = self._top
        while isinstance(node, _Branch):
            right = _bit(subject, len(siblings))
            siblings.append(_hash(node.left if right else node.right))
            node = node.right if right else node.left
        return IndexProof(node, tuple(reversed(siblings)))

    def __iter__(self) -> Iterator[Head]:
        """All heads, by key."""
        pending = [self._top]
        while pending:
            node = pending.pop()
            if isinstance(node, _Branch):
                pending += [node.right, node.left]
            elif node is not None:
                yield node


@dataclass(frozen=True)
class _Branch:
    """A subtree that holds at least two keys."""

    left: _Node
    right: _Node

    @cached_property
    def hash(self) -> bytes:
        return node_hash(_hash(self.left), _hash(self.right))


_Node: TypeAlias = "Head | _Branch | None"


def _put(node: _Node, head: Head, depth: int) -> Head | _Branch:
    if node is None or (isinstance(node, Head) and node.subject == head.subject):
        return head
    if isinstance(node, Head):
        node = _Branch(None, node) if _bit(node.subject, depth) else _Branch(node, None)
    if _bit(head.subject, depth):
        return _Branch(node.left, _put(node.right, head, depth + 1))
    return _Branch(_put(node.left, head, depth + 1), node.right)


def _hash(node: _Node) -> bytes:
    return EMPTY if node is None else node.hash


def _bit(key: bytes, position: int) -> int:
    """Bit `position` of a key, most significant first."""
    return key[position >> 3] >> (7 - (position & 7)) & 1


def _prefix(key: bytes, bits: int) -> int:
    return int.from_bytes(key, "big") >> (KEY_BITS - bits)


def _fold(root: bytes, key: bytes, found: bytes, path: Sequence[bytes]) -> None:
    if len(path) > KEY_BITS or any(len(sibling) != 32 for sibling in path):
        raise ProofError("at most 256 siblings of 32 bytes", where="lot index")
    if path and path[0] == EMPTY:
        raise ProofError("the lowest sibling is empty: the leaf would stand higher", where="lot index")
    computed = found
    for position, sibling in zip(range(len(path) - 1, -1, -1), path, strict=True):
        computed = node_hash(sibling, computed) if _bit(key, position) else node_hash(computed, sibling)
    if computed != root:
        raise ProofError("the path leads to another index root", where="lot index")
