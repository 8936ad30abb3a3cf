// The appchain contract: state updates, what refuses them, data, and who may do what.
import assert from "node:assert/strict";
import { describe } from "node:test";
import {
  CONFIG_HASH, DATA_CHUNK_WORDS, PRIME, PROGRAM_HASH, attestationDigest, attestorKeys, poseidon, programOutput, settlement, signAll,
  test, toAppchain, toStarknet, transitionFact, useChain,
} from "./harness.mjs";

const chain = useChain();
const range = (count) => Array.from({ length: count }, (_, i) => BigInt(i));

describe("a state update", () => {
  test("starts at (0, -1, 0) and advances root, number and hash, with the events a watcher waits for", async () => {
    const { core, registry, settle, state } = await settlement(chain());
    assert.deepEqual(await state(), { root: 0n, number: PRIME - 1n, hash: 0n });
    assert.equal(await chain().read(core, "get_program_hash"), PROGRAM_HASH);
    assert.equal(await chain().read(core, "get_config_hash"), CONFIG_HASH);
    assert.equal(await chain().read(core, "get_facts_registry"), registry.address);
    const { receipt, fact } = await settle();
    assert.deepEqual(receipt.events, [
      ["LogStateTransitionFact", { fact }],
      ["LogStateUpdate", { state_root: 1000n, block_number: 2n, block_hash: 2000n }],
    ]);
    await settle({}, []);
    await settle({}, [[0n], range(300)]);
    assert.deepEqual(await state(), { root: 3000n, number: 8n, hash: 6000n });
  });

  test("twenty batches follow each other, and what they cost is printed", async (t) => {
    const { registry, core, asOperator, attest, attestors, state } = await settlement(chain(), { attestors: attestorKeys(3), threshold: 2 });
    const gas = ({ execution_resources: used }) => `${used.l2_gas} L2 gas, ${used.l1_data_gas} L1 data gas`;
    const chunk = range(DATA_CHUNK_WORDS);
    t.diagnostic(`register_data of ${chunk.length} words: ${gas(await chain().send(core, "register_data", [chunk], asOperator))}`);
    for (let batch = 0; batch < 20; batch += 1) {
      const content = { messagesToStarknet: [toStarknet(1, 2, [batch])] };
      const output = programOutput(await state(), content);
      const fact = transitionFact(output, [poseidon(chunk)]);
      const attested = await attest(fact);
      const settled = await chain().send(core, "update_state", [output, [poseidon(chunk)]], asOperator);
      if (batch === 1) t.diagnostic(`attest by 2 of 3: ${gas(attested)}`);
      if (batch === 1) t.diagnostic(`update_state with one chunk and one message: ${gas(settled)}`);
    }
    assert.deepEqual(await state(), { root: 20000n, number: 59n, hash: 40000n });
    assert.equal(await chain().read(registry, "threshold"), 2n);
    assert.equal(attestors.length, 3);
  });

  test("2 of 3 attestors are enough, 1 of them is not, and a settled batch is not settled again", async () => {
    const attestors = attestorKeys(3);
    const { core, registry, attest, registerData, asOperator, state } = await settlement(chain(), { attestors, threshold: 2 });
    const output = programOutput(await state());
    const hashes = await registerData([[1n]]);
    const fact = transitionFact(output, hashes);
    const update = [core, "update_state", [output, hashes], asOperator];
    await chain().refuses("NO_STATE_TRANSITION_PROOF", ...update);
    const one = signAll(attestors.slice(1, 2), attestationDigest(chain(), registry, fact));
    await chain().refuses("TOO_FEW_SIGNATURES", registry, "attest", [fact, one]);
    await chain().refuses("NO_STATE_TRANSITION_PROOF", ...update);
    await attest(fact, [attestors[0], attestors[2]]);
    await chain().send(...update);
    await chain().refuses("INVALID_PREV_BLOCK_NUMBER", ...update);
    assert.equal((await state()).number, 2n);
  });

  test("the fact covers the program, every word of the output, and the chunks in their order", async () => {
    const { core, attest, registerData, asOperator, state } = await settlement(chain());
    const output = programOutput(await state());
    const [a, b] = await registerData([[7n], [8n, 9n]]);
    await attest(transitionFact(output, [a, b], PROGRAM_HASH + 1n));
    await chain().refuses("NO_STATE_TRANSITION_PROOF", core, "update_state", [output, [a, b]], asOperator);
    await attest(transitionFact(output, [a, b]));
    for (const chunks of [[b, a], [a], [b], [], [a, b, a]]) {
      await chain().refuses("NO_STATE_TRANSITION_PROOF", core, "update_state", [output, chunks], asOperator);
    }
    const other = output.with(1, output[1] + 1n);
    await chain().refuses("NO_STATE_TRANSITION_PROOF", core, "update_state", [other, [a, b]], asOperator);
    await chain().send(core, "update_state", [output, [a, b]], asOperator);
  });
});

