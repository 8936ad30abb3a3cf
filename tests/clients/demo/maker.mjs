// A market maker: keeps a ladder of post-only quotes around the oracle in every market, and pulls it before it moves it.
import { lots, onTick, openAccount, place, trade } from "./trader.mjs";

const LEVELS = 3;
const HALF_SPREAD_PPM = 300;
const LEVEL_STEP_PPM = 250;
const QUOTE_PER_LEVEL = 4_000;
const PAUSE_MS = 800;

const { wallet, rpc } = await openAccount({ USDC: 1_000_000, ETH: 200, BTC: 10 });

await trade(async () => {
  for (const { market, oracle, tickSize, lotSize } of await rpc.call("market_list")) {
    await wallet.cancelAll(market);
    const quotes = [];
    for (let level = 0; level < LEVELS; level++) {
      const distance = HALF_SPREAD_PPM + level * LEVEL_STEP_PPM + Math.round(Math.random() * 100);
      for (const [side, ppm] of [["BUY", -distance], ["SELL", distance]]) {
        const price = onTick(oracle, ppm, tickSize);
        const size = lots(QUOTE_PER_LEVEL * (0.5 + Math.random()), price, lotSize);
        quotes.push(place(wallet, { market, side, type: "LIMIT", size, price, timeInForce: "POST_ONLY" }));
      }
    }
    // Another maker's quote may be in the way: that level stays empty until the next round.
    for (const { reason } of await Promise.allSettled(quotes)) if (reason) console.log(reason.message);
  }
}, PAUSE_MS);
