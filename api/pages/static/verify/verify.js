// Checking a proof bundle offline: no network, no clock, no trust in what is checked (formats sections 1, 2, 5, 6, 8).
//
// The same checks in the same order as `suyuan verify`, which the tests hold it against. The policy brings the logs,
// witnesses and registrars; everything else is rebuilt from the bundle's own statements, in log order.
import { readBundle } from "./bundle.js";
import { isSameCheckpoint, openCheckpoint, parseCheckpoint } from "./checkpoint.js";
import { Chains } from "./completeness.js";
import { openBody } from "./disclosures.js";
import { hex, utf8 } from "./encoding.js";
import { LOT_INDEX, parseEntry } from "./entry.js";
import { ProofError, Refusal } from "./errors.js";
import { Findings } from "./findings.js";
import { verifyItem } from "./item_code.js";
import { beginKey } from "./keys.js";
import { Inclusion } from "./merkle.js";
import { parseNote } from "./note.js";
import { Replay } from "./replay.js";
import { parseStatement } from "./statement.js";

const QUORUM_LEAD_MS = 5n * 60n * 1000n;
const INDEX_LAG_MS = 60n * 1000n;

/**
 * The report on a bundle (bytes) under a policy: `ok`, and what was found, by every rule of formats section 6.
 *
 * ProofError only when the bytes are no bundle at all; everything else, however hostile, becomes a report.
 */
export async function verifyBundle(bytes, policy, signatures, { quorum = true, completeness = true } = {}) {
  return new Verification(readBundle(bytes), policy, signatures, { quorum, completeness }).report();
}

/** The checkpoint of a note: signed by a log of the policy, not past the end of a closed one; who cosigned it, when. */
export async function checkCheckpoint(noteText, policy, signatures) {
  const note = parseNote(noteText);
  const { origin } = parseCheckpoint(note.text);
  const logKey = policy.logKey(origin);
  if (logKey === null) throw new ProofError(`the policy knows no log ${origin}`);
  for (const key of [logKey, ...policy.witnesses.map((witness) => witness.key)]) key.begin(note, signatures);
  const checkpoint = await openCheckpoint(note, logKey, signatures);
  const final = policy.finals.get(origin) ?? null;
  const isFinal = final !== null && isSameCheckpoint(checkpoint, final);
  if (final !== null && !isFinal && checkpoint.size >= final.size) {
    throw new ProofError(`neither the last checkpoint of the closed log ${origin} nor an earlier one`);
  }
  const cosigned = await policy.cosigned(note, signatures);
  const quorumTime = policy.timeOf(policy.quorum, cosigned);
  let quorum = "missing";
  if (isFinal) quorum = "final";
  else if (policy.quorum === null) quorum = "not asked by the policy";
  else if (quorumTime !== null) quorum = "met";
  const audited = policy.timeOf(policy.auditors, cosigned) !== null;
  return { ...checkpoint, quorum, quorumTime, cosigned, auditors: audited ? policy.auditors : null };
}

export function checkQuorum(checkpoint) {
  if (checkpoint.quorum === "missing") refuse("quorum", "见证人未达法定数", "the witnesses' quorum is missing");
}

/** That the entry is this statement's, and the statement meant for this log. */
export function checkStatementOf({ statement, hash, entry, origin }) {
  if (entry.statement !== hash) {
    refuse("statement-hash", "不是该条目所承诺的声明", "is not the statement its entry commits to");
  }
  if (entry.type !== statement.typ) refuse("statement-type", "类型与条目不符", "is of another type than its entry");
  if (statement.aud !== origin) {
    refuse("statement-audience", "不是写给这个日志的", `is meant for the log '${statement.aud}'`);
  }
}

/** One run over one bundle; every step works with what the earlier steps left standing. */
class Verification {
  constructor(bundle, policy, signatures, required) {
    this.bundle = bundle;
    this.policy = policy;
    this.signatures = signatures;
    this.required = required;
    this.findings = new Findings();
    this.checkpoints = [];
    this.read = [];
    this.trees = new Map();
    this.replays = new Map();
    this.logged = [];
    this.indexes = [];
    this.opened = 0;
  }

