"""The verifier's modules as one script, and what it answers to signatures and to bundles made to confuse readers."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

import edwards25519 as ed
from browser_verifier import BrowserVerifier
from proof_world import World
from suyuan.api.console import Unusable
from suyuan.api.pages import scripts
from suyuan.api.signed_files import BOM, EXPORT_FORMAT, REPORT_FORMAT
from suyuan.api.verifying import verify_file
from suyuan.ledger.encoding import base64_text, base64url_bytes, base64url_text
from suyuan.ledger.errors import ProofError
from suyuan.ledger.key_pairs import PrivateKey
from suyuan.ledger.note import NoteSigner
from suyuan.ledger.policy import Log, Policy
from suyuan.ledger.strict_json import dump_json
from verified_twice import verify_bundle

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
VENDOR = scripts.FOLDER / "vendor"


@pytest.fixture(scope="module")
def verifier(node_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserVerifier]:
    verifier = BrowserVerifier(node_path, tmp_path_factory.mktemp("verifier"))
    yield verifier
    verifier.close()


@pytest.fixture(scope="module")
def world() -> World:
    world = World().story()
    world.index()
    return world


def test_the_library_is_the_one_that_its_readme_names_byte_for_byte() -> None:
    told = (VENDOR / "README.md").read_text(encoding="utf-8")
    named = {path: digest for digest, path in re.findall(r"^([0-9a-f]{64})  (\S+)$", told, re.M)}
    found = {
        file.relative_to(VENDOR).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in VENDOR.rglob("*.js")
    }
    assert found == named
    assert all((folder / "LICENSE").is_file() for folder in VENDOR.iterdir() if folder.is_dir())


def test_a_module_with_a_form_of_import_that_is_not_known_is_not_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts, "FOLDER", tmp_path)
    sources = {
        "default": "import x from './x.js';",
        "bare": 'import { x } from "x";',
        "late": "await import('./x.js');",
    }
    sources |= {"one": 'import { two } from "./two.js";\n', "two": 'import { one } from "./one.js";\n'}
    for name, source in sources.items():
        (tmp_path / f"{name}.js").write_text(source)
    for name in sources:
        with pytest.raises(ValueError):
            scripts.joined(f"{name}.js")


def test_what_would_end_a_script_element_is_in_no_script() -> None:
    for entry in ("page.js", "here.js"):
        assert "</script" not in scripts.joined(entry).source.lower()
        assert scripts.joined(entry).integrity.startswith("sha384-")


def jwk(raw: bytes) -> bytes:
    return dump_json({"kty": "OKP", "crv": "Ed25519", "x": base64url_text(raw)})


@pytest.mark.parametrize("fallback", [False, True])
@pytest.mark.parametrize("key_torsion", range(8))
def test_points_of_mixed_order_are_judged_as_the_ledger_judges_them(
    verifier: BrowserVerifier, key_torsion: int, fallback: bool
) -> None:
    from suyuan.ledger import ed25519

    accepted = 0
    for r_torsion in range(8):
        for secret in range(1, 5):
            key = ed.encode(ed.add(ed.times(secret, ed.BASE), ed.TORSION[key_torsion]))
            encoded_r = ed.encode(ed.add(ed.times(secret + 7, ed.BASE), ed.TORSION[r_torsion]))
            message = bytes([secret])
            signature = ed.sign(secret, key, secret + 7, encoded_r, message)
            holds = ed25519.verify(key, message, signature)
            assert verifier.holds(jwk(key), message, signature, fallback=fallback) is holds
            accepted += holds
    assert key_torsion or accepted


@pytest.mark.parametrize("fallback", [False, True])
def test_small_orders_spellings_of_y_and_unreduced_s_are_refused(verifier: BrowserVerifier, fallback: bool) -> None:
    encoded_r = ed.encode(ed.times(5, ed.BASE))
    for point in ed.TORSION:
        key = ed.encode(point)
        assert not verifier.holds(jwk(key), b"m", ed.sign(0, key, 5, encoded_r, b"m"), fallback=fallback)
    key = ed.encode(ed.times(3, ed.BASE))
    for point in ed.TORSION:
        small = ed.sign(3, key, 0, ed.encode(point), b"m")
        assert not verifier.holds(jwk(key), b"m", small, fallback=fallback)
    honest = ed.sign(3, key, 5, encoded_r, b"m")
    assert verifier.holds(jwk(key), b"m", honest, fallback=fallback)
    unreduced = (int.from_bytes(honest[32:], "little") + ed.L).to_bytes(32, "little")
    assert not verifier.holds(jwk(key), b"m", honest[:32] + unreduced, fallback=fallback)
    for sign in (0, 1):
        assert not verifier.holds(jwk(ed.encode((0, ed.P + 1), sign)), b"m", honest, fallback=fallback)


@pytest.mark.parametrize("fallback", [False, True])
def test_es256_takes_only_the_low_s_and_points_of_the_curve(verifier: BrowserVerifier, fallback: bool) -> None:
    key = PrivateKey.generate("ES256")
    signature = key.sign(b"m")
    honest = dump_json(key.public.jwk)
    assert verifier.holds(honest, b"m", signature, fallback=fallback)
    assert not verifier.holds(honest, b"n", signature, fallback=fallback)
    s = int.from_bytes(signature[32:], "big")
    high = signature[:32] + (P256_ORDER - s).to_bytes(32, "big")
    assert not verifier.holds(honest, b"m", high, fallback=fallback)
    for numbers in ((0, s), (P256_ORDER, s), (1, 0), (1, P256_ORDER)):
        odd = b"".join(number.to_bytes(32, "big") for number in numbers)
        assert not verifier.holds(honest, b"m", odd, fallback=fallback)
    y = bytearray(base64url_bytes(key.public.jwk["y"]))
    y[31] ^= 1
    off_curve = dump_json({**key.public.jwk, "y": base64url_text(bytes(y))})
    assert not verifier.holds(off_curve, b"m", signature, fallback=fallback)


JSON_TEXTS = [
    b'{"a":1,"a":1}', b'{"a":1,"\\u0061":1}', b"[9007199254740992]", b"[9007199254740993]", b"[-0]", b"[01]", b"[1.]",
    b"[1e5]", b"[1E400]", b"[1e9999999999999999999]", b"[0e99]", b"[0.1234567890123456]", b"[1.000000000000000]",
    b"[9007199254740992.5]", b"[1e-30]", b"[1e-31]", b"[NaN]", b"[Infinity]", b"[-Infinity]", b'["\\ud800"]',
    b'["\\ud83d\\ude00"]', b'["\\ude00\\ud83d"]', b'["\\u0000"]', b'["\x00"]', b'["\t"]', b'["\\x"]', b'["\\u12"]',
    b"\xef\xbb\xbf[]", b'["\xff"]', b'["\xed\xa0\x80"]', b"[" * 32 + b"]" * 32, b"[" * 33 + b"]" * 33, b"[1,]",
    b'{"a":}', b'{"a" : [ 1 , 2 ] }', b"[] []", b"[\x0b]", b'{"__proto__":1}', b'["' + b"[" * 40 + b'"]', b"'a'", b"",
    b"[1e1000000]", b"[1e-1000000]", b"[0e-30]", b"[0e-31]", b"[0e-999999999]", b"[0e999999999]",
    b"[0e500000000000000000]", b"[0e100000000000000000]", b"[0e100000000000000001]",
    b"[-0e5]", b"[0.0e-29]", b"[0.0e-30]", b"[00e1]", b"[1e15]",
    b"[12.5]", b"[-0.5]", b"[12.50]", b"[123456789012.345]", b"[123456789012345.5]", b"[1234567890123456]", b"[1.5e3]",
    b'{"a":1,}', b"{1:2}", b'[tru]', b"[null,true,false]", b'["\xc2\x85\xe2\x80\xa8"]', b"[1 2]", b"[+1]", b"[.5]",
]  # fmt: skip


def test_a_disclosures_json_is_read_as_the_ledger_reads_it(world: World) -> None:
    """Each text stands as the private value of a signed field, so that nothing but the reading can fail."""
    salt = base64url_text(bytes(16))
    outcomes = set()
    for value in JSON_TEXTS:
        bundle = world.bundle()
        told = bundle["statements"]
        place = next(n for n, one in enumerate(told) if one["disclosures"])
        text = b'["' + salt.encode() + b'","price",' + value + b"]"
        told[place]["disclosures"] = [base64url_text(text)]
        (rule,) = {failure.rule for failure in verify_bundle(bundle, world.policy()).failures}
        outcomes.add(rule)
    assert outcomes == {"json", "json-depth", "disclosure-unreferenced"}


@settings(max_examples=60)
@given(data=st.data())
def test_whatever_is_changed_in_a_bundle_both_verifiers_say_the_same(world: World, data: st.DataObject) -> None:
    """Members dropped, repeated, swapped between items, put elsewhere: `verify_bundle` compares the answers."""
    bundle = copy.deepcopy(world.bundle())
    for _ in range(data.draw(st.integers(1, 3))):
        _change(bundle, data)
    content = json.dumps(bundle, ensure_ascii=data.draw(st.booleans())).encode()
    with contextlib.suppress(ProofError):
        verify_bundle(content, world.policy())


def _change(bundle: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["checkpoints", "statements", "indexes", "completeness"]))
    items = bundle.get(name)
    if not isinstance(items, list) or not items:
        return
    at = data.draw(st.integers(0, len(items) - 1))
    other = data.draw(st.integers(0, len(items) - 1))
    match data.draw(st.sampled_from(["drop", "repeat", "swap", "member", "value", "text"])):
        case "drop":
            del items[at]
        case "repeat":
            items.insert(other, copy.deepcopy(items[at]))
        case "swap":
            items[at], items[other] = items[other], items[at]
        case "member" if isinstance(items[at], dict) and isinstance(items[other], dict):
            member = data.draw(st.sampled_from(sorted(items[at])))
            items[at][member] = copy.deepcopy(items[other].get(member, 0))
        case "value" if isinstance(items[at], dict):
            odd = st.sampled_from([None, -1, 0, 1, 2**53, True, 0.5, "", "AA==", [], {}, base64_text(bytes(32))])
            items[at][data.draw(st.sampled_from(sorted(items[at])))] = data.draw(odd)
        case _:
            where = items[at] if isinstance(items[at], dict) else None
            texts = [key for key, value in (where or {}).items() if isinstance(value, str) and value]
            if where is not None and texts:
                key = data.draw(st.sampled_from(sorted(texts)))
                cut = data.draw(st.integers(0, len(where[key]) - 1))
                letter = data.draw(st.sampled_from('A=_-./ é"\\'))
                where[key] = where[key][:cut] + letter + where[key][cut + data.draw(st.integers(0, 1)) :]


def test_a_sibling_changed_anywhere_is_found_even_where_paths_have_met(world: World) -> None:
    """The browser hashes no node twice; what is taken as proven must be the same, sibling by sibling."""
    honest = world.bundle()
    longest = max(len(one["path"]) for one in honest["statements"])
    for place in range(longest):
        bundle = copy.deepcopy(honest)
        changed = [one for one in bundle["statements"] if len(one["path"]) > place][-1]
        changed["path"][place] = base64_text(bytes(range(32)))
        assert {failure.rule for failure in verify_bundle(bundle, world.policy()).failures} >= {"inclusion"}
    for change in (lambda path: path[:-1], lambda path: [*path, path[-1]]):
        bundle = copy.deepcopy(honest)
        bundle["statements"][-1]["path"] = change(bundle["statements"][-1]["path"])
        assert {failure.rule for failure in verify_bundle(bundle, world.policy()).failures} >= {"inclusion"}


POLICY_CHANGES = [
    lambda text: text.replace("#suyuan policy v1\n", ""),
    lambda text: text.replace("quorum g\n", ""),
    lambda text: text + "quorum g\n",
    lambda text: text.replace("group g 2 a b", "group g 3 a b"),
    lambda text: text.replace("group g 2 a b", "group g 0 a b"),
    lambda text: text.replace("group g 2 a b", "group g 2 a a"),
    lambda text: text.replace("group g 2 a b", "group g 2 a c"),
    lambda text: text.replace("group g 2 a b", "group  g\tall a b"),
    lambda text: text.replace("witness a ", "witness none "),
    lambda text: text.replace("\n", "\r\n"),
    lambda text: text.rstrip("\n"),
    lambda text: text + "unknown line\n",
    lambda text: text + "#suyuan unknown\n",
    lambda text: text + "# a comment\n#another\n\n",
    lambda text: text.replace("max-index-age 120", "max-index-age 0120"),
    lambda text: text.replace(" 0 - {", " 5 5 {"),
    lambda text: text.replace('"kty"', '"kty":"OKP","kty"'),
    lambda text: text + "".join(line + "\n" for line in text.split("\n") if line.startswith("log ")),
    lambda text: re.sub(r"^(log [^+]+\+)([0-9a-f])", lambda m: m[1] + ("0" if m[2] != "0" else "1"), text, flags=re.M),
    lambda text: text + f"#suyuan final elsewhere 1 {base64_text(bytes(32))}\n",
    lambda text: text.replace("#suyuan auditors none", "#suyuan auditors a"),
]


@pytest.mark.parametrize("change", POLICY_CHANGES)
def test_a_policy_file_is_read_or_refused_as_the_ledger_does(
    verifier: BrowserVerifier, world: World, change: Any
) -> None:
    text = change(world.policy_text()).encode()
    answer = verifier.bundle(dump_json(world.bundle()), text)
    try:
        policy = Policy.parse(text)
    except ProofError as error:
        assert answer["policy"] == f"{error.where}: {error.message}" or answer["policy"].split(":")[0] == error.where
    else:
        assert answer["ok"] is verify_bundle(world.bundle(), policy).ok


LOG_NAME = "trace.test/log"
SIGNED = {
    "report": (
        f"{REPORT_FORMAT}\norigin {LOG_NAME}\nrecall urn:uuid:1\ncheckpoint 5 x\nstatement 3 00\n"
        f"pdf {hashlib.sha256(b'%PDF-1').hexdigest()}\ncsv {hashlib.sha256(b'1,2').hexdigest()}\n"
    ),
    "export": f"{BOM}{EXPORT_FORMAT} {LOG_NAME} 2026-01-01T00:00:00+00:00 lots of A\n\n批次,lot\n1,2\n",
}
SIGNED_CHANGES: list[tuple[str, str, str]] = [
    ("report", "origin", "origins"), ("report", f" {LOG_NAME}", ""), ("report", LOG_NAME, "elsewhere"),
    ("report", "csv ", "csv"), ("report", "pdf", "jpg"), ("report", "/v1\n", "/v1 \n"), ("report", "recall", "x"),
    ("report", "checkpoint 5 x\nstatement 3 00\n", ""), ("report", "statement 3 00\n", ""),
    ("report", "1\n", "\u202e1\n"),
    ("report", "urn:uuid:1", "urn\x85uuid"), ("export", BOM, ""), ("export", f" {LOG_NAME}", ""),
    ("export", LOG_NAME, LOG_NAME + "+"), ("export", "lots of A", "\u2028\u200b"), ("export", "/v1 ", "/v2 "),
    ("export", "\n\n", "\n"),
]  # fmt: skip


@pytest.mark.parametrize("resigned", [True, False])
@pytest.mark.parametrize(("kind", "old", "new"), [("report", "", ""), ("export", "", ""), *SIGNED_CHANGES])
def test_a_signed_report_or_export_holds_or_fails_as_the_command_line_says(
    verifier: BrowserVerifier, tmp_path: Path, kind: str, old: str, new: str, resigned: bool
) -> None:
    signer = NoteSigner(LOG_NAME, Ed25519PrivateKey.generate())
    policy = Policy((Log(signer.verifier),), (), (), None, None, (), None).text().encode()
    honest = SIGNED[kind]
    changed = honest.replace(old, new, 1)
    note = f"{changed}\n{signer.sign(changed if resigned else honest)}".encode()
    (tmp_path / "policy").write_bytes(policy)
    for files in ({}, {"pdf": b"%PDF-1"}, {"pdf": b"%PDF-1", "csv": b"1,2"}, {"pdf": b"%PDF-2"}):
        folder = tmp_path / "-".join([*files, "x"])
        folder.mkdir(exist_ok=True)
        names = {"note": note, **files}
        for name, content in names.items():
            (folder / f"csv.{name}").write_bytes(content)
        answer = verifier.signed(note, policy, **files)
        for lang in ("zh", "en"):
            ok, lines = True, [""]
            try:
                ok, lines = verify_file(
                    folder / "csv.note", tmp_path / "policy", None, lang, completeness=True, quorum=True, every=False
                )
            except Unusable:  # says that it is something else
                ok, lines = False, []
            assert answer["ok"] is ok
            for extension in files:
                lines = [line.replace(f"csv.{extension}", extension) for line in lines]
            assert not lines or answer[lang] == lines
        if kind == "report" and not old:
            assert answer["ok"] is (files.get("pdf") != b"%PDF-2")


@pytest.mark.parametrize("fallback", [False, True])
def test_the_published_bundles_verify_or_fail_for_the_same_rules(
    verifier: BrowserVerifier, shared_data: Path, fallback: bool
) -> None:
    from suyuan.ledger import verify

    folder = shared_data / "proof"
    policy = (folder / "policy").read_bytes()
    files = [folder / "tea.proof.json", *sorted((folder / "tampered").iterdir())]
    assert len(files) > 10
    for file in files:
        report = verify.verify_bundle(file.read_bytes(), Policy.parse(policy))
        answer = verifier.bundle(file.read_bytes(), policy, fallback=fallback)
        assert answer["ok"] is report.ok is (file.parent == folder), file.name
        assert [rule for rule, _, _ in answer["failures"]] == [one.rule for one in report.failures], file.name
        assert (answer["zh"], answer["en"]) == (report.lines("zh"), report.lines("en"))
