// One read script for three client libraries: steps with arguments and the answer that must come, known from elsewhere: from the
// settlement layer, the genesis, the accounts' own history, the committed classes. Canonical form: felts as hex without leading zeros,
// counts as numbers, statuses as their names.
import { readFileSync } from "node:fs";
import { hash } from "starknet";
import { locate } from "../lib/cairo_storage.mjs";
import { L1, repository, toQuantums, until } from "../lib/keel.mjs";

export const felt = (value) => `0x${BigInt(value).toString(16)}`;

const classes = JSON.parse(readFileSync(`${repository}contracts-abi/artifacts/starknet/classes.json`, "utf8"));
const exchangeClass = classes.find(({ name }) => name === "exchange");
const TRADE = felt(hash.starknetKeccak("Trade"));
const TWO_POW_127 = 2n ** 127n;

/** What the settlement contract says: [root, block, hash] once it has settled block `number`. */
async function settled(stack, number) {
  const l1 = new L1(stack.l1Url, stack.genesis);
  return until(`block ${number} to be settled`, async () => {
    const at = await l1.settled();
    return Number(at.block) >= number && at;
  }, { timeoutMs: 90_000 });
}

/**
 * The script about `quiet`, a trader who has deposited `deposit` (an answer of L1.deposit), traded and withdrawn and does nothing more,
 * whose last command is in a block not above `last`.
 */
export async function scriptFor(stack, { quiet, deposit, asset, amount, withdrawal, last }) {
  const { root, block, hash: blockHash } = await settled(stack, last);
  const number = Number(block);
  const exchange = felt(stack.genesis.exchange);
  const operator = felt(stack.genesis.operator);
  const raw = (method, params) => stack.rpc.call(`starknet_${method}`, params);
  // The contract has it at once; to the node it is confirmed some blocks later.
  await until(`block ${number} to be ACCEPTED_ON_L1`, async () =>
    (await raw("getBlockWithTxHashes", { block_id: "l1_accepted" })).block_number >= number, { timeoutMs: 60_000 });

  const { balances } = await quiet.account();
  const { fills } = await stack.rpc.call("trade_fillHistory", { account: quiet.address, limit: "100" });
  const assetId = stack.genesis.assets.findIndex(({ symbol }) => symbol === asset);
  const balance = (symbol) => {
    const id = stack.genesis.assets.findIndex((one) => one.symbol === symbol);
    return [felt(locate("balances", [quiet.address, id]).slot), felt(toQuantums(balances.find((one) => one.asset === symbol).total) + TWO_POW_127)];
  };

  const deposited = await transactionOf(stack, "Deposited", quiet.address, number);
  const withdrawn = await transactionOf(stack, "Withdrawn", quiet.address, number);
  const traded = await eventsOf(stack, [[TRADE], [], [], [felt(quiet.address)]], number);
  const invokes = await invokesUpTo(raw, number);
  const body = await raw("getBlockWithTxHashes", { block_id: { block_number: deposited.block_number } });
  const units = toQuantums(amount) / stack.quantumsPerUnit(asset);

  return [
    ["chainId", {}, felt(`0x${Buffer.from(stack.genesis.chain_id).toString("hex")}`)],
    ["blockNumber", { atLeast: number }, true],
    ["tags", { settled: number }, [true, "ACCEPTED_ON_L1", true, true]],
    ["header", { number }, [felt(blockHash), felt(root), "ACCEPTED_ON_L1"]],
    ["blockOfHash", { hash: felt(blockHash) }, number],
    ["body", { number: deposited.block_number }, [body.transactions.length, true, true, felt(body.transactions.at(-1))]],
    ["transactionAt", { number: deposited.block_number, index: body.transactions.indexOf(deposited.transaction_hash) }, felt(deposited.transaction_hash)],
    ...balances.map(({ asset: symbol }) => ["storage", { contract: exchange, key: balance(symbol)[0], number }, balance(symbol)[1]]),
    ["storage", { contract: exchange, key: "0x123456", number }, "0x0"],
    ["nonce", { contract: operator, number }, felt(invokes)],
    ["nonce", { contract: operator, number: 0 }, "0x0"],
    ["classHashAt", { contract: exchange, number }, felt(exchangeClass.class_hash)],
    ["classHashes", { contract: exchange, classHash: felt(exchangeClass.class_hash), number },
      [felt(exchangeClass.class_hash), felt(exchangeClass.class_hash)]],
    ["casmHash", { classHash: felt(exchangeClass.class_hash) }, felt(exchangeClass.compiled_class_hash_blake)],
    ["deposit", { transaction: deposited.transaction_hash }, [
      "L1_HANDLER", exchange, felt(deposit.nonce), felt(stack.genesis.settlement.bridge), felt(stack.asset(asset).token), felt(quiet.address), felt(units),
    ]],
    ["receipt", { transaction: deposited.transaction_hash },
      ["ACCEPTED_ON_L1", "SUCCEEDED", deposited.block_number, 1, "0x0", felt(deposit.messageHash)]],
    ["messageSent", { transaction: withdrawn.transaction_hash }, [[
      exchange, felt(stack.genesis.settlement.bridge), felt(stack.asset(withdrawal.asset).token), felt(withdrawal.recipient),
      felt(toQuantums(withdrawal.amount) / stack.quantumsPerUnit(withdrawal.asset)), felt(withdrawal.id),
    ]]],
    ["status", { transaction: withdrawn.transaction_hash }, ["ACCEPTED_ON_L1", "SUCCEEDED"]],
    ["messagesStatus", { l1Transaction: deposit.receipt.transactionHash }, [[felt(deposited.transaction_hash), "ACCEPTED_ON_L1", "SUCCEEDED"]]],
    // One trade a page: every continuation token is used.
    ["events", { address: exchange, keys: [[TRADE], [], [], [felt(quiet.address)]], from: 0, to: number, chunk: 1 },
      tradesOf(fills, traded)],
    ["events", { address: exchange, keys: [[felt(hash.starknetKeccak("Deposited"))], [felt(quiet.address)]], from: 0, to: number, chunk: 100 },
      [[felt(hash.starknetKeccak("Deposited")), felt(quiet.address), felt(assetId), felt(toQuantums(amount)), felt(deposit.nonce)]]],
    ["stateUpdate", { number, contract: exchange, key: "0x123456" }, [felt(blockHash), felt(root), "unwritten"]],
    ["stateUpdate", await lastWrite(raw, exchange, balance("USDC")[0], number), undefined],
    ["proofRoot", { number, contract: exchange, key: balance("USDC")[0] }, [felt(blockHash), felt(root), felt(exchangeClass.class_hash)]],
    ["error", { of: "block", number: 99_999_999 }, 24],
    ["error", { of: "transaction", transaction: "0x123456" }, 29],
    ["error", { of: "contract", contract: "0x123456", number }, 20],
    ["error", { of: "class", classHash: "0x123456", number }, 28],
    ["error", { of: "call", contract: exchange, entrypoint: "get_phase", number }, 40],
    ["error", { of: "call", contract: exchange, entrypoint: "get_nothing", number }, 21],
  ].map(([step, args, expect]) => args.step ?? { step, args, expect });
}

