// The price publishers of genesis in the hand of a test: what it sets is what the exchange trades on.
import { readFileSync } from "node:fs";
import { ec, encode, hash, shortString } from "starknet";
import { sleep, until } from "./rpc.mjs";
import { keysFile } from "./stack.mjs";
import { fromQuantums, toQuantums } from "./units.mjs";

/** Far below the age at which a report says nothing any more, 5 s. */
const INTERVAL_MS = 400;

const hex = (value) => encode.addHexPrefix(value.toString(16));
const text = (value) => shortString.encodeShortString(value);

/** One entry of `reports` of `market_publishPrices`, signed by a publisher: Poseidon('KEEL_PRICE', chain id, market, price, ms). */
export function signedReport(chainId, publisher, privateKey, market, price, ts) {
  const digest = hash.computePoseidonHashOnElements([text("KEEL_PRICE"), text(chainId), text(market), toQuantums(price), ts]);
  const { r, s } = ec.starkCurve.sign(digest, privateKey);
  return { publisher: String(publisher), market, price, ts: String(ts), signature: [hex(r), hex(s)] };
}

/** Publishes a price for every market until stopped: as many publishers sign as a price needs. */
export class Prices {
  #running = true;
  #turn = Promise.resolve();
  #lastTs = 0;

  /** Takes over from the publisher the stack came with; every market stays where it is. */
  static async takeOver(stack) {
    await stack.publisher.stop();
    stack.publisher = undefined;
    const prices = new Prices(stack);
    prices.now = Object.fromEntries((await stack.markets()).map(({ market, oracle }) => [market, oracle]));
    prices.loop = prices.#publishOn();
    return prices;
  }

  constructor(stack) {
    this.stack = stack;
    const { publishers } = JSON.parse(readFileSync(keysFile, "utf8"));
    this.keys = publishers.slice(0, stack.genesis.oracle.quorum).map(({ private_key: key }) => key);
  }

  async #publishOn() {
    while (this.#running) {
      await this.#round();
      await sleep(INTERVAL_MS);
    }
  }

  /** One after the other: a publisher's report must be newer than its last. */
  #round() {
    this.#turn = this.#turn.then(async () => {
      this.#lastTs = Math.max(Date.now(), this.#lastTs + 1);
      const { genesis, rpc } = this.stack;
      const reports = this.keys.flatMap((key, publisher) => Object.entries(this.now).map(([market, price]) =>
        signedReport(genesis.chain_id, publisher, key, market, price, this.#lastTs)));
      const answer = await rpc.call("market_publishPrices", { reports });
      if (answer.discarded.length > 0) throw new Error(`discarded: ${JSON.stringify(answer.discarded)}`);
    });
    return this.#turn;
  }

  /** One more report of what is: a newer mark of the same value. */
  again() {
    return this.#round();
  }

  /** Moves a market's price, in steps that the exchange takes at once, and waits until it is in use. */
  async set(market, price) {
    const target = toQuantums(price);
    const { oracle, oracleMoveMax, tickSize } = await this.stack.market(market);
    const step = (from) => (from * toQuantums(oracleMoveMax) * 9n / 10n / 10n ** 8n / toQuantums(tickSize)) * toQuantums(tickSize);
    for (let at = toQuantums(oracle); at !== target;) {
      const left = target - at;
      const most = step(at);
      at += left > most ? most : left < -most ? -most : left;
      this.now[market] = fromQuantums(at);
      await this.#round();
    }
    await until(`${market} at ${price}`, async () => (await this.stack.market(market)).oracle === fromQuantums(target));
  }

  async stop() {
    this.#running = false;
    await this.loop;
  }
}
