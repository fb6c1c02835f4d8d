// The text of one log entry: what a leaf of the tree says, read strictly (formats section 2).
import { base64Bytes, decimalNumber, fromUtf8, hex, isAsciiBytes } from "./encoding.js";
import { ProofError, SpellingError } from "./errors.js";
import { HASH_SIZE, leafHash } from "./merkle.js";
import { KINDS } from "./statement.js";

export const LOT_INDEX = "lot-index";

const VERSION = "suyuan/entry/v1";
const MAX_CHAIN_LINKS = 500;

/**
 * Read the bytes of a leaf: {time, type, leaf, statement, chain, index}. ProofError on anything but the one spelling.
 *
 * `time` in ms and all numbers are BigInt, hashes hex, except the root of an index; `chain` is a list of {subject, seq,
 * previous}, `index` {size, root} in a lot-index entry and null in every other.
 */
export function parseEntry(data) {
  demand(isAsciiBytes(data), "an entry is ASCII");
  const text = fromUtf8(data);
  demand(text.endsWith("\n"), "an entry ends in LF");
  const lines = text.slice(0, -1).split("\n");
  demand(lines.length >= 4, "an entry has at least four lines");
  demand(lines[0] === VERSION, "unknown entry version");
  const time = spelled(() => decimalNumber(field(lines[1], "time")));
  const type = field(lines[2], "type");
  const entry = { time, type, leaf: leafHash(data), statement: null, chain: [], index: null };
  if (type === LOT_INDEX) {
    demand(lines.length === 4, "a lot-index entry has exactly four lines");
    const [size, root, ...more] = field(lines[3], "index").split(" ");
    demand(root !== undefined && !more.length, "an index line has a size and a root");
    entry.index = { size: spelled(() => decimalNumber(size)), root: spelled(() => base64Bytes(root, HASH_SIZE)) };
    return entry;
  }
  demand(lines.length <= 4 + MAX_CHAIN_LINKS, `more than ${MAX_CHAIN_LINKS} chain lines`);
  entry.statement = hash(field(lines[3], "statement"));
  entry.chain = lines.slice(4).map(readLink);
  demand(KINDS.has(type), "unknown entry type");
  let before = "";
  for (const link of entry.chain) {
    demand(link.subject > before, "chain lines are sorted by subject, each subject once");
    before = link.subject;
    demand((link.seq === 0n) === (link.previous === null), "only the first entry of a subject has no previous entry");
  }
  return entry;
}

function readLink(line) {
  const parts = field(line, "chain").split(" ");
  demand(parts.length === 3, "a chain line has a subject, a seq and a previous leaf hash");
  const [subject, seq, previous] = parts;
  return {
    subject: hash(subject),
    seq: spelled(() => decimalNumber(seq)),
    previous: previous === "-" ? null : hash(previous),
  };
}

function field(line, name) {
  demand(line.startsWith(`${name} `), `expected a line '${name} ...'`);
  return line.slice(name.length + 1);
}

function hash(text) {
  return hex(spelled(() => base64Bytes(text, HASH_SIZE)));
}

function spelled(read) {
  try {
    return read();
  } catch (error) {
    if (error instanceof SpellingError) throw new ProofError(error.message, "entry");
    throw error;
  }
}

function demand(holds, message) {
  if (!holds) throw new ProofError(message, "entry");
}
