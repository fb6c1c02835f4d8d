"""Ten thousand disclosures that are almost right: none is accepted, at submission or by a reader's verifier."""

from __future__ import annotations

import json
import random
import unicodedata
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from hashlib import sha256
from typing import Any

from proof_world import FACTORY, TEA, World, lots, uri
from suyuan.ledger.disclosures import disclosure_digest, open_body
from suyuan.ledger.encoding import base64url_bytes, base64url_text
from suyuan.ledger.errors import Refusal
from suyuan.ledger.keys import PrivateKey
from suyuan.ledger.statement import Signed, Statement, issue, open_disclosures, parse_statement
from suyuan.ledger.verify import verify_bundle

MUTATIONS = 10_000
BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
KEY = PrivateKey.generate()
EVENT = "trace-event+sd-jwt"

Texts = list[str]


def signed(random_salt: random.Random, number: int) -> Signed:
    """An event with private fields of every kind of value, one inside another, and some of low entropy."""
    kde = {
        "operator": "李四?>~?>~?>~", "price": Decimal("12.5"), "count": 3, "café": "né", "passed": True,
        "nothing": None, "big": 2**53 - 1,
        "recipe": [{"part": "a", "share": Decimal("0.3")}, {"part": "b", "share": Decimal("0.7")}],
        "place": {"village": "永兴", "house": {"door": 4, "phone": "13800000000"}},
    }  # fmt: skip
    body = {"type": "ObjectEvent", "eventID": f"urn:uuid:{number}", "quantityList": lots(TEA), "suyuan:kde": kde}
    private = {f"/suyuan:kde/{name}": "partner" for name in kde}
    private |= {"/suyuan:kde/place/house": "regulator", "/suyuan:kde/place/house/phone": "regulator"}
    return issue(
        EVENT, body, key=KEY, iss=FACTORY, aud="trace.test/520300", iat=1, private=private,
        salt=lambda: random_salt.randbytes(16),
    )  # fmt: skip


