// The attestation registry: k of n, who counts, and how the set changes.
import assert from "node:assert/strict";
import { describe } from "node:test";
import { cairo, ec } from "starknet";
import {
  CURVE_ORDER, LATE, PRIME, attestationDigest, attestorKeys, cancelDigest, changeDigest, poseidon, signAll, successorDigest, test, useChain,
} from "./harness.mjs";

const chain = useChain();
const FACT = 0xfac7n;
const DELAY = 3600;
const WINDOW = 30 * 86400;
const keysOf = (signers) => signers.map(({ key }) => key);

async function deployed(attestors, threshold) {
  const registry = await chain().deploy("attestation_registry", [keysOf(attestors), threshold, DELAY]);
  const sign = (signers, fact = FACT) => signAll(signers, attestationDigest(chain(), registry, fact));
  const attest = (signatures, fact = FACT) => [registry, "attest", [fact, signatures]];
  return { registry, sign, attest };
}

/** A felt that is no x coordinate of the curve y^2 = x^3 + x + b. */
const offCurve = [1n, 2n, 3n, 4n, 5n, 6n, 7n, 8n].find((x) => {
  try {
    ec.starkCurve.ProjectivePoint.fromHex(`02${x.toString(16).padStart(64, "0")}`);
    return false;
  } catch {
    return true;
  }
});

describe("an attestation", () => {
  test("by k of n, ascending, makes a fact valid, once", async () => {
    const [a, b, c] = attestorKeys(3);
    const { registry, sign, attest } = await deployed([a, b, c], 2);
    assert.deepEqual(await chain().read(registry, "attestors"), [3n, a.key, b.key, c.key]);
    assert.equal(await chain().read(registry, "attestation_digest", [FACT]), attestationDigest(chain(), registry, FACT));
    assert.equal(await chain().read(registry, "is_valid", [FACT]), 0n);
    const { events } = await chain().send(...attest(sign([a, c])), { account: chain().accounts[3] });
    assert.deepEqual(events, [["FactAttested", { fact: FACT, signatures: 2n }]]);
    assert.equal(await chain().read(registry, "is_valid", [FACT]), 1n);
    assert.equal(await chain().read(registry, "is_valid", [FACT + 1n]), 0n);
    const again = await chain().send(...attest(sign([a, b, c])));
    assert.deepEqual(again.events, []);
  });

  test("is refused by name for each thing that can be wrong with it", async () => {
    const [a, b, c] = attestorKeys(3);
    const [stranger] = attestorKeys(1, 100);
    const { registry, sign, attest } = await deployed([a, b, c], 2);
    const other = await deployed([a, b, c], 2);
    const [[signedA], [signedB]] = [sign([a]), sign([b])];
    const tuple = (signature, change) => cairo.tuple(...[0, 1, 2].map((i) => change[i] ?? signature[i]));
    const r = BigInt(signedB[1]), s = BigInt(signedB[2]);
    const cases = [
      ["TOO_FEW_SIGNATURES", []],
      ["TOO_FEW_SIGNATURES", sign([a])],
      ["SIGNERS_NOT_ASCENDING", sign([b, a])],
      ["SIGNERS_NOT_ASCENDING", sign([a, a])],
      ["NOT_AN_ATTESTOR", sign([a, b, stranger].sort((x, y) => (x.key < y.key ? -1 : 1)))],
      ["BAD_SIGNATURE", sign([a, b], FACT + 1n)],
      ["BAD_SIGNATURE", other.sign([a, b])],
      ["BAD_SIGNATURE", signAll([a, b], attestationDigest({ id: chain().id + 1n }, registry, FACT))],
      ["BAD_SIGNATURE", [signedA, tuple(signedB, { 0: c.key })]],
      ["BAD_SIGNATURE", [signedA, tuple(signedB, { 1: r + 1n })]],
      ["BAD_SIGNATURE", [signedA, tuple(signedB, { 2: s + 1n })]],
      ["BAD_SIGNATURE", [signedA, tuple(signedB, { 1: 0n })]],
      ["BAD_SIGNATURE", [signedA, tuple(signedB, { 2: 0n })]],
      ["BAD_SIGNATURE", [signedA, tuple(signedB, { 1: CURVE_ORDER })]],
      ["BAD_SIGNATURE", [signedA, tuple(signedB, { 2: CURVE_ORDER })]],
      ["BAD_SIGNATURE", [signedA, tuple(signedB, { 2: PRIME - 1n })]],
    ];
    for (const [reason, signatures] of cases) await chain().refuses(reason, ...attest(signatures));
    // One bad signature among enough good ones refuses the call.
    await chain().refuses("BAD_SIGNATURE", ...attest([...sign([a, b]), tuple(sign([c])[0], { 1: 1n })]));
    await chain().send(...attest([signedA, signedB]));
  });
});

