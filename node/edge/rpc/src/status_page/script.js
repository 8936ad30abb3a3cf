"use strict";
// The node draws the page; this takes over what changed in a newer one, and says when there is none.
const EVERY_MS = 2000;
const TIMEOUT_MS = 5000;
const offline = document.getElementById("offline");
let answered = performance.now();
let failing = false;
let asking = false;

/** Makes `old` like `fresh` and touches nothing else, so that a reader keeps selection, focus and place. */
function update(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  // Whether details are open is the reader's choice.
  for (const { name, value } of fresh.attributes) {
    if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
  const olds = [...old.childNodes];
  const freshes = [...fresh.childNodes];
  freshes.forEach((node, index) => (index < olds.length ? update(olds[index], node) : old.append(node)));
  olds.slice(freshes.length).forEach((node) => node.remove());
}

function tell() {
  const seconds = Math.round((performance.now() - answered) / 1000);
  offline.hidden = !failing;
  const text = `The node does not answer. What you see is ${seconds} s old.`;
  if (failing && offline.textContent !== text) offline.textContent = text;
}

async function refresh() {
  if (asking || document.hidden) return;
  asking = true;
  try {
    const response = await fetch("/status", { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!response.ok) throw new Error(response.statusText);
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    update(document.querySelector("main"), fresh.querySelector("main"));
    document.title = fresh.title;
    update(document.querySelector("link[rel=icon]"), fresh.querySelector("link[rel=icon]"));
    answered = performance.now();
    failing = false;
  } catch {
    failing = true;
  } finally {
    asking = false;
    tell();
  }
}

setInterval(refresh, EVERY_MS);
setInterval(tell, 1000);
document.addEventListener("visibilitychange", refresh);
