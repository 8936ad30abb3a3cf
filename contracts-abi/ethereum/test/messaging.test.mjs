// Messages between the layers: hashes, fees, consumption, cancellation.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { getAddress, parseEther } from "viem";
import { CANCELLATION_DELAY, HANDLE_DEPOSIT, factWithData, hashWords, programOutput, settlement, startChain, toL1, toL2 } from "./harness.mjs";

let chain;
before(async () => { chain = await startChain(); });
after(() => chain.stop());

describe("messages to L2", () => {
  test("the hash is that of a known mainnet message", async () => {
    // starknet-rs, starknet-core/src/types/msg.rs
    const { core } = await settlement(chain);
    const hash = await chain.read(core, "l1ToL2MsgHash", [
      "0xc3511006C04EF1d78af4C8E0e74Ec18A6E64Ff9e",
      0x73314940630fd6dcda0d772d4c972c4e0a9946bef9dabf4ef84eda8ef542b82n,
      HANDLE_DEPOSIT,
      [0x689ead7d814e51ed93644bc145f0754839b8dcb340027ce0c30953f38f55d7n, 0x2c68af0bb140000n, 0n],
      775628n,
    ]);
    assert.equal(hash, "0xc51a543ef9563ad2545342b390b67edfcddf9886aa36846cf70382362fc5fab3");
  });

  test("a message waits with its fee plus one, nonces count up, and the fee is 1 wei to 1 ether", async () => {
    const { core } = await settlement(chain);
    const sender = chain.accounts[0].address;
    const args = [5n, 6n, [7n, 8n]];
    await chain.refuses("L1_MSG_FEE_MUST_BE_GREATER_THAN_0", core, "sendMessageToL2", args);
    await chain.refuses("MAX_L1_MSG_FEE_EXCEEDED", core, "sendMessageToL2", args, { value: parseEther("1") + 1n });
    const fees = [1n, parseEther("1")];
    for (const [nonce, fee] of fees.entries()) {
      const { events } = await chain.send(core, "sendMessageToL2", args, { value: fee });
      assert.deepEqual(events, [["LogMessageToL2", {
        fromAddress: sender, toAddress: 5n, selector: 6n, payload: [7n, 8n], nonce: BigInt(nonce), fee,
      }]]);
      const hash = hashWords(toL2(sender, 5n, nonce, 6n, [7n, 8n]));
      assert.equal(hash, await chain.read(core, "l1ToL2MsgHash", [sender, 5n, 6n, [7n, 8n], BigInt(nonce)]));
      assert.equal(await chain.read(core, "l1ToL2Messages", [hash]), fee + 1n);
    }
    assert.equal(await chain.read(core, "l1ToL2MessageNonce"), 2n);
  });

  test("a batch consumes its messages and pays their fees to the operator; each only once", async () => {
    const { core, settle, attest, state, asOperator } = await settlement(chain);
    const sender = chain.accounts[0].address;
    for (const payload of [[7n], [], [8n, 9n]]) await chain.send(core, "sendMessageToL2", [5n, 6n, payload], { value: 100n });
    const messagesToL2 = [toL2(sender, 5n, 2n, 6n, [8n, 9n]), toL2(sender, 5n, 0n, 6n, [7n])];
    const { receipt } = await settle({ messagesToL2 });
    const consumed = (payload, nonce) =>
      ["ConsumedMessageToL2", { fromAddress: sender, toAddress: 5n, selector: 6n, payload, nonce }];
    assert.deepEqual(receipt.events.slice(1, 3), [consumed([8n, 9n], 2n), consumed([7n], 0n)]);
    assert.equal(await chain.client.getBalance({ address: core.address }), 100n);
    const left = await Promise.all([0, 1, 2].map((nonce) =>
      chain.read(core, "l1ToL2Messages", [hashWords(toL2(sender, 5n, nonce, 6n, [[7n], [], [8n, 9n]][nonce]))])));
    assert.deepEqual(left, [0n, 101n, 0n]);

    const again = programOutput(await state(), { messagesToL2: messagesToL2.slice(0, 1) });
    await attest(factWithData(again, [1n]));
    await chain.refuses("INVALID_MESSAGE_TO_CONSUME", core, "updateStateWithData", [again, [1n]], asOperator);
  });

  test("a message listed twice in one batch refuses the batch", async () => {
    const { core, attest, state, asOperator } = await settlement(chain);
    await chain.send(core, "sendMessageToL2", [5n, 6n, []], { value: 1n });
    const message = toL2(chain.accounts[0].address, 5n, 0n, 6n, []);
    const output = programOutput(await state(), { messagesToL2: [message, message] });
    await attest(factWithData(output, [1n]));
    await chain.refuses("INVALID_MESSAGE_TO_CONSUME", core, "updateStateWithData", [output, [1n]], asOperator);
  });
});

