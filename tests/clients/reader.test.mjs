// What others read: balances by somebody who has only the Cairo source, the Starknet RPC through starknet.js in both versions,
// and typed data for wallets that do not build it themselves.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { RpcProvider, shortString } from "starknet";
import { locate, signed } from "./lib/cairo_storage.mjs";
import { MESSAGES, Stack, fromQuantums, messageHash, toQuantums, typedData, until } from "./lib/keel.mjs";

const MARKET = "ETH-USDC";
const PERPETUAL = "ETH-USDC-PERP";
const VERSIONS = [["v0_9", "0.9.0"], ["v0_10", "0.10.2"]];

let stack;
let alice;
let bob;
let settledBlock; // a block at or after the last trade of this test

before(async () => {
  stack = await Stack.temporary();
  await stack.open();
  [alice, bob] = await Promise.all([stack.trader({ USDC: "30000.000001" }), stack.trader({ USDC: "5000", ETH: "3.00000001" })]);
  for (const market of [MARKET, PERPETUAL]) {
    const { mark, tickSize } = await stack.market(market);
    const tick = toQuantums(tickSize);
    const order = { market, type: "LIMIT", size: "1", price: fromQuantums((toQuantums(mark) / tick) * tick) };
    await bob.place({ ...order, side: "SELL", timeInForce: "POST_ONLY" });
    assert.equal((await alice.place({ ...order, side: "BUY", timeInForce: "IOC" })).state, "FILLED");
  }
  const { height } = await stack.status();
  settledBlock = Number(height) + 2;
  await until("the trades to be in a block", async () => Number((await stack.status()).block?.height ?? -1) >= settledBlock);
}, { timeout: 180_000 });
after(() => stack?.stop());

const provider = (path) => new RpcProvider({ nodeUrl: stack.url.replace(/\/rpc$/, `/rpc/${path[0]}`), specVersion: path[1] });
const storageAt = (slot, path = VERSIONS[0]) =>
  provider(path).getStorageAt(stack.genesis.exchange, slot, settledBlock).then((answer) => answer.value ?? answer);

test("a reader who knows only the Cairo source finds every balance with starknet_getStorageAt", async () => {
  for (const who of [alice, bob]) {
    const { balances } = await who.account();
    assert.ok(balances.length >= 2);
    for (const { asset, total } of balances) {
      const id = stack.genesis.assets.findIndex(({ symbol }) => symbol === asset);
      const { slot, decode } = locate("balances", [who.address, id]);
      for (const version of VERSIONS) {
        assert.equal(fromQuantums(signed(decode(await storageAt(slot, version)))), total, `${asset} of ${who.address}`);
      }
    }
  }
});

test("the same reader finds keys, positions, totals and the phase", async () => {
  const market = stack.genesis.markets.findIndex(({ name }) => name === PERPETUAL);
  for (const who of [alice, bob]) {
    const key = locate("accounts", [who.address], "key");
    assert.equal(key.decode(await storageAt(key.slot)), BigInt(who.publicKey));
    const [position] = (await who.account()).positions;
    for (const field of ["size", "cost"]) {
      const { slot, decode } = locate("positions", [who.address, market], field);
      assert.equal(fromQuantums(decode(await storageAt(slot))), position[field]);
    }
  }
  const deposited = locate("totals", [0], "deposited");
  assert.equal(fromQuantums(deposited.decode(await storageAt(deposited.slot))), "35000.000001");
  const phase = locate("phase", [], "phase");
  assert.equal(phase.decode(await storageAt(phase.slot)), 4n, "4 = OPEN");
});

for (const version of VERSIONS) {
  test(`starknet.js reads blocks, transactions, receipts, state and events at /rpc/${version[0]}`, async () => {
    const chain = provider(version);
    assert.match(await chain.getSpecVersion(), new RegExp(`^${version[1].split(".").slice(0, 2).join("\\.")}`));
    assert.equal(shortString.decodeShortString(await chain.getChainId()), stack.genesis.chain_id);
    assert.ok(await chain.getBlockNumber() >= settledBlock);
    assert.equal(await chain.getSyncingStats(), false);
    const latest = await chain.getBlockLatestAccepted();
    assert.ok(latest.block_number >= settledBlock);

    const { events } = await chain.getEvents({
      address: stack.genesis.exchange, from_block: { block_number: 0 }, to_block: { block_number: settledBlock }, chunk_size: 1000, keys: [],
    });
    assert.ok(events.length > 0);
    const trade = events.find(({ keys }) => keys.some((key) => BigInt(key) === BigInt(alice.address)) && keys.length === 4);
    assert.ok(trade, "the fill of alice is not among the events");

    const id = trade.block_number;
    const [hashes, full, receipts, update] = await Promise.all([
      chain.getBlockWithTxHashes(id), chain.getBlockWithTxs(id), chain.getBlockWithReceipts(id), chain.getStateUpdate(id),
    ]);
    assert.equal(hashes.block_hash, trade.block_hash);
    assert.deepEqual(full.transactions.map(({ transaction_hash }) => transaction_hash), hashes.transactions);
    assert.deepEqual(receipts.transactions.map(({ receipt }) => receipt.transaction_hash), hashes.transactions);
    assert.equal(update.new_root, hashes.new_root);
    assert.equal(update.block_hash, hashes.block_hash);

    const transaction = await chain.getTransactionByHash(trade.transaction_hash);
    assert.deepEqual([transaction.type, transaction.version, BigInt(transaction.sender_address)], ["INVOKE", "0x3", BigInt(stack.genesis.operator)]);
    const receipt = await chain.getTransactionReceipt(trade.transaction_hash);
    assert.ok(receipt.isSuccess());
    assert.equal(receipt.block_number ?? receipt.value.block_number, id);
    assert.ok(BigInt(await chain.getNonceForAddress(stack.genesis.operator, settledBlock)) > 0n);
    await assert.rejects(chain.getBlockWithTxHashes(99_999_999), /24|[Bb]lock not found/);
  });
}

test("trade_typedData and typed data built without the node have one hash for every message", async () => {
  const fields = {
    Register: { key: alice.publicKey, template: "keel" },
    Order: { market: MARKET, side: "BUY", type: "LIMIT", size: "1.5", price: "1800.25" },
    CancelOrder: { clientId: "7" },
    CancelAll: { market: "ALL" },
    Withdraw: { asset: "USDC", amount: "12.5", recipient: "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266" },
  };
  for (const [type, own] of Object.entries(fields)) {
    assert.ok(MESSAGES[type]);
    const message = alice.message(own);
    const served = await stack.rpc.call("trade_typedData", { type, message });
    assert.equal(messageHash(served, alice.address), alice.hash(type, message), type);
    assert.deepEqual(served.types[type], typedData(stack.genesis.chain_id, type, message).types[type]);
    // Any wallet can sign what the node served.
    assert.equal((await alice.signer.signMessage(served)).r > 0n, true);
  }
});

test("an order signed over served typed data is accepted", async () => {
  const message = alice.message({ market: MARKET, side: "BUY", type: "LIMIT", size: "0.1", price: "1000" });
  const served = await stack.rpc.call("trade_typedData", { type: "Order", message });
  const answer = await stack.rpc.call("trade_placeOrder", { message, signature: await alice.sign(served) });
  assert.equal(answer.state, "OPEN");
  assert.equal(BigInt(answer.order), BigInt(alice.hash("Order", message)));
});
