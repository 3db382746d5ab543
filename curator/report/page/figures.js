"use strict";
{
  const all = (selector) => [...document.querySelectorAll(selector)];

  // The threshold: one value, set at any of its sliders.
  const setThreshold = (place) => {
    const sliders = all("input.threshold"), thresholds = sliders[0].dataset.values.split(" ").map(Number), value = thresholds[place];
    const said = value < 10 ? value.toFixed(1) : value.toFixed(0);
    for (const slider of sliders) { slider.value = place; slider.setAttribute("aria-valuetext", said); }
    for (const output of all("output.threshold")) output.textContent = said;
    for (const cell of all("[data-above]")) cell.textContent = `${(100 * cell.dataset.above.split(" ")[place]).toFixed(1)}%`;
    for (const token of all(".t")) token.classList.toggle("h", Math.exp(-token.dataset.v.split("|")[2]) > value);
    const low = Math.log(thresholds[0]), high = Math.log(thresholds.at(-1));
    for (const line of all(".at-threshold")) line.style.left = `${1.5 + 97 * (Math.log(value) - low) / (high - low)}%`;
  };
  document.addEventListener("input", (event) => { if (event.target.matches("input.threshold")) setThreshold(Number(event.target.value)); });

  // Hardest tokens: of all kinds together, or of one.
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-kind]");
    if (!button) return;
    for (const other of all("button[data-kind]")) other.setAttribute("aria-pressed", String(other === button));
    document.getElementById("hardest-rows").dataset.shown = button.dataset.kind;
    for (const row of all("#hardest-rows tr")) row.hidden = button.dataset.kind ? row.dataset.kind !== button.dataset.kind : row.dataset.overall !== "1";
  });

  const begin = () => {
    const slider = document.querySelector("input.threshold");
    if (slider) setThreshold(Number(slider.value));
    all('button[data-kind=""]').forEach((button) => button.click());
  };
  document.addEventListener("inserted", begin);
  begin();

  addEventListener("beforeprint", () => all("details").forEach((details) => { details.open = true; }));
}
