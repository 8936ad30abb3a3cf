// An order's whole life: from a key to money back on the settlement layer, exact to the quantum on both sides.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { hash } from "starknet";
import { Stack, fee, fromQuantums, notional, sleep, toQuantums, until } from "./lib/keel.mjs";

const SPOT = "ETH-USDC";
const PERPETUAL = "ETH-USDC-PERP";
const FINAL_TIMEOUT_MS = 60_000;
/** Data of the exchange's Trade event: trade, price, size, taker side, maker's order, fee and gain, taker's the same. */
const TAKER_ORDER = 7;
/** A signed number as a felt. */
const felt = (value) => (value < 0n ? 2n ** 251n + 17n * 2n ** 192n + 1n + value : value);

let stack;
let alice; // buys
let bob; // sells
let market;
let perpetual;
let fills; // of the spot order: {price, size, maker fee, taker fee} in quantums
const orders = {};
const wallets = {}; // what we expect each to hold, in quantums

before(async () => {
  stack = await Stack.temporary();
  await stack.open();
}, { timeout: 180_000 });
after(() => stack?.stop());

/** Both sides of the ledger are exactly what the test expects. */
async function assertBalances(who, expected) {
  const account = await who.account();
  for (const [symbol, quantums] of Object.entries(expected)) {
    const balance = account.balances.find(({ asset }) => asset === symbol);
    assert.equal(balance?.total ?? "0", fromQuantums(quantums), `${symbol} of ${who.address}`);
  }
}

const feeRates = ({ feeMaker, feeTaker }) => [feeMaker, feeTaker].map((rate) => toQuantums(rate) / 100n);

test("a key becomes a registered account with nothing in it", async () => {
  for (const name of ["alice", "bob"]) {
    wallets[name] = { USDC: 0n, ETH: 0n };
  }
  alice = await stack.trader();
  bob = await stack.trader();
  for (const who of [alice, bob]) {
    const account = await who.account();
    assert.equal(BigInt(account.account), BigInt(who.address));
    assert.equal(BigInt(account.key), BigInt(who.publicKey));
    await assertBalances(who, wallets.alice);
  }
});

test("registering the same key again is refused", async () => {
  await assert.rejects(alice.register(), { reason: "ALREADY_REGISTERED", field: "account" });
});

test("a deposit is pending until it is final, then credited exactly once", async () => {
  const deposits = [[alice, "alice", "USDC", 20_000_000_001n], [bob, "bob", "USDC", 10_000_000_000n], [bob, "bob", "ETH", 500_000_007n]];
  for (const [who, name, symbol, units] of deposits) {
    await who.l1.mint(symbol, units);
    assert.equal(await who.l1.balance(symbol), units);
    const escrow = await who.l1.read(who.l1.bridge, "escrow", [who.l1.tokens[symbol].address]);
    const { nonce, messageHash, receipt } = await who.l1.deposit(symbol, units, who.address);

    const seen = await until("the deposit to be seen", () =>
      stack.rpc.call("bridge_getDeposit", { messageNonce: String(nonce) }).catch(() => undefined));
    const head = await who.l1.client.getBlockNumber();
    if (head < receipt.blockNumber + 2n) {
      assert.equal(seen.status, "PENDING", "not yet three blocks deep");
      await assertBalances(who, wallets[name]);
    }
    const credited = await stack.credited(nonce);
    assert.equal(credited.messageHash, messageHash);
    assert.ok(await who.l1.client.getBlockNumber() >= receipt.blockNumber + 3n, "credited before it was three blocks deep");

    wallets[name][symbol] += units * stack.quantumsPerUnit(symbol);
    await assertBalances(who, wallets[name]);
    assert.equal(await who.l1.balance(symbol), 0n);
    assert.equal(await who.l1.read(who.l1.bridge, "escrow", [who.l1.tokens[symbol].address]), escrow + units);
  }
  await sleep(1_500);
  await assertBalances(alice, wallets.alice);
  await assertBalances(bob, wallets.bob);
});

