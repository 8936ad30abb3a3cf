// A reader of settled batches that shares no code with the node: the worked example of docs/bridge.md.
//
//   node decode_batch.mjs --genesis genesis.json --node http://127.0.0.1:9944/rpc            data from a node
//   node decode_batch.mjs --genesis genesis.json --ethereum http://127.0.0.1:8545 [--beacon URL]   data from the chain alone
//     [--batch N]  the batch whose changes are shown, else the newest       [--account 0x…]  also this account (may be repeated)
//
// It reads every batch from 0 on, because aliases are given once and used ever after; keeps nothing but a map of storage slots; and prints the
// balances that batch N changed. From a node the words are taken on trust; from the chain they are what the contract accepted.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { pathToFileURL } from "node:url";
import { hash } from "starknet";
import { decodeFunctionData, parseAbi, toEventSelector } from "viem";

const P = 2n ** 251n + 17n * 2n ** 192n + 1n;
const hex = (value) => `0x${value.toString(16)}`;
const low = (value, bits) => value & ((1n << BigInt(bits)) - 1n);

// 1. Words -> packed diff: stateless compression, version 0. ------------------------------------------------------------------

/** Bits of the values of each bucket, largest first; the seventh "bucket" of an element is a repetition of an earlier value. */
const BUCKET_BITS = [252, 125, 83, 62, 31, 15];
const WORD_BITS = 251;

/** The words that `compressed` stands for. Words after the last one that belongs to it (a blob is filled with zeros) must be zero. */
export function decompress(compressed) {
  const numbers = Array.from({ length: 9 }, (_, index) => Number(low(compressed[0] >> BigInt(20 * index), 20)));
  const [version, length, ...rest] = numbers;
  const counts = rest.slice(0, 6);
  const repetitions = rest[6];
  if (version !== 0) throw new Error(`compression version ${version}`);
  let at = 1;
  const values = []; // by bucket, then the repetitions
  counts.forEach((count, bucket) => {
    const bits = BUCKET_BITS[bucket];
    values[bucket] = fixed(count, valuesPerWord(bits), (word, index) => low(word >> BigInt(bits * index), bits));
  });
  const distinct = values.flat();
  values[6] = digits(repetitions, distinct.length).map((index) => distinct[index]);
  const next = new Array(7).fill(0);
  const words = digits(length, 7).map((bucket) => values[bucket][next[bucket]++]);
  if (words.some((word) => word === undefined)) throw new Error("an element without a value");
  if (compressed.slice(at).some((word) => word !== 0n)) throw new Error("words are left over");
  return words;

  /** `count` items, `perWord` of them in a word. */
  function fixed(count, perWord, item) {
    const start = at;
    at += Math.ceil(count / perWord);
    return Array.from({ length: count }, (_, index) => item(compressed[start + Math.floor(index / perWord)], index % perWord));
  }

  /** `count` digits of a base, packed least significant first. */
  function digits(count, base) {
    return fixed(count, digitsPerWord(base), (word, index) => Number((word / BigInt(base) ** BigInt(index)) % BigInt(base)));
  }
}

/** As many digits of a base as 251 bits hold, each in whole bits. */
const digitsPerWord = (base) => Math.floor(WORD_BITS / Math.max(base - 1, 0).toString(2).length);
const valuesPerWord = (bits) => Math.max(1, Math.floor(WORD_BITS / bits));

/** Words that belong to a compression header, itself among them. */
export function compressedLength(header) {
  const number = (index) => Number(low(header >> BigInt(20 * index), 20));
  const counts = [2, 3, 4, 5, 6, 7].map(number);
  const distinct = counts.reduce((a, b) => a + b, 0);
  const values = counts.reduce((sum, count, i) => sum + Math.ceil(count / valuesPerWord(BUCKET_BITS[i])), 0);
  return 1 + values + Math.ceil(number(8) / digitsPerWord(distinct)) + Math.ceil(number(1) / digitsPerWord(7));
}

// 2. Packed diff -> changes. -------------------------------------------------------------------------------------------------

/** {contracts: [{address, nonce, classHash, storage: [[key, value]]}], classes: [[hash, compiledHash]]}, under aliases still. */
export function unpack(words) {
  let at = 0;
  const take = () => {
    if (at >= words.length) throw new Error("the packed diff ends early");
    return words[at++];
  };
  const pairs = (count) => Array.from({ length: count }, () => [take(), take()]);
  const contracts = Array.from({ length: Number(take()) }, () => {
    const address = take();
    const word = take();
    const [counts, small, classChanged] = [word >> 2n, (word >> 1n) & 1n, word & 1n];
    const bits = small ? 8 : 64;
    const classHash = classChanged ? take() : undefined;
    return { address, nonce: counts >> BigInt(bits), classHash, storage: pairs(Number(low(counts, bits))) };
  });
  const classes = pairs(Number(take()));
  if (at !== words.length) throw new Error("words after the packed diff");
  return { contracts, classes };
}

