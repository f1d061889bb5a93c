// Signing in and out, where the server asks for a key.

import { session, signIn, signOut } from "./api.js";
import { look } from "./health.js";
import { explainProblem } from "./texts.js";

const section = document.getElementById("sign-in");
const form = document.getElementById("sign-in-form");
const why = document.getElementById("sign-in-why");
const key = document.getElementById("key");
const said = document.getElementById("sign-in-problem");
const intake = document.getElementById("intake");
const account = document.getElementById("account");
const accountName = document.getElementById("account-name");

const NO_KEY = "This is no API key. One begins with tbs_ and holds letters and digits only.";
const ENDED = "Your sign-in has ended, or the key you used is no longer valid. Sign in to go on; the radiographs below stay where they are.";

function ask() {
  if (!section.hidden) return;
  section.hidden = false;
  intake.hidden = true;
  account.hidden = true;
  why.textContent = ENDED;
  key.focus();
}

function explain(problem) {
  const { title: what, advice } = explainProblem(problem.code);
  // Of a key that was just typed the server knows more: unknown, expired or revoked.
  said.textContent = problem.code === "unauthorized" ? problem.message : `${what}. ${advice}`;
}

export function watchSession({ hasWork }) {
  session.addEventListener("signedout", ask);

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const token = key.value.trim();
    said.textContent = /^tbs_[0-9a-z_]+$/.test(token) ? "" : NO_KEY;
    if (said.textContent) return;
    try {
      const opened = await signIn(token);
      key.value = "";
      if (!hasWork()) {
        location.reload();
        return;
      }
      accountName.textContent = opened.name;
      account.hidden = false;
      section.hidden = true;
      intake.hidden = false;
      look();
    } catch (problem) {
      explain(problem);
      key.select();
    }
  });

  document.getElementById("sign-out").addEventListener("click", async () => {
    try {
      await signOut();
      location.reload(); // what was on the page belongs to who signed out
    } catch (problem) {
      alert(explainProblem(problem.code).title);
    }
  });
}
