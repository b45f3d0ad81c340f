const PRINTED_ROWS = 400;
const OVERSCAN = 12;

const rowHeight = () => parseFloat(getComputedStyle(grid).getPropertyValue("--row")) || 28;
let height = 28;

const toneOf = (row) => {
  if (row[TOOK] === null) return data.state === "running" ? "running" : "unfinished";
  if (V[row[RESULT]] === "failure") return "failed";
  return { phase: "phase", transfer: "phase", user: "user", submission: "user" }[V[row[ROLE]]] || "task";
};

const drawRow = (index, place) => {
  const row = shown.rows[index];
  const result = resultOf(row);
  const inner = shown.children[index] !== null;
  const isOpen = inner && place + 1 < visible.length && shown.parents[visible[place + 1]] === index;
  const quiet = ["phase", "transfer", "user", "submission"].includes(V[row[ROLE]]) && result === "success";
  const name = h("span", { role: "gridcell", class: "name" },
    h("span", { class: `twisty${inner ? "" : " none"}`, "aria-hidden": "true" }, inner ? (isOpen ? "▾" : "▸") : ""),
    !quiet && h("span", { class: `mark ${result.replace(" ", "-")}`, role: "img", "aria-label": result }, MARKS[result] || "·"),
    h("span", { class: `label ${quiet ? "quiet" : ""}` }, V[row[LABEL]]),
    notesOf(row) && h("small", {}, notesOf(row)));
  name.style.setProperty("--depth", Math.min(row[DEPTH], 14));
  const share = shown.shares[index];
  const element = h("div", {
    class: "row", role: "row", id: `row${index}`, "aria-level": row[DEPTH] + 1, "aria-rowindex": place + 2,
    "aria-expanded": inner ? String(isOpen) : null, "aria-selected": String(index === selected), title: `${V[row[LABEL]]} · ${took(row)}${notesOf(row) ? ` · ${notesOf(row)}` : ""}`,
  }, name, h("span", { role: "gridcell", class: "number" }, took(row)),
    h("span", { role: "gridcell", class: `number share${share > 1 ? " over" : ""}` }, share === null ? "" : percent(share)),
    drawLane(index));
  element.dataset.index = index;
  element.style.transform = `translateY(${place * height}px)`;
  return element;
};

const windowOfRows = () => {
  const top = list.getBoundingClientRect().top;
  const first = Math.floor(-top / height) - OVERSCAN;
  const last = Math.ceil((innerHeight - top) / height) + OVERSCAN;
  return [Math.max(0, first), Math.min(visible.length, Math.max(0, last))];
};

let printing = false;
const paint = (afresh) => {
  if (afresh) { list.replaceChildren(); live = new Map(); }
  const [first, last] = printing ? [0, Math.min(visible.length, PRINTED_ROWS)] : windowOfRows();
  for (const [place, element] of live) {
    if (place < first || place >= last) { element.remove(); live.delete(place); }
  }
  const fresh = [];
  for (let place = first; place < last; place += 1) {
    if (live.has(place)) continue;
    const element = drawRow(visible[place], place);
    live.set(place, element);
    fresh.push(element);
  }
  list.append(...fresh);
};

/** Draw the visible rows anew, and keep those that are equal. */
const repaint = () => {
  for (const [place, element] of live) {
    const next = place < visible.length ? drawRow(visible[place], place) : null;
    if (next === null) { element.remove(); live.delete(place); }
    else if (!element.isEqualNode(next)) { element.replaceWith(next); live.set(place, next); }
  }
  paint();
};

const refresh = (isNewer = false) => {
  arrange();
  height = rowHeight();
  measureLanes();
  list.style.height = `${visible.length * height}px`;
  grid.setAttribute("aria-rowcount", visible.length + 1);
  const places = matches.indexOf(selected);
  tally.textContent = query || onlyBad ? `${places >= 0 ? `${places + 1} of ` : ""}${counted(matches.length, "match").replace("matchs", "matches")}` : "";
  if (isNewer) repaint();
  else paint(true);
  drawAxis();
  mark();
};

