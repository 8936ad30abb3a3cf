// What makers and takers of the demo share: an account with money in it, and a loop that survives a closed exchange.
import { readFileSync } from "node:fs";
import { L1 } from "../lib/l1.mjs";
import { Rpc, RpcError, sleep, until } from "../lib/rpc.mjs";
import { fromQuantums, toQuantums } from "../lib/units.mjs";
import { Wallet } from "../lib/wallet.mjs";

/** The phase forbids it (safe mode); the exchange will open again by itself. */
const PHASE_FORBIDS = -32050;
const PHASE_RETRY_MS = 1_000;
const FUNDED_TIMEOUT_MS = 120_000;

/** Arguments: RPC of the node, RPC of the settlement layer, genesis file. Returns a registered wallet with `funds` ({symbol: units}). */
export async function openAccount(funds) {
  const [url, l1Url, genesisFile] = process.argv.slice(2);
  const genesis = JSON.parse(readFileSync(genesisFile, "utf8"));
  const rpc = new Rpc(url);
  const wallet = new Wallet(rpc, genesis);
  const l1 = new L1(l1Url, genesis);
  await until("the node to answer", () => rpc.call("node_status"), { timeoutMs: FUNDED_TIMEOUT_MS });
  await whenOpen(() => wallet.register());

  await l1.fund();
  const nonces = [];
  for (const [symbol, units] of Object.entries(funds)) {
    const { l1_decimals: decimals } = genesis.assets.find((asset) => asset.symbol === symbol);
    const amount = BigInt(units) * 10n ** BigInt(decimals);
    await l1.mint(symbol, amount);
    nonces.push((await l1.deposit(symbol, amount, wallet.address)).nonce);
  }
  for (const nonce of nonces) {
    await until(`deposit ${nonce} to be credited`, async () => {
      const deposit = await rpc.call("bridge_getDeposit", { messageNonce: String(nonce) });
      return deposit.status === "CREDITED";
    }, { timeoutMs: FUNDED_TIMEOUT_MS, everyMs: 500 });
  }
  console.log(`account ${wallet.address} has ${JSON.stringify(funds)}`);
  return { wallet, rpc };
}

/** Places an order and tells the parent process that one was answered. */
export async function place(wallet, order) {
  try {
    return await wallet.place(order);
  } finally {
    process.send?.("order");
  }
}

/** Runs `action`, again after a pause while the exchange is closed. */
async function whenOpen(action) {
  for (;;) {
    try {
      return await action();
    } catch (error) {
      if (!(error instanceof RpcError) || error.code !== PHASE_FORBIDS) throw error;
      await sleep(PHASE_RETRY_MS);
    }
  }
}

/** Repeats `round` for ever. A refusal of the exchange is an answer, logged; anything else is logged and waited out. */
export async function trade(round, pauseMs) {
  for (;;) {
    try {
      await round();
    } catch (error) {
      console.log(error.message);
      await sleep(error.code === PHASE_FORBIDS || !(error instanceof RpcError) ? PHASE_RETRY_MS : 0);
    }
    await sleep(pauseMs * (0.5 + Math.random()));
  }
}

/** `price` moved by `ppm`, on tick. */
export function onTick(price, ppm, tickSize) {
  const tick = toQuantums(tickSize);
  const moved = (toQuantums(price) * BigInt(1_000_000 + ppm)) / 1_000_000n;
  return fromQuantums((moved / tick) * tick);
}

/** About `quote` of the quote asset at `price`, in whole lots, one at least. */
export function lots(quote, price, lotSize) {
  const lot = toQuantums(lotSize);
  const size = (toQuantums(String(Math.round(quote))) * toQuantums("1")) / toQuantums(price);
  return fromQuantums((size / lot || 1n) * lot);
}
