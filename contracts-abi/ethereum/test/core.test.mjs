// AppchainCore: state updates, what refuses them, and governance.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { concatHex, encodeFunctionData, fromRlp, sha256, toHex, toRlp } from "viem";
import {
  AGGREGATOR_PROGRAM_HASH, CANCELLATION_DELAY, CONFIG_HASH, PRIME, PROGRAM_HASH, attestorKeys, coreFact, factWithData,
  factWithDataElsewhere, hashWords, initData,
  programOutput, settlement, signAll, startChain, testContracts, toL1, toL2,
} from "./harness.mjs";

let chain;
before(async () => { chain = await startChain(); });
after(() => chain.stop());

describe("a state update by calldata", () => {
  test("starts at (0, -1, 0) and advances root, number and hash, with the events a watcher waits for", async () => {
    const { core, settle, state } = await settlement(chain);
    assert.deepEqual(await state(), { root: 0n, number: -1n, hash: 0n });
    const { receipt, transition, output } = await settle();
    assert.equal(output[2], PRIME - 1n);
    assert.deepEqual(receipt.events, [
      ["LogStateTransitionFact", { stateTransitionFact: transition }],
      ["LogStateUpdate", { globalRoot: 1000n, blockNumber: 2n, blockHash: 2000n }],
    ]);
    await settle({}, []);
    await settle({}, Array.from({ length: 300 }, (_, i) => BigInt(i)));
    assert.deepEqual(await state(), { root: 3000n, number: 8n, hash: 6000n });
    assert.equal(await chain.read(core, "stateRoot"), 3000n);
  });

  test("what is attested with its data does not settle without it, nor the other way round", async () => {
    const { core, attest, asOperator, state } = await settlement(chain);
    const output = programOutput(await state());
    const data = [7n, 8n, 9n];
    await attest(factWithData(output, data));
    await chain.refuses("NO_STATE_TRANSITION_PROOF", core, "updateState", [output, BigInt(hashWords(data)), 3n], asOperator);
    await chain.send(core, "updateStateWithData", [output, data], asOperator);
    const next = programOutput(await state());
    await attest(factWithDataElsewhere(next, hashWords(data), 3));
    await chain.refuses("NO_STATE_TRANSITION_PROOF", core, "updateStateWithData", [next, data], asOperator);
  });

  test("updateState is told the hash and the length of data elsewhere, as upstream", async () => {
    const { core, attest, asOperator, state } = await settlement(chain);
    const output = programOutput(await state());
    const data = [7n, 8n, 9n];
    await attest(factWithDataElsewhere(output, hashWords(data), 3));
    await chain.refuses("NO_STATE_TRANSITION_PROOF", core, "updateState", [output, BigInt(hashWords(data)), 4n], asOperator);
    await chain.refuses("NO_STATE_TRANSITION_PROOF", core, "updateState", [output, 1n, 3n], asOperator);
    await chain.send(core, "updateState", [output, BigInt(hashWords(data)), 3n], asOperator);
    assert.equal((await state()).number, 2n);
  });

  test("2 of 3 attestors are enough, 1 of them is not, and a settled batch is not settled again", async () => {
    const attestors = attestorKeys(3);
    const { core, registry, attest, asOperator, state } = await settlement(chain, { attestors, threshold: 2 });
    const output = programOutput(await state());
    const transition = factWithData(output, [1n]);
    const update = [core, "updateStateWithData", [output, [1n]], asOperator];
    await chain.refuses("NO_STATE_TRANSITION_PROOF", ...update);
    const fact = coreFact(PROGRAM_HASH, transition);
    const one = await signAll(chain, registry, attestors.slice(1, 2), "Attestation", { fact });
    await chain.refuses("TooFewSignatures", registry, "attest", [fact, one]);
    await chain.refuses("NO_STATE_TRANSITION_PROOF", ...update);
    await attest(transition, { signers: [attestors[0], attestors[2]] });
    await chain.send(...update);
    await chain.refuses("INVALID_PREV_BLOCK_NUMBER", ...update);
    assert.equal((await state()).number, 2n);
  });

  test("an aggregated output is checked against the aggregator's program hash", async () => {
    const { core, attest, asOperator, state } = await settlement(chain);
    const output = programOutput(await state(), { change: { 6: PROGRAM_HASH } });
    const transition = factWithData(output, [1n]);
    await attest(transition);
    await chain.refuses("NO_STATE_TRANSITION_PROOF", core, "updateStateWithData", [output, [1n]], asOperator);
    await attest(transition, { programHash: AGGREGATOR_PROGRAM_HASH });
    await chain.send(core, "updateStateWithData", [output, [1n]], asOperator);
  });
});