// 3. Aliases -> addresses and keys; changes -> state. ---------------------------------------------------------------------------

/** Contract 0x2 maps key -> alias; addresses above 15, and their keys, stand as aliases where they are 128 or more. */
const ALIAS_CONTRACT = 2n;
const ALIAS_FIRST = 128n;
const NOT_COMPRESSED_MAX = 15n;

/** The storage of the chain, from nothing on. */
export class State {
  #names = new Map();
  storage = new Map(); // `address:key` -> value

  get(address, key) {
    return this.storage.get(`${address}:${key}`) ?? 0n;
  }

  /** Applies a batch's data words; gives the slots that changed as {address, key, before, after}. */
  apply(words) {
    const { contracts } = unpack(decompress(words));
    // The aliases that a batch allocates are in its own diff.
    for (const { address, storage } of contracts) {
      if (address === ALIAS_CONTRACT) for (const [key, alias] of storage) if (key >= ALIAS_FIRST) this.#names.set(alias, key);
    }
    const changes = [];
    for (const contract of contracts) {
      const compressed = contract.address > NOT_COMPRESSED_MAX;
      const address = compressed ? this.#name(contract.address) : contract.address;
      for (const [key, after] of contract.storage.map(([key, value]) => [compressed ? this.#name(key) : key, value])) {
        changes.push({ address, key, before: this.get(address, key), after });
        this.storage.set(`${address}:${key}`, after);
      }
    }
    return changes;
  }

  #name(alias) {
    if (alias < ALIAS_FIRST) return alias;
    const name = this.#names.get(alias);
    if (name === undefined) throw new Error(`alias ${hex(alias)} was never allocated: is a batch missing?`);
    return name;
  }
}

// 4. Program output. -----------------------------------------------------------------------------------------------------------

/** {before, after: {root, number, hash}, blobs?, toL1: [{from, to, payload}], toL2: [{from, to, nonce, selector, payload}]} */
export function parseOutput(words) {
  const [beforeRoot, afterRoot, beforeNumber, afterNumber, beforeHash, afterHash, , configHash, useKzg, full] = words;
  if (full !== 0n) throw new Error("a full output is never accepted");
  const number = (word) => (word === P - 1n ? -1n : word);
  let at = 10;
  const take = (count) => words.slice(at, (at += count));
  let blobs;
  if (useKzg === 1n) {
    const [z, count] = take(2);
    const pairs = (flat) => Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i], flat[2 * i + 1]]);
    blobs = { z, commitments: pairs(take(2 * Number(count))), evaluations: pairs(take(2 * Number(count))) };
  }
  const segment = (head) => {
    const end = at + 1 + Number(words[at++]);
    const messages = [];
    while (at < end) {
      const fields = take(head.length);
      const payload = take(Number(take(1)[0]));
      messages.push({ ...Object.fromEntries(head.map((name, i) => [name, fields[i]])), payload });
    }
    if (at !== end) throw new Error("a message does not end with its segment");
    return messages;
  };
  const toL1 = segment(["from", "to"]);
  const toL2 = segment(["from", "to", "nonce", "selector"]);
  if (at !== words.length) throw new Error("words after the program output");
  return {
    before: { root: beforeRoot, number: number(beforeNumber), hash: beforeHash },
    after: { root: afterRoot, number: number(afterNumber), hash: afterHash }, configHash, blobs, toL1, toL2,
  };
}

// 5. Blobs -> words. -------------------------------------------------------------------------------------------------------------

const R = 52435875175126190479447740508185965837690552500527637822603658699938581184513n; // order of BLS12-381's scalars
const ROOT = 39033254847818212395286706435128746857159659164139250548781411570340225835782n; // of unity, 4096-th
const BLOB_WORDS = 4096;

const power = (base, exponent) => {
  let result = 1n;
  for (let [b, e] = [base, exponent]; e > 0n; [b, e] = [(b * b) % R, e >> 1n]) if (e & 1n) result = (result * b) % R;
  return result;
};

