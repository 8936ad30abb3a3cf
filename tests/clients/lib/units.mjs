// Decimal text on the wire, integers of 1e-8 (quantums) inside. The same rules as the node: nothing is ever truncated.

const DECIMALS = 8;
export const QUANTUMS_PER_UNIT = 10n ** BigInt(DECIMALS);
const PPM = 1_000_000n;

export function toQuantums(text) {
  const match = /^(-?)(\d+)(?:\.(\d{1,8}))?$/.exec(text);
  if (!match) throw new Error(`not a decimal with at most ${DECIMALS} decimals: ${text}`);
  const [, sign, whole, fraction = ""] = match;
  const magnitude = BigInt(whole) * QUANTUMS_PER_UNIT + BigInt(fraction.padEnd(DECIMALS, "0"));
  return sign ? -magnitude : magnitude;
}

export function fromQuantums(value) {
  const magnitude = value < 0n ? -value : value;
  const fraction = (magnitude % QUANTUMS_PER_UNIT).toString().padStart(DECIMALS, "0").replace(/0+$/, "");
  return `${value < 0n ? "-" : ""}${magnitude / QUANTUMS_PER_UNIT}${fraction && `.${fraction}`}`;
}

/** Quote quantums of `size` at `price`, both in quantums. Exact on tick and lot. */
export function notional(price, size) {
  const product = price * size;
  if (product % QUANTUMS_PER_UNIT !== 0n) throw new Error(`${price} x ${size} is not a whole quantum`);
  return product / QUANTUMS_PER_UNIT;
}

/** The fee of a notional, rounded against the account (a rebate towards zero). */
export function fee(notionalQuantums, ratePpm) {
  const product = notionalQuantums * ratePpm;
  return product > 0n ? (product + PPM - 1n) / PPM : product / PPM;
}
