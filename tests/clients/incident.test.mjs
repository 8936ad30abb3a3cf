// An incident is told afterwards: by the node, by a webhook whose first tries fail, on the WebSocket, and as a report out of a running node,
// of the folder of a stopped one, and of a store that was deleted and made again from the journal.
import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { RpcError, Stack, fromQuantums, sleep, toQuantums, until } from "./lib/keel.mjs";
import { Connection } from "./lib/stream.mjs";

const MARKETS = ["ETH-USDC", "ETH-USDC-PERP"];
const PHASES = ["HALTED", "READ_ONLY", "SPOT", "REDUCE_ONLY", "OPEN"];
const PHASE_FORBIDS = -32050;
/** The rule of the report: older fills than this before the last record had their answer. */
const UNHEARD_MS = 10_000;
/** The short profile's threshold of SETTLEMENT_HEAD_STALE. */
const HEAD_STALE_MS = 5_000;
const WALK_TIMEOUT_MS = 90_000;
/** What the webhook's receiver does with the first requests: an error, a broken connection, an error. */
const REFUSED_FIRST = 3;

let stack;
let traders;
let hook;
let connection;
let incident; // its number
let report; // of the running node
const told = []; // what the webhook took
const refused = []; // what it was sent and did not take
const streamed = []; // steps on the channel `node`

before(async () => {
  hook = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk) => (body += chunk));
    request.on("end", () => {
      if (refused.length < REFUSED_FIRST) {
        refused.push(JSON.parse(body));
        if (refused.length === 2) return request.socket.destroy();
        return response.writeHead(503).end();
      }
      told.push({ method: request.method, type: request.headers["content-type"], url: request.url, ...JSON.parse(body) });
      response.writeHead(204).end();
    });
  });
  await new Promise((resolve) => hook.listen(0, "127.0.0.1", resolve));
  stack = await Stack.temporary({ webhook: `http://127.0.0.1:${hook.address().port}/steps?key=7` });
  await stack.open();
  traders = await Promise.all(Array.from({ length: 3 }, () => stack.trader({ USDC: "200000", ETH: "20" })));
}, { timeout: 180_000 });
after(async () => {
  connection?.socket.terminate();
  hook?.close();
  await stack?.stop();
});

async function onTick(market, partsPerThousand) {
  const { mark, tickSize } = await stack.market(market);
  const tick = toQuantums(tickSize);
  return fromQuantums((toQuantums(mark) * partsPerThousand / 1_000n / tick) * tick);
}

/** Two traders trade with each other until the venue closes. */
async function trade([seller, buyer]) {
  let fills = 0;
  for (;;) {
    const order = { market: MARKETS[0], type: "LIMIT", size: "0.01", price: await onTick(MARKETS[0], 1_000n) };
    try {
      await seller.place({ ...order, side: "SELL" });
      fills += (await buyer.place({ ...order, side: "BUY" })).fills.length;
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      if (error.code === PHASE_FORBIDS) return fills;
    }
    await sleep(50);
  }
}

async function pages(method, params, rows) {
  const found = [];
  let cursor;
  do {
    const page = await stack.rpc.call(method, { ...params, limit: "3", ...(cursor && { cursor }) });
    found.push(...page[rows]);
    cursor = page.next;
  } while (cursor);
  return found;
}

async function reported(...from) {
  return JSON.parse(await stack.looked("incident", "report", incident, "--format", "json", ...from));
}

