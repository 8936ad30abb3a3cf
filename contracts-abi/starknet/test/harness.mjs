// One starknet-devnet per test file, on a port it chooses itself; accounts, deployment, and the words the contracts speak.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { createInterface } from "node:readline";
import { after, before, test as nodeTest } from "node:test";
import { Account, CallData, RpcProvider, cairo, createAbiParser, ec, events, hash, shortString } from "starknet";

export const PRIME = 2n ** 251n + 17n * 2n ** 192n + 1n;
export const CURVE_ORDER = 0x800000000000010ffffffffffffffffb781126dcae7b2321e66a241adc64d2fn;
export const L2_ADDRESS_MAX = 2n ** 251n - 257n;
export const HANDLE_DEPOSIT = BigInt(hash.getSelectorFromName("handle_deposit"));
export const EXCHANGE = 0x0457_0001n;
export const PROGRAM_HASH = 0x1234n;
export const CONFIG_HASH = 0x9abcn;
export const CANCELLATION_DELAY = 5 * 24 * 3600;
/** A deadline of signatures, later than any test gets. */
export const LATE = 2n ** 40n;
/** Words of the largest chunk of data: with its length and the rest of the call it fits the 5,000 words of a transaction. */
export const DATA_CHUNK_WORDS = 4500;

/** Poseidon over many felts and short strings, written here and not taken from the contracts. */
export const poseidon = (...words) => ec.starkCurve.poseidonHashMany(words.flat().map(felt));
export const felt = (value) => BigInt(typeof value === "string" && !value.startsWith("0x") ? shortString.encodeShortString(value) : value);
const hex = (value) => `0x${BigInt(value).toString(16)}`;

const cache = process.env.KEEL_CACHE ?? `${homedir()}/.cache/keel`;
const binary = process.env.KEEL_STARKNET_DEVNET ?? `${cache}/starknet-devnet-0.10.1/bin/starknet-devnet`;
const missing = existsSync(binary) ? false : `no starknet-devnet at ${binary} (scripts/test installs it; KEEL_STARKNET_DEVNET names another)`;
let skipped = 0;

/** A test that needs the chain: skipped, and counted as skipped, where there is no binary. */
export function test(name, body) {
  if (missing) skipped += 1;
  return nodeTest(name, { skip: missing }, body);
}

if (missing) process.on("exit", () => console.error(`SKIPPED: ${skipped} tests: ${missing}`));

const artifacts = new URL("../../artifacts/starknet/", import.meta.url);
const json = (path) => JSON.parse(readFileSync(new URL(path, artifacts), "utf8"));
const classes = new Map();

/** ABI, classes and hashes of a contract, as committed. */
function artifact(name) {
  if (!classes.has(name)) {
    const folder = name === "odd_token" ? "test" : "settlement";
    const { class_hash: classHash, compiled_class_hash_blake: compiledClassHash } =
      json(`${folder}/classes.json`).find((listed) => listed.name === name);
    const contract = json(`${folder}/${name}.contract_class.json`);
    const casm = json(`${folder}/${name}.casm.json`);
    classes.set(name, { classHash, compiledClassHash, contract, casm, abi: contract.abi });
  }
  return classes.get(name);
}

/** More than any call here needs; the accounts are rich. */
const price = { max_price_per_unit: 10n ** 12n };
const resourceBounds = {
  l1_gas: { max_amount: 10n ** 5n, ...price },
  l1_data_gas: { max_amount: 10n ** 6n, ...price },
  l2_gas: { max_amount: 2n * 10n ** 9n, ...price },
};

/** The chain of the calling file, started before its tests and ended after them: `await chain()` inside a test. */
export function useChain() {
  let started;
  before(async () => { if (!missing) started = await startChain(); });
  after(() => started?.stop());
  return () => started;
}

async function startChain() {
  const args = ["--host", "127.0.0.1", "--port", "0", "--seed", "5", "--accounts", "4", "--initial-balance", `1${"0".repeat(30)}`];
  const child = spawn(binary, args, { stdio: ["ignore", "pipe", "inherit"] });
  const url = await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`starknet-devnet ended with ${code} before it listened`)));
    createInterface({ input: child.stdout }).on("line", (line) => {
      const match = line.match(/listening on (127\.0\.0\.1:\d+)/i);
      if (match) resolve(`http://${match[1]}`);
    });
  });
  const chain = new Chain(new RpcProvider({ nodeUrl: `${url}/rpc` }), () => child.kill());
  try {
    const listed = await chain.rpc("devnet_getPredeployedAccounts");
    chain.accounts = listed.map(({ address, private_key: signer }) => new Account({ provider: chain.provider, address, signer, cairoVersion: "1" }));
    chain.id = BigInt(await chain.provider.getChainId());
    return chain;
  } catch (error) {
    child.kill();
    throw error;
  }
}

