// The whole exchange as its users use it, on one node: a maker, a cautious trader, a bot with a session key, somebody leveraged to the
// limit and the insurance fund. Prices are the test's own. Every account is worked out again from its history pages, to the quantum; at
// the end the journal of all of it is replayed into a second node.
//
// A new chain starts with an incident, so liquidations and triggers wait for the grace after OPEN: 120 s are most of this file's time.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { ec, hash } from "starknet";
import { Stack, fromQuantums, randomPrivateKey, sleep, toQuantums, until } from "./lib/keel.mjs";
import { Prices } from "./lib/prices.mjs";
import { FundingSamples, Statement, wholeHistory } from "./lib/statement.mjs";
import { BookFollower, Connection } from "./lib/stream.mjs";

const SPOT = "ETH-USDC";
const ETH = "ETH-USDC-PERP";
const BTC = "BTC-USDC-PERP";
/** Shortest grace after OPEN in which nobody is liquidated and no order triggered. [spec safe-mode, Reopening] */
const GRACE_MS = 120_000;
const SAMPLE_MS = 5_000;
const FINAL_TIMEOUT_MS = 60_000;

const FUNDS = {
  house: { USDC: "200000" },
  maker: { USDC: "100000" },
  rival: { USDC: "100000" },
  taker: { USDC: "100000" },
  retail: { USDC: "5000" },
  owner: { USDC: "10000", ETH: "2" },
  holder: { USDC: "10000" },
  gambler: { USDC: "1000" },
};
const INSURANCE = "20000";

let stack;
let prices;
let people; // by the names of FUNDS
let insurance;
let openedAt;
let listening; // a connection
let funding; // what it heard

before(async () => {
  stack = await Stack.temporary();
  await stack.open();
  openedAt = Number((await stack.status()).since);
  insurance = stack.genesis.insurance_account;
  listening = await Connection.open(stack.url);
  funding = await FundingSamples.listen(listening, [ETH, BTC]);
  prices = await Prices.takeOver(stack);
  for (const [market, price] of [[SPOT, "3000"], [ETH, "3000"], [BTC, "60000"]]) await prices.set(market, price);
  const [seed] = await Promise.all([seedInsurance(), Promise.all(Object.entries(FUNDS).map(async ([name, funds]) => [name, await stack.trader(funds)]))
    .then((entries) => { people = Object.fromEntries(entries); })]);
  await stack.credited(seed.nonce);
}, { timeout: 180_000 });
after(async () => {
  await prices?.stop();
  listening?.socket.terminate();
  await stack?.stop();
});

/** Anybody may: money on the settlement layer, sent to the fund's address. */
async function seedInsurance() {
  const donor = await stack.person();
  const units = toQuantums(INSURANCE) / stack.quantumsPerUnit("USDC");
  await donor.mint("USDC", units);
  return donor.deposit("USDC", units, insurance);
}

const accountOf = (account) => stack.rpc.call("trade_account", { account });
const limit = (market, side, size, price, more = {}) => ({ market, side, type: "LIMIT", size, price, ...more });
const rest = async (who, market, side, size, price, more) => {
  const placed = await who.place(limit(market, side, size, price, { timeInForce: "POST_ONLY", ...more }));
  assert.equal(placed.state, "OPEN");
  return placed.order;
};
const take = (who, market, side, size, price, timeInForce = "IOC") => who.place(limit(market, side, size, price, { timeInForce }));
const fillsOf = (placed) => placed.fills.map(({ price, size }) => [price, size]);
const look = async (who, order, fields = ["state", "reason", "filled"]) => {
  const found = await who.order({ order });
  return fields.map((field) => found[field]);
};
const total = ({ balances }, symbol = "USDC") => toQuantums(balances.find(({ asset }) => asset === symbol)?.total ?? "0");

