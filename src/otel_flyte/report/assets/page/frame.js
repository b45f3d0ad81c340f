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
const critical = button("Critical path", "show only the bars that determined the end (c)", () => {
  const isOn = grid.classList.toggle("path-only");
  critical.setAttribute("aria-pressed", String(isOn));
}, { "aria-pressed": "false", class: "critical" });
const toolbar = h("div", { class: "toolbar", role: "toolbar", "aria-label": "timeline" },
  search, tally, problems, critical, ordering,
  h("span", { class: "zoom" },
    button("−", "zoom out (-)", () => zoom(2)), button("+", "zoom in (+)", () => zoom(0.5)), button("Fit", "the whole time (0)", () => setView(0, 1))));
const heads = h("div", { class: "heads", role: "row" },
  h("span", { role: "columnheader" }, "What"), h("span", { role: "columnheader", class: "number" }, "Took"),
  h("span", { role: "columnheader", class: "number", title: "peak of the memory, as a share of the limit" }, "Memory"), axis);
const grid = h("div", { class: "grid", role: "treegrid", tabindex: "0", "aria-label": "timeline" }, h("div", { class: "ticks", "aria-hidden": "true" }, h("span", {})), heads, list);
const wholeContent = h("div", {});
const legend = h("span", { class: "legend" }, h("span", { class: "reserved" }, "reserved"), h("span", { class: "used" }, "used"));
const whole = h("details", { class: "whole", open: true, "aria-label": "whole run" }, h("summary", {}, "Whole run", legend), wholeContent);
const header = h("header", {});
const errors = h("section", { class: "errors", "aria-label": "errors" });
const remarks = h("section", { class: "remarks", role: "status", "aria-label": "remarks" });
const outside = h("section", { class: "outside" });
const main = h("main", {}, h("section", { class: "timeline" }, toolbar, whole, grid), side);
const help = h("dialog", { "aria-label": "keyboard" },
  h("h2", {}, "Keyboard"),
  h("dl", {}, [
    ["j  k  ↓  ↑", "next, previous row"], ["→  l", "open, or go into"], ["←  h", "close, or go to what it is in"],
    ["Enter", "details; opens a roll-up"], ["/", "search; Enter goes to the next match"], ["n  N", "next, previous match or error"],
    ["+  −  0", "zoom in, out, all"], ["f", "zoom to the selected row"], ["Shift+←  Shift+→", "move to earlier, later times"], ["drag", "zoom to a range of the axis, the bars or the lanes; a double click shows all"],
    ["c", "only the critical path"], ["Home  End", "first, last row"], ["t", "light or dark"], ["Esc", "close, clear"],
  ].map(([keys, what]) => [h("dt", {}, keys.split("  ").map((key) => h("kbd", {}, key))), h("dd", {}, what)])),
  h("form", { method: "dialog" }, h("button", {}, "Close")));
