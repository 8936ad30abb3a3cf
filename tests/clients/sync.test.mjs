// The state rebuilt from the settlement layer alone: a chain whose data is in blobs, and every place where blobs may come from.
import assert from "node:assert/strict";
import { copyFileSync, readdirSync, truncateSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { decode, fromEthereum } from "./example/decode_batch.mjs";
import { beacon, beaconOfNetwork, busy, empty, flipped, gone, node, ofChain, serve } from "./lib/blob_sources.mjs";
import { Stack, toQuantums, until } from "./lib/keel.mjs";
import { Load } from "./lib/load.mjs";
import { Child, keelBinary } from "./lib/processes.mjs";

const MARKET = "ETH-USDC";
/** Batches on the contract before anything is rebuilt. */
const BATCHES = 6;

let stack;
let traders;
let person; // who reads the contract
let batches; // as the node has them, from batch 0 on

before(async () => {
  stack = await Stack.temporary();
  await stack.open();
  assert.equal(stack.genesis.settlement.data, "blobs");
  person = await stack.person();
  traders = await Promise.all([stack.trader({ ETH: "100" }), stack.trader({ USDC: "400000.000001" })]);
  const load = Load.start(stack, MARKET, [traders]);
  const confirmed = (what, is) => until(what, async () => {
    const { confirmed } = await stack.rpc.call("bridge_getLatest");
    return confirmed && is(confirmed);
  }, { timeoutMs: 120_000 });
  await confirmed("batches on the contract", ({ batch }) => Number(batch) >= BATCHES - 1);
  await load.stop();
  const { height } = await stack.status();
  await confirmed("the last trade on the contract", ({ lastBlock }) => Number(lastBlock) > Number(height));
  assert.ok(load.fills > 0);
  const ids = Array.from({ length: BATCHES }, (_, batch) => String(batch));
  batches = await Promise.all(ids.map((batch) => stack.rpc.call("bridge_getBatch", { batch })));
}, { timeout: 240_000 });
after(() => stack?.stop());

const blobsOf = (batch) => batch.data.blobs.map(({ versionedHash }) => versionedHash);
const folder = (name) => join(stack.directory, name);

/** Arguments of `keel sync` with the stack's genesis and settlement layer. `from` is a source of blobs. */
const arguments_ = (data, from, ...more) =>
  ["sync", "--from-settlement", "--genesis", stack.genesisFile, "--endpoint", stack.l1Url, "--depth", "0", "--data", data,
    "--blobs-from", from, ...more];
const sync = (...args) => stack.keel(...arguments_(...args));

async function synced(data, from) {
  const { code, stderr } = await sync(data, from);
  assert.equal(code, 0, stderr);
  return status(data);
}

/** What a folder holds, its root recomputed from the flat state. */
async function status(data) {
  const { code, stdout, stderr } = await stack.keel("sync", "status", "--data", data, "--check");
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout);
}

/** A folder's state is the one that the contract had after the block of its batch, and one of this chain. */
async function assertOfTheContract({ batch, root, blockHash, recomputedRoot, lastBlock, l1Block, l1TransactionHash }) {
  const contract = await person.settled(BigInt(l1Block));
  assert.deepEqual([BigInt(root), BigInt(lastBlock), BigInt(blockHash)], [contract.root, contract.block, contract.hash]);
  assert.equal(recomputedRoot, root);
  const { after, settlement } = await stack.rpc.call("bridge_getBatch", { batch });
  assert.deepEqual([after.root, settlement.transactionHash], [root, l1TransactionHash]);
}

async function assertBalances(data) {
  for (const trader of traders) {
    const { stdout } = await stack.keel("state", "balances", "--data", data, trader.address);
    const { balances } = await trader.account();
    const told = Object.entries(JSON.parse(stdout).balances).map(([asset, amount]) => [asset, toQuantums(amount)]);
    assert.deepEqual(Object.fromEntries(told), Object.fromEntries(balances.map(({ asset, total }) => [asset, toQuantums(total)])));
  }
}

test("every batch was brought in blobs, and each has its price", async () => {
  for (const { batch, data, settlement } of batches) {
    const { blobGasUsed, gasUsed, status } = await person.receipt(settlement.transactionHash);
    assert.equal(status, "success");
    assert.ok(data.kind === "BLOBS" && data.blobs.length > 0);
    // 131,072 gas a blob. [EIP-4844]
    assert.equal(blobGasUsed, 131_072n * BigInt(data.blobs.length));
    console.log(`batch ${batch}: ${data.words} words, ${data.blobs.length} blobs, gas ${gasUsed}, blob gas ${blobGasUsed}`);
  }
});

