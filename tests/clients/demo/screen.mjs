// What is happening, in one place: redrawn on a terminal, one line a second elsewhere.

const CLEAR = "\x1b[2J\x1b[H";
/** Accepted batches on the page. */
const BATCHES_SHOWN = 5;
const bold = (text) => `\x1b[1m${text}\x1b[0m`;

export class Screen {
  #last;
  #accepted = []; // lines about the newest batches that the contract has accepted, oldest first
  #nextBatch; // the first that was not shown yet

  /** `orders` tells how many orders were answered so far. */
  constructor(stack, out, orders) {
    Object.assign(this, { stack, out, orders });
  }

  async draw() {
    const { rpc } = this.stack;
    const [status, markets] = await Promise.all([rpc.call("node_status"), this.stack.markets()]);
    const lastTrades = await Promise.all(markets.map(({ market }) => rpc.call("market_trades", { market, limit: "1" })));
    const batches = status.settlement;
    this.person ??= await this.stack.person();
    const settled = await this.#settled(batches.confirmed);
    const accepted = await this.#newlyAccepted(batches.confirmed);
    // Trades of a market are numbered from 1 without a gap.
    const fills = lastTrades.reduce((sum, { trades: [last] }) => sum + Number(last?.tradeId ?? 0), 0);
    const now = { at: Date.now(), orders: this.orders(), fills };
    const seconds = this.#last ? (now.at - this.#last.at) / 1000 : Infinity;
    const rate = (name) => ((now[name] - (this.#last?.[name] ?? 0)) / seconds).toFixed(0);
    const figures = {
      phase: status.phase, height: status.height, orders: rate("orders"), fills: rate("fills"),
      open: status.openOrders, batches, settled,
    };
    this.#last = now;
    this.out.write(this.out.isTTY ? this.#page(status, markets, figures) : [...accepted, line(figures), ""].join("\n"));
  }

  /** A line about each batch that was confirmed since the last look: what it brought, and what that cost. */
  async #newlyAccepted(confirmed) {
    if (!confirmed) return [];
    const last = Number(confirmed.batch);
    const lines = [];
    for (let next = this.#nextBatch ?? Math.max(0, last + 1 - BATCHES_SHOWN); next <= last; next++) {
      const batch = await this.stack.rpc.call("bridge_getBatch", { batch: String(next) });
      lines.push(acceptedText(batch, await this.person.receipt(batch.settlement.transactionHash)));
      this.#nextBatch = next + 1;
    }
    this.#accepted = [...this.#accepted, ...lines].slice(-BATCHES_SHOWN);
    return lines;
  }

  /** Whether the settlement contract's root is the one our confirmed batch ends with. */
  async #settled(confirmed) {
    if (!confirmed) return "";
    const { root, block } = await this.person.settled();
    const batch = await this.stack.rpc.call("bridge_getBatchByBlock", { block: String(block) });
    return BigInt(batch.after.root) === root ? `root on L1 = ours at block ${block}` : `ROOT ON L1 DIFFERS at block ${block}`;
  }

  #page(status, markets, figures) {
    const rows = markets.map(({ market, oracle, mark, bestBid, bestAsk }) =>
      `  ${market.padEnd(16)} ${[oracle, mark, bestBid, bestAsk].map((value) => (value ?? "-").padStart(12)).join(" ")}`);
    return `${CLEAR}${bold("Keel")}   ${this.stack.url}   settlement ${this.stack.l1Url}   logs in .keel/   Ctrl-C stops everything

  phase ${bold(figures.phase)}   height ${bold(figures.height)}   seq ${status.seq}
  orders/s ${bold(figures.orders)}   fills/s ${bold(figures.fills)}   open orders ${bold(figures.open)}
  ${batchText(figures)}

  ${"market".padEnd(16)} ${["oracle", "mark", "bid", "ask"].map((title) => title.padStart(12)).join(" ")}
${rows.join("\n")}

${this.#accepted.map((text) => `  ${text}`).join("\n")}
`;
  }
}

const acceptedText = ({ batch, data }, { transactionHash, gasUsed, blobGasUsed = 0n }) => {
  const brought = data.kind === "BLOBS" ? `${data.blobs.length} blob${data.blobs.length === 1 ? "" : "s"}, blob gas ${blobGasUsed}` : data.kind;
  return `batch ${batch} accepted: ${data.words} words in ${brought}, gas ${gasUsed}, transaction ${transactionHash}`;
};

const batchText = ({ batches, settled }) => {
  const { built, confirmed } = batches;
  const last = built ? `last batch ${built.batch} (blocks ${built.firstBlock}-${built.lastBlock}) ${built.status}` : "no batch yet";
  return `${last}, ${confirmed ? `batch ${confirmed.batch} CONFIRMED` : "none CONFIRMED yet"}${settled && `, ${settled}`}`;
};

const line = (figures) =>
  `phase ${figures.phase}  height ${figures.height}  orders/s ${figures.orders}  fills/s ${figures.fills}  open orders ${figures.open}  ${batchText(figures)}`;