test("orders rest and are traded; the settlement layer stops; the phases walk back", { timeout: 240_000 }, async () => {
  connection = await Connection.open(stack.url);
  const messages = [];
  await connection.subscribe({ channel: "node" }, (message) => {
    messages.push(message);
    if (message.type === "delta") streamed.push(...message.data.steps);
  });
  await until("the channel's snapshot", () => messages[0]?.type === "snapshot" && messages[0].data.phase === "OPEN");
  for (const [index, trader] of traders.entries()) {
    for (const market of MARKETS.slice(0, index + 1)) {
      const [side, price] = index % 2 === 0 ? ["BUY", await onTick(market, 900n)] : ["SELL", await onTick(market, 1_100n)];
      const placed = await trader.place({ market, side, type: "LIMIT", size: "0.1", price, timeInForce: "POST_ONLY" });
      assert.equal(placed.state, "OPEN");
    }
  }
  const trading = trade(traders);
  stack.anvil.signal("SIGSTOP");
  const status = await until("safe mode", async () => {
    const now = await stack.status();
    return now.phase !== "OPEN" && now;
  }, { everyMs: 20, timeoutMs: WALK_TIMEOUT_MS });
  incident = status.incident;
  assert.ok(await trading > 0, "nothing was traded");
  stack.anvil.signal("SIGCONT");
  await stack.phase("OPEN", WALK_TIMEOUT_MS);
});

test("the node tells each step, with the samples that crossed the threshold and the integrity report", async () => {
  const { incidents, pending } = await stack.rpc.call("node_getIncidents");
  assert.equal(incidents[0].incident, incident);
  assert.deepEqual(pending, []);
  const told = await stack.rpc.call("node_getIncident", { incident });
  assert.equal(told.timeline[0].step, "ENTERED");
  assert.ok(told.reasons.includes("SETTLEMENT_HEAD_STALE"));
  const walked = told.timeline.filter(({ step }) => step === "PHASE").map(({ phase }) => phase);
  assert.equal(walked[0], "HALTED");
  // Once from HALTED to OPEN at its end; a loss in between would begin again.
  assert.deepEqual(walked.slice(walked.lastIndexOf("HALTED")), PHASES);
  assert.equal(told.phase, "OPEN");
  assert.ok(Number(told.ended) > Number(told.ts));

  const found = told.detections.find(({ reasons }) => reasons.includes("SETTLEMENT_HEAD_STALE"));
  const crossing = found.crossings.find(({ reason }) => reason === "SETTLEMENT_HEAD_STALE");
  assert.ok(Number(crossing.samples.at(-1).value) > HEAD_STALE_MS, JSON.stringify(crossing));
  assert.ok(crossing.samples.length > 1 && Number(crossing.samples[0].value) < Number(crossing.samples.at(-1).value));
  assert.equal(told.detections[0].observed, told.observed);
  assert.ok(Number(found.observed) <= Number(found.durable) && Number(found.durable) <= Number(found.announced), JSON.stringify(found));

  assert.equal(told.gate.at(-1).outcome, "PASSED");
  assert.equal(told.report.hash, told.integrityReport);
  assert.equal(String(told.report.incident), incident);
  assert.deepEqual(told.missing, []);
});

test("what each account lost is what the engine says of it", async () => {
  const told = await stack.rpc.call("node_getIncident", { incident });
  const accounts = await pages("node_getIncidentAccounts", { incident }, "accounts");
  assert.equal(String(accounts.length), told.accounts);
  let cancelled = 0;
  for (const trader of traders) {
    const orders = await pages("trade_getCancelledOrders", { account: trader.address, incident }, "orders");
    const lost = accounts.find(({ account }) => BigInt(account) === BigInt(trader.address));
    assert.equal(lost.cancelled, String(orders.length));
    for (const { market, cancelled } of lost.markets) assert.equal(cancelled, String(orders.filter((order) => order.market === market).length));
    cancelled += orders.length;

    const history = await pages("trade_fillHistory", { account: trader.address }, "fills");
    const unheard = await pages("node_getIncidentFills", { incident, account: trader.address }, "fills");
    assert.equal(lost.unheardFills, String(unheard.length));
    const known = new Map(history.map((fill) => [`${fill.market} ${fill.tradeId}`, fill]));
    for (const fill of unheard) assert.deepEqual(fill, known.get(`${fill.market} ${fill.tradeId}`));
    // The last record before the incident is at most as late as it.
    const late = history.filter(({ ts }) => Number(ts) <= Number(told.ts) && Number(ts) >= Number(told.ts) - UNHEARD_MS);
    const listed = new Set(unheard.map(({ market, tradeId }) => `${market} ${tradeId}`));
    for (const { market, tradeId } of late) assert.ok(listed.has(`${market} ${tradeId}`), `${market} ${tradeId} is not listed`);
  }
  assert.equal(told.cancelled, String(cancelled));
  assert.equal(told.markets.reduce((sum, { cancelled }) => sum + Number(cancelled), 0), cancelled);
  assert.ok(Number(told.unheardFills) > 0);
});

