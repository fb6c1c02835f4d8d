"""The Merkle tree of RFC 6962: leaf and node hashes, roots, proofs made and checked. Bytes in, bytes out.

Hash functions and proofs are those of RFC 6962 section 2.1 with SHA-256; the checking algorithms are those of
RFC 9162 sections 2.1.3.2 and 2.1.4.2. Nothing here knows where hashes are kept: makers of proofs ask a `node`
function for the perfect subtrees they need.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

from .errors import ProofError

HASH_SIZE = 32
EMPTY_ROOT = sha256(b"").digest()

Node = Callable[[int, int], bytes]
"""`node(level, i)`: hash of the i-th perfect subtree of 2**level leaves, which lies wholly inside the tree."""

_NODE_PREFIX = sha256(b"\x01")


def leaf_hash(data: bytes) -> bytes:
    """Hash of one leaf: SHA-256(0x00 || data) (RFC 6962 section 2.1)."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node: SHA-256(0x01 || left || right) (RFC 6962 section 2.1)."""
    return sha256(b"\x01" + left + right).digest()


def parents(hashes: bytes) -> bytes:
    """One level up: the node hashes of consecutive pairs in `hashes` (a multiple of 64 bytes), concatenated.

    Reads pairs straight out of the level below and copies a hash object that has already eaten the prefix: about a
    tenth faster than joining each pair, and trees spend all their time here.
    """
    primed = _NODE_PREFIX.copy
    above = []
    for start in range(0, len(hashes), 2 * HASH_SIZE):
        node = primed()
        node.update(hashes[start : start + 2 * HASH_SIZE])
        above.append(node.digest())
    return b"".join(above)


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """Merkle tree hash of leaves given by their leaf hashes (RFC 6962 section 2.1); of none, `EMPTY_ROOT`.

    A level with an odd number of nodes hands its last node up unchanged, which gives the tree of the recursive
    definition (its left part is always the largest power of two).
    """
    if not leaf_hashes:
        return EMPTY_ROOT
    level = b"".join(leaf_hashes)
    if len(level) != HASH_SIZE * len(leaf_hashes):
        raise ValueError("every leaf hash has 32 bytes")
    while len(level) > HASH_SIZE:
        paired = len(level) - len(level) % (2 * HASH_SIZE)
        level = parents(level[:paired]) + level[paired:]
    return level


def subtree_root(start: int, end: int, node: Node) -> bytes:
    """Hash of leaves `start` to `end` (exclusive), where `start` is a multiple of the next power of two >= the width.

    Such a range is made of perfect subtrees, widest first, folded from the right (RFC 6962 section 2.1).
    """
    pieces: list[bytes] = []
    while start < end:
        level = (end - start).bit_length() - 1
        pieces.append(node(level, start >> level))
        start += 1 << level
    folded = pieces.pop()
    while pieces:
        folded = node_hash(pieces.pop(), folded)
    return folded


def inclusion_path(index: int, size: int, node: Node) -> list[bytes]:
    """Siblings of leaf `index` in the tree of `size` leaves, leaf to root (RFC 6962 section 2.1.1).

    `node` answers for perfect subtrees only. Raises ValueError unless 0 <= index < size.
    """
    return inclusion_paths([index], size, node)[index]


def inclusion_paths(indices: Iterable[int], size: int, node: Node) -> dict[int, list[bytes]]:
    """The inclusion paths of many leaves of one tree.

    A path climbs within the perfect subtree that holds the leaf; how it goes on from that subtree's top, past the
    perfect subtrees to the right (folded into one) and to the left, is the same for all leaves under it.
    """
    paths: dict[int, list[bytes]] = {}
    onward: dict[int, list[bytes]] = {}
    for index in indices:
        if not 0 <= index < size:
            raise ValueError(f"no leaf {index} in a tree of {size}")
        height = (index ^ size).bit_length() - 1  # of the perfect subtree: the highest bit where they part
        if height not in onward:
            onward[height] = _onward(height, size, node)
        paths[index] = [node(level, index >> level ^ 1) for level in range(height)] + onward[height]
    return paths


def _onward(height: int, size: int, node: Node) -> list[bytes]:
    """From the top of the perfect subtree of `height` in the tree of `size` leaves to the root."""
    end = size >> height << height
    path = [subtree_root(end, size, node)] if end < size else []
    start = end - (1 << height)
    while start:
        level = (start & -start).bit_length() - 1
        path.append(node(level, (start >> level) - 1))
        start -= 1 << level
    return path


