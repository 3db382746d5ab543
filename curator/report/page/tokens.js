"use strict";
{
  // A token's numbers, beside it on hover and on focus; arrow keys go from token to token. The page listens, not each
  // token: there may be thousands, and more may come.
  const tip = document.getElementById("tip");
  const tokenOf = (element) => element?.closest?.(".heat .t");
  const focused = () => tokenOf(document.activeElement);
  const round = (value) => (value < 10 ? value.toFixed(2) : value < 1000 ? value.toFixed(1) : value < 1e6 ? Math.round(value).toLocaleString("en") : value.toExponential(2));
  const numbers = (token) => {
    const [position, id, logprob, rank, entropy, weight] = token.dataset.v.split("|");
    const rows = logprob ? [["perplexity", round(Math.exp(-logprob))], ["log-prob", Number(logprob).toFixed(3)]] : [];
    if (token.closest(".mask")) rows.unshift(["mask", token.classList.contains("h") ? "drops it" : token.classList.contains("e") ? "keeps it: ends a turn" : "keeps it"]);
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
  addEventListener("resize", hide);
  document.addEventListener("mouseover", (event) => { const token = tokenOf(event.target); if (token) show(token); });
  document.addEventListener("mouseout", (event) => { if (tokenOf(event.target)) { const token = focused(); if (token) show(token); else hide(); } });
  document.addEventListener("focusin", (event) => {
    const token = tokenOf(event.target);
    if (!token) return;
    for (const other of token.closest(".heat").querySelectorAll('.t[tabindex="0"]')) other.tabIndex = -1;
    token.tabIndex = 0;
    token.setAttribute("aria-describedby", "tip");
    show(token);
  });
  document.addEventListener("focusout", (event) => {
    const token = tokenOf(event.target);
    if (token) { token.removeAttribute("aria-describedby"); hide(); }
  });
  document.addEventListener("keydown", (event) => {
    const token = focused();
    if (event.key === "Escape") hide();
    if (!token || !["ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp", "Home", "End"].includes(event.key)) return;
    const tokens = [...token.closest(".heat").querySelectorAll(".t")], place = tokens.indexOf(token), last = tokens.length - 1;
    const next = { ArrowRight: place + 1, ArrowDown: place + 1, ArrowLeft: place - 1, ArrowUp: place - 1, Home: 0, End: last }[event.key];
    event.preventDefault();
    const to = tokens[Math.min(Math.max(next, 0), last)];
    to.tabIndex = 0;
    to.focus();
  });

  // One token of each heatmap is reached with Tab.
  const reach = () => {
    for (const heat of document.querySelectorAll(".heat")) if (!heat.querySelector('.t[tabindex="0"]')) heat.querySelector(".t")?.setAttribute("tabindex", "0");
  };
  document.addEventListener("inserted", reach);
  reach();
}
