// Starknet's WebSocket subscriptions through starknet.js's WebSocketChannel, against a node on which people trade: what comes is what the
// node says when asked, in order, without gap or duplicate, also over a connection that was lost.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { WebSocket } from "ws";

// Node 20 has none, and starknet.js looks for it when it is loaded.
globalThis.WebSocket ??= WebSocket;
const { RpcProvider, WebSocketChannel, hash } = await import("starknet");
const { RpcError, Stack, fromQuantums, sleep, toQuantums, until } = await import("./lib/keel.mjs");

const MARKET = "ETH-USDC";
const TRADERS = 2;
const VERSIONS = ["v0_9", "v0_10"];
const SPEC_VERSIONS = { v0_9: "0.9.0", v0_10: "0.10.2" };
/** Blocks a test watches go by. */
const BLOCKS = 6;

let stack;
let running = true;
let load;
const open = [];

before(async () => {
  stack = await Stack.temporary();
  await stack.open();
  const traders = await Promise.all(Array.from({ length: TRADERS }, () => stack.trader({ USDC: "500000", ETH: "100" })));
  load = Promise.all(traders.map(trade));
}, { timeout: 180_000 });

after(async () => {
  running = false;
  for (const channel of open) channel.disconnect();
  await load;
  await stack?.stop();
});

/** Crosses the other one's orders around the mark until told to stop, a few times a second. */
async function trade(trader, index) {
  const { mark, tickSize } = await stack.market(MARKET);
  const price = fromQuantums(toQuantums(mark) / toQuantums(tickSize) * toQuantums(tickSize));
  for (let turn = index; running; turn++) {
    try {
      await trader.place({ market: MARKET, side: turn % 2 ? "BUY" : "SELL", type: "LIMIT", size: "0.01", price });
    } catch (error) {
      // An order that met its own account's.
      if (!(error instanceof RpcError)) throw error;
    }
    await sleep(100);
  }
}

const nodeUrl = (version) => `${stack.url}/${version}`;
const provider = (version) => new RpcProvider({ nodeUrl: nodeUrl(version), specVersion: SPEC_VERSIONS[version] });

/** A channel of starknet.js, connected. */
async function connect(version, options) {
  const channel = new WebSocketChannel({ nodeUrl: nodeUrl(version).replace("http", "ws"), ...options });
  open.push(channel);
  await channel.waitForConnection();
  return channel;
}

/** What a subscription sends, as a list that grows. */
function collect(subscription) {
  const received = [];
  subscription.on((notification) => received.push(notification));
  return received;
}

const heightOf = async (version) => (await provider(version).getBlockLatestAccepted()).block_number;
const assertContiguous = (heads) =>
  heads.forEach((head, index) => assert.equal(head.block_number, heads[0].block_number + index, "a gap or a duplicate"));

/** Every event from one block to another, page after page. */
async function eventsOf(version, from, to, filter = {}) {
  const events = [];
  let continuation_token;
  do {
    const page = await provider(version).getEvents({
      from_block: { block_number: from }, to_block: { block_number: to }, chunk_size: 100, continuation_token, ...filter,
    });
    events.push(...page.events);
    ({ continuation_token } = page);
  } while (continuation_token);
  return events;
}