def consistency_path(old: int, new: int, node: Node) -> list[bytes]:
    """Proof that the tree of `new` leaves begins with the tree of `old` (RFC 6962 section 2.1.2).

    Empty when the sizes are equal or `old` is 0. Raises ValueError unless 0 <= old <= new.
    """
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} cannot extend one of {old}")
    if old in (0, new):
        return []
    path: list[bytes] = []
    start, end = 0, new
    known = True  # the old tree is the whole of the range looked at, so its hash is known to the verifier
    while end != old:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(subtree_root(middle, end, node))
            end = middle
        else:
            path.append(subtree_root(start, middle, node))
            start = middle
            known = False
    if not known:
        path.append(subtree_root(start, end, node))
    path.reverse()
    return path


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Check that `leaf` (a leaf hash) stands at `index` in the tree of `size` leaves with `root`.

    RFC 9162 section 2.1.3.2. Raises ProofError when it does not.
    """
    if not 0 <= index < size:
        raise ProofError(f"no leaf {index} in a tree of {size}", where="inclusion")
    _check_hashes([leaf, root, *path], "inclusion")
    fn, sn = index, size - 1
    computed = leaf
    for sibling in path:
        if sn == 0:
            raise ProofError("the inclusion path is too long", where="inclusion")
        if fn & 1 or fn == sn:
            computed = node_hash(sibling, computed)
            while fn and not fn & 1:
                fn >>= 1
                sn >>= 1
        else:
            computed = node_hash(computed, sibling)
        fn >>= 1
        sn >>= 1
    if sn != 0:
        raise ProofError("the inclusion path is too short", where="inclusion")
    if not hmac.compare_digest(computed, root):
        raise ProofError("the inclusion path leads to another root", where="inclusion")


def verify_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, path: Sequence[bytes]) -> None:
    """Check that the tree of `new_size` leaves with `new_root` begins with the tree of `old_size` with `old_root`.

    RFC 9162 section 2.1.4.2; from size 0, and between equal sizes, the proof is empty. Raises ProofError.
    """
    if not 0 <= old_size <= new_size:
        raise ProofError(f"a tree of {new_size} cannot extend one of {old_size}", where="consistency")
    _check_hashes([old_root, new_root, *path], "consistency")
    if old_size == 0 or old_size == new_size:
        expected = EMPTY_ROOT if old_size == 0 else new_root
        if path:
            raise ProofError("the consistency path should be empty", where="consistency")
        if (new_size == 0 and new_root != EMPTY_ROOT) or old_root != expected:
            raise ProofError("the roots of equal trees differ", where="consistency")
        return
    if not path:
        raise ProofError("the consistency path is too short", where="consistency")
    fn, sn = old_size - 1, new_size - 1
    siblings = list(path)
    if old_size & (old_size - 1) == 0:
        siblings.insert(0, old_root)
    while fn & 1:
        fn >>= 1
        sn >>= 1
    computed_old = computed_new = siblings[0]
    for sibling in siblings[1:]:
        if sn == 0:
            raise ProofError("the consistency path is too long", where="consistency")
        if fn & 1 or fn == sn:
            computed_old = node_hash(sibling, computed_old)
            computed_new = node_hash(sibling, computed_new)
            while fn and not fn & 1:
                fn >>= 1
                sn >>= 1
        else:
            computed_new = node_hash(computed_new, sibling)
        fn >>= 1
        sn >>= 1
    if sn != 0:
        raise ProofError("the consistency path is too short", where="consistency")
    if not hmac.compare_digest(computed_old, old_root):
        raise ProofError("the consistency path leads to another old root", where="consistency")
    if not hmac.compare_digest(computed_new, new_root):
        raise ProofError("the consistency path leads to another new root", where="consistency")


def _split(width: int) -> int:
    """The largest power of two below `width` (> 1): where RFC 6962 cuts a tree in two."""
    return 1 << ((width - 1).bit_length() - 1)


def _check_hashes(hashes: Sequence[bytes], where: str) -> None:
    if any(len(value) != HASH_SIZE for value in hashes):
        raise ProofError("a hash of the proof does not have 32 bytes", where=where)
