// The settlement layer stops under load: every open order is cancelled at one sequence number, nothing fills afterwards, and
// when it is back the phases walk to OPEN.
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { locate } from "./lib/cairo_storage.mjs";
import { RpcError, Stack, fromQuantums, sleep, toQuantums, until } from "./lib/keel.mjs";

const MARKETS = ["ETH-USDC", "ETH-USDC-PERP"];
const TRADERS = 4;
const RESTING_EACH = 6;
const PHASE_FORBIDS = -32050;
/** The short profile's threshold for SETTLEMENT_HEAD_STALE, and what polling and cancelling may add. */
const DETECTION_MS = 5_000;
const DETECTION_SLACK_MS = 5_000;
const PHASES = ["HALTED", "READ_ONLY", "SPOT", "REDUCE_ONLY", "OPEN"];

let stack;
let traders;
let resting; // [trader, order hash] of orders that nobody will cross
let incident;
let incidentSeq;
let loading = true;
const acknowledged = []; // {seq, fills} of every acknowledged taker order

before(async () => {
  stack = await Stack.temporary();
  await stack.open();
  traders = await Promise.all(Array.from({ length: TRADERS }, () => stack.trader({ USDC: "200000", ETH: "20" })));
  resting = (await Promise.all(traders.map(placeResting))).flat();
}, { timeout: 180_000 });
after(async () => {
  loading = false;
  await stack?.stop();
});

async function onTick(market, partsPerThousand) {
  const { mark, tickSize } = await stack.market(market);
  const tick = toQuantums(tickSize);
  return fromQuantums((toQuantums(mark) * partsPerThousand / 1_000n / tick) * tick);
}

async function placeResting(trader) {
  const placed = [];
  for (let index = 0; index < RESTING_EACH; index++) {
    const market = MARKETS[index % MARKETS.length];
    const [side, price] = index % 4 < 2 ? ["BUY", await onTick(market, 900n)] : ["SELL", await onTick(market, 1_100n)];
    const { order, state } = await trader.place({ market, side, type: "LIMIT", size: "0.1", price, timeInForce: "POST_ONLY" });
    assert.equal(state, "OPEN");
    placed.push([trader, order]);
  }
  return placed;
}

/** Each trader keeps crossing the others near the mark until the exchange closes. */
async function load(trader, index) {
  while (loading) {
    const market = MARKETS[index % MARKETS.length];
    try {
      const price = await onTick(market, 1_000n);
      const answer = await trader.place({ market, side: index % 4 < 2 ? "BUY" : "SELL", type: "LIMIT", size: "0.01", price });
      acknowledged.push({ seq: BigInt(answer.seq), fills: answer.fills.length });
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      if (error.code === PHASE_FORBIDS) await sleep(50);
    }
  }
}

test("when the settlement layer stops, safe mode is entered within the threshold", async () => {
  const loads = Promise.all(traders.map(load));
  await until("fills under load", () => acknowledged.filter(({ fills }) => fills > 0).length >= 10);

  stack.anvil.signal("SIGSTOP");
  const stopped = Date.now();
  const status = await until("safe mode", async () => {
    const now = await stack.status();
    return now.phase !== "OPEN" && now;
  }, { timeoutMs: DETECTION_MS + DETECTION_SLACK_MS, everyMs: 20 });
  assert.ok(Date.now() - stopped <= DETECTION_MS + DETECTION_SLACK_MS);
  incident = status.incident;
  assert.deepEqual(status.reasons, ["SETTLEMENT_HEAD_STALE"]);
  loading = false;
  await loads;
});

test("every open order is cancelled, all at one sequence number, with an event each", async () => {
  for (const trader of traders) assert.deepEqual(await trader.openOrders(), []);
  const seqs = new Set();
  for (const [trader, hash] of resting) {
    const order = await trader.order({ order: hash });
    assert.deepEqual([order.state, order.reason, order.initiator, order.incident], ["CANCELLED", "SAFE_MODE", "SAFE_MODE", incident]);
    seqs.add(order.seq);
  }
  assert.equal(seqs.size, 1);
  incidentSeq = BigInt([...seqs][0]);
  for (const market of MARKETS) {
    const book = await stack.rpc.call("market_book", { market, depth: "10" });
    assert.deepEqual([book.bids, book.asks], [[], []]);
  }
});

test("no fill is in a record executed after the incident", async () => {
  await sleep(1_000);
  for (const market of MARKETS) {
    const { trades } = await stack.rpc.call("market_trades", { market, limit: "500" });
    assert.ok(trades.length > 0);
    for (const { seq } of trades) assert.ok(BigInt(seq) < incidentSeq, `a trade at ${seq} after ${incidentSeq}`);
  }
  for (const { seq, fills } of acknowledged) assert.ok(fills === 0 || seq < incidentSeq);
});

test("a write is refused with the phase error, which says what comes next", async () => {
  const order = { market: MARKETS[0], side: "BUY", type: "LIMIT", size: "0.1", price: await onTick(MARKETS[0], 900n) };
  await assert.rejects(traders[0].place(order), ({ code, data }) => {
    assert.equal(code, PHASE_FORBIDS);
    assert.equal(data.reason, "SETTLEMENT_HEAD_STALE");
    assert.equal(data.incident, incident);
    for (const field of ["phase", "since", "nextPhase", "eta"]) assert.ok(field in data, `${field} is missing`);
    return true;
  });
});

