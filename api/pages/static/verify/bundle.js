// Reading a proof bundle: its exact form and nothing else, with every item that is malformed named (formats section 6).
import { base64Bytes, remembered } from "./encoding.js";
import { ProofError, Refusal, SpellingError } from "./errors.js";
import { KEY_BITS, KEY_SIZE } from "./lot_index.js";
import { HASH_SIZE } from "./merkle.js";
import { hasExactly, isObject, strictJson } from "./strict_json.js";
import { checkSubject, subjectHash } from "./subjects.js";

export const FORMAT = "suyuan/proof/v1";
export const MAX_BUNDLE_BYTES = 64_000_000;

const MAX_CHECKPOINTS = 64;
const MAX_ITEMS = 50_000;
const MAX_PATH = 63;
const hashOf = remembered((text) => base64Bytes(text, HASH_SIZE));
const LISTS = ["checkpoints", "statements", "indexes", "completeness"];

/**
 * Read a bundle from bytes. ProofError when it is no bundle at all; malformed items are null in their list and named
 * in `malformed`.
 */
export function readBundle(bytes) {
  if (bytes.length > MAX_BUNDLE_BYTES) fail("too large");
  const value = jsonOf(bytes);
  if (!isObject(value) || value.get("format") !== FORMAT) fail(`not a proof bundle of format ${FORMAT}`);
  for (const name of value.keys()) {
    if (!["format", "subject", "item", ...LISTS].includes(name)) fail(`an unknown member '${name.slice(0, 60)}'`);
  }
  const malformed = [];
  const bundle = { subject: subjectOf(value.get("subject")), item: null, malformed };
  const readers = { checkpoints: text, statements: statement, indexes: indexEntry, completeness };
  for (const name of LISTS) {
    const items = value.get(name) ?? (value.has(name) ? null : []);
    if (!Array.isArray(items) || items.length > (name === "checkpoints" ? MAX_CHECKPOINTS : MAX_ITEMS)) {
      fail(`${name} is not a list, or too long`);
    }
    bundle[name] = items.map((item, position) => attempt(`${name}[${position}]`, readers[name], item, malformed));
  }
  if (value.has("item")) bundle.item = attempt("item", itemCode, value.get("item"), malformed);
  return bundle;
}

function jsonOf(bytes) {
  try {
    return strictJson(bytes);
  } catch (error) {
    if (error instanceof Refusal) return fail(error.message);
    throw error;
  }
}

function subjectOf(subject) {
  try {
    return checkSubject(typeof subject === "string" ? subject : "");
  } catch (error) {
    if (error instanceof Refusal) return fail(`no subject: ${error.message}`);
    throw error;
  }
}

function attempt(where, read, item, malformed) {
  try {
    return read(item);
  } catch (error) {
    if (!(error instanceof SpellingError || error instanceof Refusal)) throw error;
    malformed.push(new ProofError(error.message, where));
    return null;
  }
}

function statement(item) {
  members(item, ["statement", "disclosures", "entry", "index", "path", "checkpoint"]);
  const disclosures = item.get("disclosures");
  if (!Array.isArray(disclosures)) spell("disclosures is a list");
  return { statement: text(item.get("statement")), disclosures: disclosures.map(text), ...included(item) };
}

function indexEntry(item) {
  members(item, ["entry", "index", "path", "checkpoint"]);
  return included(item);
}

function included(item) {
  return {
    entry: base64Bytes(text(item.get("entry"))),
    index: BigInt(number(item.get("index"))),
    path: path(item.get("path"), MAX_PATH),
    checkpoint: number(item.get("checkpoint")),
  };
}

function completeness(item) {
  if (!isObject(item)) spell("not an object");
  const subject = checkSubject(text(item.get("subject")));
  const absent = item.has("absent");
  const proof = { subject, absent, head: null };
  if (absent) {
    members(item, ["subject", "index", "path", "absent", ...(item.has("other") ? ["other"] : [])]);
    if (item.get("absent") !== true) spell("absent is true or not there");
    if (item.has("other")) {
      const other = item.get("other");
      members(other, ["subject", "seq", "leaf"]);
      proof.head = head(base64Bytes(text(other.get("subject")), KEY_SIZE), other);
    }
  } else {
    members(item, ["subject", "index", "path", "seq", "leaf"]);
    proof.head = head(subjectHash(subject), item);
  }
  return { ...proof, index: number(item.get("index")), path: path(item.get("path"), KEY_BITS) };
}

function head(subject, item) {
  return { subject, seq: BigInt(number(item.get("seq"))), leaf: base64Bytes(text(item.get("leaf")), HASH_SIZE) };
}

function itemCode(item) {
  members(item, ["serial", "salt", "statement", "path"]);
  return {
    serial: text(item.get("serial")),
    salt: base64Bytes(text(item.get("salt")), 16),
    statement: number(item.get("statement")),
    path: path(item.get("path"), MAX_PATH),
  };
}

function members(item, names) {
  if (!hasExactly(item, names)) spell(`the members are exactly ${names.sort().join(", ")}`);
}

function path(items, longest) {
  if (!Array.isArray(items) || items.length > longest) spell(`path is a list of at most ${longest} hashes`);
  return items.map((item) => hashOf(text(item)));
}

function text(value) {
  if (typeof value !== "string") spell("not text where text belongs");
  return value;
}

function number(value) {
  if (typeof value !== "number" || value < 0) spell("not a whole number where one belongs");
  return value;
}

function spell(message) {
  throw new SpellingError(message);
}

function fail(message) {
  throw new ProofError(message, "bundle");
}
