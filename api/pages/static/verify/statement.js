// What a producer signed: the issuer-signed JWT of an SD-JWT, read by every rule of formats section 1.
import { base64urlBytes, isAscii, isLongerThan, utf8 } from "./encoding.js";
import { checkHidden } from "./disclosures.js";
import { Refusal, SpellingError } from "./errors.js";
import { SIGNATURE_SIZE } from "./signatures.js";
import { hasExactly, isObject, strictJson } from "./strict_json.js";

/** Every kind of statement: its `typ` and the name of its one body claim. */
export const KINDS = new Map([
  ["trace-event+sd-jwt", "event"],
  ["actor+jwt", "actor"],
  ["key+jwt", "key"],
  ["credential+jwt", "credential"],
  ["codes+jwt", "codes"],
  ["recall+jwt", "recall"],
  ["erasure+jwt", "erasure"],
  ["notice+jwt", "notice"],
]);
export const EVENT = "trace-event+sd-jwt";

const MAX_BYTES = 60_000;
const MAX_NAME = 200;
const ALGORITHMS = new Map([
  ["Ed25519", "Ed25519"],
  ["EdDSA", "Ed25519"],
  ["ES256", "ES256"],
]);

/** Read `header.payload.signature`; whether the signature holds is another question. Refusal for what breaks a rule. */
export function parseStatement(text) {
  if (!isAscii(text)) refuse("statement-format", "声明须为 ASCII", "a statement is ASCII");
  if (text.length > MAX_BYTES) refuseSize();
  const parts = text.split(".");
  if (parts.length !== 3) refuse("statement-format", "声明须为三段", "a statement is header.payload.signature");
  const { alg, kid, typ } = readHeader(parts[0]);
  const payload = strictJson(part(parts[1], "payload"));
  const signature = part(parts[2], "signature");
  if (signature.length !== SIGNATURE_SIZE) refuse("statement-format", "签名须为 64 字节", "a signature has 64 bytes");
  const claim = KINDS.get(typ);
  const names = ["iss", "aud", "iat", "_sd_alg", claim];
  if (!hasExactly(payload, names)) {
    const listed = names.sort().join(", ");
    refuse("statement-payload", `载荷成员须恰为 ${listed}`, `the payload members are exactly ${listed}`);
  }
  const [iss, aud, iat, body] = ["iss", "aud", "iat", claim].map((name) => payload.get(name));
  for (const [name, value] of [["iss", iss], ["aud", aud]]) {
    if (typeof value !== "string" || !value || isLongerThan(value, MAX_NAME) || value.includes("\n")) {
      refuse("statement-payload", `${name} 须为一行文本`, `${name} is one line of text`);
    }
  }
  if (typeof iat !== "number" || iat < 0) {
    refuse("statement-payload", "iat 须为整数秒", "iat is a whole number of seconds");
  }
  if (payload.get("_sd_alg") !== "sha-256") {
    refuse("statement-payload", "_sd_alg 须为 sha-256", "_sd_alg is sha-256");
  }
  if (!isObject(body)) refuse("statement-payload", `${claim} 须为对象`, `${claim} is an object`);
  checkHidden(body);
  const signingInput = utf8(text.slice(0, text.lastIndexOf(".")));
  return { text, alg, kid, typ, iss, aud, iat, claim, body, signature, signingInput };
}

/** The same from the bytes of a file. */
export function parseStatementFile(bytes) {
  if (bytes.length > MAX_BYTES) refuseSize();
  return parseStatement(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}

function readHeader(text) {
  const header = strictJson(part(text, "header"));
  if (!hasExactly(header, ["alg", "kid", "typ"])) {
    refuse("statement-header", "头部成员须恰为 alg, kid, typ", "the header is exactly alg, kid, typ");
  }
  const [alg, kid, typ] = ["alg", "kid", "typ"].map((name) => header.get(name));
  if (![alg, kid, typ].every((value) => typeof value === "string")) {
    refuse("statement-header", "头部的值须为文本", "header values are text");
  }
  if (!ALGORITHMS.has(alg)) refuse("statement-algorithm", "算法须为 Ed25519 或 ES256", "alg is Ed25519 or ES256");
  if (!KINDS.has(typ)) refuse("statement-kind", "声明类型未知", "unknown kind of statement");
  try {
    base64urlBytes(kid, 32);
  } catch (error) {
    if (error instanceof SpellingError) refuse("statement-header", "kid 须为密钥指纹", "kid is a JWK thumbprint");
    throw error;
  }
  return { alg: ALGORITHMS.get(alg), kid, typ };
}

function part(text, name) {
  try {
    return base64urlBytes(text);
  } catch (error) {
    if (!(error instanceof SpellingError)) throw error;
    return refuse("statement-format", `${name} 不是规范的 base64url`, `${name} is not canonical base64url`);
  }
}

function refuseSize() {
  refuse("statement-size", `声明超过 ${MAX_BYTES} 字节`, `a statement has at most ${MAX_BYTES} bytes`);
}

function refuse(rule, zh, en) {
  throw new Refusal(rule, zh, en);
}
