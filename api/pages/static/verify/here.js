// The product page's "verify on this phone": fetches the page's own bundle and the policy, and checks them here.
import { explained } from "./checks.js";
import { draw, say } from "./drawing.js";
import { ProofError } from "./errors.js";
import { placesOnPage, withPage } from "./page_check.js";
import { parsePolicy } from "./policy.js";
import { chooseSignatures } from "./signatures.js";
import { verifyBundle } from "./verify.js";

const place = document.querySelector("#verify-here");
const status = place.querySelector("[role=status]");
const lang = document.documentElement.lang === "en" ? "en" : "zh";
const texts = place.dataset;

async function fetched(address, accept) {
  const answer = await fetch(address, { headers: { Accept: accept }, credentials: "omit" });
  if (!answer.ok) throw new TypeError(`HTTP ${answer.status}`);
  return new Uint8Array(await answer.arrayBuffer());
}

async function check() {
  say(status, texts.busy);
  try {
    const [signatures, bundle, policy] = await Promise.all([
      chooseSignatures(),
      fetched(texts.proof, "application/vnd.suyuan.proof+json"),
      fetched(texts.policy, "text/plain"),
    ]);
    const started = performance.now();
    const report = await verifyBundle(bundle, parsePolicy(policy), signatures);
    const told = explained({ ...report, ms: performance.now() - started }, lang);
    draw(status, withPage(told, report, placesOnPage(document.querySelector("#story")), lang), { level: "h4" });
  } catch (error) {
    if (!(error instanceof ProofError || error instanceof TypeError)) throw error;
    say(status, `${texts.failed} ${error.message}`, "bad");
  }
}

await check();
place.querySelector("button").addEventListener("click", check);
