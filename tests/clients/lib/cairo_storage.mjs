// Storage slots of the exchange, computed from nothing but the text of its Cairo source, with the rules of Cairo: a variable
// stands at starknet_keccak of its name, a mapping's value at the Pedersen chain over its keys, a struct in consecutive slots.
import { readFileSync } from "node:fs";
import { hash } from "starknet";
import { repository } from "./processes.mjs";

const ADDRESS_BOUND = 2n ** 251n - 256n;
const TWO_POW_127 = 2n ** 127n;

const source = (name) => readFileSync(`${repository}contracts-abi/starknet/src/${name}.cairo`, "utf8").replace(/\/\/.*$/gm, "");

/** The fields of a struct, [name, type] in order. */
function structFields(text, name) {
  const body = new RegExp(`struct ${name} \\{([^}]*)\\}`).exec(text)?.[1];
  if (body === undefined) throw new Error(`no struct ${name} in the Cairo source`);
  return [...body.matchAll(/(\w+):\s*([^\n]+?),?\s*$/gm)].map(([, field, type]) => [field, type]);
}

const storage = Object.fromEntries(structFields(source("exchange"), "Storage"));
const layout = source("layout");

/** What a stored word of this type means. An absent word is an error: no value of ours is stored as zero. */
const meaning = {
  Word: (word) => word,
  Count: (word) => word - 1n,
  Signed: (word) => word - TWO_POW_127,
  felt252: (word) => word,
};

/** {slot, decode} of `variable`, of the value under `keys` when it is a mapping, of its `field` when that is a struct. */
export function locate(variable, keys = [], field) {
  const type = storage[variable];
  if (type === undefined) throw new Error(`the exchange has no storage variable ${variable}`);
  const mapping = /^LegacyMap::<(.+), (\w+)>$/.exec(type);
  const valueType = mapping ? mapping[2] : type;
  const arity = mapping ? mapping[1].split(",").length : 0;
  if (keys.length !== arity) throw new Error(`${variable} takes ${arity} keys`);
  const base = BigInt(keys.reduce((address, key) => hash.computePedersenHash(address, key), hash.starknetKeccak(variable)));
  if (field === undefined) return { slot: hex(base % ADDRESS_BOUND), decode: decoder(valueType) };
  const fields = structFields(layout, valueType);
  const offset = fields.findIndex(([name]) => name === field);
  if (offset < 0) throw new Error(`${valueType} has no field ${field}`);
  return { slot: hex(base % ADDRESS_BOUND + BigInt(offset)), decode: decoder(fields[offset][1]) };
}

const hex = (value) => `0x${value.toString(16)}`;
const decoder = (type) => (felt) => {
  const word = BigInt(felt);
  if (word === 0n) throw new Error("the word is absent");
  return meaning[type](word);
};

/** Balances are declared as raw words, "signed, because an account that never held the asset rightly has none". */
export const signed = (word) => word - TWO_POW_127;
