const unpacked = (text) => {
  const compressed = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at += 1) compressed[at] = text.charCodeAt(at);
  return new Response(new Blob([compressed]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
};

/** Draw the data in the page itself, else those of a server. */
const start = async () => {
  const element = document.getElementById("data");
  if (element === null) { follow(); return; }
  if (element.type === "application/json") { update(JSON.parse(element.textContent)); return; }
  if (typeof DecompressionStream === "undefined") {
    app.textContent = "This browser can't decompress the page: open it in one of 2023 or later.";
    return;
  }
  const text = atob(element.textContent);
  element.remove();
  update(await unpacked(text));
};

start();
