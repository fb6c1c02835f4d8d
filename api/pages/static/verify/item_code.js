// That one serial belongs to a committed code set, with no word on its neighbours (formats section 8).
import { base64Bytes, concatenated, utf8 } from "./encoding.js";
import { ProofError, SpellingError } from "./errors.js";
import { HASH_SIZE, Inclusion, leafHash, sha256 } from "./merkle.js";

const CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const SERIAL = new RegExp(`^[${CROCKFORD}]{20}$`);
const SEQUENCE_LIMIT = 2 ** 40;

/** Check that the code set `codes` (the body of a `codes` statement) contains `serial`. ProofError when it does not. */
export function verifyItem(codes, serial, salt, path) {
  if (!SERIAL.test(serial)) fail("a serial has 20 Crockford characters");
  const sequence = [...serial.slice(0, 8)].reduce((sum, character) => sum * 32 + CROCKFORD.indexOf(character), 0);
  const [first, count] = [number(codes.get("first")), number(codes.get("count"))];
  if (!(first <= sequence && sequence < first + count)) fail("the serial's number is outside the committed range");
  const leaf = leafHash(sha256(concatenated(utf8(serial), salt)));
  new Inclusion(BigInt(count), rootOf(codes)).verify(leaf, BigInt(sequence - first), path);
}

function rootOf(codes) {
  try {
    return base64Bytes(String(codes.get("root")), HASH_SIZE);
  } catch (error) {
    if (error instanceof SpellingError) return fail(`the code set has no root: ${error.message}`);
    throw error;
  }
}

function number(value) {
  if (typeof value !== "number" || !(value >= 0 && value < SEQUENCE_LIMIT)) {
    fail("first and count of a code set are whole numbers below 2**40");
  }
  return value;
}

function fail(message) {
  throw new ProofError(message, "item");
}
