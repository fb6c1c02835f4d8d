// The verifier as a page of its own: files in, report out, and no way for anything to leave.
import { explained } from "./checks.js";
import { draw, element, say } from "./drawing.js";
import { utf8 } from "./encoding.js";
import { ProofError } from "./errors.js";
import { parsePolicy } from "./policy.js";
import { isReceipt, verifyReceipt } from "./receipt.js";
import { findingLine, reportLines, utcTime } from "./report.js";
import { chooseSignatures } from "./signatures.js";
import { verifyBundle } from "./verify.js";

const lang = document.documentElement.lang === "en" ? "en" : "zh";
const find = (selector) => document.querySelector(selector);
const [form, status, texts] = [find("#verifier"), find("#report"), find("#verifier").dataset];
const pinned = find("#policy-text")?.textContent ?? "";
const files = { bundle: null, policy: null };

/** The policy that counts: the file that was chosen, else the one this page carries where that is asked for. */
function policyBytes() {
  if (files.policy !== null) return files.policy;
  const own = form.elements.own;
  return pinned && (own === undefined || own.checked) ? utf8(pinned) : null;
}

async function check() {
  const policyFile = policyBytes();
  if (files.bundle === null || policyFile === null) {
    say(status, files.bundle === null ? texts.needBundle : texts.needPolicy);
    return;
  }
  say(status, texts.busy);
  try {
    const policy = parsePolicy(policyFile);
    const signatures = await chooseSignatures();
    const asked = { quorum: form.elements.quorum.checked, completeness: form.elements.completeness.checked };
    const started = performance.now();
    if (isReceipt(files.bundle)) {
      showReceipt(await verifyReceipt(files.bundle, policy, signatures, asked));
      return;
    }
    const report = await verifyBundle(files.bundle, policy, signatures, asked);
    report.ms = performance.now() - started;
    showBundle(report);
  } catch (error) {
    if (!(error instanceof ProofError)) throw error;
    say(status, `${texts.unreadable} ${error.message}`, "bad");
  }
}

function showBundle(report) {
  const plain = element("pre", { tabIndex: 0 }, [element("code", {}, [reportLines(report, lang).join("\n")])]);
  const more = element("details", {}, [element("summary", {}, [texts.plain]), plain]);
  const subject = element("p", { className: "soft" }, [`${texts.subject} `, element("code", {}, [report.subject])]);
  draw(status, explained(report, lang), { more: [subject, more] });
}

function showReceipt(report) {
  const lines = [report.ok ? texts.receiptGood : texts.receiptBad];
  if (report.index !== null) lines.push(`${texts.entry} ${report.index}, ${report.type}, ${utcTime(report.time)}`);
  for (const [name, time] of report.checkpoint?.cosigned ?? []) lines.push(`${name}, ${utcTime(time * 1000n)}`);
  lines.push(...report.failures.map((failure) => findingLine(failure, lang)));
  const sign = report.ok ? "good" : "bad";
  status.replaceChildren(...lines.map((line, position) => element("p", { className: position ? "" : sign }, [line])));
}

/** Take a file in; one that was dropped is named, since its field does not show it. */
async function take(kind, file, dropped = "") {
  files[kind] = new Uint8Array(await file.arrayBuffer());
  find(`#${kind}-name`).textContent = dropped;
  await check();
}

for (const kind of ["bundle", "policy"]) {
  form.elements[kind].addEventListener("change", ({ target }) => target.files.length && take(kind, target.files[0]));
}
for (const name of ["own", "quorum", "completeness"]) {
  form.elements[name]?.addEventListener("change", check);
}
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", async (event) => {
  event.preventDefault();
  for (const file of event.dataTransfer.files) {
    const start = new TextDecoder().decode(new Uint8Array(await file.slice(0, 200).arrayBuffer()));
    await take(start.includes("#suyuan policy") ? "policy" : "bundle", file, file.name);
  }
});
for (const link of document.querySelectorAll("[data-online]")) link.hidden = location.protocol === "file:";
form.hidden = false;
say(status, texts.needBundle);