describe("a state update that must not pass, though attested", () => {
  const header = (change) => (state) => programOutput(state, { change });
  const cases = {
    "an output that is only a header": ["STARKNET_OUTPUT_TOO_SHORT", (s) => programOutput(s).slice(0, 10)],
    "an output without its second message segment": ["STARKNET_OUTPUT_TOO_SHORT", (s) => programOutput(s).slice(0, 11)],
    "a previous number that is not ours": ["INVALID_PREV_BLOCK_NUMBER", header({ 2: 1n })],
    "-1 as the previous number of a chain past its start": ["INVALID_PREV_BLOCK_NUMBER", header({ 2: PRIME - 1n })],
    "the blob flag": ["UNEXPECTED_KZG_DA_FLAG", header({ 8: 1n })],
    "a blob flag of 2": ["UNEXPECTED_KZG_DA_FLAG", header({ 8: 2n })],
    "a word that is the field's prime": ["PROGRAM_OUTPUT_VALUE_OUT_OF_RANGE", header({ 1: PRIME })],
    "a word of 256 ones": ["PROGRAM_OUTPUT_VALUE_OUT_OF_RANGE", (s) => [...programOutput(s), 2n ** 256n - 1n]],
    "another config": ["INVALID_CONFIG_HASH", header({ 7: CONFIG_HASH + 1n })],
    "full output": ["FULL_OUTPUT_NOT_SUPPORTED", header({ 9: 1n })],
    "another program in word 6": ["AGGREGATOR_MODE_INVALID_OS_PROGRAM_HASH", header({ 6: 1n })],
    "a new number that is the old one": ["INVALID_NEW_BLOCK_NUMBER", header({ 3: 2n })],
    "a new number below the old one": ["INVALID_NEW_BLOCK_NUMBER", header({ 3: 1n })],
    "a new number beyond 64 bits": ["NEW_BLOCK_NUMBER_OUT_OF_RANGE", header({ 3: 2n ** 64n })],
    "-1 as the new number": ["NEW_BLOCK_NUMBER_OUT_OF_RANGE", header({ 3: PRIME - 1n })],
    "another previous hash": ["INVALID_PREV_BLOCK_HASH", header({ 4: 2001n })],
    "another previous root": ["INVALID_PREVIOUS_ROOT", header({ 0: 1001n })],
    "a word after the messages": ["STARKNET_OUTPUT_TOO_LONG", (s) => [...programOutput(s), 0n]],
    "a message nobody sent": [
      "INVALID_MESSAGE_TO_CONSUME", (s) => programOutput(s, { messagesToL2: [toL2(1n, 2n, 0n, 3n, [4n])] }),
    ],
    "a segment length of 2^30": ["INVALID_MESSAGE_SEGMENT_SIZE", (s) => [...programOutput(s).slice(0, 10), 2n ** 30n, 0n]],
    "a segment that ends inside a message": [
      "INVALID_MESSAGE_SEGMENT_SIZE", (s) => [...programOutput(s).slice(0, 10), 3n, ...toL1(1n, 2n, [5n]), 0n],
    ],
    "a message cut in its prefix": ["MESSAGE_TOO_SHORT", (s) => [...programOutput(s).slice(0, 10), 3n, 1n, 2n]],
    "a payload length of 2^30": [
      "INVALID_PAYLOAD_LENGTH", (s) => [...programOutput(s).slice(0, 10), 3n, 1n, 2n, 2n ** 30n, 0n],
    ],
    "a payload cut short": ["TRUNCATED_MESSAGE_PAYLOAD", (s) => [...programOutput(s).slice(0, 10), 5n, 1n, 2n, 2n, 9n]],
  };
  let parts;
  before(async () => {
    parts = await settlement(chain);
    await parts.settle();
  });
  for (const [what, [reason, make]] of Object.entries(cases)) {
    test(`${what}: ${reason}`, async () => {
      const { core, attest, asOperator, state } = parts;
      const start = await state();
      const output = make(start);
      for (const fact of [factWithData(output, [1n]), factWithDataElsewhere(output, hashWords([1n]), 1)]) await attest(fact);
      await chain.refuses(reason, core, "updateStateWithData", [output, [1n]], asOperator);
      await chain.refuses(reason, core, "updateState", [output, BigInt(hashWords([1n])), 1n], asOperator);
      assert.deepEqual(await state(), start);
    });
  }

  test("a data word that is the field's prime: ONCHAIN_DATA_VALUE_OUT_OF_RANGE", async () => {
    const { core, attest, asOperator, state } = parts;
    const output = programOutput(await state());
    await attest(factWithData(output, [PRIME]));
    await chain.refuses("ONCHAIN_DATA_VALUE_OUT_OF_RANGE", core, "updateStateWithData", [output, [PRIME]], asOperator);
  });

  test("data other than what was attested: NO_STATE_TRANSITION_PROOF", async () => {
    const { core, attest, asOperator, state } = parts;
    const output = programOutput(await state());
    await attest(factWithData(output, [1n, 2n]));
    for (const data of [[], [1n], [2n, 1n], [1n, 2n, 0n]]) {
      await chain.refuses("NO_STATE_TRANSITION_PROOF", core, "updateStateWithData", [output, data], asOperator);
    }
  });

  test("anyone but an operator: ONLY_OPERATOR, and the governor is no operator", async () => {
    const { core, state } = parts;
    const output = programOutput(await state());
    for (const [name, last] of [["updateStateWithData", [[1n]]], ["updateState", [1n, 1n]], ["updateStateKzgDA", [[]]]]) {
      await chain.refuses("ONLY_OPERATOR", parts.core, name, [output, ...last], { account: chain.accounts[0] });
    }
  });

  test("an operator contract that settles the next batch while it is paid: REENTRANCY_FAILURE", async () => {
    const operator = await chain.deploy(testContracts().OperatorContract);
    const { core, attest, state } = await settlement(chain, { operator: operator.address });
    await chain.send(core, "sendMessageToL2", [5n, 6n, [7n]], { value: 10n });
    const sender = chain.accounts[0].address;
    const outer = programOutput(await state(), { messagesToL2: [toL2(sender, 5n, 0n, 6n, [7n])] });
    const inner = programOutput({ root: outer[1], number: outer[3], hash: outer[5] });
    for (const output of [outer, inner]) await attest(factWithData(output, [1n]));
    const call = (output) => encodeFunctionData({ abi: core.abi, functionName: "updateStateWithData", args: [output, [1n]] });
    const run = [{ ...operator, abi: [...operator.abi, ...core.abi] }, "run", [core.address, call(outer)]];

    await chain.send(operator, "arm", [core.address, "0x", true]);
    await chain.refuses("ETH_TRANSFER_FAILED", ...run);
    await chain.send(operator, "arm", [core.address, call(inner), false]);
    await chain.refuses("REENTRANCY_FAILURE", ...run);
    await chain.send(operator, "arm", [core.address, "0x", false]);
    await chain.send(...run);
    assert.equal((await state()).number, 2n);
    assert.equal(await chain.client.getBalance({ address: operator.address }), 10n);
  });
});

