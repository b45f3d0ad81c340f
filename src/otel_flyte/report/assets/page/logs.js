const LOGS_AT_ONCE = 400;

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
