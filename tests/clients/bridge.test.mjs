// What a bridge does: follows batches by the stream, decodes them with a reader that shares no code with the node, and claims a withdrawal with the
// call data it is given.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { decode, fromEthereum, fromNode } from "./example/decode_batch.mjs";
import { Stack, fromQuantums, toQuantums, until } from "./lib/keel.mjs";
import { repository } from "./lib/processes.mjs";
import { genesisFile } from "./lib/stack.mjs";
import { Connection } from "./lib/stream.mjs";

const MARKET = "ETH-USDC";
const run = promisify(execFile);

let stack;
let traders;
let withdrawal;
let confirmed; // the batch with the last of all that

before(async () => {
  stack = await Stack.temporary();
  await stack.open();
  traders = await Promise.all([stack.trader({ USDC: "30000.000001" }), stack.trader({ USDC: "5000", ETH: "3.00000001" })]);
  const [alice, bob] = traders;
  const { mark, tickSize } = await stack.market(MARKET);
  const tick = toQuantums(tickSize);
  const order = { market: MARKET, type: "LIMIT", size: "1", price: fromQuantums((toQuantums(mark) / tick) * tick) };
  await bob.place({ ...order, side: "SELL", timeInForce: "POST_ONLY" });
  assert.equal((await alice.place({ ...order, side: "BUY", timeInForce: "IOC" })).state, "FILLED");
  const { id } = await alice.withdraw("USDC", "12.5", alice.l1.address);
  withdrawal = await until("the withdrawal to be claimable", async () => {
    const found = await stack.rpc.call("bridge_getWithdrawal", { id });
    return found.claimable && found;
  }, { timeoutMs: 60_000 });
  confirmed = Number(withdrawal.batch);
}, { timeout: 240_000 });
after(() => stack?.stop());

/** Balances as the exchange tells them, in quantums by asset. */
async function balances(trader) {
  const { balances } = await trader.account();
  return Object.fromEntries(balances.map(({ asset, total }) => [asset, toQuantums(total)]));
}

test("a decoder that knows only the formats gets the balances out of the chain alone, and out of a node", async () => {
  for (const source of [fromEthereum(stack.l1Url, stack.genesis.settlement.core), fromNode(stack.url)]) {
    const seen = {};
    // Each batch's changes, one after the other: the last that is said of a balance is the balance.
    const state = await decode(watch(source), stack.genesis, { until: confirmed });
    assert.equal(state.batch, confirmed);
    const { batch } = state;
    const batchOfNode = await stack.rpc.call("bridge_getBatch", { batch: String(batch) });
    assert.equal(state.output.after.root, BigInt(batchOfNode.after.root));
    assert.equal(state.output.after.number, BigInt(batchOfNode.lastBlock));
    for (const trader of traders) {
      for (const [asset, amount] of Object.entries(await balances(trader))) {
        const id = stack.genesis.assets.findIndex(({ symbol }) => symbol === asset);
        assert.equal(state.balanceOf(trader.address, id), amount, `${asset} of ${trader.address}`);
        seen[asset] = true;
      }
    }
    assert.deepEqual(Object.keys(seen).sort(), ["ETH", "USDC"]);
    const shown = state.balances.filter(({ account }) => BigInt(account) === BigInt(traders[0].address));
    // The batch of the withdrawal, and perhaps of the trade before it.
    const usdc = shown.find(({ asset }) => asset === "USDC");
    assert.equal(usdc.after, (await balances(traders[0])).USDC);
    assert.ok(usdc.before - usdc.after >= toQuantums("12.5") || usdc.before === 0n, String(usdc.before));
    const [message] = state.output.toL1;
    assert.deepEqual(message.payload.map(BigInt), withdrawal.message.payload.map(BigInt));
  }
});

async function* watch(source) {
  let next = 0;
  for await (const batch of source) {
    assert.equal(batch.batch, next++);
    yield batch;
  }
}