describe("a registry is not deployed", () => {
  const [a, b] = keysOf(attestorKeys(2));
  const many = keysOf(attestorKeys(65));
  const cases = {
    "without attestors": ["BAD_SET", [[], 0, DELAY]],
    "with more than 64": ["BAD_SET", [many, 64, DELAY]],
    "with the same attestor twice": ["BAD_SET", [[a, a], 2, DELAY]],
    "with descending attestors": ["BAD_SET", [[b, a], 2, DELAY]],
    "with the zero key": ["BAD_SET", [[0n, a], 2, DELAY]],
    "with a key that is on no curve": ["BAD_SET", [[offCurve, b], 2, DELAY]],
    "with k above n": ["BAD_THRESHOLD", [[a, b], 3, DELAY]],
    "with half of them as k": ["BAD_THRESHOLD", [[a, b], 1, DELAY]],
    "with k of 0": ["BAD_THRESHOLD", [[a, b], 0, DELAY]],
    "without a delay": ["BAD_DELAY", [[a, b], 2, 0]],
    "with a delay over a year": ["BAD_DELAY", [[a, b], 2, 365 * 86400 + 1]],
  };
  for (const [what, [reason, args]] of Object.entries(cases)) {
    test(`${what}: ${reason}`, async () => {
      await deployed(attestorKeys(1), 1);
      await chain().refusesDeployment(reason, "attestation_registry", args);
    });
  }
});

