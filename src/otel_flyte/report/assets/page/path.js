/** The critical path of the shown execution: which rows are on it, and the slack of the others. */
const pathOfShown = () => {
  if (shown.path) return shown.path;
  const { rows, slacks } = shown.execution.path;
  const isOn = new Uint8Array(shown.rows.length);
  for (let at = 0; at < rows.length; at += 2) {
    for (let index = rows[at]; index < rows[at] + rows[at + 1]; index += 1) {
      for (const above of selfAndAbove(index)) {
        if (isOn[above]) break;
        isOn[above] = 1;
      }
    }
  }
  const own = new Map();
  for (let at = 0; at < slacks.length; at += 2) own.set(slacks[at], slacks[at + 1]);
  shown.path = { isOn, own };
  return shown.path;
};

/** The time by which a row could have ended later without a later end of the execution; that of a group is its smallest. */
const slackOf = (index) => {
  const { isOn, own } = pathOfShown();
  if (isOn[index]) return 0;
  const members = shown.rows[index][SPAN] < 0 ? shown.children[index] || [] : [];
  const least = members.length ? members.reduce((most, member) => Math.min(most, own.get(member) || 0), Infinity) : 0;
  return [...selfAndAbove(index)].reduce((sum, above) => sum + (own.get(above) || 0), least);
};

const slackInWords = (index) => {
  if (pathOfShown().isOn[index]) return "on the critical path";
  const slack = slackOf(index);
  return slack ? `slack ${duration(slack)}` : "no slack";
};

const nameOfPart = (part) => part[4];
const shareOfPart = ([, begin, end]) => percent((end - begin) / Math.max(1, shown.execution.length));

const drawStrip = () => shown.execution.path.parts.map((part) => {
  const [row, begin, end, isWaiting] = part;
  const element = h("i", {
    class: isWaiting ? "waiting" : toneOf(shown.rows[row]), title: `${nameOfPart(part)} · ${duration(end - begin)} · ${shareOfPart(part)} of the whole`, "data-row": row,
  });
  placeBar(element, begin, end, isWaiting ? "" : V[shown.rows[row][LABEL]], true);
  return element;
});

/** The longest parts, as `otel-flyte show` has them: they are coarser than those of the strip. */
const pathInWords = () => shown.execution.path.longest.slice(0, 2)
  .map(([name, time]) => `${percent(time / Math.max(1, shown.execution.length))} ${short(name, 40)}`).join(" · ");

const drawParts = () => h("details", { class: "parts" }, h("summary", {}, counted(shown.execution.path.parts.length, "part")),
  h("table", {}, h("thead", {}, h("tr", {}, ["Part", "Took", "Share"].map((head) => h("th", { scope: "col" }, head)))),
    h("tbody", {}, shown.execution.path.parts.map((part) => h("tr", {},
      h("th", { scope: "row" }, button(nameOfPart(part), "show the row", () => { reveal(part[0]); grid.focus({ preventScroll: true }); }, { class: "where", "data-row": part[0] }),
        part[3] ? h("small", {}, ` in ${V[shown.rows[part[0]][LABEL]]}`) : null),
      h("td", {}, duration(part[2] - part[1])), h("td", {}, shareOfPart(part)))))));
