/** A name for each row that stays when rows are added: the id of its span, else its label below that of its parent. */
const namesOf = ({ rows, parents, execution }) => {
  const counts = new Map();
  const names = [];
  rows.forEach((row, index) => {
    if (index === 0) { names.push("top"); return; }
    if (row[SPAN] >= 0) { names.push(execution.spans[row[SPAN]][0]); return; }
    const name = `${names[parents[index]]}/${V[row[LABEL]]}`;
    counts.set(name, (counts.get(name) || 0) + 1);
    names.push(`${name}/${counts.get(name)}`);
  });
  return names;
};

/** The selected row where it is on the screen, else the first row, and its place, while the page is scrolled. */
const anchorOf = (names) => {
  if (scrollY === 0) return null;
  const top = list.getBoundingClientRect().top;
  const first = Math.max(0, Math.ceil((toolbar.offsetHeight + heads.offsetHeight - top) / height));
  const chosen = places.get(selected) ?? -1;
  const place = chosen >= first && top + chosen * height < innerHeight ? chosen : first;
  return place < visible.length ? [names[visible[place]], top + place * height] : null;
};

// A user who works in the details has chosen their row.
side.addEventListener("focusin", () => { isChosen = true; });
side.addEventListener("pointerdown", () => { isChosen = true; });

/** Select the preferred row; return whether it is another one. */
const choosePreferred = () => {
  const before = selected;
  arrange();
  selected = preferred();
  return selected !== before;
};

const update = (next) => {
  if (!shown || !next.executions.length) { take(next); begin(); return; }
  const before = shown;
  const names = namesOf(before);
  const chosen = [...selfAndAbove(selected)].map((index) => names[index]);
  const anchor = anchorOf(names);
  const opened = new Map(names.map((name, index) => [name, before.children[index] === null ? null : before.open[index]]));
  const [from, to] = view.map((share) => before.execution.start + share * before.execution.length);
  const isWhole = view[0] === 0 && view[1] === 1;
  const sideTop = side.scrollTop;
  take(next);
  const same = data.executions.findIndex((each) => each.traces.some((trace) => before.execution.traces.includes(trace)));
  shown = grown(data.executions[Math.max(0, same)]);
  const places = new Map(namesOf(shown).map((name, index) => [name, index]));
  for (const [name, index] of places) {
    const was = opened.get(name);
    if (was !== undefined && was !== null && shown.children[index] !== null) shown.open[index] = was;
  }
  selected = places.get(chosen.find((name) => places.has(name))) ?? 0;
  const { start, length } = shown.execution;
  if (!isWhole) view = [from, to].map((at) => Math.min(1, Math.max(0, (at - start) / Math.max(1, length))));
  drawHeader();
  drawRemarks();
  drawErrors();
  drawOutside(true);
  drawWhole();
  if (!isChosen && goTo(location.hash)) return;
  // Usage, or an error, may have come since.
  const isOther = !isChosen && side.scrollTop === 0 && choosePreferred();
  refresh(true);
  drawDetails(selected, !isOther);
  side.scrollTop = sideTop;
  const index = anchor && places.get(anchor[0]);
  const place = anchor ? visible.indexOf(index) : -1;
  if (place >= 0) {
    const moved = list.getBoundingClientRect().top + place * height - anchor[1];
    if (Math.abs(moved) >= 1) { scrollBy({ top: moved, behavior: "instant" }); paint(); }
  }
};
