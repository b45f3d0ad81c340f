const ceiling = (value) => {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10].find((factor) => power * factor >= value);
};

const drawChart = (chart, markers, start) => {
  const [W, H, LEFT, RIGHT, TOP, BOTTOM] = [420, 140, 42, 6, 8, 26];
  const known = chart.curves.flatMap(([, values, maxima]) => [...values, ...maxima]).filter((value) => value !== null);
  const top = ceiling(Math.max(chart.peak || 0, ...known));
  const seconds = Math.max(chart.seconds, 1e-3);
  const x = (at) => (LEFT + (W - LEFT - RIGHT) * Math.min(1, at / seconds)).toFixed(1);
  const y = (value) => (TOP + (H - TOP - BOTTOM) * (1 - value / top)).toFixed(1);
  const path = (values) => {
    let drawn = "";
    let isOn = false;
    values.forEach((value, index) => {
      if (value === null) { isOn = false; return; }
      // The last value stands for the rest, too.
      const rest = index === values.length - 1 && seconds - (index + 1) * chart.step < chart.step;
      const end = values.length === 1 || rest ? seconds : (index + 1) * chart.step;
      drawn += isOn ? `V${y(value)}H${x(end)}` : `M${x(values.length === 1 ? 0 : index * chart.step)} ${y(value)}H${x(end)}`;
      isOn = true;
    });
    return drawn;
  };
  const band = (values, maxima) => maxima.map((largest, index) => (largest === null || values[index] === null || largest <= values[index] ? ""
    : `M${x(index * chart.step)} ${y(values[index])}V${y(largest)}H${x((index + 1) * chart.step)}V${y(values[index])}Z`)).join("");
  const tick = ([at, text]) => [s("line", { class: "grid-line", x1: x(at), x2: x(at), y1: TOP, y2: H - BOTTOM }),
    s("text", { x: x(at), y: H - 4, "text-anchor": at === 0 ? "start" : at > 0.93 * seconds ? "end" : "middle" }, text)];
  const phase = ([name, begin, end, tone]) => s("rect", { class: tone, x: x(begin), y: H - BOTTOM + 4, height: 5, width: Math.max(0.5, x(end) - x(begin)).toFixed(1) },
    s("title", {}, `${name} · ${duration((end - begin) * 1e6)}`));
  const level = (at) => [s("line", { class: "grid-line", x1: LEFT, x2: W - RIGHT, y1: y(at), y2: y(at) }),
    s("text", { x: LEFT - 6, y: y(at), dy: 3.5, "text-anchor": "end" }, String(Math.round(at * 100) / 100))];
  const cursor = s("line", { class: "cursor", y1: TOP, y2: H - BOTTOM, x1: 0, x2: 0, visibility: "hidden" });
  const note = h("p", {}, chart.note);
  const svg = s("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${chart.title} in ${chart.unit}: ${chart.note}` },
    [0, top / 2, top].map(level),
    chart.ticks.map(tick), chart.phases.map(phase),
    chart.curves.map(([name, values, maxima, tone]) => chart.hasBands && maxima.length ? s("path", { class: `band ${tone || name}`, d: band(values, maxima) }) : null),
    chart.curves.map(([name, values, , tone]) => s("path", { class: tone || name, d: path(values) })),
    chart.peak ? s("line", { class: "peak", x1: LEFT, x2: W - RIGHT, y1: y(chart.peak), y2: y(chart.peak) }) : null, chartMarkers(markers, start, x, [TOP, H - BOTTOM]), cursor);
  const longest = Math.max(...chart.curves.map(([, values]) => values.length));
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const at = Math.max(0, Math.min(1, ((event.clientX - box.left) * (W / box.width) - LEFT) / (W - LEFT - RIGHT))) * seconds;
    const index = longest === 1 ? 0 : Math.min(longest - 1, Math.floor(at / chart.step));
    const texts = chart.curves.map(([name, values, maxima]) => {
      const place = values.length === 1 ? 0 : index;
      const most = (maxima[place] ?? null) !== null && maxima[place] !== values[place] ? ` (max ${maxima[place]})` : "";
      return `${name} ${values[place] ?? "–"}${most}`;
    });
    const within = chart.phases.filter(([, begin, end]) => begin <= at && at <= end).map(([name]) => name).slice(-1);
    cursor.setAttribute("x1", x(at));
    cursor.setAttribute("x2", x(at));
    cursor.setAttribute("visibility", "visible");
    note.textContent = [`${duration(at * 1e6)}: ${texts.join(" · ")} ${chart.unit}`, ...within, ...markersAt(markers, start, at, 0.02 * seconds)].join(" · ");
  });
  svg.addEventListener("pointerleave", () => { cursor.setAttribute("visibility", "hidden"); note.textContent = chart.note; });
  return h("figure", {},
    h("figcaption", {}, h("b", {}, chart.title), " ", h("small", {}, chart.unit),
      h("span", { class: "legend" }, chart.curves.map(([name, , , tone]) => h("span", { class: tone || name }, name)), chart.peak ? h("span", { class: "peak" }, "peak") : null,
        [...new Map(markers.map((marker) => [marker[0], marker])).values()].map((marker) => h("span", { class: `marker ${toneOfMarker(marker)}` }, marker[0])))),
    svg, note);
};

const drawBars = (bars) => h("table", { class: "devices" },
  h("thead", {}, h("tr", {}, ["Device", "Mean", "Peak", "Memory"].map((head) => h("th", { scope: "col" }, head)))),
  h("tbody", {}, bars.map(([name, mean, peak, memory, note]) =>
    h("tr", {}, h("th", { scope: "row" }, name), meter(mean), meter(peak), meter(memory, note)))));

const meter = (share, note) => {
  const inner = h("i", {});
  inner.style.width = `${100 * Math.min(1, share ?? 0)}%`;
  return h("td", { title: note || null }, percent(share), h("span", { class: "meter", "aria-hidden": "true" }, inner));
};