/** Nothing but its history pages explains everything these accounts hold. */
async function assertExplained(...names) {
  for (const name of names) {
    const who = people[name];
    // A sample may arrive on the stream after the answer that it changed.
    await until(`the statement of ${name} to agree`, async () => {
      (await Statement.of(stack, who.address, FUNDS[name], funding)).assertIs(await who.account());
      return true;
    }, { timeoutMs: 3_000, everyMs: 500 }).catch(({ cause }) => { throw cause; });
  }
}

async function graceOver() {
  const left = openedAt + GRACE_MS - Date.now();
  if (left > 0) await sleep(left);
  await until("the grace to end", async () => BigInt((await accountOf(insurance)).ts) > BigInt(openedAt + GRACE_MS));
}

let heldFrom;

test("a position is held long enough to pay funding", async () => {
  const { house, holder } = people;
  await rest(house, ETH, "SELL", "2", "3000");
  assert.equal((await take(holder, ETH, "BUY", "2", "3000")).state, "FILLED");
  heldFrom = Date.now();
});

test("a professional maker quotes in a batch, and the stream shows the book that is", { timeout: 60_000 }, async () => {
  const { maker } = people;
  const connection = await Connection.open(stack.url);
  const book = new BookFollower(BTC);
  await book.follow(connection);
  const quotes = [1, 2, 3, 4, 5].flatMap((step) => [["BUY", 60_000 - 10 * step], ["SELL", 60_000 + 10 * step]]);
  const results = await maker.batch(quotes.map(([side, price], index) =>
    ["Order", limit(BTC, side, "0.1", String(price), { timeInForce: "POST_ONLY", clientId: String(index + 1) })]));
  assert.deepEqual(results.map(({ type, result }) => [type, result?.state]), quotes.map(() => ["Order", "OPEN"]));

  await quoteAndTrade(results.map(({ result }) => result.order));

  const asked = await stack.rpc.call("market_book", { market: BTC, depth: "50" });
  await until("the stream's book to be the node's", () => {
    assert.deepEqual(book.levels, { bids: asked.bids, asks: asked.asks });
    return true;
  }, { timeoutMs: 5_000 });
  assert.deepEqual(asked.asks[0], { price: "60020", size: "0.07", orders: "1" });
  assert.ok(book.deltas >= 5);

  const [first, second] = [await maker.cancelAll(BTC), await maker.cancelAll()];
  assert.deepEqual([first.count, second.count, await maker.openOrders()], ["9", "0", []]);
  await until("the stream's book to be the rival's", () => book.levels.asks.length === 0 && book.levels.bids.length === 1);
  await connection.close();
  await assertExplained("maker", "rival", "taker");
});