// A constant polynomial: the blob holds one value 4096 times, its commitment is that value times the generator of G1, and
// every quotient, so every proof, is the point at infinity. That makes a real blob transaction without a KZG library.
const G1_GENERATOR =
  "0x97f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb";
const INFINITY = `0xc0${"00".repeat(47)}`;
const CONSTANTS = [{ value: 1n, commitment: G1_GENERATOR }, { value: 0n, commitment: INFINITY }];

function kzgSection(z, blobs) {
  const halves = blobs.flatMap(({ commitment }) => [BigInt(`0x${commitment.slice(50)}`), BigInt(commitment.slice(0, 50))]);
  return [z, BigInt(blobs.length), ...halves, ...blobs.flatMap(({ value }) => [value, 0n])];
}

async function sendBlobs(core, output, blobs, account) {
  const { client } = chain;
  const blobVersionedHashes = blobs.map(({ commitment }) => `0x01${sha256(commitment).slice(4)}`);
  const signed = await account.signTransaction({
    type: "eip4844", chainId: client.chain.id, to: core.address, gas: 1_000_000n,
    nonce: await client.getTransactionCount({ address: account.address }),
    maxFeePerGas: 10n ** 10n, maxPriorityFeePerGas: 1n, maxFeePerBlobGas: 10n ** 9n, blobVersionedHashes,
    data: encodeFunctionData({ abi: core.abi, functionName: "updateStateKzgDA", args: [output, blobs.map(() => INFINITY)] }),
  });
  // The network form with cell proofs (EIP-7594): [transaction, 1, blobs, commitments, 128 proofs for each blob].
  const wrapped = toRlp([
    fromRlp(`0x${signed.slice(4)}`, "hex"), "0x01",
    blobs.map(({ value }) => `0x${toHex(value, { size: 32 }).slice(2).repeat(4096)}`),
    blobs.map(({ commitment }) => commitment),
    blobs.flatMap(() => Array(128).fill(INFINITY)),
  ]);
  return client.sendRawTransaction({ serializedTransaction: concatHex(["0x03", wrapped]) });
}

