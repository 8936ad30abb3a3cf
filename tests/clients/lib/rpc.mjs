// JSON-RPC 2.0 over HTTP, every call bounded in time; an error answer becomes an RpcError.

const CALL_TIMEOUT_MS = 15_000;

/** An error answer of the node: its code, and what `data` says about it. */
export class RpcError extends Error {
  constructor(method, { code, message, data }) {
    super(`${method}: ${code} ${data?.reason ?? message}${data?.field ? ` (${data.field})` : ""}`);
    Object.assign(this, { method, code, data, reason: data?.reason, field: data?.field, nonceConsumed: data?.nonceConsumed });
  }
}

export class Rpc {
  #id = 0;

  constructor(url, headers = {}) {
    Object.assign(this, { url, headers });
  }

  /** The result, or an RpcError. Parameters are by name. */
  async call(method, params = {}) {
    const body = JSON.stringify({ jsonrpc: "2.0", id: ++this.#id, method, params });
    const { status, text } = await this.post(body);
    let answer;
    try {
      answer = JSON.parse(text);
    } catch {
      throw new Error(`${method}: HTTP ${status} with a body that is not JSON: ${text.slice(0, 200)}`);
    }
    if (answer.error) throw new RpcError(method, answer.error);
    return answer.result;
  }

  /** Sends bytes as they are and returns them as they are: for tests of malformed requests. */
  async post(body) {
    const response = await fetch(this.url, {
      method: "POST",
      headers: { "content-type": "application/json", ...this.headers },
      body,
      signal: AbortSignal.timeout(CALL_TIMEOUT_MS),
    });
    return { status: response.status, text: await response.text() };
  }
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Asks until `probe` answers something other than undefined, null or false; throws after `timeoutMs`, saying what was
 * waited for and what went wrong last.
 */
export async function until(what, probe, { timeoutMs = 30_000, everyMs = 100 } = {}) {
  const deadline = Date.now() + timeoutMs;
  let last;
  for (;;) {
    try {
      const found = await probe();
      if (found !== undefined && found !== null && found !== false) return found;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (Date.now() >= deadline) throw new Error(`waited ${timeoutMs} ms for ${what}`, { cause: last });
    await sleep(everyMs);
  }
}