/** Queue priority, fill or kill, post only: on the best two orders of the batch. */
async function quoteAndTrade([bid, ask]) {
  const { maker, rival, taker } = people;
  const rivalBid = await rest(rival, BTC, "BUY", "0.1", "59990");
  const smaller = await maker.modify(bid, "59990", "0.06");
  assert.deepEqual([smaller.order, smaller.state, smaller.size], [bid, "OPEN", "0.06"]);
  assert.deepEqual(fillsOf(await take(taker, BTC, "SELL", "0.06", "59990")), [["59990", "0.06"]]);
  assert.deepEqual(await look(maker, bid), ["FILLED", "TRADE", "0.06"], "smaller keeps its place");
  assert.deepEqual((await look(rival, rivalBid, ["state", "filled"])), ["OPEN", "0"]);

  const rivalAsk = await rest(rival, BTC, "SELL", "0.1", "60010");
  const larger = await maker.modify(ask, "60010", "0.12");
  assert.deepEqual([larger.order, larger.state, larger.size], [ask, "OPEN", "0.12"]);
  assert.deepEqual(fillsOf(await take(taker, BTC, "BUY", "0.1", "60010")), [["60010", "0.1"]]);
  assert.deepEqual(await look(rival, rivalAsk), ["FILLED", "TRADE", "0.1"], "larger gives its place up");
  assert.deepEqual(await look(maker, ask, ["state", "filled"]), ["OPEN", "0"]);

  const before = await taker.account();
  const killed = await take(taker, BTC, "BUY", "1", "60050", "FOK");
  assert.deepEqual([killed.state, killed.reason, killed.filled, killed.fills], ["CANCELLED", "FILL_OR_KILL", "0", []]);
  const untouched = await taker.account();
  assert.deepEqual([untouched.balances, untouched.positions.map(({ size }) => size)], [before.balances, before.positions.map(({ size }) => size)]);
  const whole = await take(taker, BTC, "BUY", "0.15", "60020", "FOK");
  assert.deepEqual([whole.state, ...fillsOf(whole)], ["FILLED", ["60010", "0.12"], ["60020", "0.03"]]);

  await assert.rejects(maker.place(limit(BTC, "BUY", "0.1", "60020", { timeInForce: "POST_ONLY" })), { reason: "POST_ONLY_WOULD_CROSS" });
  const again = await maker.batch([
    ["Order", limit(BTC, "SELL", "0.1", "59990", { timeInForce: "POST_ONLY" })],
    ["Order", limit(BTC, "BUY", "0.05", "59900", { timeInForce: "POST_ONLY" })],
  ]);
  assert.deepEqual([again[0].error.data.reason, again[1].result.state], ["POST_ONLY_WOULD_CROSS", "OPEN"]);
}

test("a dead man's switch cancels when its time has come, and not before", { timeout: 30_000 }, async () => {
  const { maker } = people;
  const order = await rest(maker, BTC, "BUY", "0.1", "59000");
  await assert.rejects(maker.scheduleCancel(Date.now() + 100), { reason: "SCHEDULE_TOO_SOON" });
  const at = Date.now() + 2_000;
  assert.equal((await maker.scheduleCancel(at)).at, String(at));
  assert.deepEqual(await look(maker, order, ["state"]), ["OPEN"]);
  await until("the switch to fire", async () => (await look(maker, order, ["state"]))[0] === "CANCELLED");
  const over = await maker.order({ order });
  assert.deepEqual([over.reason, over.initiator], ["SCHEDULED_CANCEL", "ENGINE"]);
  assert.ok(Number(over.ts) >= at && Number(over.ts) < at + 1_000, `at ${over.ts}, for ${at}`);
});

test("a session key trades within its terms, never moves money, and ends when revoked", { timeout: 30_000 }, async () => {
  const { owner, taker } = people;
  const secret = randomPrivateKey();
  const key = ec.starkCurve.getStarkKey(secret);
  const send = (method, type, fields) => stack.rpc.call(method, owner.signedBySession(secret, type, fields));
  const place = (market, size, price) => send("trade_placeOrder", "Order", limit(market, "BUY", size, price));
  await assert.rejects(place(SPOT, "0.1", "2900"), { reason: "UNKNOWN_SESSION_KEY" });
  await owner.grant(key, { expiry: String(Date.now() + 3_600_000), markets: [SPOT], maxOrderNotional: "500" });
  const { sessionKeys } = await owner.account();
  assert.deepEqual(sessionKeys.map((known) => [BigInt(known.key), known.markets, known.maxOrderNotional]), [[BigInt(key), [SPOT], "500"]]);

  const before = await owner.account();
  const placed = await place(SPOT, "0.1", "2900");
  assert.equal(placed.state, "OPEN");
  await assert.rejects(place(SPOT, "0.2", "2900"), { reason: "SESSION_KEY_SCOPE" });
  await assert.rejects(place("BTC-USDC", "0.001", "50000"), { reason: "SESSION_KEY_SCOPE" });
  await assert.rejects(place(ETH, "0.1", "2900"), { reason: "SESSION_KEY_SCOPE" });
  await assert.rejects(send("trade_withdraw", "Withdraw", { asset: "USDC", amount: "1", recipient: owner.l1.address }), { reason: "SESSION_KEY_FORBIDDEN" });
  await assert.rejects(send("trade_transfer", "Transfer", { recipient: taker.address, asset: "USDC", amount: "1" }), { reason: "SESSION_KEY_FORBIDDEN" });
  await assert.rejects(send("trade_revokeSessionKey", "RevokeSessionKey", { key }), { reason: "SESSION_KEY_FORBIDDEN" });
  assert.equal(total(await owner.account()), total(before));
  assert.equal((await send("trade_cancelOrder", "CancelOrder", { order: placed.order })).count, "1");

  const left = await place(SPOT, "0.1", "2900");
  await owner.revoke(key);
  await assert.rejects(place(SPOT, "0.1", "2900"), { reason: "UNKNOWN_SESSION_KEY" });
  await assert.rejects(send("trade_cancelOrder", "CancelOrder", { order: left.order }), { reason: "UNKNOWN_SESSION_KEY" });
  assert.deepEqual((await owner.account()).sessionKeys, []);
  assert.deepEqual(await look(owner, left.order, ["state"]), ["OPEN"], "what it placed is the account's");
  assert.equal((await owner.cancel({ order: left.order })).count, "1");
});

