/** Copies a text. Where the browser refuses, the text is selected so that the user can copy it by a key. */
const toast = h("div", { class: "toast", role: "status", hidden: true });
document.body.append(toast);
let fading = 0;
const tell = (...content) => {
  clearTimeout(fading);
  toast.replaceChildren(...content);
  toast.hidden = false;
};
const copy = async (text) => {
  try {
    await navigator.clipboard.writeText(text);
    tell("Copied");
    fading = setTimeout(() => { toast.hidden = true; }, 1500);
  } catch {
    const field = h("input", { readonly: true, "aria-label": "text to copy", onblur: () => { toast.hidden = true; }, onkeydown: (event) => { if (event.key === "Escape") field.blur(); } });
    field.value = text;
    tell("Press Ctrl+C to copy", field);
    field.select();
  }
};

const copyButton = (text, title) => button("", title, (event) => { event.stopPropagation(); copy(text); }, { class: "copy" });
const copyChip = (name, text) => button(name, `copy the ${name}`, () => copy(text), { class: "chip", "data-text": text });
/** The link has the filters and the zoom of the moment of the click. */
const copyLink = (index) => button("link", "copy a link to this row", () => copy(location.href.split("#")[0] + addressOf(index)), { class: "chip", "data-row": index });
