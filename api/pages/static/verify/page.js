// The verifier as a page of its own: files in, report out, and no way for anything to leave.
import { explained } from "./checks.js";
import { draw, element, say } from "./drawing.js";
import { utf8 } from "./encoding.js";
import { ProofError } from "./errors.js";
import { parsePolicy } from "./policy.js";
import { isReceipt, verifyReceipt } from "./receipt.js";
import { receiptLines, reportLines } from "./report.js";
import { chooseSignatures } from "./signatures.js";
import { signedFileReport, signedKind } from "./signed_files.js";
import { verifyBundle } from "./verify.js";

const lang = document.documentElement.lang === "en" ? "en" : "zh";
const find = (selector) => document.querySelector(selector);
const [form, status, texts] = [find("#verifier"), find("#report"), find("#verifier").dataset];
const pinned = find("#policy-text")?.textContent ?? "";
const files = { given: [], policy: null };
const STATEMENT = /^\s*[\w-]+\.[\w-]+\.[\w-]+\s*(?:~|$)/;

/** The policy that counts: the file that was chosen, else the one this page carries where that is asked for. */
function policyBytes() {
  if (files.policy !== null) return files.policy;
  const own = form.elements.own;
  return pinned && (own === undefined || own.checked) ? utf8(pinned) : null;
}

async function check() {
  const policyFile = policyBytes();
  const subject = whatToCheck(files.given);
  if (subject === null || policyFile === null) {
    say(status, subject === null ? texts.needBundle : texts.needPolicy);
    return;
  }
  say(status, texts.busy);
  try {
    const policy = parsePolicy(policyFile);
    const signatures = await chooseSignatures();
    const asked = { quorum: form.elements.quorum.checked, completeness: form.elements.completeness.checked };
    const started = performance.now();
    if (subject.kind === "receipt") {
      const report = await verifyReceipt(subject.bytes, policy, signatures, { ...asked, statement: subject.statement });
      showLines(report.ok, [report.ok ? texts.receiptGood : texts.receiptBad, ...receiptLines(report, lang)]);
    } else if (subject.kind === "signed") {
      const report = await signedFileReport(subject.bytes, policy, signatures, subject.files, lang);
      showLines(report.ok, [report.ok ? texts.signedGood : texts.signedBad, ...report.lines]);
    } else {
      const report = await verifyBundle(subject.bytes, policy, signatures, asked);
      report.ms = performance.now() - started;
      showBundle(report);
    }
  } catch (error) {
    if (!(error instanceof ProofError)) throw error;
    say(status, `${texts.unreadable} ${error.message}`, "bad");
  }
}

/** Of the files that were given together: the one to check, by what it says it is, and what belongs to it. */
function whatToCheck(given) {
  if (!given.length) return null;
  const receipt = given.find(({ bytes }) => isReceipt(bytes));
  if (receipt !== undefined) return { kind: "receipt", bytes: receipt.bytes, statement: statementAmong(given) };
  const report = given.find(({ bytes }) => signedKind(bytes) === "report");
  const csv = given.find(({ bytes }) => signedKind(bytes) === "export");
  const pdf = given.find(({ bytes }) => textOf(bytes.subarray(0, 5)) === "%PDF-");
  if (report !== undefined) {
    return { kind: "signed", bytes: report.bytes, files: { ...(pdf && { pdf }), ...(csv && { csv }) } };
  }
  if (csv !== undefined) return { kind: "signed", bytes: csv.bytes, files: {} };
  return { kind: "bundle", bytes: given[0].bytes };
}

/** The bytes of the signed statement among the files, without spaces around it and disclosures after it; or null. */
function statementAmong(given) {
  const found = given.map(({ bytes }) => textOf(bytes)).find((text) => STATEMENT.test(text));
  return found === undefined ? null : utf8(found.trim().split("~")[0]);
}

function textOf(bytes) {
  return new TextDecoder().decode(bytes);
}

function showBundle(report) {
  const plain = element("pre", { tabIndex: 0 }, [element("code", {}, [reportLines(report, lang, { every: true }).join("\n")])]);
  const more = element("details", {}, [element("summary", {}, [texts.plain]), plain]);
  const subject = element("p", { className: "soft" }, [`${texts.subject} `, element("code", {}, [report.subject])]);
  draw(status, explained(report, lang), { more: [subject, more] });
}

function showLines(ok, lines) {
  const sign = ok ? "good" : "bad";
  status.replaceChildren(...lines.map((line, position) => element("p", { className: position ? "" : sign }, [line])));
}

/** Name files that were dropped, since their field does not show them. */
function named(kind, dropped) {
  find(`#${kind}-name`).textContent = dropped.map(({ name }) => name).join(", ");
}

async function take(chosen) {
  const read = async (file) => ({ name: file.name, bytes: new Uint8Array(await file.arrayBuffer()) });
  return Promise.all(Array.from(chosen, read));
}

form.elements.bundle.addEventListener("change", async ({ target }) => {
  if (!target.files.length) return;
  files.given = await take(target.files);
  named("bundle", []);
  await check();
});
form.elements.policy.addEventListener("change", async ({ target }) => {
  if (!target.files.length) return;
  files.policy = (await take(target.files))[0].bytes;
  named("policy", []);
  await check();
});
for (const name of ["own", "quorum", "completeness"]) {
  form.elements[name]?.addEventListener("change", check);
}
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", async (event) => {
  event.preventDefault();
  const dropped = await take(event.dataTransfer.files);
  const isPolicy = ({ bytes }) => textOf(bytes.subarray(0, 200)).includes("#suyuan policy");
  const [policies, given] = [dropped.filter(isPolicy), dropped.filter((file) => !isPolicy(file))];
  if (policies.length) {
    files.policy = policies[0].bytes;
    named("policy", policies.slice(0, 1));
  }
  if (given.length) {
    files.given = given;
    named("bundle", given);
  }
  await check();
});
for (const link of document.querySelectorAll("[data-online]")) link.hidden = location.protocol === "file:";
form.hidden = false;
say(status, texts.needBundle);