describe("cancellation", () => {
  test("start, wait five days, cancel; a batch that holds the cancelled message is then refused", async () => {
    const { core, attest, state, asOperator } = await settlement(chain);
    const message = [5n, 6n, [7n], 0n];
    await chain.refuses("NO_MESSAGE_TO_CANCEL", core, "startL1ToL2MessageCancellation", message);
    await chain.send(core, "sendMessageToL2", message.slice(0, 3), { value: 9n });
    const hash = hashWords(toL2(chain.accounts[0].address, 5n, 0n, 6n, [7n]));

    await chain.refuses("MESSAGE_CANCELLATION_NOT_REQUESTED", core, "cancelL1ToL2Message", message);
    await chain.refuses("NO_MESSAGE_TO_CANCEL", core, "startL1ToL2MessageCancellation", message, { account: chain.accounts[2] });
    const started = await chain.send(core, "startL1ToL2MessageCancellation", message);
    assert.equal(started.events[0][0], "MessageToL2CancellationStarted");
    const { timestamp } = await chain.client.getBlock({ blockNumber: started.blockNumber });
    assert.equal(await chain.read(core, "l1ToL2MessageCancellations", [hash]), timestamp);
    await chain.refuses("MESSAGE_CANCELLATION_NOT_ALLOWED_YET", core, "cancelL1ToL2Message", message);
    await chain.pass(CANCELLATION_DELAY - 60);
    await chain.refuses("MESSAGE_CANCELLATION_NOT_ALLOWED_YET", core, "cancelL1ToL2Message", message);
    await chain.pass(60);
    const cancelled = await chain.send(core, "cancelL1ToL2Message", message);
    assert.equal(cancelled.events[0][0], "MessageToL2Canceled");
    assert.equal(await chain.read(core, "l1ToL2Messages", [hash]), 0n);
    await chain.refuses("NO_MESSAGE_TO_CANCEL", core, "cancelL1ToL2Message", message);

    const output = programOutput(await state(), { messagesToL2: [toL2(chain.accounts[0].address, 5n, 0n, 6n, [7n])] });
    await attest(factWithData(output, [1n]));
    await chain.refuses("INVALID_MESSAGE_TO_CONSUME", core, "updateStateWithData", [output, [1n]], asOperator);
  });

  test("starting again starts the wait again, and a batch may still consume the message meanwhile", async () => {
    const { core, settle } = await settlement(chain);
    const message = [5n, 6n, [], 0n];
    await chain.send(core, "sendMessageToL2", message.slice(0, 3), { value: 9n });
    await chain.send(core, "startL1ToL2MessageCancellation", message);
    await chain.pass(CANCELLATION_DELAY + 1);
    await chain.send(core, "startL1ToL2MessageCancellation", message);
    await chain.refuses("MESSAGE_CANCELLATION_NOT_ALLOWED_YET", core, "cancelL1ToL2Message", message);
    await settle({ messagesToL2: [toL2(chain.accounts[0].address, 5n, 0n, 6n, [])] });
    await chain.pass(CANCELLATION_DELAY + 1);
    await chain.refuses("NO_MESSAGE_TO_CANCEL", core, "cancelL1ToL2Message", message);
  });

  test("keeps the deadline it was started with, whatever delay is set meanwhile; no delay is below the minimum", async () => {
    const { core } = await settlement(chain, { delayMin: 3600n });
    const [first, second] = [0n, 1n].map((nonce) => [5n, 6n, [], nonce]);
    const hash = (nonce) => hashWords(toL2(chain.accounts[0].address, 5n, nonce, 6n, []));
    const allowedAt = async (nonce) => chain.read(core, "messageCancellationAllowedAt", [hash(nonce)]);
    for (const message of [first, second]) await chain.send(core, "sendMessageToL2", message.slice(0, 3), { value: 9n });
    assert.equal(await allowedAt(0n), 0n);
    await chain.send(core, "startL1ToL2MessageCancellation", first);
    const deadline = await allowedAt(0n);
    assert.equal(deadline, (await chain.read(core, "l1ToL2MessageCancellations", [hash(0n)])) + BigInt(CANCELLATION_DELAY));

    await chain.refuses("CANCELLATION_DELAY_TOO_SHORT", core, "setMessageCancellationDelay", [3599n]);
    await chain.refuses("CANCELLATION_DELAY_TOO_SHORT", core, "setMessageCancellationDelay", [0n]);
    await chain.send(core, "setMessageCancellationDelay", [3600n]);
    await chain.send(core, "startL1ToL2MessageCancellation", second);
    await chain.pass(3600);
    await chain.refuses("MESSAGE_CANCELLATION_NOT_ALLOWED_YET", core, "cancelL1ToL2Message", first);
    await chain.send(core, "cancelL1ToL2Message", second);
    await chain.send(core, "setMessageCancellationDelay", [2n ** 256n - 1n]);
    assert.equal(await allowedAt(0n), deadline);
    await chain.pass(CANCELLATION_DELAY - 3600);
    await chain.send(core, "cancelL1ToL2Message", first);
  });

  test("a delay that can never pass is refused as such", async () => {
    const { core } = await settlement(chain);
    const message = [5n, 6n, [], 0n];
    await chain.send(core, "setMessageCancellationDelay", [2n ** 256n - 1n]);
    await chain.send(core, "sendMessageToL2", message.slice(0, 3), { value: 9n });
    await chain.send(core, "startL1ToL2MessageCancellation", message);
    await chain.refuses("CANCEL_ALLOWED_TIME_OVERFLOW", core, "cancelL1ToL2Message", message);
  });
});

