// Whose chains a statement stands on: from identifiers to subject strings, by rule (formats sections 2 and 7).
import { SUBJECT_LISTS } from "./disclosures.js";
import { fromUtf8, hex, isLongerThan, remembered, utf8 } from "./encoding.js";
import { Refusal } from "./errors.js";
import { sha256 } from "./merkle.js";
import { EVENT } from "./statement.js";
import { isObject } from "./strict_json.js";

export const USED = "#used";
export const CORRECTS = "suyuan:corrects";

const MAX_SUBJECTS = 500;
const MAX_URI = 400;
const EPC_LISTS = new Set(SUBJECT_LISTS.filter((name) => !name.endsWith("uantityList")));
const NAMING = ["parentID", ...SUBJECT_LISTS];
const INPUTS = new Set(["inputEPCList", "inputQuantityList"]);

const CROCKFORD = "[0-9A-HJKMNP-TV-Z]";
const ACTOR = `(?:[0-9A-Z]{18}|P${CROCKFORD}{16})`;
const CSET82 = "[!\"%&'()*+,\\-./0-9:;<=>?A-Z_a-z]";
const SUBJECT = new RegExp(
  "^(?:" +
    [
      `01/(?<gtin>[0-9]{14})/10/${CSET82}{1,20}`,
      "00/(?<sscc>[0-9]{18})",
      `lot/${ACTOR}/${CROCKFORD}{16}`,
      `plot/${ACTOR}/${CSET82}{1,64}`,
      `actor/${ACTOR}`,
      "product/(?<product>[0-9]{14})",
    ].join("|") +
    ")$",
);
const SERIAL = new RegExp(`^${CSET82}{1,20}$`);
const HOST_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
const URI = new RegExp(
  `^https://${HOST_LABEL}(?:\\.${HOST_LABEL})*(?::(?<port>[1-9][0-9]{0,4}))?/(?<path>[A-Za-z0-9\\-._~%/]+)$`,
);
const SEGMENTS = { "01": 4, lot: 3, plot: 3, "00": 2 };

/** `subject` itself when it is a subject string of formats section 2 (without `#used`), or Refusal. */
export function checkSubject(subject) {
  const found = SUBJECT.exec(subject);
  if (!found) refuse("uri-unknown", subject, "不是可识别的标识", "is no identifier this ledger knows");
  const digits = found.groups.gtin ?? found.groups.sscc ?? found.groups.product;
  if (digits && checkDigit(digits.slice(0, -1)) !== digits.at(-1)) {
    refuse("check-digit", subject, "校验位不正确", "has a wrong check digit");
  }
  return subject;
}

/** How chain lines and the lot index name a subject: SHA-256 of `suyuan/subject/v1\n` + subject string. */
export const subjectHash = remembered((subject) => sha256(utf8(`suyuan/subject/v1\n${subject}`)));

/** Subjects as the chain lines have them: unique, sorted by hash, 1 to 500, as [subject, hex hash] pairs. */
export function chainOrder(subjects) {
  const found = new Set(subjects);
  if (!found.size) refuse("subject-none", "", "声明没有涉及任何对象", "a statement concerns at least one subject");
  if (found.size > MAX_SUBJECTS) {
    const en = `a statement concerns at most ${MAX_SUBJECTS} subjects; make it several statements`;
    refuse("subject-too-many", "", `一条声明涉及的对象超过 ${MAX_SUBJECTS} 个，请分成几条`, en);
  }
  const hashed = Array.from(found, (subject) => [subject, hex(subjectHash(subject))]);
  return hashed.sort(([, left], [, right]) => (left < right ? -1 : left > right ? 1 : 0));
}

/** The subjects that the given members of one event name, without `#used`, in their order. */
export function eventSubjects(body, ...members) {
  return [...new Set(members.flatMap((name) => inMember(body, name)))];
}

/** The subjects a statement names itself; consumed inputs as `...#used`. */
export function ownSubjects(typ, body) {
  switch (typ) {
    case EVENT:
      return NAMING.flatMap((name) =>
        inMember(body, name).map((subject) => (INPUTS.has(name) ? subject + USED : subject)),
      );
    case "actor+jwt":
      return [checkSubject(`actor/${textOf(body, "id")}`)];
    case "key+jwt":
      return [checkSubject(`actor/${textOf(body, "actor")}`)];
    case "credential+jwt":
      return credentialSubjects(body);
    case "codes+jwt":
      return [checkSubject(`01/${textOf(body, "gtin")}/10/${textOf(body, "lot")}`)];
    case "recall+jwt":
    case "notice+jwt":
      return listOf(body, "lots").map((uri, position) => ofRoom(uri, ["01/", "lot/"], `lots/${position}`));
    case "erasure+jwt":
      return listOf(body, "subjects").map((subject, position) => {
        if (typeof subject !== "string") refuseMember(`subjects/${position}`);
        const used = subject.endsWith(USED) ? USED : "";
        return checkSubject(subject.slice(0, subject.length - used.length)) + used;
      });
    default:
      throw new Error(`unknown kind of statement: ${typ}`);
  }
}

