/** The row that is selected until the user selects another: the first visible error, else the longest with usage, else the first failed attempt. */
const preferred = () => {
  const failed = shown.execution.errors.length ? [...selfAndAbove(shown.execution.errors[0][0])].find((index) => places.has(index)) : undefined;
  const measured = Object.keys(shown.execution.charts).map((span) => shown.rowOfSpan[span]).filter((row) => places.has(row))
    .sort((a, b) => (shown.rows[b][TOOK] ?? Infinity) - (shown.rows[a][TOOK] ?? Infinity))[0];
  const unfinished = shown.rows.findIndex((row) => V[row[ROLE]] === "attempt" && row[SPAN] >= 0 && BAD.has(V[row[RESULT]]));
  return failed ?? measured ?? (places.has(unfinished) ? unfinished : 0);
};

const show = (number) => {
  shown = grown(data.executions[number]);
  view = [0, 1];
  isChosen = false;
  drawHeader();
  drawErrors();
  arrange();
  selected = preferred();
  refresh();
  drawWhole();
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
const drawRemarks = () => renew(remarks, data.remarks.map((remark) => h("p", {}, remark)));
const begin = () => {
  drawRemarks();
  drawOutside(false);
  if (!data.executions.length) {
    app.replaceChildren(h("header", {}, h("div", { class: "title" }, h("h1", {}, "Nothing is recorded"))), remarks, outside);
  } else {
    app.replaceChildren(header, remarks, errors, main, outside, help);
    show(0);
    goTo(location.hash);
    grid.focus({ preventScroll: true });
  }
  document.documentElement.dataset.ready = "";
};
