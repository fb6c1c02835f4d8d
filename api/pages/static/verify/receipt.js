// A receipt, the C2SP tlog-proof text of one entry: that the entry is in the log, and whose statement it is.
import { base64Bytes, decimalNumber, fromUtf8, hex } from "./encoding.js";
import { parseCheckpoint } from "./checkpoint.js";
import { parseEntry } from "./entry.js";
import { ProofError, SpellingError } from "./errors.js";
import { Findings } from "./findings.js";
import { HASH_SIZE, Inclusion, sha256 } from "./merkle.js";
import { parseNote } from "./note.js";
import { parseStatementFile } from "./statement.js";
import { checkCheckpoint, checkQuorum, checkStatementOf } from "./verify.js";

export const RECEIPT = "c2sp.org/tlog-proof@v1";

const FAMILY = "c2sp.org/tlog-proof@";
const MAX_BYTES = 1_200_000;
const MAX_PATH = 63;

/**
 * The report on a receipt (bytes): {ok, index, type, time, checkpoint, statementChecked, failures}.
 *
 * Quorum is demanded where `quorum` says so; that the entry is that of `statement` (bytes), where it is given.
 */
export async function verifyReceipt(bytes, policy, signatures, { quorum = true, statement = null } = {}) {
  const findings = new Findings();
  const report = { index: null, type: null, time: null, checkpoint: null, failures: findings.failures };
  report.statementChecked = statement !== null;
  await findings.noting("receipt", "receipt", null, async () => {
    const receipt = parseReceipt(bytes);
    const entry = parseEntry(receipt.entry);
    Object.assign(report, { index: receipt.index, type: entry.type, time: entry.time });
    const checkpoint = await checkCheckpoint(receipt.note, policy, signatures);
    report.checkpoint = checkpoint;
    new Inclusion(checkpoint.size, checkpoint.root).verify(entry.leaf, receipt.index, receipt.path);
    if (quorum && policy.quorum !== null) checkQuorum(checkpoint);
    if (statement !== null) {
      const hash = hex(sha256(statement));
      checkStatementOf({ statement: parseStatementFile(statement), hash, entry, origin: checkpoint.origin });
    }
  });
  return { ...report, ok: findings.failures.length === 0, engine: signatures.engine };
}

/** Whether a file says that it is a receipt. */
export function isReceipt(bytes) {
  return [...FAMILY].every((character, position) => bytes[position] === character.charCodeAt(0));
}

function parseReceipt(bytes) {
  if (bytes.length > MAX_BYTES) throw new ProofError("too large", "receipt");
  const text = textOf(bytes);
  const end = text.indexOf("\n\n");
  const [version, ...lines] = text.slice(0, Math.max(end, 0)).split("\n");
  if (version !== RECEIPT || end < 0 || lines.length < 2) {
    throw new ProofError(`a receipt begins with ${RECEIPT}, extra and index lines`, "receipt");
  }
  if (lines.length > 2 + MAX_PATH) {
    throw new ProofError(`an inclusion path has at most ${MAX_PATH} hashes`, "receipt");
  }
  const note = text.slice(end + 2);
  try {
    const entry = base64Bytes(field(lines[0], "extra "));
    const index = decimalNumber(field(lines[1], "index "));
    const path = lines.slice(2).map((line) => base64Bytes(line, HASH_SIZE));
    parseCheckpoint(parseNote(note).text);
    return { entry, index, path, note };
  } catch (error) {
    if (error instanceof SpellingError) throw new ProofError(error.message, "receipt");
    throw error;
  }
}

function textOf(bytes) {
  try {
    return fromUtf8(bytes);
  } catch (error) {
    if (error instanceof TypeError) throw new ProofError("not UTF-8", "receipt");
    throw error;
  }
}

function field(line, label) {
  if (!line.startsWith(label)) throw new SpellingError(`expected a line that begins with '${label}'`);
  return line.slice(label.length);
}