test("a transfer moves the amount to the quantum, and both sides see it in their history", { timeout: 30_000 }, async () => {
  const { owner, taker } = people;
  const sums = async () => [total(await owner.account()), total(await taker.account())];
  const [from, to] = await sums();
  const amount = "123.45678901";
  const { hash: id, seq } = await owner.transfer(taker.address, "USDC", amount);
  assert.deepEqual(await sums(), [from - toQuantums(amount), to + toQuantums(amount)]);
  await owner.transfer(taker.address, "ETH", "0.00000001");
  await assert.rejects(owner.transfer(owner.address, "USDC", "1"), { reason: "BAD_RECIPIENT", field: "recipient" });
  for (const account of [owner.address, taker.address]) {
    const { transfers } = await stack.rpc.call("trade_transferHistory", { account });
    assert.deepEqual(transfers.map((row) => [row.asset, row.amount]), [["ETH", "0.00000001"], ["USDC", amount]]);
    const [, row] = transfers;
    assert.deepEqual(
      [BigInt(row.account), BigInt(row.recipient), row.hash, row.seq], [BigInt(owner.address), BigInt(taker.address), id, seq],
    );
  }
  await assertExplained("owner", "taker");
});

test("a transfer of more than there is names the amount", async () => {
  const { owner, taker } = people;
  await assert.rejects(owner.transfer(taker.address, "USDC", "1000000"), { reason: "INSUFFICIENT_BALANCE", field: "amount" });
});

test("funding accrues in samples and is paid when the position changes", { timeout: 60_000 }, async () => {
  const { house, holder } = people;
  await sleep(Math.max(0, heldFrom + 2 * SAMPLE_MS + 1_000 - Date.now()));
  const before = await holder.account();
  const [{ entryFundingIndex: entry }] = before.positions;
  await rest(house, ETH, "SELL", "1", "3000");
  const more = await take(holder, ETH, "BUY", "1", "3000");
  assert.equal(more.state, "FILLED");
  const now = await holder.account();
  const [{ entryFundingIndex: index, size }] = now.positions;
  assert.equal(size, "3");
  assert.ok(toQuantums(index) > toQuantums(entry), `the index stayed at ${index}`);
  const paid = 2n * (toQuantums(index) - toQuantums(entry));
  assert.equal(total(now), total(before) - toQuantums(more.fills[0].fee) - paid, "a long pays 2 x the change of the index");

  const samples = funding.samples[ETH].filter(({ ts }) => Number(ts) >= heldFrom);
  assert.ok(samples.length >= 2, `${samples.length} samples`);
  samples.slice(1).forEach((sample, n) => {
    assert.ok(Number(sample.ts) - Number(samples[n].ts) >= SAMPLE_MS);
    assert.ok(toQuantums(sample.index) > toQuantums(samples[n].index));
    assert.equal(sample.rate, "0.0001", "no premium: the interest alone");
  });
  // History keeps the last sample of each minute.
  const [newest] = (await stack.rpc.call("market_fundingHistory", { market: ETH })).funding;
  assert.ok(funding.samples[ETH].some(({ ts, index: at, rate }) => [ts, at, rate].join() === [newest.accrued, newest.index, newest.rate].join()));
  await assertExplained("holder", "house");
});

