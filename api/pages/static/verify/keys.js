// Whose key counts when: public keys, and the registry of keys as registrars' statements build it (formats section 1).
import { base64urlBytes, base64urlText, concatenated, utf8 } from "./encoding.js";
import { Refusal, SpellingError } from "./errors.js";
import { sha256 } from "./merkle.js";
import { SIGNATURE_SIZE, isAcceptablePoint, isOnP256 } from "./signatures.js";
import { hasExactly, isObject } from "./strict_json.js";

/** What registrars sign, and nobody else; they sign nothing besides. */
export const REGISTRAR_KINDS = new Set(["actor+jwt", "key+jwt"]);

const MAX_TIME_MS = 2 ** 53;
const UNCOMPRESSED = Uint8Array.of(4);
const MEMBERS = ["kid", "jwk", "actor", "custody", "from", "until", "status", "proof"];

/** A public key: `kid` is its RFC 7638 thumbprint, `bytes` the point; `y` is null for Ed25519. */
export class PublicKey {
  constructor(alg, x, y) {
    this.alg = alg;
    this.x = x;
    this.bytes = y ? concatenated(UNCOMPRESSED, x, y) : x;
    const [textX, textY] = [base64urlText(x), y && base64urlText(y)];
    const members = y
      ? `{"crv":"P-256","kty":"EC","x":"${textX}","y":"${textY}"}`
      : `{"crv":"Ed25519","kty":"OKP","x":"${textX}"}`;
    this.kid = base64urlText(sha256(utf8(members)));
  }

  /** Read a JWK with exactly `kty`, `crv`, `x` (and `y`). Refusal `key-jwk` for everything else. */
  static fromJwk(jwk) {
    if (!isObject(jwk)) refuseJwk("不是对象", "not an object");
    const kind = `${jwk.get("kty")} ${jwk.get("crv")}`;
    const names = { "OKP Ed25519": ["crv", "kty", "x"], "EC P-256": ["crv", "kty", "x", "y"] }[kind];
    if (!names || typeof jwk.get("kty") !== "string" || typeof jwk.get("crv") !== "string") {
      refuseJwk("只接受 Ed25519 与 P-256", "only Ed25519 and P-256 are accepted");
    }
    if (!hasExactly(jwk, names)) refuseJwk(`成员必须恰为 ${names.join(", ")}`, `the members are exactly ${names.join(", ")}`);
    const x = coordinate(jwk.get("x"));
    const y = names.includes("y") ? coordinate(jwk.get("y")) : null;
    if (!(y ? isOnP256(x, y) : isAcceptablePoint(x))) {
      refuseJwk("不是可接受的曲线点", "not an acceptable point of the curve");
    }
    return new PublicKey(y ? "ES256" : "Ed25519", x, y);
  }

  verify(message, signature, signatures) {
    return signatures.verify(this.bytes, message, signature);
  }
}

/** The public key of a `key` statement's body, its proof of possession being verified meanwhile; null for no such body. */
export function beginKey(body, aud, signatures) {
  try {
    const { kid, publicKey, actor, proof } = readKeyBody(body);
    signatures.begin(publicKey.bytes, possession(aud, actor, kid), proof);
    return publicKey;
  } catch (error) {
    if (error instanceof Refusal) return null;
    throw error;
  }
}

/** The keys of one log, grown by its `key` statements in log order; times and indexes are BigInt. */
export class KeyRing {
  constructor(registrars, aud, signatures) {
    this.aud = aud;
    this.signatures = signatures;
    this.registrars = new Map(registrars.map((registrar) => [registrar.kid, registrar]));
    this.records = new Map();
  }

  /** Take in the `key` statement `body` of the entry at `index`; Refusal when it breaks a rule of the registry. */
  async apply(body, index, time) {
    const { kid, publicKey, actor, custody, from, until, status, proof, endorsement } = readKeyBody(body);
    if (this.registrars.has(kid)) refuse("key-actor", "登记机构的密钥不能登记给他人", "a registrar's key is nobody else's");
    if (!(await publicKey.verify(possession(this.aud, actor, kid), proof, this.signatures))) {
      refuse("key-proof", "持有证明不成立", "the proof of possession does not hold");
    }
    const known = this.records.get(kid);
    if (known && known.revoked !== null) refuse("key-revoked", "已吊销的密钥不得再用", "a revoked kid never returns");
    if (known && (known.actor !== actor || known.custody !== custody)) {
      refuse("key-actor", "密钥已属于另一主体或保管方式", "the kid has another actor or custody");
    }
    if (status === "revoked") {
      if (!known) refuse("key-unknown", "吊销的密钥从未登记", "the kid to revoke was never registered");
      known.revoked = index;
    } else if (known) {
      if (endorsement) refuse("key-endorsement", "仅首次登记可背书", "only a new key is endorsed");
      Object.assign(known, { from, until });
    } else {
      if (endorsement) await this.checkEndorsement(endorsement, { kid, actor, custody }, time);
      this.records.set(kid, { kid, publicKey, actor, custody, from, until, registered: index, revoked: null });
    }
  }

