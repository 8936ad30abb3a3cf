// The settlement layer as a depositor sees it: test tokens, the bridge, the core contract.
import { readFileSync } from "node:fs";
import { createTestClient, getAddress, http, keccak256, parseEventLogs, publicActions, toHex, walletActions } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { foundry } from "viem/chains";
import { repository } from "./processes.mjs";
import { until } from "./rpc.mjs";

/** What a deposit's message pays the settlement contract, wei. */
const MESSAGE_FEE = 1n;
const ONE_THOUSAND_ETHER = 10n ** 21n;

export const HANDLE_DEPOSIT = BigInt(keccak256(toHex("handle_deposit"))) & (2n ** 250n - 1n);

const abi = (name) => JSON.parse(readFileSync(`${repository}contracts-abi/artifacts/ethereum/${name}.json`, "utf8")).abi;

/** One person on the settlement layer, with a key of their own and ether to pay with. */
export class L1 {
  constructor(url, genesis, privateKey = generatePrivateKey()) {
    this.account = privateKeyToAccount(privateKey);
    this.address = this.account.address;
    this.client = createTestClient({
      chain: foundry, mode: "anvil", transport: http(url, { timeout: 5_000, retryCount: 0 }), account: this.account,
      pollingInterval: 100, cacheTime: 0,
    }).extend(publicActions).extend(walletActions);
    const { core, bridge } = genesis.settlement;
    this.exchange = BigInt(genesis.exchange);
    this.core = { address: getAddress(core), abi: abi("AppchainCore") };
    this.bridge = { address: getAddress(bridge), abi: abi("Bridge") };
    this.tokens = Object.fromEntries(
      genesis.assets.map(({ symbol, token }) => [symbol, { address: getAddress(token), abi: abi("TestToken") }]),
    );
  }

  /** Gives this person ether; everybody is rich on a development chain. */
  fund() {
    return this.client.setBalance({ address: this.address, value: ONE_THOUSAND_ETHER });
  }

  read(contract, functionName, args = [], blockNumber) {
    return this.client.readContract({ ...contract, functionName, args, blockNumber });
  }

  /** Sends, waits for the receipt, and returns it with `events` as [name, args]. */
  async send(contract, functionName, args = [], value) {
    const { request } = await this.client.simulateContract({ ...contract, functionName, args, value, account: this.account });
    const hash = await this.client.writeContract(request);
    const receipt = await this.client.waitForTransactionReceipt({ hash, timeout: 20_000 });
    if (receipt.status !== "success") throw new Error(`${functionName} reverted in ${hash}`);
    const events = parseEventLogs({ abi: contract.abi, logs: receipt.logs }).map((log) => [log.eventName, log.args]);
    return { ...receipt, events };
  }

  balance(symbol, owner = this.address) {
    return this.read(this.tokens[symbol], "balanceOf", [owner]);
  }

  mint(symbol, amount) {
    return this.send(this.tokens[symbol], "mint", [this.address, amount]);
  }

  /** Amount in units of the token. Returns the message's nonce, its hash and the receipt. */
  async deposit(symbol, amount, l2Recipient) {
    const token = this.tokens[symbol];
    await this.send(token, "approve", [this.bridge.address, amount]);
    const receipt = await this.send(this.bridge, "deposit", [token.address, amount, BigInt(l2Recipient)], MESSAGE_FEE);
    const [, sent] = receipt.events.find(([name]) => name === "DepositSent");
    return { nonce: sent.nonce, messageHash: sent.messageHash, receipt };
  }

  /** What anybody may send to the core contract directly, past the bridge. */
  async sendMessageToL2(to, selector, payload) {
    const receipt = await this.send(this.core, "sendMessageToL2", [to, selector, payload], MESSAGE_FEE);
    const [, sent] = receipt.events.find(([name]) => name === "LogMessageToL2");
    return { nonce: sent.nonce, receipt };
  }

  /** Sends a call as somebody else prepared it. */
  async call({ to, data }) {
    const hash = await this.client.sendTransaction({ to, data });
    const { status } = await this.client.waitForTransactionReceipt({ hash, timeout: 20_000 });
    if (status !== "success") throw new Error(`${hash} reverted`);
  }

  /** What became of a transaction, with `gasUsed` and, where it had blobs, `blobGasUsed`. */
  receipt(hash) {
    return this.client.getTransactionReceipt({ hash });
  }

  /** Finishes a withdrawal; anybody may. */
  claim(symbol, recipient, amount, id) {
    return this.send(this.bridge, "withdraw", [this.tokens[symbol].address, recipient, amount, id]);
  }

  /** The core contract's state, now or after a block. */
  async settled(blockNumber) {
    const [root, block, hash] = await Promise.all(
      ["stateRoot", "stateBlockNumber", "stateBlockHash"].map((name) => this.read(this.core, name, [], blockNumber)),
    );
    return { root, block, hash };
  }

  blocks(count) {
    return this.client.getBlockNumber().then((start) =>
      until(`${count} blocks on the settlement layer`, async () => (await this.client.getBlockNumber()) >= start + BigInt(count)));
  }
}
