// Whom a verifier trusts: logs, witnesses, quorum, auditors and registrars, from a policy file that fails closed.
//
// C2SP tlog-policy, with Suyuan's lines as comments of that format. Nothing of it ever comes from what is verified.
import { makeCheckpoint } from "./checkpoint.js";
import { decimalNumber, fromUtf8, hex, utf8 } from "./encoding.js";
import { ProofError, Refusal, SpellingError } from "./errors.js";
import { PublicKey } from "./keys.js";
import { COSIGNATURE_KEY, LOG_KEY, VerifierKey } from "./note.js";
import { strictJson } from "./strict_json.js";

const NONE = "none";
const MAX_BYTES = 1_000_000;
const MAX_GROUPS = 256;

/** A policy file as read from bytes. ProofError, naming the line, for whatever is not exactly as the format says. */
export function parsePolicy(bytes) {
  return new Reader().read(bytes);
}

class Policy {
  constructor(reader) {
    this.logs = reader.logs;
    this.witnesses = reader.witnesses;
    this.groups = new Map(reader.groups.map((group) => [group.name, group]));
    this.quorum = reader.quorum[0];
    this.auditors = reader.auditors[0] ?? null;
    this.registrars = reader.registrars;
    this.maxIndexAge = reader.maxIndexAge[0] ?? null;
    this.finals = reader.finals;
  }

  logKey(origin) {
    return this.logs.find((key) => key.name === origin) ?? null;
  }

  /** Witness name -> the first time (BigInt, s) at which it cosigned the note. A false cosignature is a ProofError. */
  async cosigned(note, signatures) {
    const found = new Map();
    for (const { name, key } of this.witnesses) {
      const times = await key.cosignatureTimes(note, signatures);
      if (times.length) found.set(name, times[0]);
    }
    return found;
  }

  /** When a witness or group had cosigned: for k of n members the time of the k-th earliest; null when not. */
  timeOf(name, cosigned) {
    if (name === null) return null;
    const group = this.groups.get(name);
    if (!group) return cosigned.get(name) ?? null;
    const times = group.members.map((member) => this.timeOf(member, cosigned)).filter((time) => time !== null);
    times.sort((left, right) => (left < right ? -1 : left > right ? 1 : 0));
    return times[group.threshold - 1] ?? null;
  }
}

class Reader {
  constructor() {
    this.where = "policy";
    this.logs = [];
    this.witnesses = [];
    this.groups = [];
    this.quorum = [];
    this.auditors = [];
    this.registrars = [];
    this.maxIndexAge = [];
    this.finals = new Map();
    this.free = new Set();
    this.taken = new Set();
    this.keys = new Set();
    this.versions = 0;
  }

  read(bytes) {
    if (bytes.length > MAX_BYTES) this.fail("too large");
    let text;
    try {
      text = fromUtf8(bytes);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      this.fail("not UTF-8");
    }
    if (/[\x00-\x08\x0b-\x1f\x7f]/.test(text)) this.fail("control characters other than tab and LF");
    if (text && !text.endsWith("\n")) this.fail("the last line does not end in LF");
    text.split("\n").forEach((line, position) => {
      this.where = `policy line ${position + 1}`;
      this.line(line.replace(/^[ \t]+|[ \t]+$/g, ""));
    });
    this.where = "policy";
    if (this.versions !== 1) this.fail("no line '#suyuan policy v1'");
    if (this.quorum.length !== 1) this.fail("no quorum line");
    for (const origin of this.finals.keys()) {
      if (!this.logs.some((key) => key.name === origin)) {
        this.fail(`a final checkpoint of ${origin}, which is not a listed log`);
      }
    }
    return new Policy(this);
  }

  line(line) {
    if (!line) return;
    const items = line.split(/[ \t]+/);
    if (items[0] === "#suyuan") {
      this.ours(line, items.slice(1));
      return;
    }
    if (line.startsWith("#")) return;
    if (!this.versions) this.fail("the line '#suyuan policy v1' comes before all others");
    const [word, ...rest] = items;
    if (word === "log" && (rest.length === 1 || rest.length === 2)) this.log(rest[0]);
    else if (word === "witness" && (rest.length === 2 || rest.length === 3)) this.witness(rest[0], rest[1]);
    else if (word === "group" && rest.length >= 3) this.group(rest[0], rest[1], rest.slice(2));
    else if (word === "quorum" && rest.length === 1) this.once(this.quorum, "quorum", this.reference(rest[0]));
    else this.fail(`not a policy line: '${word}'`);
  }

