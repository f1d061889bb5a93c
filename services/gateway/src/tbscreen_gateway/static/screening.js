// A radiograph's way: sent, followed until it is read, removed.

import { erase, lookUp, makeKey, Problem, submit } from "./api.js";
import { Card } from "./card.js";
import { describeQueue } from "./texts.js";

const MAX_SENDING_TRIES = 6;
const LONGEST_PAUSE_S = 15;

// A browser opens six connections to a server: long polls must leave some for uploads.
class Slots {
  #free;
  #waiting = [];

  constructor(count) {
    this.#free = count;
  }

  get isContended() {
    return this.#waiting.length > 0;
  }

  async use(work) {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free += 1;
    }
  }
}

const sending = new Slots(2);
const following = new Slots(3);

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("removed", "AbortError"));
    }, { once: true });
  });
}

export class Screening {
  #file;
  #abort = new AbortController();
  #jobId = null;
  #isRefused = false;
  #onChange;

  constructor(file, { onChange, onRemove }) {
    this.#file = file;
    this.#onChange = onChange;
    this.outcome = "pending";
    this.card = new Card(file, { onRemove: () => onRemove(this), onAgain: () => this.#again() });
  }

  async start() {
    this.#become("pending");
    try {
      this.#jobId ??= await sending.use(() => this.#send());
      this.#finish(await this.#follow());
    } catch (error) {
      if (error.name === "AbortError") return;
      this.#fail(error instanceof Problem ? error : new Problem("internal_error", String(error)));
    }
  }

  #again() {
    // Who signs in anew goes on with the job there is; every other failure takes a new one.
    if (!this.#isRefused) this.#jobId = null;
    this.start();
  }

  async remove() {
    this.#abort.abort();
    this.card.dispose();
    if (this.#jobId === null) return;
    try {
      await erase(this.#jobId);
    } catch {
      // Gone already, or out of reach: it expires by itself.
    }
  }

  async #send() {
    const key = makeKey(); // the same for each try, so that no try makes a second job
    for (let attempt = 1; ; attempt += 1) {
      this.card.showProgress("Sending…", 0);
      try {
        const job = await submit(this.#file, key, {
          signal: this.#abort.signal,
          onProgress: (share) => this.card.showProgress(share < 1 ? "Sending…" : "Sent", share),
        });
        return job.id;
      } catch (error) {
        if (!error.isPassing || attempt === MAX_SENDING_TRIES) throw error;
        await this.#waitAfter(error, attempt);
      }
    }
  }

  async #follow() {
    for (let failures = 0, waitS = 0; ; ) {
      try {
        const job = await following.use(() => lookUp(this.#jobId, waitS, this.#abort.signal));
        if (!["queued", "started"].includes(job.status)) return job;
        failures = 0;
        this.card.showProgress(describeQueue(job));
        // Short turns while the server's place in line changes, or while others wait for a slot.
        waitS = following.isContended ? 2 : Math.min(20, 2 + waitS * 2);
      } catch (error) {
        if (!error.isPassing) throw error;
        failures += 1;
        await this.#waitAfter(error, failures);
      }
    }
  }

  async #waitAfter(problem, attempt) {
    this.card.showProgress("The server can not be reached; trying again…");
    await pause(Math.min(LONGEST_PAUSE_S, Math.max(problem.retryAfterS, 2 ** (attempt - 1))), this.#abort.signal);
  }

  #finish(job) {
    if (job.status === "succeeded") {
      this.#become(this.card.showAnswer(job));
    } else {
      this.#fail(new Problem(job.error?.code ?? "canceled", job.error?.message));
    }
  }

  #fail(problem) {
    this.#isRefused = problem.code === "unauthorized";
    this.card.showFailure(problem);
    this.#become("failed");
  }

  #become(outcome) {
    this.outcome = outcome;
    this.#onChange(this);
  }
}
