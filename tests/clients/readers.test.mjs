// Wallets, indexers and explorers read the chain with the libraries they have, while others trade: one script of reads, each with the
// value that must come, through starknet.js in both versions, starknet.py and starknet-rust. And a bridge checks storage proofs itself.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { RpcProvider } from "starknet";
import { locate } from "./lib/cairo_storage.mjs";
import { Stack, fromQuantums, repository, toQuantums, until } from "./lib/keel.mjs";
import { Load } from "./lib/load.mjs";
import { classLeaf, contractLeaf, proveClass, proveContract, proveSlot, stateRoot } from "./lib/patricia.mjs";
import { read, steps } from "./readers/starknet_js.mjs";
import { felt, scriptFor } from "./readers/script.mjs";

const MARKET = "ETH-USDC";
const PASSES = 3;
const READER_TIMEOUT_MS = 120_000;
const TWO_POW_127 = 2n ** 127n;

const run = promisify(execFile);
const readText = (path) => readFileSync(join(repository, path), "utf8");
const versioned = (path) => stack.url.replace(/\/rpc$/, `/rpc/${path}`);

let stack;
let load;
let script;
let quiet;

before(async () => {
  stack = await Stack.temporary();
  await stack.open();
  const l1 = await stack.person();
  const trader = (funds) => stack.trader(funds);
  const [maker, ...crowd] = await Promise.all([trader({ ETH: "5" }), trader({ ETH: "50" }), trader({ USDC: "500000" }), trader({ ETH: "50" }), trader({ USDC: "500000" })]);
  load = Load.start(stack, MARKET, [[crowd[0], crowd[1]], [crowd[2], crowd[3]]]);

  // The one whom the script is about: deposits once, buys twice, withdraws once, and is quiet from then on.
  quiet = await trader({});
  const units = toQuantums("40000") / stack.quantumsPerUnit("USDC");
  await quiet.l1.mint("USDC", units);
  const deposit = await quiet.l1.deposit("USDC", units, quiet.address);
  await stack.credited(deposit.nonce);
  for (const size of ["0.5", "0.25"]) await buy(maker, size);
  const recipient = l1.address.toLowerCase();
  const { id } = await quiet.withdraw("USDC", "12.5", recipient);
  const { height } = await stack.status();
  const last = Number(height) + 1;
  await until("the quiet trader's last command to be in a block", async () => Number((await stack.status()).block?.height ?? -1) >= last);
  script = await scriptFor(stack, {
    quiet, deposit, asset: "USDC", amount: "40000", withdrawal: { asset: "USDC", amount: "12.5", recipient, id }, last,
  });
}, { timeout: 240_000 });
after(async () => {
  await load?.stop();
  await stack?.stop();
});

/** The quiet trader buys all of one order of the maker's, who asks a little less than the crowd so that nobody else is met. */
async function buy(maker, size) {
  await until(`${size} bought of the maker`, async () => {
    const { mark, tickSize } = await stack.market(MARKET);
    const tick = toQuantums(tickSize);
    const price = fromQuantums((toQuantums(mark) / tick) * tick - 20n * tick);
    const resting = await maker.place({ market: MARKET, type: "LIMIT", side: "SELL", size, price, timeInForce: "POST_ONLY" });
    const bought = await quiet.place({ market: MARKET, type: "LIMIT", side: "BUY", size, price, timeInForce: "FOK" }).catch(() => undefined);
    await maker.cancelAll().catch(() => undefined);
    return resting.state === "OPEN" && bought?.state === "FILLED";
  });
}

function assertRead({ ran, wrong }, expected) {
  assert.deepEqual(wrong, []);
  assert.equal(ran, expected);
}

/** Runs a reader of another language over the script at the newest version. */
async function reader(command, args, reads = script) {
  const task = join(stack.directory, "script.json");
  const whole = [{ step: "specVersion", args: {}, expect: "0.10.2" }, ...reads];
  writeFileSync(task, JSON.stringify({ url: versioned("v0_10"), script: whole, passes: PASSES }));
  const { stdout } = await run(command, [...args, task], { cwd: repository, timeout: READER_TIMEOUT_MS, maxBuffer: 1 << 26 });
  return JSON.parse(stdout);
}

for (const [path, version] of [["v0_9", "0.9.0"], ["v0_10", "0.10.2"]]) {
  test(`starknet.js reads every value of the script at /rpc/${path}, while others trade`, async (t) => {
    const before = load.fills;
    const whole = [{ step: "specVersion", args: {}, expect: version }, ...script];
    assert.deepEqual(new Set(whole.map(({ step }) => step)), new Set(steps), "every step is used");
    assertRead(await read({ url: versioned(path), version, script: whole, passes: PASSES }), whole.length * PASSES);
    assert.ok(load.fills > before, "nobody traded meanwhile");
    t.diagnostic(`${whole.length} reads, ${PASSES} times; ${load.fills - before} fills meanwhile`);
  });
}

test("starknet.py reads every value of the script, while others trade", { timeout: READER_TIMEOUT_MS }, async (t) => {
  const python = process.env.KEEL_STARKNET_PY;
  if (!python) return t.skip("KEEL_STARKNET_PY, a Python with starknet.py 0.30.0, is not set");
  const before = load.fills;
  assertRead(await reader(python, ["tests/clients/readers/read_with_starknet_py.py"]), (script.length + 1) * PASSES);
  assert.ok(load.fills > before, "nobody traded meanwhile");
  t.diagnostic(`${load.fills - before} fills meanwhile`);
});

