"use strict";
{
  // Theme: as the system has it, or as chosen here. Loaded in the head, it is set before anything is drawn.
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  root.classList.add("js");
  try { const kept = localStorage.getItem("forgetless-theme"); if (kept) root.dataset.theme = kept; } catch { /* not kept */ }
  document.addEventListener("DOMContentLoaded", () => {
    const toggle = document.getElementById("theme");
    const nameTheme = () => { toggle.textContent = isDark() ? "☀ light" : "☾ dark"; };
    toggle.hidden = false;
    toggle.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      try { localStorage.setItem("forgetless-theme", root.dataset.theme); } catch { /* not kept */ }
      nameTheme();
    });
    system.addEventListener("change", nameTheme);
    nameTheme();
  });
}
