// A whole exchange in one directory: settlement layer with our contracts, node, price publisher.
import { execFile } from "node:child_process";
import { createHmac, randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { L1 } from "./l1.mjs";
import { Child, freePorts, keelBinary, repository, runKeel, startAnvil } from "./processes.mjs";
import { Rpc, until } from "./rpc.mjs";
import { toQuantums } from "./units.mjs";
import { Wallet } from "./wallet.mjs";

export const genesisFile = join(repository, "genesis/dev.json");
export const keysFile = join(repository, "genesis/dev-keys.json");
const OPEN_TIMEOUT_MS = 60_000;
const CREDIT_TIMEOUT_MS = 30_000;
/** A `keel` command that is no server: the longest replays a whole journal. */
const KEEL_TIMEOUT_MS = 60_000;
/** Prices younger than this have come from the publishers, not from genesis. */
const PRICE_FRESH_MS = 2_000;

/** Blocks, batches and phases in seconds; budgets wide enough for many traders behind one address. */
const nodeConfig = (values) => `data_dir = ${JSON.stringify(values.dataDir)}
genesis = ${JSON.stringify(values.genesisFile)}
keys = ${JSON.stringify(keysFile)}
${values.webhook === undefined ? "" : `incident_webhook = ${JSON.stringify(values.webhook)}\n`}
[rpc]
listen = "127.0.0.1:${values.port}"
admin_listen = "127.0.0.1:${values.adminPort}"
further_operator_secrets = [${JSON.stringify(values.secondOperator)}]

[sequencer]
block_interval_ms = ${values.blockIntervalMs}

[settlement]
endpoint = ${JSON.stringify(values.l1Url)}
poll_ms = 250
batch_blocks_max = ${values.batchBlocks}
batch_age_ms = ${values.batchAgeMs}

[guard]
${values.guard}

[ingress]
budget_factor = ${values.budgetFactor}
orders_per_second = ${values.ordersPerSecond}
`;

/** A node must be configured by its file alone, not by what the shell or a test run happens to have set. */
const withoutKeelVariables = () =>
  Object.fromEntries(Object.keys(process.env).filter((name) => name.startsWith("KEEL_")).map((name) => [name, undefined]));

export class Stack {
  /** A running exchange in a temporary directory, which `stop` removes. */
  static async temporary(config) {
    const stack = new Stack();
    try {
      await stack.start(config);
      return stack;
    } catch (error) {
      await stack.stop();
      throw error;
    }
  }

  /** In `directory`, or in a temporary one. Starts nothing yet. */
  constructor(directory) {
    this.temporary = directory === undefined;
    this.directory = directory ?? mkdtempSync(join(tmpdir(), "keel-"));
    this.genesisFile = genesisFile;
    this.genesis = JSON.parse(readFileSync(genesisFile, "utf8"));
  }

  /** A chain like that of genesis/dev.json, but for the form of its data on the settlement layer. */
  #settleBy(data) {
    this.genesis.settlement.data = data;
    this.genesisFile = join(this.directory, "genesis.json");
    writeFileSync(this.genesisFile, JSON.stringify(this.genesis, undefined, 2));
  }

  /**
   * `ports` fixes {l1, rpc, admin}; others are free ones. `data` is the form in which batches bring their data, where it is not that of
   * genesis/dev.json; `webhook` is told of the steps of incidents; `guard` the node's timings as TOML. When it throws, `stop` ends what had
   * started.
   */
  async start({
    ports = {}, blockIntervalMs = 500, batchBlocks = 6, batchAgeMs = 2_000, budgetFactor = 1_000, ordersPerSecond = 10_000, data, webhook,
    guard = 'profile = "short"',
  } = {}) {
    mkdirSync(this.directory, { recursive: true });
    if (data !== undefined) this.#settleBy(data);
    const [rpcPort, adminPort] = await freePorts(2);
    this.anvil = await startAnvil({ directory: this.directory, port: ports.l1 ?? 0 });
    this.l1Url = this.anvil.url;
    const port = ports.rpc ?? rpcPort;
    this.url = `http://127.0.0.1:${port}/rpc`;
    this.adminPort = ports.admin ?? adminPort;
    this.rpc = new Rpc(this.url);
    this.config = join(this.directory, "keel.toml");
    this.operators = [join(this.directory, "node/jwt.hex"), join(this.directory, "second-operator.hex")];
    writeFileSync(this.operators[1], randomBytes(32).toString("hex"));
    writeFileSync(this.config, nodeConfig({
      genesisFile: this.genesisFile, dataDir: join(this.directory, "node"), port, adminPort: this.adminPort, l1Url: this.l1Url, blockIntervalMs, batchBlocks,
      batchAgeMs, budgetFactor, ordersPerSecond, webhook, guard, secondOperator: this.operators[1],
    }));
    await runKeel(["--config", this.config, "dev", "deploy"], { log: join(this.directory, "deploy.log"), env: withoutKeelVariables() });
    await this.startNode();
    this.publisher = this.#keel("publisher", ["publish", "--rpc", this.url]);
  }

  #keel(name, args) {
    return new Child(name, keelBinary(), ["--config", this.config, ...args], {
      log: join(this.directory, `${name}.log`), env: withoutKeelVariables(),
    });
  }

  /** Starts the node and waits until it answers. */
  async startNode() {
    this.node = this.#keel("node", ["run"]);
    await until("the node to answer", () => {
      this.node.assertRunning();
      return this.status();
    }, { timeoutMs: OPEN_TIMEOUT_MS });
  }

  /** Ends the node as an operator does; its data stays. */
  async stopNode() {
    const { node } = this;
    this.node = undefined;
    if ((await node.stop()).code !== 0) throw new Error(node.ending());
  }

  /** Runs a `keel` command with this node's configuration to its end. Resolves with {code, stdout, stderr}, whatever the code. */
  keel(...args) {
    const env = { ...process.env, ...withoutKeelVariables() };
    return new Promise((resolve) => execFile(keelBinary(), ["--config", this.config, ...args], { env, timeout: KEEL_TIMEOUT_MS },
      (error, stdout, stderr) => resolve({ code: error ? error.code ?? error.signal : 0, stdout, stderr })));
  }

  /** Output of a `keel` command that succeeds. Beside a node that writes, files may vanish while the folder is being opened: then again. */
  async looked(...args) {
    for (let left = 3; ; left--) {
      const { code, stdout, stderr } = await this.keel(...args);
      if (code === 0) return stdout;
      if (left === 0) throw new Error(`keel ${args.join(" ")} failed (${code}):\n${stdout}${stderr}`);
    }
  }

  status() {
    return this.rpc.call("node_status");
  }

  /** What an operator, the first unless said, asks for at the admin port, with a token of their own secret. */
  admin(method, params, operator = 0) {
    const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ iat: Math.floor(Date.now() / 1_000) })}`;
    const secret = Buffer.from(readFileSync(this.operators[operator], "utf8").trim().replace(/^0x/, ""), "hex");
    const token = `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
    return new Rpc(`http://127.0.0.1:${this.adminPort}/`, { authorization: `Bearer ${token}` }).call(method, params);
  }

  /** Waits for a phase; the node must stay up meanwhile. */
  phase(name, timeoutMs = OPEN_TIMEOUT_MS) {
    return until(`phase ${name}`, async () => {
      for (const child of [this.node, this.publisher, this.anvil]) child?.assertRunning();
      const status = await this.status();
      return status.phase === name && status;
    }, { timeoutMs });
  }

  /** Waits for OPEN and a price of the publishers in every market. */
  async open() {
    await this.phase("OPEN");
    await until("a fresh price in every market", async () =>
      (await this.markets()).every(({ priceTs }) => Date.now() - Number(priceTs) < PRICE_FRESH_MS));
  }

  markets() {
    return this.rpc.call("market_list");
  }

  async market(name) {
    return (await this.markets()).find(({ market }) => market === name);
  }

  /** Somebody new on the settlement layer, with ether. */
  async person() {
    const person = new L1(this.l1Url, this.genesis);
    await person.fund();
    return person;
  }

  /** A registered trader with money: `funds` is {symbol: decimal text}. */
  async trader(funds = {}) {
    const wallet = new Wallet(this.rpc, this.genesis);
    wallet.l1 = await this.person();
    await wallet.register();
    const nonces = [];
    for (const [symbol, amount] of Object.entries(funds)) {
      const units = toQuantums(amount) / this.quantumsPerUnit(symbol);
      await wallet.l1.mint(symbol, units);
      nonces.push((await wallet.l1.deposit(symbol, units, wallet.address)).nonce);
    }
    for (const nonce of nonces) await this.credited(nonce);
    return wallet;
  }

  credited(nonce) {
    return until(`deposit ${nonce} to be credited`, async () => {
      const deposit = await this.rpc.call("bridge_getDeposit", { messageNonce: String(nonce) });
      return deposit.status === "CREDITED" && deposit;
    }, { timeoutMs: CREDIT_TIMEOUT_MS });
  }

  asset(symbol) {
    return this.genesis.assets.find((asset) => asset.symbol === symbol);
  }

  /** Quantums in one unit of the token on the settlement layer: 100 for a token with 6 decimals. */
  quantumsPerUnit(symbol) {
    return 10n ** BigInt(8 - this.asset(symbol).l1_decimals);
  }

  /** Ends everything. Throws with the end of its log when a part had ended by itself before, or the node did not end well. */
  async stop() {
    const children = [this.publisher, this.node, this.anvil].filter(Boolean);
    const crashed = children.filter((child) => !child.running);
    for (const child of children) {
      child.signal("SIGCONT");
      await child.stop();
    }
    if (this.node && this.node.how.code !== 0) crashed.push(this.node);
    const ends = [...new Set(crashed)].map((child) => child.ending());
    if (this.temporary && !process.env.KEEL_KEEP) rmSync(this.directory, { recursive: true, force: true });
    if (ends.length > 0) throw new Error(ends.join("\n"));
  }
}