const eventsOf = async (stack, keys, to) => {
  const filter = { address: stack.genesis.exchange, keys, from_block: { block_number: 0 }, to_block: { block_number: to }, chunk_size: 1000 };
  return (await stack.rpc.call("starknet_getEvents", { filter })).events;
};

/** The transaction of the one event of this name about `account`. */
async function transactionOf(stack, name, account, to) {
  const found = await eventsOf(stack, [[felt(hash.starknetKeccak(name))], [felt(account)]], to);
  if (found.length !== 1) throw new Error(`${found.length} events ${name} of ${account}`);
  return found[0];
}

/** Oldest first, what the account's own history says of each fill (price, size), within the words of its event. */
function tradesOf(fills, events) {
  if (fills.length !== events.length) throw new Error(`${fills.length} fills, ${events.length} events`);
  return fills.toReversed().map(({ tradeId, price, size }, i) => {
    const words = [...events[i].keys, ...events[i].data].map(felt);
    words.splice(4, 3, felt(tradeId), felt(toQuantums(price)), felt(toQuantums(size)));
    return words;
  });
}

/** The operator's nonce after block `to`: how many of its transactions there are. */
async function invokesUpTo(raw, to) {
  let invokes = 0;
  for (let number = 0; number <= to; number++) {
    const { transactions } = await raw("getBlockWithTxs", { block_id: { block_number: number } });
    invokes += transactions.filter(({ type }) => type === "INVOKE").length;
  }
  return invokes;
}

/** The step that reads the block which wrote this slot last, not above `to`. */
async function lastWrite(raw, contract, key, to) {
  const at = { contract_address: contract, key, block_id: { block_number: to }, response_flags: ["INCLUDE_LAST_UPDATE_BLOCK"] };
  const { value, last_update_block: number } = await raw("getStorageAt", at);
  const { block_hash, new_root } = await raw("getBlockWithTxHashes", { block_id: { block_number: number } });
  return { step: { step: "stateUpdate", args: { number, contract, key }, expect: [felt(block_hash), felt(new_root), felt(value)] } };
}

