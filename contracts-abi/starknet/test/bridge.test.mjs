// The bridge: what comes in, what goes out, and that the escrow counter is exactly the difference.
import assert from "node:assert/strict";
import { describe } from "node:test";
import { hash } from "starknet";
import {
  CANCELLATION_DELAY, EXCHANGE, HANDLE_DEPOSIT, L2_ADDRESS_MAX, attestorKeys, poseidon, settlement, test, toAppchain, toStarknet, useChain,
} from "./harness.mjs";

const chain = useChain();
const CAP = 1_000_000n;
const ALICE_L2 = 0xa11cen;

/** A settled chain with a bridge for one token, of which the depositor (account 2) holds and has approved twice the cap. */
async function bridged({ token: tokenName = "test_token", tokenArgs = ["Test USD", "TUSD"] } = {}) {
  const core = await settlement(chain(), { attestors: attestorKeys(1) });
  const token = await chain().deploy(tokenName, tokenArgs);
  const [initializer, , depositor, guardian] = chain().accounts;
  const bridge = await chain().deploy("bridge", [initializer.address, guardian.address, [token.address], [CAP]]);
  await chain().send(bridge, "initialize", [core.core.address, EXCHANGE]);
  await chain().send(token, "mint", [depositor.address, 2n * CAP]);
  const asDepositor = { account: depositor };
  if (tokenName === "test_token") await chain().send(token, "approve", [bridge.address, 2n * CAP], asDepositor);
  const amountOf = async (contract, entrypoint, owner) => (await chain().read(contract, entrypoint, [owner]))[0];
  return {
    ...core, token, bridge, asDepositor, asGuardian: { account: guardian }, depositor: BigInt(depositor.address),
    escrow: () => amountOf(bridge, "escrow", token.address),
    balance: (owner) => amountOf(token, "balance_of", owner),
    deposit: (amount, recipient = ALICE_L2) => [bridge, "deposit", [token.address, amount, recipient], asDepositor],
    /** The message a deposit of the depositor sends. */
    depositMessage: (nonce, amount, recipient = ALICE_L2) =>
      toAppchain(bridge.address, EXCHANGE, nonce, HANDLE_DEPOSIT, [token.address, recipient, amount]),
    withdrawalMessage: (recipient, amount, id) => toStarknet(EXCHANGE, bridge.address, [token.address, recipient, amount, id]),
    withdraw: (recipient, amount, id) => [bridge, "withdraw", [token.address, recipient, amount, id]],
  };
}

describe("a deposit", () => {
  test("moves tokens into escrow and sends the exchange a message that a batch can take", async () => {
    const b = await bridged();
    const { events } = await chain().send(...b.deposit(600n));
    const message = b.depositMessage(0n, 600n);
    assert.deepEqual(events, [["DepositSent", {
      nonce: 0n, token: b.token.address, depositor: b.depositor, l2_recipient: ALICE_L2, amount: 600n, message_hash: poseidon(message),
    }]]);
    assert.deepEqual(await chain().read(b.bridge, "deposits", [0]), [b.depositor, b.token.address, ALICE_L2, 600n]);
    assert.deepEqual([await b.escrow(), await b.balance(b.bridge.address), await b.balance(b.depositor)], [600n, 600n, 2n * CAP - 600n]);
    await b.settle({ messagesToAppchain: [message] });
    assert.equal(await chain().read(b.core, "sn_to_appchain_messages", [poseidon(message)]), 1n);
  });

  test("is refused by name, and then nothing has moved", async () => {
    const b = await bridged();
    const { token, bridge, asDepositor } = b;
    const cases = [
      ["TOKEN_NOT_LISTED", [bridge.address, 1n, ALICE_L2]],
      ["BAD_RECIPIENT", [token.address, 1n, 0n]],
      ["BAD_RECIPIENT", [token.address, 1n, L2_ADDRESS_MAX + 1n]],
      ["BAD_AMOUNT", [token.address, 0n, ALICE_L2]],
      ["CAP_EXCEEDED", [token.address, CAP + 1n, ALICE_L2]],
      ["CAP_EXCEEDED", [token.address, 2n ** 128n, ALICE_L2]],
      ["CAP_EXCEEDED", [token.address, 2n ** 256n - 1n, ALICE_L2]],
    ];
    for (const [reason, args] of cases) await chain().refuses(reason, bridge, "deposit", args, asDepositor);
    await chain().refuses("ALLOWANCE_TOO_SMALL", bridge, "deposit", [token.address, 1n, ALICE_L2]);
    assert.deepEqual([await b.escrow(), await chain().read(b.core, "message_nonce")], [0n, 0n]);
    await chain().send(...b.deposit(1n, L2_ADDRESS_MAX));
  });

  test("fills the escrow to its cap and not beyond; tokens that arrive by other means are not in it", async () => {
    const b = await bridged();
    await chain().send(b.token, "mint", [b.bridge.address, 77n]);
    await chain().send(...b.deposit(CAP - 1n));
    await chain().refuses("CAP_EXCEEDED", ...b.deposit(2n));
    await chain().send(...b.deposit(1n));
    await chain().refuses("CAP_EXCEEDED", ...b.deposit(1n));
    await chain().send(b.token, "transfer", [b.bridge.address, 23n], b.asDepositor);
    assert.deepEqual([await b.escrow(), await b.balance(b.bridge.address)], [CAP, CAP + 100n]);
    assert.deepEqual(await chain().read(b.bridge, "cap", [b.token.address]), [CAP, 0n]);
  });

  test("can be paused by the guardian alone, who can pause nothing else", async () => {
    const b = await bridged();
    await chain().send(...b.deposit(500n));
    await chain().refuses("NOT_GUARDIAN", b.bridge, "set_deposits_paused", [true]);
    const { events } = await chain().send(b.bridge, "set_deposits_paused", [true], b.asGuardian);
    assert.deepEqual(events, [["DepositsPausedSet", { paused: true }]]);
    await chain().refuses("DEPOSITS_PAUSED", ...b.deposit(1n));
    await chain().send(b.bridge, "start_deposit_cancellation", [0], b.asDepositor);
    await b.settle({ messagesToStarknet: [b.withdrawalMessage(0xb0bn, 100n, 1n)] });
    await chain().send(...b.withdraw(0xb0bn, 100n, 1n));
    await chain().send(b.bridge, "set_deposits_paused", [false], b.asGuardian);
    await chain().send(...b.deposit(1n));
    assert.equal(await b.escrow(), 401n);
  });
});

