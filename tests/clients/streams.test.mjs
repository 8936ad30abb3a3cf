// A client that loses its connection at random under load ends with the same book and orders as one that never did, and both with what the
// node says when asked. KEEL_STREAMS_SECONDS=60 for the long form.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { RpcError, Stack, fromQuantums, sleep, toQuantums, until } from "./lib/keel.mjs";
import { BookFollower, Connection, OrdersFollower, RowsFollower } from "./lib/stream.mjs";

const MARKET = "ETH-USDC";
const TRADERS = 3;
/** Short form; the losses come about once a second. */
const SECONDS = Number(process.env.KEEL_STREAMS_SECONDS ?? 20);
const LOSSES_MIN = SECONDS / 5;
/** Longest time between two losses, and without a connection. */
const UP_MS = 1_500;
const DOWN_MS = 600;

let stack;
let traders;
let running = true;
const random = (below) => Math.floor(Math.random() * below);

before(async () => {
  stack = await Stack.temporary();
  await stack.open();
  traders = await Promise.all(Array.from({ length: TRADERS }, () => stack.trader({ USDC: "500000", ETH: "100" })));
}, { timeout: 180_000 });
after(async () => {
  running = false;
  await stack?.stop();
});

/** Places around the mark, often crossing, and cancels, until told to stop. */
async function load(trader) {
  const { mark, tickSize } = await stack.market(MARKET);
  const tick = toQuantums(tickSize);
  const open = [];
  let sent = 0;
  for (; running; sent++) {
    try {
      if (open.length > 12 || (open.length > 0 && random(3) === 0)) {
        await trader.cancel({ order: open.splice(random(open.length), 1)[0] });
        continue;
      }
      const price = fromQuantums((toQuantums(mark) / tick + BigInt(random(60) - 30)) * tick);
      const order = { market: MARKET, side: random(2) ? "BUY" : "SELL", type: "LIMIT", size: `0.0${1 + random(9)}`, price };
      const placed = await trader.place(order);
      if (placed.state === "OPEN" || placed.state === "PARTIALLY_FILLED") open.push(placed.order);
    } catch (error) {
      // A cancel that lost the race, an order that met its own account's.
      if (!(error instanceof RpcError)) throw error;
    }
  }
  return sent;
}

const followers = (trader) => [new BookFollower(MARKET), new OrdersFollower(trader.address)];

async function connect(streams) {
  const connection = await Connection.open(stack.url);
  await Promise.all(streams.map((stream) => stream.follow(connection)));
  return connection;
}

test("a client that loses its connection at random ends equal to one that never did", { timeout: SECONDS * 1_000 + 120_000 }, async () => {
  const [steady, flaky] = [followers(traders[0]), followers(traders[0])];
  const steadyConnection = await connect(steady);
  const loads = Promise.all(traders.map(load));
  const end = Date.now() + SECONDS * 1_000;
  let connection = await connect(flaky);
  let losses = 0;
  while (Date.now() < end) {
    await sleep(random(UP_MS));
    await connection.lose();
    losses++;
    await sleep(random(DOWN_MS));
    connection = await connect(flaky);
  }
  running = false;
  const sent = (await loads).reduce((a, b) => a + b, 0);

  const book = await stack.rpc.call("market_book", { market: MARKET, depth: "500" });
  const orders = new Map((await traders[0].openOrders()).map((order) => [order.order, order]));
  for (const [name, [ownBook, ownOrders]] of [["steady", steady], ["flaky", flaky]]) {
    await until(`the ${name} client to have the node's state`, () => {
      assert.deepEqual(ownBook.levels, { bids: book.bids, asks: book.asks }, `${name}: book`);
      assert.deepEqual(ownOrders.open, orders, `${name}: orders`);
      return true;
    }, { timeoutMs: 10_000 });
    for (const stream of [ownBook, ownOrders]) {
      assert.equal(stream.ended, undefined, `${name}: ${stream.params.channel} was closed`);
      assert.ok(BigInt(stream.seq) <= BigInt(book.seq) && stream.deltas > 20, `${name}: ${stream.deltas} deltas`);
    }
  }
  steady.forEach((stream, index) => {
    assert.equal(flaky[index].seq, stream.seq);
    assert.equal(stream.snapshots, 1, "it never lost anything");
  });
  assert.equal(flaky[0].checksum, steady[0].checksum);
  assert.equal(flaky[0].checksum, String(steady[0].ownChecksum()));
  assert.ok(losses >= LOSSES_MIN, `${losses} losses`);
  assert.equal(flaky[0].resumed.true + flaky[0].resumed.false, losses, "every loss was followed by a resume");
  assert.ok(flaky[0].resumed.true > 0, "none was resumed from a sequence number");
  console.log(`  ${sent} messages, ${losses} losses; book: ${flaky[0].deltas} deltas, resumed ${flaky[0].resumed.true}, anew ${flaky[0].resumed.false}`);
  await connection.close();
  await steadyConnection.close();
});

