// AttestationRegistry: which signatures make a fact valid, and how the set changes.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { concatHex, encodeAbiParameters, hashTypedData, keccak256, parseSignature, serializeSignature, toHex } from "viem";
import { attestorKeys, registryTypedData, signAll, startChain } from "./harness.mjs";

const DELAY = 3600;
const FACT = keccak256("0x01");
const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
const keys = attestorKeys(5);
const addresses = (signers) => signers.map((signer) => signer.address);

let chain;
before(async () => { chain = await startChain(); });
after(() => chain.stop());

const deploy = (signers, threshold) =>
  chain.deploy("AttestationRegistry", [addresses(signers), BigInt(threshold), BigInt(DELAY)]);
const signFact = (registry, signers, fact = FACT) => signAll(chain, registry, signers, "Attestation", { fact });

describe("attesting a fact", () => {
  test("1 of 1: valid after the signature, logged once, and bringing it again changes nothing", async () => {
    const registry = await deploy(keys.slice(0, 1), 1);
    const signatures = await signFact(registry, keys.slice(0, 1));
    assert.equal(await chain.read(registry, "isValid", [FACT]), false);
    assert.deepEqual((await chain.send(registry, "attest", [FACT, signatures])).events, [["FactAttested", { fact: FACT, signatures: 1n }]]);
    assert.equal(await chain.read(registry, "isValid", [FACT]), true);
    assert.equal(await chain.read(registry, "isValid", [keccak256("0x02")]), false);
    assert.deepEqual((await chain.send(registry, "attest", [FACT, signatures])).events, []);
  });

  test("the digest is EIP-712 over chain, contract and fact", async () => {
    const registry = await deploy(keys.slice(0, 1), 1);
    const digest = await chain.read(registry, "attestationDigest", [FACT]);
    assert.equal(digest, hashTypedData(registryTypedData(chain, registry, "Attestation", { fact: FACT })));
  });

  test("2 of 3: any two or all three, never one", async () => {
    for (const signers of [[0, 1], [0, 2], [1, 2], [0, 1, 2]]) {
      const registry = await deploy(keys.slice(0, 3), 2);
      const chosen = signers.map((i) => keys[i]);
      await chain.refuses("TooFewSignatures", registry, "attest", [FACT, await signFact(registry, chosen.slice(0, 1))]);
      await chain.refuses("TooFewSignatures", registry, "attest", [FACT, []]);
      await chain.send(registry, "attest", [FACT, await signFact(registry, chosen)]);
      assert.equal(await chain.read(registry, "isValid", [FACT]), true);
    }
  });

  test("what does not count as two signatures", async () => {
    const registry = await deploy(keys.slice(0, 3), 2);
    const other = await deploy(keys.slice(0, 3), 2);
    const [a, b] = await signFact(registry, keys.slice(0, 2));
    const { r, s, v } = parseSignature(b);
    const highS = serializeSignature({ r, s: toHex(ORDER - BigInt(s), { size: 32 }), v: v === 27n ? 28n : 27n });
    const cases = {
      "the same one twice": ["SignersNotAscending", [a, a]],
      "two in the wrong order": ["SignersNotAscending", [b, a]],
      "one by a stranger": ["NotAnAttestor", [a, ...(await signFact(registry, keys.slice(3, 4)))]],
      "one over another fact": ["NotAnAttestor", [a, ...(await signFact(registry, keys.slice(1, 2), keccak256("0x02")))]],
      "one for another registry": ["NotAnAttestor", [a, ...(await signFact(other, keys.slice(1, 2)))]],
      "one for another chain": ["NotAnAttestor", [a, await keys[1].signTypedData({
        ...registryTypedData(chain, registry, "Attestation", { fact: FACT }),
        domain: { name: "Keel AttestationRegistry", version: "1", chainId: 1, verifyingContract: registry.address },
      })]],
      "one over the bare fact": ["NotAnAttestor", [a, await keys[1].sign({ hash: FACT })]],
      "the other form of the same (r, n-s)": ["BadSignature", [a, highS]],
      "64 bytes": ["BadSignature", [a, b.slice(0, -2)]],
      "66 bytes": ["BadSignature", [a, concatHex([b, "0x00"])]],
      "v of 0": ["BadSignature", [a, `${b.slice(0, -2)}00`]],
      "zeros": ["BadSignature", [a, `0x${"00".repeat(64)}1b`]],
    };
    for (const [what, [reason, signatures]] of Object.entries(cases)) {
      await chain.refuses(reason, registry, "attest", [FACT, signatures]).catch((error) => {
        throw new Error(`${what}: ${error.message}`);
      });
    }
    await chain.refuses("NotAnAttestor", registry, "attest", [FACT, [a, b, ...(await signFact(registry, keys.slice(4)))]]);
    await chain.send(registry, "attest", [FACT, [a, b]]);
  });

  test("a set that is empty, unordered, doubled, zero or too large, k that is no majority, no delay: not deployed", async () => {
    const [a, b, c] = addresses(keys);
    const zero = `0x${"00".repeat(20)}`;
    const many = Array.from({ length: 65 }, (_, i) => toHex(i + 1, { size: 20 }));
    const refuses = (reason, set, k, delay = 1n) => chain.refusesDeployment(reason, "AttestationRegistry", [set, k, delay]);
    for (const set of [[], [b, a], [a, a], [zero, a], many]) await refuses("BadSet", set, 1n);
    for (const k of [0n, 1n, 4n]) await refuses("BadThreshold", [a, b, c], k);
    await refuses("BadThreshold", [a, b], 1n);
    for (const delay of [0n, 31536001n]) await refuses("BadDelay", [a], 1n, delay);
  });
});

