// A WebSocket client of the streams: it keeps its own copy of a book and of an account's orders from messages alone, and comes back
// after a lost connection with the sequence number it had.
import assert from "node:assert/strict";
import { crc32 } from "node:zlib";
import WebSocket from "ws";
import { RpcError } from "./rpc.mjs";

const ANSWER_TIMEOUT_MS = 15_000;
const CHECKSUM_LEVELS = 25;
const TERMINAL = ["FILLED", "CANCELLED", "EXPIRED", "REJECTED"];

/** One WebSocket. Answers by id, notifications by subscription. */
export class Connection {
  #id = 0;
  #waiting = new Map();
  #subscriptions = new Map();

  static async open(url) {
    const connection = new Connection();
    const socket = new WebSocket(url.replace(/^http/, "ws"));
    connection.socket = socket;
    connection.closed = new Promise((resolve) => socket.once("close", resolve));
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    socket.on("error", () => {}); // a close follows
    socket.on("message", (data) => connection.#take(JSON.parse(data)));
    socket.once("close", () => connection.#waiting.forEach(({ reject }) => reject(new Error("the connection is lost"))));
    return connection;
  }

  #take(message) {
    if (message.method) {
      return this.#subscriptions.get(message.params.subscription)?.(message.params.result);
    }
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.error) waiting?.reject(new RpcError(waiting.method, message.error));
    else waiting?.resolve(message.result);
  }

  #send(method, params, answered = (result) => result) {
    const id = ++this.#id;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${method}: no answer`)), ANSWER_TIMEOUT_MS);
      const settle = (then) => (value) => {
        clearTimeout(timer);
        then(value);
      };
      // In the same turn as the answer: the first notification may stand right behind it.
      this.#waiting.set(id, { method, resolve: settle((result) => resolve(answered(result))), reject: settle(reject) });
      this.socket.send(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
    });
  }

  call(method, params = {}) {
    return this.#send(method, params);
  }

  /** `handler` gets every message of the stream, in order. Resolves with the subscription's id. */
  subscribe(params, handler, method = "keel_subscribe") {
    return this.#send(method, params, (id) => {
      this.#subscriptions.set(id, handler);
      return id;
    });
  }

  /** As if the cable was cut: no closing handshake. */
  lose() {
    this.socket.terminate();
    return this.closed;
  }

  async close() {
    this.socket.close();
    await this.closed;
  }
}

/** One stream's state. `apply(data)` takes what a snapshot or a delta holds, `clear()` forgets everything. */
class Follower {
  seq = undefined;
  snapshots = 0;
  deltas = 0;
  resumed = { true: 0, false: 0 };

  constructor(params) {
    this.params = params;
  }

  /** Goes on from what it has. */
  follow(connection) {
    this.ended = undefined;
    this.connection = connection;
    const from = this.seq === undefined ? {} : { fromSeq: this.seq };
    return connection.subscribe({ ...this.params, ...from }, (message) => {
      if (this.connection === connection) this.#take(message);
    });
  }

  #take(message) {
    switch (message.type) {
      case "resumed":
        this.resumed[message.resumed] += 1;
        return;
      case "snapshot":
        this.snapshots += 1;
        this.clear();
        break;
      case "delta":
        this.deltas += 1;
        assert.ok(BigInt(message.prevSeq) <= BigInt(this.seq) && BigInt(this.seq) < BigInt(message.seq),
          `a gap: have ${this.seq}, got ${message.prevSeq} to ${message.seq}`);
        break;
      case "closed":
        this.ended = message.reason;
        return;
      default:
        assert.fail(`a message of type ${message.type}`);
    }
    this.seq = message.seq;
    this.apply(message.data);
  }
}

/** A market's book by level; every message's checksum is compared with the one of its own copy. */
export class BookFollower extends Follower {
  constructor(market) {
    super({ channel: "book", market });
    this.clear();
  }

  clear() {
    this.bids = new Map();
    this.asks = new Map();
  }

  apply({ bids, asks, checksum }) {
    for (const [side, levels] of [[this.bids, bids], [this.asks, asks]]) {
      for (const { price, size, orders } of levels) {
        if (size === "0") side.delete(price);
        else side.set(price, { price, size, orders });
      }
    }
    this.checksum = checksum;
    assert.equal(String(this.ownChecksum()), checksum, "the copy of the book is wrong");
  }

  /** Best first. */
  get levels() {
    const sorted = (side, sign) => [...side.values()].sort((a, b) => sign * (Number(a.price) - Number(b.price)));
    return { bids: sorted(this.bids, -1), asks: sorted(this.asks, 1) };
  }

  ownChecksum() {
    const { bids, asks } = this.levels;
    const parts = [];
    for (let depth = 0; depth < CHECKSUM_LEVELS; depth++) {
      for (const level of [bids[depth], asks[depth]]) if (level) parts.push(level.price, level.size);
    }
    return crc32(parts.join(":"));
  }
}

/** An account's open orders. */
export class OrdersFollower extends Follower {
  constructor(account) {
    super({ channel: "orders", account });
    this.clear();
  }

  clear() {
    this.open = new Map();
  }

  apply(orders) {
    for (const order of orders) {
      if (TERMINAL.includes(order.state)) this.open.delete(order.order);
      else this.open.set(order.order, order);
    }
  }
}

/** Rows by one of their fields; for the other channels. */
export class RowsFollower extends Follower {
  constructor(params, key) {
    super(params);
    this.key = key;
    this.clear();
  }

  clear() {
    this.rows = new Map();
  }

  apply(data) {
    for (const row of [data].flat()) this.rows.set(this.key ? row[this.key] : "", row);
  }
}
