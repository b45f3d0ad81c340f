"use strict";
/* The data is arrays, see data.py. Text is inserted by `textContent` only. `draw` returns a function that draws newer data
   of a page that is open: what is open, selected, filtered and scrolled to stays. */
const draw = (data, isFollowed = false) => {
  let V = data.values;
  const DEPTH = 0, LABEL = 1, NOTES = 2, ROLE = 3, RESULT = 4, START = 5, TOOK = 6, SHARE = 7, SPAN = 8, ERROR = 9, SUM = 10;
  const BAD = new Set(["failure", "cancellation", "never ended"]);
  const MARKS = { success: "✓", failure: "✗", cancellation: "⊘", "never ended": "?", skip: "–", running: "●", succeeded: "✓", failed: "✗" };
  const MANY = 12;
  const LOGS_AT_ONCE = 400;
  const PRINTED_ROWS = 400;
  const OVERSCAN = 12;

  // --- elements -----------------------------------------------------------------------------------------------------

  const SVG = "http://www.w3.org/2000/svg";
  const fill = (node, options, children) => {
    for (const [name, value] of Object.entries(options || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
    return node;
  };
  const h = (tag, options, ...children) => fill(document.createElement(tag), options, children);
  const s = (tag, options, ...children) => fill(document.createElementNS(SVG, tag), options, children);
  const link = (url, text) => h("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, text);
  const button = (text, title, onclick, options) =>
    h("button", { type: "button", title, "aria-label": title, onclick, ...options }, text);

  const FOCUSABLE = "button, select, input, summary, a, [tabindex]";
  const SCROLLED = ".logs, .message, pre";

  /** Give an element other children. Those that are equal stay, with their focus and text selection; details stay open. */
  const renew = (parent, ...parts) => {
    const fresh = parts.flat(2).filter(Boolean);
    fresh.forEach((next, at) => {
      const before = parent.childNodes[at];
      if (before === next) return;
      if (!before || next.parentNode === parent) { parent.insertBefore(next, before || null); return; }
      const open = [...before.querySelectorAll("details")];
      next.querySelectorAll("details").forEach((each, place) => {
        if (open[place]?.firstChild.textContent === each.firstChild.textContent) each.open = open[place].open;
      });
      if (!before.isEqualNode(next)) exchange(before, next);
    });
    while (parent.childNodes.length > fresh.length) parent.lastChild.remove();
  };

  const exchange = (before, next) => {
    const tops = [...before.querySelectorAll(SCROLLED)].map((each) => each.scrollTop);
    const focused = [...before.querySelectorAll(FOCUSABLE)].indexOf(document.activeElement);
    before.replaceWith(next);
    next.querySelectorAll(SCROLLED).forEach((each, place) => { if (tops[place]) each.scrollTop = tops[place]; });
    if (focused >= 0) next.querySelectorAll(FOCUSABLE)[focused]?.focus({ preventScroll: true });
  };

  // --- words --------------------------------------------------------------------------------------------------------

  const digits = (value) => value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
  const duration = (micro) => {
    const seconds = micro / 1e6;
    if (seconds < 0.9995e-3) return `${Math.round(micro)} µs`;
    if (seconds < 0.9995) return `${digits(seconds * 1e3)} ms`;
    if (seconds < 59.95) return `${digits(seconds)} s`;
    const whole = Math.round(seconds);
    const minutes = Math.floor(whole / 60);
    if (minutes < 60) return `${minutes} min ${String(whole % 60).padStart(2, "0")} s`;
    return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
  };
  /** A result in words: an attempt without an end runs as long as its execution does. */
  const resultOf = (row) => (V[row[RESULT]] === "never ended" && data.state === "running" ? "running" : V[row[RESULT]]);
  /** A span may come before the phase around it, which ends later. */
  const notesOf = (row) => (data.state === "running" ? V[row[NOTES]].replace(/(^| · )parent not recorded$/, "") : V[row[NOTES]]);
  const isBad = (row) => BAD.has(resultOf(row));
  const took = (row) => (row[TOOK] === null ? (data.state === "running" ? "running" : "never ended") : row[SUM] === null ? duration(row[TOOK]) : `Σ ${duration(row[SUM])}`);
  const percent = (share) => (share === null ? "–" : `${Math.round(share * 1000) / 10 < 10 ? Math.round(share * 1000) / 10 : Math.round(share * 100)} %`);
  const counted = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
  const moment = (micro) => new Date(micro / 1000).toISOString().replace("T", " ").slice(0, 19) + " UTC";
  const written = (value) => (typeof value === "string" ? value : JSON.stringify(value));
  const short = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);

  // --- the execution that is shown ----------------------------------------------------------------------------------

  /** The rows of one execution, with parents, children and the end of each subtree, which follow from their order. */
  const grown = (execution) => {
    const { rows } = execution;
    const parents = new Int32Array(rows.length).fill(-1);
    const ends = new Int32Array(rows.length);
    const children = rows.map(() => null);
    const stack = [];
    rows.forEach((row, index) => {
      while (stack.length && rows[stack.at(-1)][DEPTH] >= row[DEPTH]) ends[stack.pop()] = index;
      if (stack.length) {
        parents[index] = stack.at(-1);
        (children[stack.at(-1)] ||= []).push(index);
      }
      stack.push(index);
    });
    for (const index of stack) ends[index] = rows.length;
    const rowOfSpan = new Int32Array(execution.spans.length).fill(-1);
    rows.forEach((row, index) => { if (row[SPAN] >= 0) rowOfSpan[row[SPAN]] = index; });
    const shares = rows.map((row) => row[SHARE]);
    for (let index = rows.length - 1; index > 0; index -= 1) {
      const parent = parents[index];
      if (parent >= 0 && rows[parent][SPAN] < 0 && shares[index] !== null) shares[parent] = Math.max(shares[parent] ?? 0, shares[index]);
    }
    const open = new Uint8Array(rows.length);
    rows.forEach((_, index) => {
      const parent = parents[index];
      const within = parent < 0 || (open[parent] && children[parent].length <= MANY);
      open[index] = within && children[index] !== null && children[index].length <= MANY ? 1 : 0;
    });
    // A small tree is fully open; in a large one the phases of each task are closed.
    const many = open.reduce((sum, one) => sum + one, 0) > 40;
    if (many) rows.forEach((row, index) => { if (V[row[ROLE]] === "attempt" && row[SPAN] >= 0 && !BAD.has(V[row[RESULT]])) open[index] = 0; });
    return { execution, rows, parents, ends, children, rowOfSpan, shares, open, sorted: new Map() };
  };

  let shown = null;
  let view = [0, 1];
  let selected = -1;
  let visible = [];
  let order = "start";
  let onlyBad = false;
  let query = "";
  let matches = [];
  let live = new Map();
  let places = new Map();

  const isRollUp = (index) => shown.rows[index][SPAN] < 0 && shown.parents[index] >= 0;
  const selfAndAbove = function* (index) { for (let at = index; at >= 0; at = shown.parents[at]) yield at; };

  const BY = {
    start: (a, b) => a - b,
    duration: (a, b) => (shown.rows[b][TOOK] ?? Infinity) - (shown.rows[a][TOOK] ?? Infinity),
    memory: (a, b) => (shown.shares[b] ?? -1) - (shown.shares[a] ?? -1),
    state: (a, b) => isBad(shown.rows[b]) - isBad(shown.rows[a]),
  };

  const below = (index) => {
    const own = shown.children[index] || [];
    if (order === "start" || !isRollUp(index)) return own;
    const key = `${order} ${index}`;
    if (!shown.sorted.has(key)) shown.sorted.set(key, [...own].sort((a, b) => BY[order](a, b) || a - b));
    return shown.sorted.get(key);
  };

  const arrange = () => {
    const kept = filtered();
    visible = [];
    const waiting = [0];
    while (waiting.length) {
      const index = waiting.pop();
      if (kept && !kept[index]) continue;
      visible.push(index);
      if (!kept && !shown.open[index]) continue;
      if (kept && kept[index] === 2 && !shown.open[index] && !(shown.children[index] || []).some((child) => kept[child])) continue;
      const next = below(index);
      for (let at = next.length - 1; at >= 0; at -= 1) waiting.push(next[at]);
    }
    places = new Map(visible.map((index, place) => [index, place]));
  };

  /** Return 2 for each matching row and 1 for the rows above it; null where all rows are shown. */
  const filtered = () => {
    matches = [];
    if (!query && !onlyBad) return null;
    const kept = new Uint8Array(shown.rows.length);
    const found = query ? matching(query.toLowerCase()) : null;
    shown.rows.forEach((row, index) => {
      if ((found && !found(row, index)) || (onlyBad && !isBad(row))) return;
      matches.push(index);
      kept[index] = 2;
      for (const above of selfAndAbove(shown.parents[index])) {
        if (kept[above]) break;
        kept[above] = 1;
      }
    });
    kept[0] ||= 1;
    return kept;
  };

  /** Search the table of values, which has each repeated value once, then the references to its matches. */
  const matching = (wanted) => {
    const hits = new Set();
    V.forEach((value, place) => { if (!Array.isArray(value) && written(value).toLowerCase().includes(wanted)) hits.add(place); });
    const logged = new Set(shown.execution.logs.filter((line) => line[2].toLowerCase().includes(wanted)).map((line) => line[3]));
    const { spans, errors } = shown.execution;
    return (row) => {
      if (hits.has(row[LABEL]) || hits.has(row[NOTES])) return true;
      if (row[ERROR] >= 0 && errors[row[ERROR]].slice(1).some((place) => hits.has(place))) return true;
      if (row[SPAN] < 0) return false;
      return logged.has(row[SPAN]) || spans[row[SPAN]][0] === wanted || spans[row[SPAN]][2].some((place) => hits.has(place));
    };
  };

  // --- the frame of the page ----------------------------------------------------------------------------------------

  const app = document.getElementById("app");
  const list = h("div", { class: "rows", role: "rowgroup" });
  const axis = h("div", { class: "axis", role: "columnheader", "aria-label": "time since the start" });
  const side = h("aside", { class: "details", "aria-label": "details of the selected row", tabindex: "-1" });
  const tally = h("span", { class: "tally", role: "status", "aria-live": "polite" });
  const search = h("input", {
    type: "search", placeholder: "Search names, errors, attributes, logs", "aria-label": "search", spellcheck: "false", autocomplete: "off",
    oninput: () => { query = search.value.trim(); refresh(); },
    onkeydown: (event) => {
      if (event.key === "Enter") step(event.shiftKey ? -1 : 1);
      else if (event.key === "Escape") { search.value = query = ""; refresh(); grid.focus(); }
      else return;
      event.preventDefault();
      event.stopPropagation();
    },
  });
  const ordering = h("select", { "aria-label": "order of the items of a map", title: "order of the items of a map", onchange: () => { order = ordering.value; refresh(); } },
    h("option", { value: "start" }, "by start"), h("option", { value: "duration" }, "longest first"),
    h("option", { value: "memory" }, "most memory first"), h("option", { value: "state" }, "failed first"));
  const problems = button("Problems", "show only what did not succeed", () => {
    onlyBad = !onlyBad;
    problems.setAttribute("aria-pressed", String(onlyBad));
    refresh();
  }, { "aria-pressed": "false" });
  const toolbar = h("div", { class: "toolbar", role: "toolbar", "aria-label": "timeline" },
    search, tally, problems, ordering,
    h("span", { class: "zoom" },
      button("−", "zoom out (-)", () => zoom(2)), button("+", "zoom in (+)", () => zoom(0.5)), button("Fit", "the whole time (0)", () => setView(0, 1))));
  const heads = h("div", { class: "heads", role: "row" },
    h("span", { role: "columnheader" }, "What"), h("span", { role: "columnheader", class: "number" }, "Took"),
    h("span", { role: "columnheader", class: "number", title: "peak of the memory, as a share of the limit" }, "Memory"), axis);
  const grid = h("div", { class: "grid", role: "treegrid", tabindex: "0", "aria-label": "timeline" }, heads, list);
  const header = h("header", {});
  const errors = h("section", { class: "errors", "aria-label": "errors" });
  const outside = h("section", { class: "outside" });
  const main = h("main", {}, h("section", { class: "timeline" }, toolbar, grid), side);
  const help = h("dialog", { "aria-label": "keyboard" },
    h("h2", {}, "Keyboard"),
    h("dl", {}, [
      ["j  k  ↓  ↑", "next, previous row"], ["→  l", "open, or go into"], ["←  h", "close, or go to what it is in"],
      ["Enter", "details; opens a roll-up"], ["/", "search; Enter goes to the next match"], ["n  N", "next, previous match or error"],
      ["+  −  0", "zoom in, out, all"], ["f", "zoom to the selected row"], ["Home  End", "first, last row"], ["t", "light or dark"], ["Esc", "close, clear"],
    ].map(([keys, what]) => [h("dt", {}, keys.split("  ").map((key) => h("kbd", {}, key))), h("dd", {}, what)])),
    h("form", { method: "dialog" }, h("button", {}, "Close")));

  // --- the head of the page -----------------------------------------------------------------------------------------

  const badge = (result) => h("span", { class: `badge ${result.replace(" ", "-")}` }, `${MARKS[result] || "·"} ${result}`);
  const filledUrl = (traceId, spanId) =>
    data.traceUrl.replaceAll("{trace_id}", encodeURIComponent(traceId)).replaceAll("{span_id}", encodeURIComponent(spanId));

  const drawHeader = () => {
    const { execution, rows } = shown;
    const root = execution.spans[0];
    const trace = execution.traces[0] || "";
    renew(header,
      h("div", { class: "title" },
        h("h1", {}, execution.name || execution.label), badge(data.state || resultOf(rows[0])),
        data.executions.length > 1 && h("select", { "aria-label": "execution", onchange: (event) => show(Number(event.target.value)) },
          data.executions.map((each, index) => h("option", { value: index, selected: each === execution }, `${each.name || each.label} · ${moment(each.start)}`))),
        h("span", { class: "links" },
          execution.url && link(execution.url, "Flyte console"),
          data.traceUrl && trace && link(filledUrl(trace, root ? root[0] : ""), "Trace"),
          button("◐", "light or dark (t)", turn), button("?", "keyboard (?)", () => help.showModal()))),
      h("p", { class: "facts" },
        [execution.scope, moment(execution.start), took(rows[0]), counted(execution.spans.length, "span"),
          counted(execution.errors.length, "error")].filter(Boolean).map((fact) => h("span", {}, fact)),
        h("span", {}, "trace ", h("code", {}, trace), execution.traces.length > 1 ? ` and ${execution.traces.length - 1} more` : "")));
  };

  const stackOf = (text) => text && h("details", {}, h("summary", {}, "Stack trace"), h("pre", {}, text));

  const causesOf = (causes) => causes.map((cause) => h("pre", { class: "message cause" }, short(V[cause], 2000)));

  /** Group equal errors of the same place, the most frequent first. */
  const grouped = (errors) => {
    const groups = new Map();
    for (const error of errors) {
      const key = `${error[1]} ${error[2]} ${error[3]}`;
      if (groups.has(key)) groups.get(key).push(error);
      else groups.set(key, [error]);
    }
    return [...groups.values()].sort((a, b) => b.length - a.length);
  };

  const drawErrors = () => {
    const cards = grouped(shown.execution.errors);
    const card = (group) => {
      const [row, type, message, frame, stack, ...causes] = group[0];
      return h("article", {},
        h("pre", { class: "message" }, h("b", {}, V[type]), V[message] ? `: ${short(V[message], 2000)}` : ""),
        h("p", {}, V[frame] && ["at ", h("code", {}, V[frame])],
          button(`${pathOf(row)}${group.length > 1 ? ` and ${group.length - 1} more` : ""}`, "show where it happened", () => { reveal(row); grid.focus({ preventScroll: true }); }, { class: "where", "data-row": row })),
        causesOf(causes), stackOf(V[stack]));
    };
    renew(errors, cards.slice(0, 3).map(card),
      cards.length > 3 && h("details", { class: "rest" }, h("summary", {}, `${cards.length - 3} more kinds of errors`), cards.slice(3, 100).map(card)));
  };

  const pathOf = (row) => {
    const names = [...selfAndAbove(row)].slice(0, 3).map((index) => V[shown.rows[index][LABEL]]).reverse();
    return `in ${names.join(" › ")}`;
  };

  // --- the timeline -------------------------------------------------------------------------------------------------

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
    const whole = Math.max(1, shown.execution.length);
    const span = view[1] - view[0];
    const left = (row[START] / whole - view[0]) / span;
    const right = ((row[TOOK] === null ? whole : row[START] + row[TOOK]) / whole - view[0]) / span;
    const bar = h("i", { class: toneOf(row) });
    bar.style.left = `${100 * Math.max(0, Math.min(1, left))}%`;
    bar.style.width = `${100 * Math.max(0, Math.min(1, right) - Math.max(0, left))}%`;
    if (right < 0 || left > 1) bar.hidden = true;
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
      h("span", { role: "gridcell", class: "lane" }, bar));
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
    for (let at = Math.ceil(from / size) * size; at <= to; at += size) {
      const tick = h("span", {}, at === 0 ? "0" : duration(at).replace(/\.0+ /, " ").replace(/(\.\d*?)0+ /, "$1 ").replace(/ 00 (s|min)$/, ""));
      tick.style.left = `${(100 * (at - from)) / Math.max(1, to - from)}%`;
      if ((at - from) / Math.max(1, to - from) > 0.9) tick.className = "last";
      axis.append(tick);
    }
  };

  const setView = (from, to) => {
    const width = Math.min(1, Math.max(to - from, 1e-6));
    const start = Math.min(Math.max(0, from), 1 - width);
    view = [start, start + width];
    paint(true);
    drawAxis();
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
    if (isAsked) { scrollTo(index); document.body.classList.add("asked"); }
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

  // --- charts -------------------------------------------------------------------------------------------------------

  const ceiling = (value) => {
    if (value <= 0) return 1;
    const power = 10 ** Math.floor(Math.log10(value));
    return power * [1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10].find((factor) => power * factor >= value);
  };

  const drawChart = (chart) => {
    const [W, H, LEFT, RIGHT, TOP, BOTTOM] = [420, 140, 42, 6, 8, 26];
    const known = chart.curves.flatMap(([, values, maxima]) => [...values, ...maxima]).filter((value) => value !== null);
    const top = ceiling(Math.max(chart.peak || 0, ...known));
    const seconds = Math.max(chart.seconds, 1e-3);
    const x = (at) => (LEFT + (W - LEFT - RIGHT) * Math.min(1, at / seconds)).toFixed(1);
    const y = (value) => (TOP + (H - TOP - BOTTOM) * (1 - value / top)).toFixed(1);
    const path = (values) => {
      let drawn = "";
      let isOn = false;
      values.forEach((value, index) => {
        if (value === null) { isOn = false; return; }
        // The last value stands for the rest, too.
        const rest = index === values.length - 1 && seconds - (index + 1) * chart.step < chart.step;
        const end = values.length === 1 || rest ? seconds : (index + 1) * chart.step;
        drawn += isOn ? `V${y(value)}H${x(end)}` : `M${x(values.length === 1 ? 0 : index * chart.step)} ${y(value)}H${x(end)}`;
        isOn = true;
      });
      return drawn;
    };
    const band = (values, maxima) => maxima.map((largest, index) => (largest === null || values[index] === null || largest <= values[index] ? ""
      : `M${x(index * chart.step)} ${y(values[index])}V${y(largest)}H${x((index + 1) * chart.step)}V${y(values[index])}Z`)).join("");
    const tick = ([at, text]) => [s("line", { class: "grid-line", x1: x(at), x2: x(at), y1: TOP, y2: H - BOTTOM }),
      s("text", { x: x(at), y: H - 4, "text-anchor": at === 0 ? "start" : at > 0.93 * seconds ? "end" : "middle" }, text)];
    const phase = ([name, begin, end, tone]) => s("rect", { class: tone, x: x(begin), y: H - BOTTOM + 4, height: 5, width: Math.max(0.5, x(end) - x(begin)).toFixed(1) },
      s("title", {}, `${name} · ${duration((end - begin) * 1e6)}`));
    const level = (at) => [s("line", { class: "grid-line", x1: LEFT, x2: W - RIGHT, y1: y(at), y2: y(at) }),
      s("text", { x: LEFT - 6, y: y(at), dy: 3.5, "text-anchor": "end" }, String(Math.round(at * 100) / 100))];
    const cursor = s("line", { class: "cursor", y1: TOP, y2: H - BOTTOM, x1: 0, x2: 0, visibility: "hidden" });
    const note = h("p", {}, chart.note);
    const svg = s("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${chart.title} in ${chart.unit}: ${chart.note}` },
      [0, top / 2, top].map(level),
      chart.ticks.map(tick), chart.phases.map(phase),
      chart.curves.map(([name, values, maxima, tone]) => chart.hasBands && maxima.length ? s("path", { class: `band ${tone || name}`, d: band(values, maxima) }) : null),
      chart.curves.map(([name, values, , tone]) => s("path", { class: tone || name, d: path(values) })),
      chart.peak ? s("line", { class: "peak", x1: LEFT, x2: W - RIGHT, y1: y(chart.peak), y2: y(chart.peak) }) : null, cursor);
    const longest = Math.max(...chart.curves.map(([, values]) => values.length));
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const at = Math.max(0, Math.min(1, ((event.clientX - box.left) * (W / box.width) - LEFT) / (W - LEFT - RIGHT))) * seconds;
      const index = longest === 1 ? 0 : Math.min(longest - 1, Math.floor(at / chart.step));
      const texts = chart.curves.map(([name, values, maxima]) => {
        const place = values.length === 1 ? 0 : index;
        const most = (maxima[place] ?? null) !== null && maxima[place] !== values[place] ? ` (max ${maxima[place]})` : "";
        return `${name} ${values[place] ?? "–"}${most}`;
      });
      const within = chart.phases.filter(([, begin, end]) => begin <= at && at <= end).map(([name]) => name).slice(-1);
      cursor.setAttribute("x1", x(at));
      cursor.setAttribute("x2", x(at));
      cursor.setAttribute("visibility", "visible");
      note.textContent = [`${duration(at * 1e6)}: ${texts.join(" · ")} ${chart.unit}`, ...within].join(" · ");
    });
    svg.addEventListener("pointerleave", () => { cursor.setAttribute("visibility", "hidden"); note.textContent = chart.note; });
    return h("figure", {},
      h("figcaption", {}, h("b", {}, chart.title), " ", h("small", {}, chart.unit),
        h("span", { class: "legend" }, chart.curves.map(([name, , , tone]) => h("span", { class: tone || name }, name)), chart.peak ? h("span", { class: "peak" }, "peak") : null)),
      svg, note);
  };

  const drawBars = (bars) => h("table", { class: "devices" },
    h("thead", {}, h("tr", {}, ["Device", "Mean", "Peak", "Memory"].map((head) => h("th", { scope: "col" }, head)))),
    h("tbody", {}, bars.map(([name, mean, peak, memory, note]) =>
      h("tr", {}, h("th", { scope: "row" }, name), meter(mean), meter(peak), meter(memory, note)))));

  const meter = (share, note) => {
    const inner = h("i", {});
    inner.style.width = `${100 * Math.min(1, share ?? 0)}%`;
    return h("td", { title: note || null }, percent(share), h("span", { class: "meter", "aria-hidden": "true" }, inner));
  };

  // --- details ------------------------------------------------------------------------------------------------------

  const section = (title, ...content) => h("section", {}, h("h3", {}, title), ...content);

  const pairs = function* (flat) {
    for (let at = 0; at < flat.length; at += 2) yield [V[flat[at]], V[flat[at + 1]]];
  };

  const table = (entries) => h("table", { class: "attributes" }, h("tbody", {}, [...entries].map(([key, value]) =>
    h("tr", {}, h("th", { scope: "row" }, key), h("td", {}, written(value))))));

  const drawDetails = (index, isNewer = false) => {
    const { execution, rows, ends } = shown;
    const row = rows[index];
    const span = row[SPAN] >= 0 ? execution.spans[row[SPAN]] : null;
    const parts = [];
    const close = button("×", "close (Esc)", hide, { class: "close" });
    parts.push(h("div", { class: "heading" }, h("h2", {}, V[row[LABEL]]), badge(resultOf(row)), close));
    const above = shown.parents[index] >= 0 ? rows[shown.parents[index]] : null;
    const whole = above && (above[SUM] ?? above[TOOK]);
    const share = whole && row[TOOK] !== null && row[SUM] === null ? row[TOOK] / whole : null;
    parts.push(h("p", { class: "facts" },
      [V[row[ROLE]], took(row), row[START] > 0 && `began after ${duration(row[START])}`, share !== null && share < 1 && `${percent(share)} of ${V[rows[shown.parents[index]][LABEL]]}`]
        .filter(Boolean).map((fact) => h("span", {}, fact))));
    if (notesOf(row)) parts.push(h("p", { class: "notes" }, notesOf(row)));
    if (span && data.traceUrl) parts.push(h("p", {}, link(filledUrl(execution.traces[span[1]], span[0]), "Open in the trace")));
    parts.push(drawSummary(index), ...drawOwnErrors(index), ...drawUsage(index), drawLogs(index, isNewer), drawData(index));
    if (span) parts.push(...drawSpan(span));
    const drawn = parts.filter(Boolean);
    // The listeners of a part know its row.
    for (const part of drawn) if (part !== logs.element) part.dataset.row = index;
    if (isNewer) { renew(side, drawn); logs.scroll(); return; }
    side.replaceChildren(...drawn);
    side.scrollTop = 0;
    logs.scroll();
  };

  const drawOwnErrors = (index) => {
    const inside = shown.execution.errors.filter((error) => error[0] >= index && error[0] < shown.ends[index]);
    const kinds = grouped(inside);
    return kinds.slice(0, 5).map((group) => {
      const [row, type, message, frame, stack, ...causes] = group[0];
      const more = group.length > 1 ? ` and ${group.length - 1} more` : "";
      return h("div", { class: "error" },
        h("pre", { class: "message" }, h("b", {}, V[type]), V[message] ? `: ${V[message]}` : ""),
        V[frame] && h("p", {}, "at ", h("code", {}, V[frame])),
        causesOf(causes),
        row !== index && button(`${pathOf(row)}${more}`, "show where it happened", () => reveal(row), { class: "where", "data-row": row }),
        stackOf(V[stack]));
    }).concat(kinds.length > 5 ? [h("p", { class: "notes" }, `${kinds.length - 5} more kinds of errors inside`)] : []);
  };

  /** The results of a roll-up's items. */
  const drawSummary = (index) => {
    const items = shown.children[index];
    const row = shown.rows[index];
    if (!isRollUp(index) || !items || items.length < 2) return null;
    const counts = new Map();
    for (const item of items) {
      const result = resultOf(shown.rows[item]);
      counts.set(result, (counts.get(result) || 0) + 1);
    }
    const times = items.map((item) => shown.rows[item][TOOK]).filter((time) => time !== null).sort((a, b) => a - b);
    const slowest = items.reduce((a, b) => ((shown.rows[b][TOOK] ?? 0) > (shown.rows[a][TOOK] ?? 0) ? b : a));
    const at = (share) => times.length ? duration(times[Math.min(times.length - 1, Math.floor(share * times.length))]) : "–";
    return section(counted(items.length, "item"),
      h("p", { class: "counts" }, [...counts].map(([result, count]) => [badge(result), ` ${count.toLocaleString("en")} `])),
      table([["sum", row[SUM] === null ? "–" : duration(row[SUM])], ["first start to last end", row[TOOK] === null ? "–" : duration(row[TOOK])], ["median", at(0.5)], ["95 of 100 within", at(0.95)], ["slowest", times.length ? duration(times.at(-1)) : "–"]].concat(
        shown.shares[index] === null ? [] : [["largest peak of memory", `${percent(shown.shares[index])} of the limit`]])),
      h("p", {}, button(shown.open[index] ? "Close the list" : "Open the list", "open or close the list", () => toggle(index)), " ",
        button("Slowest", "show the slowest item", () => reveal(slowest), { "data-row": slowest })));
  };

  const drawUsage = (index) => {
    for (const at of selfAndAbove(index)) {
      const found = shown.execution.charts[shown.rows[at][SPAN]];
      if (!found) continue;
      const [charts, bars] = found;
      const of = at === index ? "" : ` of ${V[shown.rows[at][LABEL]]}`;
      return [section(`Usage${of}`, charts.map(drawChart), bars.length ? drawBars(bars) : null)];
    }
    return [];
  };

  const drawLogs = (index, isNewer) => {
    const { execution, rowOfSpan, ends } = shown;
    const inside = execution.logs.filter((line) => {
      const row = line[3] >= 0 ? rowOfSpan[line[3]] : 0;
      return row >= index && row < ends[index];
    });
    if (!inside.length) { logs.show([], "", isNewer); return null; }
    const left = execution.logsLeftOut ? `, the first ${counted(execution.logsLeftOut, "line")} of the execution left out` : "";
    return logs.show(inside, `Logs · ${counted(inside.length, "line")}${left}`, isNewer);
  };

  const LEVELS = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
  const levelOf = (severity) => {
    const known = LEVELS.findIndex((level) => severity.toUpperCase().startsWith(level));
    return known >= 0 ? known : severity.toUpperCase() === "CRITICAL" ? 5 : 2;
  };
  const drawLine = ([at, severity, text, , phase]) => h("li", { class: `level-${severity.toLowerCase()}` },
    h("time", {}, at > 1e14 ? moment(at) : duration(Math.max(0, at))), severity && h("b", {}, severity), V[phase] && h("small", {}, V[phase]), h("span", {}, text));
  const SEPARATOR = "\u0000";
  const keyOf = (line) => [line[0], line[1], line[2], line[3] < 0 ? "" : shown?.execution.spans[line[3]][0], V[line[4]]].join(SEPARATOR);

  /** Log lines with a filter. Those of a page that is followed begin with the last ones, and go on until they are paused. */
  const logPanel = (isTail) => {
    let lines = [];
    let most = LOGS_AT_ONCE;
    let pausedAt = null;
    let drawn = [];
    const title = h("h3", {});
    const ordered = h("ol", { class: "logs phased", tabindex: "0", "aria-label": "log lines", onscroll: () => {
      const isAbove = ordered.scrollTop + ordered.clientHeight < ordered.scrollHeight - 24;
      if (isTail && isAbove && pausedAt === null && ordered.clientHeight) { pausedAt = lines.at(-1)?.[0] ?? 0; redraw(); }
    } });
    const level = h("select", { "aria-label": "lowest level of log lines", onchange: () => { most = LOGS_AT_ONCE; redraw(); scroll(); } },
      h("option", { value: 0 }, "all levels"), h("option", { value: 2 }, "info and above"), h("option", { value: 3 }, "warn and above"), h("option", { value: 4 }, "errors"));
    const text = h("input", { type: "search", placeholder: "Filter log lines", "aria-label": "filter log lines", spellcheck: "false", autocomplete: "off",
      oninput: () => { most = LOGS_AT_ONCE; redraw(); scroll(); } });
    const follow = button("", "follow or pause the log lines", () => {
      pausedAt = pausedAt === null ? lines.at(-1)?.[0] ?? 0 : null;
      redraw();
      scroll();
    }, { class: "follow", hidden: !isTail });
    const more = button("", isTail ? "show earlier lines" : "show more lines", () => {
      most += LOGS_AT_ONCE;
      const below = ordered.scrollHeight - ordered.scrollTop;
      if (isTail && pausedAt === null) pausedAt = lines.at(-1)?.[0] ?? 0;
      redraw();
      if (isTail) ordered.scrollTop = ordered.scrollHeight - below;
    });
    const tools = h("div", { class: "tools" }, level, text, follow);
    const none = h("p", { class: "notes" }, "No line has this level and text.");
    const element = isTail ? h("section", {}, title, tools, more, ordered, none) : h("section", {}, title, tools, ordered, more, none);

    const redraw = () => {
      const wanted = text.value.trim().toLowerCase();
      const lowest = Number(level.value);
      const upTo = pausedAt === null ? lines : lines.filter((line) => line[0] <= pausedAt);
      const kept = upTo.filter((line) => levelOf(line[1]) >= lowest && (!wanted || line[2].toLowerCase().includes(wanted) || V[line[4]].toLowerCase().includes(wanted)));
      const some = isTail ? kept.slice(-most) : kept.slice(0, most);
      const keys = some.map(keyOf);
      const gone = keys.length ? drawn.indexOf(keys[0]) : -1;
      const stay = gone >= 0 && drawn.slice(gone).every((key, place) => key === keys[place]) ? drawn.length - gone : 0;
      if (stay) for (let place = 0; place < gone; place += 1) ordered.firstChild.remove();
      else ordered.replaceChildren();
      ordered.append(...some.slice(stay).map(drawLine));
      drawn = keys;
      const hidden = kept.length - some.length;
      more.hidden = hidden <= 0;
      more.textContent = `${hidden.toLocaleString("en")} ${isTail ? "earlier" : "more"}`;
      tools.hidden = !isTail && lines.length < MANY;
      none.hidden = kept.length > 0;
      ordered.hidden = !kept.length;
      const waiting = lines.length - upTo.length;
      follow.textContent = pausedAt === null ? "Pause" : waiting ? `Follow · ${waiting.toLocaleString("en")} new` : "Follow";
      follow.setAttribute("aria-pressed", String(pausedAt === null));
    };
    const scroll = () => { if (isTail && pausedAt === null) ordered.scrollTop = ordered.scrollHeight; };
    /** Show other lines, or newer ones of the same row: then the filter, the scroll position and the pause stay. */
    const show = (found, heading, isNewer) => {
      lines = found;
      title.textContent = heading;
      if (!isNewer) {
        most = LOGS_AT_ONCE;
        pausedAt = null;
        level.value = "0";
        text.value = "";
        drawn = [];
      }
      const top = ordered.scrollTop;
      redraw();
      if (isNewer) ordered.scrollTop = top;
      else if (!isTail) ordered.scrollTop = 0;
      return element;
    };
    return { element, show, scroll };
  };
  const logs = logPanel(isFollowed);

  const drawData = (index) => {
    for (const at of selfAndAbove(index)) {
      const found = shown.execution.data[shown.rows[at][SPAN]];
      if (found) return section("Inputs and outputs", table(found.map(([way, variable, what, value]) => [`${way} ${variable} · ${what}`, value])));
    }
    return null;
  };

  const drawSpan = ([id, , attributes, resource, maker, code, events = [], links = []]) => [
    V[code] && section("Source", h("p", {}, h("code", {}, V[code]))),
    events.length && section("Events", h("ol", { class: "logs" }, events.slice(0, LOGS_AT_ONCE).map(([at, name, flat]) => h("li", {},
      h("time", {}, duration(Math.max(0, at))), h("b", {}, V[name]), h("span", {}, [...pairs(flat)].map(([key, value]) => `${key}=${written(value)}`).join(" ")))))),
    links.length && section("Links", h("ul", { class: "plain" }, links.map(([trace, span, flat]) => {
      const words = [...pairs(flat)].map(([, value]) => written(value)).join(" · ") || "span";
      const here = shown.execution.spans.findIndex((each) => each[0] === span);
      const row = here >= 0 ? shown.rowOfSpan[here] : -1;
      return h("li", {}, row >= 0 ? button(words, "show the linked span", () => reveal(row), { class: "where", "data-row": row }) : data.traceUrl ? link(filledUrl(trace, span), words) : words, " ", h("code", {}, span));
    }))),
    section("Attributes", table(pairs(attributes)),
      h("details", {}, h("summary", {}, "Resource and identity"), table([["span", id], ["instrumentation", V[maker]], ...pairs(V[resource])]))),
  ].filter(Boolean);

  const hide = () => { document.body.classList.remove("asked"); grid.focus({ preventScroll: true }); };

  // --- pointer and keyboard -----------------------------------------------------------------------------------------

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
  axis.addEventListener("pointerdown", (event) => {
    const box = axis.getBoundingClientRect();
    const at = (each) => view[0] + (view[1] - view[0]) * Math.max(0, Math.min(1, (each.clientX - box.left) / box.width));
    const from = at(event);
    axis.setPointerCapture(event.pointerId);
    axis.addEventListener("pointerup", (last) => {
      const to = at(last);
      if (Math.abs(to - from) > 0.01 * (view[1] - view[0])) setView(Math.min(from, to), Math.max(from, to));
    }, { once: true });
  });
  list.addEventListener("wheel", (event) => {
    if (!(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    const box = axis.getBoundingClientRect();
    const at = view[0] + (view[1] - view[0]) * Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
    zoom(event.deltaY > 0 ? 1.25 : 0.8, at);
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
    "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), 0: () => setView(0, 1), f: fit, t: turn,
    "/": () => { search.focus(); search.select(); }, "?": () => help.showModal(), Escape: escape,
  };
  addEventListener("keydown", (event) => {
    if (!shown || help.open || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, select, textarea, button, a, summary") && event.key !== "Escape" && !["j", "k", "/", "?"].includes(event.key)) return;
    if (event.target.matches("input, select, textarea")) return;
    if (event.target.closest(".details") && event.key.startsWith("Arrow")) return;
    const act = KEYS[event.key];
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

  // --- begin --------------------------------------------------------------------------------------------------------

  const show = (number) => {
    shown = grown(data.executions[number]);
    view = [0, 1];
    drawHeader();
    drawErrors();
    arrange();
    // The first visible error is selected, else the first row with usage, else the first failed attempt.
    const failed = shown.execution.errors.length ? [...selfAndAbove(shown.execution.errors[0][0])].find((index) => places.has(index)) : undefined;
    const measured = Object.keys(shown.execution.charts).map((span) => shown.rowOfSpan[span]).filter((row) => places.has(row))
      .sort((a, b) => (shown.rows[b][TOOK] ?? Infinity) - (shown.rows[a][TOOK] ?? Infinity))[0];
    const unfinished = shown.rows.findIndex((row) => V[row[ROLE]] === "attempt" && row[SPAN] >= 0 && BAD.has(V[row[RESULT]]));
    selected = failed ?? measured ?? (places.has(unfinished) ? unfinished : 0);
    refresh();
    select(selected, false);
  };

  try {
    const theme = localStorage.getItem("otel-flyte-theme");
    if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  } catch { /* the system's theme is used */ }

  const outsideLogs = logPanel(isFollowed);
  const drawOutside = (isNewer) => {
    renew(outside, data.logs.length ? outsideLogs.show(data.logs, `Logs outside of what is shown · ${counted(data.logs.length, "line")}`, isNewer) : null);
    outsideLogs.scroll();
  };
  const begin = () => {
    const remarks = data.remarks.length ? h("section", { class: "remarks", "aria-label": "remarks" }, data.remarks.map((remark) => h("p", {}, remark))) : null;
    drawOutside(false);
    if (!data.executions.length) {
      app.replaceChildren(...[h("header", {}, h("div", { class: "title" }, h("h1", {}, "Nothing is recorded"))), remarks, outside].filter(Boolean));
    } else {
      app.replaceChildren(...[header, remarks, errors, main, outside, help].filter(Boolean));
      show(0);
      grid.focus({ preventScroll: true });
    }
    document.documentElement.dataset.ready = "";
  };

  // --- newer data ---------------------------------------------------------------------------------------------------

  /** A name for each row that stays when rows are added: the id of its span, else its label below that of its parent. */
  const namesOf = ({ rows, parents, execution }) => {
    const counts = new Map();
    const names = [];
    rows.forEach((row, index) => {
      if (index === 0) { names.push("top"); return; }
      if (row[SPAN] >= 0) { names.push(execution.spans[row[SPAN]][0]); return; }
      const name = `${names[parents[index]]}/${V[row[LABEL]]}`;
      counts.set(name, (counts.get(name) || 0) + 1);
      names.push(`${name}/${counts.get(name)}`);
    });
    return names;
  };

  /** The first row below the tools of the timeline and its place on the screen, while the page is scrolled. */
  const anchorOf = (names) => {
    if (scrollY === 0) return null;
    const top = list.getBoundingClientRect().top;
    const place = Math.max(0, Math.ceil((toolbar.offsetHeight + heads.offsetHeight - top) / height));
    return place < visible.length ? [names[visible[place]], top + place * height] : null;
  };

  const update = (next) => {
    if (!shown || !next.executions.length) { data = next; V = data.values; begin(); return; }
    const before = shown;
    const names = namesOf(before);
    const chosen = [...selfAndAbove(selected)].map((index) => names[index]);
    const anchor = anchorOf(names);
    const opened = new Map(names.map((name, index) => [name, before.children[index] === null ? null : before.open[index]]));
    const [from, to] = view.map((share) => before.execution.start + share * before.execution.length);
    const isWhole = view[0] === 0 && view[1] === 1;
    const sideTop = side.scrollTop;
    data = next;
    V = data.values;
    const same = data.executions.findIndex((each) => each.traces.some((trace) => before.execution.traces.includes(trace)));
    shown = grown(data.executions[Math.max(0, same)]);
    const places = new Map(namesOf(shown).map((name, index) => [name, index]));
    for (const [name, index] of places) {
      const was = opened.get(name);
      if (was !== undefined && was !== null && shown.children[index] !== null) shown.open[index] = was;
    }
    selected = places.get(chosen.find((name) => places.has(name))) ?? 0;
    const { start, length } = shown.execution;
    if (!isWhole) view = [from, to].map((at) => Math.min(1, Math.max(0, (at - start) / Math.max(1, length))));
    drawHeader();
    drawErrors();
    drawOutside(true);
    refresh(true);
    drawDetails(selected, true);
    side.scrollTop = sideTop;
    const index = anchor && places.get(anchor[0]);
    const place = anchor ? visible.indexOf(index) : -1;
    if (place >= 0) {
      const moved = list.getBoundingClientRect().top + place * height - anchor[1];
      if (Math.abs(moved) >= 1) { scrollBy({ top: moved, behavior: "instant" }); paint(); }
    }
  };

  begin();
  return update;
};

const unpacked = (text) => {
  const compressed = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at += 1) compressed[at] = text.charCodeAt(at);
  return new Response(new Blob([compressed]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
};

(async () => {
  const element = document.getElementById("data");
  // The server's page fetches its data: see live.js.
  if (element === null) return;
  if (element.type === "application/json") { draw(JSON.parse(element.textContent)); return; }
  if (typeof DecompressionStream === "undefined") {
    document.getElementById("app").textContent = "This browser can't decompress the page: open it in one of 2023 or later.";
    return;
  }
  const text = atob(element.textContent);
  element.remove();
  draw(await unpacked(text));
})();