/** The coefficients of a blob's polynomial: its 4,096 values stand in bit-reversed order. */
export function blobWords(blob) {
  const bytes = Buffer.from(blob.replace(/^0x/, ""), "hex");
  if (bytes.length !== 32 * BLOB_WORDS) throw new Error(`a blob has ${bytes.length} bytes`);
  let values = Array.from({ length: BLOB_WORDS }, (_, i) => BigInt(`0x${bytes.toString("hex", 32 * i, 32 * i + 32)}`));
  // Radix 2, from bit-reversed values to coefficients in order.
  const inverse = power(ROOT, R - 2n);
  for (let size = 2; size <= BLOB_WORDS; size *= 2) {
    const step = power(inverse, BigInt(BLOB_WORDS / size));
    for (let start = 0; start < BLOB_WORDS; start += size) {
      for (let [i, w] = [start, 1n]; i < start + size / 2; [i, w] = [i + 1, (w * step) % R]) {
        const [even, odd] = [values[i], (values[i + size / 2] * w) % R];
        [values[i], values[i + size / 2]] = [(even + odd) % R, (even + R - odd) % R];
      }
    }
  }
  const scale = power(BigInt(BLOB_WORDS), R - 2n);
  return values.map((value) => (value * scale) % R);
}

/**
 * Whether words are those of an accepted output's blobs. The contract has checked, by KZG proof, that each blob's polynomial is `evaluation` at
 * `z`; `z` is a hash of the words and of the commitments. So words that hash to `z` and have these values are the ones in the blobs.
 */
export function checkBlobs({ z, commitments, evaluations }, words, blobs) {
  const many = (felts) => hash.computePoseidonHashOnElements(felts.map(hex));
  if (BigInt(hash.computePoseidonHash(many(words), many(commitments.flat()))) !== z) throw new Error("the words do not hash to z");
  checkValues({ z, evaluations }, blobs);
}

/** Whether the polynomials with these coefficients have the values of the output. */
export function checkValues({ z, evaluations }, blobs) {
  if (blobs.length !== evaluations.length) throw new Error(`${blobs.length} blobs where the output has ${evaluations.length}`);
  blobs.forEach((coefficients, i) => {
    const value = coefficients.reduceRight((sum, coefficient) => (sum * z + coefficient) % R, 0n);
    const [lowHalf, highHalf] = evaluations[i];
    if (value !== (highHalf << 128n) + lowHalf) throw new Error(`blob ${i} is not the one that was accepted`);
  });
}

// 6. Where batches are read. -------------------------------------------------------------------------------------------------------

async function call(url, method, params) {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
  const answer = await (await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body })).json();
  if (answer.error) throw new Error(`${method}: ${answer.error.message}`);
  return answer.result;
}

/** Every batch of a node, in order: {batch, output, words}. */
export async function* fromNode(url) {
  const { built } = await call(url, "bridge_getLatest", {});
  for (let batch = 0; batch <= Number(built?.batch ?? -1); batch++) {
    const { programOutput } = await call(url, "bridge_getBatch", { batch: String(batch) });
    const words = [];
    for (let [page, pages] = [0, 1]; page < pages; page++) {
      const data = await call(url, "bridge_getBatchData", { batch: String(batch), page: String(page) });
      pages = Number(data.pages);
      words.push(...data.words.map(BigInt));
    }
    yield { batch, output: programOutput.map(BigInt), words };
  }
}

const CORE = parseAbi([
  "function updateStateWithData(uint256[] programOutput, uint256[] daWords)",
  "function updateStateKzgDA(uint256[] programOutput, bytes[] kzgProofs)",
]);
const LOG_STATE_UPDATE = toEventSelector("LogStateUpdate(uint256,int256,uint256)");

/** Every batch that the core contract has accepted, in order. Blobs are asked of `beacon`, the beacon API of an Ethereum node. */
export async function* fromEthereum(url, core, beacon = url) {
  const logs = await call(url, "eth_getLogs", [{ address: core, topics: [LOG_STATE_UPDATE], fromBlock: "0x0", toBlock: "latest" }]);
  for (const [batch, log] of logs.entries()) {
    const transaction = await call(url, "eth_getTransactionByHash", [log.transactionHash]);
    const { functionName, args } = decodeFunctionData({ abi: CORE, data: transaction.input });
    const output = [...args[0]];
    if (functionName === "updateStateWithData") {
      yield { batch, output, words: [...args[1]] };
      continue;
    }
    const block = await call(url, "eth_getBlockByNumber", [log.blockNumber, false]);
    const blobs = await fromBeacon(beacon, block, transaction.blobVersionedHashes);
    const padded = blobs.flat();
    const words = padded.slice(0, compressedLength(padded[0]));
    checkBlobs(parseOutput(output).blobs, words, blobs);
    yield { batch, output, words };
  }
}