test("a cautious trader's stop closes the position at its price, and the take profit then finds nothing to do", { timeout: 180_000 }, async () => {
  const { house, retail } = people;
  await graceOver();
  await prices.set(ETH, "3000");
  await rest(house, ETH, "SELL", "1", "3000");
  const entry = await take(retail, ETH, "BUY", "1", "3000");
  const trigger = (type, triggerPrice, price) =>
    retail.place({ market: ETH, side: "SELL", type, size: "1", price, triggerPrice, reduceOnly: true });
  const stop = await trigger("STOP_MARKET", "2950", "0");
  const profit = await trigger("TAKE_PROFIT_LIMIT", "3100", "3100");
  assert.deepEqual([stop.state, profit.state], ["UNTRIGGERED", "UNTRIGGERED"]);
  const bid = await rest(house, ETH, "BUY", "4", "2940");

  await prices.set(ETH, "2950.01");
  await sleep(600);
  assert.deepEqual(await look(retail, stop.order, ["state"]), ["UNTRIGGERED"], "not at one tick above");
  await prices.set(ETH, "2950");
  await until("the stop to fire", async () => (await look(retail, stop.order, ["state"]))[0] === "FILLED");
  const [account, stopped] = [await retail.account(), await retail.order({ order: stop.order })];
  assert.deepEqual([account.positions, fillsOf(stopped)], [[], [["2940", "1"]]]);
  assert.deepEqual(await look(house, bid), ["PARTIALLY_FILLED", "TRADE", "1"]);
  assert.deepEqual(await look(retail, profit.order, ["state"]), ["UNTRIGGERED"], "it reserves nothing: it waits on");

  await prices.set(ETH, "3100");
  await until("the take profit to end", async () => (await look(retail, profit.order, ["state"]))[0] === "CANCELLED");
  assert.deepEqual(await look(retail, profit.order, ["reason", "initiator", "filled"]), ["REDUCE_ONLY", "RISK", "0"]);
  assert.deepEqual((await retail.account()).positions, [], "a reduce-only order opened a position");

  const { orders } = await stack.rpc.call("trade_orderHistory", { account: retail.address });
  assert.deepEqual(
    orders.map(({ order, state, reason, filled }) => [order, state, reason, filled]),
    [[profit.order, "CANCELLED", "REDUCE_ONLY", "0"], [stop.order, "FILLED", "TRADE", "1"], [entry.order, "FILLED", "TRADE", "1"]],
  );
  assert.ok(orders.every(({ openedSeq, seq }) => BigInt(openedSeq) <= BigInt(seq)));
  const { fills } = await stack.rpc.call("trade_fillHistory", { account: retail.address });
  assert.deepEqual(
    fills.map(({ order, side, price, size, realizedPnl, maker }) => [order, side, price, size, realizedPnl, maker]),
    [[stop.order, "SELL", "2940", "1", "-60", false], [entry.order, "BUY", "3000", "1", "0", false]],
  );
  await house.cancelAll();
  await assertExplained("retail", "house");
});

let liquidation; // seq of the last step