describe("a deposit taken back", () => {
  test("is paid to its depositor after the delay, once, and no batch can take it any more", async () => {
    const b = await bridged();
    const start = [b.bridge, "start_deposit_cancellation", [0]];
    const cancel = [b.bridge, "cancel_deposit", [0]];
    await chain().refuses("NO_SUCH_DEPOSIT", ...start, b.asDepositor);
    await chain().send(...b.deposit(600n));
    await chain().refuses("NOT_DEPOSITOR", ...start);
    await chain().refuses("CANCELLATION_NOT_REQUESTED", ...cancel, b.asDepositor);
    const started = await chain().send(...start, b.asDepositor);
    assert.deepEqual(started.events, [["DepositCancellationStarted", { nonce: 0n, depositor: b.depositor }]]);
    await chain().refuses("CANCELLATION_NOT_ALLOWED_YET", ...cancel, b.asDepositor);
    await chain().pass(CANCELLATION_DELAY);
    await chain().refuses("NOT_DEPOSITOR", ...cancel);
    const { events } = await chain().send(...cancel, b.asDepositor);
    assert.deepEqual(events, [["DepositRefunded", { nonce: 0n, token: b.token.address, depositor: b.depositor, amount: 600n }]]);
    assert.deepEqual([await b.escrow(), await b.balance(b.depositor)], [0n, 2n * CAP]);
    await chain().refuses("NO_SUCH_DEPOSIT", ...cancel, b.asDepositor);
    assert.equal(await chain().read(b.core, "sn_to_appchain_messages", [poseidon(b.depositMessage(0n, 600n))]), 2n);
  });

  test("is not paid when a batch took it meanwhile", async () => {
    const b = await bridged();
    await chain().send(...b.deposit(600n));
    await chain().send(b.bridge, "start_deposit_cancellation", [0], b.asDepositor);
    await b.settle({ messagesToAppchain: [b.depositMessage(0n, 600n)] });
    await chain().pass(CANCELLATION_DELAY);
    await chain().refuses("NO_MESSAGE_TO_CANCEL", b.bridge, "cancel_deposit", [0], b.asDepositor);
    await chain().refuses("NO_MESSAGE_TO_CANCEL", b.bridge, "start_deposit_cancellation", [0], b.asDepositor);
    assert.deepEqual([await b.escrow(), await b.balance(b.depositor)], [600n, 2n * CAP - 600n]);
  });
});

