// The gateway's API. Every failure is a Problem with a code that texts.js can explain.

export class Problem extends Error {
  constructor(code, detail, retryAfterS = 0) {
    super(detail || code);
    this.code = code;
    this.retryAfterS = retryAfterS;
  }

  get isPassing() {
    return ["unreachable", "queue_full", "rate_limited", "broker_unavailable"].includes(this.code);
  }
}

// Dispatches `signedout` when an answer says that nobody is signed in, any more or yet.
export const session = new EventTarget();

function toProblem(status, text, retryAfter) {
  try {
    const problem = JSON.parse(text);
    if (problem.code === "unauthorized") session.dispatchEvent(new Event("signedout"));
    return new Problem(problem.code ?? "internal_error", problem.detail, Number(retryAfter) || 0);
  } catch {
    return new Problem(status >= 500 ? "internal_error" : "invalid_request", `HTTP ${status}`);
  }
}

// crypto.randomUUID exists in secure contexts only, and a clinic's box may speak plain HTTP.
export function makeKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// XMLHttpRequest, since fetch does not tell how far an upload has come.
export function submit(file, key, { onProgress, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const form = new FormData();
    form.append("file", file, "radiograph"); // the file's own name stays here
    request.open("POST", "/v1/jobs");
    request.setRequestHeader("Idempotency-Key", key);
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onload = () => {
      if (request.status === 200 || request.status === 202) resolve(JSON.parse(request.responseText));
      else reject(toProblem(request.status, request.responseText, request.getResponseHeader("Retry-After")));
    };
    request.onerror = () => reject(new Problem("unreachable"));
    request.onabort = () => reject(new DOMException("removed", "AbortError"));
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(form);
  });
}

async function call(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { cache: "no-store", ...options });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Problem("unreachable");
  }
  if (!answer.ok) throw toProblem(answer.status, await answer.text(), answer.headers.get("Retry-After"));
  return answer.status === 204 ? null : answer.json();
}

export const lookUp = (id, waitS, signal) => call(`/v1/jobs/${id}?wait=${waitS}`, { signal });
export const erase = (id) => call(`/v1/jobs/${id}`, { method: "DELETE" });
export const signIn = (key) => call("/v1/session", { method: "POST", headers: { Authorization: `Bearer ${key}` } });
export const signOut = () => call("/v1/session", { method: "DELETE" });
export const getHealth = () => call("/health");
export const heatmapUrl = (id) => `/v1/jobs/${id}/heatmap.png`;
export const jobUrl = (id) => `/v1/jobs/${id}`;
