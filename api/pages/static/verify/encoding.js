// The one spelling of base64, base64url and decimals that the formats allow; every other spelling is refused.
import { SpellingError } from "./errors.js";

export const MAX_NUMBER = 2n ** 63n - 1n;

const MOST_REMEMBERED = 10_000;
const LAST_OF_TWO = /[AQgw]$/;
const LAST_OF_THREE = /[AEIMQUYcgkosw048]$/;
const ENCODER = new TextEncoder();
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The bytes of padded base64 (RFC 4648 section 4), `size` of them where that is given. */
export function base64Bytes(text, size) {
  if (text.length % 4 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) throw new SpellingError("not padded base64");
  const body = text.replace(/=+$/, "");
  checkTrailingBits(body, "base64");
  return ofSize(decoded(body), size);
}

/** The bytes of unpadded base64url (RFC 4648 section 5), `size` of them where that is given. */
export function base64urlBytes(text, size) {
  if (!/^[A-Za-z0-9_-]*$/.test(text)) throw new SpellingError("not unpadded base64url");
  checkTrailingBits(text, "base64url");
  return ofSize(decoded(text.replaceAll("-", "+").replaceAll("_", "/")), size);
}

export function base64Text(bytes) {
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}

export function base64urlText(bytes) {
  return base64Text(bytes).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/** A number from 0 to 2**63 - 1 in decimal without sign or leading zeros, as BigInt. */
export function decimalNumber(text) {
  const value = /^(?:0|[1-9][0-9]{0,18})$/.test(text) ? BigInt(text) : MAX_NUMBER + 1n;
  if (value > MAX_NUMBER) throw new SpellingError("not a plain decimal number below 2**63");
  return value;
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

export function hex(bytes) {
  let text = "";
  for (let position = 0; position < bytes.length; position++) text += HEX[bytes[position]];
  return text;
}

/** Bytes as a whole number, most significant first. */
export function bigEndian(bytes) {
  return bytes.length ? BigInt(`0x${hex(bytes)}`) : 0n;
}

/** Bytes as a whole number, least significant first. */
export function littleEndian(bytes) {
  return bigEndian(bytes.slice().reverse());
}

/** A whole number below 2**64 as eight bytes, most significant first. */
export function u64be(number) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(number));
  return bytes;
}

export function same(left, right) {
  if (left === right) return true;
  if (left.length !== right.length) return false;
  for (let position = 0; position < left.length; position++) if (left[position] !== right[position]) return false;
  return true;
}

export function concatenated(...parts) {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

/** `compute` of a text, remembered: hashes and names occur again and again. Nobody changes what it gives. */
export function remembered(compute) {
  const known = new Map();
  return (text) => {
    let found = known.get(text);
    if (found === undefined) {
      found = compute(text);
      if (known.size >= MOST_REMEMBERED) known.clear();
      known.set(text, found);
    }
    return found;
  };
}

export function utf8(text) {
  return ENCODER.encode(text);
}

/** The text of UTF-8 bytes; TypeError when they are none. */
export function fromUtf8(bytes) {
  return UTF8.decode(bytes);
}

export function isAscii(text) {
  return /^[\x00-\x7f]*$/.test(text);
}

export function isAsciiBytes(bytes) {
  for (let position = 0; position < bytes.length; position++) if (bytes[position] > 0x7f) return false;
  return true;
}

/** Whether `text` has more than `limit` characters, counted as Unicode code points. */
export function isLongerThan(text, limit) {
  return text.length > limit && (text.length > 2 * limit || [...text].length > limit);
}

function decoded(body) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(body);
  const binary = atob(body);
  const bytes = new Uint8Array(binary.length);
  for (let position = 0; position < bytes.length; position++) bytes[position] = binary.charCodeAt(position);
  return bytes;
}

function checkTrailingBits(body, name) {
  const rest = body.length % 4;
  if (rest === 1) throw new SpellingError(`not ${name}`);
  if ((rest === 2 && !LAST_OF_TWO.test(body)) || (rest === 3 && !LAST_OF_THREE.test(body))) {
    throw new SpellingError(`${name} in another than its one spelling`);
  }
}

function ofSize(bytes, size) {
  if (size !== undefined && bytes.length !== size) {
    throw new SpellingError(`${bytes.length} bytes where ${size} are expected`);
  }
  return bytes;
}
