"""A producer's program talking to a service: over HTTP only, patient with a busy service, believing no receipt unread.

Whatever is sent may be sent again: statements are known by their signing input, attachments by their hash. So a
request whose answer was lost is simply repeated, and a run of statements goes on where the answers stopped.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from ..ledger.entry import Entry
from ..ledger.errors import ProofError
from ..ledger.keys import PrivateKey
from ..ledger.policy import Policy
from ..ledger.receipt import parse_receipt
from ..ledger.verify import verify_receipt
from .producer import Line
from .security import api_key_request

JWT, NDJSON, SD_JWT = "application/jwt", "application/x-ndjson", "application/sd-jwt"
ATTEMPTS = 8
"""How often in a row a request is made that brings nothing; the waits between add up to a minute or two."""
LINES_A_RUN, BYTES_A_RUN = 500, 4_000_000
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 20.0
_BUSY = frozenset({429, 502, 503, 504})
_TIMEOUT = httpx.Timeout(60, connect=5)


class ClientError(Exception):
    """What a producer's program cannot do, in Chinese and English."""

    def __init__(self, zh: str, en: str) -> None:
        super().__init__(en)
        self.zh = zh
        self.en = en


class Unreachable(ClientError):
    """The service did not answer, or was busy, for longer than a program waits."""


class FalseAnswer(ClientError):
    """The service answered something that does not hold: a receipt that does not verify, another log's key."""


class Refused(ClientError):
    """The service refused a request; `problem` holds its problem details, `what` what was being sent."""

    def __init__(self, status: int, problem: Mapping[str, Any], what: str = "") -> None:
        self.status = status
        self.problem = dict(problem)
        self.what = what
        super().__init__(self._text("zh", "拒绝"), self._text("en", "refused"))

    @property
    def rule(self) -> str:
        """The stable name of the rule that was broken."""
        return str(self.problem.get("rule", ""))

    def _text(self, lang: str, verb: str) -> str:
        faults = self.problem.get("errors") or [self.problem]
        about = [f"{self.what}: " if self.what else "", f"{verb} ({self.status}) "]
        texts = []
        for fault in faults:
            field = f"{fault['field']}: " if fault.get("field") else ""
            expected = f" → {fault['expected']}" if fault.get("expected") else ""
            texts.append(f"{field}{fault.get(lang) or fault.get('title', '')}{expected} [{fault.get('rule', '')}]")
        return "".join(about) + "; ".join(texts)


@dataclass(frozen=True)
class Recorded:
    """A statement's place on the ledger: `receipt` is a C2SP tlog-proof that was verified when it arrived."""

    hash: str
    index: int
    receipt: str
    duplicate: bool
    lots: tuple[str, ...] = ()


