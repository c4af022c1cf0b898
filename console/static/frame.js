// On every page: light and dark, and how many flags came while one looked elsewhere.
import { stream } from "./dom.js";

const root = document.documentElement;
const stored = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
const apply = (theme) => { if (theme) root.dataset.theme = theme; else delete root.dataset.theme; };
apply(stored());

document.getElementById("theme").addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const next = dark ? "light" : "dark";
  apply(next);
  try { localStorage.setItem("theme", next); } catch { /* for this page only */ }
});

const news = document.getElementById("flag-news");
const page = document.body.dataset.page;
if (news && !["flags", "login", "missing"].includes(page)) {
  let count = 0;
  stream("/v1/alerts", (flag) => {
    if (flag.data.state === "withdrawn") return;
    count += 1;
    news.hidden = false;
    news.textContent = count > 99 ? "99+" : String(count);
    news.setAttribute("aria-label", `${count} new`);
  });
}
