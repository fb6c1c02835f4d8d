// Whether a product page tells every record that its bundle proves, and no other: a page that hides one is found out.
import { EVENT } from "./statement.js";

const PLACE = /^e([0-9]+)$/;
const TEXTS = {
  zh: {
    label: "本页",
    told: (count) => `证明包中的 ${count} 条记录，本页都有。`,
    hidden: (places) => `证明包中有、本页却没有的记录：条目 ${places.join("、")}。`,
    foreign: (places) => `本页有、证明包中却没有的记录：条目 ${places.join("、")}。`,
    newer: (places) => `晚于此证明、尚未包含在内的记录：条目 ${places.join("、")}。`,
    verdict: "本页所述与证明包不符",
    signs: { good: "相符", bad: "不符" },
  },
  en: {
    label: "This page",
    told: (count) => `All ${count} records of the bundle are told on this page.`,
    hidden: (places) => `Records of the bundle that this page does not tell: entry ${places.join(", ")}.`,
    foreign: (places) => `Records on this page that are not in the bundle: entry ${places.join(", ")}.`,
    newer: (places) => `Records newer than this proof, not yet part of it: entry ${places.join(", ")}.`,
    verdict: "This page does not tell what the bundle proves",
    signs: { good: "agrees", bad: "does not agree" },
  },
};

/** The places in the log of the records that the story on this page tells. */
export function placesOnPage(story) {
  const told = [...(story?.querySelectorAll("[id]") ?? [])].filter((one) => PLACE.test(one.id) && one.textContent.trim());
  return told.map(({ id }) => PLACE.exec(id)[1]);
}

/** What `explained` gives, with one check more: the `places` on the page against the events of the bundle's report. */
export function withPage(told, report, places, lang) {
  const t = TEXTS[lang];
  const onPage = new Set(places);
  const events = report.statements.filter((one) => one.typ === EVENT && one.index !== null);
  const proven = new Set(events.map((one) => String(one.index)));
  const size = report.checkpoints.reduce((most, one) => (one.size > most ? one.size : most), 0n);
  const hidden = [...proven].filter((place) => !onPage.has(place));
  const missing = [...onPage].filter((place) => !proven.has(place));
  const [newer, foreign] = [missing.filter((one) => BigInt(one) >= size), missing.filter((one) => BigInt(one) < size)];
  const lines = [];
  if (hidden.length) lines.push(t.hidden(hidden));
  if (foreign.length) lines.push(t.foreign(foreign));
  const sign = lines.length ? "bad" : "good";
  if (!lines.length) lines.push(t.told(proven.size));
  if (newer.length) lines.push(t.newer(newer));
  const checks = [...told.checks, { sign, label: t.label, state: t.signs[sign], lines }];
  return sign === "bad" && report.ok ? { ...told, sign, verdict: t.verdict, checks } : { ...told, checks };
}
