// What a verification found, as lines for people: the same lines, in Chinese or English, that `suyuan verify` prints.

/** The lines of a bundle's report in `zh` or `en`; with `every`, what holds is named one by one. */
export function reportLines(report, lang, { every = false } = {}) {
  return (lang === "zh" ? linesInChinese(report, every) : linesInEnglish(report, every)).map(printable);
}

/** The lines of a receipt's report in `zh` or `en`. */
export function receiptLines(report, lang) {
  const { index, type, time, checkpoint, statementChecked, failures, ok } = report;
  const zh = lang === "zh";
  const lines = [];
  if (index !== null && time !== null) {
    lines.push(zh ? `条目 ${index}，${type}，${utcTime(time)}` : `entry ${index}, ${type}, ${utcTime(time)}`);
  }
  if (checkpoint !== null) {
    const { origin, size } = checkpoint;
    const en = `log ${origin}: ${size} entries; ${quorumInEnglish(checkpoint)}`;
    lines.push(zh ? `日志 ${origin}：${size} 条；${quorumInChinese(checkpoint)}` : en);
  }
  if (!statementChecked) lines.push(zh ? "未提供声明本身" : "the statement itself was not given");
  lines.push(...failures.map((failure) => findingLine(failure, lang)));
  if (zh) lines.push(ok ? "验证通过：条目在日志中" : "验证未通过");
  else lines.push(ok ? "VERIFIED: the entry is in the log" : "NOT VERIFIED");
  return lines.map(printable);
}

/** One failure or remark as a line. */
export function findingLine(finding, lang) {
  const entry = lang === "zh" ? `（条目 ${finding.index}）` : ` (entry ${finding.index})`;
  return printable(`${finding.where}${finding.index === null ? "" : entry}: ${finding[lang]} [${finding.rule}]`);
}

/** ISO 8601 in UTC, to the second, of a BigInt in ms; the number itself when no calendar reaches that far. */
export function utcTime(time) {
  const date = new Date(Number(time / 1000n) * 1000);
  if (Number.isNaN(date.getTime()) || date.getUTCFullYear() > 9999) return `${time} ms`;
  return date.toISOString().replace(".000Z", "Z");
}

/** Whatever a hostile statement put into a name stays one line and moves no cursor. */
export function printable(line) {
  return line.replace(/[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu, "\ufffd");
}

/** Completeness verdicts of one log and one index together, in their order. */
export function completeTo(report) {
  const groups = new Map();
  for (const one of report.completeness) {
    const name = [one.origin, one.size, one.time, one.auditors].join("\n");
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(one);
  }
  return [...groups.values()];
}

function linesInEnglish(report, every) {
  const lines = [`subject ${report.subject}`];
  for (const one of report.checkpoints) {
    lines.push(`log ${one.origin}: checkpoint of ${one.size} entries, signed by the log; ${quorumInEnglish(one)}`);
  }
  const { hold, newer, all } = counts(report);
  lines.push(`statements: ${hold} of ${all} hold${newer ? `; ${newer} newer than the completeness proof` : ""}`);
  for (const verdict of report.statements.filter((one) => every || !one.ok || one.newer)) {
    const late = verdict.newer ? " — newer than the completeness proof" : "";
    lines.push(`${verdict.ok ? "ok  " : "FAIL"} ${statementLine(verdict)}${late}`);
  }
  for (const group of completeTo(report)) {
    const [first] = group;
    const by = first.auditors ? `audited by ${first.auditors}` : "according to the operator";
    lines.push(
      `complete: all records of ${group.length} lots, plots, actors and units among the first ${first.size} ` +
        `entries of ${first.origin}, ${utcTime(first.time)}, ${by}`,
    );
    for (const { subject, entries, newer: later } of every ? group : []) {
      lines.push(`complete: ${subject}: ${entries} entries${later ? `; ${later} newer` : ""}`);
    }
  }
  if (report.item !== null) lines.push(`item code ${report.item}${report.ok ? ": of the committed set" : ""}`);
  lines.push(...report.remarks.map((remark) => `note ${findingLine(remark, "en")}`));
  lines.push(...report.failures.map((failure) => `FAILED ${findingLine(failure, "en")}`));
  lines.push(report.ok ? "VERIFIED: recorded, unaltered" : `NOT VERIFIED: ${report.failures.length} failure(s)`);
  return lines;
}

function linesInChinese(report, every) {
  const lines = [`对象 ${report.subject}`];
  for (const one of report.checkpoints) {
    lines.push(`日志 ${one.origin}：${one.size} 条的检查点，日志签名成立；${quorumInChinese(one)}`);
  }
  const { hold, newer, all } = counts(report);
  lines.push(`声明：${all} 条中 ${hold} 条成立${newer ? `；${newer} 条晚于完整性证明` : ""}`);
  for (const verdict of report.statements.filter((one) => every || !one.ok || one.newer)) {
    const late = verdict.newer ? "（晚于完整性证明）" : "";
    lines.push(`${verdict.ok ? "成立  " : "不成立"} ${statementLine(verdict)}${late}`);
  }
  for (const group of completeTo(report)) {
    const [first] = group;
    const by = first.auditors ? `经 ${first.auditors} 审计` : "依运营方所述";
    lines.push(
      `完整：${first.origin} 前 ${first.size} 条中 ${group.length} 个批次、地块、主体和物流单元的全部记录，` +
        `${utcTime(first.time)}，${by}`,
    );
    for (const { subject, entries, newer: later } of every ? group : []) {
      lines.push(`完整：${subject}：${entries} 条${later ? `；另有 ${later} 条更新` : ""}`);
    }
  }
  if (report.item !== null) lines.push(`单品码 ${report.item}${report.ok ? "：属于已承诺的码集" : ""}`);
  lines.push(...report.remarks.map((remark) => `说明 ${findingLine(remark, "zh")}`));
  lines.push(...report.failures.map((failure) => `未通过 ${findingLine(failure, "zh")}`));
  lines.push(report.ok ? "验证通过：有据可查，未被改动" : `验证未通过：${report.failures.length} 项`);
  return lines;
}

function counts({ statements }) {
  const hold = statements.filter((one) => one.ok).length;
  return { hold, newer: statements.filter((one) => one.newer).length, all: statements.length };
}

function statementLine({ position, index, time, typ, iss }) {
  return `#${position} entry ${index ?? "?"}${time === null ? "" : ` ${utcTime(time)}`} ${typ ?? "?"} ${iss ?? "?"}`;
}

function quorumInEnglish(one) {
  const names = witnesses(one).join(", ") || "nobody";
  switch (one.quorum) {
    case "met":
      return `quorum reached ${utcTime(one.quorumTime * 1000n)} (cosigned by ${names})`;
    case "final":
      return "the last checkpoint of a closed log, pinned by the policy";
    case "missing":
      return `no quorum (cosigned by ${names})`;
    default:
      return `the policy asks for no quorum (cosigned by ${names})`;
  }
}

function quorumInChinese(one) {
  const names = witnesses(one).join("、") || "无";
  switch (one.quorum) {
    case "met":
      return `见证人法定数已于 ${utcTime(one.quorumTime * 1000n)} 达到（见证：${names}）`;
    case "final":
      return "已关闭日志的最后检查点，由策略文件固定";
    case "missing":
      return `见证人未达法定数（见证：${names}）`;
    default:
      return `策略不要求见证人（见证：${names}）`;
  }
}

function witnesses({ cosigned }) {
  return Array.from(cosigned, ([name, time]) => `${name} ${utcTime(time * 1000n)}`);
}