const drawAxis = () => {
  const whole = shown.execution.length;
  const [from, to] = view.map((share) => share * whole);
  const wanted = Math.max(1, (to - from) / Math.max(2, Math.floor((axis.clientWidth || 400) / 95)));
  const units = [1e-6, 1, 60, 3600].map((unit) => unit * 1e6);
  let size = 0;
  const power = 10 ** Math.floor(Math.log10(wanted));
  if (wanted < 30e6) size = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= wanted);
  else size = [30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400].map((one) => one * units[1]).find((one) => one >= wanted) || 86400e6 * Math.ceil(wanted / 86400e6);
  axis.replaceChildren();
  const lines = [];
  for (let at = Math.ceil(from / size) * size; at <= to; at += size) {
    const tick = h("span", {}, at === 0 ? "0" : roundDuration(at));
    tick.style.left = `${(100 * (at - from)) / Math.max(1, to - from)}%`;
    if ((at - from) / Math.max(1, to - from) > 0.9) tick.className = "last";
    axis.append(tick);
    lines.push(`linear-gradient(var(--grid), var(--grid)) ${tick.style.left} 0 / 1px 100% no-repeat`);
  }
  main.style.setProperty("--ticks", lines.join(", ") || "none");
};

const setView = (from, to) => {
  const width = Math.min(1, Math.max(to - from, 1e-6));
  const start = Math.min(Math.max(0, from), 1 - width);
  view = [start, start + width];
  paint(true);
  drawAxis();
  viewWhole();
  keepAddress();
};

const zoom = (factor, around) => {
  const row = shown.rows[Math.max(0, selected)];
  const whole = Math.max(1, shown.execution.length);
  const middle = around ?? Math.min(view[1], Math.max(view[0], (row[START] + (row[TOOK] ?? 0) / 2) / whole));
  const width = (view[1] - view[0]) * factor;
  setView(middle - (middle - view[0]) * factor, middle - (middle - view[0]) * factor + width);
};

const mark = () => {
  for (const element of live.values()) element.setAttribute("aria-selected", String(Number(element.dataset.index) === selected));
  if (places.has(selected)) grid.setAttribute("aria-activedescendant", `row${selected}`);
  else grid.removeAttribute("aria-activedescendant");
  keepAddress();
};

const scrollTo = (index) => {
  const place = places.get(index);
  if (place === undefined) return;
  const top = list.getBoundingClientRect().top + place * height;
  const above = toolbar.offsetHeight + heads.offsetHeight + 8;
  if (top < above) window.scrollBy(0, top - above - 60);
  else if (top + height > innerHeight - 12) window.scrollBy(0, top + height - innerHeight + 80);
  paint();
};

const select = (index, isAsked = true) => {
  selected = index;
  drawDetails(index);
  if (isAsked) { isChosen = true; scrollTo(index); document.body.classList.add("asked"); }
  mark();
};

/** Open all rows above a row, and select it. */
const reveal = (index) => {
  for (const above of selfAndAbove(shown.parents[index])) shown.open[above] = 1;
  arrange();
  if (!places.has(index)) { search.value = query = ""; onlyBad = false; problems.setAttribute("aria-pressed", "false"); }
  selected = index;
  refresh();
  select(index);
};

const toggle = (index, to = !shown.open[index]) => {
  if (shown.children[index] === null) return;
  shown.open[index] = to ? 1 : 0;
  refresh();
  if (index === selected) drawDetails(index, true);
};

const move = (by) => {
  const at = places.get(selected) ?? -1;
  const place = Math.max(0, Math.min(visible.length - 1, at + by));
  if (visible.length) select(visible[place]);
};

/** Go to the next match; without a search, to the next error. */
const step = (by) => {
  const wanted = query || onlyBad ? matches : shown.execution.errors.map((error) => error[0]);
  if (!wanted.length) return;
  const next = by > 0 ? wanted.find((index) => index > selected) ?? wanted[0] : wanted.findLast((index) => index < selected) ?? wanted.at(-1);
  reveal(next);
};