class Chain {
  #declared = new Set();
  #salt = 0n;

  constructor(provider, stop) {
    Object.assign(this, { provider, stop });
  }

  async rpc(method, params = {}) {
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
    const answer = await fetch(this.provider.channel.nodeUrl, { method: "POST", headers: { "content-type": "application/json" }, body });
    const { result, error } = await answer.json();
    assert.equal(error, undefined, JSON.stringify(error));
    return result;
  }

  /** Declares the class once, deploys a contract of it, and returns {address, abi}. */
  async deploy(name, args = [], account = this.accounts[0]) {
    const { classHash, compiledClassHash, contract, casm, abi } = artifact(name);
    if (!this.#declared.has(name)) {
      const declared = await account.declare({ contract, casm, classHash, compiledClassHash }, { resourceBounds, tip: 0 });
      await this.#receipt(declared.transaction_hash);
      assert.equal(BigInt(declared.class_hash), BigInt(classHash));
      this.#declared.add(name);
    }
    const deployed = await account.deploy(this.#deployment(name, args), { resourceBounds, tip: 0 });
    await this.#receipt(deployed.transaction_hash);
    return { name, address: BigInt(deployed.contract_address[0]), abi };
  }

  #deployment(name, args) {
    const { classHash, abi } = artifact(name);
    const constructorCalldata = args.length === 0 ? [] : new CallData(abi).compile("constructor", args);
    return { classHash, constructorCalldata, salt: hex(this.#salt++) };
  }

  #call(contract, entrypoint, args) {
    return { contractAddress: hex(contract.address), entrypoint, calldata: new CallData(contract.abi).compile(entrypoint, args) };
  }

  /** What the entry point answers: a felt, or the list of them if there are several or none. */
  async read(contract, entrypoint, args = []) {
    const words = (await this.provider.callContract(this.#call(contract, entrypoint, args))).map(BigInt);
    return words.length === 1 ? words[0] : words;
  }

  /** Sends, waits, and returns the receipt with `events` decoded by the contract's own ABI, as [name, fields]. */
  async send(contract, entrypoint, args = [], { account = this.accounts[0] } = {}) {
    const { transaction_hash: transaction } = await account.execute([this.#call(contract, entrypoint, args)], { resourceBounds, tip: 0 });
    const receipt = await this.#receipt(transaction);
    const { abi } = contract;
    const emitted = receipt.events.filter((event) => BigInt(event.from_address) === contract.address);
    const parsed = events.parseEvents(emitted, events.getAbiEvents(abi), CallData.getAbiStruct(abi), CallData.getAbiEnum(abi), createAbiParser(abi));
    return { ...receipt, events: parsed.map(eventOf) };
  }

  async #receipt(transaction) {
    const receipt = await this.provider.waitForTransaction(transaction, { retryInterval: 50 });
    assert.equal(receipt.execution_status, "SUCCEEDED", receipt.revert_reason);
    return receipt;
  }

  /** The call must revert with exactly this short string. */
  async refuses(reason, contract, entrypoint, args = [], { account = this.accounts[0] } = {}) {
    await assert.rejects(account.estimateInvokeFee([this.#call(contract, entrypoint, args)], { tip: 0 }), refusedWith(reason));
  }

  async refusesDeployment(reason, name, args) {
    await assert.rejects(this.accounts[0].estimateDeployFee(this.#deployment(name, args), { tip: 0 }), refusedWith(reason));
  }

  /** Unix seconds of the newest block, as a bigint. */
  async now() {
    return BigInt((await this.provider.getBlock("latest")).timestamp);
  }

  pass(seconds) {
    return this.rpc("devnet_increaseTime", { time: seconds });
  }
}

const refusedWith = (reason) => (error) => {
  // The innermost failure comes first; what the callers add names no reason of its own.
  const [, given] = /\('([A-Z0-9_]+)'\)/.exec(JSON.stringify(error.baseError ?? error.message)) ?? [];
  assert.equal(given, reason, error.message);
  return true;
};

/** [name without its module path, fields as felts, lists of felts, or for a u256 the number] */
function eventOf(event) {
  const [path, fields] = Object.entries(event).find(([key]) => key.includes("::"));
  const plain = (value) => (Array.isArray(value) ? value.map(BigInt) : typeof value === "boolean" ? value : BigInt(value));
  return [path.split("::").at(-1), Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, plain(value)]))];
}

/** Attestors in ascending order of their public keys. */
export function attestorKeys(count, first = 0) {
  return Array.from({ length: count }, (_, i) => {
    const secret = hex(0xa77e57 + first + i);
    return { secret, key: BigInt(ec.starkCurve.getStarkKey(secret)) };
  }).sort((a, b) => (a.key < b.key ? -1 : 1));
}

/** (public key, r, s) of each signer over a digest. */
export function signAll(signers, digest) {
  return signers.map(({ secret, key }) => {
    const { r, s } = ec.starkCurve.sign(digest.toString(16).padStart(64, "0"), secret.slice(2).padStart(64, "0"));
    return cairo.tuple(key, r, s);
  });
}

/** Written from the specification, not from the contract: the tests compare both. */
export const attestationDigest = (chain, registry, fact) => poseidon("KEEL_ATTESTATION", chain.id, registry.address, fact);
export const changeDigest = (chain, registry, nonce, keys, threshold, deadline = LATE) =>
  poseidon("KEEL_CHANGE_ATTESTORS", chain.id, registry.address, nonce, poseidon(keys), threshold, deadline);
export const successorDigest = (chain, registry, nonce, successor, deadline = LATE) =>
  poseidon("KEEL_SUCCESSOR", chain.id, registry.address, nonce, successor, deadline);
export const cancelDigest = (chain, registry, nonce, change) =>
  poseidon("KEEL_CANCEL_CHANGE", chain.id, registry.address, nonce, change);
export const transitionFact = (output, chunkHashes, programHash = PROGRAM_HASH) =>
  poseidon("KEEL_TRANSITION", programHash, poseidon(output), poseidon(chunkHashes));

/** A message to Starknet as words, in the order its hash covers. */
export const toStarknet = (from, to, payload) => [from, to, payload.length, ...payload].map(BigInt);
/** A message to the appchain as words, in the order its hash covers. */
export const toAppchain = (from, to, nonce, selector, payload) => [from, to, nonce, selector, payload.length, ...payload].map(BigInt);

/** Program output that continues `state`; `change` overrides header words by index. */
export function programOutput(state, { messagesToStarknet = [], messagesToAppchain = [], change = {} } = {}) {
  const header = [
    state.root, state.root + 1000n, state.number, state.number === PRIME - 1n ? 2n : state.number + 3n,
    state.hash, state.hash + 2000n, 0n, CONFIG_HASH, 0n, 0n,
  ];
  for (const [index, word] of Object.entries(change)) header[index] = word;
  const segment = (messages) => [BigInt(messages.flat().length), ...messages.flat()];
  return [...header, ...segment(messagesToStarknet), ...segment(messagesToAppchain)];
}

/** A core contract with a k-of-n registry, an operator, and what a settler does with them. */
export async function settlement(chain, { attestors = attestorKeys(1), threshold = 1, delayMin = 60 } = {}) {
  const registry = await chain.deploy("attestation_registry", [attestors.map(({ key }) => key), threshold, 3600]);
  const owner = chain.accounts[0].address;
  const core = await chain.deploy("appchain", [owner, PROGRAM_HASH, CONFIG_HASH, registry.address, 0, PRIME - 1n, 0, delayMin]);
  const asOperator = { account: chain.accounts[1] };
  await chain.send(core, "register_operator", [asOperator.account.address]);

  const state = async () => {
    const [root, number, blockHash] = await chain.read(core, "get_state");
    return { root, number, hash: blockHash };
  };
  const attest = (fact, signers = attestors.slice(0, threshold)) =>
    chain.send(registry, "attest", [fact, signAll(signers, attestationDigest(chain, registry, fact))]);
  const registerData = async (chunks) => {
    for (const chunk of chunks) await chain.send(core, "register_data", [chunk], asOperator);
    return chunks.map((chunk) => poseidon(chunk));
  };
  /** Registers the data, attests, then settles. Returns the receipt, the output and the fact. */
  const settle = async (content = {}, chunks = [[2n, 0n]]) => {
    const output = programOutput(await state(), content);
    const hashes = await registerData(chunks);
    const fact = transitionFact(output, hashes);
    await attest(fact);
    return { receipt: await chain.send(core, "update_state", [output, hashes], asOperator), output, fact };
  };
  return { registry, core, attestors, asOperator, state, attest, registerData, settle };
}
