// The committed vectors of the signed messages are what starknet.js makes of them, and each signature verifies.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { ec } from "starknet";
import { MESSAGES } from "./lib/snip12.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const corpus = JSON.parse(readFileSync(`${here}../corpus/snip12.json`, "utf8"));

test("regenerating the vectors with starknet.js 10.8.0 gives the committed file", () => {
  assert.equal(corpus.source, "starknet.js 10.8.0");
  execFileSync(process.execPath, ["make-corpus.mjs", "--check"], { cwd: here, stdio: "pipe" });
});

test("every message has a vector and no two vectors share a hash", () => {
  assert.deepEqual(new Set(corpus.vectors.map(({ type }) => type)), new Set(Object.keys(MESSAGES)));
  assert.equal(new Set(corpus.vectors.map(({ messageHash }) => messageHash)).size, corpus.vectors.length);
});

test("every signature verifies against the public key", () => {
  const { x, y } = ec.starkCurve.ProjectivePoint.fromPrivateKey(corpus.privateKey.slice(2)).toAffine();
  assert.equal(x, BigInt(corpus.publicKey));
  const full = new ec.starkCurve.ProjectivePoint(x, y, 1n).toRawBytes(false);
  for (const { name, messageHash, signature: [r, s] } of corpus.vectors) {
    const signature = new ec.starkCurve.Signature(BigInt(r), BigInt(s));
    assert.ok(ec.starkCurve.verify(signature, messageHash, full), name);
  }
});
