// The SQL console: asks /v1/sql, shows the answer as a table and, where it can be drawn, as a chart.
import { api, problemBox } from "/static/api.js";
import { editor, insert } from "/static/editor.js";
import { toast } from "/static/toast.js";

const DRAWN = 400, CLIPPED = 100, FOLDED = 180, REMEMBERED = 50; // rows, letters, letters, queries
const area = document.getElementById("q"), query = editor(area), result = document.getElementById("result");
const store = document.getElementById("console").dataset.store, run = document.getElementById("run"), stop = document.getElementById("stop");
const key = `forgetless-sql:${store}`;
let asking = null;

// Asking

async function ask() {
  const sql = query.text.trim();
  if (!sql) { area.focus(); return; }
  const controller = new AbortController();
  asking?.abort();
  asking = controller;
  busy(true);
  remember(sql);
  history.replaceState(null, "", address(sql));
  try {
    const [rows, seconds] = ["rows", "seconds"].map((id) => Number(document.getElementById(id).value));
    show(await api("/v1/sql", { method: "POST", json: { store, sql, rows, seconds }, signal: controller.signal }));
  } catch (error) {
    if (error.name === "AbortError") return;
    if (error.hint.includes("forgetless sql")) error.hint = "the list beside the query has all tables and their columns";
    result.replaceChildren(problemBox(error));
  }
  busy(false);
}

function busy(is) {
  for (const each of [run, result]) is ? each.setAttribute("aria-busy", "true") : each.removeAttribute("aria-busy");
  stop.hidden = !is;
}

/** The service ends a query that nobody waits for. */
stop.addEventListener("click", () => {
  asking?.abort();
  busy(false);
  result.replaceChildren(element("p", { role: "status", className: "nothing about" }, "Stopped."));
  area.focus();
});

/** A link that asks the same. */
function address(sql) {
  const found = new URL("/sql", location.origin);
  found.search = new URLSearchParams({ store, q: sql, run: 1 });
  return found;
}

document.getElementById("ask").addEventListener("submit", (event) => { event.preventDefault(); ask(); });
area.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); ask(); }
});
document.getElementById("link").addEventListener("click", () => copy(address(query.text.trim()).href, "The link is in the clipboard."));
document.querySelector(".examples").addEventListener("click", (event) => {
  const sql = event.target.dataset.sql;
  if (sql) { query.text = sql; ask(); }
});

async function copy(text, said) {
  try {
    await navigator.clipboard.writeText(text);
    toast(said);
  } catch {
    toast("The browser does not allow it.");
  }
}

// The answer

function show(answer) {
  const { columns, rows, truncated, seconds } = answer;
  const actions = element("div", { className: "actions" });
  for (const [label, act] of [["Copy CSV", () => copy(csv(answer), "The rows are in the clipboard, as CSV.")], ["Download CSV", () => download(csv(answer))]]) {
    const button = actions.appendChild(element("button", { type: "button" }, label));
    button.addEventListener("click", act);
  }
  const count = `${rows.length.toLocaleString("en")} row${rows.length === 1 ? "" : "s"} in ${seconds < 10 ? seconds.toFixed(2) : seconds.toFixed(0)} s`;
  const told = element("div", { className: "told" }, element("p", { role: "status" }, element("b", {}, count)),
    ...(truncated ? [element("p", { className: "warned" }, "There are more: these are the first.")] : []), actions);
  const chart = element("div", { className: "chart-box", hidden: true, tabIndex: 0, role: "group", ariaLabel: "Chart of the result" });
  const body = rows.length ? tableOf(columns, rows) : element("div", { className: "nothing about" }, "No rows.");
  result.replaceChildren(told, chart, body);
  if (rows.length) draw(answer, chart);
}

/** Drawn by the service, as reports are; nothing where nothing can be drawn. */
async function draw({ columns, rows }, box) {
  const clipped = rows.slice(0, DRAWN).map((row) => row.map((value) => (typeof value === "string" ? value.slice(0, CLIPPED) : typeof value === "object" ? null : value)));
  const response = await fetch("/sql/chart", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ columns, rows: clipped }) }).catch(() => null);
  if (!response?.ok || response.status === 204) return;
  box.innerHTML = await response.text();
  if (rows.length > DRAWN) box.append(element("p", { className: "about" }, `Of the first ${DRAWN} rows.`));
  box.hidden = false;
}

function tableOf(columns, rows) {
  const isNumber = columns.map(({ type }) => /^(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL(\(.*\))?)$/.test(type));
  const head = columns.map(({ name, type }, place) => element("th", { scope: "col", className: isNumber[place] ? "n" : "" }, name, element("small", { title: type }, type.length > 24 ? `${type.slice(0, 23)}…` : type)));
  const body = rows.map((row) => element("tr", {}, ...row.map((value, place) => cell(value, columns[place].name, isNumber[place]))));
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body));
  return element("div", { className: "answer", tabIndex: 0, role: "group", ariaLabel: "Rows of the result" }, table);
}

