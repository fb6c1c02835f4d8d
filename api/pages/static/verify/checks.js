// What was checked, kind by kind, for people who read a page: each check with how it came out and who stands for it.
import { completeTo, findingLine, printable, utcTime } from "./report.js";

/** Which kind of check a broken rule belongs to; what is not named here is about single statements. */
const KIND_OF_RULE = {
  checkpoint: "log",
  "checkpoint-missing": "log",
  "log-fork": "log",
  "log-time": "log",
  inclusion: "log",
  entry: "log",
  "statement-hash": "log",
  "statement-type": "log",
  quorum: "witnesses",
  "quorum-time": "witnesses",
  chain: "completeness",
  "chain-lines": "completeness",
  "chain-incomplete": "completeness",
  completeness: "completeness",
  "completeness-missing": "completeness",
  "subject-missing": "completeness",
  stray: "completeness",
  index: "completeness",
  "index-age": "completeness",
  "index-lag": "completeness",
  item: "item",
};
const KEY_RULES = /^(?:key-|signer-)/;
const DISCLOSURE_RULES = /^disclosure-/;

const TEXTS = {
  zh: {
    signatures: "签名",
    keys: "密钥的登记、有效期与吊销",
    disclosures: "披露的字段",
    log: "账本",
    witnesses: "见证",
    completeness: "完整性",
    item: "单品码",
    statements: (all, checked) => `${all} 条声明，验证了 ${checked} 个签名。`,
    broken: (hold, all) => `${all} 条声明中只有 ${hold} 条成立。`,
    partly: "并非所述各对象的记录都已证明完整，见上。",
    keysLine: (signers) => `${signers} 个签署方的密钥均按账本上的登记逐条核对。`,
    opened: (opened, hidden) => `${opened} 个字段与签名中的摘要相符${hidden ? `；另有 ${hidden} 个未披露` : ""}。`,
    logLine: (one) => `${one.origin}：共 ${one.size} 条，检查点由账本密钥签名，所示各条均在其中。`,
    logNone: "没有成立的检查点。",
    witness: (name, time) => `${name}，${time}`,
    witnessNone: "没有见证人签署。",
    notAsked: "策略不要求见证人。",
    final: "已关闭账本的最后检查点，由策略固定。",
    complete: (group, first) =>
      `${first.origin} 前 ${first.size} 条中，${group.length} 个批次、地块、主体和物流单元的记录全部在此，` +
      `截至 ${utcTime(first.time)}，${first.auditors ? `经 ${first.auditors} 审计` : "依运营方公布的索引"}。`,
    newer: (count) => `另有 ${count} 条晚于此证明。`,
    completeNone: "没有完整性证明：可能有未出示的记录。",
    itemLine: (serial) => `${serial} 属于账本上已承诺的码集。`,
    itemBad: (serial) => `${serial} 未能证明属于已承诺的码集。`,
    failures: "不成立之处",
    remarks: "说明",
    engine: (report) => `计算由本机完成（${report.engine}），用时 ${Math.round(report.ms)} 毫秒。`,
    good: "验证通过：有据可查，未被改动",
    bad: (count) => `验证未通过：${count} 项不成立`,
    signs: { good: "成立", bad: "不成立", open: "未证明" },
  },
  en: {
    signatures: "Signatures",
    keys: "Registration, validity and revocation of keys",
    disclosures: "Disclosed fields",
    log: "Ledger",
    witnesses: "Witnesses",
    completeness: "Completeness",
    item: "Item code",
    statements: (all, checked) => `${all} statements, ${checked} signatures verified.`,
    broken: (hold, all) => `Only ${hold} of ${all} statements hold.`,
    partly: "For some of what is told here completeness is not proven, see above.",
    keysLine: (signers) => `The keys of ${signers} signers were checked, entry by entry, against their registration.`,
    opened: (opened, hidden) =>
      `${opened} fields match the digests that were signed${hidden ? `; ${hidden} more are not disclosed` : ""}.`,
    logLine: (one) =>
      `${one.origin}: ${one.size} entries, the checkpoint signed with the ledger's key; every entry shown is in it.`,
    logNone: "No checkpoint holds.",
    witness: (name, time) => `${name}, ${time}`,
    witnessNone: "No witness has cosigned.",
    notAsked: "The policy asks for no witnesses.",
    final: "The last checkpoint of a closed ledger, pinned by the policy.",
    complete: (group, first) =>
      `These are all records of ${group.length} lots, plots, actors and units among the first ${first.size} entries ` +
      `of ${first.origin}, as of ${utcTime(first.time)}, ` +
      `${first.auditors ? `audited by ${first.auditors}` : "according to the index the operator publishes"}.`,
    newer: (count) => ` ${count} more came after this proof.`,
    completeNone: "No proof of completeness: records may have been left out.",
    itemLine: (serial) => `${serial} belongs to a code set committed on the ledger.`,
    itemBad: (serial) => `${serial} is not proven to belong to a committed code set.`,
    failures: "What does not hold",
    remarks: "Notes",
    engine: (report) => `Computed on this device (${report.engine}) in ${Math.round(report.ms)} ms.`,
    good: "Verified: recorded, and unaltered since",
    bad: (count) => `Not verified: ${count} ${count === 1 ? "thing does" : "things do"} not hold`,
    signs: { good: "holds", bad: "does not hold", open: "not proven" },
  },
};