describe("a withdrawal", () => {
  test("is paid to its recipient by anybody, once", async () => {
    const b = await bridged();
    const recipient = 0xb0bn;
    await chain().send(...b.deposit(600n));
    await chain().refuses("INVALID_MESSAGE_TO_CONSUME", ...b.withdraw(recipient, 250n, 1n));
    const messagesToStarknet = [b.withdrawalMessage(recipient, 250n, 1n), b.withdrawalMessage(recipient, 250n, 2n)];
    await b.settle({ messagesToStarknet });
    for (const [to, amount, id] of [[recipient, 251n, 1n], [recipient, 250n, 3n], [0xbadn, 250n, 1n]]) {
      await chain().refuses("INVALID_MESSAGE_TO_CONSUME", ...b.withdraw(to, amount, id));
    }
    // The message is for the bridge: its recipient cannot take it from the core contract.
    await chain().refuses("INVALID_MESSAGE_TO_CONSUME", b.core, "consume_message_from_appchain", [EXCHANGE, messagesToStarknet[0].slice(3)]);
    const { events } = await chain().send(...b.withdraw(recipient, 250n, 1n), { account: chain().accounts[3] });
    assert.deepEqual(events, [["WithdrawalPaid", { withdrawal_id: 1n, token: b.token.address, recipient, amount: 250n }]]);
    await chain().refuses("INVALID_MESSAGE_TO_CONSUME", ...b.withdraw(recipient, 250n, 1n));
    await chain().send(...b.withdraw(recipient, 250n, 2n));
    assert.deepEqual([await b.escrow(), await b.balance(recipient), await b.balance(b.bridge.address)], [100n, 500n, 100n]);
  });

  test("beyond the escrow is refused though the tokens are there, and is payable once the escrow is", async () => {
    const b = await bridged();
    await chain().send(b.token, "mint", [b.bridge.address, 1_000n]);
    await chain().send(...b.deposit(100n));
    await b.settle({ messagesToStarknet: [b.withdrawalMessage(0xb0bn, 101n, 1n)] });
    await chain().refuses("ESCROW_TOO_SMALL", ...b.withdraw(0xb0bn, 101n, 1n));
    await chain().send(...b.deposit(1n));
    await chain().send(...b.withdraw(0xb0bn, 101n, 1n));
    assert.deepEqual([await b.escrow(), await b.balance(b.bridge.address)], [0n, 1_000n]);
  });

  test("to nobody, to the bridge, of nothing or of more than 127 bits is refused, though settled", async () => {
    const b = await bridged();
    const cases = [
      ["BAD_RECIPIENT", 0n, 5n], ["BAD_RECIPIENT", b.bridge.address, 5n], ["BAD_AMOUNT", 0xb0bn, 0n], ["BAD_AMOUNT", 0xb0bn, 2n ** 127n],
      ["BAD_AMOUNT", 0xb0bn, 2n ** 128n],
    ];
    await b.settle({ messagesToStarknet: cases.map(([, to, amount], id) => b.withdrawalMessage(to, amount, id)) });
    for (const [id, [reason, to, amount]] of cases.entries()) await chain().refuses(reason, ...b.withdraw(to, amount, id));
  });

  test("of a token that is not listed finds no escrow, and a message of another contract is no withdrawal", async () => {
    const b = await bridged();
    const other = await chain().deploy("test_token", ["Other", "OTH"]);
    await chain().send(other, "mint", [b.bridge.address, 9n]);
    await chain().send(...b.deposit(9n));
    await b.settle({ messagesToStarknet: [
      toStarknet(EXCHANGE, b.bridge.address, [other.address, 0xb0b, 9, 1]),
      toStarknet(EXCHANGE + 1n, b.bridge.address, [b.token.address, 0xb0b, 9, 2]),
    ] });
    await chain().refuses("ESCROW_TOO_SMALL", b.bridge, "withdraw", [other.address, 0xb0bn, 9n, 1n]);
    await chain().refuses("INVALID_MESSAGE_TO_CONSUME", ...b.withdraw(0xb0bn, 9n, 2n));
  });
});

