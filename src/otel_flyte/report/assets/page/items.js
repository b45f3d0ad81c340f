/** The panel of a group, such as a map: how long its members took, which were slow, and a list of all of them. */
const ITEMS_AT_ONCE = 20;
const STRAGGLERS_AT_ONCE = 6;
const DRAWN_FROM = 5;

/** What is chosen in the panel; it stays while newer data of the same row come. */
const FIRST_CHOICE = { key: "index", isDown: false, state: "", bin: -1, page: 0 };
let choice = { ...FIRST_CHOICE };
let grouping = null;

/** The members of the selected group with what the list shows of them. */
const membersOf = (of) => shown.children[of].map((at, place) => {
  const row = shown.rows[at];
  const { index, attempts, memory, cores } = grouping;
  return {
    at, index: index[place] ?? null, attempts: attempts[place] ?? 1, memory: memory[place] ?? null, cores: cores[place] ?? null,
    state: resultOf(row), time: row[SUM] ?? row[TOOK], share: shown.shares[at], label: V[row[LABEL]],
  };
});

const COLUMNS = [
  { key: "index", head: "#", title: "index", value: (member) => member.index ?? member.at, text: (member) => (grouping.noun === "item" && member.index !== null ? String(member.index) : member.label) },
  { key: "attempts", head: "Tries", title: "number of attempts", value: (member) => member.attempts, text: (member) => String(member.attempts), isShown: (members) => members.some((member) => member.attempts > 1) && grouping.noun !== "attempt" },
  { key: "time", head: "Took", title: "duration, of several attempts the sum", value: (member) => member.time, text: (member) => (member.time === null ? member.state : duration(member.time)) },
  { key: "memory", head: "Memory", title: "peak of the memory, and its share of the limit", value: (member) => member.memory, text: (member) => (member.memory === null ? "" : bytes(member.memory) + (member.share === null ? "" : ` · ${percent(member.share)}`)), isShown: (members) => members.some((member) => member.memory !== null) },
  { key: "cores", head: "CPU", title: "mean cores in use", value: (member) => member.cores, text: (member) => (member.cores === null ? "" : figure(member.cores)), isShown: (members) => members.some((member) => member.cores !== null) },
];
/** Whether durations differ by more than a hundredth. */
const hasSpread = (ended) => ended.some((member) => Math.abs(member.time - grouping.median) > 0.01 * grouping.median);
const stateOrder = (member) => STATES.indexOf(member.state);

const choose = (changes) => {
  choice = { ...choice, page: 0, ...changes };
  redrawItems();
};

const openMember = (row) => {
  reveal(row);
  grid.focus({ preventScroll: true });
};

const itemsPanel = h("section", { class: "items" });
const drawItems = (index, isNewer) => {
  const above = shown.parents[index];
  if (!isNewer) choice = { ...FIRST_CHOICE };
  grouping = shown.execution.groups[index] || null;
  const up = above >= 0 && shown.execution.groups[above];
  const crumb = up ? h("p", {}, button(`‹ ${V[shown.rows[above][LABEL]]} · ${counted(up.count, up.noun)}`, "go to the group", () => reveal(above), { class: "where", "data-row": above })) : null;
  if (!grouping) return [crumb];
  itemsPanel.dataset.group = index;
  redrawItems();
  return [crumb, itemsPanel];
};

const redrawItems = () => {
  const index = Number(itemsPanel.dataset.group);
  const members = membersOf(index);
  const ended = members.filter((member) => member.time !== null);
  const bins = ended.length >= DRAWN_FROM && hasSpread(ended) ? binsOf(ended.map((member) => member.time)) : null;
  const isKept = (member) => (!choice.state || member.state === choice.state)
    && (choice.bin < 0 || !bins || (member.time !== null && bins.bin(member.time) === choice.bin));
  renew(itemsPanel,
    h("h3", {}, counted(members.length, grouping.noun)),
    drawStates(members), drawSummary(index, ended),
    bins && drawHistogram(ended.map((member) => [member.time, member.state]), grouping.noun,
      [[grouping.median, "median"], ...(grouping.stragglers?.length ? [[grouping.threshold, "stragglers"]] : [])],
      choice.bin, (bin) => choose({ bin: choice.bin === bin ? -1 : bin })),
    drawStragglers(), ...drawList(members.filter(isKept), members));
};

const drawStates = (members) => {
  const counts = new Map(STATES.map((state) => [state, 0]));
  for (const { state } of members) counts.set(state, (counts.get(state) || 0) + 1);
  return h("p", { class: "states" }, [...counts].filter(([, count]) => count).map(([state, count]) =>
    button([h("span", { class: `mark ${state.replace(" ", "-")}`, "aria-hidden": "true" }, MARKS[state] || "·"), ` ${state} ${count.toLocaleString("en")}`],
      `list only: ${state}`, () => choose({ state: choice.state === state ? "" : state }), { "aria-pressed": String(choice.state === state) })));
};