  async report() {
    const { bundle, findings } = this;
    this.begin();
    for (const error of bundle.malformed) findings.failWith(error, "format", error.where);
    for (const [position, note] of bundle.checkpoints.entries()) {
      this.checkpoints.push(await this.checkpoint(position, note));
    }
    this.refuseForkedLogs();
    const verdicts = [];
    for (const [position, item] of bundle.statements.entries()) verdicts.push(await this.statement(position, item));
    for (const [position, item] of bundle.indexes.entries()) this.indexes.push(await this.index(position, item));
    const standing = this.checkpoints.filter((one) => one !== null);
    for (const origin of new Set(standing.map((one) => one.origin))) this.times(origin);
    const chains = new Chains(this.logged, this.indexes, findings);
    chains.checkLinks();
    for (const [position, proof] of bundle.completeness.entries()) {
      if (proof === null) continue;
      await findings.noting("completeness", `completeness[${position}]`, null, () => chains.checkProof(proof));
    }
    chains.demand(bundle.subject, this.required.completeness);
    if (bundle.item !== null) await findings.noting("item", "item", null, () => this.item(bundle.item, verdicts));
    this.sayWhatWasNotAsked();
    this.finish(verdicts, chains);
    return {
      ok: findings.failures.length === 0,
      subject: bundle.subject,
      statements: verdicts,
      checkpoints: standing,
      completeness: [...chains.complete.values()],
      ancestors: chains.reached,
      failures: findings.failures,
      remarks: findings.remarks,
      item: bundle.item === null ? null : bundle.item.serial,
      opened: this.opened,
      signatures: this.signatures.checked,
      engine: this.signatures.engine,
    };
  }

  /** Read all statements; whatever signature may turn out to count, the browser verifies while the rest is checked. */
  begin() {
    const keys = new Map(this.policy.registrars.map((one) => [one.kid, one.publicKey]));
    this.read = this.bundle.statements.map((item) => {
      if (item === null) return null;
      try {
        const statement = parseStatement(item.statement);
        const { typ, kid, aud, body, signingInput, signature } = statement;
        const key = keys.get(kid);
        if (key !== undefined) this.signatures.begin(key.bytes, signingInput, signature);
        const added = typ === "key+jwt" ? beginKey(body, aud, this.signatures) : null;
        if (added !== null) keys.set(added.kid, added);
        return { statement, hash: this.signatures.hash(utf8(item.statement)) };
      } catch (refusal) {
        if (!(refusal instanceof Refusal)) throw refusal;
        return { refusal };
      }
    });
  }

  async checkpoint(position, note) {
    let verdict = null;
    if (note !== null) {
      await this.findings.noting("checkpoint", `checkpoints[${position}]`, null, async () => {
        verdict = await checkCheckpoint(note, this.policy, this.signatures);
        if (this.required.quorum) checkQuorum(verdict);
      });
    }
    return verdict;
  }

  refuseForkedLogs() {
    const roots = new Map();
    this.checkpoints.forEach((one, position) => {
      if (one === null) return;
      const name = `${one.origin}\n${one.size}`;
      if (!roots.has(name)) roots.set(name, hex(one.root));
      if (roots.get(name) !== hex(one.root)) this.forked(`checkpoints[${position}]`);
    });
  }

  forked(where) {
    this.findings.fail(
      "log-fork",
      where,
      "日志分叉：同一处有两个说法",
      "the log has forked: two answers for one place",
    );
  }

  signedRoot(position) {
    const one = this.checkpoints[position] ?? null;
    if (one === null) {
      refuse("checkpoint-missing", "所引用的检查点不存在或不成立", "refers to a checkpoint that does not hold");
    }
    return one;
  }

