// Every kind of bad input has a code of its own, names the field, and changes nothing.
import assert from "node:assert/strict";
import { request as httpRequest } from "node:http";
import { after, before, test } from "node:test";
import { ec, encode } from "starknet";
import { HANDLE_DEPOSIT, Stack, fromQuantums, sleep, toQuantums } from "./lib/keel.mjs";
import { messageHash, typedData } from "./lib/snip12.mjs";

const MARKET = "ETH-USDC";
const PERPETUAL = "ETH-USDC-PERP";
/** More than the node takes in one request. */
const OVERSIZED_BYTES = 2 * 1024 * 1024;
/** Blocks of the settlement layer after which a deposit would certainly have been credited. */
const FINAL_BLOCKS = 6;

let stack;
let alice; // has money and an open order
let mallory; // registered, without money
let price; // below the mark, on tick, as text

before(async () => {
  stack = await Stack.temporary();
  await stack.open();
  alice = await stack.trader({ USDC: "10000", ETH: "2" });
  mallory = await stack.trader();
  const market = await stack.market(MARKET);
  const tick = toQuantums(market.tickSize);
  price = fromQuantums((toQuantums(market.mark) * 9n / 10n / tick) * tick);
  await alice.place({ ...order(), clientId: "1", timeInForce: "POST_ONLY" });
}, { timeout: 180_000 });
after(() => stack?.stop());

const order = (change = {}) => ({ market: MARKET, side: "BUY", type: "LIMIT", size: "0.5", price, ...change });

/** Everything a request of alice or mallory could have changed. */
async function everything() {
  const [aliceAccount, malloryAccount, aliceOrders, malloryOrders, book, trades] = await Promise.all([
    alice.account(), mallory.account(), alice.openOrders(), mallory.openOrders(),
    stack.rpc.call("market_book", { market: MARKET, depth: "50" }), stack.rpc.call("market_trades", { market: MARKET, limit: "50" }),
  ]);
  // An answer's own seq and time move with every price that is published.
  for (const account of [aliceAccount, malloryAccount]) for (const own of ["seq", "ts"]) delete account[own];
  return { aliceAccount, malloryAccount, aliceOrders, malloryOrders, bids: book.bids, asks: book.asks, trades: trades.trades };
}

const place = (request) => stack.rpc.call("trade_placeOrder", request);
/** A request as alice would sign it, then changed by a stranger. */
async function tampered(change, message = alice.message(order())) {
  return change(await alice.signed("Order", message));
}
const signedPlace = async (fields) => place(await alice.signed("Order", alice.message(order(fields))));
const hex = (value) => encode.addHexPrefix(value.toString(16));

/** A signature by one's own key on which a naive verifier's last addition is the point at infinity. */
function craftedSignature() {
  const { n } = ec.starkCurve.CURVE;
  const d = BigInt(mallory.privateKey);
  const inverse = (value) => {
    let [a, b, x, y] = [((value % n) + n) % n, n, 1n, 0n];
    while (b > 0n) [a, b, x, y] = [b, a % b, y, x - (a / b) * y];
    return ((x % n) + n) % n;
  };
  for (;;) {
    const message = mallory.message(order());
    const z = BigInt(messageHash(typedData(stack.genesis.chain_id, "Order", message), mallory.address));
    const r = (n - (z * inverse(d)) % n) % n;
    // As large an r as a verifier lets through.
    if (r > 0n && r < 2n ** 251n) return { message, signature: [hex(r), hex(ec.starkCurve.sign(hex(z), mallory.privateKey).s)] };
  }
}

/** [what, reason, field, whether the nonce is consumed, the attempt]. Reasons and codes are all different. */
const cases = [
  ["a wrong signature", "INVALID_SIGNATURE", "signature", false,
    () => tampered((request) => ({ ...request, signature: [request.signature[0], hex(BigInt(request.signature[1]) ^ 1n)] })).then(place)],
  ["someone else's key", "KEY_NOT_AUTHORIZED", "key", false, async () => {
    const message = alice.message(order());
    const signature = await mallory.sign(typedData(stack.genesis.chain_id, "Order", message));
    return place({ message, signature, key: mallory.publicKey });
  }],
  ["an expired message", "EXPIRED", "validUntil", false, () => signedPlace({ validUntil: "1" })],
  ["a replayed nonce", "NONCE_USED", "nonce", false, async () => {
    const { nonce } = await usedNonce();
    return place(await alice.signed("Order", { ...alice.message(order({ size: "0.4" })), nonce }));
  }],
  ["an unknown market", "UNKNOWN_MARKET", "market", false, () => signedPlace({ market: "DOGE-USDC" })],
  ["an off-tick price", "OFF_TICK", "price", true, () => signedPlace({ price: fromQuantums(toQuantums(price) + 1n) })],
  ["too many decimals", "TOO_MANY_DECIMALS", "size", false, async () => {
    const message = alice.message(order());
    return place({ ...(await alice.signed("Order", message)), message: { ...message, size: "0.500000001" } });
  }],
  ["a float instead of a string", "NUMBER_NOT_STRING", "price", false,
    () => tampered((request) => ({ ...request, message: { ...request.message, price: 1800.5 } })).then(place)],
  ["an unknown field", "UNKNOWN_FIELD", "iceberg", false,
    () => tampered((request) => ({ ...request, message: { ...request.message, iceberg: "1" } })).then(place)],
  ["insufficient balance", "INSUFFICIENT_BALANCE", "size", true, () => signedPlace({ size: "100" })],
  ["insufficient margin", "INSUFFICIENT_MARGIN", "size", true, async () => {
    const { mark, tickSize } = await stack.market(PERPETUAL);
    const tick = toQuantums(tickSize);
    const limit = fromQuantums((toQuantums(mark) * 9n / 10n / tick) * tick);
    return place(await mallory.signed("Order", mallory.message(order({ market: PERPETUAL, size: "1", price: limit }))));
  }],
];