test("the example of the documentation prints what a batch changed", async () => {
  const program = join(repository, "tests/clients/example/decode_batch.mjs");
  const batch = ["--batch", String(confirmed), "--genesis", genesisFile];
  const fromChain = await run(process.execPath, [program, "--ethereum", stack.l1Url, ...batch]);
  const ofNode = await run(process.execPath, [program, "--node", stack.url, ...batch]);
  assert.equal(fromChain.stdout, ofNode.stdout);
  assert.match(fromChain.stdout, new RegExp(`^batch ${confirmed}: block \\d+, root 0x[0-9a-f]+, \\d+ slots changed\n  message to 0x`));
  assert.match(fromChain.stdout, / USDC: [0-9.]+ -> [0-9.]+/);
});

test("words that were tampered with are refused by the decoder", async () => {
  const batches = [];
  for await (const batch of fromNode(stack.url)) batches.push(batch);
  const [first, second] = batches;
  const refused = (batch, pattern) => assert.rejects(decode((async function* () { yield* batch; })(), stack.genesis), pattern);
  await refused([{ ...first, words: [...first.words, 1n] }], /left over/);
  await refused([{ ...first, words: first.words.slice(0, -1) }], /./);
  await refused([second], /alias 0x[0-9a-f]+ was never allocated/);
  await refused([first, batches[2]], /does not continue/);
});

test("the stream tells each batch from BUILT to CONFIRMED, and resumes over a lost connection without gap or duplicate", async () => {
  const follow = async (params) => {
    const changes = [];
    const connection = await Connection.open(stack.url);
    await connection.subscribe(params, (change) => changes.push(change), "bridge_subscribeBatches");
    return { connection, changes };
  };
  const whole = await follow({ fromBatch: "0" });
  const until3 = String(confirmed + 2);
  await until("two more batches", () => whole.changes.some(({ batch, status }) => batch === until3 && status === "CONFIRMED"), { timeoutMs: 60_000 });
  const parts = [];
  let cursor;
  // Loses its connection again and again, wherever it is.
  while (!parts.some(({ batch, status }) => batch === until3 && status === "CONFIRMED")) {
    const part = await follow(cursor === undefined ? {} : { cursor });
    await until("a change", () => part.changes.length > 0);
    await part.connection.lose();
    parts.push(...part.changes);
    cursor = part.changes.at(-1).cursor;
  }
  assert.deepEqual(parts, whole.changes.slice(0, parts.length));
  for (let batch = 0; batch <= confirmed; batch++) {
    const told = whole.changes.filter((change) => change.batch === String(batch)).map(({ status }) => status);
    assert.deepEqual([told[0], told.at(-1)], ["BUILT", "CONFIRMED"], told.join());
  }
  await whole.connection.close();
});

/** As the node writes an address: without leading zeros. */
const hexOf = (address) => `0x${BigInt(address).toString(16)}`;

test("keel batch shows, decodes and verifies a batch, from the data folder and from the node", async () => {
  const batch = String(confirmed);
  for (const from of [[], ["--node", stack.url]]) {
    const shown = await stack.looked("batch", "show", batch, "--json", ...from);
    assert.deepEqual(JSON.parse(shown), await stack.rpc.call("bridge_getBatch", { batch }));
    assert.match(await stack.looked("batch", "show", batch, ...from), /CONFIRMED/);
    const decoded = await stack.looked("batch", "decode", batch, "--json", "--account", traders[0].address, ...from);
    const exchange = JSON.parse(decoded).contracts.find(({ address }) => BigInt(address) === BigInt(stack.genesis.exchange));
    const named = exchange.storage.find(({ name }) => /^balances\(.*, USDC\)$/.test(name ?? "") && name.includes(hexOf(traders[0].address)));
    assert.equal(named.amount, fromQuantums((await balances(traders[0])).USDC));
    const verified = await stack.looked("batch", "verify", batch, "--endpoint", stack.l1Url, ...from);
    assert.match(verified, /ok +settlement layer: accepted in transaction 0x/);
    assert.ok(!verified.includes("WRONG"));
  }
  const none = await stack.keel("batch", "show", "99999", "--node", stack.url);
  assert.notEqual(none.code, 0);
});

test("the call data of a withdrawal pays its recipient once", async () => {
  const [alice, bob] = traders;
  const held = await alice.l1.balance("USDC");
  await bob.l1.call(withdrawal.claim);
  assert.equal(await alice.l1.balance("USDC") - held, BigInt(withdrawal.l1Amount));
  await assert.rejects(bob.l1.call(withdrawal.claim));
});