class Mutator:
    """Takes sound disclosures of one statement, and of its neighbour, and makes one of them unsound."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.pairs = [signed(self.random, number) for number in range(8)]
        self.ways: list[Callable[[Texts, Texts], Texts | None]] = [
            self.one_character, self.one_bit, self.longer, self.shorter, self.padding, self.trailing_bits,
            self.other_alphabet, self.surroundings, self.salt, self.name, self.value, self.spelling, self.spaces,
            self.unicode_form, self.look_alike, self.escapes, self.number_spelling, self.repeated, self.neighbours,
            self.neighbour_too, self.two_in_one, self.reserved_name, self.existing_name, self.digest_inside,
            self.dots_inside, self.more_elements, self.fewer_elements, self.not_an_array, self.doubled_member,
            self.invented, self.digest_itself, self.salt_length,
        ]  # fmt: skip

    def one(self) -> tuple[str, Statement, Texts, Texts]:
        """The way's name, a statement, its own disclosures, and those with one changed."""
        while True:
            mine, theirs = self.random.sample(self.pairs, 2)
            texts = [text for text, _ in mine.disclosures]
            way = self.random.choice(self.ways)
            changed = way(list(texts), [text for text, _ in theirs.disclosures])
            if changed is not None and Counter(changed) != Counter(texts):
                return way.__name__, parse_statement(mine.statement.encode()), texts, changed

    def _put(self, texts: Texts, change: Callable[[str], str]) -> Texts:
        place = self.random.randrange(len(texts))
        texts[place] = change(texts[place])
        return texts

    def _json(self, texts: Texts, change: Callable[[list[Any]], Any], **spelling: Any) -> Texts:
        options: dict[str, Any] = {"ensure_ascii": False, "separators": (",", ":"), **spelling}

        def again(text: str) -> str:
            return base64url_text(json.dumps(change(json.loads(base64url_bytes(text))), **options).encode())

        return self._put(texts, again)

    def _raw(self, texts: Texts, change: Callable[[bytes], bytes]) -> Texts:
        return self._put(texts, lambda text: base64url_text(change(base64url_bytes(text))))

    # ------------------------------------------------------------ the text

    def one_character(self, texts: Texts, _: Texts) -> Texts:
        def change(text: str) -> str:
            place = self.random.randrange(len(text))
            return text[:place] + self.random.choice(BASE64URL) + text[place + 1 :]

        return self._put(texts, change)

    def one_bit(self, texts: Texts, _: Texts) -> Texts:
        def change(raw: bytes) -> bytes:
            place = self.random.randrange(len(raw))
            return raw[:place] + bytes([raw[place] ^ (1 << self.random.randrange(8))]) + raw[place + 1 :]

        return self._raw(texts, change)

    def longer(self, texts: Texts, _: Texts) -> Texts:
        return self._put(texts, lambda text: text + self.random.choice(BASE64URL))

    def shorter(self, texts: Texts, _: Texts) -> Texts:
        return self._put(texts, lambda text: text[: -self.random.randint(1, 4)])

    def padding(self, texts: Texts, _: Texts) -> Texts:
        return self._put(texts, lambda text: text + "=" * self.random.randint(1, 3))

    def trailing_bits(self, texts: Texts, _: Texts) -> Texts:
        """Another last character, which a lenient decoder reads as the same bytes."""
        return self._put(texts, lambda text: text[:-1] + BASE64URL[BASE64URL.index(text[-1]) ^ 1])

    def other_alphabet(self, texts: Texts, _: Texts) -> Texts:
        return self._put(texts, lambda text: text.replace("-", "+").replace("_", "/"))

    def surroundings(self, texts: Texts, _: Texts) -> Texts:
        mark = self.random.choice([" ", "\n", "\t", "~", "\x00", "\u200b"])
        return self._put(texts, lambda text: mark + text if self.random.random() < 0.5 else text + mark)

    # ------------------------------------------------------------ salt, name, value

    def salt(self, texts: Texts, _: Texts) -> Texts:
        return self._json(texts, lambda row: [base64url_text(self.random.randbytes(16)), *row[1:]])

    def salt_length(self, texts: Texts, _: Texts) -> Texts:
        size = self.random.choice([0, 1, 15, 17, 32])
        return self._json(texts, lambda row: [base64url_text(self.random.randbytes(size)), *row[1:]])

    def name(self, texts: Texts, _: Texts) -> Texts:
        return self._json(texts, lambda row: [row[0], self.random.choice([row[1] + "x", row[1].upper(), ""]), row[2]])

    def value(self, texts: Texts, _: Texts) -> Texts:
        others = [None, 0, 1, "", "王五", True, False, [], {}, [1], {"a": 1}, -1, 12.49]
        return self._json(texts, lambda row: [row[0], row[1], self.random.choice(others)])

    # ------------------------------------------------------------ the same said otherwise

    def spelling(self, texts: Texts, _: Texts) -> Texts:
        return self._json(texts, lambda row: row, ensure_ascii=True)

    def spaces(self, texts: Texts, _: Texts) -> Texts:
        return self._json(texts, lambda row: row, separators=(", ", ": "))

    def unicode_form(self, texts: Texts, _: Texts) -> Texts:
        form = self.random.choice(["NFD", "NFKD"])
        return self._raw(texts, lambda raw: unicodedata.normalize(form, raw.decode()).encode())  # type: ignore[arg-type]

    def look_alike(self, texts: Texts, _: Texts) -> Texts:
        return self._raw(texts, lambda raw: raw.decode().replace("o", "\u043e").replace("e", "\u0435").encode())

    def escapes(self, texts: Texts, _: Texts) -> Texts:
        """`operator` and `\\u006fperator` are the same JSON, but not the same disclosure."""
        return self._raw(texts, lambda raw: raw.replace(b"o", rb"\u006f").replace(b"a", rb"\u0061"))

    def number_spelling(self, texts: Texts, _: Texts) -> Texts:
        swaps = [(b"12.5", b"12.50"), (b",3]", b",3.0]"), (b"0.3", b"3e-1"), (b",3]", b",3e0]"), (b"0.7", b"0.70")]
        before, after = self.random.choice(swaps)
        return [base64url_text(base64url_bytes(text).replace(before, after)) for text in texts]

    # ------------------------------------------------------------ one disclosure for another

    def repeated(self, texts: Texts, _: Texts) -> Texts:
        return [*texts, self.random.choice(texts)]

    def neighbours(self, texts: Texts, theirs: Texts) -> Texts:
        """The other statement's disclosure, of the very same field and value, in the place of this one's."""
        place = self.random.randrange(len(texts))
        texts[place] = theirs[place]
        return texts

    def neighbour_too(self, texts: Texts, theirs: Texts) -> Texts:
        return [*texts, self.random.choice(theirs)]

    def two_in_one(self, texts: Texts, _: Texts) -> Texts:
        first, second = self.random.sample(texts, 2)
        rest = [text for text in texts if text not in (first, second)]
        return [*rest, self.random.choice([first + second, f"{first}~{second}", f"{first}.{second}"])]

    def invented(self, texts: Texts, _: Texts) -> Texts:
        row = [base64url_text(self.random.randbytes(16)), "discount", 5]
        return [*texts, base64url_text(json.dumps(row, separators=(",", ":")).encode())]

    def digest_itself(self, texts: Texts, _: Texts) -> Texts:
        return self._put(texts, disclosure_digest)

    # ------------------------------------------------------------ structure

    def reserved_name(self, texts: Texts, _: Texts) -> Texts:
        return self._json(texts, lambda row: [row[0], self.random.choice(["_sd", "...", "_sd_alg"]), row[2]])

    def existing_name(self, texts: Texts, _: Texts) -> Texts:
        return self._json(texts, lambda row: [row[0], self.random.choice(["type", "eventID", "operator"]), row[2]])

    def digest_inside(self, texts: Texts, _: Texts) -> Texts:
        inner = disclosure_digest(self.random.choice(texts))
        return self._json(texts, lambda row: [*row[:2], {"_sd": [inner], "value": row[2]}])

    def dots_inside(self, texts: Texts, _: Texts) -> Texts:
        inner = disclosure_digest(self.random.choice(texts))
        return self._json(texts, lambda row: [*row[:2], [{"...": inner}]])

    def more_elements(self, texts: Texts, _: Texts) -> Texts:
        return self._json(texts, lambda row: [*row, self.random.choice([None, 1, "x"])])

    def fewer_elements(self, texts: Texts, _: Texts) -> Texts:
        return self._json(texts, lambda row: self.random.choice([row[:2], row[1:], [row[0], row[2]]]))

    def not_an_array(self, texts: Texts, _: Texts) -> Texts:
        return self._json(texts, lambda row: {"salt": row[0], "name": row[1], "value": row[2]})

    def doubled_member(self, texts: Texts, _: Texts) -> Texts:
        return self._raw(texts, lambda raw: raw.replace(b'{"part":"a"', b'{"part":"z","part":"a"'))


