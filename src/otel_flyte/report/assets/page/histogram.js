const BINS = 24;
/** Durations that differ by a larger factor are easier to compare on a logarithmic axis. */
const WIDE = 8;
/** Names of two marks overprint each other where they are closer than this, in the units of the drawing. */
const NEAR = 76;
/** From the best to the worst, which is on top of a bar. */
const STATES = ["unknown", "success", "skip", "running", "never ended", "cancellation", "failure"];

/** Return the bins of durations in microseconds: equally wide, on a logarithmic axis if they differ much. */
const binsOf = (times) => {
  const [least, most] = times.reduce(([a, b], time) => [Math.min(a, time), Math.max(b, time)], [Infinity, 0]);
  const isLog = most > WIDE * Math.max(least, 1);
  const [to, from] = isLog ? [Math.log, Math.exp] : [(time) => time, (value) => value];
  const low = to(Math.max(isLog ? 1 : 0, least));
  const width = Math.max((to(Math.max(1, most)) - low) / BINS, isLog ? 1e-6 : 1 / BINS);
  const place = (time) => (to(Math.max(isLog ? 1 : 0, time)) - low) / width;
  return { isLog, least, most, place, bin: (time) => Math.max(0, Math.min(BINS - 1, Math.floor(place(time)))), edge: (at) => from(low + at * width) };
};

/** Round durations for the axis, at most five. */
const ticksOf = (bins) => {
  const ticks = [];
  if (bins.isLog) {
    const factors = bins.most > 1000 * Math.max(1, bins.least) ? [1] : [1, 3];
    for (let power = 10 ** Math.floor(Math.log10(Math.max(1, bins.least))); power <= bins.most; power *= 10) ticks.push(...factors.map((factor) => factor * power));
    const inside = ticks.filter((tick) => tick >= bins.least && tick <= bins.most);
    return inside.filter((_, at) => at % Math.ceil(inside.length / 5) === 0);
  }
  const wanted = Math.max(1, (bins.most - bins.least) / 4);
  const power = 10 ** Math.floor(Math.log10(wanted));
  const size = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= wanted);
  for (let at = Math.ceil(bins.least / size) * size; at <= bins.most; at += size) ticks.push(at);
  return ticks;
};

/** Draw how many members took how long, by state. `marks` are durations with a name; a click on a bar chooses its bin. */
const drawHistogram = (members, noun, marks, chosen, choose) => {
  const [W, H, LEFT, RIGHT, TOP, BOTTOM] = [420, 124, 42, 6, 18, 22];
  const bins = binsOf(members.map(([time]) => time));
  const counts = Array.from({ length: BINS }, () => new Map());
  for (const [time, state] of members) {
    const bin = counts[bins.bin(time)];
    bin.set(state, (bin.get(state) || 0) + 1);
  }
  const totals = counts.map((bin) => [...bin.values()].reduce((a, b) => a + b, 0));
  const top = ceiling(Math.max(...totals));
  const wide = (W - LEFT - RIGHT) / BINS;
  const x = (place) => LEFT + wide * Math.max(0, Math.min(BINS, place));
  const high = (count) => Math.max(count ? 2 : 0, ((H - TOP - BOTTOM) * count) / top);
  const bar = (bin, at) => {
    if (!totals[at]) return null;
    let y = H - BOTTOM;
    const parts = STATES.filter((state) => bin.has(state)).map((state) => {
      const height = high(bin.get(state));
      y -= height;
      return s("rect", { class: `state-${state.replace(" ", "-")}`, x: (x(at) + 0.75).toFixed(1), y: y.toFixed(1), width: (wide - 1.5).toFixed(1), height: height.toFixed(1) });
    });
    const words = `${counted(totals[at], noun)} from ${duration(bins.edge(at))} to ${duration(bins.edge(at + 1))}`;
    return s("g", {
      class: "bin", role: "button", tabindex: "0", "aria-label": words, "aria-pressed": String(chosen === at), "data-bin": at,
      onclick: () => choose(at),
      onkeydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); event.stopPropagation(); choose(at); } },
    }, s("title", {}, `${words}: ${[...bin].map(([state, count]) => `${count} ${state}`).join(", ")}`),
      s("rect", { class: "hit", x: x(at).toFixed(1), y: TOP, width: wide.toFixed(1), height: H - TOP - BOTTOM }), parts);
  };
  const inside = marks.filter(([time]) => time > bins.least && time < bins.most).map(([time, name]) => [x(bins.place(time)), name]);
  // Names of marks that are near each other are on the outer sides of their lines.
  const areNear = inside.length > 1 && Math.abs(inside[1][0] - inside[0][0]) < NEAR;
  const side = (at, place) => {
    if (areNear) return (at < inside[1 - place][0] || (at === inside[1 - place][0] && !place)) ? "end" : "start";
    return at > 0.7 * W ? "end" : at < LEFT + 20 ? "start" : "middle";
  };
  const mark = ([at, name], place) => [s("line", { class: "mark-line", x1: at.toFixed(1), x2: at.toFixed(1), y1: TOP - 4, y2: H - BOTTOM }),
    s("text", { x: at.toFixed(1), y: TOP - 7, dx: areNear ? (side(at, place) === "end" ? -3 : 3) : 0, "text-anchor": side(at, place) }, name)];
  const tick = (time) => [s("line", { class: "grid-line", x1: x(bins.place(time)).toFixed(1), x2: x(bins.place(time)).toFixed(1), y1: H - BOTTOM, y2: H - BOTTOM + 4 }),
    s("text", { x: x(bins.place(time)).toFixed(1), y: H - 5, "text-anchor": x(bins.place(time)) > W - 30 ? "end" : "middle" }, roundDuration(time))];
  const level = (count) => [s("line", { class: "grid-line", x1: LEFT, x2: W - RIGHT, y1: H - BOTTOM - high(count), y2: H - BOTTOM - high(count) }),
    s("text", { x: LEFT - 6, y: H - BOTTOM - high(count), dy: 3.5, "text-anchor": "end" }, count.toLocaleString("en"))];
  const levels = Number.isInteger(top / 2) ? [top / 2, top] : [top];
  return h("figure", { class: "histogram" },
    h("figcaption", {}, h("b", {}, "Durations"), " ", h("small", {}, `${noun}s by duration${bins.isLog ? ", logarithmic" : ""}`)),
    s("svg", { viewBox: `0 0 ${W} ${H}`, role: "group", "aria-label": `${noun}s by duration` },
      levels.map(level), ticksOf(bins).map(tick), s("line", { class: "grid-line", x1: LEFT, x2: W - RIGHT, y1: H - BOTTOM, y2: H - BOTTOM }),
      counts.map(bar), inside.map(mark)));
};
