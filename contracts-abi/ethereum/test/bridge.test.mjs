// Bridge: deposits, withdrawals, refunds, and everything that must leave the escrow alone.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { encodeFunctionData, toFunctionSelector } from "viem";
import {
  CANCELLATION_DELAY, EXCHANGE, HANDLE_DEPOSIT, hashWords, settlement, startChain, testContracts, toL1, toL2,
} from "./harness.mjs";

const CAP = 1_000_000_000n;
const FEE = 5n;
const L2_RECIPIENT = 0xbeefn;
const L2_ADDRESS_MAX = 2n ** 251n - 257n;
const ZERO = `0x${"00".repeat(20)}`;

let chain, odd, guardian, depositor, recipient;
before(async () => {
  chain = await startChain();
  odd = testContracts();
  [, , guardian, depositor, recipient] = chain.accounts;
});
after(() => chain.stop());

/** A bridge that lists `token` (a test token unless given), with a funded depositor. */
async function setUp(token) {
  const parts = await settlement(chain);
  const ordinary = token === undefined;
  token ??= await chain.deploy("TestToken", ["USD Coin (test)", "USDC"]);
  const bridge = await chain.deploy("Bridge", [parts.core.address, EXCHANGE, guardian.address, [token.address], [CAP]]);
  await chain.send(token, "mint", [depositor.address, 10n * CAP]);
  if (ordinary) await chain.send(token, "approve", [bridge.address, 2n ** 256n - 1n], { account: depositor });

  const amounts = async () => ({
    escrow: await chain.read(bridge, "escrow", [token.address]),
    held: await chain.read(token, "balanceOf", [bridge.address]),
    depositor: await chain.read(token, "balanceOf", [depositor.address]),
    recipient: await chain.read(token, "balanceOf", [recipient.address]),
  });
  const asDepositor = { account: depositor, value: FEE };
  const deposit = (amount, to = L2_RECIPIENT) => chain.send(bridge, "deposit", [token.address, amount, to], asDepositor);
  const refusesDeposit = (reason, amount, to = L2_RECIPIENT, options = asDepositor) =>
    chain.refuses(reason, bridge, "deposit", [token.address, amount, to], options);
  const depositMessage = (nonce, amount, to = L2_RECIPIENT) =>
    toL2(bridge.address, EXCHANGE, nonce, HANDLE_DEPOSIT, [token.address, to, amount]);
  const withdrawal = (amount, id, to = recipient.address, from = EXCHANGE) =>
    toL1(from, bridge.address, [token.address, to, amount, id]);
  const withdraw = (amount, id, to = recipient.address) => [bridge, "withdraw", [token.address, to, amount, id]];
  return { ...parts, bridge, token, amounts, deposit, refusesDeposit, depositMessage, withdrawal, withdraw, asDepositor };
}

