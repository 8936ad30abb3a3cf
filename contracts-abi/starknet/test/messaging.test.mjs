// Messages both ways through the appchain contract. Hashes are computed here, from the order of words in the specification.
import assert from "node:assert/strict";
import { describe } from "node:test";
import {
  CANCELLATION_DELAY, EXCHANGE, poseidon, programOutput, settlement, test, toAppchain, toStarknet, transitionFact, useChain,
} from "./harness.mjs";

const chain = useChain();
const SELECTOR = 0x5e1ec7n;
const PAYLOAD = [7n, 0n, 9n];
const NOT_SENT = [0n], SEALED = [1n], CANCELLED = [2n];
const status = async (core, hash) => [await chain().read(core, "sn_to_appchain_messages", [hash])].flat();

describe("a message to the appchain", () => {
  test("is sent by anybody, counted from 0, and hashed over its sender, receiver, nonce, selector and payload", async () => {
    const { core } = await settlement(chain());
    const account = chain().accounts[2];
    const from = BigInt(account.address);
    for (const [nonce, payload] of [[0n, PAYLOAD], [1n, PAYLOAD], [2n, []]]) {
      const message_hash = poseidon(toAppchain(from, EXCHANGE, nonce, SELECTOR, payload));
      assert.deepEqual(await status(core, message_hash), NOT_SENT);
      const { events } = await chain().send(core, "send_message_to_appchain", [EXCHANGE, SELECTOR, payload], { account });
      assert.deepEqual(events, [["MessageSent", { message_hash, from, to: EXCHANGE, selector: SELECTOR, nonce, payload }]]);
      assert.deepEqual(await status(core, message_hash), [3n, nonce]);
    }
    assert.equal(await chain().read(core, "message_nonce"), 3n);
  });

  test("is consumed once, by the batch that names it", async () => {
    const { core, settle, attest, asOperator, state } = await settlement(chain());
    const from = BigInt(chain().accounts[0].address);
    await chain().send(core, "send_message_to_appchain", [EXCHANGE, SELECTOR, PAYLOAD]);
    const message = toAppchain(from, EXCHANGE, 0n, SELECTOR, PAYLOAD);
    const { receipt } = await settle({ messagesToAppchain: [message] });
    assert.deepEqual(receipt.events[1], ["MessageToAppchainSealed", {
      message_hash: poseidon(message), from, to: EXCHANGE, selector: SELECTOR, nonce: 0n, payload: PAYLOAD,
    }]);
    assert.deepEqual(await status(core, poseidon(message)), SEALED);
    for (const action of ["start_message_cancellation", "cancel_message"]) {
      await chain().refuses("NO_MESSAGE_TO_CANCEL", core, action, [EXCHANGE, SELECTOR, PAYLOAD, 0]);
    }
    const again = programOutput(await state(), { messagesToAppchain: [message] });
    await attest(transitionFact(again, []));
    await chain().refuses("INVALID_MESSAGE_TO_CONSUME", core, "update_state", [again, []], asOperator);
  });

  test("named twice in one batch, or altered in any word, refuses the batch and stays", async () => {
    const { core, attest, asOperator, state } = await settlement(chain());
    await chain().send(core, "send_message_to_appchain", [EXCHANGE, SELECTOR, PAYLOAD]);
    const message = toAppchain(BigInt(chain().accounts[0].address), EXCHANGE, 0n, SELECTOR, PAYLOAD);
    const altered = [0, 1, 2, 3, 5].map((index) => [message.with(index, message[index] + 1n)]);
    for (const messagesToAppchain of [[message, message], ...altered]) {
      const output = programOutput(await state(), { messagesToAppchain });
      await attest(transitionFact(output, []));
      await chain().refuses("INVALID_MESSAGE_TO_CONSUME", core, "update_state", [output, []], asOperator);
    }
    assert.deepEqual(await status(core, poseidon(message)), [3n, 0n]);
  });

  test("is cancelled by its sender alone, in two steps five days apart, and then never consumed", async () => {
    const { core, attest, asOperator, state } = await settlement(chain());
    const from = BigInt(chain().accounts[0].address);
    const stranger = { account: chain().accounts[2] };
    const words = [EXCHANGE, SELECTOR, PAYLOAD, 0n];
    await chain().send(core, "send_message_to_appchain", [EXCHANGE, SELECTOR, PAYLOAD]);
    const message = toAppchain(from, EXCHANGE, 0n, SELECTOR, PAYLOAD);
    const message_hash = poseidon(message);
    const event = { message_hash, from, to: EXCHANGE, selector: SELECTOR, payload: PAYLOAD, nonce: 0n };

    await chain().refuses("NO_MESSAGE_TO_CANCEL", core, "start_message_cancellation", words, stranger);
    await chain().refuses("NO_MESSAGE_TO_CANCEL", core, "start_message_cancellation", words.with(3, 1n));
    await chain().refuses("CANCELLATION_NOT_REQUESTED", core, "cancel_message", words);
    const started = await chain().send(core, "start_message_cancellation", words);
    assert.deepEqual(started.events, [["MessageCancellationStarted", event]]);
    assert.ok(await chain().read(core, "message_cancellation_started_at", [message_hash]) > 0n);
    assert.equal(await chain().read(core, "message_cancellation_delay"), BigInt(CANCELLATION_DELAY));
    await chain().refuses("CANCELLATION_NOT_ALLOWED_YET", core, "cancel_message", words);
    await chain().pass(CANCELLATION_DELAY - 600);
    await chain().refuses("CANCELLATION_NOT_ALLOWED_YET", core, "cancel_message", words);
    assert.deepEqual(await status(core, message_hash), [3n, 0n]);
    await chain().pass(601);
    await chain().refuses("NO_MESSAGE_TO_CANCEL", core, "cancel_message", words, stranger);
    const cancelled = await chain().send(core, "cancel_message", words);
    assert.deepEqual(cancelled.events, [["MessageCanceled", event]]);
    assert.deepEqual(await status(core, message_hash), CANCELLED);
    await chain().refuses("NO_MESSAGE_TO_CANCEL", core, "cancel_message", words);

    const output = programOutput(await state(), { messagesToAppchain: [message] });
    await attest(transitionFact(output, []));
    await chain().refuses("INVALID_MESSAGE_TO_CONSUME", core, "update_state", [output, []], asOperator);
  });

  test("may still be consumed while its cancellation waits; starting again starts the delay again", async () => {
    const { core, settle } = await settlement(chain());
    const words = [EXCHANGE, SELECTOR, PAYLOAD, 0n];
    await chain().send(core, "send_message_to_appchain", [EXCHANGE, SELECTOR, PAYLOAD]);
    await chain().send(core, "start_message_cancellation", words);
    await chain().pass(CANCELLATION_DELAY);
    await chain().send(core, "start_message_cancellation", words);
    await chain().refuses("CANCELLATION_NOT_ALLOWED_YET", core, "cancel_message", words);
    const message = toAppchain(BigInt(chain().accounts[0].address), EXCHANGE, 0n, SELECTOR, PAYLOAD);
    await settle({ messagesToAppchain: [message] });
    await chain().pass(CANCELLATION_DELAY);
    await chain().refuses("NO_MESSAGE_TO_CANCEL", core, "cancel_message", words);
  });

  test("keeps the deadline it was started with, whatever delay is set meanwhile; no delay is below the minimum", async () => {
    const { core } = await settlement(chain(), { delayMin: 3600 });
    const from = BigInt(chain().accounts[0].address);
    const [first, second] = [0n, 1n].map((nonce) => [EXCHANGE, SELECTOR, PAYLOAD, nonce]);
    const message_hash = poseidon(toAppchain(from, EXCHANGE, 0n, SELECTOR, PAYLOAD));
    const allowedAt = () => chain().read(core, "message_cancellation_allowed_at", [message_hash]);
    for (const words of [first, second]) await chain().send(core, "send_message_to_appchain", words.slice(0, 3));
    assert.equal(await allowedAt(), 0n);
    await chain().send(core, "start_message_cancellation", first);
    const deadline = await allowedAt();
    assert.equal(deadline, await chain().read(core, "message_cancellation_started_at", [message_hash]) + BigInt(CANCELLATION_DELAY));

    assert.equal(await chain().read(core, "message_cancellation_delay_min"), 3600n);
    for (const delay of [0, 3599]) await chain().refuses("CANCELLATION_DELAY_TOO_SHORT", core, "set_message_cancellation_delay", [delay]);
    const { events } = await chain().send(core, "set_message_cancellation_delay", [3600]);
    assert.deepEqual(events, [["MessageCancellationDelayChanged", { old_delay: BigInt(CANCELLATION_DELAY), new_delay: 3600n }]]);
    await chain().send(core, "start_message_cancellation", second);
    await chain().pass(3600);
    await chain().refuses("CANCELLATION_NOT_ALLOWED_YET", core, "cancel_message", first);
    await chain().send(core, "cancel_message", second);
    await chain().send(core, "set_message_cancellation_delay", [2n ** 64n - 1n]);
    assert.equal(await allowedAt(), deadline);
    await chain().pass(CANCELLATION_DELAY - 3600);
    await chain().send(core, "cancel_message", first);
  });

  test("that was started under a delay that never passes is refused as such, until it is started again under another", async () => {
    const { core } = await settlement(chain());
    const words = [EXCHANGE, SELECTOR, PAYLOAD, 0n];
    await chain().send(core, "send_message_to_appchain", [EXCHANGE, SELECTOR, PAYLOAD]);
    await chain().send(core, "set_message_cancellation_delay", [2n ** 64n - 1n]);
    await chain().send(core, "start_message_cancellation", words);
    await chain().send(core, "set_message_cancellation_delay", [60]);
    await chain().refuses("CANCEL_ALLOWED_TIME_OVERFLOW", core, "cancel_message", words);
    await chain().send(core, "start_message_cancellation", words);
    await chain().pass(60);
    await chain().send(core, "cancel_message", words);
  });
});

