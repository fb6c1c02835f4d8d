// The Merkle tree of RFC 6962 with SHA-256: leaf and node hashes, and the check of an inclusion proof.
import { sha256 } from "@noble/hashes/sha2.js";
import { concatenated, same } from "./encoding.js";
import { ProofError } from "./errors.js";

export { sha256 };

export const HASH_SIZE = 32;
export const EMPTY_ROOT = sha256(new Uint8Array());

const LEAF = Uint8Array.of(0);
const NODE = Uint8Array.of(1);

/** Hash of one leaf: SHA-256(0x00 || data) (RFC 6962 section 2.1). */
export function leafHash(data) {
  return sha256(concatenated(LEAF, data));
}

/** Check that the leaf hash `leaf` stands at `index` of `size` leaves (BigInt) with `root` (RFC 9162 section 2.1.3.2). */
export function verifyInclusion(leaf, index, size, path, root) {
  if (!(index >= 0n && index < size)) fail(`no leaf ${index} in a tree of ${size}`);
  let fn = index;
  let sn = size - 1n;
  let computed = leaf;
  for (const sibling of path) {
    if (sn === 0n) fail("the inclusion path is too long");
    if (fn & 1n || fn === sn) {
      computed = sha256(concatenated(NODE, sibling, computed));
      while (fn && !(fn & 1n)) {
        fn >>= 1n;
        sn >>= 1n;
      }
    } else {
      computed = sha256(concatenated(NODE, computed, sibling));
    }
    fn >>= 1n;
    sn >>= 1n;
  }
  if (sn !== 0n) fail("the inclusion path is too short");
  if (!same(computed, root)) fail("the inclusion path leads to another root");
}

function fail(message) {
  throw new ProofError(message, "inclusion");
}
