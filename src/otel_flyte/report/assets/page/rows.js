/** A list with more rows is closed at first. */
const MANY = 12;

/** The rows of one execution, with parents, children and the end of each subtree, which follow from their order. */
const grown = (execution) => {
  const { rows } = execution;
  const parents = new Int32Array(rows.length).fill(-1);
  const ends = new Int32Array(rows.length);
  const children = rows.map(() => null);
  const stack = [];
  rows.forEach((row, index) => {
    while (stack.length && rows[stack.at(-1)][DEPTH] >= row[DEPTH]) ends[stack.pop()] = index;
    if (stack.length) {
      parents[index] = stack.at(-1);
      (children[stack.at(-1)] ||= []).push(index);
    }
    stack.push(index);
  });
  for (const index of stack) ends[index] = rows.length;
  const rowOfSpan = new Int32Array(execution.spans.length).fill(-1);
  rows.forEach((row, index) => { if (row[SPAN] >= 0) rowOfSpan[row[SPAN]] = index; });
  const shares = rows.map((row) => row[SHARE]);
  for (let index = rows.length - 1; index > 0; index -= 1) {
    const parent = parents[index];
    if (parent >= 0 && rows[parent][SPAN] < 0 && shares[index] !== null) shares[parent] = Math.max(shares[parent] ?? 0, shares[index]);
  }
  const open = new Uint8Array(rows.length);
  rows.forEach((_, index) => {
    const parent = parents[index];
    const within = parent < 0 || (open[parent] && children[parent].length <= MANY);
    open[index] = within && children[index] !== null && children[index].length <= MANY ? 1 : 0;
  });
  // A small tree is fully open; in a large one the phases of each task are closed.
  const many = open.reduce((sum, one) => sum + one, 0) > 40;
  if (many) rows.forEach((row, index) => { if (V[row[ROLE]] === "attempt" && row[SPAN] >= 0 && !BAD.has(V[row[RESULT]])) open[index] = 0; });
  return { execution, rows, parents, ends, children, rowOfSpan, shares, open, sorted: new Map() };
};

let shown = null;
let view = [0, 1];
let selected = -1;
/** Whether the user has selected it. */
let isChosen = false;
let visible = [];
let order = "start";
let onlyBad = false;
let query = "";
let matches = [];
let live = new Map();
let places = new Map();

const isRollUp = (index) => shown.rows[index][SPAN] < 0 && shown.parents[index] >= 0;
const selfAndAbove = function* (index) { for (let at = index; at >= 0; at = shown.parents[at]) yield at; };

const BY = {
  start: (a, b) => a - b,
  duration: (a, b) => (shown.rows[b][TOOK] ?? Infinity) - (shown.rows[a][TOOK] ?? Infinity),
  memory: (a, b) => (shown.shares[b] ?? -1) - (shown.shares[a] ?? -1),
  state: (a, b) => isBad(shown.rows[b]) - isBad(shown.rows[a]),
};

const below = (index) => {
  const own = shown.children[index] || [];
  if (order === "start" || !isRollUp(index)) return own;
  const key = `${order} ${index}`;
  if (!shown.sorted.has(key)) shown.sorted.set(key, [...own].sort((a, b) => BY[order](a, b) || a - b));
  return shown.sorted.get(key);
};

const arrange = () => {
  const kept = filtered();
  visible = [];
  const waiting = [0];
  while (waiting.length) {
    const index = waiting.pop();
    if (kept && !kept[index]) continue;
    visible.push(index);
    if (!kept && !shown.open[index]) continue;
    if (kept && kept[index] === 2 && !shown.open[index] && !(shown.children[index] || []).some((child) => kept[child])) continue;
    const next = below(index);
    for (let at = next.length - 1; at >= 0; at -= 1) waiting.push(next[at]);
  }
  places = new Map(visible.map((index, place) => [index, place]));
};

/** Return 2 for each matching row and 1 for the rows above it; null where all rows are shown. */
const filtered = () => {
  matches = [];
  if (!query && !onlyBad) return null;
  const kept = new Uint8Array(shown.rows.length);
  const found = query ? matching(query.toLowerCase()) : null;
  shown.rows.forEach((row, index) => {
    if ((found && !found(row, index)) || (onlyBad && !isBad(row))) return;
    matches.push(index);
    kept[index] = 2;
    for (const above of selfAndAbove(shown.parents[index])) {
      if (kept[above]) break;
      kept[above] = 1;
    }
  });
  kept[0] ||= 1;
  return kept;
};

/** Search the table of values, which has each repeated value once, then the references to its matches. */
const matching = (wanted) => {
  const hits = new Set();
  V.forEach((value, place) => { if (!Array.isArray(value) && written(value).toLowerCase().includes(wanted)) hits.add(place); });
  const logged = new Set(shown.execution.logs.filter((line) => line[2].toLowerCase().includes(wanted)).map((line) => line[3]));
  const { spans, errors } = shown.execution;
  return (row) => {
    if (hits.has(row[LABEL]) || hits.has(row[NOTES])) return true;
    if (row[ERROR] >= 0 && errors[row[ERROR]].slice(1).some((place) => hits.has(place))) return true;
    if (row[SPAN] < 0) return false;
    return logged.has(row[SPAN]) || spans[row[SPAN]][0] === wanted || spans[row[SPAN]][2].some((place) => hits.has(place));
  };
};