test("the webhook is told every step in order, although its first tries failed, and the stream the same", async () => {
  const { timeline } = await stack.rpc.call("node_getIncident", { incident });
  const steps = await until("the last step at the webhook", () => {
    const ours = told.filter((step) => step.incident === incident);
    return ours.at(-1)?.phase === "OPEN" && ours;
  }, { timeoutMs: 60_000 });
  assert.equal(refused.length, REFUSED_FIRST);
  assert.deepEqual(refused[0], refused[2], "the same is sent again");
  const { method, type, url, chainId, genesis, ...first } = told[0];
  assert.deepEqual([method, type, url], ["POST", "application/json", "/steps?key=7"]);
  const status = await stack.status();
  assert.deepEqual([chainId, genesis], [status.chainId, status.genesis]);
  assert.deepEqual([first.incident, first.step], ["1", "ENTERED"], "that of the first start, which was refused at first");
  assert.deepEqual(steps.map(({ method, type, url, chainId, genesis, ...step }) => step), timeline);
  assert.deepEqual(streamed, timeline);
  assert.doesNotMatch(stack.node.output(), /key=7/, "an address may be a secret");
});

test("the report of a running node has all of it, in Markdown and JSON", async () => {
  report = await reported("--node", stack.url);
  assert.deepEqual(report.incident, await stack.rpc.call("node_getIncident", { incident }));
  assert.equal(report.accounts.length, Number(report.incident.accounts));
  for (const { unheardFills, fills, fillsOmitted } of report.accounts) assert.equal(fills.length + fillsOmitted, Number(unheardFills));
  assert.deepEqual([report.phases[0].phase, report.phases.at(-1).phase], ["HALTED", "REDUCE_ONLY"]);
  assert.ok(report.phases.every(({ ms }) => ms > 0));
  const text = await stack.looked("incident", "report", incident, "--node", stack.url);
  for (const heading of ["# Incident", "## Timeline", "## Phases", "## How it was detected", "## What was cancelled", "## Integrity report", "## What each account lost"]) {
    assert.ok(text.includes(heading), heading);
  }
  for (const { address } of traders) assert.ok(text.toLowerCase().includes(`| 0x${BigInt(address).toString(16)}`), address);
  assert.match(await stack.looked("incident", "list", "--node", stack.url), new RegExp(`\\| ${incident} \\|.*SETTLEMENT_HEAD_STALE`));
});

test("a stopped node's folder gives the same report, and so does a store that was made again; lost files are named", { timeout: 180_000 }, async () => {
  await stack.stopNode();
  const data = join(stack.directory, "node");
  assert.deepEqual(await reported("--data", data), report);
  await rm(join(data, "store"), { recursive: true });
  await stack.startNode();
  await until("history", async () => (await stack.rpc.call("node_getIncidents")).incidents.some((found) => found.incident === incident));
  assert.deepEqual(await reported("--node", stack.url), report);
  await stack.stopNode();
  assert.deepEqual(await reported(), report);

  await rm(join(data, "incidents"), { recursive: true });
  const { incident: { missing, ...without }, accounts } = await reported();
  const { missing: nothing, ...whole } = report.incident;
  assert.deepEqual(without, { ...whole, detections: [], gate: [], report: null }, "the journal's part is all there");
  assert.deepEqual(accounts, report.accounts);
  assert.equal(missing.length, 2);
  const unknown = await stack.keel("incident", "report", "99");
  assert.notEqual(unknown.code, 0);
  assert.match(unknown.stderr, /there is no incident 99/);
  await stack.startNode();
});
