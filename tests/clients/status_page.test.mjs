// The status page of a real node in a real browser, through an incident: every phase, on a phone and on a desk, with and without
// JavaScript, and while the node is away. Screenshots go to KEEL_SCREENSHOTS, or to a temporary folder that is named at the end.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Browser, hasChromium } from "./lib/browser.mjs";
import { Stack, fromQuantums, toQuantums, until } from "./lib/keel.mjs";

const skip = hasChromium() ? false : "SKIPPED: chromium is not installed";
/** The smallest phone that counts. */
const PHONE = { width: 360, height: 740 };
/** A phase must outlast the two seconds between two refreshes, on a busy machine too. */
const PHASE_MS = 6_000;
const GUARD = `
[guard.custom.thresholds]
settlement_head_stale_ms = 5000
oracle_stale_ms = 10000
engine_stalled_ms = 10000
clock_step_ms = 10000
disk_free_bytes_min = 67108864
disk_free_percent_min = 0
regain_ms = 500
[guard.custom.phases]
spot_oracle_fresh_ms = 1000
spot_post_only_ms = ${PHASE_MS / 2}
spot_ms = ${PHASE_MS}
reduce_only_ms = ${PHASE_MS}`;
const WAIT = { timeoutMs: 90_000, everyMs: 50 };

const screenshots = process.env.KEEL_SCREENSHOTS ?? mkdtempSync(join(tmpdir(), "keel-status-page-"));
let stack, browser, url;
let phone; // stays open all the time
let desk;

before(async () => {
  if (skip) return;
  mkdirSync(screenshots, { recursive: true });
  stack = new Stack();
  await stack.start({ guard: GUARD });
  await stack.open();
  url = stack.url.replace(/\/rpc$/, "/status");
  browser = await Browser.start(stack.directory);
  phone = await browser.page(PHONE);
  desk = await browser.page({ scheme: "dark" });
}, { timeout: 180_000 });
after(async () => {
  await browser?.stop();
  await stack?.stop();
  if (!skip) console.log(`screenshots: ${screenshots}`);
});

/** What a reader sees, at one moment, on a screen so wide. Runs inside the page: a phone's own idea of its width grows with what is too wide. */
function look(width) {
  const visible = (element) => element?.checkVisibility() && element.getBoundingClientRect().height > 0;
  const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
  const luminance = (colour) => {
    const [r, g, b] = channels(colour).map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const colour = getComputedStyle(element).backgroundColor;
    return element.parentElement && (channels(colour)[3] ?? 1) === 0 ? behind(element.parentElement) : colour;
  };
  const contrast = (element) => {
    const [light, dark] = [luminance(getComputedStyle(element).color), luminance(behind(element))].sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05);
  };
  const written = [...document.querySelectorAll("main *")].filter((element) =>
    visible(element) && [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.nodeValue.trim() !== ""));
  const heading = document.querySelector("#phase");
  return {
    heading: heading?.innerText,
    headingSize: heading && parseFloat(getComputedStyle(heading).fontSize),
    icon: visible(document.querySelector("h1 svg")) && document.querySelector("h1 svg").innerHTML,
    here: document.querySelector(".ladder .here")?.innerText.replace(/^▲\s*/, ""),
    text: document.querySelector("main").innerText,
    said: [...document.querySelectorAll("h1, h2, h3, .lead, .can li, .cannot li, .next p")].filter((element) => !element.closest("#integrity ul"))
      .map((element) => element.innerText),
    title: document.title,
    offline: visible(document.querySelector("#offline")) ? document.querySelector("#offline").innerText : "",
    background: getComputedStyle(document.body).backgroundColor,
    wide: [document.documentElement, ...document.querySelectorAll("body *")]
      .filter((element) => visible(element) && element.getBoundingClientRect().right > width + 1)
      .map((element) => `${element.tagName} ${element.className} ${element.innerText?.slice(0, 40)}`),
    scroll: document.documentElement.scrollWidth - width,
    faint: written.filter((element) => contrast(element) < 4.5).map((element) => `${contrast(element).toFixed(2)} ${element.innerText}`),
  };
}

/** Waits until the open page, by itself, says `heading`, and checks what is the same in every phase. */
async function shows(page, heading, { name = heading, text = [] } = {}) {
  const seen = await until(`the page to say ${heading}`, async () => {
    const seen = await page.evaluate(look, page.width);
    return seen.heading === heading && text.every((part) => seen.text.includes(part)) && seen;
  }, WAIT);
  writeFileSync(join(screenshots, `${name.toLowerCase().replaceAll(" ", "-")}.${page.width === PHONE.width ? "phone" : "desk"}.png`), await page.screenshot());
  assert.deepEqual(seen.wide, [], "something is wider than the screen");
  assert.ok(seen.scroll <= 0, `scrolls sideways by ${seen.scroll}`);
  assert.deepEqual(seen.faint, [], "text that can hardly be read");
  assert.ok(seen.headingSize >= 32, `a heading of ${seen.headingSize} px`);
  assert.ok(seen.icon, "no icon");
  assert.equal(seen.title, `${heading} · Keel status`);
  assert.equal(seen.offline, "");
  return seen;
}

async function data() {
  const response = await fetch(`${url}.json`);
  assert.equal(response.status, 200);
  return response.json();
}

const icons = new Map();
function isLike(seen, here) {
  assert.equal(seen.here, here);
  icons.set(here, seen.icon);
}

