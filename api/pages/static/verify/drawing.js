// A report drawn into a page: elements and text only, so that nothing in a bundle can become markup.

const SVG = "http://www.w3.org/2000/svg";
const MARKS = { good: "✓", bad: "✗", open: "○" };

/** Put what `explained` gives into `place`, in place of what stood there; headings of `level`. */
export function draw(place, told, { level = "h3", more = [] } = {}) {
  const verdict = element("p", { className: `verdict ${told.sign}` }, [seal(told.sign), element("b", {}, [told.verdict])]);
  const checks = told.checks.map(({ sign, label, state, lines }) =>
    element("div", {}, [
      element("dt", {}, [`${label} `, element("small", { className: sign }, [mark(sign), state])]),
      element("dd", {}, between(lines, () => element("br"))),
    ]),
  );
  place.replaceChildren(
    verdict,
    ...findings(told.failures, level, "bad"),
    element("dl", { className: "state" }, checks),
    ...findings(told.remarks, level, ""),
    element("p", { className: "soft" }, [told.engine]),
    ...more,
  );
}

/** Say one thing instead of a report: what is going on, or what went wrong. */
export function say(place, text, sign = "") {
  place.replaceChildren(element("p", { className: sign }, [text]));
}

export function element(name, properties = {}, children = []) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function findings({ heading, lines }, level, sign) {
  if (!lines.length) return [];
  const list = element("ul", { className: "certs findings" }, lines.map((line) => element("li", {}, [line])));
  return [element(level, { className: sign }, [heading]), list];
}

function mark(sign) {
  const made = element("i", { className: "mk" }, [MARKS[sign]]);
  made.setAttribute("aria-hidden", "true");
  return made;
}

function seal(sign) {
  const paths = {
    good: ["s1:M6 3.5 41 3l4 3.5.5 36L42 45.5 7 45 3 41.5 2.5 7Z", "s2:m14 25 7.5 7.5L35 16"],
    bad: ["s3:M6 4h36l2 2v36l-2 2H6l-2-2V6Z", "s4:M24 12v16m0 6v3"],
  }[sign];
  const made = document.createElementNS(SVG, "svg");
  for (const [name, value] of Object.entries({ class: "seal", viewBox: "0 0 48 48", width: "48", height: "48" })) {
    made.setAttribute(name, value);
  }
  made.setAttribute("aria-hidden", "true");
  for (const each of paths) {
    const [name, drawn] = each.split(":");
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("class", name);
    path.setAttribute("d", drawn);
    made.append(path);
  }
  return made;
}

function between(lines, separator) {
  return lines.flatMap((line, position) => (position ? [separator(), line] : [line]));
}
