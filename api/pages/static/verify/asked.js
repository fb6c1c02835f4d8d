// The verifier as a process of Node.js that is asked a line at a time: for tests, and for programs without a browser.
//
// A question is JSON: {bundle or receipt, policy, fallback, quorum, completeness}, or {jwk, message, signature, fallback},
// files and bytes in base64. The answer is a line, too.
import { base64Bytes } from "./encoding.js";
import { ProofError, Refusal } from "./errors.js";
import { PublicKey } from "./keys.js";
import { parsePolicy } from "./policy.js";
import { verifyReceipt } from "./receipt.js";
import { reportLines } from "./report.js";
import { chooseSignatures } from "./signatures.js";
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

async function verdict({ bundle, receipt, policy, fallback = false, quorum = true, completeness = true }) {
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
    if (receipt !== undefined) {
      return told(await verifyReceipt(base64Bytes(receipt), read, signatures, { quorum }), [], started);
    }
    const report = await verifyBundle(base64Bytes(bundle), read, signatures, { quorum, completeness });
    return told(report, ["zh", "en"].map((lang) => reportLines(report, lang)), started);
  } catch (error) {
    if (error instanceof ProofError) return { unreadable: error.message };
    throw error;
  }
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
