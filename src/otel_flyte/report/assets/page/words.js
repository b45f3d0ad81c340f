const BAD = new Set(["failure", "cancellation", "never ended"]);
const MARKS = { success: "✓", failure: "✗", cancellation: "⊘", cancelled: "⊘", "never ended": "?", skip: "–", running: "●", succeeded: "✓", failed: "✗" };

const digits = (value) => value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
const duration = (micro) => {
  const seconds = micro / 1e6;
  if (seconds < 0.9995e-3) return `${Math.round(micro)} µs`;
  if (seconds < 0.9995) return `${digits(seconds * 1e3)} ms`;
  if (seconds < 59.95) return `${digits(seconds)} s`;
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
};
/** A result in words: an attempt without an end runs as long as its execution does. */
const resultOf = (row) => (V[row[RESULT]] === "never ended" && data.state === "running" ? "running" : V[row[RESULT]]);
/** A span may come before the phase around it, which ends later. */
const notesOf = (row) => (data.state === "running" ? V[row[NOTES]].replace(/(^| · )parent not recorded$/, "") : V[row[NOTES]]);
const isBad = (row) => BAD.has(resultOf(row));
const took = (row) => (row[TOOK] === null ? (data.state === "running" ? "running" : "never ended") : row[SUM] === null ? duration(row[TOOK]) : `Σ ${duration(row[SUM])}`);
const percent = (share) => (share === null ? "–" : `${Math.round(share * 1000) / 10 < 10 ? Math.round(share * 1000) / 10 : Math.round(share * 100)} %`);
const counted = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
const moment = (micro) => new Date(micro / 1000).toISOString().replace("T", " ").slice(0, 19) + " UTC";
const written = (value) => (typeof value === "string" ? value : JSON.stringify(value));
const short = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);

const bytes = (value) => {
  for (const [unit, power] of [["TiB", 4], ["GiB", 3], ["MiB", 2], ["KiB", 1]]) {
    const scaled = value / 1024 ** power;
    if (scaled >= 0.9995) return `${figure(scaled)} ${unit}`;
  }
  return `${Math.round(value)} B`;
};
/** A number with two digits or three, without a fraction of 0. */
const figure = (value) => String(Number(value.toFixed(value < 0.095 ? 3 : value < 9.95 ? 2 : value < 99.95 ? 1 : 0)));
/** A duration without a fraction of 0, for an axis. */
const roundDuration = (micro) => duration(micro).replace(/\.0+ /, " ").replace(/(\.\d*?)0+ /, "$1 ").replace(/ 00 (s|min)$/, "");
