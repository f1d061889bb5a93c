// One radiograph on the page: its picture, its state, its answer.

import { heatmapUrl, jobUrl } from "./api.js";
import { explainAnswer, explainProblem, explainWarning } from "./texts.js";

const template = document.getElementById("card-template");
let cardCount = 0;

const NOT_DRAWN = "No preview: this browser can not draw this format.";
const NEUTRAL_GROUND = "Heat map on a neutral ground: this browser can not draw the radiograph.";

function addFact(list, name, value, isCode = false) {
  const term = document.createElement("dt");
  const description = document.createElement("dd");
  const group = document.createElement("div");
  term.textContent = name;
  description.textContent = value;
  description.classList.toggle("mono", isCode);
  group.append(term, description);
  list.append(group);
}

const inMs = (ms) => (ms >= 10000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms)} ms`);

export class Card {
  #previewUrl;
  #file;

  constructor(file, { onRemove, onAgain }) {
    this.#file = file;
    this.element = template.content.firstElementChild.cloneNode(true);
    this.#previewUrl = URL.createObjectURL(file);
    const name = this.#at(".name");
    name.textContent = file.name;
    name.title = file.name;
    name.id = `radiograph-${(cardCount += 1)}`;
    this.element.setAttribute("aria-labelledby", name.id);
    this.#at(".remove").setAttribute("aria-label", `Remove ${file.name}`);
    this.#at(".remove").addEventListener("click", onRemove);
    this.#at(".again").addEventListener("click", onAgain);
    this.#bindViewer();
    this.#drawPreview();
    this.showProgress("Waiting to be sent");
  }

  focus() {
    this.#at(".remove").focus();
  }

  dispose() {
    URL.revokeObjectURL(this.#previewUrl);
    this.element.remove();
  }

  showProgress(text, share = null) {
    this.element.dataset.tone = "pending";
    this.#only(".progress");
    this.#at(".state").textContent = text;
    const bar = this.#at("progress");
    bar.setAttribute("aria-label", text);
    if (share === null) bar.removeAttribute("value");
    else bar.value = share * 100;
  }

  showFailure(problem) {
    const { title, advice, mayRetry } = explainProblem(problem.code);
    this.element.dataset.tone = "failed";
    this.#only(".failure");
    this.#at(".failure h4").textContent = title;
    this.#at(".advice").textContent = advice;
    this.#at(".said").textContent = problem.message === problem.code ? "" : `Server: ${problem.message}`;
    this.#at(".again").hidden = !mayRetry;
  }

  showAnswer(job) {
    const { result } = job;
    const { tone, meaning } = explainAnswer(result);
    this.element.dataset.tone = tone;
    this.#only(".answer");
    this.#at(".prediction-text").textContent = result.prediction;
    this.#at(".score-number").textContent = Math.round(result.score);
    this.#at(".meaning").textContent = meaning;
    this.#showScale(result);
    this.#showWarnings(result.warnings);
    this.#showFacts(job);
    // The map is scaled to its own maximum: over a normal lung it would show something of nothing.
    this.#showHeat(job, tone !== "negative");
    return tone;
  }

  #at(selector) {
    return this.element.querySelector(selector);
  }

  #only(selector) {
    for (const name of [".progress", ".failure", ".answer"]) this.#at(name).hidden = name !== selector;
  }

  #bindViewer() {
    const heat = this.#at(".heat");
    const toggle = this.#at(".heat-toggle");
    const slider = this.#at(".heat-opacity");
    toggle.addEventListener("change", () => {
      heat.hidden = !toggle.checked;
      slider.disabled = !toggle.checked;
    });
    slider.addEventListener("input", () => {
      heat.style.opacity = slider.value / 100;
    });
    const viewer = this.#at(".viewer");
    this.#at(".enlarge").addEventListener("click", () => {
      if (document.fullscreenElement) document.exitFullscreen();
      else viewer.requestFullscreen();
    });
    viewer.addEventListener("fullscreenchange", () => {
      this.#at(".enlarge").textContent = document.fullscreenElement === viewer ? "Close" : "Full screen";
    });
    this.#at(".enlarge").hidden = !document.fullscreenEnabled;
  }

  #drawPreview() {
    const picture = this.#at(".radiograph");
    picture.addEventListener("load", () => {
      picture.alt = `Radiograph ${this.#file.name}`;
      picture.hidden = false;
      this.#setAspect(picture.naturalWidth, picture.naturalHeight);
    });
    picture.addEventListener("error", () => {
      this.#at(".stage").classList.add("neutral");
      this.#at(".stage-note").textContent = NOT_DRAWN;
      this.#at(".stage-note").hidden = false;
    });
    picture.src = this.#previewUrl;
  }

  #setAspect(width, height) {
    this.#at(".stage").style.setProperty("--aspect", width / height);
  }

  #showHeat(job, visible) {
    const heat = this.#at(".heat");
    const { width, height } = job.result.input;
    this.#setAspect(width, height);
    heat.addEventListener("load", () => {
      this.#at(".viewer-controls").hidden = false;
    });
    heat.src = heatmapUrl(job.id);
    heat.hidden = !visible;
    this.#at(".heat-toggle").checked = visible;
    this.#at(".heat-opacity").disabled = !visible;
    this.#at(".stage").classList.add("answered");
    this.#at(".stage-note").textContent = NEUTRAL_GROUND;
  }

  #showScale({ score, threshold, operating_point: point }) {
    const scale = this.#at(".scale");
    const mark = Math.round(threshold * 100);
    scale.style.setProperty("--score", score);
    scale.style.setProperty("--threshold", threshold * 100);
    scale.setAttribute("aria-label", `Score ${Math.round(score)} of 100; threshold ${mark}, operating point ${point}`);
    this.#at(".scale-threshold-label").textContent = `threshold ${mark} (${point})`;
  }

  #showWarnings(codes) {
    const items = codes.map((code) => {
      const { title, advice } = explainWarning(code);
      const item = document.createElement("li");
      const name = document.createElement("strong");
      name.textContent = `${title}. `;
      item.append(name, advice);
      return item;
    });
    this.#at(".warnings").replaceChildren(...items);
  }

  #showFacts(job) {
    const { result } = job;
    const { input, timings_ms: times } = result;
    const facts = this.#at(".facts");
    const more = this.#at(".more");
    facts.replaceChildren();
    more.replaceChildren();
    addFact(facts, "Model", result.model.version);
    addFact(facts, "Operating point", result.operating_point);
    addFact(facts, "Read", new Date(job.finished_at).toLocaleString());
    addFact(facts, "Picture", `${input.width} × ${input.height}, ${input.format.toUpperCase()}`);
    addFact(facts, "Time", `${inMs(times.total)}, of which ${inMs(times.queue)} waiting`);
    for (const [label, probability] of Object.entries(result.probabilities)) {
      addFact(more, `Probability of ${label}`, probability.toFixed(3));
    }
    addFact(more, "Decoding", inMs(times.decode));
    addFact(more, "Inference", inMs(times.inference));
    addFact(more, "Attempts", job.attempts);
    addFact(more, "Kept until", job.expires_at ? new Date(job.expires_at).toLocaleString() : "–");
    addFact(more, "Preprocessing", result.preprocessing);
    addFact(more, "Job", job.id, true);
    addFact(more, "File SHA-256", input.sha256, true);
    addFact(more, "Model SHA-256", result.model.sha256, true);
    this.#at(".json").href = jobUrl(job.id);
  }
}