const drawSummary = (index, ended) => {
  const row = shown.rows[index];
  const times = ended.map((member) => member.time).sort((a, b) => a - b);
  const text = (time) => (time === null || time === undefined ? "–" : duration(time));
  const lines = [
    ["wall time", text(row[WALL]), `the time in which at least one ${grouping.noun} ran`],
    ["sum", text(row[SUM]), `the durations of all ${grouping.noun}s`],
    ["median", text(grouping.median)],
    ["95 of 100 within", text(times[Math.min(times.length - 1, Math.floor(0.95 * times.length))])],
    ["slowest", text(times.at(-1))],
  ];
  if (shown.shares[index] !== null) lines.push(["largest peak", `${percent(shown.shares[index])} of the limit`, "the largest peak of the memory"]);
  lines.push(["first start to last end", text(row[TOOK]), `with the time in which no ${grouping.noun} ran`]);
  return h("table", { class: "spread" }, h("tbody", {}, lines.map(([name, value, title]) => h("tr", { title }, h("th", { scope: "row" }, name), h("td", {}, value)))));
};

const drawStragglers = () => {
  const found = grouping.stragglers ?? [];
  if (!found.length) return null;
  const more = found.length - STRAGGLERS_AT_ONCE;
  return h("div", { class: "stragglers" },
    h("h4", { title: `took more than ${duration(grouping.threshold)}: 1.5 times the median, and an outlier` }, counted(found.length, "straggler")),
    h("ol", {}, found.slice(0, STRAGGLERS_AT_ONCE).map(([row, extra, reason]) => h("li", {},
      button(V[shown.rows[row][LABEL]], "show it", () => openMember(row), { class: "where", "data-row": row }),
      ` took ${duration(extra)} longer than the median${reason ? `, in ${reason}` : ""}`))),
    more > 0 && h("p", { class: "notes" }, `and ${more.toLocaleString("en")} more above ${duration(grouping.threshold)}`));
};

const sorted = (members) => {
  const { value } = COLUMNS.find((column) => column.key === choice.key) || { value: stateOrder };
  const sign = choice.isDown ? -1 : 1;
  // Unknown values come last in both directions.
  return [...members].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null) return (x === null) - (y === null) || a.at - b.at;
    return sign * (x - y) || a.at - b.at;
  });
};

const drawList = (kept, members) => {
  const pages = Math.max(1, Math.ceil(kept.length / ITEMS_AT_ONCE));
  choice.page = Math.max(0, Math.min(choice.page, pages - 1));
  const first = choice.page * ITEMS_AT_ONCE;
  const columns = COLUMNS.filter((column) => !column.isShown || column.isShown(members));
  const head = ({ key, head: text, title }) => h("th", { scope: "col", "aria-sort": choice.key === key ? (choice.isDown ? "descending" : "ascending") : null, class: key },
    button(`${text}${choice.key === key ? (choice.isDown ? " ↓" : " ↑") : ""}`, `sort by ${title}`, () => choose({ key, isDown: choice.key === key ? !choice.isDown : key !== "index" })));
  const line = (member) => h("tr", { onclick: () => openMember(member.at), "data-row": member.at },
    h("td", { class: "result" }, h("span", { class: `mark ${member.state.replace(" ", "-")}`, role: "img", "aria-label": member.state }, MARKS[member.state] || "·")),
    columns.map((column, at) => h("td", { class: column.key }, at ? column.text(member) : h("button", { type: "button", class: "where", "aria-label": `open ${member.label}` }, column.text(member)))));
  const turned = (by) => () => choose({ page: choice.page + by });
  const stateHead = { key: "result", head: "", title: "result" };
  return [
    h("div", { class: "list", onkeydown: walk }, h("table", {}, h("thead", {}, h("tr", {}, head(stateHead), columns.map(head))),
      h("tbody", {}, sorted(kept).slice(first, first + ITEMS_AT_ONCE).map(line)))),
    h("p", { class: "pager" },
      h("span", { role: "status" }, kept.length ? `${(first + 1).toLocaleString("en")} to ${Math.min(kept.length, first + ITEMS_AT_ONCE).toLocaleString("en")} of ${kept.length.toLocaleString("en")}` : `No ${grouping.noun} has this state and duration`),
      (choice.state || choice.bin >= 0) && button("Show all", "without the filter of state and duration", () => choose({ state: "", bin: -1 })),
      pages > 1 && [button("‹", "previous page", turned(-1), { disabled: choice.page === 0 }), button("›", "next page", turned(1), { disabled: choice.page === pages - 1 })]),
  ];
};

/** The arrow keys go through the list, and from page to page. */
const walk = (event) => {
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!by) return;
  event.preventDefault();
  const rows = [...itemsPanel.querySelectorAll(".list tbody .where")];
  const next = rows.indexOf(document.activeElement) + by;
  if (rows[next]) { rows[next].focus(); return; }
  const before = choice.page;
  if (next < 0 && before === 0) return;
  choose({ page: before + by });
  const fresh = [...itemsPanel.querySelectorAll(".list tbody .where")];
  if (choice.page !== before) (by > 0 ? fresh[0] : fresh.at(-1))?.focus();
};