test("a signed order fills at the maker's price; both acknowledgements and balances are exact", async () => {
  market = await stack.market(SPOT);
  const tick = toQuantums(market.tickSize);
  const price = (toQuantums(market.mark) / tick) * tick;
  const [makerSize, takerSize] = ["2", "1.25"].map(toQuantums);
  const [makerRate, takerRate] = feeRates(market);

  const maker = await bob.place({
    market: SPOT, side: "SELL", type: "LIMIT", size: "2", price: fromQuantums(price), timeInForce: "POST_ONLY", clientId: "7",
  });
  assert.deepEqual([maker.state, maker.filled, maker.remaining, maker.fills], ["OPEN", "0", "2", []]);
  orders.maker = maker.order;

  // The buyer is ready to pay more; the maker's price counts.
  const taker = await alice.place({
    market: SPOT, side: "BUY", type: "LIMIT", size: "1.25", price: fromQuantums(price + 5n * tick), timeInForce: "IOC",
  });
  orders.taker = taker.order;
  const value = notional(price, takerSize);
  fills = { price, size: takerSize, makerFee: fee(value, makerRate), takerFee: fee(value, takerRate) };
  assert.equal(taker.state, "FILLED");
  assert.equal(taker.filled, "1.25");
  assert.equal(taker.quoteFilled, fromQuantums(value));
  assert.deepEqual(
    taker.fills.map((fill) => [fill.price, fill.size, fill.fee]),
    [[fromQuantums(price), "1.25", fromQuantums(fills.takerFee)]],
  );

  wallets.alice.USDC -= value + fills.takerFee;
  wallets.alice.ETH += takerSize;
  wallets.bob.USDC += value - fills.makerFee;
  wallets.bob.ETH -= takerSize;
  await assertBalances(alice, wallets.alice);
  await assertBalances(bob, wallets.bob);

  const [resting] = await bob.openOrders(SPOT);
  assert.deepEqual(
    [resting.order, resting.state, resting.filled, resting.remaining, resting.clientId],
    [maker.order, "PARTIALLY_FILLED", "1.25", fromQuantums(makerSize - takerSize), "7"],
  );
});

test("the identical message again returns the recorded outcome, not a second order", async () => {
  const message = alice.message({
    market: SPOT, side: "BUY", type: "LIMIT", size: "0.5", price: fromQuantums(fills.price), timeInForce: "IOC",
  });
  const request = await alice.signed("Order", message);
  const first = await stack.rpc.call("trade_placeOrder", request);
  const again = await stack.rpc.call("trade_placeOrder", request);
  assert.equal(first.replayed, false);
  assert.deepEqual(
    [again.replayed, again.seq, again.order, again.state, again.filled, again.quoteFilled],
    [true, first.seq, first.order, first.state, first.filled, first.quoteFilled],
  );
  const [makerRate, takerRate] = feeRates(market);
  const value = notional(fills.price, toQuantums("0.5"));
  wallets.alice.USDC -= value + fee(value, takerRate);
  wallets.alice.ETH += toQuantums("0.5");
  wallets.bob.USDC += value - fee(value, makerRate);
  wallets.bob.ETH -= toQuantums("0.5");
  await assertBalances(alice, wallets.alice);
});

test("a perpetual fill opens opposite positions of equal cost", async () => {
  perpetual = await stack.market(PERPETUAL);
  const tick = toQuantums(perpetual.tickSize);
  const price = (toQuantums(perpetual.mark) / tick) * tick;
  const size = toQuantums("1");
  const [makerRate, takerRate] = feeRates(perpetual);
  const order = { market: PERPETUAL, type: "LIMIT", size: "1", price: fromQuantums(price) };
  await bob.place({ ...order, side: "SELL", timeInForce: "POST_ONLY" });
  const taker = await alice.place({ ...order, side: "BUY", timeInForce: "IOC" });
  assert.equal(taker.state, "FILLED");

  const value = notional(price, size);
  wallets.alice.USDC -= fee(value, takerRate);
  wallets.bob.USDC -= fee(value, makerRate);
  for (const [who, expected, sign] of [[alice, wallets.alice, 1n], [bob, wallets.bob, -1n]]) {
    await assertBalances(who, expected);
    const { positions } = await who.account();
    assert.deepEqual(
      positions.map((position) => [position.market, position.size, position.cost]),
      [[PERPETUAL, fromQuantums(sign * size), fromQuantums(sign * value)]],
    );
  }
});

test("a cancel ends the rest of the order and frees what it reserved", async () => {
  const cancelled = await bob.cancel({ clientId: "7" });
  assert.equal(cancelled.count, "1");
  assert.deepEqual(await bob.openOrders(), []);
  const order = await bob.order({ order: orders.maker });
  assert.deepEqual([order.state, order.reason, order.filled], ["CANCELLED", "USER_CANCEL", "1.75"]);
  await assertBalances(bob, wallets.bob);
  const eth = (await bob.account()).balances.find(({ asset }) => asset === "ETH");
  assert.deepEqual([eth.reserved, eth.available], ["0", eth.total]);
});

let fillBlock;

