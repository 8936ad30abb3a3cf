// Test vectors of the signed messages, made with starknet.js. `--check` writes nothing and fails if the committed file differs.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { ec, encode } from "starknet";
import { MESSAGES, encodedType, messageHash, typeHash, typedData } from "./lib/snip12.mjs";
import { fromQuantums } from "./lib/units.mjs";

const file = fileURLToPath(new URL("../corpus/snip12.json", import.meta.url));
const CHAIN_ID = "KEEL_DEV";
const PRIVATE_KEY = "0x0139fe4d6f02e666e86a6f58e65060f115cd3c185bd9e98bd829636931458f79";
const ACCOUNT = "0x4d7ec2b9e7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a";
const OTHER = "0x1";
const KEY = "0x33434ad846cdd5f23eb73ff09fe6fddd568284a0fb7d1be20ee482f044dabe2";
const ORDER_A = `0x${(2n ** 251n - 1n).toString(16)}`;
const ORDER_B = "0x2";
const L1_RECIPIENT = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";
const U128_MAX = (2n ** 128n - 1n).toString();
const TIME = "1790000000000";
const TIME_MAX = "18446744073709";
const LONGEST = "ABCDEFGHIJKLMNOPQRSTUVWXYZ-USDC";
const U64_MAX = (2n ** 64n - 1n).toString();
const U64_MAX_QUANTUMS = fromQuantums(2n ** 64n - 1n);
/** The most that an amount on the wire can be: 96 bits. */
const AMOUNT_MAX = fromQuantums(2n ** 96n - 1n);
const ACCOUNT_MAX = `0x${(2n ** 251n - 257n).toString(16)}`;
const envelope = { account: ACCOUNT, nonce: "1", validUntil: TIME };

