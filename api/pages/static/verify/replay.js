// What the statements of one log add up to, in log order: whose keys count, who has which role, which events exist.
import { base64Bytes, hex } from "./encoding.js";
import { Refusal, SpellingError } from "./errors.js";
import { KeyRing } from "./keys.js";
import { HASH_SIZE } from "./merkle.js";
import { EVENT } from "./statement.js";
import { CORRECTS, chainOrder, eventSubjects, ownSubjects } from "./subjects.js";

/**
 * Statements of the log `origin`, given one after the other; every method throws Refusal for what breaks a rule.
 *
 * A statement comes as {position, origin, index, entry, statement, hash, subjects}.
 */
export class Replay {
  constructor(registrars, origin, signatures) {
    this.signatures = signatures;
    this.ring = new KeyRing(registrars, origin, signatures);
    this.roles = new Map();
    this.events = new Map();
    this.makers = new Map();
    this.signed = new Set();
    this.issuers = new Map();
    this.lastIndex = -1n;
  }

  /** Once each, in log order, and one entry a signing input. */
  inOrder({ statement, index }) {
    const signed = statement.text.slice(0, statement.text.lastIndexOf("."));
    const [twice, late] = [this.signed.has(signed), index <= this.lastIndex];
    this.signed.add(signed);
    if (index > this.lastIndex) this.lastIndex = index;
    if (twice) refuse("statement-twice", "同一声明有两个条目", "the same signing input has two entries");
    if (late) refuse("order", "声明未按日志顺序列出一次", "statements are not once each in log order");
  }

  /** A key that counts at this entry, and its signature over the bytes as sent. */
  async signature({ statement, index, entry }) {
    const key = this.ring.signer(statement.typ, statement.kid, statement.iss, index, entry.time);
    const holds =
      statement.alg === key.alg &&
      statement.kid === key.kid &&
      (await key.verify(statement.signingInput, statement.signature, this.signatures));
    if (!holds) refuse("statement-signature", "签名不成立", "the signature does not hold");
  }

  /** The subjects of the statement, which the chain lines of its entry must be. */
  subjects({ statement, entry }) {
    const corrects = statement.typ === EVENT && statement.body.has(CORRECTS);
    const inherited = corrects ? this.corrected(statement.body.get(CORRECTS)) : [];
    const ordered = chainOrder([...ownSubjects(statement.typ, statement.body), ...inherited]);
    const agree =
      ordered.length === entry.chain.length &&
      ordered.every(([, hash], position) => hash === entry.chain[position].subject);
    if (!agree) {
      const en = "the chain lines are not those that follow from the statement";
      refuse("chain-lines", "链行与声明涉及的对象不符", en);
    }
    return ordered.map(([subject]) => subject);
  }

  /** Let a statement count for later ones; unsound ones add no keys, roles or products. */
  async takeIn(logged, sound) {
    const { typ, body, iss } = logged.statement;
    this.issuers.set(logged.hash, { iss, subjects: logged.subjects });
    if (typ === EVENT) this.event(logged);
    else if (!sound) return;
    else if (typ === "key+jwt") await this.ring.apply(body, logged.index, logged.entry.time);
    else if (typ === "actor+jwt") {
      const roles = body.get("roles");
      this.roles.set(body.get("id"), new Set(Array.isArray(roles) ? roles : []));
    } else if (typ === "credential+jwt") {
      if (typeof body.get("product") === "string") this.addMaker(`01/${body.get("product")}`, body.get("actor"));
    } else if (typ === "notice+jwt" || typ === "recall+jwt") this.authority(logged);
    else if (typ === "erasure+jwt") this.erasure(logged);
  }

  corrected(eventId) {
    const inherited = typeof eventId === "string" ? this.events.get(eventId) : null;
    if (!inherited) {
      const shown = typeof eventId === "string" ? eventId : "?";
      refuse("corrected-missing", `更正的原事件缺失：${shown}`, `corrected event missing: ${shown}`);
    }
    return inherited;
  }

  event({ statement, subjects }) {
    const eventId = statement.body.get("eventID");
    if (typeof eventId !== "string") refuse("event-id", "事件缺少 eventID", "an event has an eventID");
    if (this.events.has(eventId)) {
      refuse("event-id-twice", "同一 eventID 有两条声明", "two statements have the same eventID");
    }
    this.events.set(eventId, subjects.length ? subjects : null);
    for (const lot of eventSubjects(statement.body, ...madeIn(statement.body))) this.addMaker(lot, statement.iss);
  }

  /** Notices need the role authority; recalls need it or are the lot producer's own. */
  authority({ statement, subjects }) {
    const own = statement.typ === "recall+jwt" && subjects.every((lot) => this.makes(statement.iss, lot));
    if (!own && !this.isAuthority(statement.iss)) {
      refuse("role", "签发者没有所需的角色", "its issuer has not the role authority that it needs");
    }
  }

  /** Erasures stand where the erased statement stands, and are its issuer's own or an authority's. */
  erasure({ statement, subjects }) {
    const erased = this.issuers.get(hashOf(statement.body.get("statement")));
    if (erased && subjects.length && erased.subjects.join("\n") !== subjects.join("\n")) {
      const en = "an erasure stands on the chains of what it erases";
      refuse("erasure-subjects", "删除声明的链条与被删声明不同", en);
    }
    if (statement.iss !== erased?.iss && !this.isAuthority(statement.iss)) {
      const en = "only the statement's issuer or an authority erases its fields";
      refuse("role", "只有签发者或主管部门可以删除", en);
    }
  }

  isAuthority(actor) {
    return this.roles.get(actor)?.has("authority") ?? false;
  }

  /** By the name of the lot, by an event that made it, or by the product's credential. */
  makes(actor, lot) {
    const made = [lot, lot.split("/10/")[0]];
    return lot.startsWith(`lot/${actor}/`) || made.some((one) => this.makers.get(one)?.has(actor));
  }

  addMaker(made, actor) {
    if (!this.makers.has(made)) this.makers.set(made, new Set());
    this.makers.get(made).add(actor);
  }
}

/** The members of an event that name the lots it makes. */
function madeIn(body) {
  const added = body.get("type") === "ObjectEvent" && body.get("action") === "ADD";
  return added ? ["epcList", "quantityList"] : ["outputEPCList", "outputQuantityList"];
}

function hashOf(text) {
  try {
    return typeof text === "string" ? hex(base64Bytes(text, HASH_SIZE)) : null;
  } catch (error) {
    if (error instanceof SpellingError) return null;
    throw error;
  }
}

function refuse(rule, zh, en) {
  throw new Refusal(rule, zh, en);
}