test("the fill stands in a block, in a receipt, with its order hashes, price, size and fees", async () => {
  const trade = BigInt(hash.getSelectorFromName("Trade"));
  const ofTaker = ({ keys, data }) => BigInt(keys[0]) === trade && BigInt(data[TAKER_ORDER]) === BigInt(orders.taker);
  const { block, receipt } = await until("the block with the fill", async () => {
    const head = await stack.rpc.call("starknet_blockNumber");
    for (let number = head; number >= 0; number--) {
      const block = await stack.rpc.call("starknet_getBlockWithReceipts", { block_id: { block_number: number } });
      const receipt = block.transactions.map(({ receipt }) => receipt).find(({ events }) => events.some(ofTaker));
      if (receipt) return { block, receipt };
    }
  });
  fillBlock = block;
  assert.equal(receipt.execution_status, "SUCCEEDED");
  const event = receipt.events.find(ofTaker);
  assert.equal(BigInt(event.from_address), BigInt(stack.genesis.exchange));
  const marketId = stack.genesis.markets.findIndex(({ name }) => name === SPOT);
  assert.deepEqual(event.keys.map(BigInt).slice(1), [BigInt(marketId), BigInt(bob.address), BigInt(alice.address)]);
  const [, price, size, takerSide, makerOrder, makerFee, , takerOrder, takerFee] = event.data.map(BigInt);
  assert.deepEqual(
    [price, size, takerSide, makerOrder, makerFee, takerOrder, takerFee],
    [fills.price, fills.size, 0n, BigInt(orders.maker), felt(fills.makerFee), BigInt(orders.taker), fills.takerFee],
  );
});

test("its batch is CONFIRMED and the contract's root is the block's root", async () => {
  const number = fillBlock.block_number;
  const batch = await until("the batch to be CONFIRMED", async () => {
    const found = await stack.rpc.call("bridge_getBatchByBlock", { block: String(number) }).catch(() => undefined);
    return found?.status === "CONFIRMED" && found;
  }, { timeoutMs: FINAL_TIMEOUT_MS });
  assert.ok(Number(batch.firstBlock) <= number && number <= Number(batch.lastBlock));

  const settled = await alice.l1.settled();
  assert.ok(settled.block >= BigInt(batch.lastBlock));
  const served = await stack.rpc.call("bridge_getBatchByBlock", { block: String(settled.block) });
  assert.deepEqual([BigInt(served.after.root), BigInt(served.after.blockHash)], [settled.root, settled.hash]);
  const block = await stack.rpc.call("starknet_getBlockWithTxHashes", { block_id: { block_number: Number(settled.block) } });
  assert.equal(BigInt(block.new_root), settled.root);
  assert.equal(BigInt(block.block_hash), settled.hash);
});

test("a withdrawal is debited at once, claimable when its batch is CONFIRMED, and paid exactly once", async () => {
  const amount = "1234.567891";
  const units = toQuantums(amount) / stack.quantumsPerUnit("USDC");
  const recipient = alice.l1.address;
  const token = alice.l1.tokens.USDC.address;
  const { id } = await alice.withdraw("USDC", amount, recipient);
  wallets.alice.USDC -= toQuantums(amount);
  await assertBalances(alice, wallets.alice);
  await assert.rejects(alice.l1.claim("USDC", recipient, units, BigInt(id)), "paid before its batch was settled");

  const withdrawal = await until("the withdrawal to be claimable", async () => {
    const found = await stack.rpc.call("bridge_getWithdrawal", { id }).catch(() => undefined);
    return found?.claimable && found;
  }, { timeoutMs: FINAL_TIMEOUT_MS });
  assert.equal(withdrawal.amount, amount);

  const escrow = await alice.l1.read(alice.l1.bridge, "escrow", [token]);
  assert.equal(withdrawal.l1Amount, String(units));
  // Anyone may finish it, with the call data the node serves: bob does, alice is paid.
  await bob.l1.call(withdrawal.claim);
  assert.equal(await alice.l1.balance("USDC"), units);
  assert.equal(await alice.l1.read(alice.l1.bridge, "escrow", [token]), escrow - units);
  await assert.rejects(bob.l1.claim("USDC", recipient, units, BigInt(id)), "paid twice");
  assert.equal(await alice.l1.balance("USDC"), units);
});

test("what the exchange owes is what the bridge holds", async () => {
  const fees = await stack.rpc.call("trade_account", { account: stack.genesis.fee_account });
  for (const symbol of ["USDC", "ETH"]) {
    const accounts = await Promise.all([alice.account(), bob.account()]);
    // Positions carry cost out of the balances; the two of this chain are opposite.
    const owed = [...accounts, fees]
      .map(({ balances }) => toQuantums(balances.find(({ asset }) => asset === symbol)?.total ?? "0"))
      .reduce((sum, quantums) => sum + quantums, 0n);
    const escrow = await alice.l1.read(alice.l1.bridge, "escrow", [alice.l1.tokens[symbol].address]);
    assert.equal(owed, escrow * stack.quantumsPerUnit(symbol), symbol);
  }
});
