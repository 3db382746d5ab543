// A textarea for code: line numbers, Tab indents, Enter keeps the indentation. Esc, then Tab, leaves it.
const INDENT = "  ";

/** Makes an editor of a textarea in a `.editor`; `mark(lines)` points lines out. */
export function editor(area) {
  const numbers = document.createElement("div");
  numbers.className = "numbers";
  numbers.setAttribute("aria-hidden", "true");
  area.before(numbers);
  let marked = new Set(), leaving = false;

  function draw() {
    const count = area.value.split("\n").length;
    while (numbers.childElementCount > count) numbers.lastElementChild.remove();
    while (numbers.childElementCount < count) numbers.append(document.createElement("span"));
    [...numbers.children].forEach((line, place) => { line.className = marked.has(place + 1) ? "marked" : ""; });
    numbers.scrollTop = area.scrollTop;
  }

  area.addEventListener("input", draw);
  area.addEventListener("scroll", () => { numbers.scrollTop = area.scrollTop; });
  area.addEventListener("blur", () => { leaving = false; });
  area.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { leaving = true; return; }
    if (event.key === "Tab" && !leaving && !event.ctrlKey && !event.altKey && !event.metaKey) {
      event.preventDefault();
      indent(area, event.shiftKey);
    } else if (event.key === "Enter" && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      const line = area.value.slice(0, area.selectionStart).split("\n").at(-1);
      insert(area, `\n${line.match(/^ */)[0]}`);
    }
    if (event.key !== "Shift") leaving = false;
  });
  draw();
  return {
    get text() { return area.value; },
    set text(text) { area.value = text; area.scrollTop = 0; draw(); },
    mark(lines) { marked = new Set(lines); draw(); },
  };
}

/** At the cursor, so that it can be undone. */
export function insert(area, text) {
  area.focus();
  if (!document.execCommand("insertText", false, text)) { // the only way that the browser's undo knows of
    area.setRangeText(text, area.selectionStart, area.selectionEnd, "end");
    area.dispatchEvent(new Event("input", { bubbles: true }));
  }
}

/** The selected lines, or the place of the cursor; further in, or back. */
function indent(area, back) {
  const { selectionStart: from, selectionEnd: to, value } = area;
  if (from === to && !back) { insert(area, INDENT); return; }
  const start = value.lastIndexOf("\n", from - 1) + 1, old = value.slice(start, to);
  const moved = old.split("\n").map((line) => (back ? line.replace(/^ {1,2}/, "") : INDENT + line)).join("\n");
  if (moved === old) return;
  area.setSelectionRange(start, to);
  insert(area, moved);
  if (from === to) area.setSelectionRange(to + moved.length - old.length, to + moved.length - old.length);
  else area.setSelectionRange(start, start + moved.length);
}
