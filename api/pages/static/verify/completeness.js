// That nothing is left out: chains link, reach from the head in the lot index back to seq 0, and cover every story.
import { hex } from "./encoding.js";
import { ProofError, Refusal } from "./errors.js";
import { REGISTRAR_KINDS } from "./keys.js";
import { verifyAbsence, verifyPresence } from "./lot_index.js";
import { EVENT } from "./statement.js";
import { ancestors, isGoods, sharedProcess } from "./story.js";
import { USED, subjectHash } from "./subjects.js";

/** The chains that the entries of a bundle show, which are proven complete, and what the subject goes back to. */
export class Chains {
  constructor(logged, indexes, findings) {
    this.logged = logged;
    this.indexes = indexes;
    this.findings = findings;
    this.used = new Map();
    this.steps = new Map();
    this.complete = new Map();
    this.reached = new Set();
    for (const { origin, index, entry, position } of logged) {
      for (const { subject, seq, previous } of entry.chain) {
        const name = place(origin, subject);
        if (!this.steps.has(name)) this.steps.set(name, []);
        this.steps.get(name).push({ seq, index, leaf: hex(entry.leaf), previous, position });
      }
    }
    for (const steps of this.steps.values()) {
      steps.sort((left, right) => compare(left.seq, right.seq) || compare(left.index, right.index));
    }
  }

  /** Whatever two entries of one chain say of each other must agree, in every chain of the bundle. */
  checkLinks() {
    for (const steps of this.steps.values()) {
      steps.slice(1).forEach((following, position) => {
        const one = steps[position];
        const adjacent = following.seq === one.seq + 1n;
        const forks = following.seq === one.seq || following.index <= one.index;
        if (forks || (adjacent && following.previous !== one.leaf)) {
          const where = `statements[${following.position}]`;
          const en = "a chain forks or does not link to its previous entry";
          this.findings.fail("chain", where, "链条断裂或分叉", en, following.index);
        }
      });
    }
  }

  /** One completeness proof of the bundle, and the whole chain it promises. */
  checkProof(proof) {
    const index = this.indexes[proof.index] ?? null;
    if (index === null) throw new ProofError("refers to an index that does not hold");
    const { origin, auditors } = index.checkpoint;
    const key = subjectHash(proof.subject);
    if (!this.used.has(origin)) this.used.set(origin, proof.index);
    if (this.used.get(origin) !== proof.index) {
      throw new ProofError("the completeness proofs of one log use one index entry");
    }
    if (this.isComplete(origin, proof.subject)) {
      throw new ProofError(`a second completeness proof for ${proof.subject}`);
    }
    const steps = this.steps.get(place(origin, hex(key))) ?? [];
    const covered = steps.filter((step) => step.index < index.size);
    let newest = -1n;
    if (proof.absent) {
      verifyAbsence(index.root, key, proof.head, proof.path);
    } else {
      verifyPresence(index.root, proof.head, proof.path);
      newest = proof.head.seq;
      const leaf = hex(proof.head.leaf);
      if (!covered.some((step) => step.seq === newest && step.leaf === leaf)) {
        throw new Refusal(
          "chain-incomplete",
          `${proof.subject} 的最新记录（第 ${newest} 条）不在其中`,
          `chain incomplete: the newest entry of ${proof.subject} (seq ${newest}) is missing`,
        );
      }
    }
    checkWithoutGap(proof.subject, covered, newest);
    checkWithoutGap(proof.subject, steps, steps.length ? steps.at(-1).seq : newest);
    this.complete.set(place(origin, proof.subject), {
      origin,
      subject: proof.subject,
      size: index.size,
      time: index.time,
      entries: covered.length,
      newer: steps.length - covered.length,
      auditors,
    });
  }

