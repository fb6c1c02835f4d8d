// The Merkle tree of RFC 6962 with SHA-256: leaf and node hashes, and the check of an inclusion proof.
import { sha256 } from "@noble/hashes/sha2.js";
import { same } from "./encoding.js";
import { ProofError } from "./errors.js";

export { sha256 };

export const HASH_SIZE = 32;
export const EMPTY_ROOT = sha256(new Uint8Array());

const LEAF = 0;
const NODE = 1;

/** Hash of one leaf: SHA-256(0x00 || data) (RFC 6962 section 2.1). */
export function leafHash(data) {
  const whole = new Uint8Array(1 + data.length);
  whole[0] = LEAF;
  whole.set(data, 1);
  return sha256(whole);
}

/** SHA-256(prefix || left || right), of two hashes. */
export function nodeHash(prefix, left, right) {
  const whole = new Uint8Array(1 + 2 * HASH_SIZE);
  whole[0] = prefix;
  whole.set(left, 1);
  whole.set(right, 1 + HASH_SIZE);
  return sha256(whole);
}

/** Checks of inclusion proofs in one tree of `size` leaves (BigInt) with `root`. */
export class Inclusion {
  constructor(size, root) {
    this.size = size;
    this.root = root;
    this.proven = { path: [], steps: [] };
  }

  /**
   * Check that the leaf hash `leaf` stands at `index` (BigInt), as RFC 9162 section 2.1.3.2 does. ProofError otherwise.
   *
   * Where the path meets the one that was proven before, and goes on as that did, the rest needs no hash.
   */
  verify(leaf, index, path) {
    if (!(index >= 0n && index < this.size)) fail(`no leaf ${index} in a tree of ${this.size}`);
    let fn = index;
    let sn = this.size - 1n;
    let computed = leaf;
    const steps = [];
    for (const [position, sibling] of path.entries()) {
      if (sn === 0n) fail("the inclusion path is too long");
      const met = this.meets(fn, sn, computed, path, position);
      if (met !== null) {
        this.proven = { path, steps: [...steps, ...met] };
        return;
      }
      steps.push({ fn, sn, computed });
      if (fn & 1n || fn === sn) {
        computed = nodeHash(NODE, sibling, computed);
        while (fn && !(fn & 1n)) {
          fn >>= 1n;
          sn >>= 1n;
        }
      } else {
        computed = nodeHash(NODE, computed, sibling);
      }
      fn >>= 1n;
      sn >>= 1n;
    }
    if (sn !== 0n) fail("the inclusion path is too short");
    if (!same(computed, this.root)) fail("the inclusion path leads to another root");
    this.proven = { path, steps };
  }

  /** The steps that the proven path took from here on, where it came by the same node and had the same siblings. */
  meets(fn, sn, computed, path, position) {
    const { path: proven, steps } = this.proven;
    const there = position + proven.length - path.length;
    const step = steps[there];
    if (step === undefined || step.fn !== fn || step.sn !== sn || !same(step.computed, computed)) return null;
    for (let rest = position; rest < path.length; rest++) {
      if (!same(path[rest], proven[rest + there - position])) return null;
    }
    return steps.slice(there);
  }
}

function fail(message) {
  throw new ProofError(message, "inclusion");
}
