// Signed notes, verifier keys and cosignatures (C2SP signed-note v1, tlog-cosignature v1 for Ed25519).
//
// The text of a note must be ignored until a signature of a trusted key has been verified: `parseNote` only reads.
import { MAX_NUMBER, base64Bytes, bigEndian, concatenated, hex, isLongerThan, utf8 } from "./encoding.js";
import { ProofError, SpellingError } from "./errors.js";
import { sha256 } from "./merkle.js";
import { SIGNATURE_SIZE, isAcceptablePoint } from "./signatures.js";

export const LOG_KEY = 0x01;
export const COSIGNATURE_KEY = 0x04;

const MAX_NOTE_LENGTH = 1_000_000;
const MAX_SIGNATURES = 100;
const DASH = "\u2014 ";
const KEY_ID_SIZE = 4;
const NO_NAME = /[+\x00-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;

/** Whether `name` may name a key: not empty, no Unicode spaces, no plus, no control characters. */
export function isKeyName(name) {
  return name !== "" && !NO_NAME.test(name);
}

/** Read a signed note: {text, signatures: [{name, keyId, payload}]}. ProofError for anything malformed. */
export function parseNote(text) {
  if (isLongerThan(text, MAX_NOTE_LENGTH)) fail("a note has at most a million bytes");
  const end = text.lastIndexOf("\n\n");
  if (end < 0 || !text.endsWith("\n") || end + 2 === text.length) {
    fail("a note is a text, an empty line and signature lines, each ending in LF");
  }
  const body = text.slice(0, end + 1);
  if (/[\x00-\x09\x0b-\x1f]/.test(body)) fail("a note text ends in LF and has no other control characters");
  const lines = text.slice(end + 2, -1).split("\n");
  if (lines.length > MAX_SIGNATURES) fail(`a note has at most ${MAX_SIGNATURES} signatures`);
  return { text: body, signatures: lines.map(readSignature) };
}

function readSignature(line) {
  const space = line.indexOf(" ", DASH.length);
  const name = line.slice(DASH.length, space);
  if (!line.startsWith(DASH) || space < 0 || !isKeyName(name)) {
    fail("a signature line is an em dash, a key name and base64");
  }
  const payload = spelled(() => base64Bytes(line.slice(space + 1)), "note");
  if (payload.length <= KEY_ID_SIZE) fail("a signature follows its key id");
  return { name, keyId: hex(payload.subarray(0, KEY_ID_SIZE)), payload: payload.subarray(KEY_ID_SIZE) };
}

/** The public key of a log (`LOG_KEY`) or of a witness (`COSIGNATURE_KEY`), and its name. */
export class VerifierKey {
  constructor(name, keyType, publicKey) {
    if (!isKeyName(name)) fail("a key name is not empty and has no spaces and no plus");
    if (keyType !== LOG_KEY && keyType !== COSIGNATURE_KEY) fail(`signature type ${keyType} is not supported`);
    if (!isAcceptablePoint(publicKey)) fail("the public key is no acceptable Ed25519 point");
    this.name = name;
    this.keyType = keyType;
    this.publicKey = publicKey;
    const material = concatenated(utf8(`${name}\n`), Uint8Array.of(keyType), publicKey);
    this.keyId = hex(sha256(material).subarray(0, KEY_ID_SIZE));
  }

  /** Read `<name>+<hex key id>+<base64 of type and public key>`; the id must be the key's own. */
  static parse(vkey) {
    const first = vkey.indexOf("+");
    const second = vkey.indexOf("+", first + 1);
    if (first < 0 || second < 0) fail("a vkey is name+id+key");
    const material = spelled(() => base64Bytes(vkey.slice(second + 1)), "vkey");
    if (!material.length) fail("a vkey holds a key");
    const key = new VerifierKey(vkey.slice(0, first), material[0], material.subarray(1));
    if (key.keyId !== vkey.slice(first + 1, second)) fail("the key id is not the one of this name and key");
    return key;
  }

  lines(note) {
    return note.signatures.filter((line) => line.name === this.name && line.keyId === this.keyId);
  }

  /** Have every line that claims to be this key's verified in the background. */
  begin(note, signatures) {
    for (const line of this.lines(note)) {
      const [message, signature] = this.keyType === LOG_KEY ? [utf8(note.text), line.payload] : cosigned(note, line);
      signatures.begin(this.publicKey, message, signature);
    }
  }

  /** Check that the note is signed by this log key; every line that claims to be its must hold. */
  async verify(note, signatures) {
    const lines = this.lines(note);
    if (!lines.length) fail(`no signature of ${this.name} with key id ${this.keyId}`);
    for (const line of lines) {
      if (!(await signatures.verify(this.publicKey, utf8(note.text), line.payload))) {
        fail(`the signature of ${this.name} does not hold`);
      }
    }
  }

  /** The times (BigInt, seconds) at which this witness cosigned, ascending; every line that claims to be its must hold. */
  async cosignatureTimes(note, signatures) {
    const times = [];
    for (const line of this.lines(note)) {
      const [message, signature, time] = cosigned(note, line);
      const sound = signature.length === SIGNATURE_SIZE && time <= MAX_NUMBER;
      if (!sound || !(await signatures.verify(this.publicKey, message, signature))) {
        fail(`the cosignature of ${this.name} does not hold`);
      }
      times.push(time);
    }
    return times.sort((left, right) => (left < right ? -1 : left > right ? 1 : 0));
  }
}

/** What a witness signed, its signature and the time (BigInt, seconds) that it says. */
function cosigned(note, { payload }) {
  const time = bigEndian(payload.subarray(0, 8));
  return [utf8(`cosignature/v1\ntime ${time}\n${note.text}`), payload.subarray(8), time];
}

function spelled(read, where) {
  try {
    return read();
  } catch (error) {
    if (error instanceof SpellingError) throw new ProofError(error.message, where);
    throw error;
  }
}

function fail(message) {
  throw new ProofError(message, "note");
}
