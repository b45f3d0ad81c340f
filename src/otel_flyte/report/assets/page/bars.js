/** The bar of a row with its name inside or beside it, where there is room. */
const FRINGE = 12;
const pen = document.createElement("canvas").getContext("2d");
pen.font = '500 11px system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif';
const widths = new Map();
const widthOf = (text) => {
  if (!widths.has(text)) {
    if (widths.size > 5000) widths.clear();
    widths.set(text, pen.measureText(short(text, 200)).width + FRINGE);
  }
  return widths.get(text);
};

/** The width of the lanes in pixels, 0 where bars are too low for a name. */
let laneWidth = 0;
const measureLanes = () => { laneWidth = matchMedia("(max-width: 700px)").matches ? 0 : axis.clientWidth; };

/** The place of a time in the view: 0 at its left edge, 1 at its right one. */
const inView = (at) => (at / Math.max(1, shown.execution.length) - view[0]) / (view[1] - view[0]);

/** Give a bar its place, and its name where that fits inside; return its edges, null where it is out of view. */
const placeBar = (bar, begin, end, text, isFilled = false) => {
  const [left, right] = [inView(begin), inView(end)];
  if (right < 0 || left > 1) { bar.hidden = true; return null; }
  const edges = [Math.max(0, left), Math.max(0, Math.min(1, right))];
  bar.style.left = `${100 * Math.min(1, edges[0])}%`;
  bar.style.width = `${100 * (edges[1] - edges[0])}%`;
  const room = laneWidth * (edges[1] - edges[0]);
  if (text && room >= (isFilled ? Math.min(widthOf(text), 44) : widthOf(text))) bar.append(h("span", { class: "caption", "aria-hidden": "true" }, short(text, 200)));
  return edges;
};

/** Return the name beside a bar that has no room for it: after it, else before it. */
const besideBar = ([left, right], text) => {
  const wanted = widthOf(text);
  if (laneWidth * (right - left) >= wanted) return null;
  const isAfter = laneWidth * (1 - right) >= wanted;
  if (!isAfter && laneWidth * left < wanted) return null;
  const label = h("span", { class: "caption beside", "aria-hidden": "true" }, short(text, 200));
  if (isAfter) label.style.left = `${100 * right}%`;
  else label.style.right = `${100 * (1 - left)}%`;
  return label;
};

const drawLane = (index) => {
  const row = shown.rows[index];
  const bar = h("i", { class: `time-bar ${toneOf(row)}` });
  const edges = placeBar(bar, row[START], row[TOOK] === null ? shown.execution.length : row[START] + row[TOOK], V[row[LABEL]]);
  if (edges && isRollUp(index)) drawRunning(bar, index);
  return h("span", { role: "gridcell", class: pathOfShown().isOn[index] ? "lane on-path" : "lane" }, bar,
    edges && laneWidth ? besideBar(edges, V[row[LABEL]]) : null, drawMarkers(index));
};
