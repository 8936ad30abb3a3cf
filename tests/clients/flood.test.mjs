// Everybody comes back at once: ten times what an opening lets in. The ramp holds, cancels go first, and it is no second loss.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { RpcError, Stack, fromQuantums, sleep, toQuantums, until } from "./lib/keel.mjs";

const MARKET = "ETH-USDC";
/** Orders per second of the open venue; a tenth of it in SPOT and REDUCE_ONLY. The short profile's ramp takes 3 s. */
const ORDERS_PER_SECOND = 100;
const SHARE_FIRST = 0.1;
const RAMP_MS = 3_000;
const TRADERS = 8;
const ORDERS = 800;
const AT_ONCE = 20;
const OVERLOADED = -32046;

let stack;
let traders;
let price;
let incident;

before(async () => {
  stack = await Stack.temporary({ budgetFactor: 1, ordersPerSecond: ORDERS_PER_SECOND });
  await stack.open();
  traders = await Promise.all(Array.from({ length: TRADERS }, () => stack.trader({ USDC: "200000" })));
  const { mark, tickSize } = await stack.market(MARKET);
  const tick = toQuantums(tickSize);
  price = fromQuantums(((toQuantums(mark) * 9n) / 10n / tick) * tick);
}, { timeout: 180_000 });
after(() => stack?.stop());

const order = () => ({ market: MARKET, side: "BUY", type: "LIMIT", size: "0.01", price, timeInForce: "POST_ONLY" });
const percentile = (times, share) => [...times].sort((a, b) => a - b)[Math.floor((times.length - 1) * share)];

test("a flood at the opening gets what the ramp lets in, every cancel, and no second loss", { timeout: 240_000 }, async (t) => {
  stack.anvil.signal("SIGSTOP");
  incident = (await until("safe mode", async () => {
    const status = await stack.status();
    return status.phase !== "OPEN" && status;
  })).incident;
  // Signed beforehand, so that the flood is as fast as the node and not as this client.
  const flood = await Promise.all(Array.from({ length: ORDERS }, (_, i) => {
    const trader = traders[i % TRADERS];
    return trader.signed("Order", trader.message({ ...order(), validUntil: String(Date.now() + 110_000) }));
  }));
  stack.anvil.signal("SIGCONT");
  await stack.phase("SPOT");

  const began = Date.now();
  const count = { admitted: 0, overloaded: 0, refused: 0 };
  const cancels = [];
  let phase = "SPOT";
  const place = async () => {
    while (flood.length > 0 && phase !== "OPEN") {
      try {
        await stack.rpc.call("trade_placeOrder", flood.pop());
        count.admitted += 1;
      } catch (error) {
        if (!(error instanceof RpcError)) throw error;
        // The number of open orders an account may have, or a phase that has just changed.
        count[error.code === OVERLOADED ? "overloaded" : "refused"] += 1;
      }
      await sleep(20);
    }
  };
  const cancel = async (trader) => {
    while (phase !== "OPEN") {
      const sent = performance.now();
      await trader.cancelAll();
      cancels.push(performance.now() - sent);
      await sleep(100);
    }
  };
  const watch = async () => {
    await until("OPEN", async () => {
      const status = await stack.status();
      assert.equal(status.incident, incident);
      ({ phase } = status);
      return phase === "OPEN";
    }, { timeoutMs: 60_000 });
  };
  await Promise.all([watch(), ...Array.from({ length: AT_ONCE }, place), ...traders.slice(0, 4).map(cancel)]);

  const seconds = (Date.now() - began) / 1_000;
  const sent = count.admitted + count.overloaded + count.refused;
  const rate = ORDERS_PER_SECOND * SHARE_FIRST;
  t.diagnostic(`${sent} orders in ${seconds.toFixed(1)} s: ${JSON.stringify(count)}; ${cancels.length} cancels, p50 ${percentile(cancels, 0.5).toFixed(0)} ms, `
    + `slowest ${percentile(cancels, 1).toFixed(0)} ms`);
  // It opened up to one look before this client saw it, and the last second of the ramp's start counts with it.
  const opened = 0.5 * ORDERS_PER_SECOND;
  assert.ok(count.admitted + count.refused <= rate * seconds + opened, "the ramp let in more than its share");
  assert.ok(count.admitted > 0, "nobody got in");
  assert.ok(count.overloaded > count.admitted, "it was no flood");
  assert.ok(cancels.length > 0);
});

test("when the ramp is over the venue takes its whole rate, in the same incident", async () => {
  await sleep(RAMP_MS);
  const status = await stack.status();
  assert.deepEqual([status.phase, status.incident], ["OPEN", incident]);
  // A tenth of a second's rate may come at once: ten orders, and one at a tenth of the rate.
  await Promise.all(traders.map((trader) => trader.place(order())));
});
