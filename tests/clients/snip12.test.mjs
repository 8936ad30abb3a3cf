// The committed vectors of the signed messages are what starknet.js makes of them, and each signature verifies.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { ec } from "starknet";
import { MESSAGES, messageHash } from "./lib/snip12.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const load = (name) => JSON.parse(readFileSync(`${here}../corpus/${name}.json`, "utf8"));
const corpus = load("snip12");
/** What starknet.py and Keel's own client made of the same messages. */
const others = [["starknet.py", load("snip12-py")], ["keel", load("snip12-keel")]];

test("regenerating the vectors with starknet.js 10.8.0 gives the committed file", () => {
  assert.equal(corpus.source, "starknet.js 10.8.0");
  execFileSync(process.execPath, ["make-corpus.mjs", "--check"], { cwd: here, stdio: "pipe" });
});

test("every message has a vector and no two vectors share a hash", () => {
  assert.deepEqual(new Set(corpus.vectors.map(({ type }) => type)), new Set(Object.keys(MESSAGES)));
  assert.equal(new Set(corpus.vectors.map(({ messageHash }) => messageHash)).size, corpus.vectors.length);
});

/** Whether starknet.js takes a signature by the corpus's key, whose y coordinate follows from the private key. */
const verifies = (() => {
  const { x, y } = ec.starkCurve.ProjectivePoint.fromPrivateKey(corpus.privateKey.slice(2)).toAffine();
  assert.equal(x, BigInt(corpus.publicKey));
  const full = new ec.starkCurve.ProjectivePoint(x, y, 1n).toRawBytes(false);
  return (hash, [r, s]) => ec.starkCurve.verify(new ec.starkCurve.Signature(BigInt(r), BigInt(s)), hash, full);
})();

test("every signature verifies against the public key", () => {
  for (const { name, messageHash: hash, signature } of corpus.vectors) assert.ok(verifies(hash, signature), name);
});

for (const [who, { publicKey, vectors }] of others) {
  test(`${who} has the same hash of every message, and its signatures verify here`, () => {
    assert.equal(BigInt(publicKey), BigInt(corpus.publicKey));
    assert.deepEqual(vectors.map(({ name }) => name), corpus.vectors.map(({ name }) => name));
    vectors.forEach(({ name, messageHash: hash, signature }, i) => {
      assert.equal(BigInt(hash), BigInt(corpus.vectors[i].messageHash), name);
      assert.ok(verifies(hash, signature), name);
    });
  });
}

test("the typed data that Keel hands to a wallet has the hash that Keel signs", () => {
  for (const { name, typedData, messageHash: hash } of load("snip12-keel").vectors) {
    assert.equal(BigInt(messageHash(typedData, typedData.message.account)), BigInt(hash), name);
  }
});
