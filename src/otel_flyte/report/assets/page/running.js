/** The bar of a group: an outline from first to last, filled where members run; the more of them, the darker. */
const SLICES = 120;

/** Start and end of each span below a group, without the groups in it. */
const intervalsOf = function* (index) {
  for (const member of shown.children[index] || []) {
    const row = shown.rows[member];
    if (isRollUp(member)) yield* intervalsOf(member);
    else yield [row[START], row[TOOK] === null ? shown.execution.length : row[START] + row[TOOK]];
  }
};

/** Return how many members run, on average, in each slice of a time: a fraction of the most, or of one. */
const densityOf = (index, from, to) => {
  const sums = new Float64Array(SLICES);
  const slice = Math.max(1, to - from) / SLICES;
  for (const [start, end] of intervalsOf(index)) {
    if (end < from || start > to) continue;
    const [first, last] = [Math.max(0, (start - from) / slice), Math.min(SLICES, Math.max((end - from) / slice, (start - from) / slice + 0.02))];
    for (let at = Math.floor(first); at < last; at += 1) sums[at] += Math.min(last, at + 1) - Math.max(first, at);
  }
  const most = sums.reduce((a, b) => Math.max(a, b), 1);
  return [...sums].map((sum) => sum / most);
};

const drawRunning = (bar, index) => {
  const row = shown.rows[index];
  const whole = Math.max(1, shown.execution.length);
  const end = row[TOOK] === null ? whole : row[START] + row[TOOK];
  const [from, to] = [Math.max(row[START], view[0] * whole), Math.min(end, view[1] * whole)];
  bar.classList.add("group");
  if (to <= from) return;
  const stops = [];
  densityOf(index, from, to).forEach((share, at) => {
    const tone = share ? `color-mix(in srgb, var(--tone) ${Math.round(15 + 85 * share)}%, transparent)` : "transparent";
    stops.push(`${tone} ${digits((100 * at) / SLICES)}% ${digits((100 * (at + 1)) / SLICES)}%`);
  });
  bar.style.backgroundImage = `linear-gradient(to right, ${stops.join(", ")})`;
};
