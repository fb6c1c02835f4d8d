// Whose chains a bundle must prove complete: the subject and the ancestors whose story it tells (formats section 6).
import { Refusal } from "./errors.js";
import { eventSubjects } from "./subjects.js";

/** Rooms of subjects that have a story: lots, plots and logistic units. */
export const GOODS = ["01/", "lot/", "plot/", "00/"];

const LOTS = ["01/", "lot/"];

export function isGoods(subject) {
  return GOODS.some((room) => subject.startsWith(room));
}

/**
 * `subject` and every lot, plot and logistic unit it goes back to in these published events, as a Set.
 *
 * Corrected events count as well as what corrects them: more is asked for, never less. Events that name things wrongly
 * are passed over.
 */
export function ancestors(subject, events) {
  const graph = { origins: new Edges(), contents: new Edges(), inputs: new Edges(), outputs: new Edges() };
  events.forEach((event, position) => {
    try {
      readEvent(event, position, graph);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
    }
  });
  for (const [process, outputs] of graph.outputs.all) {
    for (const output of outputs) graph.origins.add(output, graph.inputs.of(process));
  }
  const start = new Set([subject]);
  const packed = subject.startsWith("00/") ? closure(start, graph.contents) : start;
  return closure(packed, graph.origins);
}

/** The transformationID that makes an event part of a longer process, or null. */
export function sharedProcess(event) {
  const process = event.get("transformationID");
  return typeof process === "string" ? process : null;
}

/** From a name to a set of names. */
class Edges {
  constructor() {
    this.all = new Map();
  }

  of(name) {
    return this.all.get(name) ?? new Set();
  }

  add(name, reached) {
    if (!this.all.has(name)) this.all.set(name, new Set());
    for (const one of reached) this.all.get(name).add(one);
  }
}

function readEvent(event, position, { origins, contents, inputs, outputs }) {
  if (event.get("type") === "TransformationEvent") {
    const from = eventSubjects(event, "inputEPCList", "inputQuantityList");
    const to = eventSubjects(event, "outputEPCList", "outputQuantityList");
    const process = sharedProcess(event) ?? `#${position}`;
    inputs.add(process, from);
    outputs.add(process, to);
    return;
  }
  const named = eventSubjects(event, "epcList", "quantityList");
  const isLot = (one) => LOTS.some((room) => one.startsWith(room));
  const around = named.filter((one) => !isLot(one));
  for (const lot of named.filter(isLot)) origins.add(lot, around);
  const children = eventSubjects(event, "childEPCs", "childQuantityList");
  for (const parent of eventSubjects(event, "parentID")) {
    contents.add(parent, children);
    for (const child of children) origins.add(child, [parent]);
  }
}

function closure(start, edges) {
  const reached = new Set(start);
  const pending = [...start];
  while (pending.length) {
    for (const following of edges.of(pending.pop())) {
      if (!reached.has(following)) {
        reached.add(following);
        pending.push(following);
      }
    }
  }
  return reached;
}
