// A WebSocket that logged in with a signed Session: cancels without signing, and its loss cancels everything if that was asked for.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Stack, sleep, until } from "./lib/keel.mjs";
import { Connection } from "./lib/stream.mjs";

const MARKET = "ETH-USDC";
/** A connection that ended is noticed at once; one whose peer fell silent within 15 s. */
const NOTICED_MS = 5_000;
const SILENT_NOTICED_MS = 20_000;

let stack;
let trader;

before(async () => {
  stack = await Stack.temporary();
  await stack.open();
  trader = await stack.trader({ USDC: "100000" });
}, { timeout: 180_000 });
after(() => stack?.stop());

const login = async (connection) => connection.call("trade_login", await trader.signed("Session", trader.message({})));

async function loggedIn() {
  const connection = await Connection.open(stack.url);
  await login(connection);
  return connection;
}

let clientId = 0;
async function rest() {
  const placed = await trader.place({
    market: MARKET, side: "BUY", type: "LIMIT", size: "0.1", price: "1000", timeInForce: "POST_ONLY", clientId: String(++clientId),
  });
  assert.equal(placed.state, "OPEN");
  return placed.order;
}

const gone = (order, reason, timeoutMs = NOTICED_MS) => until("the order to be cancelled", async () => {
  const { state, reason: why } = await trader.order({ order });
  return state === "CANCELLED" && (assert.equal(why, reason), true);
}, { timeoutMs });

test("a session cancels one order by hash, one by client id, and the rest", { timeout: 60_000 }, async () => {
  const connection = await loggedIn();
  const [first, second, third] = [await rest(), await rest(), await rest()];
  assert.equal((await connection.call("trade_sessionCancel", { order: first })).count, "1");
  assert.equal((await connection.call("trade_sessionCancel", { clientId: String(clientId - 1) })).count, "1");
  await assert.rejects(connection.call("trade_sessionCancel", { order: first }), { reason: "ORDER_NOT_OPEN" });
  assert.equal((await connection.call("trade_sessionCancelAll", { market: MARKET })).count, "1");
  for (const order of [first, second, third]) assert.equal((await trader.order({ order })).state, "CANCELLED");
  await connection.close();
});

test("a Session logs in once, on a WebSocket, and for its connection only", { timeout: 60_000 }, async () => {
  const signed = await trader.signed("Session", trader.message({}));
  await assert.rejects(stack.rpc.call("trade_login", signed), { reason: "WEB_SOCKET_ONLY" });
  const [one, other] = [await Connection.open(stack.url), await Connection.open(stack.url)];
  assert.equal((await one.call("trade_login", signed)).account, trader.address);
  await assert.rejects(other.call("trade_login", signed), { reason: "SESSION_USED" });
  await assert.rejects(other.call("trade_sessionCancelAll"), { reason: "NOT_LOGGED_IN" });
  await assert.rejects(other.call("trade_setCancelOnDisconnect", { enabled: true }), { reason: "NOT_LOGGED_IN" });
  await one.close();
  await other.close();
});

test("only the lost connection that asked for it cancels", { timeout: 60_000 }, async () => {
  const [quiet, armed, disarmed] = [await loggedIn(), await loggedIn(), await loggedIn()];
  assert.equal((await armed.call("trade_setCancelOnDisconnect", { enabled: true })).enabled, true);
  await disarmed.call("trade_setCancelOnDisconnect", { enabled: true });
  await disarmed.call("trade_setCancelOnDisconnect", { enabled: false });
  const order = await rest();
  await quiet.lose();
  await disarmed.close();
  await sleep(1_000);
  assert.equal((await trader.order({ order })).state, "OPEN");
  await armed.lose();
  await gone(order, "DISCONNECTED");
});

test("a peer that falls silent without closing is lost too", { timeout: 60_000 }, async () => {
  const connection = await loggedIn();
  await connection.call("trade_setCancelOnDisconnect", { enabled: true });
  const order = await rest();
  connection.socket.pause();
  await gone(order, "DISCONNECTED", SILENT_NOTICED_MS);
  connection.socket.terminate();
});
