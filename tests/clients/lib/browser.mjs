// A headless Chromium, driven over the DevTools protocol: https://chromedevtools.github.io/devtools-protocol/
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import WebSocket from "ws";
import { Child } from "./processes.mjs";
import { until } from "./rpc.mjs";

const COMMAND_TIMEOUT_MS = 30_000;

/** Whether Debian's chromium runs here. */
export function hasChromium() {
  return spawnSync("chromium", ["--version"], { stdio: "ignore" }).status === 0;
}

export class Browser {
  #next = 0;
  #waiting = new Map();
  #listeners = new Map();

  /** Its profile and its log go into `directory`. */
  static async start(directory) {
    const browser = new Browser();
    const profile = join(directory, "chromium");
    mkdirSync(profile, { recursive: true });
    // Without a sandbox, as every container and root need it: what is opened is our own page.
    const args = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-port=0"];
    browser.child = new Child("chromium", "chromium", [...args, `--user-data-dir=${profile}`, "about:blank"], { log: join(directory, "chromium.log") });
    const [port, path] = await until("chromium to listen", () => {
      browser.child.assertRunning();
      const lines = readFileSync(join(profile, "DevToolsActivePort"), "utf8").split("\n");
      return lines.length >= 2 && lines;
    }, { timeoutMs: 60_000 });
    browser.socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, { perMessageDeflate: false, maxPayload: 0 });
    browser.socket.on("message", (data) => browser.#heard(JSON.parse(data)));
    await new Promise((resolve, reject) => browser.socket.once("open", resolve).once("error", reject));
    return browser;
  }

  #heard({ id, sessionId, method, params, result, error }) {
    if (id === undefined) return this.#listeners.get(sessionId)?.(method, params);
    const { resolve, reject, timer } = this.#waiting.get(id);
    this.#waiting.delete(id);
    clearTimeout(timer);
    if (error) reject(new Error(error.message));
    else resolve(result);
  }

  send(method, params = {}, sessionId) {
    const id = ++this.#next;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${method}: no answer from chromium`)), COMMAND_TIMEOUT_MS);
      this.#waiting.set(id, { resolve, reject, timer });
      this.socket.send(JSON.stringify({ id, method, params, sessionId }));
    });
  }

  /** A tab of its own: `width` in CSS pixels, `scheme` is `light` or `dark`. */
  async page({ width = 1280, height = 900, scheme = "light", javascript = true } = {}) {
    const { targetId } = await this.send("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await this.send("Target.attachToTarget", { targetId, flatten: true });
    const page = new Page((method, params) => this.send(method, params, sessionId), width);
    this.#listeners.set(sessionId, (method, params) => page.heard(method, params));
    for (const domain of ["Page", "Runtime", "Log"]) await page.send(`${domain}.enable`);
    await page.send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: width < 600 });
    await page.send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
    // A tab that is not in front would count as hidden.
    await page.send("Emulation.setFocusEmulationEnabled", { enabled: true });
    await page.send("Emulation.setScriptExecutionDisabled", { value: !javascript });
    return page;
  }

  async stop() {
    this.socket?.close();
    await this.child?.stop();
  }
}

class Page {
  /** What the console would show as an error or a warning, exceptions and refused loads included. */
  complaints = [];

  constructor(send, width) {
    Object.assign(this, { send, width });
  }

  heard(method, params) {
    if (method === "Runtime.exceptionThrown") this.complaints.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    if (method === "Runtime.consoleAPICalled" && ["error", "warning", "assert"].includes(params.type)) {
      this.complaints.push(params.args.map(({ value, description }) => value ?? description).join(" "));
    }
    if (method === "Log.entryAdded" && ["error", "warning"].includes(params.entry.level)) {
      this.complaints.push(`${params.entry.text} ${params.entry.url ?? ""}`);
    }
  }

  async open(url) {
    const { errorText } = await this.send("Page.navigate", { url });
    if (errorText) throw new Error(`${url}: ${errorText}`);
    await until(`${url} to be loaded`, () => this.evaluate((wanted) => document.readyState === "complete" && location.href === wanted, url));
  }

  /** What `script`, a function, returns inside the page. */
  async evaluate(script, ...args) {
    const expression = `(${script})(${args.map((arg) => JSON.stringify(arg)).join(", ")})`;
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", { expression, returnByValue: true, awaitPromise: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  /** The whole page, from top to bottom, as PNG. */
  async screenshot() {
    const { cssContentSize: { width, height } } = await this.send("Page.getLayoutMetrics");
    const clip = { x: 0, y: 0, width, height, scale: 1 };
    const { data } = await this.send("Page.captureScreenshot", { captureBeyondViewport: true, clip });
    return Buffer.from(data, "base64");
  }
}
