// A chain that settles by calldata: the other form of data on Ethereum. genesis/dev.json settles by blobs; this is the same chain but for that.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { decode, fromEthereum, fromNode } from "./example/decode_batch.mjs";
import { Stack, fromQuantums, toQuantums, until } from "./lib/keel.mjs";

const MARKET = "ETH-USDC";
const BATCHES = 5;

let stack;
let traders;
let withdrawal;

before(async () => {
  stack = await Stack.temporary({ data: "calldata" });
  await stack.open();
  traders = await Promise.all([stack.trader({ USDC: "30000.000001" }), stack.trader({ ETH: "3.00000001" })]);
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
  await until("batches on the contract", async () =>
    Number((await stack.rpc.call("bridge_getLatest")).confirmed?.batch ?? -1) >= BATCHES - 1, { timeoutMs: 60_000 });
}, { timeout: 240_000 });
after(() => stack?.stop());

async function balances(trader) {
  const { balances } = await trader.account();
  return Object.fromEntries(balances.map(({ asset, total }) => [asset, toQuantums(total)]));
}

test("batches bring their words in calldata and no blobs, and blocks say so", async () => {
  const [alice] = traders;
  for (let batch = 0; batch < BATCHES; batch++) {
    const { data, settlement } = await stack.rpc.call("bridge_getBatch", { batch: String(batch) });
    const { status, gasUsed, blobGasUsed } = await alice.l1.receipt(settlement.transactionHash);
    assert.deepEqual([data.kind, data.blobs, status, blobGasUsed ?? 0n], ["CALLDATA", [], "success", 0n]);
    console.log(`batch ${batch}: ${data.words} words, gas ${gasUsed}`);
    const verified = await stack.looked("batch", "verify", String(batch), "--endpoint", stack.l1Url);
    assert.match(verified, /ok +settlement layer: accepted in transaction 0x/);
    assert.ok(!verified.includes("WRONG"), verified);
  }
  const block = await stack.rpc.call("starknet_getBlockWithTxHashes", { block_id: { block_number: 1 } });
  assert.equal(block.l1_da_mode, "CALLDATA");
});

test("the state is rebuilt from the contract's calldata alone, by keel sync and by the decoder of the documentation", async () => {
  const data = join(stack.directory, "replica");
  const args = ["sync", "--from-settlement", "--genesis", stack.genesisFile, "--endpoint", stack.l1Url, "--depth", "0", "--data", data];
  const { code, stderr } = await stack.keel(...args);
  assert.equal(code, 0, stderr);
  const { root, recomputedRoot, l1Block } = JSON.parse(await stack.looked("sync", "status", "--data", data, "--check"));
  const contract = await traders[0].l1.settled(BigInt(l1Block));
  assert.deepEqual([BigInt(root), BigInt(recomputedRoot)], [contract.root, contract.root]);
  for (const source of [fromEthereum(stack.l1Url, stack.genesis.settlement.core), fromNode(stack.url)]) {
    const state = await decode(source, stack.genesis, { until: Number(withdrawal.batch) });
    for (const trader of traders) {
      const told = JSON.parse(await stack.looked("state", "balances", "--data", data, trader.address));
      for (const [asset, amount] of Object.entries(await balances(trader))) {
        assert.equal(toQuantums(told.balances[asset]), amount);
        assert.equal(state.balanceOf(trader.address, stack.genesis.assets.findIndex(({ symbol }) => symbol === asset)), amount);
      }
    }
  }
});

test("a withdrawal settled by calldata pays its recipient once", async () => {
  const [alice, bob] = traders;
  const held = await alice.l1.balance("USDC");
  await bob.l1.call(withdrawal.claim);
  assert.equal((await alice.l1.balance("USDC")) - held, BigInt(withdrawal.l1Amount));
  await assert.rejects(bob.l1.call(withdrawal.claim));
});
