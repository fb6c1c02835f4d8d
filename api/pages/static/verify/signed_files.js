// Recall reports and exports that a log signed as notes, as a stranger checks them.
import { fromUtf8, hex } from "./encoding.js";
import { ProofError } from "./errors.js";
import { sha256 } from "./merkle.js";
import { parseNote } from "./note.js";
import { printable } from "./report.js";

export const REPORT_FORMAT = "suyuan/recall-report/v1";
export const EXPORT_FORMAT = "# suyuan/export/v1";

const BOM = "\ufeff";
const MAX_NOTE_BYTES = 1_000_000;
const REPORT_BEGINS = ["origin", "recall", "checkpoint"];
const REPORT_ENDS = ["pdf", "csv"];

/** The text of a report's note that a log of the policy signed, once the files given are those that it names. */
export async function verifyReport(bytes, policy, signatures, files = {}) {
  const note = readNote(bytes);
  const [first, ...lines] = note.text.slice(0, -1).split("\n");
  const members = lines.map(parted);
  const names = members.map(([name]) => name);
  const begins = names.slice(0, 3).join() === REPORT_BEGINS.join();
  if (first !== REPORT_FORMAT || !begins || names.slice(3).slice(-2).join() !== REPORT_ENDS.join()) {
    fail("this is no note of a recall report", "note");
  }
  await signedByLog(note, members[0][1], policy, signatures, "note");
  const named = new Map(members.slice(-2));
  for (const name of REPORT_ENDS) {
    if (files[name] && named.get(name) !== hex(sha256(files[name]))) {
      fail(`the ${name} is not the file that was signed`, name);
    }
  }
  return note.text;
}

/** The first line of an export that a log of the policy signed. */
export async function verifyExport(bytes, policy, signatures) {
  const note = readNote(bytes);
  const [line] = note.text.split("\n");
  const first = line.startsWith(BOM) ? line.slice(BOM.length) : line;
  if (!first.startsWith(`${EXPORT_FORMAT} `)) fail("this is no export of a log", "export");
  await signedByLog(note, first.slice(EXPORT_FORMAT.length + 1).split(" ")[0], policy, signatures, "export");
  return first;
}

/** What kind of signed file it says that it is: `report`, `export`, or null. */
export function signedKind(bytes) {
  const start = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes.subarray(0, 64));
  if (start.startsWith(`${REPORT_FORMAT}\n`)) return "report";
  return start.startsWith(`${EXPORT_FORMAT} `) || start.startsWith(`${BOM}${EXPORT_FORMAT} `) ? "export" : null;
}

/**
 * {ok, lines}: whether a signed file holds, and the lines in `zh` or `en` that `suyuan verify` prints about it.
 *
 * `files`: the `pdf` and `csv` of a report, as {name, bytes}.
 */
export async function signedFileReport(bytes, policy, signatures, files, lang) {
  const isReport = signedKind(bytes) === "report";
  try {
    if (!isReport) {
      const first = await verifyExport(bytes, policy, signatures);
      const signed = lang === "zh" ? "由账本密钥签署，未被改动" : "signed by the log's key, unaltered";
      return { ok: true, lines: [printable(first), signed] };
    }
    const contents = Object.fromEntries(Object.entries(files).map(([kind, file]) => [kind, file.bytes]));
    const text = await verifyReport(bytes, policy, signatures, contents);
    const names = REPORT_ENDS.flatMap((kind) => (files[kind] ? [files[kind].name] : [])).join(", ") || "—";
    const signed =
      lang === "zh"
        ? `召回报告由账本密钥签署，文件相符：${names}`
        : `signed by the log's key; files as signed: ${names}`;
    return { ok: true, lines: [signed, ...text.slice(0, -1).split("\n")].map(printable) };
  } catch (error) {
    if (!(error instanceof ProofError)) throw error;
    const zh = isReport ? "召回报告不成立" : "导出文件不成立";
    const en = isReport ? "the recall report does not hold" : "the export does not hold";
    const message = error.where ? `${error.where}: ${error.message}` : error.message;
    return { ok: false, lines: [printable(lang === "zh" ? `${zh}：${message}` : `${en}: ${message}`)] };
  }
}

function readNote(bytes) {
  if (bytes.length > MAX_NOTE_BYTES) fail("a note has at most a million bytes", "note");
  try {
    return parseNote(fromUtf8(bytes));
  } catch (error) {
    if (error instanceof TypeError) fail("a note is UTF-8", "note");
    throw error;
  }
}

async function signedByLog(note, origin, policy, signatures, where) {
  const key = policy.logKey(origin);
  if (key === null) fail(`the policy does not know the log ${origin}`, where);
  await key.verify(note, signatures);
}

function parted(line) {
  const space = line.indexOf(" ");
  return space < 0 ? [line, ""] : [line.slice(0, space), line.slice(space + 1)];
}

function fail(message, where) {
  throw new ProofError(message, where);
}
