/** Follow an execution of a server: each sign of newer records makes the page fetch the data again. */
const follow = () => {
  const status = document.getElementById("state");
  const { source, events, large } = app.dataset;
  const SHORTEST_PAUSE = 250;
  const LONGEST_WAIT = 5000;
  const ASKED_AGAIN = 60000;

  let etag = "";
  let drawn = "";
  let wanted = null;
  let isFetching = false;
  let connection = null;
  let sign = null;
  let failures = 0;
  let reason = "";
  let retryAt = 0;
  let retry = 0;
  let isOver = false;

  const ago = (milliseconds) => {
    const seconds = Math.max(0, Math.round(milliseconds / 1000));
    if (seconds < 60) return `${seconds} s ago`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
    if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ago`;
    return `${Math.floor(seconds / 86400)} days ago`;
  };

  const say = () => {
    const last = sign ? ` · last record ${ago(Date.now() - sign.at)}` : "";
    let [kind, text] = ["", "connecting"];
    if (isOver === "gone") text = "This execution is no longer kept";
    else if (isOver) text = `ended${last}`;
    else if (failures) [kind, text] = ["lost", `${reason || "connection lost"}, next try in ${Math.max(0, Math.ceil((retryAt - Date.now()) / 1000))} s${last}`];
    else if (sign) [kind, text] = ["live", `live${last}`];
    if (status.textContent !== text) status.textContent = text;
    status.className = `state ${kind}`;
  };

  const close = () => {
    connection?.close();
    connection = null;
  };

  const fail = () => {
    close();
    failures += 1;
    const wait = Math.min(LONGEST_WAIT, 500 * 2 ** failures);
    retryAt = Date.now() + wait;
    clearTimeout(retry);
    retry = setTimeout(connect, wait);
    say();
  };

  const connect = () => {
    close();
    clearTimeout(retry);
    if (isOver || document.hidden) return;
    connection = new EventSource(events);
    connection.addEventListener("changed", (event) => {
      const { version, age } = JSON.parse(event.data);
      failures = 0;
      reason = "";
      sign = { at: Date.now() - 1000 * age };
      wanted = version;
      say();
      load();
    });
    // The source of the server does not answer; the stream ends then.
    connection.addEventListener("unavailable", (event) => { ({ reason } = JSON.parse(event.data)); });
    connection.addEventListener("ended", () => {
      isOver = true;
      close();
      say();
    });
    connection.onerror = fail;
  };

  /** Draw the attempts of a large execution before all that is within them. */
  const drawOutline = async () => {
    const answer = await fetch(source.replace("/data/", "/outline/"));
    if (answer.ok && !shown) update(await answer.json());
  };

  const fetched = async () => {
    const answer = await fetch(source, { cache: "no-store", headers: etag ? { "If-None-Match": etag } : {} });
    if (answer.status === 304) return null;
    if (answer.status === 404) {
      isOver = "gone";
      close();
      return null;
    }
    if (!answer.ok) throw new Error(`${answer.status}`);
    etag = answer.headers.get("ETag") || "";
    return answer.json();
  };

  const load = async () => {
    if (isFetching || wanted === drawn) return;
    isFetching = true;
    const begun = performance.now();
    let next = null;
    try {
      const asked = wanted;
      next = await fetched();
      drawn = next === null ? asked : next.version;
    } catch {
      isFetching = false;
      fail();
      return;
    }
    if (next !== null) update(next);
    say();
    // A large execution takes long to fetch and to draw: it must not keep the browser and the server busy.
    setTimeout(() => { isFetching = false; load(); }, Math.max(SHORTEST_PAUSE, 2 * (performance.now() - begun)));
  };

  /** Ask whether an execution that has ended goes on: a late node, or a server that was started again. */
  const askAgain = () => {
    if (isOver === true) isOver = false;
    if (!connection) connect();
  };

  // A browser has few connections to a server: a hidden page closes its own.
  document.addEventListener("visibilitychange", () => { if (document.hidden) close(); else askAgain(); });
  addEventListener("online", connect);
  setInterval(say, 1000);
  setInterval(() => { if (isOver === true && !document.hidden) askAgain(); }, ASKED_AGAIN);
  if (large === undefined) connect();
  else drawOutline().finally(connect);
};
