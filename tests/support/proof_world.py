"""A log in memory with actors, witnesses and lot indexes, and the bundles one can make from it.

Written against `docs/formats.md` with the tree and entry functions only, so that tests of the verifier need no
database and can make a log say anything, honest or not.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from suyuan.ledger.checkpoint import Checkpoint, sign_checkpoint
from suyuan.ledger.encoding import base64_text, base64url_text
from suyuan.ledger.entry import ChainLink, Entry
from suyuan.ledger.keys import PrivateKey, possession_message
from suyuan.ledger.lot_index import Head, LotIndex
from suyuan.ledger.merkle import inclusion_path, leaf_hash, root
from suyuan.ledger.note import COSIGNATURE_KEY, NoteSigner
from suyuan.ledger.policy import Policy
from suyuan.ledger.receipt import format_receipt
from suyuan.ledger.statement import dump_json, issue, parse_statement
from suyuan.ledger.subjects import correction_chain, subject_hash, subjects_of

START_MS = 1_800_000_000_000
GROWER, FACTORY, OFFICE = "91520328MAXXTE02XB", "91520328MAXXTE03XB", "91520328MAXXTE04XB"
PLOT = f"plot/{GROWER}/p1"
LEAF = f"lot/{GROWER}/0123456789ABCDEF"
DUST = f"lot/{FACTORY}/1123456789ABCDEF"
TEA = "01/09520001000010/10/L1"
UNIT = "00/106141412345678908"
EVENT = "trace-event+sd-jwt"


def secret(seed):
    return Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)


def uri(subject):
    return f"https://h.test/{subject}"


def lots(*subjects):
    return [{"epcClass": uri(subject)} for subject in subjects]


class World:
    """One log, `origin`; every appended statement moves its clock on by a second."""

    def __init__(self, origin="trace.test/520300", seed=1):
        self.origin = origin
        self.signer = NoteSigner(origin, secret(seed))
        self.registrar = PrivateKey(secret(40))
        self.witnesses = {n: NoteSigner(f"wit.{n}", secret(ord(n)), COSIGNATURE_KEY) for n in "abz"}
        self.now_ms = START_MS
        self.keys = {}
        self.entries = []
        self.statements = {}
        self.heads = {}
        self.events = {}
        self.maps = {}
        self.numbers = 0

    # the log

    def append(self, entry):
        self.entries.append(entry.encode())
        self.now_ms += 1000
        return len(self.entries) - 1

    def put(self, typ, jws, disclosures=(), subjects=None):
        """Append a statement; `subjects` other than the right ones make a dishonest entry."""
        statement = parse_statement(jws.encode())
        if subjects is None:
            corrected = correction_chain(statement.body, self.events.get) if typ == EVENT else ()
            subjects = subjects_of(typ, statement.body, corrected)
        links = []
        for subject in sorted(subjects, key=subject_hash):
            seq, leaf = self.heads.get(subject, (-1, None))
            links.append(ChainLink(subject_hash(subject), seq + 1, leaf))
        entry = Entry(self.now_ms, typ, statement.hash, tuple(links))
        for subject in subjects:
            seq, _ = self.heads.get(subject, (-1, None))
            self.heads[subject] = (seq + 1, entry.leaf)
        if typ == EVENT:
            self.events[statement.body.get("eventID")] = statement.body
        index = self.append(entry)
        self.statements[index] = (jws, list(disclosures))
        return index

    def sign(self, typ, body, key, iss, private=None, subjects=None):
        given = issue(typ, body, key=key, iss=iss, aud=self.origin, iat=self.now_ms // 1000, private=private or {})
        return self.put(typ, given.statement, [text for text, _ in given.disclosures], subjects)

    def index(self, size=None, time_ms=None):
        """Append a lot-index entry that covers the first `size` entries (all, when not given)."""
        size = len(self.entries) if size is None else size
        lot_index = self.map_at(size)
        self.maps[len(self.entries)] = (size, lot_index)
        return self.append(
            Entry(self.now_ms if time_ms is None else time_ms, "lot-index", index=(size, lot_index.root))
        )

    def map_at(self, size):
        lot_index = LotIndex()
        for data in self.entries[:size]:
            entry = Entry.parse(data)
            for link in entry.chain:
                lot_index.set(Head(link.subject, link.seq, entry.leaf))
        return lot_index

    # people and goods

    def actor(self, actor, *roles, alg="Ed25519"):
        self.sign("actor+jwt", {"id": actor, "roles": list(roles)}, self.registrar, "R")
        self.keys[actor] = PrivateKey.generate(alg)
        self.key(actor)

    def key(self, actor, key=None, signer=None, **changes):
        key = key or self.keys[actor]
        kid = key.public.kid
        body = {
            "kid": kid,
            "jwk": dict(key.public.jwk),
            "actor": actor,
            "custody": "device",
            "from": 0,
            "until": None,
            "status": "active",
            "proof": base64url_text(key.sign(possession_message(self.origin, actor, kid))),
        }
        return self.sign("key+jwt", body | changes, signer or self.registrar, "R")

    def event(self, actor, kind="ObjectEvent", private=None, subjects=None, key=None, **members):
        self.numbers += 1
        body = {"type": kind, "eventID": f"urn:uuid:{self.numbers}", **members}
        return self.sign(EVENT, body, key or self.keys[actor], actor, private, subjects)

    def story(self):
        """A plot sprayed and picked, leaf made into tea and dust, tea stored, corrected, packed, shipped, inspected."""
        self.actor(GROWER, "grower")
        self.actor(FACTORY, "factory", alg="ES256")
        self.actor(OFFICE, "authority")
        plot = {"actor": GROWER, "type": "plot", "plot": uri(PLOT)}
        self.sign("credential+jwt", plot, self.keys[OFFICE], OFFICE)
        self.event(GROWER, action="OBSERVE", epcList=[uri(PLOT)])
        self.event(GROWER, action="ADD", epcList=[uri(PLOT)], quantityList=lots(LEAF))
        self.event(
            FACTORY,
            "TransformationEvent",
            private={"/suyuan:kde/price": "partner"},
            inputQuantityList=lots(LEAF),
            outputQuantityList=lots(TEA, DUST),
            **{"suyuan:kde": {"price": 12}},
        )
        self.event(FACTORY, action="OBSERVE", quantityList=lots(TEA))
        self.event(FACTORY, action="OBSERVE", quantityList=lots(TEA), **{"suyuan:corrects": f"urn:uuid:{self.numbers}"})
        self.event(FACTORY, "AggregationEvent", action="ADD", parentID=uri(UNIT), childQuantityList=lots(TEA))
        self.event(FACTORY, action="OBSERVE", epcList=[uri(UNIT)])
        self.sign("notice+jwt", {"lots": [uri(TEA)], "result": "passed"}, self.keys[OFFICE], OFFICE)
        return self

    # proofs

    def checkpoint(self, size=None, witnesses="ab", time_s=None, signer=None):
        size = len(self.entries) if size is None else size
        cosigned_s = self.now_ms // 1000 if time_s is None else time_s
        checkpoint = Checkpoint(self.origin, size, root([leaf_hash(data) for data in self.entries[:size]]))
        note = sign_checkpoint(checkpoint, signer or self.signer)
        return note + "".join(self.witnesses[name].cosign(checkpoint.text(), cosigned_s) for name in witnesses)

    def path(self, index, size=None):
        leaves = [leaf_hash(data) for data in self.entries]
        found = inclusion_path(
            index, len(leaves) if size is None else size, lambda level, i: root(leaves[i << level : (i + 1) << level])
        )
        return [base64_text(sibling) for sibling in found]

    def receipt(self, index):
        leaves = [leaf_hash(data) for data in self.entries]
        path = inclusion_path(index, len(leaves), lambda level, i: root(leaves[i << level : (i + 1) << level]))
        return format_receipt(self.entries[index], index, path, self.checkpoint(witnesses=""))

    def included(self, index, checkpoint=0):
        return {
            "entry": base64_text(self.entries[index]),
            "index": index,
            "path": self.path(index),
            "checkpoint": checkpoint,
        }

    def proof(self, subject, index_entry, position=0):
        _, lot_index = self.maps[index_entry]
        found = lot_index.prove(subject_hash(subject))
        item = {"subject": subject, "index": position, "path": [base64_text(sibling) for sibling in found.path]}
        if found.head is not None and found.head.subject == subject_hash(subject):
            return item | {"seq": found.head.seq, "leaf": base64_text(found.head.leaf)}
        if found.head is None:
            return item | {"absent": True}
        other = {
            "subject": base64_text(found.head.subject),
            "seq": found.head.seq,
            "leaf": base64_text(found.head.leaf),
        }
        return item | {"absent": True, "other": other}

    def bundle(self, subject=TEA, owed=None, without=(), index_entry=None, note=None):
        """A bundle of all statements but `without`, with completeness for `owed` (what the story owes, as a rule)."""
        if index_entry is None:
            index_entry = max(self.maps, default=None)
        if owed is None:
            owed = [TEA, LEAF, PLOT, UNIT, *(f"actor/{actor}" for actor in self.keys)]
        bundle = {
            "format": "suyuan/proof/v1",
            "subject": subject,
            "checkpoints": [self.checkpoint() if note is None else note],
            "statements": [
                {"statement": jws, "disclosures": disclosures, **self.included(index)}
                for index, (jws, disclosures) in sorted(self.statements.items())
                if index not in without
            ],
        }
        if index_entry is not None:
            bundle["indexes"] = [self.included(index_entry)]
            bundle["completeness"] = [self.proof(one, index_entry) for one in owed]
        return bundle

    def policy_text(self, quorum="g", auditors="none", max_index_age="120", more=""):
        jwk = dump_json(self.registrar.public.jwk).decode()
        lines = [
            "#suyuan policy v1",
            f"log {self.signer.verifier.vkey()}",
            *(f"witness {name} {witness.verifier.vkey()}" for name, witness in self.witnesses.items()),
            "group g 2 a b",
            f"quorum {quorum}",
            f"#suyuan auditors {auditors}",
            f"#suyuan registrar {self.registrar.public.kid} 0 - {jwk}",
        ]
        if max_index_age is not None:
            lines.append(f"#suyuan max-index-age {max_index_age}")
        return "".join(f"{line}\n" for line in lines) + more

    def policy(self, **changes):
        return Policy.parse(self.policy_text(**changes))