describe("deposit", () => {
  test("moves exact tokens into escrow, sends the message the appchain expects, and the batch consumes it", async () => {
    const { core, bridge, token, amounts, deposit, depositMessage, settle } = await setUp();
    const receipt = await deposit(250n);
    const messageHash = hashWords(depositMessage(0, 250n));
    assert.deepEqual(receipt.events.at(-1), ["DepositSent", {
      nonce: 0n, token: token.address, depositor: depositor.address, l2Recipient: L2_RECIPIENT, amount: 250n, fee: FEE, messageHash,
    }]);
    assert.deepEqual(await amounts(), { escrow: 250n, held: 250n, depositor: 10n * CAP - 250n, recipient: 0n });
    assert.equal(await chain.read(core, "l1ToL2Messages", [messageHash]), FEE + 1n);
    assert.deepEqual(await chain.read(bridge, "deposits", [0n]), [depositor.address, token.address, L2_RECIPIENT, 250n]);
    await settle({ messagesToL2: [depositMessage(0, 250n)] });
    assert.equal(await chain.read(core, "l1ToL2Messages", [messageHash]), 0n);
    assert.equal((await amounts()).escrow, 250n);
  });

  test("the selector is that of handle_deposit, and the listing can be read", async () => {
    const { bridge, token, core } = await setUp();
    // The value of the mainnet message in the Starknet fixtures.
    assert.equal(HANDLE_DEPOSIT, 0x2d757788a8d8d6f21d1cd40bce38a8222d70654214e96ff95d8086e684fbee5n);
    const reads = ["HANDLE_DEPOSIT_SELECTOR", "L2_ADDRESS_MAX", "core", "exchange", "guardian", "tokens"];
    assert.deepEqual(await Promise.all(reads.map((name) => chain.read(bridge, name))), [
      HANDLE_DEPOSIT, L2_ADDRESS_MAX, core.address, EXCHANGE, guardian.address, [token.address],
    ]);
  });

  test("addresses 1 and 2^251-257 are taken; 0, 2^251-256 and beyond are not; neither is an amount of 0", async () => {
    const { deposit, refusesDeposit } = await setUp();
    for (const to of [1n, L2_ADDRESS_MAX]) await deposit(1n, to);
    for (const to of [0n, L2_ADDRESS_MAX + 1n, 2n ** 256n - 1n]) await refusesDeposit("BadRecipient", 1n, to);
    await refusesDeposit("BadAmount", 0n);
  });

  test("the cap is on what is in escrow: a withdrawal makes room, dust takes none", async () => {
    const { token, bridge, deposit, refusesDeposit, settle, withdrawal, withdraw, amounts } = await setUp();
    await refusesDeposit("CapExceeded", CAP + 1n);
    await refusesDeposit("CapExceeded", 2n ** 256n - 1n);
    await chain.send(token, "transfer", [bridge.address, 777n], { account: depositor });
    await deposit(CAP - 1n);
    await refusesDeposit("CapExceeded", 2n);
    await deposit(1n);
    await refusesDeposit("CapExceeded", 1n);
    await settle({ messagesToL1: [withdrawal(10n, 1n)] });
    await chain.send(...withdraw(10n, 1n));
    await refusesDeposit("CapExceeded", 11n);
    await deposit(10n);
    assert.deepEqual(await amounts(), { escrow: CAP, held: CAP + 777n, depositor: 9n * CAP - 787n, recipient: 10n });
  });

  test("the message fee is the core contract's: none and more than 1 ether are refused, and nothing moves", async () => {
    const { refusesDeposit, amounts } = await setUp();
    const start = await amounts();
    await refusesDeposit("L1_MSG_FEE_MUST_BE_GREATER_THAN_0", 1n, L2_RECIPIENT, { account: depositor, value: 0n });
    await refusesDeposit("MAX_L1_MSG_FEE_EXCEEDED", 1n, L2_RECIPIENT, { account: depositor, value: 10n ** 18n + 1n });
    assert.deepEqual(await amounts(), start);
  });

  test("a token that is not listed, a missing allowance and a missing balance are refused", async () => {
    const { bridge, token, refusesDeposit, asDepositor } = await setUp();
    const other = await chain.deploy("TestToken", ["other", "OTH"]);
    await chain.refuses("TokenNotListed", bridge, "deposit", [other.address, 1n, 1n], asDepositor);
    await refusesDeposit("TransferFailed", 1n, L2_RECIPIENT, { account: recipient, value: FEE });
    await chain.send(token, "approve", [bridge.address, 5n], { account: depositor });
    await refusesDeposit("TransferFailed", 6n);
    await chain.send(token, "mint", [recipient.address, 5n]);
    await chain.send(token, "approve", [bridge.address, 6n], { account: recipient });
    await refusesDeposit("TransferFailed", 6n, L2_RECIPIENT, { account: recipient, value: FEE });
  });

  test("a token that answers nothing works; one that answers false, keeps a fee or calls back does not", async () => {
    const silent = await setUp(await chain.deploy(odd.SilentToken));
    await silent.deposit(300n);
    await silent.settle({ messagesToL1: [silent.withdrawal(100n, 1n)] });
    await chain.send(...silent.withdraw(100n, 1n));
    assert.deepEqual(await silent.amounts(), { escrow: 200n, held: 200n, depositor: 10n * CAP - 300n, recipient: 100n });

    const refusing = await setUp(await chain.deploy(odd.RefusingToken));
    await refusing.refusesDeposit("TransferFailed", 300n);
    const fee = await setUp(await chain.deploy(odd.FeeToken));
    await fee.refusesDeposit("TransferInexact", 300n);
    // Where the fee rounds to nothing, nothing is missing.
    await fee.deposit(99n);

    const reentrant = await setUp(await chain.deploy(odd.ReentrantToken));
    const { bridge, token } = reentrant;
    const call = (functionName, args) => encodeFunctionData({ abi: bridge.abi, functionName, args });
    for (const [name, args] of [
      ["deposit", [token.address, 1n, 1n]], ["withdraw", [token.address, recipient.address, 1n, 1n]],
      ["startDepositCancellation", [0n]], ["cancelDeposit", [0n]],
    ]) {
      await chain.send(token, "arm", [bridge.address, call(name, args)]);
      await assert.rejects(
        reentrant.deposit(1n),
        (error) => {
          const { errorName, args } = error.walk((e) => e.data?.errorName).data;
          assert.equal(errorName, "TransferFailed");
          assert.equal(args[1], toFunctionSelector("Reentered()"));
          return true;
        },
        name,
      );
      assert.equal((await reentrant.amounts()).escrow, 0n);
    }
    // The same token, calling something harmless, passes: it was the call back that was refused.
    await chain.send(token, "arm", [bridge.address, call("tokens", [])]);
    await reentrant.deposit(1n);
  });
});