  /** The checkpoint that vouches for the entry of an item. */
  included(item, entry) {
    const checkpoint = this.signedRoot(item.checkpoint);
    if (!this.trees.has(checkpoint)) this.trees.set(checkpoint, new Inclusion(checkpoint.size, checkpoint.root));
    this.trees.get(checkpoint).verify(entry.leaf, item.index, item.path);
    return checkpoint;
  }

  async statement(position, item) {
    const verdict = { position, ok: false, index: null, origin: null, typ: null, iss: null, time: null, unopened: 0 };
    if (item === null) return verdict;
    const { findings } = this;
    const { index } = item;
    const where = `statements[${position}]`;
    const before = findings.failures.length;
    let [entry, origin, statement] = [null, null, null];
    await findings.noting("inclusion", where, index, () => {
      entry = parseEntry(item.entry);
      origin = this.included(item, entry).origin;
    });
    await findings.noting("format", where, index, () => {
      const read = this.read[position];
      if (read.refusal) throw read.refusal;
      statement = read.statement;
      const opened = openBody(statement.claim, statement.body, item.disclosures);
      this.opened += opened.opened;
      verdict.unopened = opened.unopened;
    });
    if (entry !== null && origin !== null && statement !== null) {
      const hash = hex(await this.read[position].hash);
      await this.judge({ position, origin, index, entry, statement, hash, subjects: [] }, where, before);
    }
    return Object.assign(verdict, {
      ok: findings.failures.length === before,
      index,
      origin,
      typ: statement?.typ ?? null,
      iss: statement?.iss ?? null,
      time: entry?.time ?? null,
    });
  }

  /** Every rule that needs the statement, its entry and the statements before it; each on its own. */
  async judge(logged, where, before) {
    const { findings } = this;
    const { origin, index } = logged;
    if (!this.replays.has(origin)) {
      this.replays.set(origin, new Replay(this.policy.registrars, origin, this.signatures));
    }
    const replay = this.replays.get(origin);
    const note = (check) => findings.noting("format", where, index, check);
    await note(() => checkStatementOf(logged));
    await note(() => replay.inOrder(logged));
    await note(() => replay.signature(logged));
    await note(() => {
      logged.subjects = replay.subjects(logged);
    });
    await note(() => replay.takeIn(logged, findings.failures.length === before));
    this.logged.push(logged);
  }

  async index(position, item) {
    if (item === null) return null;
    const found = await this.findings.noting("index", `indexes[${position}]`, item.index, () => {
      const entry = parseEntry(item.entry);
      const checkpoint = this.included(item, entry);
      if (entry.index === null) throw new ProofError(`an entry of type ${entry.type}, not ${LOT_INDEX}`);
      const { size, root } = entry.index;
      if (size > item.index) throw new ProofError("the index covers more entries than stand before it");
      return { position, checkpoint, index: item.index, time: entry.time, size, root, leaf: entry.leaf };
    });
    return found ?? null;
  }

  /** In one log: time never falls, one entry an index, quorum times and indexes fit what they cover. */
  times(origin) {
    const indexes = this.indexes.filter((one) => one !== null && one.checkpoint.origin === origin);
    const timed = this.logged
      .filter((one) => one.origin === origin)
      .map((one) => timedEntry(one.index, one.entry.time, one.entry.leaf, `statements[${one.position}]`));
    timed.push(...indexes.map((one) => timedEntry(one.index, one.time, one.leaf, `indexes[${one.position}]`)));
    timed.sort(byPlace);
    timed.slice(1).forEach((later, position) => {
      const earlier = timed[position];
      if (later.at === earlier.at && later.leaf !== earlier.leaf) this.forked(later.where);
      if (later.time < earlier.time) {
        this.findings.fail("log-time", later.where, "日志时间倒退", "the log's time falls", later.at);
      }
    });
    let newestQuorum = null;
    this.checkpoints.forEach((checkpoint, position) => {
      if (checkpoint === null || checkpoint.origin !== origin || checkpoint.quorumTime === null) return;
      const quorum = checkpoint.quorumTime * 1000n;
      if (newestQuorum === null || quorum > newestQuorum) newestQuorum = quorum;
      if (timed.some((one) => one.at < checkpoint.size && one.time > quorum + QUORUM_LEAD_MS)) {
        const en = "the quorum time lies more than 5 minutes before an entry it covers";
        this.findings.fail("quorum-time", `checkpoints[${position}]`, "见证时间比其所覆盖的条目早 5 分钟以上", en);
      }
    });
    for (const one of indexes) this.indexAge(one, timed, newestQuorum);
  }

