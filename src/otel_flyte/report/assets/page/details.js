const section = (title, ...content) => h("section", {}, h("h3", {}, title), ...content);

const pairs = function* (flat) {
  for (let at = 0; at < flat.length; at += 2) yield [V[flat[at]], V[flat[at + 1]]];
};

const table = (entries) => h("table", { class: "attributes" }, h("tbody", {}, [...entries].map(([key, value]) => {
  const text = inUnits(key, value);
  return h("tr", {}, h("th", { scope: "row" }, key),
    h("td", { title: text === null ? null : exactly(key, value) }, text ?? written(value), copyButton(written(value), `copy the value of ${short(key, 80)}`)));
})));

const drawDetails = (index, isNewer = false) => {
  const { execution, rows, ends } = shown;
  const row = rows[index];
  const span = row[SPAN] >= 0 ? execution.spans[row[SPAN]] : null;
  const parts = [];
  const close = button("×", "close (Esc)", hide, { class: "close" });
  parts.push(h("div", { class: "heading" }, h("h2", {}, V[row[LABEL]]), badge(resultOf(row)), close));
  const ids = span ? [["span id", span[0]], ["trace id", execution.traces[span[1]]]] : [];
  const above = shown.parents[index] >= 0 ? rows[shown.parents[index]] : null;
  const whole = above && (above[SUM] ?? above[TOOK]);
  const share = whole && row[TOOK] !== null && row[SUM] === null ? row[TOOK] / whole : null;
  parts.push(h("p", { class: "facts" },
    [V[row[ROLE]], took(row), row[START] > 0 && `began after ${duration(row[START])}`, slackInWords(index), share !== null && share < 1 && `${percent(share)} of ${V[rows[shown.parents[index]][LABEL]]}`]
      .filter(Boolean).map((fact) => h("span", {}, fact)),
    h("span", { class: "copies" }, "copy", copyLink(index), ids.map(([name, id]) => copyChip(name, id)))));
  if (notesOf(row)) parts.push(h("p", { class: "notes" }, notesOf(row)));
  if (span && data.traceUrl) parts.push(h("p", {}, link(filledUrl(execution.traces[span[1]], span[0]), "Open in the trace")));
  parts.push(...drawItems(index, isNewer), ...drawOwnErrors(index), ...drawUsage(index), drawLogs(index, isNewer), drawData(index));
  if (span) parts.push(...drawSpan(span));
  const drawn = parts.filter(Boolean);
  // The listeners of a part know its row.
  for (const part of drawn) if (part !== logs.element && part !== itemsPanel) part.dataset.row = index;
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

const drawUsage = (index) => {
  for (const at of selfAndAbove(index)) {
    const found = shown.execution.charts[shown.rows[at][SPAN]];
    const incidents = drawIncidents(at);
    if (!found && !incidents) continue;
    const [charts, bars] = found || [[], []];
    const of = at === index ? "" : ` of ${V[shown.rows[at][LABEL]]}`;
    return [section(`Usage${of}`, charts.map((chart) => drawChart(chart, markersOf(at), shown.rows[at][START])), incidents, bars.length ? drawBars(bars) : null)];
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

const logs = logPanel(isFollowed);

const drawData = (index) => {
  for (const at of selfAndAbove(index)) {
    const found = shown.execution.data[shown.rows[at][SPAN]];
    if (found) return section("Inputs and outputs", table(found.map(([way, variable, what, value]) => [`${way} ${variable} · ${what}`, value])));
  }
  return null;
};

const drawSpan = ([id, trace, attributes, resource, maker, code, events = [], links = []]) => [
  V[code] && section("Source", h("p", {}, h("code", {}, V[code]))),
  events.length && section("Events", h("ol", { class: "logs" }, events.slice(0, LOGS_AT_ONCE).map(([at, name, flat]) => h("li", {},
    h("time", {}, duration(Math.max(0, at))), h("b", {}, V[name]), h("span", {}, [...pairs(flat)].map(([key, value]) => `${key}=${written(value)}`).join(" ")))))),
  links.length && section("Links", h("ul", { class: "plain" }, links.map(([linked, span, flat]) => {
    const words = [...pairs(flat)].map(([, value]) => written(value)).join(" · ") || "span";
    const here = shown.execution.spans.findIndex((each) => each[0] === span);
    const row = here >= 0 ? shown.rowOfSpan[here] : -1;
    return h("li", {}, row >= 0 ? button(words, "show the linked span", () => reveal(row), { class: "where", "data-row": row }) : data.traceUrl ? link(filledUrl(linked, span), words) : words, " ", h("code", {}, span));
  }))),
  section("Attributes", table(pairs(attributes)),
    h("details", {}, h("summary", {}, "Resource and identity"), table([["span", id], ["trace", shown.execution.traces[trace]], ["instrumentation", V[maker]], ...pairs(V[resource])]))),
].filter(Boolean);

const hide = () => { document.body.classList.remove("asked"); grid.focus({ preventScroll: true }); };
