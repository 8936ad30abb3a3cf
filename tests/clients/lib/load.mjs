// Trading that goes on while something else is tested: pairs of traders who meet at the mark again and again.
import { fromQuantums, toQuantums } from "./units.mjs";

/** Keeps at most this many orders of one pair under way. */
const AT_ONCE = 2;

export class Load {
  #stopping = false;
  fills = 0;
  refused = 0;

  /** `pairs`: [[seller, buyer], ...], funded for as long as it lasts. Orders are small. */
  static start(stack, market, pairs, size = "0.01") {
    const load = new Load();
    load.loops = pairs.flatMap((pair) => Array.from({ length: AT_ONCE }, () => load.#trade(stack, market, pair, size)));
    return load;
  }

  async #trade(stack, market, [seller, buyer], size) {
    while (!this.#stopping) {
      const { mark, tickSize } = await stack.market(market);
      const tick = toQuantums(tickSize);
      const order = { market, type: "LIMIT", size, price: fromQuantums((toQuantums(mark) / tick) * tick) };
      try {
        await seller.place({ ...order, side: "SELL" });
        const { fills = [] } = await buyer.place({ ...order, side: "BUY" });
        this.fills += fills.length;
      } catch (error) {
        // The price left the band between asking and ordering, or the phase does not allow it: the next order is another one.
        if (error.code === undefined) throw error;
        this.refused += 1;
      }
    }
  }

  /** Resolves when every order is answered. */
  async stop() {
    this.#stopping = true;
    await Promise.all(this.loops);
  }
}