describe("a state update that must not pass, though attested", () => {
  const header = (change) => (state) => programOutput(state, { change });
  const toL1 = (messagesToStarknet) => (state) => programOutput(state, { messagesToStarknet });
  const toL2 = (messagesToAppchain) => (state) => programOutput(state, { messagesToAppchain });
  const cases = {
    "an output that is only a header": ["STARKNET_OUTPUT_TOO_SHORT", (s) => programOutput(s).slice(0, 10)],
    "an output without its second message segment": ["STARKNET_OUTPUT_TOO_SHORT", (s) => programOutput(s).slice(0, 11)],
    "a previous number that is not ours": ["INVALID_PREV_BLOCK_NUMBER", header({ 2: 1n })],
    "-1 as the previous number of a chain past its start": ["INVALID_PREV_BLOCK_NUMBER", header({ 2: PRIME - 1n })],
    "the blob flag": ["UNEXPECTED_KZG_DA_FLAG", header({ 8: 1n })],
    "another config": ["INVALID_CONFIG_HASH", header({ 7: CONFIG_HASH + 1n })],
    "full output": ["FULL_OUTPUT_NOT_SUPPORTED", header({ 9: 1n })],
    "an aggregated output": ["AGGREGATOR_BAD_OS_PROGRAM_HASH", header({ 6: PROGRAM_HASH })],
    "a number that does not advance": ["INVALID_NEW_BLOCK_NUMBER", header({ 3: 2n })],
    "a number that goes back": ["INVALID_NEW_BLOCK_NUMBER", header({ 3: 1n })],
    "a number beyond 64 bits": ["INVALID_NEW_BLOCK_NUMBER", header({ 3: 2n ** 64n })],
    "-1 as the new number": ["INVALID_NEW_BLOCK_NUMBER", header({ 3: PRIME - 1n })],
    "another previous hash": ["INVALID_PREV_BLOCK_HASH", header({ 4: 1n })],
    "another previous root": ["INVALID_PREVIOUS_ROOT", header({ 0: 1n })],
    "one word too many": ["STARKNET_OUTPUT_TOO_LONG", (s) => [...programOutput(s), 0n]],
    "a message cut in its prefix": ["MESSAGE_TOO_SHORT", (s) => [...programOutput(s).slice(0, 10), 2n, 1n, 2n]],
    "a message cut in its payload": ["TRUNCATED_MESSAGE_PAYLOAD", (s) => [...programOutput(s).slice(0, 10), 4n, 1n, 2n, 3n, 9n]],
    "a payload length of 2^30": ["INVALID_PAYLOAD_LENGTH", toL1([[1n, 2n, 2n ** 30n]])],
    "a payload length of -1": ["INVALID_PAYLOAD_LENGTH", toL1([[1n, 2n, PRIME - 1n]])],
    "a segment length of 2^30": ["INVALID_MESSAGE_SEGMENT_SIZE", (s) => programOutput(s).with(10, 2n ** 30n)],
    "a segment length of -1": ["INVALID_MESSAGE_SEGMENT_SIZE", (s) => programOutput(s).with(11, PRIME - 1n)],
    "a segment that ends within its message": ["INVALID_MESSAGE_SEGMENT_SIZE", (s) => toL1([toStarknet(1, 2, [3, 4])])(s).with(10, 4n)],
    "a segment to the appchain that ends within its message": [
      "MESSAGE_TOO_SHORT", (s) => [...programOutput(s).slice(0, 11), 4n, 1n, 2n, 0n, 4n],
    ],
    "a message that was never sent": ["INVALID_MESSAGE_TO_CONSUME", toL2([toAppchain(1, 2, 0, 3, [4])])],
  };
  let built;
  /** One settled batch behind it, so that "go back" means something. */
  const contracts = () => (built ??= settlement(chain()).then(async (made) => { await made.settle(); return made; }));
  for (const [what, [reason, make]] of Object.entries(cases)) {
    test(`${what}: ${reason}`, async () => {
      const { core, attest, asOperator, state } = await contracts();
      const output = make(await state());
      await attest(transitionFact(output, []));
      await chain().refuses(reason, core, "update_state", [output, []], asOperator);
    });
  }

  test("the errors come in the order of the Ethereum contract", async () => {
    const { core, attest, asOperator, state } = await contracts();
    const s = await state();
    // Each word after the first is right where the one before is; all are wrong to begin with.
    const wrong = { 2: 1n, 8: 1n, 7: 1n, 9: 1n, 6: 1n, 3: 1n, 4: 1n, 0: 1n };
    const right = programOutput(s);
    const reasons = [
      "INVALID_PREV_BLOCK_NUMBER", "UNEXPECTED_KZG_DA_FLAG", "INVALID_CONFIG_HASH", "FULL_OUTPUT_NOT_SUPPORTED",
      "AGGREGATOR_BAD_OS_PROGRAM_HASH", "INVALID_NEW_BLOCK_NUMBER", "INVALID_PREV_BLOCK_HASH", "INVALID_PREVIOUS_ROOT",
    ];
    for (const [position, index] of [2, 8, 7, 9, 6, 3, 4, 0].entries()) {
      const output = programOutput(s, { change: wrong });
      await attest(transitionFact(output, []));
      await chain().refuses(reasons[position], core, "update_state", [output, []], asOperator);
      wrong[index] = right[index];
    }
  });
});