def test_of_ten_thousand_mutated_disclosures_none_is_accepted() -> None:
    mutator = Mutator(20_261_123)
    ways: Counter[str] = Counter()
    for _ in range(MUTATIONS):
        way, statement, sound, mutated = mutator.one()
        ways[way] += 1
        for complete in (True, False):
            try:
                opened = open_disclosures(statement, mutated, complete=complete)
            except (Refusal, UnicodeEncodeError):
                continue
            raise AssertionError(f"{way}, complete={complete}: {opened.body}\n{mutated}")
        assert len(open_disclosures(statement, sound, complete=True).disclosures) == len(sound)
    assert set(ways) == {way.__name__ for way in mutator.ways} and min(ways.values()) > 20


def test_the_same_disclosures_in_another_order_open_the_same_body() -> None:
    mutator = Mutator(7)
    for pair in mutator.pairs:
        statement, texts = parse_statement(pair.statement.encode()), [text for text, _ in pair.disclosures]
        straight = open_disclosures(statement, texts, complete=True)
        mutator.random.shuffle(texts)
        assert open_disclosures(statement, texts, complete=True).body == straight.body


def test_a_bundle_with_a_mutated_disclosure_fails_at_that_statement() -> None:
    mutator = Mutator(11)
    world = World().story()
    policy = world.policy()
    bundle = world.bundle(index_entry=world.index())
    assert verify_bundle(bundle, policy).ok
    (place,) = [n for n, item in enumerate(bundle["statements"]) if item["disclosures"]]
    sound = bundle["statements"][place]["disclosures"]
    for way in (mutator.one_character, mutator.padding, mutator.trailing_bits, mutator.salt, mutator.value,
                mutator.spaces, mutator.escapes, mutator.repeated, mutator.invented, mutator.neighbour_too,
                mutator.digest_inside, mutator.surroundings):  # fmt: skip
        mutated = way(list(sound), [text for text, _ in mutator.pairs[0].disclosures])
        if mutated == sound:
            continue
        report = verify_bundle(
            {**bundle, "statements": [{**item, "disclosures": mutated} if n == place else item
                                      for n, item in enumerate(bundle["statements"])]}, policy,
        )  # fmt: skip
        assert not report.ok and any(one.where == f"statements[{place}]" for one in report.failures), way.__name__


def test_digests_moved_within_a_statement_break_its_signature_and_rules() -> None:
    """What a holder of the statement, but not of the key, could do to `_sd` arrays themselves."""
    pair = Mutator(3).pairs[0]
    statement, texts = parse_statement(pair.statement.encode()), [text for text, _ in pair.disclosures]
    kde = statement.body["suyuan:kde"]
    digests: list[str] = kde["_sd"]
    bodies = [
        {**statement.body, "_sd": digests, "suyuan:kde": {**kde}},
        {**statement.body, "suyuan:kde": {**kde, "again": {"_sd": digests[:1]}}},
        {**statement.body, "suyuan:kde": {**kde, "_sd": digests[1:]}},
        {**statement.body, "suyuan:kde": {**kde, "_sd": [*digests, base64url_text(sha256(b"decoy").digest())]}},
    ]
    for body in bodies:
        try:
            open_body("event", body, texts, complete=True)
        except Refusal:
            continue
        raise AssertionError(body)
    head, payload, signature = pair.statement.split(".")
    changed = json.loads(base64url_bytes(payload))
    changed["event"]["suyuan:kde"]["_sd"] = sorted(digests)[:-1]
    forged = f"{head}.{base64url_text(json.dumps(changed, separators=(',', ':')).encode())}.{signature}"
    assert not parse_statement(forged.encode()).verify(KEY.public)
    assert uri(TEA)
