// A log's signed tree head: origin, size and root as the text of a note (C2SP tlog-checkpoint).
import { base64Bytes, decimalNumber, same } from "./encoding.js";
import { ProofError, SpellingError } from "./errors.js";
import { EMPTY_ROOT, HASH_SIZE } from "./merkle.js";
import { isKeyName } from "./note.js";

/** {origin, size (BigInt), root} of a note text of exactly three lines. ProofError for every other text. */
export function parseCheckpoint(text) {
  const lines = text.split("\n");
  if (lines.length !== 4 || lines[3]) fail("a checkpoint has exactly three lines");
  return makeCheckpoint(lines[0], lines[1], lines[2]);
}

/** A checkpoint from its three texts. ProofError for what cannot be one. */
export function makeCheckpoint(origin, sizeText, rootText) {
  let size, root;
  try {
    size = decimalNumber(sizeText);
    root = base64Bytes(rootText, HASH_SIZE);
  } catch (error) {
    if (error instanceof SpellingError) fail(error.message);
    throw error;
  }
  if (!isKeyName(origin)) fail("an origin is not empty and has no spaces and no plus");
  if (size === 0n && !same(root, EMPTY_ROOT)) fail("the root of no entries is SHA-256 of nothing");
  return { origin, size, root };
}

/** The checkpoint of a note once the log's signature on it is verified. */
export async function openCheckpoint(note, logKey, signatures) {
  await logKey.verify(note, signatures);
  const checkpoint = parseCheckpoint(note.text);
  if (checkpoint.origin !== logKey.name) fail(`a checkpoint of ${checkpoint.origin}, not of ${logKey.name}`);
  return checkpoint;
}

export function isSameCheckpoint(left, right) {
  return left.origin === right.origin && left.size === right.size && same(left.root, right.root);
}

function fail(message) {
  throw new ProofError(message, "checkpoint");
}