test("balances are readable and unchanged while closed", async () => {
  const earlier = await Promise.all(traders.map((trader) => trader.account()));
  await sleep(1_500);
  assert.deepEqual((await Promise.all(traders.map((trader) => trader.account()))).map(({ balances }) => balances), earlier.map(({ balances }) => balances));
  for (const { balances } of earlier) {
    for (const { asset, reserved } of balances) assert.equal(reserved, "0", `a reservation of ${asset} outlived its order`);
  }
});

test("when it is back, the phases walk to OPEN in order, and trading goes on", async () => {
  stack.anvil.signal("SIGCONT");
  const seen = [];
  await until("OPEN", async () => {
    const { phase } = await stack.status();
    if (phase !== seen.at(-1)) seen.push(phase);
    return phase === "OPEN";
  }, { timeoutMs: 60_000, everyMs: 20 });
  const walked = seen.map((phase) => PHASES.indexOf(phase));
  assert.deepEqual(walked, [...walked].sort((a, b) => a - b), `walked ${seen}`);
  for (const phase of ["SPOT", "REDUCE_ONLY", "OPEN"]) assert.ok(seen.includes(phase), `${phase} was skipped: ${seen}`);

  const [seller, buyer] = traders;
  const price = await onTick(MARKETS[0], 1_000n);
  const order = { market: MARKETS[0], type: "LIMIT", size: "0.01", price };
  await seller.place({ ...order, side: "SELL", timeInForce: "POST_ONLY" });
  assert.equal((await buyer.place({ ...order, side: "BUY", timeInForce: "IOC" })).state, "FILLED");
});

test("the chain holds the incident: its sequence number, how many were cancelled, and the report that opened SPOT", async () => {
  const exchange = stack.genesis.exchange;
  // What is sealed is committed behind the journal.
  const { height } = await stack.status();
  await until("the block to be built", async () => Number((await stack.status()).block?.height ?? -1) >= Number(height));
  const word = async (field) => {
    const { slot, decode } = locate("incidents", [Number(incident)], field);
    return decode(await stack.rpc.call("starknet_getStorageAt", {
      contract_address: exchange, key: slot, block_id: { block_number: Number(height) },
    }));
  };
  assert.equal(await word("seq"), incidentSeq);
  assert.ok(await word("cancelled") >= BigInt(resting.length));
  const report = [await word("integrity_report_low"), await word("integrity_report_high")];
  assert.notDeepEqual(report, [0n, 0n], "SPOT opened without an integrity report");
});

test("each trader finds what the incident cancelled, page by page", async () => {
  for (const trader of traders) {
    const found = await trader.cancelledOrders(incident, "4");
    const hashes = new Set(found.map(({ order }) => BigInt(order)));
    for (const [, hash] of resting.filter(([owner]) => owner === trader)) assert.ok(hashes.has(BigInt(hash)), hash);
    for (const { seq, state, remaining } of found) assert.deepEqual([BigInt(seq), state, remaining !== "0"], [incidentSeq, "CANCELLED", true]);
  }
});

test("a receipt for a cancelled order holds against the root on the settlement layer, and a changed one does not", { timeout: 180_000 }, async () => {
  const verify = async (receipt, ...root) => {
    const file = join(stack.directory, "receipt.json");
    await writeFile(file, JSON.stringify(receipt));
    return stack.keel("receipt", "verify", file, ...root);
  };
  const onL1 = ["--endpoint", stack.l1Url];
  for (const [trader, order] of [resting[0], resting.at(-1)]) {
    const receipt = await until("a confirmed batch with the incident", async () => {
      const receipt = await stack.rpc.call("node_getCancelReceipt", { order });
      return receipt.state && receipt;
    }, { timeoutMs: 120_000 });
    assert.deepEqual([BigInt(receipt.account), receipt.incident, BigInt(receipt.seq), receipt.remaining],
      [BigInt(trader.address), incident, incidentSeq, "0.1"]);
    const good = await verify(receipt, ...onL1);
    assert.equal(good.code, 0, good.stderr);
    assert.match(good.stdout, new RegExp(`^ok: incident ${incident} cancelled order 0x0*${BigInt(order).toString(16)}`));
    // Without anybody's word but the root.
    assert.equal((await verify(receipt, "--root", receipt.state.root)).code, 0);
    const more = String(BigInt(receipt.remainingQuantums) + 1n);
    for (const changed of [
      { ...receipt, remainingQuantums: more },
      { ...receipt, account: traders.find((other) => other !== trader).address },
      { ...receipt, siblings: receipt.siblings.with(0, "0x1") },
      { ...receipt, state: { ...receipt.state, storageProof: receipt.state.storageProof.slice(1) } },
      { ...receipt, state: { ...receipt.state, block: String(BigInt(receipt.state.block) + 1n) } },
    ]) {
      const refused = await verify(changed, ...onL1);
      assert.notEqual(refused.code, 0);
      assert.match(refused.stderr, /cancel root|has no node|no batch on the settlement layer ends with block/);
    }
    assert.notEqual((await verify(receipt, "--root", "0x1")).code, 0);
  }
  await assert.rejects(stack.rpc.call("node_getCancelReceipt", { order: "0x1" }), ({ data }) => data.reason === "UNKNOWN_ORDER");
});
