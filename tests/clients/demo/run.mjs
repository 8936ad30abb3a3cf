// The exchange of scripts/run: starts everything, shows it, ends it. Data goes to .keel, anew each time.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Child, repository, takeOverSignals } from "../lib/processes.mjs";
import { sleep, until } from "../lib/rpc.mjs";
import { Stack } from "../lib/stack.mjs";
import { Screen } from "./screen.mjs";

const PORTS = { l1: 8545, rpc: 9944, admin: 9945 };
const MAKERS = 2;
const TAKERS = 3;
const REFRESH_MS = 1_000;
const DRAW_TIMEOUT_MS = 5_000;

const directory = join(repository, ".keel");
let stack;
let traders = [];
let stopping;
let orders = 0; // answered to our traders so far

function stop(code) {
  stopping ??= (async () => {
    console.log("\nstopping");
    await Promise.all(traders.map((trader) => trader.stop()));
    // Ctrl-C reaches every process of the terminal: that some have ended already is no news.
    await stack?.stop().catch(() => {});
    process.exit(code);
  })();
  return stopping;
}
takeOverSignals(() => stop(0));

function startTrader(kind, index) {
  const script = fileURLToPath(new URL(`${kind}.mjs`, import.meta.url));
  return new Child(`${kind} ${index}`, process.execPath, [script, stack.url, stack.l1Url, stack.genesisFile], {
    log: join(directory, `${kind}-${index}.log`),
    onMessage: () => orders++,
  });
}

try {
  rmSync(directory, { recursive: true, force: true });
  console.log("starting the settlement layer, the contracts, the node and the price publisher");
  stack = new Stack(directory);
  await stack.start({ ports: PORTS, blockIntervalMs: 2_000, batchBlocks: 10, batchAgeMs: 10_000, budgetFactor: 100 });
  traders = [
    ...Array.from({ length: MAKERS }, (_, index) => startTrader("maker", index)),
    ...Array.from({ length: TAKERS }, (_, index) => startTrader("taker", index)),
  ];

  const screen = new Screen(stack, process.stdout, () => orders);
  while (!stopping) {
    for (const child of [stack.anvil, stack.node, stack.publisher, ...traders]) child.assertRunning();
    const next = Date.now() + REFRESH_MS;
    await until("the screen's figures", () => screen.draw().then(() => true), { timeoutMs: DRAW_TIMEOUT_MS });
    await sleep(Math.max(0, next - Date.now()));
  }
} catch (error) {
  if (!stopping) {
    console.error(error.message, error.cause?.message ?? "");
    console.error(`logs are in ${directory}`);
    await stop(1);
  }
}
