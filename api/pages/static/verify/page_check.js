// Whether a product page tells every record of its story that its bundle proves, and no other record.
import { EVENT } from "./statement.js";
import { USED } from "./subjects.js";

const PLACE = /^e([0-9]+)$/;
const TEXTS = {
  zh: {
    label: "本页",
    told: (count) => `本页所列的 ${count} 条记录都在证明包中，这段来历没有漏列。`,
    beside: (places) =>
      `证明包中还有本页未列的旁支记录，例如地块的其他季节或作物、同一工艺的其他产物：条目 ${places.join("、")}。`,
    hidden: (places) => `证明包中有、本页却没有的记录：条目 ${places.join("、")}。`,
    foreign: (places) => `本页有、证明包中却没有的记录：条目 ${places.join("、")}。`,
    newer: (places) => `晚于此证明、尚未包含在内的记录：条目 ${places.join("、")}。`,
    verdict: "本页所述与证明包不符",
    signs: { good: "相符", bad: "不符", open: "未全列" },
  },
  en: {
    label: "This page",
    told: (count) => `This page tells ${count} records, and the bundle holds each of them; none of this story is left out.`,
    beside: (places) =>
      "The bundle also holds records beside the story that are not told here, such as other seasons of a plot or " +
      `something else from the same process: entry ${places.join(", ")}.`,
    hidden: (places) => `Records of the bundle that this page does not tell: entry ${places.join(", ")}.`,
    foreign: (places) => `Records on this page that are not in the bundle: entry ${places.join(", ")}.`,
    newer: (places) => `Records newer than this proof, not yet part of it: entry ${places.join(", ")}.`,
    verdict: "This page does not tell what the bundle proves",
    signs: { good: "agrees", bad: "does not agree", open: "does not tell all" },
  },
};

/** The places in the log of the records that the story on this page tells. */
export function placesOnPage(story) {
  const told = [...(story?.querySelectorAll("[id]") ?? [])].filter((one) => PLACE.test(one.id) && one.textContent.trim());
  return told.map(({ id }) => PLACE.exec(id)[1]);
}

/**
 * What `explained` gives, with one check more: the `places` on the page against the events of the bundle's report.
 *
 * An event belongs to the story when it names a lot or logistic unit that the subject goes back to. A plot also has
 * other years and crops: records about plots alone are named when the page does not tell them.
 */
export function withPage(told, report, places, lang) {
  const t = TEXTS[lang];
  const onPage = new Set(places);
  const events = report.statements.filter((one) => one.typ === EVENT && one.index !== null);
  const isTold = (subject) => !subject.startsWith("plot/") && report.ancestors.has(subject.replace(USED, ""));
  const place = (one) => String(one.index);
  const story = events.filter((one) => !one.subjects.length || one.subjects.some(isTold)).map(place);
  const proven = new Set(events.map(place));
  const size = report.checkpoints.reduce((most, one) => (one.size > most ? one.size : most), 0n);
  const hidden = story.filter((one) => !onPage.has(one));
  const beside = [...proven].filter((one) => !onPage.has(one) && !hidden.includes(one));
  const missing = [...onPage].filter((one) => !proven.has(one));
  const [newer, foreign] = [missing.filter((one) => BigInt(one) >= size), missing.filter((one) => BigInt(one) < size)];
  const lines = [];
  if (hidden.length) lines.push(t.hidden(hidden));
  if (foreign.length) lines.push(t.foreign(foreign));
  const isOpen = events.some((one) => beside.includes(place(one)) && one.subjects.some((plot) => report.ancestors.has(plot)));
  const sign = lines.length ? "bad" : isOpen ? "open" : "good";
  if (!lines.length) lines.push(t.told(proven.size - beside.length));
  if (beside.length) lines.push(t.beside(beside));
  if (newer.length) lines.push(t.newer(newer));
  const checks = [...told.checks, { sign, label: t.label, state: t.signs[sign], lines }];
  return sign === "bad" && report.ok ? { ...told, sign, verdict: t.verdict, checks } : { ...told, checks };
}
