// Forms whose fields stand in the address: a choice is sent at once, what is empty is left out. Who goes through the
// choices by keyboard sends the form when done: the page would be another after each.
for (const form of document.querySelectorAll("form[data-submits]")) {
  let isTyping = false;
  form.addEventListener("keydown", () => { isTyping = true; });
  form.addEventListener("pointerdown", () => { isTyping = false; });
  form.addEventListener("change", (event) => { if (event.target.matches("select") && !isTyping) form.requestSubmit(); });
  form.addEventListener("submit", () => {
    for (const field of form.querySelectorAll("input, select")) field.disabled ||= !field.value;
  });
}
// Back in the history, the fields say again what the page shows.
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-submits]")) {
    for (const field of form.querySelectorAll(":disabled")) field.disabled = false;
    form.reset();
  }
});