/** Later than any test gets. */
const LATE = 2n ** 40n;
const WINDOW = 30 * 24 * 3600;
const setHash = (set, threshold) =>
  keccak256(encodeAbiParameters([{ type: "address[]" }, { type: "uint256" }], [addresses(set), threshold]));
const successorHash = (successor) => {
  const typehash = keccak256(toHex("SetSuccessor(uint256 nonce,address successor,uint256 deadline)"));
  return keccak256(encodeAbiParameters([{ type: "bytes32" }, { type: "address" }], [typehash, successor]));
};
const signChange = (registry, nonce, set, threshold, signers, deadline = LATE) =>
  signAll(chain, registry, signers, "ChangeAttestors", { nonce, attestors: addresses(set), threshold, deadline });
const signSuccessor = (registry, nonce, successor, signers, deadline = LATE) =>
  signAll(chain, registry, signers, "SetSuccessor", { nonce, successor, deadline });
const signCancel = (registry, nonce, change, signers) => signAll(chain, registry, signers, "CancelChange", { nonce, change });

describe("changing the set", () => {
  const schedule = async (registry, nonce, set, threshold, signers, deadline = LATE) =>
    [registry, "scheduleChange", [addresses(set), threshold, deadline, await signChange(registry, nonce, set, threshold, signers, deadline)]];

  test("k signatures schedule it, the delay passes, anyone executes it; the old set is out, old facts stay", async () => {
    const registry = await deploy(keys.slice(0, 3), 2);
    await chain.send(registry, "attest", [FACT, await signFact(registry, keys.slice(0, 2))]);
    const [two, next] = [keys.slice(0, 2), keys.slice(2, 5)];
    const args = [addresses(next), 3n];
    const message = { nonce: 0n, attestors: addresses(next), threshold: 3n, deadline: LATE };
    const digest = hashTypedData(registryTypedData(chain, registry, "ChangeAttestors", message));
    assert.equal(await chain.read(registry, "changeDigest", [...args, LATE]), digest);
    await chain.refuses("NoChangePending", registry, "executeChange", args);
    await chain.refuses("TooFewSignatures", ...(await schedule(registry, 0n, next, 3n, keys.slice(0, 1))));
    for (const other of [
      await signChange(registry, 0n, next, 2n, two), await signChange(registry, 1n, next, 3n, two),
      await signChange(registry, 0n, next, 3n, two, LATE - 1n),
    ]) await chain.refuses("NotAnAttestor", registry, "scheduleChange", [...args, LATE, other]);
    await chain.refuses("BadThreshold", ...(await schedule(registry, 0n, next, 1n, two)));
    await chain.refuses("BadSet", ...(await schedule(registry, 0n, [], 0n, two)));
    const good = await schedule(registry, 0n, next, 3n, two);
    const { events } = await chain.send(...good);
    assert.equal(events[0][0], "ChangeScheduled");
    assert.equal(await chain.read(registry, "pendingChange"), setHash(next, 3n));
    await chain.refuses("ChangeAlreadyPending", ...good);
    await chain.refuses("ChangeNotYetAllowed", registry, "executeChange", args);
    await chain.pass(DELAY - 30);
    await chain.refuses("ChangeNotYetAllowed", registry, "executeChange", args);
    await chain.pass(30);
    await chain.refuses("ChangeDiffers", registry, "executeChange", [addresses(next), 2n]);
    await chain.send(registry, "executeChange", args, { account: chain.accounts[5] });

    assert.deepEqual(await chain.read(registry, "attestors"), addresses(next));
    assert.equal(await chain.read(registry, "threshold"), 3n);
    assert.equal(await chain.read(registry, "isValid", [FACT]), true);
    const fact = keccak256("0x03");
    await chain.refuses("NotAnAttestor", registry, "attest", [fact, await signFact(registry, keys.slice(0, 3), fact)]);
    await chain.send(registry, "attest", [fact, await signFact(registry, next, fact)]);
    await chain.refuses("NotAnAttestor", ...(await schedule(registry, 1n, keys.slice(0, 3), 2n, keys.slice(0, 3))));
  });

  test("k signatures cancel it, and neither its signatures nor those of the cancellation work again", async () => {
    const registry = await deploy(keys.slice(0, 3), 2);
    const next = keys.slice(0, 1);
    const scheduled = await schedule(registry, 0n, next, 1n, keys.slice(0, 2));
    const cancel = await signCancel(registry, 0n, setHash(next, 1n), keys.slice(1, 3));
    await chain.refuses("NoChangePending", registry, "cancelChange", [cancel]);
    await chain.send(...scheduled);
    await chain.refuses("TooFewSignatures", registry, "cancelChange", [cancel.slice(0, 1)]);
    // The cancellation of another change, though of this number.
    await chain.refuses("NotAnAttestor", registry, "cancelChange", [await signCancel(registry, 0n, setHash(next, 2n), keys.slice(1, 3))]);
    await chain.send(registry, "cancelChange", [cancel]);
    await chain.pass(DELAY + 1);
    await chain.refuses("NoChangePending", registry, "executeChange", [addresses(next), 1n]);
    await chain.refuses("NotAnAttestor", ...scheduled);
    await chain.send(...(await schedule(registry, 1n, next, 1n, keys.slice(0, 2))));
    await chain.refuses("NotAnAttestor", registry, "cancelChange", [cancel]);
    assert.deepEqual(await chain.read(registry, "attestors"), addresses(keys.slice(0, 3)));
  });

  test("signatures are good until their deadline, and a change that nobody executes for 30 days expires", async () => {
    const registry = await deploy(keys.slice(0, 3), 2);
    const next = keys.slice(2, 5);
    const late = await schedule(registry, 0n, next, 3n, keys.slice(0, 2), (await chain.now()) + 100n);
    await chain.pass(101);
    await chain.refuses("SignaturesExpired", ...late);
    await chain.send(...(await schedule(registry, 0n, next, 3n, keys.slice(0, 2))));
    const execute = [registry, "executeChange", [addresses(next), 3n]];
    await chain.pass(DELAY + WINDOW - 60);
    await chain.refuses("TooFewSignatures", registry, "cancelChange", [[]]);
    await chain.client.simulateContract({ ...registry, functionName: "executeChange", args: execute[2] });
    await chain.pass(61);
    await chain.refuses("ChangeExpired", ...execute);
    const { events } = await chain.send(registry, "cancelChange", [[]], { account: chain.accounts[5] });
    assert.deepEqual(events, [["ChangeCancelled", { nonce: 0n }]]);
    await chain.send(...(await schedule(registry, 1n, next, 3n, keys.slice(0, 2))));
  });
});