describe("a change of the set", () => {
  test("is signed by the current set, waits for its delay, and then counts", async () => {
    const old = attestorKeys(3);
    const next = attestorKeys(2, 10);
    const { registry, sign, attest } = await deployed(old, 2);
    const set = keysOf(next);
    const digest = changeDigest(chain(), registry, 0, set, 2);
    assert.equal(await chain().read(registry, "change_digest", [set, 2, LATE]), digest);
    const schedule = (signers) => [registry, "schedule_change", [set, 2, LATE, signAll(signers, digest)]];
    const execute = [registry, "execute_change", [set, 2]];

    await chain().refuses("NO_CHANGE_PENDING", ...execute);
    await chain().refuses("TOO_FEW_SIGNATURES", ...schedule(old.slice(0, 1)));
    await chain().refuses("NOT_AN_ATTESTOR", ...schedule(next));
    await chain().refuses("BAD_SIGNATURE", registry, "schedule_change", [set, 2, LATE, sign(old.slice(0, 2))]);
    await chain().refuses("BAD_THRESHOLD", registry, "schedule_change", [set, 1, LATE, []]);
    const { events: [[name, scheduled]] } = await chain().send(...schedule(old.slice(0, 2)));
    assert.deepEqual([name, scheduled.nonce, scheduled.attestors, scheduled.threshold], ["ChangeScheduled", 0n, set, 2n]);
    assert.equal(await chain().read(registry, "pending_allowed_at"), scheduled.allowed_at);
    assert.equal(await chain().read(registry, "pending_change"), poseidon(poseidon(set), 2));
    await chain().refuses("CHANGE_ALREADY_PENDING", ...schedule(old.slice(0, 2)));

    await chain().refuses("CHANGE_DIFFERS", registry, "execute_change", [set.slice(0, 1), 1]);
    await chain().refuses("CHANGE_NOT_YET_ALLOWED", ...execute);
    // The old set is the set until then.
    await chain().refuses("NOT_AN_ATTESTOR", ...attest(sign(next)));
    await chain().send(...attest(sign(old.slice(1))));
    await chain().pass(DELAY);
    const { events } = await chain().send(...execute, { account: chain().accounts[3] });
    assert.deepEqual(events, [["AttestorsChanged", { attestors: set, threshold: 2n }]]);

    assert.deepEqual(await chain().read(registry, "attestors"), [2n, ...set]);
    assert.equal(await chain().read(registry, "is_attestor", [old[0].key]), 0n);
    assert.equal(await chain().read(registry, "pending_change"), 0n);
    assert.equal(await chain().read(registry, "is_valid", [FACT]), 1n);
    await chain().refuses("NOT_AN_ATTESTOR", ...attest(sign(old.slice(0, 2), FACT + 1n), FACT + 1n));
    await chain().send(...attest(sign(next, FACT + 1n), FACT + 1n));
    await chain().refuses("NO_CHANGE_PENDING", ...execute);
  });

  test("can be cancelled by the set, and its signatures are then worth nothing", async () => {
    const old = attestorKeys(3);
    const set = keysOf(attestorKeys(1, 10));
    const { registry } = await deployed(old, 2);
    const schedule = [registry, "schedule_change", [set, 1, LATE, signAll(old.slice(0, 2), changeDigest(chain(), registry, 0, set, 1))]];
    const change = poseidon(poseidon(set), 1);
    const cancel = [registry, "cancel_change", [signAll(old.slice(0, 2), cancelDigest(chain(), registry, 0, change))]];

    await chain().refuses("NO_CHANGE_PENDING", ...cancel);
    await chain().send(...schedule);
    assert.equal(await chain().read(registry, "cancel_digest"), cancelDigest(chain(), registry, 0, change));
    await chain().refuses("TOO_FEW_SIGNATURES", registry, "cancel_change", [[]]);
    // The cancellation of another change, though of this number.
    const other = signAll(old.slice(0, 2), cancelDigest(chain(), registry, 0, change + 1n));
    await chain().refuses("BAD_SIGNATURE", registry, "cancel_change", [other]);
    const { events } = await chain().send(...cancel);
    assert.deepEqual(events, [["ChangeCancelled", { nonce: 0n }]]);
    await chain().pass(DELAY);
    await chain().refuses("NO_CHANGE_PENDING", registry, "execute_change", [set, 1]);
    assert.equal(await chain().read(registry, "change_nonce"), 1n);
    await chain().refuses("BAD_SIGNATURE", ...schedule);
  });

  test("is signed until a deadline, and expires when nobody executes it for 30 days", async () => {
    const old = attestorKeys(3);
    const set = keysOf(attestorKeys(1, 10));
    const { registry } = await deployed(old, 2);
    const schedule = (nonce, deadline) => {
      const signatures = signAll(old.slice(0, 2), changeDigest(chain(), registry, nonce, set, 1, deadline));
      return [registry, "schedule_change", [set, 1, deadline, signatures]];
    };
    const soon = (await chain().now()) + 100n;
    const [, , [, , , earlier]] = schedule(0, soon);
    await chain().refuses("BAD_SIGNATURE", registry, "schedule_change", [set, 1, LATE, earlier]);
    await chain().pass(101);
    await chain().refuses("SIGNATURES_EXPIRED", ...schedule(0, soon));
    await chain().send(...schedule(0, LATE));
    await chain().pass(DELAY + WINDOW - 60);
    await chain().refuses("TOO_FEW_SIGNATURES", registry, "cancel_change", [[]]);
    await chain().pass(61);
    await chain().refuses("CHANGE_EXPIRED", registry, "execute_change", [set, 1]);
    const { events } = await chain().send(registry, "cancel_change", [[]], { account: chain().accounts[3] });
    assert.deepEqual(events, [["ChangeCancelled", { nonce: 0n }]]);
    await chain().send(...schedule(1, LATE));
  });
});