for (const version of VERSIONS) {
  test(`${version}: heads are contiguous and chained, and are what getBlock answers`, { timeout: 60_000 }, async () => {
    const channel = await connect(version);
    const first = Math.max(await heightOf(version) - 5, 0);
    const subscription = await channel.subscribeNewHeads({ blockIdentifier: first });
    assert.equal(typeof subscription.id, "string");
    const heads = collect(subscription);
    await until(`${BLOCKS} new heads`, () => heads.length > 5 + BLOCKS);
    assert.equal(heads[0].block_number, first);
    assertContiguous(heads);
    for (const [index, head] of heads.entries()) {
      if (index > 0) assert.equal(head.parent_hash, heads[index - 1].block_hash);
      const { transactions, status, ...header } = await provider(version).getBlockWithTxHashes(head.block_number);
      assert.deepEqual(head, header);
    }
    assert.equal(await subscription.unsubscribe(), true);
    assert.ok(subscription.isClosed);
    const seen = heads.length;
    await sleep(1_500);
    assert.equal(heads.length, seen, "nothing comes after unsubscribing");
  });

  test(`${version}: events are what getEvents answers, with and without a filter`, { timeout: 60_000 }, async () => {
    const channel = await connect(version);
    const first = Math.max(await heightOf(version) - 5, 0);
    const { keys: [key] } = (await eventsOf(version, 0, first)).at(-1);
    const fromAddress = stack.genesis.exchange;
    const [all, some, none] = await Promise.all([
      channel.subscribeEvents({ blockIdentifier: first }),
      channel.subscribeEvents({ blockIdentifier: first, fromAddress, keys: [[key]] }),
      channel.subscribeEvents({ blockIdentifier: first, fromAddress: "0x1234" }),
    ].map(async (subscription) => collect(await subscription)));
    const last = await heightOf(version) + BLOCKS;
    await until("events of new blocks", () => all.some(({ block_number: block }) => block > last));
    const upToLast = (events) => events.filter(({ block_number: block }) => block <= last);
    const plain = ({ finality_status: finality, ...event }) => {
      assert.match(finality, /^ACCEPTED_ON_L[12]$/);
      return event;
    };
    const asked = await eventsOf(version, first, last);
    assert.ok(asked.length > BLOCKS);
    assert.deepEqual(upToLast(all).map(plain), asked);
    const filtered = await eventsOf(version, first, last, { address: fromAddress, keys: [[key]] });
    await until("the other subscription to have them", () => upToLast(some).length >= filtered.length);
    assert.deepEqual(upToLast(some).map(plain), filtered);
    assert.deepEqual(none, []);
  });

  test(`${version}: transactions and receipts are the node's, first PRE_CONFIRMED, then ACCEPTED_ON_L2`, { timeout: 60_000 }, async () => {
    const channel = await connect(version);
    const finalityStatus = ["PRE_CONFIRMED", "ACCEPTED_ON_L2"];
    const transactions = collect(await channel.subscribeNewTransactions({ finalityStatus }));
    const receipts = collect(await channel.subscribeNewTransactionReceipts({ finalityStatus }));
    const heads = collect(await channel.subscribeNewHeads());
    await until(`${BLOCKS} blocks`, () => heads.length > BLOCKS);
    const accepted = (list) => list.filter((entry) => entry.finality_status === "ACCEPTED_ON_L2");
    // The first block may have begun before one of the subscriptions was there; the last one is whole when its head has come.
    const [from, to] = [heads[1].block_number, heads.at(-2).block_number];
    let compared = 0;
    for (let number = from; number <= to; number++) {
      const block = await provider(version).getBlockWithTxs(number);
      const hashes = block.transactions.map((transaction) => transaction.transaction_hash);
      const shown = accepted(transactions).filter(({ transaction_hash: of }) => hashes.includes(of));
      assert.deepEqual(shown.map(({ finality_status: _, ...transaction }) => transaction), block.transactions);
      const receiptsOfBlock = accepted(receipts).filter((receipt) => receipt.block_number === number);
      assert.deepEqual(receiptsOfBlock.map((receipt) => receipt.transaction_hash), hashes);
      for (const { finality_status: finality, ...receipt } of receiptsOfBlock) {
        const answer = await stack.rpc.call("starknet_getTransactionReceipt", { transaction_hash: receipt.transaction_hash });
        const { finality_status: now, ...asked } = answer;
        assert.match(now, /^ACCEPTED_ON_L[12]$/);
        assert.deepEqual(receipt, asked);
        compared++;
      }
      for (const of of hashes) {
        for (const list of [transactions, receipts]) {
          const told = list.filter(({ transaction_hash: other }) => other === of).map(({ finality_status: status }) => status);
          assert.deepEqual(told, finalityStatus, `${of} in block ${number}`);
        }
      }
    }
    assert.ok(compared > 3, `${compared} receipts`);
    const early = receipts.filter((receipt) => receipt.finality_status === "PRE_CONFIRMED");
    assert.ok(early.every((receipt) => receipt.block_hash === undefined && receipt.block_number >= 0));
  });

  test(`${version}: a transaction's status goes on to ACCEPTED_ON_L1`, { timeout: 90_000 }, async () => {
    const channel = await connect(version);
    const transactions = collect(await channel.subscribeNewTransactions({ finalityStatus: ["PRE_CONFIRMED"] }));
    const { transaction_hash: transactionHash } = await until("a transaction", () => transactions[0]);
    const statuses = collect(await channel.subscribeTransactionStatus({ transactionHash }));
    await until("the settlement layer to have it", () => statuses.at(-1)?.status.finality_status === "ACCEPTED_ON_L1", { timeoutMs: 60_000 });
    const told = statuses.map(({ status }) => status.finality_status);
    const whole = ["PRE_CONFIRMED", "ACCEPTED_ON_L2", "ACCEPTED_ON_L1"];
    assert.deepEqual(told, whole.slice(-told.length), "in order, nothing left out, nothing twice");
    assert.ok(told.length >= 2);
    for (const { transaction_hash: of, status } of statuses) {
      assert.equal(BigInt(of), BigInt(transactionHash));
      assert.equal(status.execution_status, "SUCCEEDED");
    }
    const asked = await provider(version).getTransactionStatus(transactionHash);
    assert.deepEqual(asked, statuses.at(-1).status);
    const unknown = collect(await channel.subscribeTransactionStatus({ transactionHash: hash.computePoseidonHashOnElements([1]) }));
    await sleep(1_000);
    assert.deepEqual(unknown, [], "one that nobody knows is waited for");
  });

  test(`${version}: after a loss of the connection nothing is missed`, { timeout: 60_000 }, async () => {
    const events = [];
    const heads = [];
    let next = await heightOf(version);
    const first = next;
    for (let loss = 0; loss < 3; loss++) {
      const channel = await connect(version, { autoReconnect: false });
      const headsNow = collect(await channel.subscribeNewHeads({ blockIdentifier: next }));
      const eventsNow = collect(await channel.subscribeEvents({ blockIdentifier: next }));
      await until("blocks", () => headsNow.length > 3);
      channel.disconnect();
      await channel.waitForDisconnection();
      // What is sure to be whole: everything below the last block of which anything was seen.
      next = Math.min(headsNow.at(-1).block_number, eventsNow.at(-1)?.block_number ?? next);
      heads.push(...headsNow.filter((head) => head.block_number < next));
      events.push(...eventsNow.filter((event) => event.block_number < next));
      await sleep(1_200);
    }
    assertContiguous(heads);
    assert.equal(heads[0].block_number, first);
    assert.deepEqual(events.map(({ finality_status: _, ...event }) => event), await eventsOf(version, first, next - 1));
  });
}

