// A job as it happens: bars, log and state, from its events. Each event has a number; what was seen is not shown again.
import { api, toastProblem } from "/static/api.js";
import { toast } from "/static/toast.js";

const AGAIN = 2000, SLACK = 40, MOST_LINES = 5000; // ms, pixels, lines
const job = document.getElementById("job"), facts = document.getElementById("facts"), log = document.getElementById("log");
const lost = document.getElementById("connection"), follow = document.getElementById("follow");
const begun = new Map(); // label → when its bar was first seen here, and how far it was
let last = Number(job.dataset.after), source = null;

const hasEnded = () => facts.querySelector("[data-state]").dataset.ended !== undefined;

function connect() {
  source?.close();
  source = new EventSource(`/v1/jobs/${job.dataset.id}/events?after=${last}`);
  source.onopen = () => { lost.hidden = true; };
  source.onerror = () => {
    if (hasEnded()) { source.close(); return; }
    lost.hidden = false;
    if (source.readyState === EventSource.CLOSED) setTimeout(again, AGAIN); // else the browser comes back by itself
  };
  for (const [type, take] of Object.entries({ progress, log: say, state: change, result: () => {} })) {
    source.addEventListener(type, (event) => {
      const number = Number(event.lastEventId);
      if (number <= last) return;
      last = number;
      take(JSON.parse(event.data));
    });
  }
}

/** Whoever was away finds out first whether there is anything left to hear. */
async function again() {
  await refresh();
  if (!hasEnded()) connect();
}

function progress({ label, done, total, note, tokens_per_second: speed }) {
  const place = [...document.querySelectorAll(".progress-line")].find((line) => line.dataset.label === label) || newBar(label);
  place.querySelector(".count").textContent = `${figure(done)} of ${figure(total)}`;
  place.querySelector(".note-text").textContent = [note, left(label, done, total)].filter(Boolean).join(", ");
  Object.assign(place.querySelector("progress"), { max: Math.max(total, 1), value: done });
  if (speed) document.getElementById("speed").firstChild.textContent = figure(Math.round(speed));
}

function newBar(label) {
  const bar = document.getElementById("bar").content.firstElementChild.cloneNode(true);
  bar.dataset.label = label;
  bar.querySelector(".what").textContent = label;
  bar.querySelector("progress").setAttribute("aria-label", label);
  document.querySelector(".progress-lines").append(bar);
  document.getElementById("progress").hidden = false;
  return bar;
}

/** How long it will still take, once that can be said. */
function left(label, done, total) {
  if (!begun.has(label)) begun.set(label, { at: performance.now(), done });
  const { at, done: before } = begun.get(label), seconds = (performance.now() - at) / 1000;
  if (seconds < 5 || done <= before || done >= total) return "";
  return `about ${lasting((total - done) * seconds / (done - before))} left`;
}

function say({ line }) {
  for (const text of line.split("\n")) {
    const shown = log.appendChild(document.createElement("p"));
    shown.textContent = text;
    shown.className = text.startsWith("error: ") ? "wrong" : text.startsWith("warning: ") ? "warned" : "";
  }
  while (log.childElementCount > MOST_LINES) log.firstElementChild.remove();
  document.getElementById("silent").hidden = true;
  toEnd();
}

function toEnd() {
  if (follow.getAttribute("aria-pressed") === "true") log.scrollTop = log.scrollHeight;
}

function change({ state }) {
  if (["succeeded", "failed", "cancelled"].includes(state)) source.close();
  refresh();
}

/** State, figures and result as the service words them. */
async function refresh() {
  try {
    const response = await fetch(`/jobs/${job.dataset.id}/facts`, { headers: { accept: "application/problem+json" } });
    if (!response.ok) throw new Error();
    const focused = facts.contains(document.activeElement);
    facts.innerHTML = await response.text();
    if (focused) facts.querySelector("button, a.button")?.focus();
    seen = performance.now();
  } catch {
    setTimeout(refresh, AGAIN);
  }
}

async function act(what) {
  try {
    await api(`/v1/jobs/${job.dataset.id}/${what}`, { method: "POST" });
    toast(what === "cancel" ? "It is asked to end." : "It is queued again.");
    if (what === "resume") { begun.clear(); await refresh(); connect(); }
  } catch (error) {
    toastProblem(error);
  }
}

const sure = document.getElementById("sure");
sure.addEventListener("close", () => { if (sure.returnValue === "yes") act("cancel"); });
facts.addEventListener("click", (event) => {
  const what = event.target.closest("[data-do]")?.dataset.do;
  if (what === "cancel") { sure.returnValue = ""; sure.showModal(); } else if (what) act(what);
});

follow.addEventListener("click", () => setFollow(follow.getAttribute("aria-pressed") !== "true"));
log.addEventListener("scroll", () => {
  const away = log.scrollHeight - log.scrollTop - log.clientHeight;
  if (away > SLACK) setFollow(false);
});

function setFollow(isOn) {
  follow.setAttribute("aria-pressed", String(isOn));
  toEnd();
}

document.getElementById("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText([...log.children].map((line) => line.textContent).join("\n"));
    toast("The log is in the clipboard.");
  } catch {
    toast("The browser does not allow it.", { hint: "“All of it” shows the log as plain text." });
  }
});

let seen = performance.now();
setInterval(() => {
  const place = document.getElementById("lasting");
  if (place.dataset.seconds) place.textContent = lasting(Number(place.dataset.seconds) + (performance.now() - seen) / 1000);
}, 1000);

const figure = (number) => number.toLocaleString("en");

function lasting(seconds) {
  const whole = Math.floor(seconds), two = (number) => String(number).padStart(2, "0");
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
}

toEnd();
if (!hasEnded()) connect();