test("the state is rebuilt in an empty folder from a beacon API, an archive and a node, and is the contract's", async () => {
  const archive = folder("archive");
  const archived = await stack.looked("batch", "archive", archive);
  assert.match(archived, /^batches 0 to \d+: \d+ written, 0 were there\n$/);
  const names = readdirSync(join(archive, "blobs"));
  for (const hash of batches.flatMap(blobsOf)) assert.ok(names.includes(`${hash}.blob`), hash);
  const ofNode = await stack.looked("batch", "archive", archive, "--node", stack.url);
  assert.doesNotMatch(ofNode, / 0 were there/);

  const [newer, older] = [await beaconOfNetwork(stack.l1Url, person), await beaconOfNetwork(stack.l1Url, person, { sidecars: true })];
  const sources = {
    "the chain's beacon API": `beacon:${stack.l1Url}`, "a beacon node, by slots": `beacon:${newer.url}/`,
    "a beacon node that has sidecars only": `beacon:${older.url}`, "a node of the chain": `node:${stack.url}`,
  };
  for (const [name, from] of Object.entries(sources)) {
    const data = folder(`from ${name.replaceAll(/\W/g, "-")}`);
    const reached = await synced(data, from);
    assert.ok(Number(reached.batch) >= BATCHES - 1, name);
    await assertOfTheContract(reached);
    await assertBalances(data);
  }
  assert.ok(newer.requests.some((path) => /blobs\/\d+\?versioned_hashes=0x01/.test(path)), "blobs are asked for by their hash");
  // So does the decoder of the documentation, which shares no code with the node.
  const decoded = await decode(fromEthereum(stack.l1Url, stack.genesis.settlement.core, newer.url), stack.genesis, { until: BATCHES - 1 });
  assert.equal(decoded.output.after.root, BigInt(batches.at(-1).after.root));
  for (const { close } of [newer, older]) await close();

  // The archive ends where it was written: what came after is missing there, and named; what it has is applied.
  const data = folder("from-archive");
  const { code, stderr } = await sync(data, `archive:${archive}`);
  if (code !== 0) assert.match(stderr, /batch \d+: blob 0x01[0-9a-f]{62} is missing: there is no /);
  const reached = await status(data);
  assert.ok(Number(reached.batch) >= BATCHES - 1);
  await assertOfTheContract(reached);
  await assertBalances(data);
  // It does not pass for a node.
  const started = await stack.keel("--set", `data_dir=${data}`, "db", "stats");
  assert.notEqual(started.code, 0);
  assert.match(started.stderr, /a replica of the settled state, without blocks/);
});

test("killed in the middle, it goes on where it was; a blob that is gone then is named, and nothing is lost by it", async () => {
  const data = folder("killed");
  const held = 3; // the batch whose blob does not come
  const [hash] = blobsOf(batches[held]);
  let lost = false;
  const source = await serve((url) => {
    if (!url.search.includes(hash)) return ofChain(stack.l1Url, url);
    return lost ? gone() : new Promise(() => {});
  });
  const from = `beacon:${source.url}`;
  const child = new Child("sync", keelBinary(), ["--config", stack.config, ...arguments_(data, from)], { log: folder("killed.log") });
  await until("the blob to be asked for", () => source.requests.some((path) => path.includes(hash)), { timeoutMs: 60_000 });
  await child.kill();
  assert.equal((await status(data)).batch, String(held - 1));

  lost = true;
  const refused = await sync(data, from);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, new RegExp(`batch ${held}: blob ${hash} is missing: of slot \\d+ .* answers 404 Not Found: not found`));
  const before = await status(data);
  assert.equal(before.batch, String(held - 1));
  await assertOfTheContract(before);
  await source.close();

  const reached = await synced(data, `beacon:${stack.l1Url}`);
  assert.ok(Number(reached.batch) >= BATCHES - 1);
  await assertOfTheContract(reached);
  await assertBalances(data);
});

