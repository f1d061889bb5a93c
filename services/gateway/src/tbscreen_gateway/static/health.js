// The lamp in the masthead and the banner that says what is wrong.

import { getHealth } from "./api.js";

const INTERVAL_MS = 10000;

const system = document.getElementById("system");
const text = document.getElementById("system-text");
const banner = document.getElementById("banner");
const problems = document.getElementById("banner-problems");
let shown = "";

function describe(health) {
  const state = health.status === "ok" ? "Ready" : "Degraded";
  if (!health.workers) return state; // all that is told before somebody signs in
  const workers = health.workers.length === 1 ? "1 worker" : `${health.workers.length} workers`;
  const model = health.model.version ? `model ${health.model.version}` : "no model";
  return `${state} · ${workers} · ${model}`;
}

function show(state, line, list) {
  system.dataset.state = state;
  text.textContent = line;
  // A live region speaks whenever it is rewritten: only when something changed.
  if (shown === list.join()) return;
  shown = list.join();
  problems.replaceChildren(...list.map((problem) => {
    const item = document.createElement("li");
    item.textContent = problem;
    return item;
  }));
  banner.hidden = list.length === 0;
}

export async function look() {
  if (document.hidden) return;
  try {
    const health = await getHealth();
    show(health.status, describe(health), health.problems ?? []);
  } catch {
    show("degraded", "Not reachable", ["The server can not be reached. Radiographs already sent are not lost."]);
  }
}

export function watchHealth() {
  look();
  setInterval(look, INTERVAL_MS);
  document.addEventListener("visibilitychange", look);
}
