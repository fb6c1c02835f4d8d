"""How far an audit with statements is from verifying their signatures and doing nothing else (`suyuan bench audit`).

Both on all cores, in turns, over the same statements: events of usual size by fifty actors, about lots that come up
several times, a lot index every minute of log time.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nacl.signing import SigningKey, VerifyKey

from .audit import audit
from .audit_source import DirectorySource
from .bench import Row, no_collection
from .checkpoint import Checkpoint, sign_checkpoint
from .encoding import base64url_text
from .entry import LOT_INDEX, ChainLink, Entry
from .head_map import HeadMap, bits_for
from .keys import PrivateKey, Registrar, possession_message
from .merkle import leaf_hash
from .note import NoteSigner
from .policy import Log, Policy
from .statement import dump_json, issue
from .subjects import subject_hash
from .tiles import TILE_WIDTH, Edge, bundle, tile_path

ACTORS = 50
_ORIGIN = "bench.example/audit"
_SIGNER = NoteSigner(_ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(32)))
_START_MS = 1_800_000_000_000
_EVENTS_A_MINUTE = 5_000


def run(quick: bool, progress: Callable[[str], None]) -> list[Row]:
    """The comparison; `quick` does a small part of the work, to see that it runs."""
    count, rounds = (3_000, 1) if quick else (120_000, 2)
    with tempfile.TemporaryDirectory(prefix="suyuan-bench-") as name:
        progress("a log to audit")
        made = _Made(Path(name))
        made.grow(count)
        policy = made.write()
        jobs = os.cpu_count() or 1
        best_raw = best_ours = 0.0
        for turn in range(rounds):
            progress(f"audit and raw verification, {turn + 1} of {rounds}")
            with no_collection():
                best_raw = max(best_raw, verified_a_second(made.signed, jobs))
                started = time.perf_counter()
                report = audit(DirectorySource(Path(name)), policy, statements=True, jobs=jobs)
                best_ours = max(best_ours, report.statements / (time.perf_counter() - started))
            if not report.ok:
                raise AssertionError("\n".join(report.lines("en")))
    title = f"statements audited, {jobs} cores, {count:,} events (limit: PyNaCl verifying their signatures)"
    return [Row(title, best_ours, best_raw, best_ours / best_raw, "1/s", at_least=0.5)]


def verified_a_second(signed: Sequence[tuple[bytes, bytes, bytes]], jobs: int) -> float:
    """Signatures a second when `jobs` processes verify and nothing else happens; starting them is not counted.

    `signed`: public key, message and signature of each.
    """
    share = -(-len(signed) // jobs)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _take, (list(signed),)) as pool:
        list(pool.map(_ready, range(jobs * 4)))
        started = time.perf_counter()
        list(pool.map(_verify, [(at, at + share) for at in range(0, len(signed), share)]))
        return len(signed) / (time.perf_counter() - started)


_signed: list[tuple[bytes, bytes, bytes]] = []


def _take(signed: list[tuple[bytes, bytes, bytes]]) -> None:
    _signed.extend(signed)


def _ready(_: int) -> None:
    time.sleep(0.05)


def _verify(part: tuple[int, int]) -> None:
    _verify_each(_signed[slice(*part)])


def _verify_each(signed: Sequence[tuple[bytes, bytes, bytes]]) -> None:
    keys: dict[bytes, VerifyKey] = {}
    for public, message, signature in signed:
        key = keys.get(public) or keys.setdefault(public, VerifyKey(public))
        key.verify(message, signature)


def _lot_id(number: int) -> str:
    """16 Crockford characters that look like random ones."""
    digest = int.from_bytes(sha256(b"lot %d" % number).digest()[:10], "big")
    return "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[digest >> shift & 31] for shift in range(0, 80, 5))


class _Made:
    """A log as a mirror in a folder, made by the formats and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.signed: list[tuple[bytes, bytes, bytes]] = []
        self._folder = folder
        self._registrar = PrivateKey(Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32))
        self._entries: list[bytes] = []
        self._lines: list[bytes] = []
        self._heads: dict[bytes, tuple[int, bytes]] = {}
        self._moved: set[bytes] = set()
        self._time_ms = _START_MS

    def grow(self, count: int) -> None:
        index = HeadMap(bits_for(3 * count))
        actors = [f"91520328MAXXTE{number:04d}" for number in range(ACTORS)]
        keys = [SigningKey(sha256(actor.encode()).digest()) for actor in actors]
        kids = [self._register(actor, key) for actor, key in zip(actors, keys, strict=True)]
        for number in range(count):
            actor = number // 4 % ACTORS  # as many events in a row are about the same lot
            self._event(number, actors[actor], keys[actor], kids[actor])
            self._time_ms += 60_000 // _EVENTS_A_MINUTE
            if number % _EVENTS_A_MINUTE == _EVENTS_A_MINUTE - 1:
                for subject in self._moved:
                    index.put(subject, *self._heads[subject])
                self._moved.clear()
                self._place(Entry(self._time_ms, LOT_INDEX, index=(len(self._entries), index.root)))

    def _register(self, actor: str, key: SigningKey) -> str:
        public = PrivateKey(Ed25519PrivateKey.from_private_bytes(bytes(key))).public
        proof = key.sign(possession_message(_ORIGIN, actor, public.kid)).signature
        body = {"kid": public.kid, "jwk": dict(public.jwk), "actor": actor, "custody": "device", "from": 0}
        body |= {"until": None, "status": "active", "proof": base64url_text(proof)}
        for typ, claim in (("actor+jwt", {"id": actor, "roles": ["factory"]}), ("key+jwt", body)):
            given = issue(typ, claim, key=self._registrar, iss="registrar", aud=_ORIGIN, iat=_START_MS // 1000)
            self._statement(typ, given.statement.encode(), [f"actor/{actor}"])
        return public.kid

    def _event(self, number: int, actor: str, key: SigningKey, kid: str) -> None:
        taken, made = f"lot/{actor}/{_lot_id(number // 4)}", f"lot/{actor}/{_lot_id(number // 2)}"
        price = base64url_text(sha256(b"%d" % number).digest())
        event: dict[str, Any] = {
            "@context": [
                "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld",
                {"suyuan": "https://x/voc/"},
            ],
            "type": "TransformationEvent",
            "eventID": f"urn:uuid:0198c3a2-0000-7000-8000-{number:012d}",
            "eventTime": "2026-03-25T14:00:00+08:00",
            "eventTimeZoneOffset": "+08:00",
            "bizStep": "commissioning",
            "readPoint": {"id": "https://trace.example.cn/place/520328101"},
            "inputQuantityList": [{"epcClass": f"https://trace.example.cn/{taken}", "quantity": Decimal("65.25")}],
            "outputQuantityList": [{"epcClass": f"https://trace.example.cn/{made}", "uom": "KGM", "quantity": 12}],
            "suyuan:stage": "tea.refined",
            "suyuan:kde": {"_sd": [price], "grade": "一级", "note": "示范记录,虚构" * 6},
        }
        header = dump_json({"alg": "Ed25519", "kid": kid, "typ": "trace-event+sd-jwt"})
        payload = {"iss": actor, "aud": _ORIGIN, "iat": self._time_ms // 1000, "_sd_alg": "sha-256", "event": event}
        message = f"{base64url_text(header)}.{base64url_text(dump_json(payload))}".encode()
        signature = key.sign(message).signature
        self.signed.append((bytes(key.verify_key), message, signature))
        raw = message + b"." + base64url_text(signature).encode()
        self._statement("trace-event+sd-jwt", raw, [f"{taken}#used", made])

    def _statement(self, typ: str, raw: bytes, subjects: Sequence[str]) -> None:
        chain: list[ChainLink] = []
        for subject in sorted(map(subject_hash, subjects)):
            seq, leaf = self._heads.get(subject, (-1, None))
            chain.append(ChainLink(subject, seq + 1, leaf))
        self._lines.append(json.dumps({"index": len(self._entries), "statement": raw.decode()}).encode() + b"\n")
        leaf = self._place(Entry(self._time_ms, typ, sha256(raw).digest(), tuple(chain)))
        for link in chain:
            self._heads[link.subject] = (link.seq, leaf)
            self._moved.add(link.subject)

    def _place(self, entry: Entry) -> bytes:
        encoded = entry.encode()
        self._entries.append(encoded)
        return leaf_hash(encoded)

    def write(self) -> Policy:
        """Write the mirror out; the policy to audit it by."""
        edge = Edge()
        files = {
            tile_path(tile.level, tile.index, len(tile.hashes) // 32): tile.hashes
            for tile in edge.append([leaf_hash(entry) for entry in self._entries])
        }
        for first in range(0, len(self._entries), TILE_WIDTH):
            some = self._entries[first : first + TILE_WIDTH]
            files[tile_path("entries", first // TILE_WIDTH, len(some))] = bundle(some)
        checkpoint = sign_checkpoint(Checkpoint(_ORIGIN, len(self._entries), edge.root), _SIGNER)
        files |= {"checkpoint": checkpoint.encode(), "statements.ndjson": b"".join(self._lines)}
        for name, content in files.items():
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        public = self._registrar.public
        registrars = (Registrar(public.kid, 0, None, public),)
        return Policy((Log(_SIGNER.verifier),), (), (), None, registrars=registrars)