describe("a successor", () => {
  const schedule = async (registry, nonce, successor, signers, deadline = LATE) =>
    [registry, "scheduleSuccessor", [successor, deadline, await signSuccessor(registry, nonce, successor, signers, deadline)]];
  const [two, zero] = [keys.slice(0, 2), `0x${"00".repeat(20)}`];

  test("decides over new facts once its delay has passed; what was attested stays valid, and nothing is attested beside it", async () => {
    const registry = await deploy(keys.slice(0, 3), 2);
    const successor = await deploy(keys.slice(3, 4), 1);
    const facts = ["0x01", "0x02", "0x03"].map((bytes) => keccak256(bytes));
    const valid = () => Promise.all(facts.map((fact) => chain.read(registry, "isValid", [fact])));
    await chain.send(registry, "attest", [facts[0], await signFact(registry, two, facts[0])]);
    await chain.send(successor, "attest", [facts[1], await signFact(successor, keys.slice(3, 4), facts[1])]);

    const message = { nonce: 0n, successor: successor.address, deadline: LATE };
    const digest = hashTypedData(registryTypedData(chain, registry, "SetSuccessor", message));
    assert.equal(await chain.read(registry, "successorDigest", [successor.address, LATE]), digest);
    await chain.refuses("TooFewSignatures", ...(await schedule(registry, 0n, successor.address, keys.slice(0, 1))));
    await chain.refuses("NotAnAttestor", ...(await schedule(registry, 0n, successor.address, keys.slice(3, 5))));
    await chain.refuses("NotAnAttestor", ...(await schedule(registry, 1n, successor.address, two)));
    const late = await schedule(registry, 0n, successor.address, two, (await chain.now()) - 1n);
    await chain.refuses("SignaturesExpired", ...late);
    const good = await schedule(registry, 0n, successor.address, two);
    const { events: [[name, scheduled]] } = await chain.send(...good);
    assert.deepEqual([name, scheduled.nonce, scheduled.successor], ["SuccessorScheduled", 0n, successor.address]);
    assert.equal(await chain.read(registry, "pendingChange"), successorHash(successor.address));
    await chain.refuses("ChangeAlreadyPending", ...good);
    await chain.refuses("ChangeNotYetAllowed", registry, "executeSuccessor", [successor.address]);
    await chain.refuses("ChangeDiffers", registry, "executeSuccessor", [zero]);
    assert.deepEqual(await valid(), [true, false, false]);
    await chain.pass(DELAY);
    const { events } = await chain.send(registry, "executeSuccessor", [successor.address], { account: chain.accounts[5] });
    assert.deepEqual(events, [["SuccessorChanged", { successor: successor.address }]]);
    assert.deepEqual(await valid(), [true, true, false]);
    assert.equal(await chain.read(registry, "isAttested", [facts[1]]), false);
    await chain.refuses("Succeeded", registry, "attest", [facts[2], await signFact(registry, two, facts[2])]);

    // Taken back the same way: the set is what it was.
    await chain.send(...(await schedule(registry, 1n, zero, two)));
    await chain.pass(DELAY);
    await chain.send(registry, "executeSuccessor", [zero]);
    assert.deepEqual(await valid(), [true, false, false]);
    await chain.send(registry, "attest", [facts[2], await signFact(registry, two, facts[2])]);
  });

  test("is cancelled and expires like any change, and what answers no isValid, or is the registry itself, is none", async () => {
    const registry = await deploy(keys.slice(0, 3), 2);
    const { address } = await deploy(keys.slice(3, 4), 1);
    const token = await chain.deploy("TestToken", ["a", "a"]);
    for (const bad of [registry.address, token.address, chain.accounts[3].address]) {
      await chain.refuses("BadSuccessor", ...(await schedule(registry, 0n, bad, two)));
    }
    await chain.send(...(await schedule(registry, 0n, address, two)));
    await chain.send(registry, "cancelChange", [await signCancel(registry, 0n, successorHash(address), two)]);
    await chain.refuses("NoChangePending", registry, "executeSuccessor", [address]);
    await chain.send(...(await schedule(registry, 1n, address, two)));
    await chain.pass(DELAY + WINDOW + 1);
    await chain.refuses("ChangeExpired", registry, "executeSuccessor", [address]);
    await chain.send(registry, "cancelChange", [[]]);
    assert.equal(await chain.read(registry, "successor"), zero);
  });
});