describe("a message that is not the bridge's", () => {
  test("a direct sendMessageToL2 with the payload of a deposit leaves escrow and deposits as they are", async () => {
    const { core, bridge, token, amounts, depositMessage } = await setUp();
    const start = await amounts();
    const payload = [BigInt(token.address), L2_RECIPIENT, 500n];
    const { events } = await chain.send(core, "sendMessageToL2", [EXCHANGE, HANDLE_DEPOSIT, payload], { account: depositor, value: 1n });
    // Its sender is in the message, so its hash is not the one a deposit would have.
    assert.equal(events[0][1].fromAddress, depositor.address);
    assert.equal(await chain.read(core, "l1ToL2Messages", [hashWords(depositMessage(0, 500n))]), 0n);
    assert.deepEqual(await amounts(), start);
    await chain.refuses("NoSuchDeposit", bridge, "startDepositCancellation", [0n], { account: depositor });
  });

  test("a withdrawal message by another L2 contract pays nothing", async () => {
    const { deposit, settle, withdrawal, withdraw } = await setUp();
    await deposit(100n);
    await settle({ messagesToL1: [withdrawal(100n, 1n, recipient.address, EXCHANGE + 1n)] });
    await chain.refuses("INVALID_MESSAGE_TO_CONSUME", ...withdraw(100n, 1n));
  });
});

