const SVG = "http://www.w3.org/2000/svg";
const fill = (node, options, children) => {
  for (const [name, value] of Object.entries(options || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
};
const h = (tag, options, ...children) => fill(document.createElement(tag), options, children);
const s = (tag, options, ...children) => fill(document.createElementNS(SVG, tag), options, children);
const link = (url, text) => h("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, text);
const button = (text, title, onclick, options) =>
  h("button", { type: "button", title, "aria-label": title, onclick, ...options }, text);

const FOCUSABLE = "button, select, input, summary, a, [tabindex]";
const SCROLLED = ".logs, .message, pre";

/** Give an element other children. Those that are equal stay, with their focus and text selection; details stay open. */
const renew = (parent, ...parts) => {
  const fresh = parts.flat(2).filter(Boolean);
  fresh.forEach((next, at) => {
    const before = parent.childNodes[at];
    if (before === next) return;
    if (!before || next.parentNode === parent) { parent.insertBefore(next, before || null); return; }
    const open = [...before.querySelectorAll("details")];
    next.querySelectorAll("details").forEach((each, place) => {
      if (open[place]?.firstChild.textContent === each.firstChild.textContent) each.open = open[place].open;
    });
    if (!before.isEqualNode(next)) exchange(before, next);
  });
  while (parent.childNodes.length > fresh.length) parent.lastChild.remove();
};

const exchange = (before, next) => {
  const tops = [...before.querySelectorAll(SCROLLED)].map((each) => each.scrollTop);
  const focused = [...before.querySelectorAll(FOCUSABLE)].indexOf(document.activeElement);
  before.replaceWith(next);
  next.querySelectorAll(SCROLLED).forEach((each, place) => { if (tops[place]) each.scrollTop = tops[place]; });
  if (focused >= 0) next.querySelectorAll(FOCUSABLE)[focused]?.focus({ preventScroll: true });
};