describe("messages to L1", () => {
  test("only the addressee consumes, as often as the message was sent", async () => {
    const { core, settle } = await settlement(chain);
    const [to, stranger] = [chain.accounts[3], chain.accounts[4]];
    const message = toL1(77n, to.address, [1n, 2n, 3n]);
    const hash = await chain.read(core, "l2ToL1MsgHash", [77n, to.address, [1n, 2n, 3n]]);
    assert.equal(hash, hashWords(message));
    const consume = [core, "consumeMessageFromL2", [77n, [1n, 2n, 3n]]];
    await chain.refuses("INVALID_MESSAGE_TO_CONSUME", ...consume, { account: to });

    const { receipt } = await settle({ messagesToL1: [message, toL1(77n, stranger.address, []), message] });
    const logged = (toAddress, payload) => ["LogMessageToL1", { fromAddress: 77n, toAddress, payload }];
    assert.deepEqual(receipt.events.slice(1, 4), [
      logged(getAddress(to.address), [1n, 2n, 3n]), logged(getAddress(stranger.address), []), logged(getAddress(to.address), [1n, 2n, 3n]),
    ]);
    assert.equal(await chain.read(core, "l2ToL1Messages", [hash]), 2n);
    await chain.refuses("INVALID_MESSAGE_TO_CONSUME", ...consume, { account: stranger });
    await chain.refuses("INVALID_MESSAGE_TO_CONSUME", core, "consumeMessageFromL2", [77n, [1n, 2n]], { account: to });
    await chain.refuses("INVALID_MESSAGE_TO_CONSUME", core, "consumeMessageFromL2", [78n, [1n, 2n, 3n]], { account: to });
    for (const left of [1n, 0n]) {
      const { events } = await chain.send(...consume, { account: to });
      assert.deepEqual(events, [["ConsumedMessageToL1", { fromAddress: 77n, toAddress: to.address, payload: [1n, 2n, 3n] }]]);
      assert.equal(await chain.read(core, "l2ToL1Messages", [hash]), left);
    }
    await chain.refuses("INVALID_MESSAGE_TO_CONSUME", ...consume, { account: to });
  });
});
