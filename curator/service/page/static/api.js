// Requests to the service, and what it answers where it cannot: problems as RFC 9457 describes them.
import { toast } from "/static/toast.js";

/** What went wrong, and the way out. */
export class Problem extends Error {
  constructor(status, { detail, hint, errors, ...more } = {}) {
    super(detail || `the service answered ${status}`);
    Object.assign(this, { status, hint: hint || "", errors: errors || [], more });
  }
}

/** The JSON that `path` answers; `json` is sent as the body. Throws a Problem, status 0 where nobody answers. */
export async function api(path, { method = "GET", json, headers = {}, signal } = {}) {
  const body = json === undefined ? undefined : JSON.stringify(json);
  let response;
  try {
    response = await fetch(path, {
      method, body, signal,
      headers: { accept: "application/json", ...(body ? { "content-type": "application/json" } : {}), ...headers },
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: "the service does not answer", hint: "is `forgetless serve` still running?" });
  }
  if (response.ok) return response.status === 204 ? null : response.json();
  throw new Problem(response.status, await response.json().catch(() => ({})));
}

/** A problem's text and its way out, as an element for the place where the answer would stand. */
export function problemBox(error, retry) {
  const box = document.createElement("div");
  box.className = "problem";
  box.setAttribute("role", "alert");
  const said = box.appendChild(document.createElement("p"));
  said.textContent = sentence(error.message);
  if (error.hint) {
    const hint = box.appendChild(document.createElement("p"));
    hint.className = "about";
    hint.textContent = sentence(error.hint);
  }
  if (retry) {
    const button = box.appendChild(document.createElement("button"));
    button.type = "button";
    button.textContent = "Try again";
    button.addEventListener("click", retry);
  }
  return box;
}

/** The same, for a moment, at the page's edge. */
export function toastProblem(error) {
  toast(error.message, { hint: error.hint, kind: "problem" });
}

function sentence(text) {
  return text && text[0].toUpperCase() + text.slice(1);
}