test("an account beyond its margin is liquidated in steps, the fund takes the rest over and unwinds it", { timeout: 180_000 }, async () => {
  const { house, gambler } = people;
  await graceOver();
  await prices.set(ETH, "3000");
  await rest(house, ETH, "SELL", "15", "3000");
  assert.equal((await take(gambler, ETH, "BUY", "15", "3000")).state, "FILLED");
  const hopeful = await rest(gambler, ETH, "BUY", "0.01", "2900");
  const bid = await rest(house, ETH, "BUY", "6", "2960");
  const fundBefore = total(await accountOf(insurance));
  assert.ok(fundBefore >= toQuantums(INSURANCE), "the fund is what was deposited, and remainders");

  await prices.set(ETH, "2964");
  await until("the first part to be closed", async () => (await look(house, bid, ["state"]))[0] === "FILLED");
  assert.deepEqual(await look(gambler, hopeful, ["state", "reason", "initiator"]), ["CANCELLED", "LIQUIDATION", "LIQUIDATION"]);
  await prices.set(ETH, "2955");
  const done = await until("the fund to take over", async () => {
    const found = await receipts();
    return found[0].decision.step === "TAKE_OVER" && found;
  });
  liquidation = done[0].seq;
  const steps = done.map(({ decision }) => decision.step).reverse();
  assert.deepEqual([steps[0], steps[1], steps.at(-1)], ["CANCEL", "CLOSE", "TAKE_OVER"]);
  assert.ok(steps.slice(1, -1).every((step) => step === "CLOSE") && steps.length >= 6, `tried four times at least: ${steps}`);
  const closed = done.findLast(({ decision }) => decision.step === "CLOSE").decision;
  assert.deepEqual(
    [closed.fifths, closed.orders.map(({ market, side, size, filled, quote }) => [market, side, size, filled, quote])],
    ["5", [[ETH, "SELL", "15", "6", "17760"]]],
  );
  assert.equal(closed.fee, "177.6", "1% of what was closed");

  const over = await gambler.account();
  assert.deepEqual([over.positions, over.openOrders], [[], "0"]);
  await assertExplained("gambler");
  const fees = done.map(({ decision }) => toQuantums(decision.fee ?? "0")).reduce((sum, quantums) => sum + quantums, 0n);
  const fund = await accountOf(insurance);
  assert.equal(total(fund) - fundBefore, fees, "every fee, and nothing else, went to the fund");
  assert.deepEqual(fund.positions.map(({ market, size, cost }) => [market, size, cost]), [[ETH, "9", "26595"]]);

  await rest(house, ETH, "BUY", "9", "2950");
  await until("the fund to unwind", async () => (await accountOf(insurance)).positions.length === 0);
  await assertExplained("house");
});

const receipts = async () => (await wholeHistory(stack.rpc, "trade_liquidations", { account: people.gambler.address }, "liquidations")).reverse();

test("anyone recomputes the receipts from the node, and a receipt with one number changed is found out", { timeout: 60_000 }, async () => {
  const asked = await stack.keel("receipt", "recompute", "--rpc", stack.url, "--account", people.gambler.address);
  const all = await receipts();
  assert.equal(asked.code, 0, asked.stderr);
  assert.equal(asked.stdout.match(/as it must be/g)?.length, all.length);

  const file = join(stack.directory, "receipts.json");
  const recompute = async (change) => {
    const copy = structuredClone(all);
    change(copy);
    writeFileSync(file, JSON.stringify({ liquidations: copy }));
    return stack.keel("receipt", "recompute", file);
  };
  assert.equal((await recompute(() => {})).code, 0);
  const ofStep = (list, step) => list.findLast(({ decision }) => decision.step === step);
  const plus = (owner, field, more) => { owner[field] = fromQuantums(toQuantums(owner[field]) + toQuantums(more)); };
  for (const [named, change] of [
    ["fee", (list) => plus(ofStep(list, "CLOSE").decision, "fee", "0.00000001")],
    ["orders", (list) => plus(ofStep(list, "CLOSE").decision.orders[0], "limit", "0.01")],
    ["fifths", (list) => { ofStep(list, "CLOSE").decision.fifths = "4"; }],
    ["deficit", (list) => plus(ofStep(list, "TAKE_OVER").decision, "deficit", "1")],
    ["AV < MMR", (list) => plus(ofStep(list, "CLOSE").inputs, "collateral", "100")],
  ]) {
    const { code, stdout, stderr } = await recompute(change);
    assert.notEqual(code, 0, `${named}: taken as it is`);
    assert.match(stdout, new RegExp(`^  ${named}: the receipt says`, "m"), stdout + stderr);
  }
});

