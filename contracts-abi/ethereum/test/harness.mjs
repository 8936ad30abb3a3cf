// One anvil per test file, on a port it chooses itself; clients, deployment, and the words the contracts speak.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import {
  BaseError, ContractFunctionRevertedError, createTestClient, encodeAbiParameters, encodePacked, getAddress, http,
  keccak256, parseEventLogs, publicActions, stringToHex, toHex, walletActions,
} from "viem";
import { mnemonicToAccount, privateKeyToAccount } from "viem/accounts";
import { foundry } from "viem/chains";
import { compile } from "../compile.mjs";

export const PRIME = 2n ** 251n + 17n * 2n ** 192n + 1n;
export const HANDLE_DEPOSIT = BigInt(keccak256(toHex("handle_deposit"))) & (2n ** 250n - 1n);
export const EXCHANGE = 0x0457_0001n;
export const PROGRAM_HASH = 0x1234n;
export const AGGREGATOR_PROGRAM_HASH = 0x5678n;
export const CONFIG_HASH = 0x9abcn;
export const CANCELLATION_DELAY = 5 * 24 * 3600;

const packageDirectory = fileURLToPath(new URL("../..", import.meta.url));

function artifact(name) {
  return JSON.parse(readFileSync(`${packageDirectory}artifacts/ethereum/${name}.json`, "utf8"));
}

/** Contracts that exist for tests alone are compiled here; the shipped ones are taken as committed. */
export const testContracts = () => compile("test/contracts");

/** A node of its own for the calling file; call `stop` when done. */
export async function startChain() {
  const command = process.env.KEEL_ANVIL ?? `${packageDirectory}node_modules/.bin/anvil`;
  const child = spawn(command, ["--port", "0", "--host", "127.0.0.1"], {
    stdio: ["ignore", "pipe", "inherit"],
    // The command is a launcher that starts the real binary: stopping the group stops both.
    detached: true,
  });
  const url = await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`anvil ended with ${code} before it listened`)));
    createInterface({ input: child.stdout }).on("line", (line) => {
      const match = line.match(/Listening on (127\.0\.0\.1:\d+)/);
      if (match) resolve(`http://${match[1]}`);
    });
  });
  const accounts = Array.from({ length: 6 }, (_, addressIndex) =>
    mnemonicToAccount("test test test test test test test test test test test junk", { addressIndex }),
  );
  const client = createTestClient({
    chain: foundry, mode: "anvil", transport: http(url, { timeout: 60_000 }), account: accounts[0], pollingInterval: 20, cacheTime: 0,
  }).extend(publicActions).extend(walletActions);
  return new Chain(client, accounts, () => process.kill(-child.pid));
}

class Chain {
  constructor(client, accounts, stop) {
    Object.assign(this, { client, accounts, stop });
  }

  /** Deploys a shipped contract by name, or one of `testContracts()`. */
  async deploy(contract, args = [], account = this.accounts[0]) {
    const { abi, bytecode } = typeof contract === "string" ? artifact(contract) : contract;
    const hash = await this.client.deployContract({ abi, bytecode, args, account });
    const { contractAddress, status } = await this.client.waitForTransactionReceipt({ hash });
    assert.equal(status, "success");
    return { address: getAddress(contractAddress), abi };
  }

  read(contract, functionName, args = []) {
    return this.client.readContract({ ...contract, functionName, args });
  }

  /** Sends, waits, and returns the receipt with `events` decoded by the contract's own ABI, as [name, args]. */
  async send(contract, functionName, args = [], { account = this.accounts[0], value } = {}) {
    const hash = await this.client.writeContract({ ...contract, functionName, args, account, value });
    return this.receipt(contract, hash);
  }

  async receipt(contract, hash) {
    const receipt = await this.client.waitForTransactionReceipt({ hash });
    assert.equal(receipt.status, "success");
    const events = parseEventLogs({ abi: contract.abi, logs: receipt.logs }).map((log) => [log.eventName, log.args ?? {}]);
    return { ...receipt, events };
  }

  /** The call must revert with exactly this string or custom error name. */
  async refuses(reason, contract, functionName, args = [], { account = this.accounts[0], value } = {}) {
    const call = this.client.simulateContract({ ...contract, functionName, args, account, value });
    await assert.rejects(call, (error) => assertReason(error, reason));
  }

  async refusesDeployment(reason, name, args) {
    const { abi, bytecode } = artifact(name);
    const call = this.client.deployContract({ abi, bytecode, args });
    await assert.rejects(call, (error) => {
      const [signature] = abi.filter((e) => e.type === "error" && e.name === reason)
        .map((e) => keccak256(toHex(`${e.name}(${e.inputs.map((i) => i.type).join(",")})`)).slice(0, 10));
      const text = error.walk((e) => typeof e.details === "string").details;
      assert.ok(text.includes(signature ?? reason), `${text} does not name ${reason}`);
      return true;
    });
  }

  /** Unix seconds of the newest block, as a bigint. */
  async now() {
    return (await this.client.getBlock()).timestamp;
  }

  async pass(seconds) {
    await this.client.increaseTime({ seconds });
    await this.client.mine({ blocks: 1 });
  }
}

function assertReason(error, reason) {
  const revert = error instanceof BaseError && error.walk((e) => e instanceof ContractFunctionRevertedError);
  if (!revert) throw error;
  const given = revert.data?.errorName === "Error" ? revert.data.args[0] : revert.data?.errorName;
  assert.equal(given ?? revert.reason ?? revert.signature, reason);
  return true;
}

