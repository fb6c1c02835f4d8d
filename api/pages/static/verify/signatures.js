// Signatures, as strict as every verifier in the world reads them: Ed25519 (RFC 8032) and ES256 with a low s.
//
// The browser's own WebCrypto does the work where it can. A browser without Ed25519, and a page that did not come over
// https, which gets no WebCrypto at all, use Paul Miller's audited library, which lies in `vendor/` unchanged.
import { edwards } from "@noble/curves/abstract/edwards.js";
import { ecdsa, weierstrass } from "@noble/curves/abstract/weierstrass.js";
import { sha512 } from "@noble/hashes/sha2.js";
import { base64urlText, bigEndian, concatenated, littleEndian, same } from "./encoding.js";
import { sha256 } from "./merkle.js";

export const SIGNATURE_SIZE = 64;

const P25519 = 2n ** 255n - 19n;
const ORDER_25519 = 2n ** 252n + 27742317777372353535851937790883648493n;
const EDWARDS25519 = {
  p: P25519,
  n: ORDER_25519,
  h: 8n,
  a: P25519 - 1n,
  d: 0x52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3n,
  Gx: 0x216936d3cd6e53fec0a4e231fdd6dc5c692cc7609525a7b2c9562d608f25d51an,
  Gy: 0x6666666666666666666666666666666666666666666666666666666666666658n,
};
const ORDER_8 = 0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n;
// y of the points of order 1, 2, 4 and 8; x and -x share it.
const SMALL_ORDER_Y = new Set([1n, P25519 - 1n, 0n, ORDER_8, P25519 - ORDER_8]);

const P256 = {
  p: 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn,
  n: 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n,
  h: 1n,
  a: 0xffffffff00000001000000000000000000000000fffffffffffffffffffffffcn,
  b: 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn,
  Gx: 0x6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296n,
  Gy: 0x4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5n,
};

/**
 * What verifies signatures here: WebCrypto for what it can do, the fallback for the rest, or for all on request.
 *
 * `engine` says which it is, as `Ed25519: WebCrypto, ES256: WebCrypto`.
 */
export async function chooseSignatures({ fallback = false } = {}) {
  const subtle = fallback ? undefined : globalThis.crypto?.subtle;
  const native = { ed25519: subtle && (await hasEd25519(subtle)), p256: Boolean(subtle) };
  return new Signatures(subtle, native);
}

/** Whether 32 bytes encode a point of edwards25519 canonically and not one of the eight of small order. */
export function isAcceptablePoint(encoded) {
  if (encoded.length !== 32) return false;
  const y = littleEndian(encoded) & (2n ** 255n - 1n);
  return y < P25519 && !SMALL_ORDER_Y.has(y);
}

/** Whether two coordinates of 32 bytes are a point of P-256. */
export function isOnP256(xBytes, yBytes) {
  const [x, y] = [bigEndian(xBytes), bigEndian(yBytes)];
  return x < P256.p && y < P256.p && (y * y - (x * x * x + P256.a * x + P256.b)) % P256.p === 0n;
}

class Signatures {
  constructor(subtle, native) {
    this.checked = 0;
    this.engine = `Ed25519: ${engineName(native.ed25519)}, ES256: ${engineName(native.p256)}`;
    this.subtle = subtle;
    this.native = native;
    this.keys = new Map();
  }

  /** Whether an Ed25519 signature (R || S) over `message` holds: S < L, A and R canonical and not of small order. */
  async ed25519(publicKey, message, signature) {
    this.checked += 1;
    if (signature.length !== SIGNATURE_SIZE || littleEndian(signature.subarray(32)) >= ORDER_25519) return false;
    if (!isAcceptablePoint(publicKey) || !isAcceptablePoint(signature.subarray(0, 32))) return false;
    if (!this.native.ed25519) return ed25519Holds(publicKey, message, signature);
    const key = await this.key(publicKey, "Ed25519", (bytes) =>
      this.subtle.importKey("raw", bytes, { name: "Ed25519" }, false, ["verify"]),
    );
    return key !== null && this.subtle.verify({ name: "Ed25519" }, key, signature, message);
  }

  /** Whether an ES256 signature (r || s) over `message` holds: 1 <= r < n and 1 <= s <= n / 2. */
  async p256(x, y, message, signature) {
    this.checked += 1;
    if (signature.length !== SIGNATURE_SIZE) return false;
    const [r, s] = [bigEndian(signature.subarray(0, 32)), bigEndian(signature.subarray(32))];
    if (!(r >= 1n && r < P256.n && s >= 1n && s <= P256.n / 2n)) return false;
    const point = concatenated(Uint8Array.of(4), x, y);
    if (!this.native.p256) return p256Holds(point, message, signature);
    const algorithm = { name: "ECDSA", namedCurve: "P-256" };
    const key = await this.key(point, "P-256", (bytes) =>
      this.subtle.importKey("raw", bytes, algorithm, false, ["verify"]),
    );
    return key !== null && this.subtle.verify({ name: "ECDSA", hash: "SHA-256" }, key, signature, message);
  }

  /** The browser's key for these bytes, made once; null for bytes that are no key to it. */
  async key(bytes, kind, make) {
    const name = kind + base64urlText(bytes);
    if (!this.keys.has(name)) {
      try {
        this.keys.set(name, await make(bytes));
      } catch (error) {
        if (!(error instanceof DOMException)) throw error;
        this.keys.set(name, null);
      }
    }
    return this.keys.get(name);
  }
}

let edwards25519 = null;
let p256 = null;

/** RFC 8032 section 5.1.7 without the cofactor, as OpenSSL and libsodium compute it: R = [S]B - [k]A, byte for byte. */
function ed25519Holds(publicKey, message, signature) {
  const [encodedR, encodedS] = [signature.subarray(0, 32), signature.subarray(32)];
  edwards25519 ??= edwards(EDWARDS25519);
  let point;
  try {
    point = edwards25519.fromBytes(publicKey);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return false;
  }
  const k = littleEndian(sha512(concatenated(encodedR, publicKey, message))) % ORDER_25519;
  const base = edwards25519.BASE.multiplyUnsafe(littleEndian(encodedS));
  return same(base.add(point.multiplyUnsafe(k).negate()).toBytes(), encodedR);
}

function p256Holds(point, message, signature) {
  p256 ??= ecdsa(weierstrass(P256), sha256);
  return p256.verify(signature, message, point, { lowS: true, prehash: true, format: "compact" });
}

/** Whether the browser verifies Ed25519, found out with the first vector of RFC 8032 section 7.1. */
async function hasEd25519(subtle) {
  const publicKey = bytesOf("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
  const signature = bytesOf(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
  );
  try {
    const key = await subtle.importKey("raw", publicKey, { name: "Ed25519" }, false, ["verify"]);
    return await subtle.verify({ name: "Ed25519" }, key, signature, new Uint8Array());
  } catch (error) {
    if (!(error instanceof Error || error instanceof DOMException)) throw error;
    return false;
  }
}

function bytesOf(text) {
  return Uint8Array.from(text.match(/../g), (pair) => Number.parseInt(pair, 16));
}

function engineName(native) {
  return native ? "WebCrypto" : "noble";
}