test("the other channels agree with what the node answers when asked", { timeout: 60_000 }, async () => {
  const account = traders[0].address;
  const channels = {
    bbo: new RowsFollower({ channel: "bbo", market: MARKET }),
    ticker: new RowsFollower({ channel: "ticker", market: MARKET }),
    mark: new RowsFollower({ channel: "mark", market: MARKET }),
    trades: new RowsFollower({ channel: "trades", market: MARKET }, "tradeId"),
    candles: new RowsFollower({ channel: "candles", market: MARKET, interval: "1m" }, "start"),
    balances: new RowsFollower({ channel: "balances", account }, "asset"),
    fills: new RowsFollower({ channel: "fills", account }, "tradeId"),
    positions: new RowsFollower({ channel: "positions", account }, "market"),
  };
  const connection = await connect(Object.values(channels));
  await traders[0].cancelAll();
  await traders[1].cancelAll();
  await traders[2].cancelAll();
  const { mark } = await stack.market(MARKET);
  const price = fromQuantums(toQuantums(mark) / 1_000_000n * 1_000_000n);
  await traders[1].place({ market: MARKET, side: "SELL", type: "LIMIT", size: "0.5", price });
  const bought = await traders[0].place({ market: MARKET, side: "BUY", type: "LIMIT", size: "0.2", price });
  assert.equal(bought.state, "FILLED");
  await traders[1].place({ market: "ETH-USDC-PERP", side: "SELL", type: "LIMIT", size: "0.1", price });
  await traders[0].place({ market: "ETH-USDC-PERP", side: "BUY", type: "LIMIT", size: "0.1", price });

  const { tradeId } = bought.fills[0];
  const asked = async (method, params) => stack.rpc.call(method, params);
  const { balances, positions } = await traders[0].account();
  const { trades } = await asked("market_trades", { market: MARKET, limit: "5" });
  const { candles } = await asked("market_candles", { market: MARKET, interval: "1m", limit: "1" });
  const { fills } = await asked("trade_fillHistory", { account, limit: "5" });
  await until("every channel to have it", () => {
    assert.deepEqual(channels.bbo.rows.get("").ask, { price, size: "0.3" });
    assert.deepEqual(channels.ticker.rows.get("").ask, { price, size: "0.3" });
    assert.equal(channels.ticker.rows.get("").last, price);
    assert.ok(Number(channels.ticker.rows.get("").day.volume) >= 0.2);
    assert.equal(channels.mark.rows.get("").fundingRate, null, "a spot market has no funding");
    assert.deepEqual(channels.trades.rows.get(tradeId), trades.find((trade) => trade.tradeId === tradeId));
    assert.deepEqual(channels.candles.rows.get(candles[0].start), candles[0]);
    assert.deepEqual(channels.fills.rows.get(tradeId), fills.find((fill) => fill.tradeId === tradeId && fill.market === MARKET));
    for (const balance of balances) assert.deepEqual(channels.balances.rows.get(balance.asset), balance);
    const position = positions.find(({ market }) => market === "ETH-USDC-PERP");
    assert.equal(channels.positions.rows.get("ETH-USDC-PERP").size, position.size);
    return true;
  }, { timeoutMs: 10_000 });
  await connection.close();
});

test("history is the same page by page as at once, and older than any page asked before", { timeout: 60_000 }, async () => {
  for (const [method, params, rows] of [
    ["trade_orderHistory", { account: traders[0].address }, "orders"],
    ["trade_fillHistory", { account: traders[0].address }, "fills"],
    ["market_tradeHistory", { market: MARKET }, "trades"],
  ]) {
    const whole = (await stack.rpc.call(method, { ...params, limit: "30" }))[rows];
    assert.ok(whole.length > 5, `${method}: ${whole.length} rows`);
    const paged = [];
    for (let cursor; paged.length < whole.length;) {
      const page = await stack.rpc.call(method, { ...params, limit: "7", ...(cursor && { cursor }) });
      paged.push(...page[rows]);
      cursor = page.next;
      if (cursor === null) break;
    }
    assert.deepEqual(paged.slice(0, whole.length), whole, method);
    const seqs = whole.map(({ seq }) => BigInt(seq));
    assert.ok(seqs.every((seq, index) => index === 0 || seq <= seqs[index - 1]), `${method}: newest first`);
  }
  await assert.rejects(stack.rpc.call("trade_fillHistory", { account: traders[0].address, cursor: "zz" }), { reason: "BAD_CURSOR" });
});

test("what cannot be subscribed to is refused, and says why", { timeout: 30_000 }, async () => {
  const connection = await Connection.open(stack.url);
  const refused = (params, reason) => assert.rejects(connection.subscribe(params, () => {}), { reason });
  await refused({ channel: "tape", market: MARKET }, "UNKNOWN_VALUE");
  await refused({ channel: "book", market: "DOGE" }, "UNKNOWN_MARKET");
  await refused({ channel: "book" }, "MISSING_FIELD");
  await refused({ channel: "orders", market: MARKET }, "MISSING_FIELD");
  await refused({ channel: "candles", market: MARKET, interval: "2m" }, "UNKNOWN_VALUE");
  await refused({ channel: "bbo", market: MARKET, depth: "5" }, "UNKNOWN_FIELD");
  await refused({ channel: "bbo", market: MARKET, fromSeq: 5 }, "NUMBER_NOT_STRING");
  await assert.rejects(connection.call("trade_sessionCancelAll"), { reason: "NOT_LOGGED_IN" });
  await assert.rejects(stack.rpc.call("trade_sessionCancelAll"), { reason: "WEB_SOCKET_ONLY" });
  const many = [];
  for (let count = 0; count < 64; count++) many.push(await connection.subscribe({ channel: "bbo", market: MARKET }, () => {}));
  await refused({ channel: "bbo", market: MARKET }, "TOO_MANY_SUBSCRIPTIONS");
  assert.equal(await connection.call("keel_unsubscribe", [many[0]]), true);
  await connection.subscribe({ channel: "bbo", market: MARKET }, () => {});
  await connection.close();
});