/** Attestor keys, in ascending order of address. */
export function attestorKeys(count) {
  return Array.from({ length: count }, (_, i) => privateKeyToAccount(toHex(0xa77e57n + BigInt(i), { size: 32 })))
    .sort((a, b) => (BigInt(a.address) < BigInt(b.address) ? -1 : 1));
}

export function registryTypedData(chain, registry, primaryType, message) {
  return {
    domain: { name: "Keel AttestationRegistry", version: "1", chainId: foundry.id, verifyingContract: registry.address },
    types: {
      Attestation: [{ name: "fact", type: "bytes32" }],
      ChangeAttestors: [
        { name: "nonce", type: "uint256" },
        { name: "attestors", type: "address[]" },
        { name: "threshold", type: "uint256" },
        { name: "deadline", type: "uint256" },
      ],
      SetSuccessor: [
        { name: "nonce", type: "uint256" },
        { name: "successor", type: "address" },
        { name: "deadline", type: "uint256" },
      ],
      CancelChange: [{ name: "nonce", type: "uint256" }, { name: "change", type: "bytes32" }],
    },
    primaryType,
    message,
  };
}

export function signAll(chain, registry, signers, primaryType, message) {
  const typedData = registryTypedData(chain, registry, primaryType, message);
  return Promise.all(signers.map((signer) => signer.signTypedData(typedData)));
}

export function initData({ verifier, root = 0n, blockNumber = -1n, blockHash = 0n, programHash = PROGRAM_HASH }) {
  return encodeAbiParameters(
    [
      { type: "uint256" }, { type: "uint256" }, { type: "address" }, { type: "uint256" },
      { type: "uint256" }, { type: "int256" }, { type: "uint256" },
    ],
    [programHash, AGGREGATOR_PROGRAM_HASH, verifier, CONFIG_HASH, root, blockNumber, blockHash],
  );
}

const words = (values) => encodePacked(["uint256[]"], [values]);
export const hashWords = (values) => keccak256(words(values));

/** Facts are written from the specification, not from the contract: the tests compare both. */
export const factWithData = (output, data) =>
  keccak256(words([BigInt(stringToHex("KEEL_DATA")), BigInt(hashWords(output)), BigInt(hashWords(data))]));

export function factWithDataElsewhere(output, dataHash, dataWords) {
  const length = BigInt(output.length);
  const node = keccak256(words([BigInt(hashWords(output)), length, BigInt(dataHash), length + BigInt(dataWords)]));
  return toHex((BigInt(node) + 1n) % 2n ** 256n, { size: 32 });
}

export const coreFact = (programHash, transition) => keccak256(words([programHash, BigInt(transition)]));

/** A message to L1 as words. */
export const toL1 = (from, to, payload) => [BigInt(from), BigInt(to), BigInt(payload.length), ...payload.map(BigInt)];
/** A message to L2 as words, in the order its hash covers. */
export const toL2 = (from, to, nonce, selector, payload) =>
  [BigInt(from), BigInt(to), BigInt(nonce), selector, BigInt(payload.length), ...payload.map(BigInt)];

/** Program output that continues `state`; `change` overrides header words by index. */
export function programOutput(state, { messagesToL1 = [], messagesToL2 = [], kzgSection = [], change = {} } = {}) {
  const header = [
    state.root, state.root + 1000n,
    state.number === -1n ? PRIME - 1n : state.number, state.number + 3n,
    state.hash, state.hash + 2000n,
    0n, CONFIG_HASH, kzgSection.length > 0 ? 1n : 0n, 0n,
  ];
  for (const [index, word] of Object.entries(change)) header[index] = word;
  const segment = (messages) => [BigInt(messages.flat().length), ...messages.flat()];
  return [...header, ...kzgSection, ...segment(messagesToL1), ...segment(messagesToL2)];
}

/** A core contract with a k-of-n registry, an operator, and what a settler does with them. */
export async function settlement(chain, { attestors = attestorKeys(1), threshold = 1, operator, delayMin = 60n } = {}) {
  const registry = await chain.deploy("AttestationRegistry", [attestors.map((a) => a.address), BigInt(threshold), 3600n]);
  const core = await chain.deploy("AppchainCore", [initData({ verifier: registry.address }), delayMin]);
  operator ??= chain.accounts[1].address;
  await chain.send(core, "registerOperator", [operator]);
  const asOperator = { account: chain.accounts[1] };

  const state = async () => ({
    root: await chain.read(core, "stateRoot"),
    number: await chain.read(core, "stateBlockNumber"),
    hash: await chain.read(core, "stateBlockHash"),
  });
  const attest = async (transition, { programHash = PROGRAM_HASH, signers = attestors.slice(0, threshold) } = {}) => {
    const fact = coreFact(programHash, transition);
    const signatures = await signAll(chain, registry, signers, "Attestation", { fact });
    await chain.send(registry, "attest", [fact, signatures]);
  };
  /** Attests, then settles by calldata. Returns the receipt and the output. */
  const settle = async (content = {}, daWords = [2n, 0n]) => {
    const output = programOutput(await state(), content);
    const transition = factWithData(output, daWords);
    await attest(transition);
    const receipt = await chain.send(core, "updateStateWithData", [output, daWords], asOperator);
    return { receipt, output, transition };
  };
  return { registry, core, attestors, asOperator, state, attest, settle };
}