describe("withdraw", () => {
  test("anyone finishes it, the recipient is paid, once", async () => {
    const { token, deposit, settle, withdrawal, withdraw, amounts } = await setUp();
    await deposit(1_000n);
    await chain.refuses("INVALID_MESSAGE_TO_CONSUME", ...withdraw(400n, 7n));
    await settle({ messagesToL1: [withdrawal(400n, 7n)] });
    for (const other of [withdraw(401n, 7n), withdraw(400n, 8n), withdraw(400n, 7n, depositor.address)]) {
      await chain.refuses("INVALID_MESSAGE_TO_CONSUME", ...other);
    }
    const { events } = await chain.send(...withdraw(400n, 7n), { account: chain.accounts[5] });
    assert.deepEqual(events.at(-1), ["WithdrawalPaid", { withdrawalId: 7n, token: token.address, recipient: recipient.address, amount: 400n }]);
    assert.deepEqual(await amounts(), { escrow: 600n, held: 600n, depositor: 10n * CAP - 1_000n, recipient: 400n });
    await chain.refuses("INVALID_MESSAGE_TO_CONSUME", ...withdraw(400n, 7n));
  });

  test("never more than the escrow counter, whatever dust lies beside it; nothing to zero or to the bridge itself", async () => {
    const { bridge, token, deposit, settle, withdrawal, withdraw } = await setUp();
    await deposit(100n);
    await chain.send(token, "transfer", [bridge.address, 1_000n], { account: depositor });
    await settle({ messagesToL1: [withdrawal(101n, 1n), withdrawal(5n, 2n, ZERO), withdrawal(5n, 3n, bridge.address), withdrawal(0n, 4n)] });
    await chain.refuses("EscrowTooSmall", ...withdraw(101n, 1n));
    await chain.refuses("BadRecipient", ...withdraw(5n, 2n, ZERO));
    await chain.refuses("BadRecipient", ...withdraw(5n, 3n, bridge.address));
    await chain.refuses("BadAmount", ...withdraw(0n, 4n));
    await deposit(1n);
    await chain.send(...withdraw(101n, 1n));
  });

  test("a token that answers false, takes more than the amount or calls back pays nothing, neither out nor back", async () => {
    const token = await chain.deploy(odd.OddPayer);
    const { bridge, deposit, settle, withdrawal, withdraw, amounts } = await setUp(token);
    for (const amount of [60n, 40n]) await deposit(amount);
    await settle({ messagesToL1: [withdrawal(10n, 1n)] });
    await chain.send(bridge, "startDepositCancellation", [1n], { account: depositor });
    await chain.pass(CANCELLATION_DELAY);
    const start = await amounts();
    const call = (functionName, args) => encodeFunctionData({ abi: bridge.abi, functionName, args });
    const cases = [
      ["TransferFailed", [false, 0n, ZERO, "0x"]],
      ["TransferInexact", [true, 1n, ZERO, "0x"]],
      ["TransferFailed", [true, 0n, bridge.address, call("withdraw", [token.address, recipient.address, 10n, 1n])]],
      ["TransferFailed", [true, 0n, bridge.address, call("cancelDeposit", [1n])]],
      ["TransferFailed", [true, 0n, bridge.address, call("deposit", [token.address, 1n, 1n])]],
    ];
    for (const [reason, behaviour] of cases) {
      await chain.send(token, "arm", behaviour);
      await chain.refuses(reason, ...withdraw(10n, 1n));
      await chain.refuses(reason, bridge, "cancelDeposit", [1n], { account: depositor });
    }
    assert.deepEqual(await amounts(), start);
    await chain.send(token, "arm", [true, 0n, bridge.address, call("tokens", [])]);
    await chain.send(...withdraw(10n, 1n));
    await chain.send(bridge, "cancelDeposit", [1n], { account: depositor });
    assert.deepEqual(await amounts(), { escrow: 50n, held: 50n, depositor: 10n * CAP - 60n, recipient: 10n });
  });
});

describe("the guardian", () => {
  test("pauses and resumes deposits; withdrawals and refunds go on; nobody else may", async () => {
    const { bridge, deposit, refusesDeposit, settle, withdrawal, withdraw } = await setUp();
    await deposit(100n);
    await deposit(50n);
    for (const account of [depositor, chain.accounts[0]]) {
      await chain.refuses("NotGuardian", bridge, "setDepositsPaused", [true], { account });
    }
    await chain.send(bridge, "setDepositsPaused", [true], { account: guardian });
    await refusesDeposit("DepositsPaused", 1n);
    await settle({ messagesToL1: [withdrawal(30n, 1n)] });
    await chain.send(...withdraw(30n, 1n));
    await chain.send(bridge, "startDepositCancellation", [1n], { account: depositor });
    await chain.pass(CANCELLATION_DELAY);
    await chain.send(bridge, "cancelDeposit", [1n], { account: depositor });
    await chain.send(bridge, "setDepositsPaused", [false], { account: guardian });
    await deposit(1n);
  });

  test("every function that changes anything is a user's, except the pause", async () => {
    const { bridge } = await setUp();
    const writes = bridge.abi.filter((e) => e.type === "function" && !["view", "pure"].includes(e.stateMutability));
    assert.deepEqual(writes.map((e) => e.name).sort(), [
      "cancelDeposit", "deposit", "setDepositsPaused", "startDepositCancellation", "withdraw",
    ]);
  });
});

