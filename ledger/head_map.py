"""The newest entry of every subject's chain, packed into few bytes, and the root of the lot index over them.

What an audit keeps of a whole log: a million subjects take about 100 MB. Subjects are spread over buckets by their
first bits; above the buckets stands the upper part of the map of `lot_index` (formats section 5) as a complete binary
tree, so that an update costs its bucket and one path. Pure: buckets come from and go to the caller.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

from .lot_index import EMPTY, KEY_SIZE

_RECORD = KEY_SIZE + 8 + 32
"""Subject, seq (u64be), leaf hash: exactly what a leaf of the map hashes after its prefix."""
_NONE, _SINGLE, _MANY = 0, 1, 2
_LEAF_PREFIX, _NODE_PREFIX = sha256(b"\x02"), sha256(b"\x03")

MIN_BITS, MAX_BITS = 6, 20


def bits_for(entries: int) -> int:
    """How many bits of a subject to choose buckets by in a log of this size: about one subject a bucket."""
    return max(MIN_BITS, min(MAX_BITS, entries.bit_length() + 1))


class HeadMap:
    """Heads by subject; `bits` is fixed for life (`bits_for`)."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.subjects = 0
        self._shift = 32 - bits
        self._buckets: list[bytes] = [b""] * (1 << bits)
        self._hashes = bytearray(32 * (2 << bits))  # node n has the children 2n and 2n + 1; bucket b is 2**bits + b
        self._kinds = bytearray(2 << bits)
        self._stale: set[int] = set()
        self._unsaved: set[int] = set()

    def get(self, subject: bytes) -> tuple[int, bytes] | None:
        """(seq, leaf hash) of the subject's newest entry, None when it has none."""
        bucket = self._buckets[int.from_bytes(subject[:4], "big") >> self._shift]
        at = _find(bucket, subject) if bucket else -1
        if at < 0:
            return None
        return int.from_bytes(bucket[at + 32 : at + 40], "big"), bucket[at + 40 : at + 72]

    def put(self, subject: bytes, seq: int, leaf: bytes) -> None:
        """Set the subject's newest entry."""
        number = int.from_bytes(subject[:4], "big") >> self._shift
        bucket = self._buckets[number]
        record = subject + seq.to_bytes(8, "big") + leaf
        at = _find(bucket, subject) if bucket else -1
        if at < 0:
            self._buckets[number] = bucket + record
            self.subjects += 1
        else:
            self._buckets[number] = bucket[:at] + record + bucket[at + _RECORD :]
        self._stale.add(number)
        self._unsaved.add(number)

    @property
    def root(self) -> bytes:
        """Root of the lot index over all heads; of none, 32 zero bytes."""
        hashes, kinds, buckets = self._hashes, self._kinds, self._buckets
        first, hash_leaf, hash_node = 1 << self.bits, _LEAF_PREFIX.copy, _NODE_PREFIX.copy
        for number in self._stale:
            bucket, node = buckets[number], first + number
            if len(bucket) == _RECORD:
                leaf = hash_leaf()
                leaf.update(bucket)
                kinds[node], hashes[32 * node : 32 * node + 32] = _SINGLE, leaf.digest()
            else:
                kinds[node], hashes[32 * node : 32 * node + 32] = _trie(_records(bucket), self.bits)
        level = {first + number for number in self._stale}
        self._stale.clear()
        with memoryview(hashes) as read:
            for _ in range(self.bits):
                level = {node >> 1 for node in level}
                for node in level:
                    at, left = 32 * node, 2 * node
                    if kinds[left] + kinds[left + 1] > _SINGLE:
                        pair = hash_node()
                        pair.update(read[2 * at : 2 * at + 64])
                        kinds[node] = _MANY
                        hashes[at : at + 32] = pair.digest()
                    else:  # at most one key: it stands here, as high as it is alone
                        alone = left if kinds[left] else left + 1
                        kinds[node] = kinds[alone]
                        hashes[at : at + 32] = read[32 * alone : 32 * alone + 32]
        return bytes(hashes[32:64])

    def changed(self) -> Iterator[tuple[int, bytes]]:
        """Buckets that changed since the last call, as (number, bytes)."""
        numbers, self._unsaved = sorted(self._unsaved), set()
        for number in numbers:
            yield number, self._buckets[number]

    def load(self, number: int, bucket: bytes) -> None:
        """Put a bucket back that `changed` once gave."""
        self.subjects += len(bucket) // _RECORD - len(self._buckets[number]) // _RECORD
        self._buckets[number] = bucket
        self._stale.add(number)


def _find(bucket: bytes, subject: bytes) -> int:
    at = bucket.find(subject)
    while at > 0 and at % _RECORD:  # the same 32 bytes across two records
        at = bucket.find(subject, at + 1)
    return at


def _records(bucket: bytes) -> list[bytes]:
    return [bucket[at : at + _RECORD] for at in range(0, len(bucket), _RECORD)]


def _trie(records: list[bytes], depth: int) -> tuple[int, bytes]:
    """Kind and hash of the subtree of these heads, all of which share their first `depth` bits."""
    if not records:
        return _NONE, EMPTY
    if len(records) == 1:
        return _SINGLE, _leaf(records[0])
    if len(records) == 2:
        return _MANY, _fork(records[0], records[1], depth)
    byte, bit = depth >> 3, 0x80 >> (depth & 7)
    left = [record for record in records if not record[byte] & bit]
    right = [record for record in records if record[byte] & bit]
    return _MANY, _node(_trie(left, depth + 1)[1] + _trie(right, depth + 1)[1])


def _fork(one: bytes, other: bytes, depth: int) -> bytes:
    """Hash of a subtree of two keys: they part at their first differing bit, above which the other side is empty."""
    left, right = (one, other) if one < other else (other, one)
    path = int.from_bytes(one[:KEY_SIZE], "big")
    apart = (path ^ int.from_bytes(other[:KEY_SIZE], "big")).bit_length() - 1  # counted from the end
    folded = _node(_leaf(left) + _leaf(right))
    for bit in range(apart + 1, 8 * KEY_SIZE - depth):
        folded = _node(EMPTY + folded) if path >> bit & 1 else _node(folded + EMPTY)
    return folded


def _leaf(record: bytes) -> bytes:
    leaf = _LEAF_PREFIX.copy()
    leaf.update(record)
    return leaf.digest()


def _node(pair: bytes) -> bytes:
    node = _NODE_PREFIX.copy()
    node.update(pair)
    return node.digest()
