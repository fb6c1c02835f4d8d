// The verifier as a process of Node.js that is asked a line at a time: for tests, and for programs without a browser.
//
// A question is JSON: {bundle, receipt or signed, policy, fallback, quorum, completeness}, a receipt with its statement,
// a signed file with its pdf and csv; or {jwk, message, signature, fallback}. Files and bytes come in base64. The answer
// is a line, too.
import { base64Bytes } from "./encoding.js";
import { ProofError, Refusal } from "./errors.js";
import { PublicKey } from "./keys.js";
import { parsePolicy } from "./policy.js";
import { verifyReceipt } from "./receipt.js";
import { receiptLines, reportLines } from "./report.js";
import { chooseSignatures } from "./signatures.js";
import { signedFileReport } from "./signed_files.js";
import { strictJson } from "./strict_json.js";
import { verifyBundle } from "./verify.js";

const engines = { native: chooseSignatures(), fallback: chooseSignatures({ fallback: true }) };

async function answer(question) {
  return question.jwk === undefined ? verdict(question) : signatureHolds(question);
}

async function signatureHolds({ jwk, message, signature, fallback = false }) {
  try {
    const key = PublicKey.fromJwk(strictJson(base64Bytes(jwk)));
    const signatures = await engines[fallback ? "fallback" : "native"];
    return { holds: await key.verify(base64Bytes(message), base64Bytes(signature), signatures) };
  } catch (error) {
    if (error instanceof Refusal) return { holds: false };
    throw error;
  }
}

async function verdict({ bundle, receipt, signed, policy, fallback = false, quorum = true, completeness = true, ...more }) {
  const signatures = await engines[fallback ? "fallback" : "native"];
  let read;
  try {
    read = parsePolicy(base64Bytes(policy));
  } catch (error) {
    if (error instanceof ProofError) return { policy: error.message };
    throw error;
  }
  const started = performance.now();
  try {
    if (signed !== undefined) return await signedFile(base64Bytes(signed), read, signatures, more);
    if (receipt !== undefined) {
      const statement = more.statement === undefined ? null : base64Bytes(more.statement);
      const report = await verifyReceipt(base64Bytes(receipt), read, signatures, { quorum, statement });
      return told(report, ["zh", "en"].map((lang) => receiptLines(report, lang)), started);
    }
    const report = await verifyBundle(base64Bytes(bundle), read, signatures, { quorum, completeness });
    const lines = (every) => ["zh", "en"].map((lang) => reportLines(report, lang, { every }));
    return { ...told(report, lines(false), started), every: lines(true) };
  } catch (error) {
    if (error instanceof ProofError) return { unreadable: error.message };
    throw error;
  }
}

async function signedFile(bytes, policy, signatures, { pdf, csv }) {
  const given = Object.entries({ pdf, csv }).filter(([, content]) => content !== undefined);
  const files = Object.fromEntries(given.map(([name, content]) => [name, { name, bytes: base64Bytes(content) }]));
  const zh = await signedFileReport(bytes, policy, signatures, files, "zh");
  const en = await signedFileReport(bytes, policy, signatures, files, "en");
  return { ok: en.ok, zh: zh.lines, en: en.lines };
}

function told(report, [zh, en], started) {
  const list = (findings) => findings.map(({ rule, where, index }) => [rule, where, index === null ? null : String(index)]);
  const { ok, engine, failures, remarks = [], statements = [] } = report;
  const ms = performance.now() - started;
  const each = statements.map((one) => one.ok);
  return { ok, engine, failures: list(failures), remarks: list(remarks), statements: each, zh, en, ms };
}

let pending = "";
process.stdin.setEncoding("utf8");
for await (const chunk of process.stdin) {
  const lines = (pending + chunk).split("\n");
  pending = lines.pop();
  for (const line of lines) process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line)))}\n`);
}
