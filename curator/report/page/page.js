"use strict";
{
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  root.classList.add("js");

  // Theme: as the system has it, or as chosen here.
  const toggle = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const nameTheme = () => { toggle.textContent = isDark() ? "☀ light" : "☾ dark"; };
  try { const kept = localStorage.getItem("forgetless-theme"); if (kept) root.dataset.theme = kept; } catch { /* not kept */ }
  toggle.hidden = false;
  toggle.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("forgetless-theme", root.dataset.theme); } catch { /* not kept */ }
    nameTheme();
  });
  system.addEventListener("change", nameTheme);
  nameTheme();

  // A token's numbers, beside it on hover and on focus; arrow keys go from token to token.
  const tip = document.getElementById("tip");
  const round = (value) => (value < 10 ? value.toFixed(2) : value < 1000 ? value.toFixed(1) : value < 1e6 ? Math.round(value).toLocaleString("en") : value.toExponential(2));
  const numbers = (token) => {
    const [position, id, logprob, rank, entropy, weight] = token.dataset.v.split("|");
    const rows = logprob ? [["perplexity", round(Math.exp(-logprob))], ["log-prob", Number(logprob).toFixed(3)]] : [];
    if (weight) rows.unshift(["weight", Number(weight).toFixed(2)]);
    if (rank) rows.push(["rank", Number(rank).toLocaleString("en")]);
    if (entropy) rows.push(["entropy", Number(entropy).toFixed(2) + " nats"]);
    return [...rows, ["token id", id], ["position", position]];
  };
  const show = (token) => {
    tip.replaceChildren(...numbers(token).flatMap(([name, value]) => {
      const dt = document.createElement("dt"), dd = document.createElement("dd");
      dt.textContent = name;
      dd.textContent = value;
      return [dt, dd];
    }));
    tip.hidden = false;
    const at = token.getClientRects()[0], size = tip.getBoundingClientRect(), edge = 8;
    const left = Math.min(Math.max(at.left, edge), innerWidth - size.width - edge);
    const above = at.top - size.height - edge;
    tip.style.left = `${left + scrollX}px`;
    tip.style.top = `${(above > edge ? above : at.bottom + edge) + scrollY}px`;
  };
  const hide = () => { tip.hidden = true; };
  for (const heat of all(".heat")) {
    const tokens = all(".t", heat);
    if (!tokens.length) continue;
    tokens.forEach((token, place) => { token.tabIndex = place ? -1 : 0; });
    heat.addEventListener("mouseover", (event) => { const token = event.target.closest(".t"); if (token) show(token); });
    heat.addEventListener("mouseout", () => { const token = document.activeElement; if (token?.matches?.(".t")) show(token); else hide(); });
    heat.addEventListener("focusin", (event) => {
      tokens.forEach((token) => { token.tabIndex = token === event.target ? 0 : -1; });
      event.target.setAttribute("aria-describedby", "tip");
      show(event.target);
    });
    heat.addEventListener("focusout", (event) => { event.target.removeAttribute("aria-describedby"); hide(); });
    heat.addEventListener("keydown", (event) => {
      const place = tokens.indexOf(document.activeElement), last = tokens.length - 1;
      const next = { ArrowRight: place + 1, ArrowDown: place + 1, ArrowLeft: place - 1, ArrowUp: place - 1, Home: 0, End: last }[event.key];
      if (event.key === "Escape") hide();
      if (next === undefined || place < 0) return;
      event.preventDefault();
      tokens[Math.min(Math.max(next, 0), last)].focus();
    });
  }

  // The threshold: one value, set at any of its sliders.
  const sliders = all("input.threshold");
  const setThreshold = (place) => {
    const thresholds = sliders[0].dataset.values.split(" ").map(Number), value = thresholds[place];
    const said = value < 10 ? value.toFixed(1) : value.toFixed(0);
    for (const slider of sliders) { slider.value = place; slider.setAttribute("aria-valuetext", said); }
    for (const output of all("output.threshold")) output.textContent = said;
    for (const cell of all("[data-above]")) cell.textContent = `${(100 * cell.dataset.above.split(" ")[place]).toFixed(1)}%`;
    for (const token of all(".t")) token.classList.toggle("h", Math.exp(-token.dataset.v.split("|")[2]) > value);
    const low = Math.log(thresholds[0]), high = Math.log(thresholds.at(-1));
    for (const line of all(".at-threshold")) line.style.left = `${1.5 + 97 * (Math.log(value) - low) / (high - low)}%`;
  };
  for (const slider of sliders) slider.addEventListener("input", () => setThreshold(Number(slider.value)));
  if (sliders.length) setThreshold(Number(sliders[0].value));

  // Hardest tokens: of all kinds together, or of one.
  for (const button of all("button[data-kind]")) {
    button.addEventListener("click", () => {
      for (const other of all("button[data-kind]")) other.setAttribute("aria-pressed", String(other === button));
      document.getElementById("hardest-rows").dataset.shown = button.dataset.kind;
      for (const row of all("#hardest-rows tr")) row.hidden = button.dataset.kind ? row.dataset.kind !== button.dataset.kind : row.dataset.overall !== "1";
    });
  }
  all('button[data-kind=""]').forEach((button) => button.click());

  addEventListener("beforeprint", () => all("details").forEach((details) => { details.open = true; }));
}