  indexAge(one, timed, quorum) {
    const where = `indexes[${one.position}]`;
    const limit = this.policy.maxIndexAge;
    if (timed.some((left) => one.size <= left.at && left.at < one.index && left.time < one.time - INDEX_LAG_MS)) {
      const en = "the index leaves out an entry more than 60 s older than itself";
      this.findings.fail("index-lag", where, "索引遗漏了早于它 60 秒以上的条目", en, one.index);
    }
    if (limit === null) {
      this.findings.remark("index-age", where, "策略未限定索引的时效", "the policy sets no limit for the index's age");
    } else if (quorum === null) {
      const en = "there is no quorum time to judge the index's age by";
      this.findings.remark("index-age", where, "无见证时间，无法判断索引时效", en);
    } else if (quorum - one.time > limit * 1000n) {
      const en = `the index is older than ${limit} s at quorum time`;
      this.findings.fail("index-age", where, `索引在见证时已超过 ${limit} 秒`, en, one.index);
    }
  }

  /** The item's code set must be a sound statement about the bundle's lot. */
  item(item, verdicts) {
    const codes = this.logged.find((one) => one.position === item.statement);
    if (codes === undefined || codes.statement.typ !== "codes+jwt" || !verdicts[item.statement].ok) {
      throw new ProofError("refers to no code set of this bundle that holds");
    }
    if (codes.subjects.length !== 1 || codes.subjects[0] !== this.bundle.subject) {
      throw new ProofError("the code set is of another lot than the bundle's subject");
    }
    verifyItem(codes.statement.body, item.serial, item.salt, item.path);
  }

  sayWhatWasNotAsked() {
    const { findings, required } = this;
    if (!required.completeness) {
      const en = "completeness was not asked for: records may have been left out";
      findings.remark("not-asked", "completeness", "未要求完整性：可能有未出示的记录", en);
    }
    if (!required.quorum) {
      const en = "quorum was not asked for: the log's own signature alone counts";
      findings.remark("not-asked", "quorum", "未要求见证人法定数：仅凭日志自己的签名", en);
    } else if (this.policy.quorum === null) {
      const en = "the policy asks for no witnesses: the log's own signature alone counts";
      findings.remark("no-quorum", "policy", "策略不要求见证人：仅凭日志自己的签名", en);
    }
  }

  /** What the later steps found about single statements, and which of them the index does not reach. */
  finish(verdicts, chains) {
    const blamed = new Set(this.findings.failures.map((finding) => finding.where));
    const subjects = new Map(this.logged.map((one) => [one.position, one.subjects]));
    const sizes = new Map(Array.from(chains.complete.values(), (one) => [one.origin, one.size]));
    for (const one of verdicts) {
      one.newer = one.index !== null && sizes.has(one.origin) && one.index >= sizes.get(one.origin);
      one.subjects = subjects.get(one.position) ?? [];
      one.ok = one.ok && !blamed.has(`statements[${one.position}]`);
    }
  }
}

function timedEntry(at, time, leaf, where) {
  return { at, time, leaf: hex(leaf), where };
}

function byPlace(left, right) {
  for (const name of ["at", "time", "leaf", "where"]) {
    if (left[name] !== right[name]) return left[name] < right[name] ? -1 : 1;
  }
  return 0;
}

function refuse(rule, zh, en) {
  throw new Refusal(rule, zh, en);
}
