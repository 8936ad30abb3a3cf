// Child processes that cannot outlive their parent: each is ended by its own id, asked first, then forced.
import { spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { until } from "./rpc.mjs";

const require = createRequire(import.meta.url);
export const repository = fileURLToPath(new URL("../../../", import.meta.url));

/** How long a process may take to end by itself: a node drains, seals and takes a snapshot. */
const STOP_TIMEOUT_MS = 15_000;
/** How long a `keel` command that is no server may take. */
const KEEL_TIMEOUT_MS = 60_000;

const alive = new Set();
process.on("exit", () => alive.forEach((child) => child.kill("SIGKILL")));
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  // A second handler, e.g. of the demo, takes over by removing this one.
  process.on(signal, endOnSignal);
}
function endOnSignal() {
  process.exit(1);
}
/** The caller ends its processes itself on signals (with `Child.stop`). */
export function takeOverSignals(handler) {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    process.removeListener(signal, endOnSignal);
    process.on(signal, handler);
  }
}

export class Child {
  /** Starts `command`; its output goes to the file `log`, its messages (of a Node.js process) to `onMessage`. */
  constructor(name, command, args, { log, env = {}, cwd = repository, onMessage } = {}) {
    this.name = name;
    this.log = log;
    const output = openSync(log, "a");
    this.process = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: ["ignore", output, output, ...(onMessage ? ["ipc"] : [])] });
    closeSync(output);
    if (onMessage) this.process.on("message", onMessage);
    alive.add(this.process);
    this.ended = new Promise((resolve) => {
      this.process.once("error", (error) => this.#end(resolve, { error }));
      this.process.once("exit", (code, signal) => this.#end(resolve, { code, signal }));
    });
  }

  #end(resolve, how) {
    alive.delete(this.process);
    this.how = how;
    resolve(how);
  }

  get running() {
    return this.how === undefined;
  }

  signal(name) {
    this.process.kill(name);
  }

  /** Asks to end, forces after a while. Resolves with how it ended. */
  async stop() {
    if (!this.running) return this.how;
    this.signal("SIGTERM");
    const timer = setTimeout(() => this.signal("SIGKILL"), STOP_TIMEOUT_MS);
    const how = await this.ended;
    clearTimeout(timer);
    return how;
  }

  /** Like a power cut for the process: nothing is flushed. */
  async kill() {
    this.signal("SIGKILL");
    return this.ended;
  }

  output() {
    return readFileSync(this.log, "utf8");
  }

  /** How it ended, and what it said last. */
  ending() {
    const tail = this.output().split("\n").slice(-25).join("\n");
    return `${this.name} ended (${this.how.error?.message ?? this.how.signal ?? this.how.code}):\n${tail}`;
  }

  /** Throws with the end of the log when the process is gone. */
  assertRunning() {
    if (!this.running) throw new Error(this.ending());
  }
}

/** Ports nobody listens on, all different. */
export async function freePorts(count) {
  const servers = await Promise.all(
    Array.from({ length: count }, () => new Promise((resolve, reject) => {
      const server = createServer();
      server.once("error", reject);
      server.listen(0, "127.0.0.1", () => resolve(server));
    })),
  );
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** The anvil binary itself: the npm launcher in front of it would swallow SIGSTOP. */
function anvilBinary() {
  if (process.env.KEEL_ANVIL) return process.env.KEEL_ANVIL;
  const platform = `@foundry-rs/anvil-${process.platform}-${{ x64: "amd64", arm64: "arm64" }[process.arch]}`;
  const launcher = require.resolve("@foundry-rs/anvil/package.json");
  const own = createRequire(launcher).resolve(`${platform}/package.json`);
  return join(dirname(own), "bin", process.platform === "win32" ? "anvil.exe" : "anvil");
}

/** An Ethereum chain of its own with a block every second. `port` 0 takes a free one. */
export async function startAnvil({ directory, port = 0, state } = {}) {
  const log = join(directory, "anvil.log");
  const listening = /Listening on (\S+:\d+)/g;
  const before = fileMatches(log, listening).length;
  const args = ["--port", String(port), "--host", "127.0.0.1", "--block-time", "1", "--slots-in-an-epoch", "1"];
  if (state) args.push("--state", state);
  const child = new Child("anvil", anvilBinary(), args, { log });
  const address = await until("anvil to listen", () => {
    child.assertRunning();
    return fileMatches(log, listening)[before]?.[1];
  });
  return Object.assign(child, { url: `http://${address}` });
}

function fileMatches(file, pattern) {
  try {
    return [...readFileSync(file, "utf8").matchAll(pattern)];
  } catch (error) {
    if (error.code === "ENOENT") return [];
    throw error;
  }
}

/** Where the built node is: KEEL_BIN, or the debug folder of the target directory. */
export function keelBinary() {
  return process.env.KEEL_BIN ?? join(process.env.CARGO_TARGET_DIR ?? join(repository, "target"), "debug", "keel");
}

/** Runs a `keel` command to its end; throws with its output when it fails. */
export async function runKeel(args, options) {
  const child = new Child("keel", keelBinary(), args, options);
  const timer = setTimeout(() => child.signal("SIGKILL"), KEEL_TIMEOUT_MS);
  const how = await child.ended;
  clearTimeout(timer);
  if (how.code !== 0) {
    throw new Error(`keel ${args.join(" ")} failed (${how.error?.message ?? how.signal ?? how.code}):\n${child.output().slice(-3000)}`);
  }
  return child.output();
}