describe("a token that misbehaves", () => {
  const odd = { token: "odd_token", tokenArgs: [] };
  const selector = (name) => hash.getSelectorFromName(name);

  test("that keeps a part of a deposit is refused, and one that does not answer true moves neither in nor out", async () => {
    const b = await bridged(odd);
    const both = async (reason) => {
      await chain().refuses(reason, ...b.deposit(10n));
      await chain().refuses(reason, ...b.withdraw(0xb0bn, 10n, 1n));
    };
    await chain().send(...b.deposit(100n));
    await b.settle({ messagesToStarknet: [b.withdrawalMessage(0xb0bn, 10n, 1n)] });
    await chain().send(b.token, "set_tax", [1n]);
    await chain().refuses("TRANSFER_INEXACT", ...b.deposit(10n));
    await chain().send(b.token, "set_tax", [0n]);
    // One that takes more from the bridge than it pays would take the other depositors' money.
    await chain().send(b.token, "set_sender_tax", [1n]);
    await chain().refuses("TRANSFER_INEXACT", ...b.withdraw(0xb0bn, 10n, 1n));
    await chain().send(b.token, "set_sender_tax", [0n]);
    for (const answer of [0n, 2n]) {
      await chain().send(b.token, "set_answer", [answer]);
      await both("TRANSFER_FAILED");
    }
    await chain().send(b.token, "set_answer", [1n]);
    await chain().send(...b.withdraw(0xb0bn, 10n, 1n));
    assert.deepEqual([await b.escrow(), await b.balance(b.bridge.address)], [90n, 90n]);
  });

  test("that calls the bridge back during a transfer is refused, whatever it calls", async () => {
    const b = await bridged(odd);
    await chain().send(...b.deposit(100n));
    await b.settle({ messagesToStarknet: [b.withdrawalMessage(0xb0bn, 10n, 1n)] });
    await chain().send(b.bridge, "start_deposit_cancellation", [0], b.asDepositor);
    await chain().pass(CANCELLATION_DELAY);
    for (const entrypoint of ["cancel_deposit", "start_deposit_cancellation"]) {
      await chain().send(b.token, "set_call", [b.bridge.address, selector(entrypoint), 0]);
      await chain().refuses("REENTERED", ...b.deposit(10n));
      await chain().refuses("REENTERED", ...b.withdraw(0xb0bn, 10n, 1n));
      await chain().refuses("REENTERED", b.bridge, "cancel_deposit", [0], b.asDepositor);
    }
    await chain().send(b.token, "set_call", [0, 0, 0]);
    await chain().send(...b.withdraw(0xb0bn, 10n, 1n));
    assert.equal(await b.escrow(), 90n);
  });
});

describe("the bridge is told its core and its exchange", () => {
  test("once, by the initializer, and takes nothing before", async () => {
    const core = await settlement(chain());
    const token = await chain().deploy("test_token", ["Test USD", "TUSD"]);
    const [initializer, , stranger, guardian] = chain().accounts;
    const bridge = await chain().deploy("bridge", [initializer.address, guardian.address, [token.address], [CAP]]);
    const initialize = [bridge, "initialize", [core.core.address, EXCHANGE]];
    await chain().refuses("NOT_INITIALIZED", bridge, "deposit", [token.address, 1n, ALICE_L2]);
    await chain().refuses("NOT_INITIALIZED", bridge, "withdraw", [token.address, 1n, 1n, 1n]);
    await chain().refuses("NOT_INITIALIZER", ...initialize, { account: stranger });
    for (const args of [[0n, EXCHANGE], [core.core.address, 0n], [core.core.address, L2_ADDRESS_MAX + 1n]]) {
      await chain().refuses("BAD_CONFIGURATION", bridge, "initialize", args);
    }
    await assert.rejects(chain().send(bridge, "initialize", [token.address, EXCHANGE]));
    const { events } = await chain().send(...initialize);
    assert.deepEqual(events, [["Initialized", { core: core.core.address, exchange: EXCHANGE }]]);
    await chain().refuses("ALREADY_INITIALIZED", ...initialize);
    assert.equal(await chain().read(bridge, "core"), core.core.address);
    assert.equal(await chain().read(bridge, "exchange"), EXCHANGE);
    assert.equal(await chain().read(bridge, "guardian"), BigInt(guardian.address));
    assert.deepEqual(await chain().read(bridge, "tokens"), [1n, token.address]);
  });

  test("and lists each token once, with a cap of 1 to 2^127 - 1", async () => {
    const token = await chain().deploy("test_token", ["Test USD", "TUSD"]);
    const [{ address: initializer }, , , { address: guardian }] = chain().accounts;
    const listed = (tokens, caps) => [initializer, guardian, tokens, caps];
    await chain().deploy("bridge", listed([token.address], [2n ** 127n - 1n]));
    for (const cap of [0n, 2n ** 127n, 2n ** 128n]) {
      await chain().refusesDeployment("BAD_LISTING", "bridge", listed([token.address], [cap]));
    }
    await chain().refusesDeployment("BAD_LISTING", "bridge", listed([token.address, token.address], [1n, 1n]));
    await chain().refusesDeployment("BAD_CONFIGURATION", "bridge", listed([token.address], []));
    await chain().refusesDeployment("BAD_CONFIGURATION", "bridge", listed([token.address], [1n]).with(0, 0n));
    await assert.rejects(chain().deploy("bridge", listed([0xdeadn], [1n])));
  });
});