test("starknet.js restores its subscriptions by itself when the connection is lost", { timeout: 60_000 }, async () => {
  const channel = await connect("v0_10", { reconnectOptions: { retries: 5, delay: 200 } });
  const subscription = await channel.subscribeNewHeads();
  const heads = collect(subscription);
  await until("a head", () => heads.length > 1);
  const before = subscription.id;
  channel.websocket.close();
  await until("it to be restored", () => subscription.id !== before);
  const seen = heads.length;
  await until("more heads", () => heads.length > seen + 2);
  assert.equal(await subscription.unsubscribe(), true);
});

test("errors are those of the specification", { timeout: 60_000 }, async () => {
  const channel = await connect("v0_10");
  const height = await heightOf("v0_10");
  await assert.rejects(channel.subscribeNewHeads({ blockIdentifier: height + 1_000 }), /"code":24,"message":"Block not found"/);
  const senderAddress = Array.from({ length: 1_025 }, (_, index) => index + 1);
  await assert.rejects(channel.subscribeNewTransactions({ senderAddress }), /"code":67/);
  await assert.rejects(channel.unsubscribe("1"), /"code":66,"message":"Invalid subscription id"/);
  await assert.rejects(stack.rpc.call("starknet_subscribeNewHeads"), { reason: "WEB_SOCKET_ONLY" });
});
