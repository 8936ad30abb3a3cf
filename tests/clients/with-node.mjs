// Runs a command beside a whole exchange started for it; the argument RPC_URL becomes the node's address.
import { spawnSync } from "node:child_process";
import { Stack } from "./lib/stack.mjs";

const stack = await Stack.temporary();
await stack.open();
const [command, ...args] = process.argv.slice(2).map((argument) => (argument === "RPC_URL" ? stack.url : argument));
// What brings money finds the settlement layer by the node's own setting.
const env = { ...process.env, KEEL_SETTLEMENT__ENDPOINT: stack.l1Url };
const { status } = spawnSync(command, args, { stdio: "inherit", env });
await stack.stop();
process.exit(status ?? 1);