test("OPEN: prices, settlement and the last integrity report", { skip, timeout: 120_000 }, async () => {
  await phone.open(url);
  const { text, background } = await shows(phone, "OPEN", { text: ["passed", "Last confirmed batch"] });
  for (const part of ["All markets are open.", "ETH-USDC-PERP", "state root recomputed from flat state", "All monitors give readings", "RESTART"]) {
    assert.ok(text.includes(part), `${part} is not in:\n${text}`);
  }
  await desk.open(url);
  const dark = await shows(desk, "OPEN");
  assert.notEqual(dark.background, background, "light and dark look the same");
  isLike(dark, "OPEN");
  const { executing, integrity, height, settlement } = await data();
  assert.deepEqual([executing, integrity.verdict, integrity.current], [true, "PASSED", true]);
  assert.ok(Number(height) > 0 && Number(settlement.head) > 0);
});

test("READ ONLY while the settlement layer is away: why, and what was cancelled", { skip, timeout: 180_000 }, async () => {
  const trader = await stack.trader({ USDC: "100000" });
  const { mark, tickSize } = await stack.market("ETH-USDC");
  const price = fromQuantums((toQuantums(mark) * 9n / 10n / toQuantums(tickSize)) * toQuantums(tickSize));
  for (const market of ["ETH-USDC", "ETH-USDC", "ETH-USDC-PERP"]) {
    await trader.place({ market, side: "BUY", type: "LIMIT", size: "0.1", price, timeInForce: "POST_ONLY" });
  }
  stack.anvil.signal("SIGSTOP");
  const text = ["No new block of the settlement layer has been seen for too long.", "3 orders", "Next: SPOT"];
  const seen = await shows(phone, "READ ONLY", { text });
  isLike(seen, "READ ONLY");
  await shows(desk, "READ ONLY", { text });
  const { cancelled, reasons, incident, timeline } = await data();
  assert.deepEqual(reasons, ["SETTLEMENT_HEAD_STALE"]);
  assert.deepEqual(cancelled.markets, [{ market: "ETH-USDC", orders: "2" }, { market: "ETH-USDC-PERP", orders: "1" }]);
  assert.deepEqual([cancelled.orders, cancelled.incident], ["3", incident]);
  assert.deepEqual(timeline.slice(0, 2).map(({ phase }) => phase), ["READ_ONLY", "HALTED"]);
});

test("SPOT, REDUCE ONLY and OPEN as the phases walk, in a page that is never reloaded", { skip, timeout: 180_000 }, async () => {
  stack.anvil.signal("SIGCONT");
  const spot = await shows(phone, "SPOT", { text: ["post-only orders alone", "Not before"] });
  isLike(spot, "SPOT");
  await shows(desk, "SPOT");
  const reduce = await shows(phone, "REDUCE ONLY", { text: ["Reduce positions"] });
  isLike(reduce, "REDUCE ONLY");
  await shows(desk, "REDUCE ONLY");
  await shows(phone, "OPEN", { name: "OPEN again", text: ["The last incident", "grace"] });
  await shows(desk, "OPEN", { name: "OPEN again" });
});

test("HALTED is drawn without JavaScript too, and says who must act", { skip, timeout: 180_000 }, async () => {
  assert.deepEqual([...phone.complaints, ...desk.complaints], [], "the browser's console complains");
  await stack.stopNode();
  const banner = await until("the page to say that nobody answers", async () => (await phone.evaluate(look, phone.width)).offline || false, WAIT);
  assert.match(banner, /^The node does not answer\. What you see is \d+ s old\.$/);
  assert.equal((await phone.evaluate(look, phone.width)).heading, "OPEN", "what was known stays");
  writeFileSync(join(screenshots, "away.phone.png"), await phone.screenshot());

  // What a command that breaks the engine leaves behind: the next start waits for operators.
  writeFileSync(join(stack.directory, "node", "engine-broken"), "1\n");
  await stack.startNode();
  const text = ["until two different operators", "Nobody can say when.", "INVARIANT_BROKEN"];
  const seen = await shows(phone, "HALTED", { text });
  isLike(seen, "HALTED");
  await shows(desk, "HALTED", { text });
  const plain = await browser.page({ ...PHONE, javascript: false });
  await plain.open(url);
  const unscripted = await shows(plain, "HALTED", { name: "HALTED without JavaScript", text });
  // Figures move on between two looks; what is said does not.
  assert.deepEqual(unscripted.said, (await phone.evaluate(look, phone.width)).said);
  assert.ok(unscripted.said.length > 10);
  assert.deepEqual(plain.complaints, []);
  assert.equal(new Set(icons.values()).size, 5, "every phase has a shape of its own");
});

test("two operators let it go on, one of them twice does not", { skip, timeout: 120_000 }, async () => {
  const { incident } = await data();
  for (const operator of [0, 0]) assert.equal((await stack.admin("admin_resume", { incident }, operator)).operator, String(operator));
  await shows(phone, "HALTED", { name: "HALTED one operator", text: ["Operator 0 said"] });
  assert.equal((await stack.admin("admin_resume", { incident }, 1)).operator, "1");
  // READ ONLY is over before a page that is drawn every two seconds must have seen it.
  await shows(phone, "SPOT", { name: "SPOT two operators", text: ["Operator 0 said", "Operator 1 said", "INVARIANT_BROKEN"] });
});