test("whoever gives a wrong blob or none is refused with the batch and the hash, and nothing is written", async () => {
  const [hash] = blobsOf(batches[0]);
  const archive = folder("bad-archive");
  await stack.looked("batch", "archive", archive);
  const file = (batch) => join(archive, "blobs", `${blobsOf(batches[batch])[0]}.blob`);
  const changed = (change) => (answer) => {
    change(answer);
    return answer;
  };
  const servers = [];
  const url = async (server) => {
    servers.push(await server);
    return servers.at(-1).url;
  };
  const l1 = stack.l1Url;
  const missing = `blob ${hash} is missing: `;
  const refusals = [
    ["blobs that the network has forgotten", async () => `beacon:${await url(beacon(l1, gone))}`, `${missing}of slot \\d+ `],
    ["a block without blobs", async () => `beacon:${await url(beacon(l1, empty))}`, `${missing}\\S+ has 0 blobs of slot \\d+, none of them this one`],
    ["another blob", async () => `beacon:${await url(beacon(l1, changed(({ json }) => (json.data = json.data.map(flipped)))))}`,
      `${missing}\\S+ has 1 blobs of slot \\d+, none of them this one`],
    ["no blob at all", async () => `beacon:${await url(beacon(l1, changed(({ json }) => (json.data = ["0x12", 7, null]))))}`,
      `${missing}\\S+ has 3 blobs`],
    ["a beacon node that is not ready", async () => `beacon:${await url(beacon(l1, busy))}`, "its blobs are not to be had now: .* 503 .*: syncing"],
    ["a beacon node of another chain", async () => `beacon:${await url(beaconOfNetwork(l1, person, { ofAnother: true }))}`, "of another chain"],
    ["the execution node of nowhere", () => "beacon:http://127.0.0.1:1", "its blobs are not to be had now"],
    ["a node with another blob", async () => `node:${await url(node(stack.url, changed(({ result }) => (result.blob.data = flipped(result.blob.data)))))}`,
      `what is there as blob ${hash} is another blob: its hash is 0x01`],
    ["a node with half a blob", async () => `node:${await url(node(stack.url, changed(({ result }) => (result.blob.data = result.blob.data.slice(0, 102)))))}`,
      `blob ${hash} is damaged: a blob has 131072 bytes, not 50`],
    ["a node without blobs", async () => `node:${await url(node(stack.url, changed(({ result }) => (result.blob = null))))}`, missing],
    ["a node without the batch", async () => `node:${await url(node(stack.url, () => ({ error: { code: -32055, message: "no", data: { reason: "UNKNOWN_BATCH" } } })))}`,
      `${missing}\\S+ does not have that batch`],
    ["an archive where blobs are mixed up", () => (copyFileSync(file(1), file(0)), `archive:${archive}`),
      `what is there as blob ${hash} is another blob: its hash is ${blobsOf(batches[1])[0]}`],
    ["an archive with a torn file", () => (truncateSync(file(0), 4_096), `archive:${archive}`), `blob ${hash} is damaged: a blob has 131072 bytes, not 4096`],
    ["an archive without the file", () => (unlinkSync(file(0)), `archive:${archive}`), `${missing}there is no \\S+${hash}\\.blob`],
  ];
  const data = folder("refused");
  for (const [name, source, reason] of refusals) {
    const { code, stdout, stderr } = await sync(data, await source());
    assert.equal(code, 1, `${name}: ${stderr}`);
    assert.match(stderr, new RegExp(`batch 0: .*${reason}`), name);
    assert.equal(stdout, "", name);
    assert.deepEqual(await status(data), { holds: "nothing yet", recomputedRoot: "0x0", storageSlots: "0" }, name);
  }
  const none = await stack.keel(...arguments_(data, "x").slice(0, -2));
  assert.match(none.stderr, /batch 0: its data is in blobs, and nobody was named to ask for them/);
  for (const { close } of servers) await close();
  await assertOfTheContract(await synced(data, `node:${stack.url}`));
});

test("it follows the chain as a replica, waits for a source that is late, and survives a kill", async () => {
  const data = folder("follower");
  let late = true;
  const source = await beacon(stack.l1Url, (answer) => (late ? gone() : answer));
  const log = folder("follower.log");
  const following = new Child("sync", keelBinary(), ["--config", stack.config, ...arguments_(data, `beacon:${source.url}`, "--follow")], { log });
  await until("it to wait", () => /will try again.* is missing/.test(following.output()), { timeoutMs: 30_000 });
  late = false;
  const batch = async () => Number((await status(data)).batch ?? -1);
  await until("the batches there are", async () => (await batch()) >= BATCHES, { timeoutMs: 60_000 });
  // A new deposit arrives in a batch of its own.
  await stack.trader({ USDC: "5" });
  const { built } = await stack.rpc.call("bridge_getLatest");
  await until("the next batch to be followed", async () => (await batch()) > Number(built.batch), { timeoutMs: 60_000 });
  following.assertRunning();
  await following.kill();
  await source.close();

  const before = await batch();
  const again = new Child("sync", keelBinary(), ["--config", stack.config, ...arguments_(data, `node:${stack.url}`, "--follow")], { log });
  await until("one more", async () => (await batch()) > before, { timeoutMs: 60_000 });
  assert.equal((await again.stop()).code, 0);
  await assertOfTheContract(await status(data));
});
