// A trader with one Stark key: derives the account, signs with starknet.js, talks to the public RPC.
import { Account, RpcProvider, ec, encode, hash, stark } from "starknet";
import { messageHash, typedData } from "./snip12.mjs";

/** Within what the rules allow an order (2 minutes), with room for a clock that is off. */
const VALID_MS = 60_000;

export const randomPrivateKey = () => encode.addHexPrefix(encode.buf2hex(ec.starkCurve.utils.randomPrivateKey()));

/** The address of an account of this genesis template with this key. */
export function accountAddress(genesis, publicKey, templateName = genesis.account_templates[0].name) {
  const template = genesis.account_templates.find(({ name }) => name === templateName);
  const word = (value) => (value === "key" ? publicKey : value);
  return hash.calculateContractAddressFromHash(
    word(template.salt), template.class_hash, template.constructor_calldata.map(word), 0,
  );
}

export class Wallet {
  #nonce = BigInt(Date.now()) * 1000n;

  constructor(rpc, genesis, privateKey = randomPrivateKey()) {
    this.rpc = rpc;
    this.chainId = genesis.chain_id;
    this.template = genesis.account_templates[0].name;
    this.privateKey = privateKey;
    this.publicKey = ec.starkCurve.getStarkKey(privateKey);
    this.address = accountAddress(genesis, this.publicKey);
    this.signer = new Account({ provider: new RpcProvider({ nodeUrl: rpc.url }), address: this.address, signer: privateKey });
  }

  /** A message of this account with a nonce never used before, valid for a minute unless `fields` say otherwise. */
  message(fields) {
    return { account: this.address, nonce: String(++this.#nonce), validUntil: String(Date.now() + VALID_MS), ...fields };
  }

  /** [r, s] over the typed data, by starknet.js. */
  async sign(data) {
    return stark.formatSignature(await this.signer.signMessage(data)).map((part) => encode.addHexPrefix(BigInt(part).toString(16)));
  }

  /** Signs a message without asking the node for anything. */
  async signed(type, message) {
    return { message, signature: await this.sign(typedData(this.chainId, type, message)) };
  }

  /** The identity of a message: an order's hash. */
  hash(type, message) {
    return messageHash(typedData(this.chainId, type, message), this.address);
  }

  async #send(method, type, fields) {
    return this.rpc.call(method, await this.signed(type, this.message(fields)));
  }

  /** A request for this account that one of its session keys signed. */
  signedBySession(privateKey, type, fields) {
    const message = this.message(fields);
    const { r, s } = ec.starkCurve.sign(this.hash(type, message), privateKey);
    const signature = [r, s].map((part) => encode.addHexPrefix(part.toString(16)));
    return { message, signature, sessionKey: ec.starkCurve.getStarkKey(privateKey) };
  }

  register(template = this.template) {
    return this.#send("trade_register", "Register", { key: this.publicKey, template });
  }
  place(order) {
    return this.#send("trade_placeOrder", "Order", order);
  }
  /** `size` is the new total, fills included. */
  modify(order, price, size) {
    return this.#send("trade_modifyOrder", "ModifyOrder", { order, price, size });
  }
  /** Up to 20 of [type, fields] in one call; their outcomes in the same order. */
  async batch(requests) {
    const signed = await Promise.all(requests.map(async ([type, fields]) => ({ type, ...(await this.signed(type, this.message(fields))) })));
    return (await this.rpc.call("trade_batch", { requests: signed })).results;
  }
  /** `which` names the order: {order} or {clientId}. */
  cancel(which) {
    return this.#send("trade_cancelOrder", "CancelOrder", which);
  }
  cancelAll(market = "ALL") {
    return this.#send("trade_cancelAll", "CancelAll", { market });
  }
  /** Milliseconds; 0 takes it back. */
  scheduleCancel(at) {
    return this.#send("trade_scheduleCancel", "ScheduleCancel", { at: String(at) });
  }
  /** `terms`: {expiry, markets, maxOrderNotional}. */
  grant(key, terms) {
    return this.#send("trade_addSessionKey", "SessionKey", { key, scope: "TRADE", ...terms });
  }
  revoke(key) {
    return this.#send("trade_revokeSessionKey", "RevokeSessionKey", { key });
  }
  /** `orders`: hashes of what the incident cancelled. `more`: {goodTil, validUntil}. */
  restore(incident, orders, more = {}) {
    return this.#send("trade_restoreOrders", "RestoreOrders", { incident, orders, goodTil: "0", ...more });
  }
  /** Everything that an incident cancelled of the account. */
  async cancelledOrders(incident, limit = "100") {
    const found = [];
    for (let cursor; ;) {
      const page = await this.rpc.call("trade_getCancelledOrders", { account: this.address, incident, limit, ...(cursor && { cursor }) });
      found.push(...page.orders);
      if (!page.next) return found;
      cursor = page.next;
    }
  }
  transfer(recipient, asset, amount) {
    return this.#send("trade_transfer", "Transfer", { recipient, asset, amount });
  }
  withdraw(asset, amount, recipient) {
    return this.#send("trade_withdraw", "Withdraw", { asset, amount, recipient });
  }

  account() {
    return this.rpc.call("trade_account", { account: this.address });
  }
  /** Of one market, or of all. */
  async openOrders(market) {
    const { orders } = await this.rpc.call("trade_openOrders", { account: this.address, ...(market && { market }) });
    return orders;
  }
  order(which) {
    return this.rpc.call("trade_getOrder", { account: this.address, ...which });
  }
}
