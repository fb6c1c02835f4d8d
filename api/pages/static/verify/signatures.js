// Signatures, as strict as every verifier in the world reads them: Ed25519 (RFC 8032) and ES256 with a low s.
//
// The browser's own WebCrypto does the work where it can. A browser without Ed25519, and a page that did not come over
// https, which gets no WebCrypto at all, use Paul Miller's audited library, which lies in `vendor/` unchanged.
import { edwards } from "@noble/curves/abstract/edwards.js";
import { ecdsa, weierstrass } from "@noble/curves/abstract/weierstrass.js";
import { sha512 } from "@noble/hashes/sha2.js";
import { bigEndian, concatenated, hex, littleEndian, same } from "./encoding.js";
import { sha256 } from "./merkle.js";

export const SIGNATURE_SIZE = 64;

const P256_KEY_SIZE = 65;
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

let ed25519Native = null;

/**
 * What verifies signatures here: WebCrypto for what it can do, the fallback for the rest, or for all on request.
 *
 * `engine` says which it is, as `Ed25519: WebCrypto, ES256: WebCrypto`.
 */
export async function chooseSignatures({ fallback = false } = {}) {
  const subtle = fallback ? undefined : globalThis.crypto?.subtle;
  if (subtle) ed25519Native ??= hasEd25519(subtle);
  const native = { ed25519: subtle && (await ed25519Native), p256: Boolean(subtle) };
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
    this.begun = new Map();
  }

  /**
   * Whether a signature over `message` holds under a public key: 32 bytes of an Ed25519 key, 65 of one of P-256.
   */
  verify(publicKey, message, signature) {
    this.checked += 1;
    const begun = this.begun.get(hex(signature));
    const sameQuestion = begun !== undefined && same(begun.publicKey, publicKey) && same(begun.message, message);
    return sameQuestion ? begun.answer : this.answer(publicKey, message, signature);
  }

  /** Have the browser verify in the background what will be asked for; what it cannot verify itself waits until then. */
  begin(publicKey, message, signature) {
    if (!(isP256(publicKey) ? this.native.p256 : this.native.ed25519)) return;
    const answer = this.answer(publicKey, message, signature);
    answer.catch(() => null); // whoever asks gets the error
    this.begun.set(hex(signature), { publicKey, message, answer });
  }

  /** SHA-256 of something long, in the background where the browser can: cheaper there than here from about 1 kB on. */
  async hash(bytes) {
    return this.subtle ? new Uint8Array(await this.subtle.digest("SHA-256", bytes)) : sha256(bytes);
  }

  answer(publicKey, message, signature) {
    return isP256(publicKey)
      ? this.p256(publicKey, message, signature)
      : this.ed25519(publicKey, message, signature);
  }

  /** Whether an Ed25519 signature (R || S) over `message` holds: S < L, A and R canonical and not of small order. */
  async ed25519(publicKey, message, signature) {
    if (signature.length !== SIGNATURE_SIZE || littleEndian(signature.subarray(32)) >= ORDER_25519) return false;
    if (!isAcceptablePoint(publicKey) || !isAcceptablePoint(signature.subarray(0, 32))) return false;
    if (!this.native.ed25519) return ed25519Holds(publicKey, message, signature);
    const key = await this.key(publicKey, (bytes) =>
      this.subtle.importKey("raw", bytes, { name: "Ed25519" }, false, ["verify"]),
    );
    return key !== null && this.subtle.verify({ name: "Ed25519" }, key, signature, message);
  }

  /** Whether an ES256 signature (r || s) over `message` holds: 1 <= r < n and 1 <= s <= n / 2. */
  async p256(point, message, signature) {
    if (signature.length !== SIGNATURE_SIZE) return false;
    const [r, s] = [bigEndian(signature.subarray(0, 32)), bigEndian(signature.subarray(32))];
    if (!(r >= 1n && r < P256.n && s >= 1n && s <= P256.n / 2n)) return false;
    if (!this.native.p256) return p256Holds(point, message, signature);
    const algorithm = { name: "ECDSA", namedCurve: "P-256" };
    const key = await this.key(point, (bytes) =>
      this.subtle.importKey("raw", bytes, algorithm, false, ["verify"]),
    );
    return key !== null && this.subtle.verify({ name: "ECDSA", hash: "SHA-256" }, key, signature, message);
  }

  /** The browser's key for these bytes, made once; null for bytes that are no key to it. */
  key(bytes, make) {
    const name = hex(bytes);
    if (!this.keys.has(name)) this.keys.set(name, keyOrNull(make(bytes)));
    return this.keys.get(name);
  }
}

function isP256(publicKey) {
  return publicKey.length === P256_KEY_SIZE;
}

async function keyOrNull(making) {
  try {
    return await making;
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    return null;
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
