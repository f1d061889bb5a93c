// The page: files in, cards out.

import { watchHealth } from "./health.js";
import { Screening } from "./screening.js";
import { watchSession } from "./session.js";

const intake = document.getElementById("intake");
const input = document.getElementById("files");
const primer = document.getElementById("primer");
const worklist = document.getElementById("worklist");
const cards = document.getElementById("cards");
const tally = document.getElementById("tally");
const announcer = document.getElementById("announcer");
const signInForm = document.getElementById("sign-in");
let screenings = [];

function summarise() {
  const count = (outcome) => screenings.filter((item) => item.outcome === outcome).length;
  const parts = [
    [count("positive"), "at or above the threshold"],
    [count("unsure"), "indeterminate"],
    [count("negative"), "below the threshold"],
    [count("failed"), "not read"],
    [count("pending"), "in progress"],
  ];
  tally.textContent = parts.filter(([number]) => number > 0).map(([number, what]) => `${number} ${what}`).join(" · ");
  worklist.hidden = screenings.length === 0;
  primer.hidden = !worklist.hidden;
}

function onChange(screening) {
  summarise();
  if (screening.outcome === "pending") return;
  const { element } = screening.card;
  const said = element.querySelector(screening.outcome === "failed" ? ".failure h4" : ".prediction-text");
  const score = screening.outcome === "failed" ? "" : `, score ${element.querySelector(".score-number").textContent}`;
  announcer.textContent = `${element.querySelector(".name").textContent}: ${said.textContent}${score}`;
}

function remove(screening) {
  const place = screenings.indexOf(screening);
  screenings = screenings.filter((item) => item !== screening);
  screening.remove();
  summarise();
  // Whoever works with the keyboard goes on from where the card was.
  const next = screenings[place] ?? screenings[place - 1];
  if (next) next.card.focus();
  else input.focus();
}

function add(files) {
  if (!signInForm.hidden) return;
  for (const file of files) {
    const screening = new Screening(file, { onChange, onRemove: remove });
    screenings.push(screening);
    cards.append(screening.card.element);
    screening.start();
  }
  summarise();
}

function takeChosen() {
  add(input.files);
  input.value = ""; // so that the same file can be chosen again
}

input.addEventListener("change", takeChosen);

// The whole window takes a drop: a file dropped beside the frame would replace the page.
let depth = 0;
addEventListener("dragenter", (event) => {
  event.preventDefault();
  depth += 1;
  intake.classList.add("over");
});
addEventListener("dragleave", () => {
  depth -= 1;
  if (depth === 0) intake.classList.remove("over");
});
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  intake.classList.remove("over");
  add(event.dataTransfer.files);
});

document.getElementById("print").addEventListener("click", () => print());
document.getElementById("remove-all").addEventListener("click", () => {
  if (!confirm("Remove all radiographs and erase their results from the server?")) return;
  const all = screenings;
  screenings = [];
  for (const screening of all) screening.remove();
  summarise();
  input.focus();
});

watchSession({ hasWork: () => screenings.length > 0 });
watchHealth();
takeChosen(); // whoever was quicker than this script: nobody heard the choice