/** [name, type, message as a client writes it]; prices, sizes and amounts are decimals here and quantums under the signature. */
const cases = [
  ["register", "Register", { ...envelope, key: KEY, template: "keel" }],
  ["register with the greatest nonce and the least address", "Register", { ...envelope, account: "0x1", key: KEY, template: "keel", nonce: U64_MAX }],
  ["register under a template with the longest name", "Register", { ...envelope, key: KEY, template: LONGEST }],
  ["session key for two markets", "SessionKey", {
    ...envelope, key: KEY, expiry: "1790086400000", scope: "TRADE", markets: ["ETH-USDC", "BTC-USDC-PERP"], maxOrderNotional: "250000.5",
  }],
  ["session key for every market", "SessionKey", {
    ...envelope, key: KEY, expiry: "1790086400000", scope: "TRADE", markets: [], maxOrderNotional: "0",
  }],
  ["session key with the greatest bounds", "SessionKey", {
    ...envelope, key: KEY, expiry: TIME_MAX, scope: "TRADE", markets: [LONGEST, "42", "ETH-USDC"], maxOrderNotional: AMOUNT_MAX,
  }],
  ["revoke session key", "RevokeSessionKey", { ...envelope, key: KEY }],
  ["revoke a session key with nonce zero", "RevokeSessionKey", { ...envelope, key: ORDER_B, nonce: "0" }],
  ["session", "Session", envelope],
  ["session with the greatest nonce", "Session", { ...envelope, nonce: U64_MAX }],
  ["session of the greatest address", "Session", { ...envelope, account: ACCOUNT_MAX, validUntil: TIME_MAX }],
  ["limit buy with defaults", "Order", { ...envelope, market: "ETH-USDC", side: "BUY", type: "LIMIT", size: "1.5", price: "3000.25" }],
  ["order with every field set", "Order", {
    ...envelope, market: "BTC-USDC-PERP", side: "SELL", type: "STOP_LIMIT", size: "0.00000001", price: "97500.1", triggerPrice: "98000",
    timeInForce: "GTT", goodTil: "1790000060000", reduceOnly: true, selfTrade: "CANCEL_BOTH", clientId: U128_MAX, nonce: U64_MAX,
  }],
  ["market order without a price", "Order", {
    ...envelope, market: "ETH-USDC-PERP", side: "BUY", type: "MARKET", size: "2", price: "0", timeInForce: "IOC", clientId: "7",
  }],
  ["order in a market whose name is a number", "Order", {
    ...envelope, market: "42", side: "SELL", type: "LIMIT", size: "1", price: "1", timeInForce: "POST_ONLY",
  }],
  ["order in a market with the longest name", "Order", {
    ...envelope, market: LONGEST, side: "SELL", type: "LIMIT", size: "1", price: "1", selfTrade: "CANCEL_MAKER",
  }],
  ...["STOP_MARKET", "TAKE_PROFIT_LIMIT", "TAKE_PROFIT_MARKET"].map((type) => [`${type} that fills or kills`, "Order", {
    ...envelope, market: "ETH-USDC-PERP", side: "SELL", type, size: "1", price: "2900", triggerPrice: "2950.5", timeInForce: "FOK", reduceOnly: true,
  }]),
  ["order of the greatest size at the greatest price", "Order", {
    ...envelope, market: "ETH-USDC", side: "BUY", type: "LIMIT", size: U64_MAX_QUANTUMS, price: U64_MAX_QUANTUMS, goodTil: TIME_MAX, timeInForce: "GTT",
  }],
  ["modify order", "ModifyOrder", { ...envelope, order: ORDER_A, price: "2999.99", size: "3" }],
  ["modify to the least size and price", "ModifyOrder", { ...envelope, order: ORDER_B, price: "0.00000001", size: "0.00000001" }],
  ["modify to the greatest size and price", "ModifyOrder", { ...envelope, order: ORDER_A, price: U64_MAX_QUANTUMS, size: U64_MAX_QUANTUMS, nonce: U64_MAX }],
  ["cancel by order", "CancelOrder", { ...envelope, order: ORDER_A }],
  ["cancel by client id", "CancelOrder", { ...envelope, clientId: U128_MAX }],
  ["cancel by the least client id", "CancelOrder", { ...envelope, clientId: "1", nonce: "0" }],
  ["cancel all in one market", "CancelAll", { ...envelope, market: "ETH-USDC" }],
  ["cancel all", "CancelAll", { ...envelope, market: "ALL" }],
  ["cancel all in a market whose name looks like hex", "CancelAll", { ...envelope, market: "0x1f" }],
  ["schedule cancel", "ScheduleCancel", { ...envelope, at: "1790000005000" }],
  ["take a scheduled cancel back", "ScheduleCancel", { ...envelope, at: "0" }],
  ["schedule cancel at the end of time", "ScheduleCancel", { ...envelope, at: TIME_MAX }],
  ["restore two orders", "RestoreOrders", { ...envelope, incident: "3", orders: [ORDER_A, ORDER_B], goodTil: "0" }],
  ["restore no orders", "RestoreOrders", { ...envelope, incident: "3", orders: [], goodTil: "0" }],
  ["restore of the greatest incident", "RestoreOrders", { ...envelope, incident: "4294967295", orders: [ORDER_B], goodTil: TIME_MAX }],
  ["transfer", "Transfer", { ...envelope, recipient: OTHER, asset: "USDC", amount: "12.34567891" }],
  ["transfer of one quantum", "Transfer", { ...envelope, recipient: ACCOUNT_MAX, asset: "USDC", amount: "0.00000001" }],
  ["transfer of the greatest amount", "Transfer", { ...envelope, recipient: OTHER, asset: LONGEST, amount: AMOUNT_MAX }],
  ["withdraw", "Withdraw", { ...envelope, asset: "USDC", amount: "100.000001", recipient: L1_RECIPIENT }],
  ["withdraw to the least address", "Withdraw", { ...envelope, asset: "USDC", amount: "1", recipient: "0x0000000000000000000000000000000000000001" }],
  ["withdraw the greatest amount to the greatest address", "Withdraw", {
    ...envelope, asset: "ETH", amount: AMOUNT_MAX, recipient: `0x${"f".repeat(40)}`,
  }],
];

const uncovered = Object.keys(MESSAGES).filter((type) => cases.filter(([, of]) => of === type).length < 2);
if (uncovered.length > 0) throw new Error(`fewer than two vectors of ${uncovered}`);

const publicKey = ec.starkCurve.getStarkKey(PRIVATE_KEY);
const vectors = cases.map(([name, type, wire]) => {
  const data = typedData(CHAIN_ID, type, wire);
  const hash = messageHash(data, wire.account);
  const { r, s } = ec.starkCurve.sign(hash, PRIVATE_KEY);
  return {
    name, type, wire, typedData: data, encodedType: encodedType(data), typeHash: typeHash(data), messageHash: hash,
    signature: [r, s].map((part) => encode.addHexPrefix(part.toString(16))),
  };
});

const { version } = JSON.parse(readFileSync(new URL("node_modules/starknet/package.json", import.meta.url)));
const text = `${JSON.stringify({ source: `starknet.js ${version}`, chainId: CHAIN_ID, privateKey: PRIVATE_KEY, publicKey, vectors }, null, 2)}\n`;

if (!process.argv.includes("--check")) {
  writeFileSync(file, text);
  console.log(`${vectors.length} vectors of ${Object.keys(MESSAGES).length} messages`);
} else if (readFileSync(file, "utf8") !== text) {
  console.error("tests/corpus/snip12.json differs from what starknet.js makes of the same messages");
  process.exit(1);
} else {
  console.log(`${vectors.length} vectors match`);
}
