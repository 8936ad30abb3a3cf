// Who may be asked for blobs, as they differ on the network and as they fail: HTTP servers in front of a development chain and of a node.
import { createServer } from "node:http";

/** A server on loopback. `respond(url, body)` gives {status, json}; `requests` are the paths that were asked for. */
export async function serve(respond) {
  const requests = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    requests.push(request.url);
    const { status = 200, json = {} } = await respond(new URL(request.url, "http://localhost"), body);
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(json));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`, requests,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const NOT_FOUND = { status: 404, json: { code: 404, message: "not found" } };
const BLOBS = "/eth/v1/beacon/blobs/";
const SIDECARS = "/eth/v1/beacon/blob_sidecars/";

/** What the development chain itself answers. */
export async function ofChain(l1Url, { pathname, search }) {
  const answer = await fetch(`${l1Url}${pathname}${search}`);
  return { status: answer.status, json: await answer.json().catch(() => ({})) };
}

/** The chain's own beacon API, but for what `change` makes of an answer with blobs. */
export const beacon = (l1Url, change = (answer) => answer) =>
  serve(async (url) => {
    const answer = await ofChain(l1Url, url);
    return url.pathname.startsWith(BLOBS) ? change(answer) : answer;
  });

/**
 * A beacon node of the network: it goes by slots, which began long before the chain. `l1` is a person there. `sidecars`: from before the method for
 * blobs alone; it knows no filter. `ofAnother` chain: none of its slots begins with a block of this one.
 */
export function beaconOfNetwork(l1Url, l1, { sidecars = false, ofAnother = false } = {}) {
  const slotsBefore = 5_000n;
  const first = l1.client.getBlock({ blockNumber: 0n }).then(({ timestamp }) => timestamp);
  // Twice as many slots as seconds, so that nobody takes the one for the other.
  const spec = sidecars ? { SECONDS_PER_SLOT: "1" } : { SLOT_DURATION_MS: "500", SECONDS_PER_SLOT: "12" };
  const blockAt = async (slot) => {
    const timestamp = (await first) - slotsBefore + (sidecars ? slot : slot / 2n);
    for (let number = await l1.client.getBlockNumber(); number > 0n; number--) {
      const block = await l1.client.getBlock({ blockNumber: number });
      if (block.timestamp === timestamp) return number;
    }
    return undefined;
  };
  return serve(async ({ pathname, search }) => {
    if (pathname === "/eth/v1/config/spec") return { json: { data: ofAnother ? { SECONDS_PER_SLOT: "1000000" } : spec } };
    if (pathname === "/eth/v1/beacon/genesis") return { json: { data: { genesis_time: String((await first) - slotsBefore) } } };
    const [method, other] = sidecars ? [SIDECARS, BLOBS] : [BLOBS, SIDECARS];
    if (pathname.startsWith(other) || !pathname.startsWith(method)) return NOT_FOUND;
    const block = await blockAt(BigInt(pathname.slice(method.length)));
    if (block === undefined) return NOT_FOUND;
    const { json } = await ofChain(l1Url, { pathname: `${BLOBS}${block}`, search: sidecars ? "" : search });
    if (!sidecars) return { json };
    return { json: { data: json.data.map((blob, index) => ({ index: String(index), blob, kzg_proof: "0x" })) } };
  });
}

/** A node of the chain, but for what `change` makes of its answers. */
export const node = (url, change) =>
  serve(async (_, body) => {
    const answer = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body });
    return { json: change(await answer.json()) };
  });

export const gone = () => NOT_FOUND;
export const empty = () => ({ json: { data: [] } });
export const busy = () => ({ status: 503, json: { code: 503, message: "syncing" } });

/** One hexadecimal digit of a blob replaced, in its last word. */
export const flipped = (blob) => `${blob.slice(0, -1)}${blob.endsWith("0") ? "1" : "0"}`;
