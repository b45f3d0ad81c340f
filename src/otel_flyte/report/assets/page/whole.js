/** The whole run above the timeline: what all attempts reserve and use together, and the critical path. */
const AREA = 100;
const inUnit = (value, unit) => `${figure(value)} ${figure(value) === "1" ? unit.replace(/s$/, "") : unit}`;

const stepPath = (values, top) => values.map((value, at) => `${at === 0 ? "M0 " : "V"}${(AREA * (1 - value / top)).toFixed(1)}H${at + 1}`).join("");

const drawArea = ([title, unit, words, remark, reserved, used]) => {
  const top = ceiling(Math.max(...reserved, ...used));
  const outline = stepPath(reserved, top);
  const close = `V${AREA}H0Z`;
  const svg = s("svg", { viewBox: `0 0 ${reserved.length} ${AREA}`, preserveAspectRatio: "none", role: "img", "aria-label": `${title}: ${words}` },
    s("path", { class: "left", d: outline + close }), s("path", { class: "used", d: stepPath(used, top) + close }), s("path", { class: "reserved", d: outline }));
  return h("div", { class: "run" },
    h("div", { class: "what" }, h("b", {}, title), h("span", { class: "totals" }, words), remark && h("small", { title: "their request or their use is unknown, or other tasks shared their process" }, remark)),
    h("div", { class: "lane area" }, svg, h("span", { class: "top", "aria-hidden": "true" }, inUnit(top, unit))));
};

const drawWhole = () => {
  const { lanes, path } = shown.execution;
  const areas = lanes.map(drawArea);
  const hasPath = path.parts.length > 1;
  whole.hidden = !areas.length && !hasPath;
  critical.hidden = !hasPath;
  renew(wholeContent, areas,
    hasPath ? h("div", { class: "run" }, h("div", { class: "what" }, h("b", {}, "Critical path"), h("span", { class: "totals" }, pathInWords())), h("div", { class: "lane strip" })) : null,
    hasPath ? drawParts() : null);
  legend.hidden = !areas.length;
  viewWhole();
};

/** Show the part of the lanes that the timeline shows. */
const viewWhole = () => {
  wholeContent.querySelectorAll(".area svg").forEach((svg, place) => {
    const { length } = shown.execution.lanes[place][4];
    svg.setAttribute("viewBox", `${view[0] * length} 0 ${(view[1] - view[0]) * length} ${AREA}`);
  });
  wholeContent.querySelector(".strip")?.replaceChildren(...drawStrip());
};
wholeContent.addEventListener("click", (event) => {
  const part = event.target.closest(".strip [data-row]");
  if (part) reveal(Number(part.dataset.row));
});

/** Show the values at a time of the execution, a fraction of 1, or the totals. */
const tellWhole = (at) => {
  const notes = wholeContent.querySelectorAll(".area");
  shown.execution.lanes.forEach(([, unit, words, , reserved, used], lane) => {
    const place = at === null ? -1 : Math.min(reserved.length - 1, Math.max(0, Math.floor(at * reserved.length)));
    const values = reserved[place] ? `${figure(used[place])} of ${inUnit(reserved[place], unit)} used` : "nothing reserved";
    const text = at === null ? words : `${values} at ${duration(at * shown.execution.length)}`;
    notes[lane].parentElement.querySelector(".totals").textContent = text;
  });
};
