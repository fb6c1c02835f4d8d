// Private fields: hidden behind salted digests in what was signed, opened by disclosures (RFC 9901; formats section 1).
import { base64urlBytes, base64urlText, utf8 } from "./encoding.js";
import { Refusal, SpellingError } from "./errors.js";
import { sha256 } from "./merkle.js";
import { MAX_DEPTH, isObject, strictJson } from "./strict_json.js";

const MAX_DISCLOSURES = 5_000;
const MAX_DISCLOSED_LENGTH = 1_000_000;
const SALT = /^[A-Za-z0-9_-]{21}[AQgw]$/;
const DIGEST = /^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/;

export const SUBJECT_LISTS = [
  "epcList",
  "childEPCs",
  "inputEPCList",
  "outputEPCList",
  "quantityList",
  "childQuantityList",
  "inputQuantityList",
  "outputQuantityList",
];
const PUBLIC_EVENT = [
  "@context|type|eventID|eventTime|recordTime|eventTimeZoneOffset|action|transformationID|parentID",
  "suyuan:(?:stage|corrects|backfilled)",
  ...SUBJECT_LISTS,
  "(?:childQ|inputQ|outputQ|q)uantityList/[0-9]+/epcClass",
].join("|");
const NEVER_PRIVATE = {
  event: new RegExp(`^/(?:${PUBLIC_EVENT})$`),
  actor: /^\/(?:id|roles)$/,
  key: /^\//,
  credential: /^\/(?:actor|type|plot|product)$/,
  codes: /^\/(?:gtin|lot|first|count|root)$/,
  recall: /^\/lots$/,
  erasure: /^\/subjects$/,
  notice: /^\/lots$/,
};

/** Refuse `...` members and `_sd` arrays that are not sorted, unique digests, anywhere in `value`. */
export function checkHidden(value) {
  if (isObject(value)) {
    if (value.has("...")) refuse("disclosure-dots", "不允许“...”成员", "members named ... are not allowed");
    if (value.has("_sd")) checkDigests(value.get("_sd"));
    for (const [name, member] of value) if (name !== "_sd") checkHidden(member);
  } else if (Array.isArray(value)) {
    value.forEach(checkHidden);
  }
}

/**
 * Put disclosed fields into a copy of `body`, the published claim named `claim`: {body, opened, unopened}.
 *
 * Refuses disclosures that are unreadable, unreferenced or repeated, or name what must not be hidden.
 */
export function openBody(claim, body, texts) {
  const opening = new Opening(claim, readDisclosures(texts));
  const merged = opening.merge(body, "", 0);
  for (const digest of opening.texts.keys()) {
    if (!opening.used.has(digest)) {
      const en = `a disclosure is unreferenced: no digest ${digest} in the statement`;
      refuse("disclosure-unreferenced", `披露没有对应的摘要：${digest}`, en);
    }
  }
  return { body: merged, opened: opening.used.size, unopened: opening.seen.size - opening.used.size };
}

class Opening {
  constructor(claim, texts) {
    this.claim = claim;
    this.texts = texts;
    this.seen = new Set();
    this.used = new Set();
  }

  merge(value, pointer, depth) {
    if (depth > MAX_DEPTH) refuse("json-depth", `嵌套超过 ${MAX_DEPTH} 层`, `nested deeper than ${MAX_DEPTH}`);
    if (Array.isArray(value)) {
      return value.map((element, position) => this.inner(element, `${pointer}/${position}`, depth));
    }
    const merged = new Map();
    for (const [name, member] of value) {
      if (name !== "_sd") merged.set(name, this.inner(member, `${pointer}/${escaped(name)}`, depth));
    }
    for (const digest of value.get("_sd") ?? []) {
      if (this.seen.has(digest)) refuse("disclosure-twice", "同一摘要出现两次", `the digest ${digest} occurs twice`);
      this.seen.add(digest);
      if (this.texts.has(digest)) this.open(merged, digest, pointer, depth);
    }
    return merged;
  }

  inner(value, pointer, depth) {
    return isObject(value) || Array.isArray(value) ? this.merge(value, pointer, depth + 1) : value;
  }

  open(merged, digest, pointer, depth) {
    const { name, value } = this.texts.get(digest);
    const place = `${pointer}/${escaped(name)}`;
    if (merged.has(name)) refuse("disclosure-name", "披露的成员已存在", "a disclosure names an existing member");
    if (NEVER_PRIVATE[this.claim].test(place)) refuse("disclosure-public", "该成员不得隐藏", "this member is never private");
    this.used.add(digest);
    merged.set(name, this.inner(value, place, depth));
  }
}

function readDisclosures(texts) {
  const length = texts.reduce((sum, text) => sum + text.length, 0);
  if (texts.length > MAX_DISCLOSURES || length > MAX_DISCLOSED_LENGTH) {
    refuse("disclosure-size", "披露过多或过大", "too many or too large disclosures");
  }
  const read = new Map();
  for (const text of texts) {
    const [salt, name, value] = readTriple(text);
    if (typeof salt !== "string" || !SALT.test(salt)) refuseFormat();
    if (typeof name !== "string" || name === "_sd" || name === "...") {
      refuse("disclosure-name", "披露的名称不允许", "a disclosure has a name that is not allowed");
    }
    checkHidden(value);
    const digest = base64urlText(sha256(utf8(text)));
    if (read.has(digest)) refuse("disclosure-twice", "披露重复", "a disclosure is given twice");
    read.set(digest, { name, value });
  }
  return read;
}

function readTriple(text) {
  let bytes;
  try {
    bytes = base64urlBytes(text);
  } catch (error) {
    if (!(error instanceof SpellingError)) throw error;
    refuseFormat();
  }
  const triple = strictJson(bytes);
  if (!Array.isArray(triple) || triple.length !== 3) refuseFormat();
  return triple;
}

function checkDigests(digests) {
  const sound =
    Array.isArray(digests) &&
    digests.length &&
    digests.every((digest) => typeof digest === "string" && DIGEST.test(digest));
  if (!sound) {
    const zh = "_sd 须为 SHA-256 摘要（43 个字符）的数组";
    refuse("disclosure-digests", zh, "_sd is an array of SHA-256 digests of 43 characters");
  }
  if (digests.some((digest, position) => position && digests[position - 1] >= digest)) {
    refuse("disclosure-digests", "_sd 须排序且不重复", "_sd is sorted and without repetition");
  }
}

function escaped(name) {
  return name.replaceAll("~", "~0").replaceAll("/", "~1");
}

function refuseFormat() {
  const zh = "披露须为 base64url 的 [盐, 名称, 值]，盐 16 字节";
  refuse("disclosure-format", zh, "a disclosure is base64url of [salt of 16 bytes, name, value]");
}

function refuse(rule, zh, en) {
  throw new Refusal(rule, zh, en);
}
