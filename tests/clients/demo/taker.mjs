// A taker: crosses the spread now and then, in a random market and direction.
import { lots, onTick, openAccount, place, trade } from "./trader.mjs";

const REACH_PPM = 1_500;
const QUOTE_PER_ORDER = 3_000;
const PAUSE_MS = 150;

const { wallet, rpc } = await openAccount({ USDC: 300_000, ETH: 60, BTC: 3 });

await trade(async () => {
  const markets = await rpc.call("market_list");
  const { market, oracle, tickSize, lotSize } = markets[Math.floor(Math.random() * markets.length)];
  const side = Math.random() < 0.5 ? "BUY" : "SELL";
  const price = onTick(oracle, side === "BUY" ? REACH_PPM : -REACH_PPM, tickSize);
  const size = lots(QUOTE_PER_ORDER * (0.2 + Math.random()), price, lotSize);
  await place(wallet, { market, side, type: "LIMIT", size, price, timeInForce: "IOC" });
}, PAUSE_MS);