describe("taking a deposit back", () => {
  test("the depositor starts, waits and is refunded exactly, once", async () => {
    const { core, bridge, token, deposit, amounts, depositMessage } = await setUp();
    await deposit(60n);
    await deposit(40n);
    const as = { account: depositor };
    await chain.refuses("NotDepositor", bridge, "startDepositCancellation", [0n], { account: recipient });
    await chain.refuses("NoSuchDeposit", bridge, "startDepositCancellation", [2n], as);
    await chain.refuses("MESSAGE_CANCELLATION_NOT_REQUESTED", bridge, "cancelDeposit", [0n], as);
    const started = await chain.send(bridge, "startDepositCancellation", [0n], as);
    assert.deepEqual(started.events.at(-1), ["DepositCancellationStarted", { nonce: 0n, depositor: depositor.address }]);
    await chain.refuses("MESSAGE_CANCELLATION_NOT_ALLOWED_YET", bridge, "cancelDeposit", [0n], as);
    await chain.pass(CANCELLATION_DELAY);
    await chain.refuses("NotDepositor", bridge, "cancelDeposit", [0n], { account: recipient });
    const { events } = await chain.send(bridge, "cancelDeposit", [0n], as);
    assert.deepEqual(events.at(-1), ["DepositRefunded", { nonce: 0n, token: token.address, depositor: depositor.address, amount: 60n }]);
    assert.deepEqual(await amounts(), { escrow: 40n, held: 40n, depositor: 10n * CAP - 40n, recipient: 0n });
    assert.equal(await chain.read(core, "l1ToL2Messages", [hashWords(depositMessage(0, 60n))]), 0n);
    await chain.refuses("NoSuchDeposit", bridge, "cancelDeposit", [0n], as);
  });

  test("a deposit that was credited meanwhile is not refunded", async () => {
    const { bridge, deposit, settle, depositMessage, amounts } = await setUp();
    await deposit(60n);
    const as = { account: depositor };
    await chain.send(bridge, "startDepositCancellation", [0n], as);
    await settle({ messagesToL2: [depositMessage(0, 60n)] });
    await chain.pass(CANCELLATION_DELAY);
    await chain.refuses("NO_MESSAGE_TO_CANCEL", bridge, "cancelDeposit", [0n], as);
    await chain.refuses("NO_MESSAGE_TO_CANCEL", bridge, "startDepositCancellation", [0n], as);
    assert.equal((await amounts()).escrow, 60n);
  });
});

describe("construction", () => {
  test("a core or token without code, a bad exchange address, doubled tokens and bad caps are refused", async () => {
    const { core, token } = await setUp();
    const refuses = (reason, { coreAddress = core.address, exchange = EXCHANGE, tokens = [token.address], caps = [CAP] }) =>
      chain.refusesDeployment(reason, "Bridge", [coreAddress, exchange, guardian.address, tokens, caps]);
    await refuses("BadConfiguration", { coreAddress: recipient.address });
    await refuses("BadConfiguration", { exchange: 0n });
    await refuses("BadConfiguration", { exchange: L2_ADDRESS_MAX + 1n });
    await refuses("BadConfiguration", { caps: [] });
    await refuses("BadListing", { tokens: [recipient.address] });
    await refuses("BadListing", { tokens: [token.address, token.address], caps: [CAP, CAP] });
    await refuses("BadListing", { caps: [0n] });
    await refuses("BadListing", { caps: [2n ** 127n] });
  });
});