class Service:
    """One service, seen from a producer. May be used from several threads.

    `policy` is whom the caller trusts; without it the service is asked, once, and believed from then on.
    """

    def __init__(
        self,
        url: str,
        policy: Policy | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        attempts: int = ATTEMPTS,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
            raise ClientError(f"不是服务地址：{url}", f"not the address of a service: {url}")
        self.url = url.rstrip("/")
        # A service that is named by its address is asked itself, whatever proxy the environment has for other hosts.
        self._http = httpx.Client(base_url=self.url, timeout=_TIMEOUT, transport=transport, trust_env=False)
        self._attempts = attempts
        self._sleep = sleep
        self._clock = clock
        try:
            self.policy_text = policy.text() if policy is not None else self.get("/log/policy").text
            self.policy = policy or Policy.parse(self.policy_text)
            (log,) = self.policy.logs
            self.origin = log.key.name
            self.public_host = str(urlsplit(self.get("/.well-known/gs1resolver").json()["resolverRoot"]).netloc)
        except (ProofError, ValueError, KeyError) as error:
            self.close()
            raise FalseAnswer(
                f"{url} 不像溯源服务：{error}", f"{url} does not look like our service: {error}"
            ) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC by this program's clock."""
        return int(self._clock() * 1000)

    # ------------------------------------------------------------ being let in

    def api_key(self, key: PrivateKey, actor: str) -> str:
        """A new API key for `actor`, asked for with the actor's own key or a registrar's; shown by the service once."""

        def request() -> httpx.Response:
            token = api_key_request(key, actor=actor, origin=self.origin, iat=int(self._clock()))
            return self._http.post("/api/v1/api-keys", content=token, headers={"Content-Type": JWT})

        return str(self._expect(request, f"API key of {actor}").json()["key"])

    def api_keys(self, api_key: str) -> list[dict[str, Any]]:
        """The live API keys of the caller's actor: id, created (ms), lastFour."""
        keys: list[dict[str, Any]] = self.get("/api/v1/api-keys", api_key=api_key).json()
        return keys

    def revoke_api_key(self, api_key: str, key_id: str) -> None:
        """Revoke one of the actor's API keys by its id."""
        self._expect(
            lambda: self._http.delete(f"/api/v1/api-keys/{key_id}", headers=_bearer(api_key)), f"API key {key_id}"
        )

    def service_key(self, api_key: str) -> dict[str, Any]:
        """Have the service make and keep a signing key; what it answers is for the registrar's `key` statement."""
        offered: dict[str, Any] = self._expect(
            lambda: self._http.post("/api/v1/service-keys", headers=_bearer(api_key)), "service key"
        ).json()
        return offered

    # ------------------------------------------------------------ sending

    def attach(self, api_key: str, content: bytes, name: str) -> dict[str, Any]:
        """Hand a photo or document in; how a record names it: `{hash, mediaType, bytes}`."""
        headers = {**_bearer(api_key), "Content-Type": "application/octet-stream"}
        answer = self._expect(
            lambda: self._http.post("/api/v1/attachments", content=content, headers=headers), name
        ).json()
        return {member: answer[member] for member in ("hash", "mediaType", "bytes")}

    def draw_codes(self, api_key: str, lot: str, count: int, *, sign: bool) -> Iterator[dict[str, Any]]:
        """Have item codes drawn for a lot: `{done, count}` from time to time, at last `{codes}`. Raises Refused."""
        body = {"lot": lot, "count": count, "sign": sign}
        with self._http.stream("POST", "/api/v1/codes", json=body, headers=_bearer(api_key)) as response:
            if response.status_code != 200:
                response.read()
                raise Refused(response.status_code, _problem(response), lot)
            for text in response.iter_lines():
                line = json.loads(text)
                if "refused" in line:
                    raise Refused(422, line["refused"], lot)
                yield line

    def code_sets(self, api_key: str) -> list[dict[str, Any]]:
        """The code sets of the caller's actor: gtin, lot, first, count, root, and `entry` once it is recorded."""
        sets: list[dict[str, Any]] = self.get("/api/v1/codes", api_key=api_key).json()
        return sets

    def export_codes(self, api_key: str, root: str, form: str, skip: int, limit: int | None) -> Iterator[str]:
        """The lines of an export, as they come, without their ends. Raises Refused."""
        query: dict[str, str] = {"root": root, "format": form, "skip": str(skip)}
        if limit is not None:
            query["limit"] = str(limit)
        headers = _bearer(api_key)
        with self._http.stream("GET", "/api/v1/codes/export", params=query, headers=headers) as response:
            if response.status_code != 200:
                response.read()
                raise Refused(response.status_code, _problem(response), root)
            yield from response.iter_lines()

    def draw_sscc(self, api_key: str, prefix: str, extension: int, count: int) -> list[str]:
        """The next SSCCs under a company prefix. Not repeated by itself: what was drawn is drawn. Raises Refused."""
        body = {"prefix": prefix, "extension": extension, "count": count}
        answer = self._http.post("/api/v1/sscc", json=body, headers=_bearer(api_key))
        if answer.status_code != 201:
            raise Refused(answer.status_code, _problem(answer), "SSCC")
        units: list[str] = answer.json()["units"]
        return units

    def chip_keys(self, api_key: str, root: str) -> dict[str, Any] | None:
        """The keys of the NFC chips of a code set; None before they are set up. Raises Refused."""
        try:
            found: dict[str, Any] = self.get("/api/v1/codes/nfc", api_key=api_key, root=root).json()
        except Refused as refused:
            if refused.status != 404:
                raise
            return None
        return found

    def set_up_chips(self, api_key: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Settle the keys of the NFC chips of a code set. Raises Refused."""
        headers = _bearer(api_key)
        answer: dict[str, Any] = self._expect(
            lambda: self._http.post("/api/v1/codes/nfc", json=dict(wanted), headers=headers), "chips"
        ).json()
        return answer

    def bind_chips(self, api_key: str, root: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        """Send which chip is on which item of a set: how many are now `bound`, how many were `known`.

        Raises Refused.
        """
        content = "".join(json.dumps(dict(row)) + "\n" for row in rows)
        headers = {**_bearer(api_key), "Content-Type": "application/x-ndjson"}
        query = {"root": root}
        answer: dict[str, int] = self._expect(
            lambda: self._http.post("/api/v1/codes/nfc/tags", content=content, params=query, headers=headers), "chips"
        ).json()
        return answer

    def aggregate(
        self, api_key: str, content: Iterable[bytes], media_type: str, query: Mapping[str, str]
    ) -> Iterator[dict[str, Any]]:
        """Send a list of what lies where: what the service tells of it, line by line. Raises Refused."""
        headers = {**_bearer(api_key), "Content-Type": media_type}
        params = dict(query)
        timeout = httpx.Timeout(600, connect=5)
        with self._http.stream(
            "POST", "/api/v1/aggregations", content=content, params=params, headers=headers, timeout=timeout
        ) as response:
            if response.status_code != 200:
                response.read()
                raise Refused(response.status_code, _problem(response), "aggregations")
            for text in response.iter_lines():
                yield json.loads(text)

    def submit(self, lines: Sequence[Line], api_key: str) -> Iterator[Recorded]:
        """Send statements of one issuer, in order; yields each one's place as soon as its receipt has been verified.

        A statement that is refused ends it with Refused; what came before it stays recorded. Raises Unreachable,
        FalseAnswer.
        """
        for run in _runs(lines):
            yield from self._submit_run(run, api_key)

    def _submit_run(self, run: Sequence[Line], api_key: str) -> Iterator[Recorded]:
        waiting = list(run)
        attempt = 0
        while waiting:
            arrived = 0
            retry_after: str | None = None
            try:
                for line, answer in self._answers(waiting, api_key):
                    if answer["status"] in _BUSY:
                        break  # later ones may build on it: all of them again
                    if answer["status"] not in (200, 201):
                        raise Refused(answer["status"], answer["problem"], line.what)
                    recorded = self._verified(line, answer)
                    arrived += 1
                    yield recorded
            except _Busy as busy:
                retry_after = busy.retry_after
            except httpx.TransportError as error:
                self._last_error = error
            del waiting[:arrived]
            if waiting:
                attempt = 0 if arrived else attempt + 1
                self._wait(attempt, retry_after, waiting[0].what)

    def _answers(self, lines: Sequence[Line], api_key: str) -> Iterator[tuple[Line, dict[str, Any]]]:
        body = "".join(json.dumps(line.submission) + "\n" for line in lines).encode("ascii")
        headers = {**_bearer(api_key), "Content-Type": NDJSON}
        with self._http.stream("POST", "/api/v1/statements", content=body, headers=headers) as response:
            if response.status_code != 200:
                response.read()
                if response.status_code in _BUSY:
                    raise _Busy(response.headers.get("retry-after"))
                raise Refused(response.status_code, _problem(response), lines[0].what)
            for line, text in zip(lines, response.iter_lines(), strict=False):
                yield line, json.loads(text)

    def _verified(self, line: Line, answer: Mapping[str, Any]) -> Recorded:
        """The answer, if its receipt proves that this statement, or one with its signing input, is on the ledger."""
        same = answer["statement"] == line.hash
        # A duplicate may stand there with another signature over the same content; its receipt names that one.
        statement = line.signed.statement.encode("ascii") if same or not answer["duplicate"] else None
        report = verify_receipt(answer["receipt"], statement, self.policy)
        if not report.ok or report.index != answer["index"]:
            raise FalseAnswer(
                f"{line.what}：回执不成立：" + "；".join(one.line("zh") for one in report.failures),
                f"{line.what}: the receipt does not hold: " + "; ".join(one.line("en") for one in report.failures),
            )
        return Recorded(
            line.hash, answer["index"], answer["receipt"], answer["duplicate"], tuple(answer.get("lots") or ())
        )

    # ------------------------------------------------------------ asking

    def cosigned_receipt(self, receipt: str, api_key: str, until_ms: int) -> str | None:
        """The receipt of the same entry with the cosignatures that the policy asks for; None if not by `until_ms`."""
        first = parse_receipt(receipt)
        statement = Entry.parse(first.entry).statement or b""
        while True:
            text = self.get(f"/api/v1/receipts/{statement.hex()}", api_key=api_key).text
            report = verify_receipt(text, None, self.policy, require_quorum=True)
            if report.ok and parse_receipt(text).entry == first.entry:
                return text
            if self.now_ms() >= until_ms:
                return None
            self._sleep(0.5)

    def get(self, path: str, *, api_key: str | None = None, accept: str = "*/*", **query: str) -> httpx.Response:
        """Ask for something; redirects are followed. Raises Refused, Unreachable."""
        headers = {"Accept": accept, **(_bearer(api_key) if api_key else {})}
        return self._expect(
            lambda: self._http.get(path, params=query or None, headers=headers, follow_redirects=True), path
        )

    def _expect(self, request: Callable[[], httpx.Response], what: str) -> httpx.Response:
        attempt = 0
        while True:
            retry_after: str | None = None
            try:
                response = request()
            except httpx.TransportError as error:
                self._last_error = error
            else:
                if response.is_success:
                    return response
                if response.status_code not in _BUSY:
                    raise Refused(response.status_code, _problem(response), what)
                retry_after = response.headers.get("retry-after")
                self._last_error = httpx.TransportError(str(_problem(response).get("en", response.status_code)))
            attempt += 1
            self._wait(attempt, retry_after, what)

    _last_error: Exception | None = None

    def _wait(self, attempt: int, retry_after: str | None, what: str) -> None:
        """Wait before trying again: as long as the service asks, or twice as long as the last time."""
        if attempt >= self._attempts:
            raise Unreachable(
                f"{what}：服务 {self.url} 没有应答或一直繁忙，请稍后重试（{self._last_error}）",
                f"{what}: no answer from {self.url}, or busy all the time; try again later ({self._last_error})",
            ) from self._last_error
        wait = min(_FIRST_WAIT_S * 2 ** max(attempt - 1, 0), _LONGEST_WAIT_S)
        if retry_after is not None and retry_after.isascii() and retry_after.isdigit():
            wait = min(max(wait, float(retry_after)), 4 * _LONGEST_WAIT_S)
        self._sleep(wait * random.uniform(1.0, 1.3))


class _Busy(Exception):
    def __init__(self, retry_after: str | None) -> None:
        self.retry_after = retry_after


def _runs(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Lines in portions that a service takes as one body."""
    run: list[Line] = []
    size = 0
    for line in lines:
        length = len(line.signed.statement) + sum(len(text) + 60 for text, _ in line.signed.disclosures) + 60
        if run and (len(run) >= LINES_A_RUN or size + length > BYTES_A_RUN):
            yield run
            run, size = [], 0
        run.append(line)
        size += length
    if run:
        yield run


def _bearer(api_key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {api_key}"}


def _problem(response: httpx.Response) -> dict[str, Any]:
    try:
        problem = response.json()
    except ValueError:
        problem = None
    return problem if isinstance(problem, dict) else {"title": response.reason_phrase, "rule": "http"}