let used;
/** A nonce of alice that an executed message consumed. */
async function usedNonce() {
  used ??= await (async () => {
    const message = alice.message(order({ price: fromQuantums(toQuantums(price) + 1n) }));
    await assert.rejects(place(await alice.signed("Order", message)), { reason: "OFF_TICK" });
    return message;
  })();
  return used;
}

const codes = new Map();

for (const [what, reason, field, nonceConsumed, attempt] of cases) {
  test(`${what} is ${reason}, names ${field}, and changes nothing`, async () => {
    if (reason === "NONCE_USED") await usedNonce();
    const earlier = await everything();
    await assert.rejects(attempt, (error) => {
      assert.deepEqual([error.reason, error.field, error.nonceConsumed], [reason, field, nonceConsumed], error.message);
      codes.set(reason, error.code);
      return true;
    });
    assert.deepEqual(await everything(), earlier);
  });
}

/** The answer to a request that announces a body of `bytes` and sends none of it. */
function announce(bytes) {
  return new Promise((resolve, reject) => {
    const headers = { "content-type": "application/json", "content-length": bytes };
    const sent = httpRequest(stack.url, { method: "POST", headers, timeout: 10_000 }, async (response) => {
      resolve(JSON.parse(Buffer.concat(await response.toArray())));
      sent.destroy();
    });
    sent.once("error", reject);
    sent.once("timeout", () => sent.destroy(new Error("the node waits for the body")));
    sent.flushHeaders();
  });
}

test("an oversized body is refused before it is read, and the node goes on", async () => {
  const earlier = await everything();
  const { error } = await announce(OVERSIZED_BYTES);
  assert.equal(error.data.reason, "REQUEST_TOO_BIG");
  codes.set("REQUEST_TOO_BIG", error.code);
  assert.deepEqual(await everything(), earlier);
});

test("each kind has a code of its own", () => {
  assert.equal(codes.size, cases.length + 1);
  assert.equal(new Set(codes.values()).size, codes.size, JSON.stringify([...codes]));
});

test("a crafted signature that makes a naive verifier panic is refused, and the node goes on", async () => {
  const earlier = await everything();
  await assert.rejects(place(craftedSignature()), { reason: "INVALID_SIGNATURE", field: "signature", nonceConsumed: false });
  assert.deepEqual(await everything(), earlier);
  stack.node.assertRunning();
});

test("the other signature of the same message, (r, n-s), is not a second order", async () => {
  const request = await alice.signed("Order", alice.message(order({ size: "0.1", timeInForce: "IOC" })));
  const first = await place(request);
  const [r, s] = request.signature;
  const again = await place({ ...request, signature: [r, hex(ec.starkCurve.CURVE.n - BigInt(s))] });
  assert.deepEqual([again.replayed, again.order, again.seq], [true, first.order, first.seq]);
});

test("a message changed after signing is refused, whichever field it was", async () => {
  const earlier = await everything();
  const changes = {
    market: "BTC-USDC", side: "SELL", type: "MARKET", size: "0.6", price: fromQuantums(toQuantums(price) + toQuantums("1")),
    timeInForce: "IOC", reduceOnly: true, selfTrade: "CANCEL_BOTH", clientId: "9", nonce: "12345", validUntil: String(Date.now() + 5_000),
  };
  for (const [name, value] of Object.entries(changes)) {
    const attempt = tampered((request) => ({ ...request, message: { ...request.message, [name]: value } })).then(place);
    await assert.rejects(attempt, { reason: "INVALID_SIGNATURE" }, name);
  }
  assert.deepEqual(await everything(), earlier);
});

test("a forged direct sendMessageToL2 credits nothing and stays on the contract", async () => {
  const { l1, address } = mallory;
  const earlier = await everything();
  const token = BigInt(l1.tokens.USDC.address);
  const forgeries = [
    ["the bridge's own payload", HANDLE_DEPOSIT, [token, BigInt(address), 1_000_000_000n]],
    ["another selector", HANDLE_DEPOSIT + 1n, [token, BigInt(address), 1_000_000_000n]],
    ["a payload that is too short", HANDLE_DEPOSIT, [token]],
  ];
  const sent = [];
  for (const [what, selector, payload] of forgeries) {
    const { nonce, receipt } = await l1.sendMessageToL2(l1.exchange, selector, payload);
    const hash = await l1.read(l1.core, "l1ToL2MsgHash", [l1.address, l1.exchange, selector, payload, nonce]);
    sent.push({ what, nonce, hash, receipt });
  }
  await l1.blocks(FINAL_BLOCKS);
  await sleep(1_000);
  assert.deepEqual(await everything(), earlier);
  for (const { what, nonce, hash } of sent) {
    assert.notEqual(await l1.read(l1.core, "l1ToL2Messages", [hash]), 0n, `${what}: the message is still there for its sender`);
    const seen = await stack.rpc.call("bridge_getDeposit", { messageNonce: String(nonce) }).catch(({ reason }) => ({ reason }));
    assert.notEqual(seen.status, "CREDITED", what);
  }
  // A real deposit after the forged ones goes through all the same.
  const funded = await stack.trader({ USDC: "1" });
  assert.equal((await funded.account()).balances.find(({ asset }) => asset === "USDC").total, "1");
});
