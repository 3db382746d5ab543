// How fast the jobs on this store are.
import { api } from "/static/api.js";
import "/static/filters.js";

const EVERY = 3000; // ms
const cell = document.getElementById("speed"), [speed, about] = cell.querySelectorAll("span, small");

async function look() {
  if (!document.hidden) {
    try {
      const { jobs } = await api(`/v1/jobs?state=running&store=${encodeURIComponent(cell.dataset.store)}`);
      const known = jobs.map((job) => job.progress?.tokens_per_second).filter((found) => found);
      speed.textContent = known.length ? Math.round(known.reduce((sum, found) => sum + found)).toLocaleString("en") : jobs.length || "–";
      about.replaceChildren(known.length ? "tokens per second, " : jobs.length ? "running: " : "no job", ...jobs.slice(0, 1).map(link));
    } catch {
      speed.textContent = "–";
      about.textContent = "not known";
    }
  }
  setTimeout(look, EVERY);
}

function link(job) {
  const found = document.createElement("a");
  found.href = `/jobs/${job.id}`;
  found.textContent = job.progress?.label || job.verb;
  return found;
}

look();