function credentialSubjects(body) {
  const subjects = [checkSubject(`actor/${textOf(body, "actor")}`)];
  if ((body.get("plot") ?? null) !== null) subjects.push(ofRoom(textOf(body, "plot"), ["plot/"], "plot"));
  if ((body.get("product") ?? null) !== null) subjects.push(checkSubject(`product/${textOf(body, "product")}`));
  return subjects;
}

function inMember(body, name) {
  if (!body.has(name)) return [];
  if (name === "parentID") return [at("parentID", body.get(name))];
  return listOf(body, name).map((element, position) => {
    const where = `${name}/${position}`;
    if (EPC_LISTS.has(name)) return at(where, element);
    if (!isObject(element)) refuseMember(where);
    return at(`${where}/epcClass`, element.get("epcClass"));
  });
}

function ofRoom(uri, rooms, where) {
  const subject = at(where, uri);
  if (!rooms.some((room) => subject.startsWith(room))) refuseMember(where);
  return subject;
}

function at(where, uri) {
  if (typeof uri !== "string") refuseMember(where);
  return subjectOf(uri);
}

/** The subject string of a lot, plot or logistic unit named by its URI in its one spelling; an item counts as its lot. */
const subjectOf = remembered((uri) => {
  let segments = pathOf(uri).split("/");
  if (segments[0] === "01" && segments.length === 6 && segments[4] === "21") {
    if (!SERIAL.test(decoded(segments[5], uri))) {
      refuse("uri-unknown", uri, "序列号含有不允许的字符", "a serial uses GS1 character set 82");
    }
    segments = segments.slice(0, 4);
  }
  const before = segments.slice(0, -1);
  const subject = [...before, decoded(segments.at(-1), uri)].join("/");
  const length = Object.hasOwn(SEGMENTS, segments[0]) ? SEGMENTS[segments[0]] : -1;
  if (segments.length !== length || before.join("").includes("%")) {
    refuse("uri-unknown", uri, "不是批次、地块或物流单元", "names no lot, plot or logistic unit");
  }
  return checkSubject(subject);
});

function pathOf(uri) {
  const found = isLongerThan(uri, MAX_URI) ? null : URI.exec(uri);
  if (!found) {
    const shown = uri.slice(0, MAX_URI);
    refuse("uri-spelling", shown, "不是规范写法的 https 标识", "is not an https URI in its one spelling");
  }
  const { port, path } = found.groups;
  if (port !== undefined && (port === "443" || Number(port) > 65535)) {
    refuse("uri-spelling", uri, "端口写法不规范", "has a port that is default or out of range");
  }
  return path;
}

function decoded(segment, uri) {
  if (/^[0-9A-Za-z]+$/.test(segment)) return segment;
  let text;
  try {
    text = fromUtf8(unquoted(segment));
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    refuse("uri-spelling", uri, "百分号编码不是 UTF-8", "has percent escapes that are not UTF-8");
  }
  if (quoted(text) !== segment) {
    const en = "has percent escapes that are not in upper case or not needed";
    refuse("uri-spelling", uri, "百分号编码须为大写十六进制且仅在需要处使用", en);
  }
  return text;
}

function unquoted(segment) {
  const bytes = [];
  for (let position = 0; position < segment.length; position++) {
    const digits = segment[position] === "%" ? segment.slice(position + 1, position + 3) : "";
    if (/^[0-9A-Fa-f]{2}$/.test(digits)) {
      bytes.push(Number.parseInt(digits, 16));
      position += 2;
    } else {
      bytes.push(segment.charCodeAt(position));
    }
  }
  return Uint8Array.from(bytes);
}

function quoted(text) {
  return Array.from(utf8(text), (byte) => {
    const character = String.fromCharCode(byte);
    return /[A-Za-z0-9\-._~]/.test(character) ? character : `%${hex([byte]).toUpperCase()}`;
  }).join("");
}

/** GS1 General Specifications, section 7.9.1. */
function checkDigit(digits) {
  const weighted = [...digits].reverse().reduce((sum, digit, position) => sum + digit * (position % 2 ? 1 : 3), 0);
  return String((10 - (weighted % 10)) % 10);
}

function textOf(body, name) {
  const value = body.get(name);
  if (typeof value !== "string") refuseMember(name);
  return value;
}

function listOf(body, name) {
  const value = body.get(name);
  if (!Array.isArray(value)) refuseMember(name);
  return value;
}

function refuseMember(where) {
  const en = `the member ${where} is missing or does not name what it should`;
  throw new Refusal("subject-member", `成员 ${where} 缺失或不是应有的标识`, en);
}

function refuse(rule, named, zh, en) {
  const shown = named ? `'${named}' ` : "";
  throw new Refusal(rule, shown + zh, shown + en);
}
