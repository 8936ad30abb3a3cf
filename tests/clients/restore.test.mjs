// A market maker's day with an incident in it: quotes rest, safe mode cancels them, one signature brings back what was left of them.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { hash } from "starknet";
import { Stack, fromQuantums, toQuantums, until } from "./lib/keel.mjs";
import { typedData } from "./lib/snip12.mjs";

const SPOT = "ETH-USDC";
const PERP = "ETH-USDC-PERP";
/** The short profile's threshold for SETTLEMENT_HEAD_STALE is 5 s; by then the guard has acted on it. */
const HEAD_MISSED_MS = 8_000;
const PHASE_FORBIDS = -32050;
const PHASES = ["HALTED", "READ_ONLY", "SPOT", "REDUCE_ONLY", "OPEN"];

let stack;
let maker;
let other;
let taker;
let incident;
let quotes; // {name: order hash} of what the maker has in the market when the incident comes
let restored; // {name: order hash} of what took their place

before(async () => {
  stack = await Stack.temporary();
  await stack.open();
  [maker, other, taker] = await Promise.all([1, 2, 3].map(() => stack.trader({ USDC: "100000", ETH: "20" })));
}, { timeout: 180_000 });
after(() => stack?.stop());

/** A price on the market's grid, parts per thousand of the mark. */
async function near(market, partsPerThousand) {
  const { mark, tickSize } = await stack.market(market);
  const tick = toQuantums(tickSize);
  return fromQuantums((toQuantums(mark) * partsPerThousand / 1_000n / tick) * tick);
}

const limit = async (market, side, size, partsPerThousand, more = {}) =>
  ({ market, side, type: "LIMIT", size, price: await near(market, partsPerThousand), ...more });

const same = (a, b) => BigInt(a) === BigInt(b);

test("quotes rest in two markets, one is filled in part, a stop waits", async () => {
  const order = async (fields, state) => {
    const placed = await maker.place(fields);
    assert.equal(placed.state, state);
    return placed.order;
  };
  quotes = {
    // Nobody else quotes here.
    bid: await order(await limit(SPOT, "BUY", "0.5", 970n, { timeInForce: "POST_ONLY", clientId: "11" }), "OPEN"),
    ask: await order(await limit(SPOT, "SELL", "0.3", 1_020n), "OPEN"),
    perpBid: await order(await limit(PERP, "BUY", "0.2", 950n), "OPEN"),
    stop: await order(await limit(PERP, "SELL", "0.2", 800n, { type: "STOP_LIMIT", triggerPrice: await near(PERP, 850n) }), "UNTRIGGERED"),
  };
  const taken = await taker.place(await limit(SPOT, "BUY", "0.1", 1_030n, { timeInForce: "IOC" }));
  assert.deepEqual([taken.state, taken.filled], ["FILLED", "0.1"]);
  assert.equal((await maker.order({ order: quotes.ask })).remaining, "0.2");
  await other.place(await limit(SPOT, "BUY", "1", 900n));
});

test("safe mode cancels all of it, and while the venue is closed nothing comes back", { timeout: 120_000 }, async () => {
  stack.anvil.signal("SIGSTOP");
  ({ incident } = await stack.admin("admin_enterSafeMode", { reason: "drill" }));
  assert.deepEqual(await maker.openOrders(), []);
  // Once its settlement layer is missed, SPOT does not open.
  await until("a venue closed for want of a settlement layer", async () => {
    const { phase, settlement } = await stack.status();
    return PHASES.indexOf(phase) < PHASES.indexOf("SPOT") && Number(settlement.headAgeMs) > HEAD_MISSED_MS;
  }, { timeoutMs: 60_000 });
  const cancelled = await maker.cancelledOrders(incident);
  assert.deepEqual(cancelled.map(({ order }) => BigInt(order)).sort(), Object.values(quotes).map(BigInt).sort());
  const byHash = (wanted) => cancelled.find(({ order }) => same(order, wanted));
  assert.deepEqual([byHash(quotes.ask).size, byHash(quotes.ask).remaining], ["0.3", "0.2"]);
  for (const { state, restored: by } of cancelled) assert.deepEqual([state, by], ["CANCELLED", null]);
  await assert.rejects(maker.restore(incident, Object.values(quotes)), ({ code, data }) => {
    assert.deepEqual([code, PHASES.indexOf(data.phase) < PHASES.indexOf("SPOT")], [PHASE_FORBIDS, true]);
    return true;
  });
});

