/** The selected row, the filters and the zoom are in the fragment of the address, which can be kept and sent. */
const ORDERS = Object.keys(BY);

/** A row without a span of its own, such as a map, is so many levels up from the first span below it. */
const addressOf = (index) => {
  let at = index;
  while (shown.rows[at][SPAN] < 0 && shown.children[at]) at = shown.children[at][0];
  const found = new URLSearchParams();
  if (shown.rows[at][SPAN] >= 0) found.set("span", shown.execution.spans[shown.rows[at][SPAN]][0]);
  if (at !== index) found.set("up", shown.rows[at][DEPTH] - shown.rows[index][DEPTH]);
  if (query) found.set("search", query);
  if (onlyBad) found.set("problems", "1");
  if (order !== "start") found.set("order", order);
  const [from, to] = view.map((share) => Math.round(share * shown.execution.length) / 1e6);
  if (view[0] > 0 || view[1] < 1) { found.set("from", from); found.set("to", to); }
  return `#${found}`;
};

let due = 0;
/** Write the address a moment later: browsers refuse to do it often. */
const keepAddress = () => {
  clearTimeout(due);
  if (isChosen) due = setTimeout(() => { try { history.replaceState(history.state, "", addressOf(selected)); } catch { /* a deck has no address of its own */ } }, 250);
};

/** Select the row of an address, with its filters and zoom; return whether it is there. */
const goTo = (fragment) => {
  const wanted = new URLSearchParams(fragment.slice(1));
  const id = wanted.get("span");
  const number = id ? data.executions.findIndex((execution) => execution.spans.some((span) => span[0] === id)) : -1;
  if (number < 0) return false;
  if (data.executions[number] !== shown.execution) show(number);
  let index = shown.rowOfSpan[shown.execution.spans.findIndex((span) => span[0] === id)];
  for (let up = Number(wanted.get("up")) || 0; up > 0 && shown.parents[index] >= 0; up -= 1) index = shown.parents[index];
  search.value = query = wanted.get("search") || "";
  onlyBad = wanted.get("problems") === "1";
  problems.setAttribute("aria-pressed", String(onlyBad));
  ordering.value = order = ORDERS.includes(wanted.get("order")) ? wanted.get("order") : "start";
  const [from, to] = ["from", "to"].map((name) => (Number(wanted.get(name)) * 1e6) / Math.max(1, shown.execution.length));
  const width = Math.min(1, Math.max(to - from, 1e-6));
  view = to > from ? [Math.min(Math.max(0, from), 1 - width), Math.min(Math.max(0, from), 1 - width) + width] : [0, 1];
  reveal(index);
  viewWhole();
  return true;
};
addEventListener("hashchange", () => { if (shown) goTo(location.hash); });
