"""A log made of a list of entries, honest or not: its checkpoints, proofs and tiles, and requests to witnesses.

Trees are worked out by the recursive definition of RFC 6962 alone. `tile` makes it a source for audits; `lies` changes
what is served without changing what is signed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from suyuan.ledger.add_checkpoint import request_body
from suyuan.ledger.checkpoint import Checkpoint, sign_checkpoint
from suyuan.ledger.entry import LOT_INDEX, ChainLink, Entry
from suyuan.ledger.lot_index import Head, LotIndex
from suyuan.ledger.note import COSIGNATURE_KEY, NoteSigner
from suyuan.ledger.subjects import subject_hash
from suyuan.ledger.tiles import bundle

ORIGIN = "trace.example.cn/520300"
NOON_MS = 1_774_324_800_000


def secret(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(sha256(name.encode()).digest())


LOG_SIGNER = NoteSigner(ORIGIN, secret("log key for tests"))


def witness_signer(name: str) -> NoteSigner:
    return NoteSigner(name, secret(f"witness {name}"), COSIGNATURE_KEY)


def leaf(entry: bytes) -> bytes:
    return sha256(b"\x00" + entry).digest()


def tree(leaves: Sequence[bytes]) -> bytes:
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << ((len(leaves) - 1).bit_length() - 1)
    return sha256(b"\x01" + tree(leaves[:half]) + tree(leaves[half:])).digest()


def proof(old: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PROOF(old, D[n]) of RFC 6962 section 2.1.2, by its recursive definition."""

    def subproof(m: int, d: Sequence[bytes], whole: bool) -> list[bytes]:
        if m == len(d):
            return [] if whole else [tree(d)]
        k = 1 << ((len(d) - 1).bit_length() - 1)
        if m <= k:
            return [*subproof(m, d[:k], whole), tree(d[k:])]
        return [*subproof(m - k, d[k:], False), tree(d[:k])]

    return subproof(old, leaves, True) if old else []


class MadeLog:
    """Entries in a list; every one a second after the one before it."""

    def __init__(self, signer: NoteSigner = LOG_SIGNER) -> None:
        self.signer = signer
        self.entries: list[bytes] = []
        self.leaves: list[bytes] = []
        self.heads: dict[bytes, tuple[int, bytes]] = {}
        self.now_ms = NOON_MS
        self.lies: Callable[[int, int, int, bytes], bytes] = lambda level, index, width, content: content
        self.served: list[tuple[int, int, int]] = []

    @property
    def size(self) -> int:
        return len(self.entries)

    def put(self, entry: Entry | bytes) -> int:
        data = entry if isinstance(entry, bytes) else entry.encode()
        self.entries.append(data)
        self.leaves.append(leaf(data))
        self.now_ms += 1000
        return self.size - 1

    def statement(self, *subjects: str, time_ms: int | None = None) -> int:
        """An honest entry about these subjects."""
        links = []
        for subject in sorted(map(subject_hash, subjects)):
            seq, previous = self.heads.get(subject, (-1, None))
            links.append(ChainLink(subject, seq + 1, previous))
        number = sha256(b"statement %d" % self.size).digest()
        entry = Entry(self.now_ms if time_ms is None else time_ms, "trace-event+sd-jwt", number, tuple(links))
        index = self.put(entry)
        for link in links:
            self.heads[link.subject] = (link.seq, self.leaves[index])
        return index

    def grow(self, to: int) -> MadeLog:
        """Honest entries up to a size: a few lots, a plot that many share, and an index now and then."""
        while self.size < to:
            number = self.size
            if number % 40 == 39:
                self.index()
            else:
                self.statement(f"lot/A/{number // 3}", f"plot/A/{number % 7}")
        return self

    def index(self, size: int | None = None, root: bytes | None = None) -> int:
        """A lot-index entry; by default an honest one over everything there is."""
        size = self.size if size is None else size
        computed = self.index_root(size)
        return self.put(Entry(self.now_ms, LOT_INDEX, index=(size, root if root is not None else computed)))

    def index_root(self, size: int) -> bytes:
        index = LotIndex()
        for data in self.entries[:size]:
            entry = Entry.parse(data)
            for link in entry.chain:
                index.set(Head(link.subject, link.seq, entry.leaf))
        return index.root

    def root(self, size: int | None = None) -> bytes:
        return tree(self.leaves[: self.size if size is None else size])

    def note(self, size: int | None = None) -> str:
        size = self.size if size is None else size
        return sign_checkpoint(Checkpoint(self.signer.name, size, self.root(size)), self.signer)

    def request(self, old: int, size: int | None = None) -> bytes:
        """An add-checkpoint request from `old` to `size`."""
        size = self.size if size is None else size
        return request_body(old, proof(old, self.leaves[:size]), self.note(size))

    def tile(self, level: int, index: int, width: int) -> bytes:
        """A tile or bundle as it should be, then as it is told."""
        self.served.append((level, index, width))
        span = 256 ** max(level, 0)
        start = index * 256
        if level < 0:
            content = bundle(self.entries[start : start + width])
        else:
            hashes: Iterable[bytes] = (
                tree(self.leaves[n * span : (n + 1) * span]) for n in range(start, start + width)
            )
            content = b"".join(hashes)
        return self.lies(level, index, width, content)
