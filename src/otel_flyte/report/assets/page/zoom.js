/** Zoom by dragging over the axis, the bars or the lanes, and the time under the pointer. */
const SHORTEST_DRAG = 4;
const timeline = main.querySelector(".timeline");
const range = h("div", { class: "range", hidden: true });
const hand = h("div", { class: "hand", hidden: true });
const handTime = h("span", { class: "time", "aria-hidden": "true" });
timeline.append(range, hand);
let drag = null;

const placeIn = (event) => {
  const box = axis.getBoundingClientRect();
  return Math.max(0, Math.min(1, (event.clientX - box.left) / Math.max(1, box.width)));
};
const timeAt = (event) => view[0] + (view[1] - view[0]) * placeIn(event);
const over = (element, from, to) => {
  const [box, outer] = [axis.getBoundingClientRect(), timeline.getBoundingClientRect()];
  const top = (whole.hidden ? heads : whole).getBoundingClientRect().top - outer.top;
  element.style.left = `${box.left - outer.left + from * box.width}px`;
  element.style.width = `${Math.max(0, to - from) * box.width}px`;
  element.style.top = `${top}px`;
  element.hidden = false;
};

const point = (event) => {
  const at = placeIn(event);
  over(hand, at, at);
  handTime.textContent = duration(timeAt(event) * shown.execution.length);
  handTime.style.left = `${100 * at}%`;
  handTime.classList.toggle("last", at > 0.8);
  axis.append(handTime);
  tellWhole(timeAt(event));
};
const unpoint = () => {
  hand.hidden = true;
  handTime.remove();
  tellWhole(null);
};

timeline.addEventListener("pointerdown", (event) => {
  // A finger that moves over the bars scrolls.
  if (event.button !== 0 || !event.target.closest(event.pointerType === "touch" ? ".axis" : ".lane, .axis")) return;
  drag = { x: event.clientX, from: placeIn(event), isLong: false };
});
timeline.addEventListener("pointermove", (event) => {
  if (!shown) return;
  if (drag && Math.abs(event.clientX - drag.x) >= SHORTEST_DRAG && !drag.isLong) {
    drag.isLong = true;
    timeline.setPointerCapture(event.pointerId);
  }
  if (drag?.isLong) {
    const to = placeIn(event);
    over(range, Math.min(drag.from, to), Math.max(drag.from, to));
  }
  if (drag?.isLong || event.target.closest(".lane, .axis")) point(event);
  else unpoint();
});
timeline.addEventListener("pointerup", (event) => {
  const done = drag;
  drag = null;
  range.hidden = true;
  if (!done?.isLong) return;
  // The end of a drag is no click.
  const stop = (click) => click.stopPropagation();
  timeline.addEventListener("click", stop, { capture: true, once: true });
  setTimeout(() => timeline.removeEventListener("click", stop, { capture: true }));
  const [from, to] = [done.from, placeIn(event)].sort((a, b) => a - b).map((place) => view[0] + (view[1] - view[0]) * place);
  setView(from, to);
  point(event);
});
timeline.addEventListener("pointercancel", () => { drag = null; range.hidden = true; unpoint(); });
timeline.addEventListener("pointerleave", () => { if (!drag) unpoint(); });
timeline.addEventListener("dblclick", (event) => {
  if (!event.target.closest(".lane, .axis")) return;
  event.stopPropagation();
  setView(0, 1);
}, { capture: true });

/** Move the view by a fraction of its width. */
const pan = (by) => {
  const width = view[1] - view[0];
  setView(view[0] + by * width, view[1] + by * width);
};
