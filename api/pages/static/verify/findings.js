// Collecting what a verification finds, so that one thing that does not hold does not hide the next.
import { ProofError, Refusal } from "./errors.js";

const ZH = {
  format: "格式不符",
  checkpoint: "检查点不成立",
  inclusion: "包含证明不成立",
  entry: "条目文本不成立",
  index: "批次索引不成立",
  completeness: "完整性证明不成立",
  item: "单品码证明不成立",
  receipt: "回执不成立",
};

/** Failures, and remarks that are none: each {rule, where, zh, en, index}. */
export class Findings {
  constructor() {
    this.failures = [];
    this.remarks = [];
  }

  fail(rule, where, zh, en, index = null) {
    this.failures.push({ rule, where, zh, en, index });
  }

  remark(rule, where, zh, en) {
    this.remarks.push({ rule, where, zh, en, index: null });
  }

  /** Note an error as a failure: a refusal under its own rule, a proof error under `rule`. */
  failWith(error, rule, where, index = null) {
    if (error instanceof Refusal) {
      this.fail(error.rule, where, error.zh, error.en, index);
      return;
    }
    const found = error.where === "inclusion" || error.where === "entry" ? error.where : rule;
    this.fail(found, where, `${ZH[found]}(${error.message})`, error.message, index);
  }

  /** Do `check`; whatever does not hold becomes a failure, and the answer is then undefined. */
  async noting(rule, where, index, check) {
    try {
      return await check();
    } catch (error) {
      if (!(error instanceof ProofError || error instanceof Refusal)) throw error;
      this.failWith(error, rule, where, index);
      return undefined;
    }
  }
}
