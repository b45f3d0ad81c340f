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
      h("span", {}, "trace ", h("code", {}, trace), trace && copyButton(trace, "copy the trace id"), execution.traces.length > 1 ? ` and ${execution.traces.length - 1} more` : "")));
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