function cell(value, name, isNumber) {
  if (value === null) return element("td", { className: isNumber ? "n null" : "null" }, "null");
  if (isNumber) return element("td", { className: "n", title: String(value) }, figure(value));
  if (typeof value === "string" && /^(id|parent_id|previous_id)$/.test(name) && /^[0-9a-f]{8,32}$/.test(value)) {
    return element("td", {}, element("a", { href: `/stores/${encodeURIComponent(store)}/records/${value}`, title: value }, element("code", {}, value.slice(0, 8))));
  }
  const isText = typeof value === "string", text = isText ? value : JSON.stringify(value);
  return element("td", { className: isText ? "text" : "text nested" }, text.length > FOLDED ? folded(text) : text);
}

function folded(text) {
  return element("details", {}, element("summary", {}, element("span", {}, `${text.slice(0, FOLDED)}…`)), text);
}

function figure(value) {
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return Math.abs(value) < 10000 ? String(value) : value.toLocaleString("en");
  return Math.abs(value) >= 1e6 || Math.abs(value) < 1e-4 ? value.toPrecision(6) : String(Number(value.toPrecision(6)));
}

function csv({ columns, rows }) {
  const written = (value) => {
    const text = value === null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [columns.map(({ name }) => name), ...rows].map((row) => row.map(written).join(",")).join("\r\n") + "\r\n";
}

function download(text) {
  const link = element("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: `${store}.csv` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// What can be asked

async function sources() {
  const place = document.getElementById("sources");
  try {
    const { sources: found } = await api(`/v1/sql/schema?store=${encodeURIComponent(store)}`);
    place.replaceChildren(...found.map(source));
    filter();  // somebody may have been faster
  } catch (error) {
    place.replaceChildren(problemBox(error, sources));
  }
}

function source({ name, call, kind, about, example, columns }) {
  const uses = [["Insert", () => insert(area, kind === "value" || kind === "macro" ? call : name)], ["Example", () => { query.text = example; ask(); }]];
  return element("details", { className: "source" }, element("summary", {}, element("code", {}, name), element("small", {}, kind === "value" ? "function" : kind)),
    element("p", { className: "about" }, about),
    element("ul", {}, ...columns.map(({ name: column, type }) => element("li", {}, button("column", () => insert(area, quoted(column)), element("code", {}, column), element("small", { title: type }, type))))),
    element("div", { className: "uses" }, ...uses.map(([label, act]) => button("", act, label))));
}

const quoted = (name) => (/^[a-z_][a-z0-9_]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`);

function filter() {
  const wanted = document.getElementById("find").value.trim().toLowerCase();
  for (const each of document.querySelectorAll(".source")) {
    const names = [...each.querySelectorAll("code")].map((code) => code.textContent.toLowerCase());
    each.hidden = !names.some((name) => name.includes(wanted));
    each.open = wanted.length > 1 && names.slice(1).some((name) => name.includes(wanted));
  }
}

document.getElementById("find").addEventListener("input", filter);

// What was asked

function past() {
  try { return JSON.parse(localStorage.getItem(key)) || []; } catch { return []; }
}

function remember(sql) {
  keep([sql, ...past().filter((other) => other !== sql)].slice(0, REMEMBERED));
}

function keep(queries) {
  try { localStorage.setItem(key, JSON.stringify(queries)); } catch { /* not kept */ }
  list(queries);
}

function list(queries) {
  document.getElementById("past-count").textContent = queries.length || "";
  const lines = queries.map((sql) => {
    const again = button("again", () => { query.text = sql; area.focus(); }, element("span", { title: sql }, sql.replaceAll(/\s+/g, " ")));
    const forget = button("forget", () => keep(past().filter((other) => other !== sql)), "×");
    forget.setAttribute("aria-label", "Forget this query");
    return element("li", {}, again, forget);
  });
  document.getElementById("past").replaceChildren(...(lines.length ? [element("ol", {}, ...lines), button("clear", () => keep([]), "Forget all")] : [element("p", { className: "about" }, "Nothing asked yet; what you ask is kept in this browser.")]));
}

// Elements

function element(tag, given, ...children) {
  const made = Object.assign(document.createElement(tag), given);
  made.append(...children);
  return made;
}

function button(className, act, ...children) {
  const made = element("button", { type: "button", className }, ...children);
  made.addEventListener("click", act);
  return made;
}

list(past());
sources();
if (query.text && new URLSearchParams(location.search).get("run") === "1") ask();