describe("a message to Starknet", () => {
  test("is consumed by its receiver, as often as it was sent", async () => {
    const { core, settle } = await settlement(chain());
    const receiver = { account: chain().accounts[2] };
    const to = BigInt(receiver.account.address);
    const message = toStarknet(EXCHANGE, to, PAYLOAD);
    const message_hash = poseidon(message);
    const waiting = async () => [await chain().read(core, "appchain_to_sn_messages", [message_hash])].flat();
    const consume = [core, "consume_message_from_appchain", [EXCHANGE, PAYLOAD]];

    assert.deepEqual(await waiting(), [0n]);
    await chain().refuses("INVALID_MESSAGE_TO_CONSUME", ...consume, receiver);
    const { receipt } = await settle({ messagesToStarknet: [message, message, toStarknet(1, 2, [])] });
    const received = ["MessageToStarknetReceived", { message_hash, from: EXCHANGE, to, payload: PAYLOAD }];
    assert.deepEqual(receipt.events.slice(1, 3), [received, received]);
    assert.deepEqual(await waiting(), [1n, 2n]);

    await chain().refuses("INVALID_MESSAGE_TO_CONSUME", ...consume);
    await chain().refuses("INVALID_MESSAGE_TO_CONSUME", core, "consume_message_from_appchain", [EXCHANGE, [7n, 0n]], receiver);
    await chain().refuses("INVALID_MESSAGE_TO_CONSUME", core, "consume_message_from_appchain", [1n, PAYLOAD], receiver);
    const { events } = await chain().send(...consume, receiver);
    assert.deepEqual(events, [["MessageConsumed", { message_hash, from: EXCHANGE, to, payload: PAYLOAD }]]);
    await chain().send(...consume, receiver);
    await chain().refuses("INVALID_MESSAGE_TO_CONSUME", ...consume, receiver);
    assert.deepEqual(await waiting(), [0n]);
  });

  test("for an address that cannot exist is recorded and does not stop the batch", async () => {
    const { core, settle } = await settlement(chain());
    const message = toStarknet(EXCHANGE, 2n ** 251n, []);
    await settle({ messagesToStarknet: [message] });
    assert.deepEqual(await chain().read(core, "appchain_to_sn_messages", [poseidon(message)]), [1n, 1n]);
  });
});
