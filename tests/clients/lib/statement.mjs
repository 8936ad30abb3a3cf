// An account worked out again from nothing but its history pages and the published rules: every balance and position, to the quantum.
import assert from "node:assert/strict";
import { fee, fromQuantums, toQuantums } from "./units.mjs";

const UNIT = 10n ** 8n;
const PAGE = "100";
const QUOTE = "USDC";

const floor = (a, b) => (a - (((a % b) + b) % b)) / b;
const ceil = (a, b) => -floor(-a, b);
const abs = (value) => (value < 0n ? -value : value);
const sign = (value) => (value > 0n ? 1n : value < 0n ? -1n : 0n);
const ppm = (rate) => toQuantums(rate) / 100n;
const bySeq = (a, b) => (BigInt(a.seq) < BigInt(b.seq) ? -1 : 1);

/** Every row of a history, oldest first. */
export async function wholeHistory(rpc, method, params, rows) {
  const all = [];
  for (let cursor; cursor !== null;) {
    const page = await rpc.call(method, { ...params, limit: PAGE, ...(cursor && { cursor }) });
    all.push(...page[rows]);
    cursor = page.next;
  }
  return all.reverse();
}

/** Every step of the funding indices while it listens: history keeps one row a minute, the `mark` stream shows each sample. */
export class FundingSamples {
  /** By market, oldest first: {ts, index, rate}. */
  samples = {};

  static async listen(connection, markets) {
    const heard = new FundingSamples();
    for (const market of markets) {
      const rows = (heard.samples[market] = []);
      await connection.subscribe({ channel: "mark", market }, ({ data }) => {
        if (!data) return; // the last message of a stream that ends
        const ts = data.fundingTs ?? "0";
        if (rows.at(-1)?.ts !== ts) rows.push({ ts, index: data.fundingIndex, rate: data.fundingRate });
      });
    }
    return heard;
  }

  at(market, ts) {
    const rows = this.samples[market];
    return toQuantums((rows.findLast((row) => BigInt(row.ts) <= BigInt(ts)) ?? rows[0]).index);
  }
}

export class Statement {
  balances = {};
  positions = {};
  /** What each realised funding payment was. */
  funding = [];

  /** `deposits`: {symbol: decimal text}. `samples`: the funding samples of its time. */
  static async of(stack, account, deposits, samples) {
    const statement = new Statement();
    for (const [symbol, amount] of Object.entries(deposits)) statement.#credit(symbol, toQuantums(amount));
    const { rpc } = stack;
    const markets = Object.fromEntries((await stack.markets()).map((market) => [market.market, market]));
    const history = (method, rows) => wholeHistory(rpc, method, { account }, rows);
    const [fills, transfers, receipts] = await Promise.all([
      history("trade_fillHistory", "fills"), history("trade_transferHistory", "transfers"), history("trade_liquidations", "liquidations"),
    ]);
    const liquidated = new Set(receipts.map(({ seq }) => seq));
    const entries = [
      ...fills.map((fill) => [fill.seq, () => {
        const market = markets[fill.market];
        const usual = ppm(fill.maker ? market.feeMaker : market.feeTaker);
        // A taker that is liquidated, and the fund that unwinds, pay nothing, and then there is nothing to rebate.
        const free = liquidated.has(fill.seq) || (fill.maker && usual < 0n && fill.fee === "0");
        const rate = free ? 0n : usual;
        statement.#fill(market, fill, rate, samples);
      }]),
      ...transfers.map((transfer) => [transfer.seq, () => {
        const incoming = BigInt(transfer.recipient) === BigInt(account);
        statement.#credit(transfer.asset, (incoming ? 1n : -1n) * toQuantums(transfer.amount));
      }]),
      // A receipt comes after the fills of its own step.
      ...receipts.map((receipt) => [receipt.seq, () => statement.#liquidated(receipt)]),
    ];
    entries.map(([seq, book], order) => ({ seq, book, order }))
      .sort((a, b) => (a.seq === b.seq ? a.order - b.order : bySeq(a, b)))
      .forEach(({ book }) => book());
    return statement;
  }

  #credit(symbol, quantums) {
    this.balances[symbol] = (this.balances[symbol] ?? 0n) + quantums;
  }

  #fill({ market, base }, fill, rate, samples) {
    const [price, size] = [fill.price, fill.size].map(toQuantums);
    const signed = fill.side === "BUY" ? size : -size;
    const value = price * signed / UNIT;
    const charged = fee(abs(value), rate);
    assert.equal(fill.fee, fromQuantums(charged), `fee of trade ${fill.tradeId} in ${market}`);
    this.#credit(QUOTE, -charged);
    if (base) {
      this.#credit(base, signed);
      this.#credit(QUOTE, -value);
      return;
    }
    const realized = this.#trade(market, signed, value, samples.at(market, fill.ts));
    assert.equal(fill.realizedPnl, fromQuantums(realized), `result of trade ${fill.tradeId} in ${market}`);
  }

  /** Books `size` at `value`, both signed; returns what closing realised. [spec exchange, Perpetuals] */
  #trade(market, size, value, index) {
    const { size: held, cost, entry } = this.positions[market] ?? { size: 0n, cost: 0n, entry: index };
    const payment = floor(-held * (index - entry), UNIT);
    if (payment !== 0n) this.funding.push(payment);
    const closed = sign(held) === -sign(size) ? [abs(held), abs(size)].reduce((a, b) => (a < b ? a : b)) : 0n;
    const valueClosed = closed === 0n ? 0n : value - ceil(value * (abs(size) - closed), abs(size));
    const moved = closed === 0n ? 0n : ceil(cost * closed, abs(held));
    const kept = closed === 0n ? cost : ceil(cost * (abs(held) - closed), abs(held));
    const realized = closed === 0n ? 0n : -valueClosed - moved;
    this.#credit(QUOTE, realized + payment);
    this.positions[market] = { size: held + size, cost: kept + value - valueClosed, entry: index };
    if (held + size === 0n) delete this.positions[market];
    return realized;
  }

  #liquidated({ decision, inputs }) {
    if (decision.step === "CLOSE") this.#credit(QUOTE, -toQuantums(decision.fee));
    if (decision.step !== "TAKE_OVER") return;
    for (const { market, size, mark, fundingIndex } of inputs.markets) {
      const value = floor(toQuantums(mark) * toQuantums(size), UNIT);
      this.#trade(market, -toQuantums(size), -value, toQuantums(fundingIndex));
    }
    this.#credit(QUOTE, toQuantums(decision.deficit) - toQuantums(decision.fee));
  }

  /** The node says the same of the account. */
  assertIs({ account, balances, positions }) {
    const nonZero = (entries) => Object.fromEntries(entries.filter(([, total]) => total !== "0"));
    assert.deepEqual(
      nonZero(balances.map(({ asset, total }) => [asset, total])),
      nonZero(Object.entries(this.balances).map(([symbol, quantums]) => [symbol, fromQuantums(quantums)])),
      `balances of ${account}`,
    );
    assert.deepEqual(
      Object.fromEntries(positions.map(({ market, size, cost, entryFundingIndex }) => [market, { size, cost, entryFundingIndex }])),
      Object.fromEntries(Object.entries(this.positions).map(([market, { size, cost, entry }]) =>
        [market, { size: fromQuantums(size), cost: fromQuantums(cost), entryFundingIndex: fromQuantums(entry) }])),
      `positions of ${account}`,
    );
  }
}