test("settlement goes on: the batch with the liquidation is CONFIRMED", { timeout: 90_000 }, async () => {
  const trade = BigInt(hash.getSelectorFromName("Trade"));
  const gambler = BigInt(people.gambler.address);
  const [last] = (await stack.rpc.call("trade_fillHistory", { account: people.gambler.address })).fills;
  const number = await until("the block with the liquidation's fill", async () => {
    for (let at = await stack.rpc.call("starknet_blockNumber"); at >= 0; at--) {
      const { transactions } = await stack.rpc.call("starknet_getBlockWithReceipts", { block_id: { block_number: at } });
      const events = transactions.flatMap(({ receipt }) => receipt.events);
      const found = events.some(({ keys, data }) => BigInt(keys[0]) === trade && BigInt(keys[3]) === gambler && data.some((word) => BigInt(word) === BigInt(last.order)));
      if (found) return at;
    }
  });
  const batch = await until("the batch to be CONFIRMED", async () => {
    const found = await stack.rpc.call("bridge_getBatchByBlock", { block: String(number) }).catch(() => undefined);
    return found?.status === "CONFIRMED" && found;
  }, { timeoutMs: FINAL_TIMEOUT_MS });
  assert.ok(Number(batch.firstBlock) <= number && number <= Number(batch.lastBlock));
  assert.ok(BigInt(liquidation) > BigInt(last.seq));
  assert.ok((await people.house.l1.settled()).block >= BigInt(batch.lastBlock));
});

test("nothing was made or lost: balances, less what positions cost, plus the funding pools, are the deposits", async () => {
  await prices.stop();
  await sleep(300);
  const accounts = await Promise.all([...Object.values(people).map(({ address }) => address), insurance, stack.genesis.fee_account].map(accountOf));
  const sum = (values) => values.reduce((a, b) => a + b, 0n);
  const pools = await Promise.all([ETH, BTC].map(async (market) => toQuantums((await stack.rpc.call("market_funding", { market })).pool)));
  const costs = accounts.flatMap(({ positions }) => positions.map(({ cost }) => toQuantums(cost)));
  const deposited = [...Object.values(FUNDS).map(({ USDC }) => toQuantums(USDC)), toQuantums(INSURANCE)];
  assert.equal(sum(accounts.map((account) => total(account))) - sum(costs) + sum(pools), sum(deposited));
  assert.equal(sum(accounts.map((account) => total(account, "ETH"))), toQuantums(FUNDS.owner.ETH));
  for (const market of [ETH, BTC]) {
    const sizes = accounts.flatMap(({ positions }) => positions.filter((position) => position.market === market).map(({ size }) => toQuantums(size)));
    assert.equal(sum(sizes), 0n, market);
  }
});

test("a second node that replays the journal has the same tables", { timeout: 90_000 }, async () => {
  await prices.stop();
  await stack.stopNode();
  const { code, stdout, stderr } = await stack.keel("verify");
  assert.equal(code, 0, stdout + stderr);
  const report = JSON.parse(stdout);
  assert.deepEqual([report.equal, report.tablesDiffering], [true, []]);
  const rows = Object.fromEntries(report.tables.map(({ table, rows }) => [table, Number(rows)]));
  for (const table of ["trades", "fills", "orders", "transfers", "funding", "liquidations"]) {
    const found = Object.entries(rows).filter(([name]) => name.includes(table));
    assert.ok(found.some(([, count]) => count > 0), `no row in ${table}: ${JSON.stringify(rows)}`);
  }
});