describe("a state update by blobs", () => {
  test("two blobs with their commitments and evaluations are accepted; the fact is the hash of the output", async () => {
    const { core, attest, state } = await settlement(chain);
    const output = programOutput(await state(), { kzgSection: kzgSection(12345n, CONSTANTS) });
    await attest(hashWords(output));
    const receipt = await chain.receipt(core, await sendBlobs(core, output, CONSTANTS, chain.accounts[1]));
    assert.equal(receipt.blobGasUsed, 2n * 131072n);
    assert.deepEqual(receipt.events[0], ["LogStateTransitionFact", { stateTransitionFact: hashWords(output) }]);
    assert.equal((await state()).number, 2n);
  });

  test("blobs in another order than the output names them are refused", async () => {
    const { core, attest, state } = await settlement(chain);
    const output = programOutput(await state(), { kzgSection: kzgSection(12345n, CONSTANTS) });
    await attest(hashWords(output));
    const hash = await sendBlobs(core, output, CONSTANTS.toReversed(), chain.accounts[1]);
    const { status } = await chain.client.waitForTransactionReceipt({ hash });
    assert.equal(status, "reverted");
    assert.equal((await state()).number, -1n);
  });

  const section = kzgSection(12345n, CONSTANTS.slice(0, 1));
  const change = (index, word) => section.map((w, i) => (i === index ? word : w));
  const versioned = `0x01${sha256(G1_GENERATOR).slice(4)}`;
  const cases = [
    ["UNEXPECTED_KZG_DA_FLAG", "no blob flag", [], []],
    ["KZG_SEGMENT_TOO_SHORT", "fewer words than blobs need", [1n, 9n], Array(9).fill(INFINITY)],
    ["INVALID_NUMBER_OF_KZG_PROOFS", "a proof too few", section, []],
    ["INVALID_NUMBER_OF_KZG_PROOFS", "a number of blobs that would wrap", change(1, 2n ** 255n), []],
    ["INVALID_BLOB_INDEX", "a transaction without blobs", section, [INFINITY]],
    ["INVALID_KZG_COMMITMENT", "a low half past 192 bits", change(2, 2n ** 192n), [INFINITY], [versioned]],
    ["INVALID_KZG_COMMITMENT", "a high half past 192 bits", change(3, 2n ** 192n), [INFINITY], [versioned]],
    ["INVALID_Y_VALUE", "a low half of y past 128 bits", change(4, 2n ** 128n), [INFINITY], [versioned]],
    ["INVALID_Y_VALUE", "a high half of y past 128 bits", change(5, 2n ** 128n), [INFINITY], [versioned]],
    ["INVALID_KZG_PROOF_SIZE", "a proof of 47 bytes", section, [INFINITY.slice(0, -2)], [versioned]],
    ["POINT_EVALUATION_PRECOMPILE_CALL_FAILED", "another y", change(4, 2n), [INFINITY], [versioned]],
    ["POINT_EVALUATION_PRECOMPILE_CALL_FAILED", "another blob", section, [INFINITY], [`0x01${sha256(INFINITY).slice(4)}`]],
    ["UNEXPECTED_BLOB", "a blob that the output does not name", section, [INFINITY], [versioned, versioned]],
    ["NO_STATE_TRANSITION_PROOF", "a good blob without attestation", section, [INFINITY], [versioned]],
  ];
  let parts;
  before(async () => { parts = await settlement(chain); });
  for (const [reason, what, kzg, proofs, blobVersionedHashes] of cases) {
    test(`${what}: ${reason}`, async () => {
      const { core, state, asOperator } = parts;
      const args = [programOutput(await state(), { kzgSection: kzg }), proofs];
      const data = encodeFunctionData({ abi: core.abi, functionName: "updateStateKzgDA", args });
      const call = {
        from: asOperator.account.address, to: core.address, data,
        ...(blobVersionedHashes && { type: "0x3", blobVersionedHashes, maxFeePerBlobGas: "0x3b9aca00", maxFeePerGas: "0x2540be400" }),
      };
      await assert.rejects(
        chain.client.request({ method: "eth_call", params: [call, "latest"] }),
        (error) => new RegExp(`execution reverted: ${reason}\\b`).test(error.details ?? error.message) || assert.fail(error),
      );
    });
  }
});

