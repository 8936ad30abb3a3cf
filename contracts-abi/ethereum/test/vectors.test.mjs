// vectors.json holds words and hashes that the Rust side must reproduce; here the contracts say that they are right.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { attestorKeys, signAll, startChain } from "./harness.mjs";

const vectors = JSON.parse(readFileSync(new URL("vectors.json", import.meta.url), "utf8"));
const words = (values) => values.map(BigInt);

let chain;
before(async () => { chain = await startChain(); });
after(() => chain.stop());

test("the contracts accept the vectors: init data, facts, attestation digest, message hashes", async () => {
  const attestors = attestorKeys(1);
  const registry = await chain.deploy("AttestationRegistry", [attestors.map((a) => a.address), 1n, 1n]);
  // The first contract of the first account of a fresh chain; the digest depends on it.
  assert.equal(registry.address, vectors.attestation.registry);
  assert.equal(await chain.client.getChainId(), vectors.attestation.chainId);
  assert.equal(await chain.read(registry, "attestationDigest", [vectors.fact]), vectors.attestation.digest);

  const core = await chain.deploy("AppchainCore", [vectors.initData, 1n]);
  const reads = ["programHash", "aggregatorProgramHash", "configHash", "verifier", "stateRoot", "stateBlockNumber", "stateBlockHash"];
  assert.deepEqual(await Promise.all(reads.map((name) => chain.read(core, name))), [
    ...words([vectors.programHash, vectors.aggregatorProgramHash, vectors.configHash]), registry.address, 0n, -1n, 0n,
  ]);

  await chain.send(core, "registerOperator", [chain.accounts[0].address]);
  const update = [core, "updateStateWithData", [words(vectors.programOutput), words(vectors.daWords)]];
  await chain.refuses("NO_STATE_TRANSITION_PROOF", ...update);
  const signatures = await signAll(chain, registry, attestors, "Attestation", { fact: vectors.fact });
  await chain.send(registry, "attest", [vectors.fact, signatures]);
  const { events } = await chain.send(...update);
  assert.deepEqual(events[0], ["LogStateTransitionFact", { stateTransitionFact: vectors.stateTransitionFact }]);

  const { messageToL1, messageToL2 } = vectors;
  assert.equal(await chain.read(core, "l2ToL1Messages", [messageToL1.hash]), 1n);
  const { from, to, nonce, selector, payload, hash } = messageToL2;
  const args = [from, BigInt(to), BigInt(selector), words(payload), BigInt(nonce)];
  assert.equal(await chain.read(core, "l1ToL2MsgHash", args), hash);
});