  ours(line, items) {
    const [word, ...rest] = items;
    if (word === "policy" && rest.length === 1 && rest[0] === "v1") {
      this.versions += 1;
      if (this.versions > 1) this.fail("a second version line");
      return;
    }
    if (!this.versions) this.fail("the line '#suyuan policy v1' comes before all others");
    if (word === "auditors" && rest.length === 1) this.once(this.auditors, "auditors", this.reference(rest[0]));
    else if (word === "registrar" && rest.length >= 3) {
      this.registrar(rest[0], rest[1], rest[2], line.replace(/^(?:[^ \t]+[ \t]+){4}[^ \t]+[ \t]*/, ""));
    } else if (word === "max-index-age" && rest.length === 1) {
      this.once(this.maxIndexAge, "max-index-age", this.number(rest[0]));
    } else if (word === "final" && rest.length === 3) this.final(...rest);
    else this.fail("not a suyuan line this version knows");
  }

  log(vkey) {
    const key = this.key(vkey, LOG_KEY);
    if (this.logs.some((log) => log.name === key.name)) {
      this.fail(`a second key for the log ${key.name}: one log has one key`);
    }
    this.logs.push(key);
  }

  witness(name, vkey) {
    this.define(name);
    this.witnesses.push({ name, key: this.key(vkey, COSIGNATURE_KEY) });
  }

  group(name, threshold, members) {
    for (const member of members) {
      if (!this.free.has(member) || this.taken.has(member)) {
        this.fail(`'${member}' is not defined above, or a member already`);
      }
      this.taken.add(member);
    }
    this.define(name);
    const fixed = { all: members.length, any: 1 };
    const k = Object.hasOwn(fixed, threshold) ? fixed[threshold] : Number(this.number(threshold));
    if (!(k >= 1 && k <= members.length)) this.fail(`${threshold} of ${members.length} is no threshold`);
    if (this.groups.length === MAX_GROUPS) this.fail(`more than ${MAX_GROUPS} groups`);
    this.groups.push({ name, threshold: k, members });
  }

  registrar(kid, fromText, untilText, jwk) {
    const from = this.number(fromText);
    const until = untilText === "-" ? null : this.number(untilText);
    const publicKey = this.failing(() => PublicKey.fromJwk(strictJson(utf8(jwk))));
    if (publicKey.kid !== kid) this.fail("the registrar's kid is not the thumbprint of its key");
    if (until !== null && until <= from) this.fail("the registrar's window is empty");
    this.register(publicKey.x);
    this.registrars.push({ kid, from, until, publicKey });
  }

  final(origin, size, root) {
    if (this.finals.has(origin)) this.fail(`a second final checkpoint of ${origin}`);
    this.finals.set(origin, this.failing(() => makeCheckpoint(origin, size, root)));
  }

  key(vkey, keyType) {
    const key = this.failing(() => VerifierKey.parse(vkey));
    if (key.keyType !== keyType) this.fail(`a key of type ${key.keyType} where ${keyType} belongs`);
    this.register(key.publicKey);
    return key;
  }

  register(publicKey) {
    const name = hex(publicKey);
    if (this.keys.has(name)) this.fail("a key is listed under two names");
    this.keys.add(name);
  }

  define(name) {
    if (name === NONE || this.free.has(name)) this.fail(`the name '${name}' is reserved or defined twice`);
    this.free.add(name);
  }

  reference(name) {
    if (name === NONE) return null;
    if (!this.free.has(name)) this.fail(`'${name}' is not defined above`);
    return name;
  }

  number(text) {
    return this.failing(() => decimalNumber(text));
  }

  once(place, what, value) {
    if (place.length) this.fail(`a second ${what} line`);
    place.push(value);
  }

  /** What `read` gives; its errors become this file's, with the line in hand. */
  failing(read) {
    try {
      return read();
    } catch (error) {
      if (error instanceof ProofError || error instanceof Refusal || error instanceof SpellingError) {
        return this.fail(error.message);
      }
      throw error;
    }
  }

  fail(message) {
    throw new ProofError(`${this.where}: ${message}`, "policy");
  }
}