test("starknet-rust reads every value of the script, while others trade", { timeout: READER_TIMEOUT_MS }, async (t) => {
  const binary = process.env.KEEL_STARKNET_RUST
    ?? join(process.env.CARGO_TARGET_DIR ?? join(repository, "target"), "clients/debug/starknet-rust-reader");
  const before = load.fills;
  // The compiled class is not among the questions its provider can ask.
  const asked = script.filter(({ step }) => step !== "casmHash");
  assertRead(await reader(binary, [], asked), (asked.length + 1) * PASSES);
  assert.ok(load.fills > before, "nobody traded meanwhile");
  t.diagnostic(`${load.fills - before} fills meanwhile`);
});

test("a bridge proves balances, absences and classes from the root on the settlement layer alone", async () => {
  const { root, block, hash } = await quiet.l1.settled();
  const number = Number(block);
  const chain = new RpcProvider({ nodeUrl: versioned("v0_10"), specVersion: "0.10.2" });
  const exchange = felt(stack.genesis.exchange);
  const absent = "0x7777777777777777";
  const usdc = stack.genesis.assets.findIndex(({ symbol }) => symbol === "USDC");
  const balanceSlot = felt(locate("balances", [quiet.address, usdc]).slot);
  const { balances } = await quiet.account();
  const total = toQuantums(balances.find(({ asset }) => asset === "USDC").total);
  const classes = JSON.parse(readText("contracts-abi/artifacts/starknet/classes.json"));

  const proof = await chain.getStorageProof(
    [...classes.map(({ class_hash: of }) => of), absent], [exchange, absent, felt(stack.genesis.operator), "0x1"],
    [{ contract_address: exchange, storage_keys: [balanceSlot, absent] }, { contract_address: "0x1", storage_keys: [felt(number - 10), felt(number + 1)] }],
    number,
  );
  assert.equal(BigInt(proof.global_roots.block_hash), BigInt(hash));
  assert.equal(stateRoot(proof.global_roots), BigInt(root), "the two tries are under the settled root");

  const [leaf, none, operator, blockHashes] = proof.contracts_proof.contract_leaves_data;
  assert.equal(proveContract(proof, exchange), contractLeaf(leaf));
  assert.equal(proveContract(proof, felt(stack.genesis.operator)), contractLeaf(operator));
  assert.equal(proveContract(proof, "0x1"), contractLeaf(blockHashes));
  assert.equal(proveContract(proof, absent), 0n);
  assert.deepEqual([BigInt(none.class_hash), BigInt(none.nonce)], [0n, 0n]);

  assert.equal(proveSlot(proof, 0, leaf.storage_root, balanceSlot), total + TWO_POW_127, "the balance, to the quantum");
  assert.equal(proveSlot(proof, 0, leaf.storage_root, absent), 0n);
  const buried = await chain.getBlockWithTxHashes(number - 10);
  assert.equal(proveSlot(proof, 1, blockHashes.storage_root, felt(number - 10)), BigInt(buried.block_hash));
  assert.equal(proveSlot(proof, 1, blockHashes.storage_root, felt(number + 1)), 0n);

  for (const { class_hash: of, compiled_class_hash_blake: compiled } of classes) {
    assert.equal(proveClass(proof, of), classLeaf(compiled));
  }
  assert.equal(proveClass(proof, absent), 0n);

  // With one word of any node on the way changed, it proves nothing.
  const alone = await chain.getStorageProof([], [], [{ contract_address: exchange, storage_keys: [balanceSlot] }], number);
  assert.equal(proveSlot(alone, 0, leaf.storage_root, balanceSlot), total + TWO_POW_127);
  for (const { node } of alone.contracts_storage_proofs[0]) {
    const field = node.child === undefined ? "left" : "child";
    const honest = node[field];
    node[field] = felt(BigInt(honest) + 1n);
    assert.throws(() => proveSlot(alone, 0, leaf.storage_root, balanceSlot), /another hash/);
    node[field] = honest;
  }
});

test("proofs of 20 old blocks verify under each block's own root, with the value of that block", async () => {
  const chain = new RpcProvider({ nodeUrl: versioned("v0_10"), specVersion: "0.10.2" });
  const exchange = felt(stack.genesis.exchange);
  const usdc = stack.genesis.assets.findIndex(({ symbol }) => symbol === "USDC");
  const key = felt(locate("balances", [felt(stack.genesis.fee_account ?? quiet.address), usdc]).slot);
  // Fees are earned while this waits.
  const start = await chain.getBlockNumber();
  await until("20 blocks", async () => await chain.getBlockNumber() >= start + 19, { timeoutMs: 60_000 });
  const tip = start + 19;
  const values = new Set();
  for (let number = start; number <= tip; number++) {
    const [proof, header, value] = await Promise.all([
      chain.getStorageProof([], [exchange], [{ contract_address: exchange, storage_keys: [key] }], number),
      chain.getBlockWithTxHashes(number), chain.getStorageAt(exchange, key, number),
    ]);
    assert.equal(stateRoot(proof.global_roots), BigInt(header.new_root), `block ${number}`);
    const [leaf] = proof.contracts_proof.contract_leaves_data;
    assert.equal(proveContract(proof, exchange), contractLeaf(leaf));
    const proved = proveSlot(proof, 0, leaf.storage_root, key);
    assert.equal(proved, BigInt(value.value ?? value));
    values.add(proved);
  }
  assert.ok(values.size > 1, "the fees that were earned meanwhile are not in the proofs");
});
