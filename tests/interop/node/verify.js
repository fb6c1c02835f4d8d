// Asks Sigstore's verifier (npm @sigstore/verify) about a checkpoint and an inclusion proof, one JSON object a line:
// {note, name, keyId, publicKey, entry, index, path} -> {"ok": {"verdicts": {"@sigstore/verify": refusal or ""}}}.
"use strict";

const { createPublicKey } = require("node:crypto");
const readline = require("node:readline");
const { verifyCheckpoint } = require("@sigstore/verify/dist/tlog/checkpoint");
const { verifyMerkleInclusion } = require("@sigstore/verify/dist/tlog/merkle");

const bytes = (text) => Buffer.from(text, "base64");

function refusal(request) {
  const entry = {
    canonicalizedBody: bytes(request.entry),
    inclusionProof: {
      logIndex: String(request.index),
      hashes: request.path.map(bytes),
      checkpoint: { envelope: request.note },
    },
  };
  const log = {
    logID: bytes(request.keyId),
    baseURL: request.name,
    publicKey: createPublicKey({ key: bytes(request.publicKey), format: "der", type: "spki" }),
  };
  try {
    verifyMerkleInclusion(entry, verifyCheckpoint(entry, [log]));
    return "";
  } catch (error) {
    if (error.name !== "VerificationError") {
      throw error;
    }
    return error.message;
  }
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  let answer;
  try {
    answer = { ok: { verdicts: { "@sigstore/verify": refusal(JSON.parse(line)) } } };
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
});
