// The list of jobs, kept up to date. One request for all of them: a stream for each running job would use up the few
// connections that a browser has for one host.
const EVERY = 2000, SLOWEST = 20000; // ms
const list = document.getElementById("jobs"), lost = document.getElementById("connection");
let shown = "";

async function look(wait) {
  if (!document.hidden) {
    try {
      const response = await fetch(list.dataset.fromRows, { headers: { accept: "text/html" } });
      if (response.redirected) location.reload(); // signed out
      if (!response.ok) throw new Error();
      show(await response.text());
      lost.hidden = true;
      wait = EVERY;
    } catch {
      lost.hidden = false;
      wait = Math.min(2 * wait, SLOWEST);
    }
  }
  setTimeout(look, wait, wait);
}

/** New rows, with the focus where it was. */
function show(text) {
  if (text === shown) return;
  shown = text;
  const focused = list.contains(document.activeElement) && document.activeElement.getAttribute("href");
  list.innerHTML = text;
  if (focused) list.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  const counts = document.getElementById("counts").dataset;
  for (const place of document.querySelectorAll("[data-count]")) place.textContent = counts[place.dataset.count];
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) lost.hidden = true; });
setTimeout(look, EVERY, EVERY);