/** Runtime code with one opcode for another; what a PUSH carries is left. */
function withOpcode(code, from, to) {
  const bytes = Buffer.from(code.slice(2), "hex");
  for (let at = 0; at < bytes.length; at += bytes[at] >= 0x60 && bytes[at] <= 0x7f ? bytes[at] - 0x5e : 1) {
    if (bytes[at] === from) bytes[at] = to;
  }
  return `0x${bytes.toString("hex")}`;
}

// No node takes a transaction with such a hash today. So the contract is called with SLOAD in the place of BLOBHASH, and the hash in
// slot 0, where nothing else is stored: what a later kind of blob would look like to it.
test("a blob of another kind of commitment: UNEXPECTED_BLOB_HASH_VERSION", async () => {
  const { core, attest, state, asOperator } = await settlement(chain);
  const output = programOutput(await state(), { kzgSection: kzgSection(12345n, CONSTANTS.slice(0, 1)) });
  await attest(hashWords(output));
  const data = encodeFunctionData({ abi: core.abi, functionName: "updateStateKzgDA", args: [output, [INFINITY]] });
  const code = withOpcode(await chain.client.getCode({ address: core.address }), 0x49, 0x54);
  const update = (versionedHash) => chain.client.request({ method: "eth_call", params: [
    { from: asOperator.account.address, to: core.address, data }, "latest",
    { [core.address]: { code, stateDiff: { [toHex(0, { size: 32 })]: versionedHash } } },
  ] });
  const hash = sha256(G1_GENERATOR).slice(4);
  await update(`0x01${hash}`);
  for (const version of ["00", "02", "ff"]) {
    await assert.rejects(update(`0x${version}${hash}`), (error) => /UNEXPECTED_BLOB_HASH_VERSION/.test(error.details ?? error.message));
  }
});