describe("a successor", () => {
  const scheduled = (registry, nonce, successor, signers, deadline = LATE) => {
    const signatures = signAll(signers, successorDigest(chain(), registry, nonce, successor, deadline));
    return [registry, "schedule_successor", [successor, deadline, signatures]];
  };

  test("decides over new facts once its delay has passed; what was attested stays valid, and nothing is attested beside it", async () => {
    const old = attestorKeys(3);
    const next = attestorKeys(1, 10);
    const { registry, sign, attest } = await deployed(old, 2);
    const other = await deployed(next, 1);
    const successor = other.registry.address;
    const [a, b, c] = [FACT, FACT + 1n, FACT + 2n];
    const valid = async () => [
      await chain().read(registry, "is_valid", [a]), await chain().read(registry, "is_valid", [b]), await chain().read(registry, "is_valid", [c]),
    ];
    await chain().send(...attest(sign(old.slice(0, 2), a), a));
    await chain().send(...other.attest(other.sign(next, b), b));

    const two = old.slice(0, 2);
    assert.equal(await chain().read(registry, "successor_digest", [successor, LATE]), successorDigest(chain(), registry, 0, successor));
    await chain().refuses("TOO_FEW_SIGNATURES", ...scheduled(registry, 0, successor, old.slice(0, 1)));
    await chain().refuses("BAD_SIGNATURE", ...scheduled(registry, 1, successor, two));
    await chain().refuses("SIGNATURES_EXPIRED", ...scheduled(registry, 0, successor, two, 1n));
    const { events: [[name, fields]] } = await chain().send(...scheduled(registry, 0, successor, two));
    assert.deepEqual([name, fields.nonce, fields.successor], ["SuccessorScheduled", 0n, successor]);
    assert.equal(await chain().read(registry, "pending_change"), poseidon("KEEL_SUCCESSOR", successor));
    await chain().refuses("CHANGE_ALREADY_PENDING", ...scheduled(registry, 0, successor, two));
    await chain().refuses("CHANGE_NOT_YET_ALLOWED", registry, "execute_successor", [successor]);
    await chain().refuses("CHANGE_DIFFERS", registry, "execute_successor", [0]);
    assert.deepEqual(await valid(), [1n, 0n, 0n]);
    await chain().pass(DELAY);
    const { events } = await chain().send(registry, "execute_successor", [successor], { account: chain().accounts[3] });
    assert.deepEqual(events, [["SuccessorChanged", { successor }]]);
    assert.deepEqual(await valid(), [1n, 1n, 0n]);
    assert.equal(await chain().read(registry, "is_attested", [b]), 0n);
    await chain().refuses("SUCCEEDED", ...attest(sign(two, c), c));

    // Taken back the same way: the set is what it was.
    await chain().send(...scheduled(registry, 1, 0n, two));
    await chain().pass(DELAY);
    await chain().send(registry, "execute_successor", [0]);
    assert.deepEqual(await valid(), [1n, 0n, 0n]);
    await chain().send(...attest(sign(two, c), c));
  });

  test("is cancelled and expires like any change, and what is no fact registry, or the registry itself, is none", async () => {
    const old = attestorKeys(1);
    const { registry } = await deployed(old, 1);
    const successor = (await deployed(old, 1)).registry.address;
    await chain().refuses("BAD_SUCCESSOR", ...scheduled(registry, 0, registry.address, old));
    for (const bad of [0xdeadn, BigInt(chain().accounts[0].address)]) {
      await assert.rejects(chain().send(...scheduled(registry, 0, bad, old)), /is not deployed|ENTRYPOINT_NOT_FOUND/);
    }
    await chain().send(...scheduled(registry, 0, successor, old));
    const cancel = signAll(old, cancelDigest(chain(), registry, 0, poseidon("KEEL_SUCCESSOR", successor)));
    await chain().send(registry, "cancel_change", [cancel]);
    await chain().refuses("NO_CHANGE_PENDING", registry, "execute_successor", [successor]);
    await chain().send(...scheduled(registry, 1, successor, old));
    await chain().pass(DELAY + WINDOW + 1);
    await chain().refuses("CHANGE_EXPIRED", registry, "execute_successor", [successor]);
    await chain().send(registry, "cancel_change", [[]]);
    assert.equal(await chain().read(registry, "successor"), 0n);
  });
});
