// The lot index, a Merkle map from subject to the newest entry of its chain: proofs of presence and of absence.
import { concatenated, same, u64be } from "./encoding.js";
import { ProofError } from "./errors.js";
import { nodeHash, sha256 } from "./merkle.js";

export const KEY_SIZE = 32;
export const KEY_BITS = 8 * KEY_SIZE;

const EMPTY = new Uint8Array(32);
const LEAF = Uint8Array.of(2);
const NODE = 3;

/** Check that the map with `root` says `head` ({subject, seq, leaf}) of its subject. ProofError when it does not. */
export function verifyPresence(root, head, path) {
  fold(root, head.subject, headHash(head), path);
}

/** Check that the map with `root` does not hold `subject`: at its place stands the head `other`, or nothing (null). */
export function verifyAbsence(root, subject, other, path) {
  if (other === null) {
    fold(root, subject, EMPTY, path);
    return;
  }
  if (same(other.subject, subject)) throw new ProofError("the other leaf is the subject's own");
  for (let position = 0; position < path.length; position++) {
    if (bit(other.subject, position) !== bit(subject, position)) {
      throw new ProofError("the other leaf does not stand at the subject's place");
    }
  }
  fold(root, subject, headHash(other), path);
}

function headHash(head) {
  return sha256(concatenated(LEAF, head.subject, u64be(head.seq), head.leaf));
}

/** Bit `position` of a key, most significant first. */
function bit(key, position) {
  return (key[position >> 3] >> (7 - (position & 7))) & 1;
}

function fold(root, key, found, path) {
  if (path.length > KEY_BITS) throw new ProofError("at most 256 siblings of 32 bytes");
  if (path.length && same(path[0], EMPTY)) {
    throw new ProofError("the lowest sibling is empty: the leaf would stand higher");
  }
  let computed = found;
  path.forEach((sibling, step) => {
    const right = bit(key, path.length - 1 - step);
    computed = right ? nodeHash(NODE, sibling, computed) : nodeHash(NODE, computed, sibling);
  });
  if (!same(computed, root)) throw new ProofError("the path leads to another index root");
}