/** {verdict, checks: [{sign, label, state, lines}], failures, remarks, engine}: a bundle's report as texts in `lang`. */
export function explained(report, lang) {
  const t = TEXTS[lang];
  const broken = new Set(report.failures.map(kindOf));
  const holds = report.statements.filter((one) => one.ok).length;
  const signers = new Set(report.statements.map((one) => one.iss).filter((iss) => iss !== null)).size;
  const hidden = report.statements.reduce((sum, one) => sum + one.unopened, 0);
  const all = report.statements.length;
  const statements = broken.has("signatures") ? t.broken(holds, all) : t.statements(all, report.signatures);
  const rows = [
    ["signatures", [statements]],
    ["keys", [t.keysLine(signers)]],
    ["disclosures", [t.opened(report.opened, hidden)]],
    ["log", report.checkpoints.length ? report.checkpoints.map(t.logLine) : [t.logNone]],
    ["witnesses", witnessLines(report, t)],
    ["completeness", [...(broken.has("completeness") ? [t.partly] : []), ...completenessLines(report, t)]],
  ];
  if (report.item !== null) {
    rows.push(["item", [broken.has("item") ? t.itemBad(report.item) : t.itemLine(report.item)]]);
  }
  const checks = rows.map(([kind, lines]) => {
    const sign = broken.has(kind) ? "bad" : isOpen(kind, report) ? "open" : "good";
    return { sign, label: t[kind], state: t.signs[sign], lines: lines.map(printable) };
  });
  return {
    sign: report.ok ? "good" : "bad",
    verdict: report.ok ? t.good : t.bad(report.failures.length),
    checks,
    failures: { heading: t.failures, lines: report.failures.map((one) => findingLine(one, lang)) },
    remarks: { heading: t.remarks, lines: report.remarks.map((one) => findingLine(one, lang)) },
    engine: t.engine(report),
  };
}

function kindOf({ rule }) {
  if (KEY_RULES.test(rule)) return "keys";
  return DISCLOSURE_RULES.test(rule) ? "disclosures" : (KIND_OF_RULE[rule] ?? "signatures");
}

/** Whether a kind of check was not broken but left nothing proven either. */
function isOpen(kind, report) {
  if (kind === "log") return report.checkpoints.length === 0;
  if (kind === "witnesses") return !report.checkpoints.some((one) => one.quorum === "met" || one.quorum === "final");
  return kind === "completeness" && report.completeness.length === 0;
}

function witnessLines(report, t) {
  const lines = [];
  for (const one of report.checkpoints) {
    if (one.quorum === "final") lines.push(t.final);
    if (one.quorum === "not asked by the policy") lines.push(t.notAsked);
    for (const [name, time] of one.cosigned) lines.push(t.witness(name, utcTime(time * 1000n)));
  }
  return lines.length ? lines : [t.witnessNone];
}

function completenessLines(report, t) {
  if (!report.completeness.length) return [t.completeNone];
  const newer = report.statements.filter((one) => one.newer).length;
  const lines = completeTo(report).map((group) => t.complete(group, group[0]));
  return newer ? [...lines, t.newer(newer).trim()] : lines;
}