test("one signature restores what the phase allows, the rest of the orders when it allows them", { timeout: 120_000 }, async () => {
  stack.anvil.signal("SIGCONT");
  restored = {};
  let left = Object.entries(quotes);
  // In SPOT, where only what is post-only may come back at first; a slow machine may get here later.
  const reached = await until("SPOT", async () => {
    const { phase } = await stack.status();
    return PHASES.indexOf(phase) >= PHASES.indexOf("SPOT") && phase;
  }, { timeoutMs: 60_000, everyMs: 20 });
  for (const phase of [reached, "OPEN"]) {
    if (left.length === 0) break;
    if (phase === "OPEN") await stack.phase("OPEN");
    const message = maker.message({ incident, orders: left.map(([, order]) => order), goodTil: "0" });
    const signed = await maker.signed("RestoreOrders", message);
    // Any wallet signs what the node shows it.
    assert.deepEqual(await stack.rpc.call("trade_typedData", { type: "RestoreOrders", message }), typedData(maker.chainId, "RestoreOrders", message));
    const answer = await stack.rpc.call("trade_restoreOrders", signed);
    assert.equal(answer.orders.length, left.length);
    for (const [index, [name, order]] of left.entries()) {
      const { order: named, restored: now, refused } = answer.orders[index];
      assert.ok(same(named, order));
      if (now === null) {
        assert.deepEqual([phase !== "OPEN", refused], [true, "PHASE_FORBIDS"], name);
        continue;
      }
      assert.ok(same(now.order, hash.computePoseidonHash(maker.hash("RestoreOrders", message), order)), `the identity of ${name}`);
      assert.equal(now.state, name === "stop" ? "UNTRIGGERED" : "OPEN", name);
      restored[name] = now.order;
    }
    // The identical message again restores nothing twice.
    const again = await stack.rpc.call("trade_restoreOrders", signed);
    assert.deepEqual([again.replayed, again.restored, again.refused, again.orders], [true, answer.restored, answer.refused, []]);
    left = left.filter(([name]) => !(name in restored));
  }
  assert.deepEqual(left, []);
});

test("what came back is what was left, under the client's own id, and the cancelled orders stay what they are", async () => {
  const open = await maker.openOrders();
  assert.deepEqual(open.map(({ order }) => BigInt(order)).sort(), Object.values(restored).map(BigInt).sort());
  const of = (name) => open.find(({ order }) => same(order, restored[name]));
  assert.deepEqual([of("ask").size, of("ask").filled, of("bid").size, of("stop").state], ["0.2", "0", "0.5", "UNTRIGGERED"]);
  assert.ok(same((await maker.order({ clientId: "11" })).order, restored.bid));
  for (const order of Object.values(quotes)) {
    const ended = await maker.order({ order });
    assert.deepEqual([ended.state, ended.reason, ended.incident], ["CANCELLED", "SAFE_MODE", incident]);
  }
  for (const { order, restored: by } of await maker.cancelledOrders(incident)) {
    const [name] = Object.entries(quotes).find(([, quoted]) => same(quoted, order));
    assert.ok(same(by, restored[name]), name);
  }
});

test("nothing comes back twice, nor for somebody else", async () => {
  for (const [who, orders] of [[maker, Object.values(quotes)], [other, [quotes.ask]], [other, ["0x1"]]]) {
    const answer = await who.restore(incident, orders);
    assert.deepEqual([answer.restored, answer.refused], ["0", String(orders.length)]);
    for (const { refused } of answer.orders) assert.equal(refused, "NOT_RESTORABLE");
  }
  await assert.rejects(maker.restore("77", [quotes.ask]), ({ reason, field }) => reason === "UNKNOWN_INCIDENT" && field === "incident");
  const { orders } = await other.restore(incident, (await other.cancelledOrders(incident)).map(({ order }) => order));
  assert.deepEqual(orders.map(({ restored: now }) => now?.state), ["OPEN"]);
});

test("the restored quotes are filled", async () => {
  const bought = await taker.place(await limit(SPOT, "BUY", "0.2", 1_040n, { timeInForce: "IOC" }));
  assert.deepEqual([bought.state, bought.filled], ["FILLED", "0.2"]);
  const sold = await taker.place(await limit(SPOT, "SELL", "0.5", 960n, { timeInForce: "IOC" }));
  assert.deepEqual([sold.state, sold.filled], ["FILLED", "0.5"]);
  for (const name of ["ask", "bid"]) {
    const filled = await maker.order({ order: restored[name] });
    assert.deepEqual([filled.state, filled.remaining], ["FILLED", "0"], name);
  }
  const { count } = await maker.cancelAll();
  assert.equal(count, "2");
});