  /** The key that a statement's signature must verify under, if it may count for the entry at all. */
  signer(typ, kid, iss, index, time) {
    const registrar = this.registrars.get(kid);
    if (REGISTRAR_KINDS.has(typ) !== (registrar !== undefined)) {
      if (registrar) refuse("signer-kind", "登记机构只能签署主体与密钥声明", "registrars sign actor and key statements only");
      refuse("signer-kind", "主体与密钥声明只能由登记机构签署", "only registrars sign actor and key statements");
    }
    if (registrar) {
      if (!within(registrar, time)) {
        refuseKey("key-window", kid, "（登记机构）不在有效期内", "(a registrar's) is outside its window");
      }
      return registrar.publicKey;
    }
    const record = this.records.get(kid);
    if (!record) refuseKey("key-unknown", kid, "未登记", "is not registered");
    if (record.registered >= index) {
      refuseKey("key-unknown", kid, "在该条目之前尚未登记", "was not yet registered at this entry");
    }
    if (record.revoked !== null && record.revoked < index) {
      refuseKey("key-revoked", kid, "已被吊销", "had been revoked before this entry");
    }
    if (!within(record, time)) refuseKey("key-window", kid, "不在有效期内", "is outside its window");
    if (record.actor !== iss) {
      refuse("signer-actor", "密钥不属于声明的签发者", "the key is not one of the statement's issuer");
    }
    return record.publicKey;
  }

  /** An endorsement is signed by an earlier device key of the same actor that still counts. */
  async checkEndorsement({ kid, signature }, added, time) {
    const record = this.records.get(kid);
    const sound =
      added.custody === "device" &&
      record !== undefined &&
      record.actor === added.actor &&
      record.custody === "device" &&
      record.revoked === null &&
      within(record, time) &&
      (await record.publicKey.verify(possession(this.aud, added.actor, added.kid), signature, this.signatures));
    if (!sound) {
      const en = "an endorsement is signed by an earlier device key of the same actor that still counts";
      refuse("key-endorsement", "背书须由同一主体更早的有效设备密钥签署", en);
    }
  }
}

function possession(aud, actor, kid) {
  return utf8(`suyuan/key/v1\n${aud}\n${actor}\n${kid}\n`);
}

function readKeyBody(body) {
  const names = body.has("endorsed_by") ? [...MEMBERS, "endorsed_by"] : MEMBERS;
  if (!hasExactly(body, names)) {
    const en = `the members are ${[...MEMBERS].sort().join(", ")} and, for some, endorsed_by`;
    refuse("key-body", "成员不符", en);
  }
  const publicKey = PublicKey.fromJwk(body.get("jwk"));
  const kid = publicKey.kid;
  if (body.get("kid") !== kid) refuse("key-body", "kid 不是该公钥的指纹", "kid is not the thumbprint of jwk");
  const [actor, custody, status] = [body.get("actor"), body.get("custody"), body.get("status")];
  if (typeof actor !== "string" || !actor) refuse("key-body", "缺少主体编号", "actor is an actor id");
  if (custody !== "device" && custody !== "service") {
    refuse("key-body", "须为 device 或 service", "custody is device or service");
  }
  if (status !== "active" && status !== "revoked") {
    refuse("key-body", "须为 active 或 revoked", "status is active or revoked");
  }
  const [from, until] = [body.get("from"), body.get("until")];
  if (!isTime(from) || !(until === null || (isTime(until) && from < until))) {
    refuse("key-body", "有效期不成立", "from and until are ms with from < until, or until null");
  }
  const proof = signatureOf(body.get("proof"));
  const endorsement = body.has("endorsed_by") ? readEndorsement(body.get("endorsed_by")) : null;
  const window = { from: BigInt(from), until: until === null ? null : BigInt(until) };
  return { kid, publicKey, actor, custody, ...window, status, proof, endorsement };
}

function readEndorsement(by) {
  if (!hasExactly(by, ["kid", "signature"]) || typeof by.get("kid") !== "string") {
    refuse("key-body", "须为 {kid, signature}", "endorsed_by is {kid, signature}");
  }
  return { kid: by.get("kid"), signature: signatureOf(by.get("signature")) };
}

function signatureOf(text) {
  try {
    if (typeof text === "string") return base64urlBytes(text, SIGNATURE_SIZE);
  } catch (error) {
    if (!(error instanceof SpellingError)) throw error;
  }
  return refuse("key-body", "签名须为 64 字节的 base64url", "a signature is the base64url of 64 bytes");
}

function coordinate(text) {
  try {
    if (typeof text === "string") return base64urlBytes(text, 32);
  } catch (error) {
    if (!(error instanceof SpellingError)) throw error;
  }
  return refuseJwk("坐标须为 32 字节的 base64url", "coordinates are the base64url of 32 bytes");
}

function isTime(value) {
  return typeof value === "number" && value >= 0 && value <= MAX_TIME_MS;
}

function within({ from, until }, time) {
  return from <= time && (until === null || time < until);
}

function refuse(rule, zh, en) {
  throw new Refusal(rule, `密钥：${zh}`, en);
}

function refuseKey(rule, kid, zh, en) {
  throw new Refusal(rule, `密钥 ${kid} ${zh}`, `key ${kid} ${en}`);
}

function refuseJwk(zh, en) {
  throw new Refusal("key-jwk", `公钥 JWK 无效：${zh}`, `the public key is no acceptable JWK: ${en}`);
}
