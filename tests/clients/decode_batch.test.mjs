// The decoder of docs/bridge.md against public data of Starknet: vectors of its compression, and a real blob with the program output that binds it.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { blobWords, checkValues, compressedLength, decompress, parseOutput } from "./example/decode_batch.mjs";

const folder = process.env.KEEL_FIXTURES ?? "";
const skip = existsSync(join(folder, "compression")) ? false : "KEEL_FIXTURES names no folder of public chain data";
const read = (name) => readFileSync(join(folder, name), "utf8");
const lines = (name) => read(name).trim().split(/\s+/).map((word) => BigInt(word));

test("every vector of Starknet's compression is read", { skip }, () => {
  const { vectors } = JSON.parse(read("compression/stateless_vectors.json"));
  assert.ok(vectors.length > 5);
  for (const { name, input, output } of vectors) {
    const compressed = output.map(BigInt);
    assert.deepEqual(decompress(compressed), input.map(BigInt), name);
    assert.equal(compressedLength(compressed[0]), compressed.length, name);
  }
});

test("a real blob is the one of the program output that was accepted with it", { skip }, () => {
  const { blobs, before, after } = parseOutput(lines("blobs/l1_6806848_program_output.txt"));
  assert.deepEqual([before.number, after.number], [218378n, 218402n]);
  // Of a time before compression: the coefficients are the packed diff itself, under aliases and filled with zeros.
  const coefficients = blobWords(read("blobs/l1_6806848_blob.txt").trim());
  checkValues(blobs, [coefficients]);
  const other = [...coefficients];
  other[7] += 1n;
  assert.throws(() => checkValues(blobs, [other]), /blob 0 is not the one that was accepted/);
});
