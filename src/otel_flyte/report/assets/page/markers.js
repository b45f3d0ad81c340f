/** Incidents of an attempt: OOM kills, throttling, signals. */
const markersOf = (index) => shown.execution.markers[shown.rows[index][SPAN]] || [];

const toneOfMarker = ([kind]) => ({ "OOM-killed": "oom", throttled: "throttled" }[kind] || "signal");
const whenOf = ([, begin, end], start) => (end === null ? `after ${duration(begin - start)}` : `from ${duration(begin - start)} to ${duration(end - start)}`);

const drawMarkers = (index) => markersOf(index).map((marker) => {
  const [, begin, end, words] = marker;
  const element = h("b", { class: `marker ${toneOfMarker(marker)}${end === null ? " moment" : ""}`, title: `${words}, ${whenOf(marker, shown.rows[index][START])}` });
  placeBar(element, begin, end ?? begin, "");
  return element;
});

/** The markers of a chart: a line for a moment, a strip on the axis for a stretch of time. */
const chartMarkers = (markers, start, x, [top, bottom]) => markers.map((marker) => {
  const [, begin, end, words] = marker;
  const [from, to] = [begin, end ?? begin].map((at) => Number(x(Math.max(0, at - start) / 1e6)));
  const title = s("title", {}, `${words}, ${whenOf(marker, start)}`);
  if (end !== null) return s("rect", { class: `marker ${toneOfMarker(marker)}`, x: from, y: bottom - 3, width: Math.max(1.5, to - from).toFixed(1), height: 3 }, title);
  return s("g", { class: `marker ${toneOfMarker(marker)}` }, title,
    s("line", { x1: from, x2: from, y1: top, y2: bottom }), s("path", { d: `M${from - 4} ${top}h8l-4 6Z` }));
});

const markersAt = (markers, start, seconds, near) => markers.filter(([, begin, end]) => {
  const [from, to] = [begin, end ?? begin].map((at) => (at - start) / 1e6);
  return from - (end === null ? near : 0) <= seconds && seconds <= to + (end === null ? near : 0);
}).map(([, , , words]) => words);

const drawIncidents = (index) => {
  const found = markersOf(index);
  return found.length ? h("ul", { class: "incidents", "aria-label": "incidents" }, found.map((marker) =>
    h("li", { class: toneOfMarker(marker) }, `${marker[3]}, ${whenOf(marker, shown.rows[index][START])}`))) : null;
};
