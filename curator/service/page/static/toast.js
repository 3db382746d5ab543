// Notes at the page's edge.
/** Say something for a moment. `kind`: note or problem; a problem stays until it is closed. */
export function toast(message, { hint = "", kind = "note" } = {}) {
  const box = document.createElement("div"), text = box.appendChild(document.createElement("p"));
  box.className = `toast ${kind}`;
  text.textContent = message;
  if (hint) {
    const more = box.appendChild(document.createElement("p"));
    more.className = "about";
    more.textContent = hint;
  }
  const close = box.appendChild(document.createElement("button"));
  close.type = "button";
  close.textContent = "×";
  close.setAttribute("aria-label", "Close");
  close.addEventListener("click", () => box.remove());
  document.getElementById("toasts").append(box);
  if (kind === "note") setTimeout(() => box.remove(), 6000);
}
