list.addEventListener("click", (event) => {
  const element = event.target.closest(".row");
  if (!element) return;
  const index = Number(element.dataset.index);
  if (event.target.closest(".twisty:not(.none)")) toggle(index);
  select(index);
});
list.addEventListener("dblclick", (event) => {
  const element = event.target.closest(".row");
  if (element) toggle(Number(element.dataset.index));
});
timeline.addEventListener("wheel", (event) => {
  if (!(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  zoom(event.deltaY > 0 ? 1.25 : 0.8, timeAt(event));
}, { passive: false });

const turn = () => {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  try { localStorage.setItem("otel-flyte-theme", root.dataset.theme); } catch { /* a page from disk may have no storage */ }
};

const into = () => {
  if (shown.children[selected] === null) return;
  if (shown.open[selected] || places.get(selected) + 1 < visible.length && shown.parents[visible[places.get(selected) + 1]] === selected) move(1);
  else toggle(selected);
};
const out = () => {
  if (shown.open[selected] && shown.children[selected] !== null) toggle(selected, false);
  else if (shown.parents[selected] >= 0) select(shown.parents[selected]);
};
const enter = () => {
  if (isRollUp(selected)) toggle(selected);
  select(selected);
};
const fit = () => {
  const row = shown.rows[selected];
  const whole = Math.max(1, shown.execution.length);
  const length = Math.max(1, row[TOOK] ?? whole - row[START]);
  setView((row[START] - 0.04 * length) / whole, (row[START] + 1.04 * length) / whole);
};
const escape = () => {
  if (query || onlyBad) { search.value = query = ""; onlyBad = false; problems.setAttribute("aria-pressed", "false"); refresh(); }
  else hide();
};
const KEYS = {
  j: () => move(1), ArrowDown: () => move(1), k: () => move(-1), ArrowUp: () => move(-1),
  PageDown: () => move(20), PageUp: () => move(-20), Home: () => move(-Infinity), End: () => move(Infinity),
  l: into, ArrowRight: into, h: out, ArrowLeft: out, Enter: enter, n: () => step(1), N: () => step(-1),
  "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), 0: () => setView(0, 1), f: fit, t: turn, c: () => critical.click(),
  "Shift+ArrowLeft": () => pan(-0.25), "Shift+ArrowRight": () => pan(0.25),
  "/": () => { search.focus(); search.select(); }, "?": () => help.showModal(), Escape: escape,
};
addEventListener("keydown", (event) => {
  if (!shown || help.open || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select, textarea, button, a, summary") && event.key !== "Escape" && !["j", "k", "/", "?"].includes(event.key)) return;
  if (event.target.matches("input, select, textarea")) return;
  if (event.target.closest(".details") && event.key.startsWith("Arrow")) return;
  const act = KEYS[event.shiftKey && event.key.startsWith("Arrow") ? `Shift+${event.key}` : event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

let isDue = false;
addEventListener("scroll", () => {
  if (isDue || !shown) return;
  isDue = true;
  requestAnimationFrame(() => { isDue = false; paint(); });
}, { passive: true });
let resized = 0;
addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(() => shown && refresh(), 60); });
addEventListener("beforeprint", () => { if (shown) { printing = true; paint(true); } });
addEventListener("afterprint", () => { if (shown) { printing = false; paint(true); } });