describe("data in chunks", () => {
  test("a chunk is registered by its hash, again if need be, and a batch may not name one that is not", async () => {
    const { core, asOperator, attest, state } = await settlement(chain());
    const chunk = range(5);
    const hash = poseidon(chunk);
    const output = programOutput(await state());
    await attest(transitionFact(output, [hash]));
    await chain().refuses("DATA_CHUNK_NOT_REGISTERED", core, "update_state", [output, [hash]], asOperator);
    assert.equal(await chain().read(core, "is_data_registered", [hash]), 0n);
    const { events } = await chain().send(core, "register_data", [chunk], asOperator);
    assert.deepEqual(events, [["DataRegistered", { hash, length: 5n }]]);
    assert.equal(await chain().read(core, "is_data_registered", [hash]), 5n);
    const again = await chain().send(core, "register_data", [chunk], asOperator);
    assert.deepEqual(again.events, events, "logged again, so that a reader finds it in that transaction, too");
    await chain().send(core, "update_state", [output, [hash]], asOperator);
    await chain().refuses("DATA_CHUNK_EMPTY", core, "register_data", [[]], asOperator);
  });
});

describe("who may do what", () => {
  test("only operators settle and register data, only the owner appoints them and sets the delay", async () => {
    const { core, asOperator, settle } = await settlement(chain());
    const [owner, operator, stranger] = chain().accounts;
    for (const account of [owner, stranger]) {
      await chain().refuses("ONLY_OPERATOR", core, "update_state", [[], []], { account });
      await chain().refuses("ONLY_OPERATOR", core, "register_data", [[1]], { account });
    }
    for (const account of [operator, stranger]) {
      await chain().refuses("ONLY_GOVERNANCE", core, "register_operator", [stranger.address], { account });
      await chain().refuses("ONLY_GOVERNANCE", core, "unregister_operator", [operator.address], { account });
      await chain().refuses("ONLY_GOVERNANCE", core, "set_message_cancellation_delay", [60], { account });
    }
    assert.equal(await chain().read(core, "owner"), BigInt(owner.address));
    await settle();
    assert.deepEqual((await chain().send(core, "register_operator", [operator.address])).events, []);
    const removed = await chain().send(core, "unregister_operator", [operator.address]);
    assert.deepEqual(removed.events, [["LogOperatorRemoved", { operator: BigInt(operator.address) }]]);
    assert.equal(await chain().read(core, "is_operator", [operator.address]), 0n);
    await chain().refuses("ONLY_OPERATOR", core, "update_state", [[], []], asOperator);
    const added = await chain().send(core, "register_operator", [operator.address]);
    assert.deepEqual(added.events, [["LogOperatorAdded", { operator: BigInt(operator.address) }]]);
    await settle();
  });

  test("the owner names the next one, who owns once it accepts", async () => {
    const { core } = await settlement(chain());
    const [first, second, third] = chain().accounts;
    const [owner, named] = [first, third].map(({ address }) => BigInt(address));
    const owners = async () => [await chain().read(core, "owner"), await chain().read(core, "pending_owner")];
    const transfer = (account) => [core, "transfer_ownership", [account]];
    const accept = [core, "accept_ownership", []];
    await chain().refuses("ONLY_GOVERNANCE", ...transfer(third.address), { account: third });
    await chain().refuses("ONLY_CANDIDATE_GOVERNOR", ...accept, { account: third });
    await chain().send(...transfer(second.address));
    await chain().send(...transfer(0));
    await chain().refuses("ONLY_CANDIDATE_GOVERNOR", ...accept, { account: second });
    const started = await chain().send(...transfer(third.address));
    assert.deepEqual(started.events, [["OwnershipTransferStarted", { previous_owner: owner, new_owner: named }]]);
    assert.deepEqual(await owners(), [owner, named]);
    await chain().refuses("ONLY_CANDIDATE_GOVERNOR", ...accept, { account: second });
    await chain().refuses("ONLY_GOVERNANCE", core, "register_operator", [1], { account: third });
    const { events } = await chain().send(...accept, { account: third });
    assert.deepEqual(events, [["OwnershipTransferred", { previous_owner: owner, new_owner: named }]]);
    assert.deepEqual(await owners(), [named, 0n]);
    await chain().refuses("ONLY_GOVERNANCE", core, "register_operator", [1]);
    await chain().refuses("ONLY_CANDIDATE_GOVERNOR", ...accept, { account: third });
    await chain().send(core, "register_operator", [1], { account: third });
  });

  test("a contract without program, owner or registry, or with a number no block has, is not deployed", async () => {
    const { registry } = await settlement(chain());
    const right = [1n, PROGRAM_HASH, CONFIG_HASH, registry.address, 0n, PRIME - 1n, 0n, 1n];
    for (const [index, word] of [[0, 0n], [1, 0n], [3, 0n], [5, PRIME - 2n], [5, 2n ** 64n], [7, 0n], [7, 432001n]]) {
      await chain().refusesDeployment("BAD_INITIALIZATION", "appchain", right.with(index, word));
    }
    for (const noRegistry of [2n, BigInt(chain().accounts[0].address)]) {
      await assert.rejects(chain().deploy("appchain", right.with(3, noRegistry)), /is not deployed|ENTRYPOINT_NOT_FOUND/);
    }
    const core = await chain().deploy("appchain", right.with(5, 41n));
    assert.deepEqual(await chain().read(core, "get_state"), [0n, 41n, 0n]);
  });
});
