// The twelve messages of Keel as SNIP-12 revision 1 typed data, built without the node.
import { typedData as starknetTypedData } from "starknet";
import { toQuantums } from "./units.mjs";

const fields = (text) => text.trim().split(/\s+/).map((field) => {
  const [name, type] = field.split(":");
  return { name, type };
});

const ENVELOPE = "nonce:u128 validUntil:timestamp";

/** Fields of each message in the order the type hash covers. */
export const MESSAGES = {
  Register: fields(`account:ContractAddress key:felt template:shortstring ${ENVELOPE}`),
  SessionKey: fields(
    `account:ContractAddress key:felt expiry:timestamp scope:shortstring markets:shortstring* maxOrderNotional:u128 ${ENVELOPE}`,
  ),
  RevokeSessionKey: fields(`account:ContractAddress key:felt ${ENVELOPE}`),
  Session: fields(`account:ContractAddress ${ENVELOPE}`),
  Order: fields(
    `account:ContractAddress market:shortstring side:shortstring type:shortstring size:u128 price:u128 triggerPrice:u128
     timeInForce:shortstring goodTil:timestamp reduceOnly:bool selfTrade:shortstring clientId:u128 ${ENVELOPE}`,
  ),
  ModifyOrder: fields(`account:ContractAddress order:felt price:u128 size:u128 ${ENVELOPE}`),
  CancelOrder: fields(`account:ContractAddress order:felt clientId:u128 ${ENVELOPE}`),
  CancelAll: fields(`account:ContractAddress market:shortstring ${ENVELOPE}`),
  ScheduleCancel: fields(`account:ContractAddress at:timestamp ${ENVELOPE}`),
  RestoreOrders: fields(`account:ContractAddress incident:u128 orders:felt* goodTil:timestamp ${ENVELOPE}`),
  Transfer: fields(`account:ContractAddress recipient:ContractAddress asset:shortstring amount:u128 ${ENVELOPE}`),
  Withdraw: fields(`account:ContractAddress asset:shortstring amount:u128 recipient:felt ${ENVELOPE}`),
};

const DOMAIN_TYPE = fields("name:shortstring version:shortstring chainId:shortstring revision:shortstring");

/** Decimals on the wire, quantums under the signature. */
const DECIMAL_FIELDS = new Set(["size", "price", "triggerPrice", "amount", "maxOrderNotional"]);

/** What a request may leave out, as the node fills it in. */
const DEFAULTS = {
  Order: {
    triggerPrice: "0", timeInForce: "GTC", goodTil: "0", reduceOnly: false, selfTrade: "CANCEL_TAKER", clientId: "0",
  },
  CancelOrder: { order: "0x0", clientId: "0" },
};

/** Typed data of a message in wire form, ready for `account.signMessage`. */
export function typedData(chainId, primaryType, wire) {
  const complete = { ...DEFAULTS[primaryType], ...wire };
  const unknown = Object.keys(complete).filter((name) => !MESSAGES[primaryType].some((field) => field.name === name));
  if (unknown.length > 0) throw new Error(`${primaryType} has no field ${unknown}`);
  const message = Object.fromEntries(
    MESSAGES[primaryType].map(({ name }) => {
      const value = complete[name];
      if (value === undefined) throw new Error(`${primaryType} lacks ${name}`);
      return [name, DECIMAL_FIELDS.has(name) ? toQuantums(value).toString() : value];
    }),
  );
  return {
    types: { StarknetDomain: DOMAIN_TYPE, [primaryType]: MESSAGES[primaryType] },
    primaryType,
    domain: { name: "Keel", version: "1", chainId, revision: "1" },
    message,
  };
}

/** What the signature covers; the identity of the message (an order's hash is this). */
export const messageHash = (data, account) => starknetTypedData.getMessageHash(data, account);
/** The encoded type, e.g. `"Session"("account":"ContractAddress",...)`. */
export const encodedType = (data) => starknetTypedData.encodeType(data.types, data.primaryType, "1");
export const typeHash = (data) => starknetTypedData.getTypeHash(data.types, data.primaryType, "1");
