// What a verification says no with: a rule that is broken, a proof that does not hold, a spelling that is not the one.

/** A rule of the formats is broken: `rule` is its stable slug, `zh` and `en` say it to people. */
export class Refusal extends Error {
  constructor(rule, zh, en) {
    super(en);
    this.rule = rule;
    this.zh = zh;
    this.en = en;
  }
}

/** A proof, note, entry or bundle does not hold; `where` names the kind of thing where that matters. */
export class ProofError extends Error {
  constructor(message, where = "") {
    super(message);
    this.where = where;
  }
}

/** A value is not written in the one way that the formats allow. */
export class SpellingError extends Error {}