/** Words of the blobs with these versioned hashes. A beacon API goes by slots; a development chain's, which has none, by block numbers. */
async function fromBeacon(url, { number, timestamp }, hashes) {
  const get = async (path) => {
    const answer = await fetch(`${url}${path}`);
    return answer.ok ? (await answer.json()).data : undefined;
  };
  let id = Number(number);
  const spec = await get("/eth/v1/config/spec");
  if (spec) {
    const { genesis_time: genesisTime } = await get("/eth/v1/beacon/genesis");
    id = ((Number(timestamp) - Number(genesisTime)) * 1_000) / Number(spec.SLOT_DURATION_MS ?? spec.SECONDS_PER_SLOT * 1_000);
  }
  const blobs = [];
  for (const hash of hashes) {
    const [blob] = (await get(`/eth/v1/beacon/blobs/${id}?versioned_hashes=${hash}`)) ?? [];
    if (blob === undefined) throw new Error(`the beacon endpoint does not have blob ${hash} of slot ${id}`);
    blobs.push(blobWords(blob));
  }
  return blobs;
}

// 7. What it means on this chain. -------------------------------------------------------------------------------------------------------

/** Balances stand in `balances: (account, asset id) -> signed`, stored as value + 2^127 so that zero is never absent. */
const balanceSlot = (account, asset) =>
  BigInt([account, BigInt(asset)].map(hex).reduce((slot, key) => hash.computePedersenHash(slot, key), hash.starknetKeccak("balances").toString()))
  % (2n ** 251n - 256n);
const signed = (word) => (word === 0n ? 0n : word - 2n ** 127n);

/** Who has money: whoever ever received a deposit (the messages say so), the chain's own accounts, and those that are named. */
export function balanceChanges(genesis, accounts, changes) {
  const exchange = BigInt(genesis.exchange);
  const slots = new Map();
  for (const account of accounts) {
    genesis.assets.forEach(({ symbol }, id) => slots.set(balanceSlot(account, id), { account: hex(account), asset: symbol }));
  }
  return changes.filter(({ address, key }) => address === exchange && slots.has(key))
    .map(({ key, before, after }) => ({ ...slots.get(key), before: signed(before), after: signed(after) }));
}

/** Follows batches up to number `until` (or all) and says what the last one changed. */
export async function decode(batches, genesis, { until = Infinity, accounts = [] } = {}) {
  const state = new State();
  const known = new Set([...accounts, genesis.fee_account, genesis.insurance_account].filter(Boolean).map(BigInt));
  let last;
  for await (const { batch, output, words } of batches) {
    const parsed = parseOutput(output);
    if (last && (parsed.before.root !== last.output.after.root || parsed.before.number !== last.output.after.number)) {
      throw new Error(`batch ${batch} does not continue batch ${last.batch}`);
    }
    // A deposit's payload: token, account, amount.
    for (const { payload } of parsed.toL2) known.add(payload[1]);
    last = { batch, output: parsed, changes: state.apply(words) };
    if (batch >= until) break;
  }
  const balanceOf = (account, asset) => signed(state.get(BigInt(genesis.exchange), balanceSlot(BigInt(account), asset)));
  return last && { ...last, balances: balanceChanges(genesis, known, last.changes), balanceOf };
}

async function main() {
  const { values } = parseArgs({ options: {
    genesis: { type: "string" }, node: { type: "string" }, ethereum: { type: "string" }, beacon: { type: "string" },
    batch: { type: "string" }, account: { type: "string", multiple: true },
  } });
  const genesis = JSON.parse(readFileSync(values.genesis, "utf8"));
  const batches = values.node ? fromNode(values.node) : fromEthereum(values.ethereum, genesis.settlement.core, values.beacon);
  const until = values.batch === undefined ? Infinity : Number(values.batch);
  const found = await decode(batches, genesis, { until, accounts: values.account });
  if (!found) return console.log("no batch yet");
  const { batch, output, changes, balances } = found;
  console.log(`batch ${batch}: block ${output.after.number}, root ${hex(output.after.root)}, ${changes.length} slots changed`);
  for (const { to, payload } of output.toL1) console.log(`  message to ${hex(to)}: ${payload.map(hex).join(" ")}`);
  for (const { account, asset, before, after } of balances) console.log(`  ${account} ${asset}: ${decimal(before)} -> ${decimal(after)}`);
}

/** Quantums of 1e-8 as a decimal. */
function decimal(value) {
  const digits = (value < 0n ? -value : value).toString().padStart(9, "0");
  return `${value < 0n ? "-" : ""}${digits.slice(0, -8)}.${digits.slice(-8)}`.replace(/\.?0+$/, "");
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await main();