describe("construction and governance", () => {
  test("init data of another size, without program hash or with a registry that is no contract is refused", async () => {
    const { registry, core } = await settlement(chain);
    const good = initData({ verifier: registry.address });
    const refuses = (reason, data, delayMin = 1n) => chain.refusesDeployment(reason, "AppchainCore", [data, delayMin]);
    await refuses("ILLEGAL_INIT_DATA_SIZE", good.slice(0, -2));
    await refuses("ILLEGAL_INIT_DATA_SIZE", `${good}00`);
    await refuses("BAD_INITIALIZATION", initData({ verifier: registry.address, programHash: 0n }));
    await refuses("BAD_INITIALIZATION", initData({ verifier: chain.accounts[3].address }));
    for (const blockNumber of [-2n, -(2n ** 255n), 2n ** 64n]) {
      await refuses("BAD_INITIALIZATION", initData({ verifier: registry.address, blockNumber }));
    }
    await chain.deploy("AppchainCore", [initData({ verifier: registry.address, blockNumber: 2n ** 64n - 1n }), 1n]);
    for (const delayMin of [0n, BigInt(CANCELLATION_DELAY) + 1n]) await refuses("BAD_INITIALIZATION", good, delayMin);
    const reads = [
      "programHash", "aggregatorProgramHash", "verifier", "configHash", "messageCancellationDelay", "messageCancellationDelayMin",
      "identify", "isFrozen",
    ];
    assert.deepEqual(await Promise.all(reads.map((name) => chain.read(core, name))), [
      PROGRAM_HASH, AGGREGATOR_PROGRAM_HASH, registry.address, CONFIG_HASH, 432000n, 60n, "Keel_AppchainCore_2025_10", false,
    ]);
  });

  test("only a governor governs; nomination, acceptance and removal follow the Starknet rules", async () => {
    const { core } = await settlement(chain);
    const [first, , second, third] = chain.accounts;
    const [asSecond, asThird] = [{ account: second }, { account: third }];
    const governed = [
      ["registerOperator", [third.address]], ["unregisterOperator", [third.address]], ["setProgramHash", [1n]],
      ["setAggregatorProgramHash", [1n]], ["setConfigHash", [1n]], ["setMessageCancellationDelay", [1n]], ["finalize", []],
      ["setFeeCollectionAddress", [third.address]], ["starknetNominateNewGovernor", [third.address]],
      ["starknetCancelNomination", []], ["starknetRemoveGovernor", [first.address]],
    ];
    for (const [name, args] of governed) await chain.refuses("ONLY_GOVERNANCE", core, name, args, asSecond);

    await chain.refuses("BAD_ADDRESS", core, "starknetNominateNewGovernor", [`0x${"00".repeat(20)}`]);
    await chain.refuses("ALREADY_GOVERNOR", core, "starknetNominateNewGovernor", [first.address]);
    await chain.refuses("ONLY_CANDIDATE_GOVERNOR", core, "starknetAcceptGovernance", [], asSecond);
    await chain.send(core, "starknetNominateNewGovernor", [third.address]);
    await chain.refuses("OTHER_CANDIDATE_PENDING", core, "starknetNominateNewGovernor", [second.address]);
    await chain.send(core, "starknetCancelNomination");
    await chain.refuses("ONLY_CANDIDATE_GOVERNOR", core, "starknetAcceptGovernance", [], asThird);
    await chain.send(core, "starknetNominateNewGovernor", [second.address]);
    const accepted = await chain.send(core, "starknetAcceptGovernance", [], asSecond);
    assert.deepEqual(accepted.events, [["LogNewGovernorAccepted", { acceptedGovernor: second.address }]]);
    await chain.refuses("GOVERNOR_SELF_REMOVE", core, "starknetRemoveGovernor", [first.address]);
    await chain.refuses("NOT_GOVERNOR", core, "starknetRemoveGovernor", [third.address]);
    await chain.send(core, "starknetRemoveGovernor", [first.address], asSecond);
    assert.equal(await chain.read(core, "starknetIsGovernor", [first.address]), false);
  });

  test("hashes and the delay change until finalize, with events, and never after", async () => {
    const { core } = await settlement(chain);
    const changes = [["setProgramHash", "ProgramHashChanged"], ["setAggregatorProgramHash", "AggregatorProgramHashChanged"], ["setConfigHash", "ConfigHashChanged"]];
    for (const [name, event] of changes) assert.equal((await chain.send(core, name, [77n])).events[0][0], event);
    const { events } = await chain.send(core, "setMessageCancellationDelay", [60n]);
    const changedBy = chain.accounts[0].address;
    assert.deepEqual(events, [["MessageCancellationDelayChanged", { changedBy, oldDelay: 432000n, newDelay: 60n }]]);
    await chain.send(core, "finalize");
    for (const name of ["setProgramHash", "setAggregatorProgramHash", "setConfigHash", "setMessageCancellationDelay"]) {
      await chain.refuses("FINALIZED", core, name, [78n]);
    }
    await chain.refuses("FINALIZED", core, "finalize");
    assert.deepEqual(
      await Promise.all(["programHash", "configHash", "messageCancellationDelay"].map((name) => chain.read(core, name))),
      [77n, 77n, 60n],
    );
  });

  test("an operator that is removed settles no more; both steps are idempotent and logged once", async () => {
    const { core, asOperator, state } = await settlement(chain);
    const { address } = asOperator.account;
    assert.deepEqual((await chain.send(core, "registerOperator", [address])).events, []);
    assert.deepEqual((await chain.send(core, "unregisterOperator", [address])).events, [["LogOperatorRemoved", { operator: address }]]);
    assert.deepEqual((await chain.send(core, "unregisterOperator", [address])).events, []);
    await chain.refuses("ONLY_OPERATOR", core, "updateStateWithData", [programOutput(await state()), [1n]], asOperator);
  });

  test("message fees go to the fee collector once there is one, and it must take ether", async () => {
    const refusing = await chain.deploy("TestToken", ["a", "a"]);
    const { core, settle } = await settlement(chain);
    const collector = "0x00000000000000000000000000000000000c0113";
    await chain.refuses("ADDRESS_DOES_NOT_ACCEPT_ETH", core, "setFeeCollectionAddress", [refusing.address]);
    await chain.send(core, "setFeeCollectionAddress", [collector]);
    await chain.send(core, "sendMessageToL2", [5n, 6n, []], { value: 11n });
    await settle({ messagesToL2: [toL2(chain.accounts[0].address, 5n, 0n, 6n, [])] });
    assert.equal(await chain.client.getBalance({ address: collector }), 11n);
  });
});