  /**
   * Completeness for the subject, its ancestors and every signer; no goods outside every complete chain.
   *
   * Unless it is `required`, only a hole in the chain of goods whose story it tells is held against a bundle.
   */
  demand(subject, required) {
    const needed = new Map();
    for (const [origin, owed] of this.stories(subject)) needed.set(place(origin, owed), [origin, owed]);
    for (const { origin, statement } of this.logged) {
      if (REGISTRAR_KINDS.has(statement.typ)) continue;
      const owed = `actor/${statement.iss}`;
      needed.set(place(origin, owed), [origin, owed]);
    }
    for (const [origin, owed] of needed.values()) {
      if (this.isComplete(origin, owed)) continue;
      const steps = this.steps.get(place(origin, hex(subjectHash(owed))));
      if (required) {
        const zh = `${origin} 中 ${owed} 的完整性证明缺失或不成立`;
        this.findings.fail("completeness-missing", "completeness", zh, `no completeness proof for ${owed} in ${origin}`);
      } else if (steps && isGoods(owed)) {
        try {
          checkWithoutGap(owed, steps, steps.at(-1).seq);
        } catch (error) {
          if (!(error instanceof Refusal)) throw error;
          this.findings.failWith(error, "completeness", "statements");
        }
      }
    }
    if (required) this.refuseStrays();
  }

  /** The [origin, subject] pairs of the subject and of every ancestor that has entries in the bundle. */
  stories(subject) {
    const events = this.logged.filter((one) => one.statement.typ === EVENT).map((one) => one.statement.body);
    this.reached = ancestors(subject, events);
    const reached = [...this.reached].sort();
    const told = new Set(Array.from(this.complete.values(), (proof) => proof.subject));
    const pairs = [];
    for (const origin of new Set(this.logged.map((one) => one.origin))) {
      for (const one of reached) {
        if (this.steps.has(place(origin, hex(subjectHash(one))))) {
          told.add(one);
          pairs.push([origin, one]);
        }
      }
    }
    for (const one of reached.filter((each) => !told.has(each))) {
      if (one === subject) {
        const en = `nothing about the subject ${one} is recorded here`;
        this.findings.fail("subject-missing", "statements", `没有任何关于 ${one} 的记录`, en);
      } else {
        this.findings.remark("untold", "statements", `未包含 ${one} 的来历`, `the story of ${one} is not told here`);
      }
    }
    return pairs;
  }

  /** A record of goods that belongs to no proven story could be one half of a story. */
  refuseStrays() {
    const covered = this.logged.filter((one) => this.isCovered(one));
    const shared = new Set(covered.map((one) => sharedProcess(one.statement.body)));
    shared.delete(null);
    for (const one of this.logged) {
      const aboutGoods = one.subjects.length > 0 && one.subjects.every(isGoods);
      if (aboutGoods && !this.isCovered(one) && !shared.has(sharedProcess(one.statement.body))) {
        const en = "stands on no chain that is proven complete";
        this.findings.fail("stray", `statements[${one.position}]`, "不属于任何已证明完整的链条", en, one.index);
      }
    }
  }

  /** Whether the statement stands on a complete chain; being consumed (`#used`) is none. */
  isCovered(one) {
    return one.subjects.some((subject) => !subject.endsWith(USED) && this.isComplete(one.origin, subject));
  }

  isComplete(origin, subject) {
    return this.complete.has(place(origin, subject));
  }
}

/** That a chain's entries are exactly seq 0 to `newest` (-1: none). */
function checkWithoutGap(subject, steps, newest) {
  const found = steps.findIndex((step, n) => step.seq !== BigInt(n));
  const missing = BigInt(found < 0 ? steps.length : found);
  if (missing <= newest) {
    throw new Refusal(
      "chain-incomplete",
      `${subject} 的第 ${missing} 条记录缺失`,
      `chain incomplete: entry seq ${missing} of ${subject} is missing`,
    );
  }
  if (BigInt(steps.length) > newest + 1n) {
    const en = `chain incomplete: the index does not count all entries of ${subject} that it covers`;
    throw new Refusal("chain-incomplete", `${subject} 的记录多于索引所示`, en);
  }
}

function place(origin, name) {
  return `${origin}\n${name}`;
}

function compare(left, right) {
  return left < right ? -1 : left > right ? 1 : 0;
}
