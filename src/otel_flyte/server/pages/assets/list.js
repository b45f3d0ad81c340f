"use strict";
/* Keeps the list of executions current, and its filters in the address. The list itself is HTML of the server. */
(() => {
  const form = document.querySelector("form");
  const status = document.getElementById("state");
  const PAUSE = 1000;
  const WHILE_RUNNING = 5000;

  let connection = null;
  let isFetching = false;
  let isDue = false;
  let retry = 0;

  const say = (kind, text) => {
    status.className = `state ${kind}`;
    if (status.textContent !== text) status.textContent = text;
  };

  /** Take over what differs, row by row, so that focus and selection stay. */
  const take = (html) => {
    const next = new DOMParser().parseFromString(html, "text/html").getElementById("list");
    const before = document.getElementById("list");
    if (!next || before.isEqualNode(next)) return;
    const [old, fresh] = [before, next].map((each) => each.querySelector("tbody"));
    if (!old || !fresh) { before.replaceWith(next); return; }
    const known = new Map([...old.rows].map((row) => [row.dataset.key, row]));
    [...fresh.rows].forEach((row, at) => {
      const own = known.get(row.dataset.key);
      known.delete(row.dataset.key);
      if (!own) { old.insertBefore(row, old.rows[at] || null); return; }
      if (old.rows[at] !== own) old.insertBefore(own, old.rows[at] || null);
      [...row.cells].forEach((cell, place) => { if (!own.cells[place].isEqualNode(cell)) own.cells[place].replaceWith(cell); });
    });
    for (const row of known.values()) row.remove();
    before.querySelector(".pages").replaceWith(next.querySelector(".pages"));
  };

  const load = async () => {
    if (isFetching) { isDue = true; return; }
    isFetching = true;
    isDue = false;
    const address = location.href;
    try {
      const answer = await fetch(address, { cache: "no-store" });
      if (!answer.ok) throw new Error(`${answer.status}`);
      const html = await answer.text();
      if (address === location.href) take(html);
    } catch { lose(); }
    setTimeout(() => {
      isFetching = false;
      if (isDue || address !== location.href) load();
    }, PAUSE);
  };

  const lose = () => {
    connection?.close();
    connection = null;
    say("lost", "connection lost, trying again");
    clearTimeout(retry);
    retry = setTimeout(connect, 3000);
  };

  const connect = () => {
    clearTimeout(retry);
    connection?.close();
    connection = null;
    if (document.hidden) return;
    connection = new EventSource("/events");
    connection.addEventListener("changed", () => { say("live", "live"); load(); });
    connection.onerror = lose;
  };

  const search = () => {
    const wanted = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
    history.replaceState(null, "", `${location.pathname}${wanted.size ? `?${wanted}` : ""}`);
    load();
  };

  let typed = 0;
  form.addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(search, 200); });
  form.addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(typed); search(); });
  document.addEventListener("visibilitychange", () => { if (document.hidden) { connection?.close(); connection = null; } else connect(); });
  addEventListener("online", connect);
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.matches("input, select")) { event.preventDefault(); form.elements.text.focus(); }
  });
  setInterval(() => { if (!document.hidden && document.querySelector("#list .running")) load(); }, WHILE_RUNNING);
  connect();
})();
