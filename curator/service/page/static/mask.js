// The mask of Selective Token Masking at a threshold that is moved: tokens are sorted by log-prob once, and only those
// between the old threshold and the new one are touched.
import { toast } from "/static/toast.js";

const slider = document.getElementById("mask"), effect = document.querySelector(".effect");
const heats = [...document.querySelectorAll(".heat.mask")].map((element) => ({
  element, inPlay: Number(element.dataset.play), dropped: 0, said: element.closest(".version")?.querySelector(".dropped"),
}));

const logprobOf = (token) => { const found = token.dataset.v.split("|")[2]; return found === "-inf" ? -Infinity : parseFloat(found); };
const tokens = heats.flatMap((heat) => [...heat.element.querySelectorAll(".t:not(.e)")].map((token) => ({ token, heat, logprob: logprobOf(token) })))
  .filter(({ logprob }) => !Number.isNaN(logprob)).sort((a, b) => a.logprob - b.logprob);
for (const { token } of tokens) token.classList.remove("h");
let edge = 0; // tokens before it are dropped

function move() {
  const nats = slider.value * slider.dataset.step, threshold = Math.exp(nats);
  for (; edge < tokens.length && tokens[edge].logprob < -nats; edge++) set(tokens[edge], true);
  for (; edge > 0 && tokens[edge - 1].logprob >= -nats; edge--) set(tokens[edge - 1], false);
  const said = threshold < 10 ? threshold.toFixed(2) : threshold.toFixed(0);
  document.getElementById("threshold").textContent = said;
  slider.setAttribute("aria-valuetext", `perplexity ${said}`);
  for (const heat of heats) if (heat.said) heat.said.textContent = share(heat);
  if (effect) {
    effect.querySelector("#share").textContent = share(heats[0]);
    effect.querySelector("#count").textContent = heats[0].dropped.toLocaleString("en");
  }
}

function set({ token, heat }, isDropped) {
  token.classList.toggle("h", isDropped);
  heat.dropped += isDropped ? 1 : -1;
}

function share(heat) {
  return `${(100 * (heat.inPlay ? heat.dropped / heat.inPlay : 0)).toFixed(1)}%`;
}

/** The threshold stands in the address, so that a link shows the same. */
function keep() {
  const address = new URL(location);
  address.searchParams.set("threshold", Math.exp(slider.value * slider.dataset.step).toFixed(3));
  history.replaceState(null, "", address);
}

if (slider) {
  slider.addEventListener("input", move);
  slider.addEventListener("change", keep);
  document.getElementById("shown").addEventListener("change", (event) => {
    for (const { element } of heats) element.classList.toggle("unstruck", !event.target.checked);
  });
  move();
}

// An address may name a token by its position.
const named = document.querySelector(`.heat .t[data-v^="${Number.parseInt(location.hash.slice(1), 10)}|"]`);
if (named) {
  named.tabIndex = 0;
  named.focus();
}

const copy = document.getElementById("copy");
copy.addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(copy.dataset.copy);
    toast("The id is in the clipboard.");
  } catch {
    toast("The browser does not allow it.", { hint: copy.dataset.copy });
  }
});
