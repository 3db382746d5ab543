// What every page has: the number of running jobs, parts that come later, menus that close.
import { api, problemBox } from "/static/api.js";

const POLL = 5000, SLOWEST = 60000; // ms

/** Tell scripts that elements were put into the page. */
export function inserted() {
  document.dispatchEvent(new Event("inserted"));
}

/** Put what `element.dataset.from` answers into the element; meanwhile it shows what it holds. */
async function fill(element) {
  element.setAttribute("aria-busy", "true");
  try {
    const response = await fetch(element.dataset.from, { headers: { accept: "application/problem+json" } });
    if (!response.ok) throw await problem(response);
    element.innerHTML = await response.text();
    inserted();
  } catch (error) {
    const told = error instanceof TypeError ? { message: "the service does not answer", hint: "is it still running?" } : error;
    element.replaceChildren(problemBox(told, () => fill(element)));
  }
  element.removeAttribute("aria-busy");
}

async function problem(response) {
  const told = await response.json().catch(() => ({}));
  return { message: told.detail || `the service answered ${response.status}`, hint: told.hint };
}

async function watch(wait) {
  const chip = document.getElementById("running");
  if (!document.hidden) {
    try {
      const { jobs } = await api("/v1/jobs?state=running");
      const speed = jobs.reduce((sum, job) => sum + (job.progress?.tokens_per_second || 0), 0);
      chip.hidden = !jobs.length;
      chip.textContent = `${jobs.length} running` + (speed ? ` · ${Math.round(speed).toLocaleString("en")} tokens/s` : "");
      wait = POLL;
    } catch { // it is told where something was asked for
      chip.hidden = true;
      wait = Math.min(2 * wait, SLOWEST);
    }
  }
  setTimeout(watch, wait, wait);
}

if (document.getElementById("running")) watch(POLL);
for (const element of document.querySelectorAll("[data-from]")) fill(element);

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && document.querySelector("details.menu[open]");
  if (menu) { menu.open = false; menu.querySelector("summary").focus(); }
});
